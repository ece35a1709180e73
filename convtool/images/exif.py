"""The one EXIF entry that decides how pixels are shown: their orientation (tag 274, 1 to 8, 1 is upright)."""

from __future__ import annotations

import struct

from convtool.images.guard import silence

_ORIENTATION, _SHORT = 274, 3
_UPRIGHT = 1


def exif_with(orientation: int) -> bytes | None:
    """EXIF data that says only this; None for upright."""
    if orientation == _UPRIGHT:
        return None
    return struct.pack("<2sHIHHHIHHI", b"II", 42, 8, 1, _ORIENTATION, _SHORT, 1, orientation, 0, 0)


def orientation_of(exif: bytes) -> int:
    """The orientation in EXIF data; upright where there is none, or only damaged data."""
    import PIL.Image

    entries = PIL.Image.Exif()
    with silence:
        try:
            entries.load(exif)
            found = entries.get(_ORIENTATION, _UPRIGHT)
        except Exception:  # a damaged block, which says nothing
            return _UPRIGHT
    return found if found in range(1, 9) else _UPRIGHT
