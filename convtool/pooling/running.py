"""Running reductions: the maximum, minimum or sum of a window at every position, at a cost that grows with log2(taps).

Along one axis, the maximum over the first k taps of a window of dilation d, m_k[p] = max x[p + i d], i = 0 .. k - 1,
obeys

    m_1 = x,    m_2k[p] = max(m_k[p], m_k[p + k d]),    m_N[p] = max(m_k[p], m_k[p + (N - k) d]),  k <= N <= 2 k

so about log2(N) passes give every window of N taps; the last pass overlaps, which a maximum forgives and a sum does
not. Sums follow the binary digits of N instead: m_{k+1}[p] = m_k[p] + x[p + k d] wherever a digit is 1. No sum is a
difference of larger sums, so nothing cancels, and a NaN stays where it is. A box is separable: one axis after another.

Speed comes from the order of the work. On a C-contiguous block [lead, n, trail] a shift along the axis is one flat
offset of k d trail, and what crosses the end of a row is left out at last; so every pass is one long loop, also for
channels-last images. Slabs and blocks have a size that a core's caches hold. The algorithm of van Herk needs only three
comparisons a sample, whatever the window, but not in long loops.

References
----------
M. van Herk, A fast algorithm for local minimum and maximum filters on rectangular and octagonal kernels, Pattern
Recognition Letters 13 (1992) 517-521, https://doi.org/10.1016/0167-8655(92)90069-C
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from convtool import boundary
from convtool.pooling.reductions import Planes, Reduction

_BLOCK = 1 << 20  # bytes of a plane; smaller ones fit more caches, but cost the interpreter more than that saves
_LONG = 1500  # samples in a row from which NumPy's loop over rows costs little
_NARROWEST = 64  # columns of a block


def reduce(x: np.ndarray, axes: Sequence[tuple[int, Axis]], reduction: Reduction, dtype: np.dtype, out: Planes) -> None:
    """Fill `out`, C-contiguous planes, with the reduction of x, computed in `dtype`, over windows.

    `axes` gives the dimensions of x with the windows along them, in the order to work in.
    """
    axes = [(i, axis) for i, axis in axes if not axis.is_identity or reduction.index is not None] or axes[:1]
    first, axis = min(axes, key=lambda item: item[0])
    lead, rest = math.prod(x.shape[:first]), x.shape[first + 1 :]
    source = np.ascontiguousarray(x).reshape(lead, x.shape[first], -1)
    targets = [plane.reshape(lead, axis.count, -1) for plane in out]
    lengths = dict(axes)
    row = math.prod(max(n, lengths[i].length) if i in lengths else n for i, n in enumerate(rest, first + 1))
    work = _Work(reduction)
    for items, rows in _slabs(lead, axis, row * dtype.itemsize):
        part = axis.part(rows)
        slab = work.gathered(source[items], part, 0, "slab").astype(dtype, copy=False)
        steps = [(i - first + 1, part.gathered() if i == first else other) for i, other in axes]
        work.slab(slab.reshape(-1, part.length, *rest), steps, tuple(plane[items, rows] for plane in targets))


def along(
    n: int, taps: int, count: int, before: int, stride: int, dilation: int, mode: str, is_idempotent: bool
) -> Axis:
    """The windows of an axis of n samples with `before` samples of padding, without taps that change nothing.

    A tap that lies outside the frame in every window reads one value alone where the mode is zero or edge; one such
    tap is kept on each side, since that value counts. Elsewhere a period of taps sees everything; whole periods are
    cut out, such that the first and the last of the taps stay what they are.
    """
    if mode == "zero" or (mode == "edge" and is_idempotent):
        first = min(max(-(((count - 1) * stride - before) // dilation) - 1, 0), taps - 1)
        last = max(min((n - 1 + before) // dilation + 1, taps - 1), first)
        taps, before = last - first + 1, before - first * dilation
    elif mode != "edge" and is_idempotent:
        period = {"periodic": n, "reflect": max(2 * n - 2, 1), "symmetric": 2 * n}[mode]
        taps = min(taps, period + taps % period)
    length = (count - 1) * stride + (taps - 1) * dilation + 1
    # A few samples that no window reads spare a copy: a whole axis is a view.
    positions = np.arange(max(length, n) if before == 0 else length) - before
    return Axis(n, -before, boundary.source(positions, n, mode), taps, count, stride, dilation)


def chain(taps: int, is_idempotent: bool) -> list[tuple[int, bool]]:
    """The passes from one tap to so many: (shift in taps, whether it is the source that is shifted).

    >>> chain(11, is_idempotent=True)
    [(1, False), (2, False), (4, False), (3, False)]
    """
    passes, k = [], 1
    if is_idempotent:
        while k < taps:
            passes.append((min(k, taps - k), False))
            k = min(2 * k, taps)
        return passes
    for digit in f"{taps:b}"[1:]:
        passes.append((k, False))
        k *= 2
        if digit == "1":
            passes.append((k, True))
            k += 1
    return passes


def _slabs(lead: int, axis: Axis, row: int) -> Iterator[tuple[slice, slice]]:
    """Parts of the work: several items with all their rows, or rows of one item; `row` is in bytes."""
    item = axis.length * row
    if item <= 2 * _BLOCK:
        step = max(1, _BLOCK // item)
        yield from ((slice(i, min(i + step, lead)), slice(0, axis.count)) for i in range(0, lead, step))
        return
    # What two slabs share is read and reduced twice: a fifth of the rows at most.
    step = max(1, (_BLOCK // row - axis.span) // axis.stride, 4 * axis.span // axis.stride)
    for i in range(lead):
        yield from ((slice(i, i + 1), slice(j, min(j + step, axis.count))) for j in range(0, axis.count, step))


def _strided(planes: Planes, shift: int, axis: Axis) -> Planes:
    """Every stride-th sample along the middle axis from `shift` on, one per window."""
    return tuple(p[:, shift : shift + (axis.count - 1) * axis.stride + 1 : axis.stride] for p in planes)


def _copy(out: np.ndarray, x: np.ndarray) -> None:
    """out[:] = x, [lead, n, trail], where short trails of contiguous samples move as one."""
    trail = out.shape[2] * out.itemsize
    if out.dtype == x.dtype and trail > out.itemsize and out.strides[2] == x.strides[2] == out.itemsize and trail < 64:
        out, x = out.view(f"V{trail}"), x.view(f"V{trail}")
    out[...] = x


@dataclass(frozen=True, eq=False)
class Axis:
    """Windows along one axis: output j reduces the samples j stride + m dilation, m = 0 .. taps - 1, of the extended
    axis, which starts at the position `start` of the frame's n samples; `sources` are the samples that it takes its
    values from, -1 for none, and `offsets` what each adds to an index.
    """

    n: int
    start: int
    sources: np.ndarray
    taps: int
    count: int
    stride: int
    dilation: int
    offsets: np.ndarray | None = None

    @property
    def length(self) -> int:
        """Samples of the extended axis."""
        return len(self.sources)

    @property
    def span(self) -> int:
        """Samples from a window's first tap to its last."""
        return (self.taps - 1) * self.dilation

    @property
    def is_identity(self) -> bool:
        """Whether the outputs are the inputs."""
        return (self.taps, self.count, self.stride, self.start) == (1, self.n, 1, 0)

    def part(self, rows: slice) -> Axis:
        """The windows of some outputs."""
        if rows.stop - rows.start == self.count:
            return self
        read = slice(rows.start * self.stride, (rows.stop - 1) * self.stride + self.span + 1)
        offsets = None if self.offsets is None else self.offsets[read]
        start, count = self.start + read.start, rows.stop - rows.start
        return replace(self, start=start, sources=self.sources[read], count=count, offsets=offsets)

    def gathered(self) -> Axis:
        """The same windows once the extended axis is there."""
        return replace(self, n=self.length, start=0, sources=np.arange(self.length))


