"""The engine of gradients: derivatives along several axes at once, in blocks that stay in the processor's cache.

A block of the image is laid into a buffer with a margin of one pixel around its spatial axes, in the order that the
axes have in memory. There the neighbours of all pixels along an axis lie at one flat offset, so every operation is a
single long loop over the buffer, whatever the number and order of the axes; what it computes across the ends of rows
falls on the margins, and stays there.

Values enter a block times 2^-k, with 2^k >= sum |taps|, so that no sum overflows, and nothing is rounded but what is
near the smallest numbers there are. Squares over- and underflow long before their root does, and where: `inexact`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from convtool import boundary, process, ranges
from convtool.errors import DataError

_BLOCK = 1 << 17  # samples of a block with its margins: with its operands it fits a core's second-level cache
_THREADED = 1 << 23  # samples of an image below which threads save little: most of the time goes to memory
_ROW = 32  # a block is cut across the axis that is innermost in memory when this many times longer than the others


def compute(field: Field, store: Callable[[Block, list[np.ndarray]], None], count: int) -> list[np.ndarray]:
    """So many arrays like the image, filled block by block: `store` gets a loaded block and its part of each.

    Raises DataError for an image that is not finite.
    """
    results = [np.empty_like(field.image, dtype=field.dtype, subok=False) for _ in range(count)]
    targets = [result.transpose(field.memory) for result in results]
    shape = targets[0].shape
    lengths = _lengths(shape, field.spatial)
    tiles = list(itertools.product(*(_pieces(field, axis, n, lengths[axis]) for axis, n in enumerate(shape))))

    def work(mine: list[tuple[_Piece, ...]]) -> None:
        block = Block(field, lengths)
        with np.errstate(all="ignore"):
            for tile in mine:
                block.load(tile)
                store(block, [target[tuple(piece.part for piece in tile)] for target in targets])

    workers = min(process.workers(), len(tiles)) if field.image.size >= _THREADED else 1
    if workers == 1:
        work(tiles)
    else:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(work, [tiles[first::workers] for first in range(workers)]))
    return results


def _lengths(shape: Sequence[int], spatial: tuple[int, ...]) -> list[int]:
    """The shape of a block: fewer pictures before parts of pictures, since only parts need margins from each other."""
    found, last = list(shape), len(shape) - 1

    def size() -> int:
        return math.prod(n + 2 * (axis in spatial) for axis, n in enumerate(found))

    for axis in range(last):
        if axis not in spatial:
            found[axis] = max(1, min(found[axis], _BLOCK * found[axis] // size()))
    while size() > _BLOCK and max(found) > 1:
        axis = max({*spatial, last}, key=lambda a: found[a] / (_ROW if a == last and found[a] > _ROW else 1))
        found[axis] = -(-found[axis] // 2)
    return found


@dataclass(frozen=True)
class Stencil:
    """Unnormalised taps: of smoothing, and whether the derivative is x[n + 1] - x[n] or x[n + 1] - x[n - 1]."""

    smoothing: tuple[int, int, int] = (0, 1, 0)
    forward: bool = False


@dataclass(frozen=True, eq=False)
class Field:
    """What is differentiated: an image and its computing dtype, the taps, the boundary.

    `memory` are the image's axes as they lie in memory, outermost first; `spatial` are the places in this order of the
    axes to differentiate along.
    """

    image: np.ndarray
    memory: tuple[int, ...]
    spatial: tuple[int, ...]
    stencil: Stencil
    boundary: str
    dtype: np.dtype

    @property
    def weight(self) -> int:
        """The sum of the absolute values of the unnormalised taps of one component."""
        return 2 * sum(self.stencil.smoothing) ** (len(self.spatial) - 1)

    @property
    def scale(self) -> float:
        """The power of two that values are multiplied by before anything is summed."""
        return 0.5 ** math.ceil(math.log2(self.weight))

    @property
    def divisor(self) -> float:
        """What sums of scaled values are divided by at last: what they make of a ramp of slope 1."""
        return self.scale * (self.weight / 2 if self.stencil.forward else self.weight)


@dataclass(frozen=True)
class _Piece:
    """One axis of a block: its part of the image, and where its samples with margins come from (None: zeros)."""

    part: slice
    copies: tuple[tuple[slice, slice | None], ...]


def _pieces(field: Field, axis: int, n: int, length: int) -> list[_Piece]:
    """An axis cut into blocks."""
    parts = [slice(first, min(first + length, n)) for first in range(0, n, length)]
    if axis not in field.spatial:
        return [_Piece(part, ((slice(None), part),)) for part in parts]
    before, after = boundary.source(np.array([-1, n]), n, field.boundary).tolist()
    found = []
    for part in parts:
        low, high = max(part.start - 1, 0), min(part.stop + 1, n)
        inside = (slice(low - part.start + 1, high - part.start + 1), slice(low, high))
        outside = [(-1, before)] * (part.start == 0) + [(n, after)] * (part.stop == n)
        margins = [(_single(p - part.start + 1), None if q < 0 else _single(q)) for p, q in outside]
        found.append(_Piece(part, (inside, *margins)))
    return found


def _single(position: int) -> slice:
    return slice(position, position + 1)


class Block:
    """Buffers for one block at a time, flat; `between` is the range from its first pixel to its last."""

    def __init__(self, field: Field, lengths: Sequence[int]) -> None:
        self.field = field
        self._x = field.image.transpose(field.memory)
        self._smooths = field.stencil.smoothing != (0, 1, 0)
        size = math.prod(n + 2 * (axis in field.spatial) for axis, n in enumerate(lengths))
        self._values, self._derivative, self.squares = np.zeros((3, size), field.dtype)
        self._smoothed = np.empty((len(field.spatial) - 1 if self._smooths else 0, size), field.dtype)

    def load(self, tile: tuple[_Piece, ...]) -> None:
        """Lay a block with its margins into the buffer, scaled; raises DataError for what is not finite there."""
        field = self.field
        lengths = [piece.part.stop - piece.part.start for piece in tile]
        self._shape = [n + 2 * (axis in field.spatial) for axis, n in enumerate(lengths)]
        self._inside = tuple(slice(1, -1) if axis in field.spatial else slice(None) for axis in range(len(tile)))
        self._steps = [math.prod(self._shape[axis + 1 :]) for axis in field.spatial]
        self._flat = self._values[: math.prod(self._shape)]
        self.between = slice(sum(self._steps), self._flat.size - sum(self._steps))
        values = self._flat.reshape(self._shape)
        for copies in self._copies(tile):
            target = values[tuple(to for to, _ in copies)]
            origin = tuple(start for _, start in copies if start is not None)
            if len(origin) < len(copies):
                target[...] = 0
            else:
                np.multiply(self._x[origin], field.scale, out=target, dtype=field.dtype, casting="same_kind")
        if field.image.dtype.kind == "f":
            self._check_finite()

    def _copies(self, tile: tuple[_Piece, ...]) -> Iterator[tuple[tuple[slice, slice | None], ...]]:
        """What fills the buffer; corners, which only smoothing reads, keep what they held."""
        if self._smooths:
            yield from itertools.product(*(piece.copies for piece in tile))
            return
        inside = tuple(piece.copies[0] for piece in tile)
        yield inside
        for axis, piece in enumerate(tile):
            yield from ((*inside[:axis], margin, *inside[axis + 1 :]) for margin in piece.copies[1:])

    def _check_finite(self) -> None:
        self._peak = max(-float(self._flat.min()), float(self._flat.max()))
        if not math.isfinite(self._peak):
            ranges.check_image(self.field.image)
            advice = "compute in double precision" if self.field.dtype == np.float32 else "scale the image"
            raise DataError(f"the image holds values too large for {self.field.dtype}: {advice}")

    def component(self, which: int) -> np.ndarray:
        """The scaled derivative along one of the spatial axes: flat, for the range `between`, until the next call."""
        step, line = self._steps[which], self._flat
        others = [other for axis, other in enumerate(self._steps) if axis != which]
        if self._smooths:
            for other, out in zip(others, self._smoothed, strict=True):
                line = self._smooth(line, other, out)
        else:
            line = line[sum(others) : line.size - sum(others)]
        behind = line[step:-step] if self.field.stencil.forward else line[: -2 * step]
        return np.subtract(line[2 * step :], behind, out=self._derivative[self.between])

    def _smooth(self, line: np.ndarray, step: int, out: np.ndarray) -> np.ndarray:
        """The weighted sums of each sample and its two neighbours at this step; shorter by a step at both ends."""
        side, middle, _ = self.field.stencil.smoothing
        result = np.add(line[: -2 * step], line[2 * step :], out=out[: line.size - 2 * step])
        if side != 1:
            result *= side
        inner = line[step:-step]
        result += inner if middle == 1 else np.multiply(inner, middle, out=self._derivative[: inner.size])
        return result

    def pixels(self, flat: np.ndarray) -> np.ndarray:
        """What a buffer holds for the block's pixels: a view without margins."""
        return flat[: self._flat.size].reshape(self._shape)[self._inside]

    def derivative(self, which: int) -> np.ndarray:
        """`component` as the block's pixels, until the next call."""
        self.component(which)
        return self.pixels(self._derivative)

    def inexact(self) -> np.ndarray | None:
        """Which pixels' sums of squares, in `squares`, have over- or underflowed; None where none can have."""
        if self.field.image.dtype.kind != "f":
            return None
        limits = np.finfo(self.field.dtype)
        least, most = float(limits.tiny / limits.eps), float(limits.max)
        too_large = self._peak * self.field.weight > math.sqrt(most) / 2
        if not too_large and (self.squares[self.between].min() >= least or not self._has_below(least)):
            return None
        sums = self.pixels(self.squares)
        return ~((sums >= least) & (sums <= most))

    def _has_below(self, square: float) -> bool:
        """Whether any values but zeros are so small that their difference may have a square below this.

        Sums of floats, times integers, are multiples of the last bit of the least one.
        """
        sizes = np.abs(self._flat, out=self._derivative[: self._flat.size])
        bound = 2 * math.sqrt(square) / float(np.finfo(self.field.dtype).eps)
        return bool(((sizes < bound) & (sizes > 0)).any())
