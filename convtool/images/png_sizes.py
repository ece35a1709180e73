"""Whether a PNG's compressed bytes hold as many pixels as its header says; no codec asks.

Pillow takes a stream that ends too early, where it ends between two rows, and leaves the rows below as they were.
https://www.w3.org/TR/png-3/#7Scanline
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

from convtool.images.guard import damaged, decoding

SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # stored, by colour type: a palette's are indices
_MOST = 1032  # bytes that one of deflate may unpack to: 258 for 2 bits
_PIECE = 1 << 20
# First column and row, and the steps, of Adam7's passes.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def check_possible(deflated: Sequence[bytes | memoryview], name: str, header: bytes) -> None:
    """Refuse pixels that so few bytes cannot hold, before room is made for them."""
    needed, held = _stored(header), sum(map(len, deflated))
    if needed > _MOST * held:
        raise damaged(name, "PNG", f"{held} bytes cannot hold its {needed} bytes of pixels")


def check_whole(deflated: Sequence[bytes | memoryview], name: str, header: bytes) -> None:
    """Refuse compressed pixels that end before the last of them; they are unpacked for it, piece by piece."""
    needed, found = _stored(header), 0
    stream = zlib.decompressobj()
    with decoding(name, "PNG"):
        for part in deflated:
            left: bytes | memoryview = part
            while found < needed:
                piece = stream.decompress(left, _PIECE)
                found, left = found + len(piece), stream.unconsumed_tail
                if len(piece) < _PIECE and not left:
                    break
    if found < needed:
        raise damaged(name, "PNG", f"its pixels end after {found} of {needed} bytes")


def _stored(header: bytes) -> int:
    """Bytes of all rows, each of which begins with the number of its filter."""
    width, height, depth, colour, _, _, is_interlaced = struct.unpack(">IIBBBBB", header)
    bits = depth * SAMPLES[colour]
    grids = [(width, height)]
    if is_interlaced:
        grids = [((width - x + dx - 1) // dx, (height - y + dy - 1) // dy) for x, y, dx, dy in _PASSES]
    return sum(rows * (1 + (columns * bits + 7) // 8) for columns, rows in grids if min(columns, rows) > 0)