class _Work:
    """A reduction at work: its scratch memory is used again from block to block, since fresh memory is slow."""

    def __init__(self, reduction: Reduction) -> None:
        self.reduction = reduction
        self._scratch: dict[tuple[str, int], np.ndarray] = {}

    def take(self, slot: str, number: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """Scratch memory for plane `number`; what was taken from the same slot before is overwritten."""
        size = math.prod(shape)
        held = self._scratch.get((slot, number))
        if held is None or held.size < size or held.dtype != dtype:
            held = self._scratch[slot, number] = np.empty(size, dtype)
        return held[:size].reshape(shape)

    def slab(self, values: np.ndarray, axes: Sequence[tuple[int, Axis]], out: Planes) -> None:
        """Reduce a slab along (dimension, windows), one after the other."""
        planes: Planes = (values,)
        if self.reduction.index is not None:
            planes = (values, np.broadcast_to(np.zeros((), self.reduction.index), values.shape))
        for number, (i, axis) in enumerate(axes):
            shape = planes[0].shape
            lead, trail = math.prod(shape[:i]), math.prod(shape[i + 1 :])
            planes = tuple(plane.reshape(lead, shape[i], trail) for plane in planes)
            into: list[np.ndarray] = []
            for k, plane in enumerate(planes):
                reduced = (lead, axis.count, trail)
                is_last = number == len(axes) - 1
                into.append(
                    out[k].reshape(reduced) if is_last else self.take(f"axis {number % 2}", k, reduced, plane.dtype)
                )
            self._axis(planes, axis, tuple(into))
            planes = tuple(plane.reshape(*shape[:i], axis.count, *shape[i + 1 :]) for plane in into)

    def _axis(self, planes: Planes, axis: Axis, out: Planes) -> None:
        """Reduce [lead, n, trail] to [lead, count, trail], in blocks of leads and columns."""
        lead, n, trail = planes[0].shape
        column = max(n, axis.length) * planes[0].itemsize
        wide = trail if column * trail <= 2 * _BLOCK else max(_NARROWEST, _BLOCK // column)
        high = max(1, _BLOCK // (column * min(wide, trail)))
        for i in range(0, lead, high):
            for j in range(0, trail, wide):
                read, written = ([p[i : i + high, :, j : j + wide] for p in group] for group in (planes, out))
                self._block(self._loaded(read, axis), axis, tuple(written))

    def _loaded(self, planes: Sequence[np.ndarray], axis: Axis) -> Planes:
        """The extended axis of each plane, the indices grown by this axis's offsets."""
        found = [self.gathered(plane, axis, k, "block") for k, plane in enumerate(planes)]
        if axis.offsets is not None:
            indices = self.take("indices", 1, found[1].shape, found[1].dtype)
            found[1] = np.add(found[1], axis.offsets[:, None], out=indices)
        return tuple(found)

    def gathered(self, plane: np.ndarray, axis: Axis, number: int, slot: str) -> np.ndarray:
        """The extended axis of a plane [lead, n, trail]: a view where it lies inside the frame, else a filled copy."""
        lead, _, trail = plane.shape
        first, last = max(-axis.start, 0), max(min(axis.n - axis.start, axis.length), 0)
        if (first, last) == (0, axis.length):
            return plane[:, axis.start : axis.start + axis.length]
        copy = self.take(slot, number, (lead, axis.length, trail), plane.dtype)
        if first < last:
            copy[:, first:last] = plane[:, axis.start + first : axis.start + last]
        for margin in (slice(0, first), slice(last, axis.length)):
            sources = axis.sources[margin]
            if sources.size and sources[0] < 0:
                copy[:, margin] = self.reduction.outside if number == 0 else 0
            elif sources.size:
                copy[:, margin] = plane[:, sources]
        return copy

    def _block(self, planes: Planes, axis: Axis, out: Planes) -> None:
        if axis.taps == 1:
            for target, plane in zip(out, _strided(planes, 0, axis), strict=True):
                _copy(target, plane)
            return
        passes = chain(axis.taps, self.reduction.is_idempotent)
        run = out[0].shape[2] * (axis.count if axis.stride == 1 else 1)
        # Where windows hardly overlap, most of what the passes compute would be thrown away by the stride.
        if run >= _LONG // 4 and (axis.taps - 2) * axis.count < (len(passes) - 1) * axis.length:
            self._tap_by_tap(planes, axis, out)
        else:
            self._doubling(planes, axis, passes, out, run >= _LONG and len(out) == 1)

    def _tap_by_tap(self, planes: Planes, axis: Axis, out: Planes) -> None:
        self.reduction.combine(_strided(planes, 0, axis), _strided(planes, axis.dilation, axis), out)
        for m in range(2, axis.taps):
            self.reduction.combine(out, _strided(planes, m * axis.dilation, axis), out)

    def _doubling(
        self, planes: Planes, axis: Axis, passes: Sequence[tuple[int, bool]], out: Planes, is_direct: bool
    ) -> None:
        """Each pass one flat loop, and the last one straight into `out` where that is asked for."""
        shape = planes[0].shape
        source = current = tuple(self._flat(plane, k) for k, plane in enumerate(planes))
        buffers = [tuple(self.take(f"pass {b}", k, p.shape, p.dtype) for k, p in enumerate(source)) for b in (0, 1)]
        size = length = len(source[0])
        for number, (taps, is_source) in enumerate(passes[: len(passes) - is_direct]):
            shift = taps * axis.dilation * shape[2]
            length = (size if is_source else length) - shift
            into = buffers[number % 2]
            later = source if is_source else current
            self.reduction.combine(
                tuple([p[:length] for p in current]),
                tuple([p[shift : shift + length] for p in later]),
                tuple([p[:length] for p in into]),
            )
            current = into
        first = _strided(tuple(p.reshape(shape) for p in current), 0, axis)
        if is_direct:
            shift = passes[-1][0] * axis.dilation
            later = source if passes[-1][1] else current
            self.reduction.combine(first, _strided(tuple(p.reshape(shape) for p in later), shift, axis), out)
            return
        for target, plane in zip(out, first, strict=True):
            _copy(target, plane)

    def _flat(self, plane: np.ndarray, number: int) -> np.ndarray:
        if plane.flags.c_contiguous:
            return plane.reshape(-1)
        copy = self.take("flat", number, plane.shape, plane.dtype)
        copy[...] = plane
        return copy.reshape(-1)
