"""The names of files in a list, one a line or each ended by NUL; nothing in a name has a meaning of its own."""

from __future__ import annotations

import codecs
import os

from convtool.errors import FileError, SettingError

_LONGEST = 4096  # bytes, as systems have it: what is longer is no list of names


def names(raw: bytes, source: str, null: bool) -> list[str]:
    r"""The names in the bytes of a list, in their order; empty ones are left out.

    One a line, whose end may be CR LF, or with `null` ended by NUL, so that names may hold line ends. They are
    literal: no patterns, no remarks, no blanks cut off. Bytes that are no UTF-8 stay what they are (`os.fsencode`). A
    byte order mark, which editors may put before the first, is no part of it.

    Raises SettingError for a NUL among lines, and for lines where no NUL is; FileError for a name of more than 4096
    bytes; both name the `source`.

    >>> names(b"a b.png\r\n\n#1.png\n", "list.txt", null=False)
    ['a b.png', '#1.png']
    >>> names(b"a\nb.png\0c.png", "list.txt", null=True)
    ['a\nb.png', 'c.png']
    """
    raw = raw.removeprefix(codecs.BOM_UTF8)
    if null:
        if b"\0" not in raw and b"\n" in raw:
            raise SettingError(f"{source} has lines and no NUL byte, which -0 says ends its names: leave -0 out")
        found = raw.split(b"\0")
    elif b"\0" in raw:
        line = raw.count(b"\n", 0, raw.index(b"\0")) + 1
        raise SettingError(
            f"line {line} of {source} holds a NUL byte: say -0 if NUL separates its names, as find -print0"
        )
    else:
        found = [line.removesuffix(b"\r") for line in raw.split(b"\n")]
    for number, name in enumerate(found, 1):
        _check(name, f"{'name' if null else 'line'} {number} of {source}")
    return [os.fsdecode(name) for name in found if name]


def _check(name: bytes, where: str) -> None:
    if len(name) > _LONGEST:
        raise FileError(f"{where} has {len(name)} bytes, and a name has at most {_LONGEST}: give a list of files")
