"""The pixels of a PNG, encoded on all cores: rows are filtered, then deflated in parts that stand by themselves.

A filter leaves of each byte x what its neighbours do not predict, modulo 256: a lies one pixel to the left, b above,
c above a; outside the picture they are 0.

    0: x    1: x - a    2: x - b    3: x - floor((a + b) / 2)    4: x - the nearest of a, b, c to a + b - c

Rows go in bands that stay in a core's cache. A band gets the filter that leaves the least, which some of its rows tell:
the least sum of the differences' sizes, as signed bytes.

A part is a run of rows, so long whatever the number of threads, so that the file does not depend on them. It is
deflated (RFC 1951) by itself, and ended by an empty block at a byte's edge, the last one by the final block: one after
another they are one zlib stream (RFC 1950), each in an IDAT chunk of its own. Matches are runs of one byte alone
(Z_RLE), which reach back by one byte, so nothing is lost where parts meet. The stream's Adler-32 is that of its parts,

    A(uv) = A(u) + A(v) - 1,    B(uv) = B(u) + B(v) + |v| (A(u) - 1)    modulo 65521,    checksum = A + 2^16 B

https://www.w3.org/TR/png-3/ (sections 9 and 10). Of photographs this is a sixth of the work of level 6 with all its
matches, and the files are as large; those of drawings, with their repetitions, are up to a fifth larger.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

import numpy as np

from convtool import process

_PART, _BAND = 1 << 20, 1 << 17  # bytes of pixels
_EVERY = 3  # of a band's rows, the one that is asked; odd, since of an enlarged picture every other row is a copy
_ADLER = 65521
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # by samples a pixel: grey, grey and alpha, RGB, RGB and alpha
_ZLIB_HEADER = b"\x78\x01"
_MEMORY = 9


class _Part(NamedTuple):
    """A deflated run of rows; checksum and length are those of its filtered bytes."""

    deflated: bytes
    checksum: int
    length: int


def header(pixels: np.ndarray) -> bytes:
    """The content of the IHDR chunk for pixels [Y, X] or [Y, X, samples] of 8 or 16 bits."""
    samples = 1 if pixels.ndim == 2 else pixels.shape[2]
    height, width = pixels.shape[:2]
    return struct.pack(">IIBBBBB", width, height, 8 * pixels.itemsize, _COLOUR_TYPES[samples], 0, 0, 0)


def encoded(pixels: np.ndarray) -> list[bytes]:
    """The contents of the IDAT chunks, in their order, for pixels [Y, X] or [Y, X, samples] of 8 or 16 bits."""
    row = 1 + pixels[0].nbytes
    starts = range(0, len(pixels), max(1, _PART // row))
    parts = process.each(lambda start: _part(pixels, start, min(start + starts.step, len(pixels))), starts)
    chunks = [part.deflated for part in parts]
    chunks[0] = _ZLIB_HEADER + chunks[0]
    chunks[-1] += struct.pack(">I", _checksum(parts))
    return chunks


def _part(pixels: np.ndarray, start: int, stop: int) -> _Part:
    deflate = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS, _MEMORY, zlib.Z_RLE)
    pieces, checksum, length = [], 1, 0
    step = max(1, _BAND // (1 + pixels[0].nbytes))
    for first in range(start, stop, step):
        rows = _filtered(pixels, first, min(first + step, stop))
        pieces.append(deflate.compress(rows.data))
        checksum, length = zlib.adler32(rows.data, checksum), length + rows.size
    pieces.append(deflate.flush(zlib.Z_FINISH if stop == len(pixels) else zlib.Z_SYNC_FLUSH))
    return _Part(b"".join(pieces), checksum, length)


def _checksum(parts: list[_Part]) -> int:
    a, b = 1, 0
    for part in parts:
        b += (part.checksum >> 16) + part.length * (a - 1)
        a += (part.checksum & 0xFFFF) - 1
    return a % _ADLER | b % _ADLER << 16


def _filtered(pixels: np.ndarray, first: int, stop: int) -> np.ndarray:
    """The bytes of rows first to stop, each after its filter's number, [rows, 1 + bytes of a row]."""
    margin = pixels.itemsize * (1 if pixels.ndim == 2 else pixels.shape[2])
    frame = np.zeros((1 + stop - first, margin + pixels[0].nbytes), np.uint8)
    top = max(first - 1, 0)
    frame[top - first + 1 :, margin:] = _bytes(pixels[top:stop])
    above, rows = frame[:-1], frame[1:]
    costs = [_size(_differences(kind, above[::_EVERY], rows[::_EVERY], margin)) for kind in range(5)]
    kind = costs.index(min(costs))
    out = np.empty((len(rows), 1 + pixels[0].nbytes), np.uint8)
    out[:, 0] = kind
    out[:, 1:] = _differences(kind, above, rows, margin)
    return out


def _bytes(pixels: np.ndarray) -> np.ndarray:
    """[rows, bytes of a row], the high byte of each sample first."""
    ordered = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder(">"))
    return ordered.reshape(len(pixels), -1).view(np.uint8)


def _differences(kind: int, above: np.ndarray, rows: np.ndarray, margin: int) -> np.ndarray:
    """What a filter leaves of rows, which have a margin of one pixel of zeros, as the rows above them have."""
    x, a, b, c = rows[:, margin:], rows[:, :-margin], above[:, margin:], above[:, :-margin]
    if kind == 0:
        return x
    if kind < 3:
        return x - (a if kind == 1 else b)
    return x - (((a & b) + ((a ^ b) >> 1)) if kind == 3 else _nearest(a, b, c))


def _nearest(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Which of a, b, c is nearest to a + b - c, the earlier where two are (Paeth); in bytes, without wrapping.

    With A = |b - c| and B = |a - c|, the distances of a and b, that of c is |A - B| where c lies between a and b, and
    A + B, which is never less than both, where it does not.
    """
    to_a, to_b = np.maximum(b, c) - np.minimum(b, c), np.maximum(a, c) - np.minimum(a, c)
    to_c = np.maximum(to_a, to_b) - np.minimum(to_a, to_b)
    is_c = ((a < c) ^ (b < c)) & (to_c < to_a) & (to_c < to_b)
    return _either(is_c, c, _either(to_a <= to_b, a, b))


def _either(condition: np.ndarray, chosen: np.ndarray, other: np.ndarray) -> np.ndarray:
    """chosen where the condition holds, else other: several times as fast as `np.where` for bytes."""
    return other ^ ((other ^ chosen) & np.negative(condition.view(np.uint8)))


def _size(differences: np.ndarray) -> int:
    return int(np.minimum(differences, np.negative(differences)).sum(dtype=np.int64))
