"""What the user did wrong, in one line: what, expected, got, and what to do.

Every error that a caller can cause derives from `ConvtoolError`; anything else that escapes is a bug. The leaves say
where to look: the settings, the data, a file, or an optional package that is not installed.
"""

from __future__ import annotations


class ConvtoolError(Exception):
    """A mistake that the user can mend; its text is one line that says how."""


class SettingError(ConvtoolError, ValueError):
    """A setting is unknown, out of range, or contradicts another one."""


class DataError(ConvtoolError, ValueError):
    """An image or a kernel cannot be used as it is (shape, dtype, NaN, channels)."""


class FileError(ConvtoolError, OSError):
    """A file cannot be read or written."""


class MissingExtraError(ConvtoolError, ImportError):
    """What was asked for needs an optional package; the text names the extra to install."""


class NoRoomError(DataError):
    """There is too little address space for a library that is needed, whatever the data."""


def listed(names: object) -> str:
    """'a, b or c', for error texts that offer the choices."""
    words = [str(name) for name in names]  # type: ignore[attr-defined]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def percent(share: float, digits: int = 2) -> str:
    """'18 %' for 0.1834: so many digits, and all of them before the point.

    >>> [percent(share) for share in (0.001834, 0.9961, 1, 12.345)]
    ['0.18 %', '100 %', '100 %', '1234 %']
    """
    text = f"{100 * share:.{digits}g}"
    return f"{100 * share:.0f} %" if "e+" in text else f"{text} %"
