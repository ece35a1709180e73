"""The chunks of a PNG beside its pixels: checked on reading, and written again before the pixels.

No codec hands over, or writes, all that a file may carry, so it is done here, verbatim where the input is a PNG.
https://www.w3.org/TR/png-3/
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from typing import IO

from convtool.images.guard import damaged
from convtool.images.image import Metadata, resolution_within

Chunk = tuple[bytes, bytes]
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KEPT = (b"gAMA", b"cHRM", b"sRGB", b"cICP", b"iCCP", b"pHYs", b"eXIf", b"tEXt", b"zTXt", b"iTXt")
_LARGEST_PROFILE = 1 << 26
_METRES_PER_INCH = 0.0254
_LARGEST = (1 << 31) - 1  # of a PNG's numbers


def chunks_of(raw: bytes, name: str) -> tuple[list[Chunk], list[memoryview]]:
    """Every chunk's type and content, IHDR first, and apart from them the pixels' contents.

    Raises FileError when any of them is damaged.
    """
    found: list[Chunk] = []
    pixels: list[memoryview] = []
    place = len(_SIGNATURE)
    while not found or found[-1][0] != b"IEND":
        kind, content, place = _next(raw, place, name)
        if kind == b"IDAT":
            pixels.append(content)
        else:
            found.append((kind, bytes(content)))
    if found[0][0] != b"IHDR" or len(found[0][1]) != 13 or not pixels:
        raise damaged(name, "PNG", "it lacks its header or its pixels")
    return found, pixels


def _next(raw: bytes, place: int, name: str) -> tuple[bytes, memoryview, int]:
    if place + 12 > len(raw):
        raise damaged(name, "PNG", f"it ends after {len(raw)} bytes, before its last chunk")
    length, kind = struct.unpack_from(">I4s", raw, place)
    end = place + 12 + length
    spelled = kind.decode("latin-1")
    if end > len(raw):
        raise damaged(name, "PNG", f"it ends after {len(raw)} bytes, within its {spelled!r} chunk")
    content = memoryview(raw)[place + 8 : end - 4]
    if zlib.crc32(content, zlib.crc32(kind)) != struct.unpack_from(">I", raw, end - 4)[0]:
        raise damaged(name, "PNG", f"the checksum of its {spelled!r} chunk is wrong")
    return kind, content, end


def pixels_only(raw: bytes, name: str) -> bytes:
    """The PNG without its optional chunks, about which libpng would print remarks."""
    parts = [_SIGNATURE]
    place = len(_SIGNATURE)
    kind = b""
    while kind != b"IEND":
        start = place
        kind, _, place = _next(raw, place, name)
        if kind[:1].isupper():
            parts.append(raw[start:place])
    return b"".join(parts)


def metadata_of(chunks: list[Chunk]) -> Metadata:
    """What to keep of a PNG: its chunks verbatim, and profile, EXIF and resolution for other formats."""
    kept = tuple(chunk for chunk in chunks if chunk[0] in _KEPT)
    first = dict(reversed(kept))
    return Metadata(_profile(first.get(b"iCCP", b"")), first.get(b"eXIf"), _dpi(first.get(b"pHYs", b"")), kept)


def _profile(chunk: bytes) -> bytes | None:
    _, _, rest = chunk.partition(b"\0")
    try:
        return zlib.decompressobj().decompress(rest[1:], _LARGEST_PROFILE) or None
    except zlib.error:
        return None


def _dpi(chunk: bytes) -> tuple[float, float] | None:
    if len(chunk) != 9 or chunk[8] != 1:  # only an aspect ratio
        return None
    x, y = struct.unpack_from(">II", chunk)
    return x * _METRES_PER_INCH, y * _METRES_PER_INCH


def write_chunks(
    stream: IO[bytes], header: bytes, pixels: Iterable[bytes], metadata: Metadata, icc: bytes | None
) -> tuple[str, ...]:
    """Write a PNG of the contents of its IHDR and IDAT chunks, with the metadata's chunks and the profile `icc`.

    Returns what could not be kept.
    """
    chunks, lost = (metadata.png, ()) if metadata.png else _built(metadata)
    kept = [(kind, content) for kind, content in chunks if kind != b"iCCP" or icc is not None]
    stream.write(_SIGNATURE)
    for kind, content in ((b"IHDR", header), *kept, *((b"IDAT", part) for part in pixels), (b"IEND", b"")):
        stream.write(struct.pack(">I", len(content)) + kind)
        stream.write(content)
        stream.write(struct.pack(">I", zlib.crc32(content, zlib.crc32(kind))))
    return lost


def _built(metadata: Metadata) -> tuple[tuple[Chunk, ...], tuple[str, ...]]:
    """Chunks for what came from a file of another format, and what they cannot hold."""
    chunks = []
    if metadata.icc is not None:
        chunks.append((b"iCCP", b"ICC Profile\0\0" + zlib.compress(metadata.icc)))
    dpi, lost = resolution_within(metadata, _METRES_PER_INCH, _LARGEST * _METRES_PER_INCH, "PNG")
    if dpi is not None:
        x, y = (round(value / _METRES_PER_INCH) for value in dpi)
        chunks.append((b"pHYs", struct.pack(">IIB", x, y, 1)))
    if metadata.exif is not None:
        chunks.append((b"eXIf", metadata.exif))
    return tuple(chunks), lost
