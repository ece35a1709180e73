"""The engine for small kernels: a correlation as a sum over its taps, each of them one contiguous slice.

    y[o, j] = sum_i sum_m  w[o, i, m]  e[i, j s + m d]                   e: the extended signal, one group

*Phases.* With m d = q s + r, 0 <= r < s on every axis, tap m reads only the phase e_r[n] = e[n s + r], and
y[j] = sum_m w[m] e_r(m)[j + q(m)]: a correlation of stride 1. With stride 1 there is one phase, e itself.

*Flat.* Phases have one shape, so a tap reads at the same distance, <q, strides>, from every output once both are
flattened in C order. On outputs as wide as a phase, what a tap adds is then one slice times a number (a matrix where
channels mix), whatever the number of axes; the columns beyond the outputs are not read.

*Adjoint.* e_r[n] = sum over taps of phase r of w[m]^T y[n - q(m)], the same sum on y with zeros around it.

Work goes block by block of rows over the threads of the process. A block's extended signal, its phases and its outputs
are made in a core's cache. Rounding: each output is a plain sum of its products in the order of the taps, so with the
unit roundoff u of the dtype, and n taps (times i where channels mix)

    |error| <= (n + 1) u / (1 - (n + 1) u)  sum |w| |x|

References: Higham 2002, Accuracy and Stability of Numerical Algorithms, ch. 3 (doi:10.1137/1.9780898718027).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from convtool import blas, boundary, process, scratch
from convtool.geometry import Geometry

_BLOCK = (
    1 << 19
)  # samples of outputs, all channels, in a block: smaller ones make threads wait for the interpreter more
_MIXED = 1 << 16  # samples of a product of matrices, of all its rows
_UNPACKED = 976_000  # multiply-adds of a product that OpenBLAS computes without a copy of its factors first
_PRODUCT = 32  # entries of a tap's matrix from which on a matrix product beats a sum for each entry
_EARNS_IMPORT = 3e8  # multiply-adds that NumPy takes as much longer over as importing SciPy's BLAS takes
_THREADED = 1 << 18  # multiply-adds below which a second thread costs more than it saves
_OVERLAP = 2  # rows of a block are at least a kernel's reach over this, so that little is extended twice


class _Tap(NamedTuple):
    """What a tap reads and does: its phase, its place q from the output on, its matrix [o, i]."""

    phase: int
    place: tuple[int, ...]
    matrix: np.ndarray


class _Stack(NamedTuple):
    """Taps on rows first ... end - 1 of a phase, at one place on the other axes: a matrix [o, (row, i)]."""

    phase: int
    first: int
    end: int
    place: tuple[int, ...]
    matrix: np.ndarray


@dataclass(frozen=True, eq=False)
class _Sum:
    """out[o, j] = sum over taps of matrix [o, i] e_phase[i, j + place], where e extends a signal [i, *grid]."""

    signal: np.ndarray
    margins: boundary.Margins
    mode: str
    stride: tuple[int, ...]
    reach: tuple[int, ...]
    taps: list[_Tap]
    out: np.ndarray

    @property
    def is_product(self) -> bool:
        """Whether taps are products of matrices; sums over their entries otherwise."""
        return len(self.signal) * len(self.out) >= _PRODUCT

    @functools.cached_property
    def columns(self) -> int:
        """How many columns a product has: about equal parts of all."""
        most = max(_UNPACKED // max(stack.matrix.size for stack in self.stacks), 128) if self.taps else 1
        count = math.prod(self.out.shape[2:] or self.out.shape[1:])
        return -(-count // -(-count // most))

    @functools.cached_property
    def stacks(self) -> list[_Stack]:
        """Taps that lie on successive rows, as one matrix."""
        runs: dict[tuple[int, tuple[int, ...]], list[_Stack]] = {}
        for phase, place, matrix in sorted(self.taps, key=lambda tap: tap.place):
            row, rest = (place[0], place[1:]) if len(place) > 1 else (0, place)
            found = runs.setdefault((phase, rest), [])
            if found and found[-1].end == row:
                found[-1] = found[-1]._replace(end=row + 1, matrix=np.hstack([found[-1].matrix, matrix]))
            else:
                found.append(_Stack(phase, row, row + 1, rest, matrix))
        return [stack for run in runs.values() for stack in run]

    @functools.cached_property
    def entries(self) -> list[list[tuple[float, Any, int, int]]]:
        """For each o: every entry of its row of a tap's matrix, also as BLAS takes it, with i and the tap's number."""
        number = blas.routines(self.signal.dtype).number
        found = []
        for o in range(len(self.out)):
            all_ = [(tap.matrix[o, i], i, k) for k, tap in enumerate(self.taps) for i in range(len(self.signal))]
            found.append([(w, number(w), i, k) for n, (w, i, k) in enumerate(all_) if w or not n])
        return found


class DirectEngine:
    """Correlation with window taps [g, o, i, *extent]; g = 1 is shared by all groups of x."""

    def __init__(self, taps: np.ndarray, geometry: Geometry, dtype: np.dtype) -> None:
        self.taps, self.geometry = taps.astype(dtype), geometry
        self._places = [tuple(m) for m in np.argwhere((taps != 0).any(axis=(0, 1, 2)))]
        self._reads = [_divided(m, geometry.dilation, geometry.stride) for m in self._places]  # (q, r) of each tap
        self._reach = tuple(np.max([q for q, _ in self._reads] or [(0,) * len(geometry.grid)], axis=0).tolist())

    def forward(self, x: np.ndarray) -> np.ndarray:
        """[n, g, o, *outputs] of x [n, g, i, *grid]."""
        geometry = self.geometry
        phases = list(np.ndindex(geometry.stride))
        out = np.empty((*x.shape[:2], self.taps.shape[1], *geometry.outputs), x.dtype)
        sums = []
        for n, g in np.ndindex(x.shape[:2]):
            taps = [_Tap(phases.index(r), q, self._matrix(g, m)) for m, (q, r) in self._steps()]
            sums.append(
                _Sum(x[n, g], geometry.padding, geometry.boundary, geometry.stride, self._reach, taps, out[n, g])
            )
        _compute(sums)
        return out

    def adjoint(self, y: np.ndarray) -> np.ndarray:
        """[n, g, i, *grid] of y [n, g, o, *outputs]."""
        geometry = self.geometry
        extended = np.empty((*y.shape[:2], self.taps.shape[2], *geometry.extended), y.dtype)
        sums = []
        for n, g in np.ndindex(y.shape[:2]):
            for phase in np.ndindex(geometry.stride):
                part = extended[n, g][:, *_every(phase, geometry.stride)]
                rows = zip(part.shape[1:], geometry.outputs, self._reach, strict=True)
                margins = [(reach, max(size - count, 0)) for size, count, reach in rows]
                back = [
                    _Tap(0, tuple(np.subtract(self._reach, q).tolist()), self._matrix(g, m).T)
                    for m, (q, r) in self._steps()
                    if r == phase
                ]
                sums.append(_Sum(y[n, g], margins, "zero", (1,) * len(phase), self._reach, back, part))
        _compute(sums)
        return boundary.fold(extended, geometry.padding, geometry.boundary)

    def _steps(self) -> Any:
        return zip(self._places, self._reads, strict=True)

    def _matrix(self, group: int, m: tuple[int, ...]) -> np.ndarray:
        return self.taps[group % len(self.taps)][(..., *m)]


def _divided(
    m: tuple[int, ...], dilation: Sequence[int], stride: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(q, r) with m d = q s + r."""
    pairs = [divmod(int(k) * d, s) for k, d, s in zip(m, dilation, stride, strict=True)]
    return tuple(q for q, _ in pairs), tuple(r for _, r in pairs)


def _compute(sums: list[_Sum]) -> None:
    """All sums, block by block."""
    work = 0.0
    for each in sums:
        work += sum(tap.matrix.size for tap in each.taps) * math.prod(each.out.shape[1:])
    is_brief = process.policy.one_shot and work < _EARNS_IMPORT
    blocks = [(each, first, rows, is_brief) for each in sums if each.out.size for first, rows in _rows(each)]
    if work < _THREADED:
        for block in blocks:
            _compute_block(block)
        return
    if not is_brief and not sums[0].is_product:
        blas.routines(sums[0].signal.dtype)  # loaded, so that it can be told
    with blas.single_threaded():
        process.each(_compute_block, blocks)


def _rows(each: _Sum) -> list[tuple[int, int]]:
    """(first, count) of the blocks of outputs along the first axis."""
    outputs, others = each.out.shape[1], math.prod(each.out.shape[2:])
    most = _BLOCK // (max(each.out.shape[0], each.signal.shape[0]) * others)
    if each.is_product:
        most = min(most, _MIXED // (each.out.shape[0] * min(each.columns, others)))
    most = max(1, most, each.reach[0] // _OVERLAP)
    return [(first, min(most, outputs - first)) for first in range(0, outputs, most)]


def _compute_block(block: tuple[_Sum, int, int, bool]) -> None:
    """Some rows of outputs of a sum."""
    each, first, rows, is_brief = block
    target = each.out[:, first : first + rows]
    if not each.taps:
        target[...] = 0
        return
    phases = _phases(each, first, rows)
    if each.is_product:
        _products(each, phases, target)
        return
    shape = phases.shape[2:]
    width = math.prod(shape[1:])
    wide = scratch.array("out", (len(target), rows * width), phases.dtype)
    last = np.ravel_multi_index([n - 1 for n in target.shape[1:]], shape)
    (_numpy_sum if is_brief else _blas_sum)(each, phases, wide, int(last) + 1)
    target[...] = wide.reshape(len(target), rows, *shape[1:])[:, :, *(slice(n) for n in target.shape[2:])]


def _phases(each: _Sum, first: int, rows: int) -> np.ndarray:
    """The phases [i, phase, *shape] that these rows of outputs read."""
    stride, channels = each.stride, len(each.signal)
    extended = [n + sum(m) for n, m in zip(each.signal.shape[1:], each.margins, strict=True)]
    inner = [-(-n // s) for n, s in zip(extended[1:], stride[1:], strict=True)]
    shape = (rows + each.reach[0], *inner)
    starts = (first * stride[0] - each.margins[0][0], *(-before for before, _ in each.margins[1:]))
    before, after = (shape[:1], shape[1:]) if each.is_product and len(shape) > 1 else ((), shape)
    memory = (math.prod(stride), *before, channels, *after) if each.is_product else (channels, math.prod(stride), *shape)
    out = scratch.array("phases", memory, each.signal.dtype)
    if each.is_product:
        out = np.moveaxis(out, 1 + len(before), 0)
    if out.shape[1] == 1:
        boundary.piece(each.signal, starts, each.mode, out[:, 0])
        return out
    whole = scratch.array("extended", (channels, shape[0] * stride[0], *extended[1:]), each.signal.dtype)
    boundary.piece(each.signal, starts, each.mode, whole)
    for number, phase in enumerate(np.ndindex(stride)):
        part = whole[:, *_every(phase, stride)]
        out[:, number] = 0
        inside: Any = [slice(n) for n in part.shape[1:]]
        out[:, number, *inside] = part
    return out


def _every(phase: Sequence[int], stride: Sequence[int]) -> Any:
    """Which samples of an extended signal are this phase."""
    return [slice(r, None, s) for r, s in zip(phase, stride, strict=True)]


def _products(each: _Sum, phases: np.ndarray, target: np.ndarray) -> None:
    """Rows of outputs, target [o, *rows], from phases [i, phase, *rows] that lie in memory as [phase, row, i, ...].

    So the samples that successive rows' taps read of all channels are the rows of one matrix. On one axis alone, its
    samples are the columns, and there is one row.
    """
    lead = min(1, phases.ndim - 3)
    signals = np.moveaxis(phases, 0, 1 + lead)
    inner, (o, i) = signals.shape[2 + lead :], (len(target), len(phases))
    rows, width, item = target.shape[1] if lead else 1, math.prod(inner), phases.itemsize
    count = int(np.ravel_multi_index([n - 1 for n in target.shape[1 + lead :]], inner)) + 1
    shape = inner if len(inner) > 1 else (count,)
    sums = scratch.array("out", (rows, o, math.prod(shape)), phases.dtype)
    for begin in range(0, count, each.columns):
        columns = min(each.columns, count - begin)
        product = scratch.array("product", (rows, o, columns), phases.dtype)
        for number, stack in enumerate(each.stacks):
            start = stack.first * i * width + int(np.ravel_multi_index(stack.place, inner)) + begin
            sizes, steps = (rows, stack.matrix.shape[1], columns), (i * width * item, width * item, item)
            read = as_strided(signals[stack.phase].reshape(-1)[start:], sizes, steps)
            into = sums[:, :, begin : begin + columns]
            np.matmul(stack.matrix, read, out=product if number else into)
            if number:
                into += product
    found = sums.reshape(rows, o, *shape)[:, :, *(slice(n) for n in target.shape[1 + lead :])]
    target[...] = found.swapaxes(0, 1).reshape(target.shape)


def _blas_sum(each: _Sum, phases: np.ndarray, wide: np.ndarray, count: int) -> None:
    """wide[o, :count] = the sum over taps, which read the flattened phases [i, phase, *shape]."""
    taps = each.taps
    routines, item, shape = blas.routines(phases.dtype), phases.dtype.itemsize, phases.shape[2:]
    phase = math.prod(shape)
    channel = phase * phases.shape[1]
    starts = [tap.phase * phase + int(np.ravel_multi_index(tap.place, shape)) for tap in taps]
    base = phases.ctypes.data
    signals = phases.reshape(-1)
    for row, entries in zip(wide, each.entries, strict=True):
        (factor, _, i, first), *others = entries
        start = starts[first] + i * channel
        np.multiply(signals[start : start + count], factor, out=row[:count])
        terms = [(number, base + item * (starts[k] + i * channel)) for _, number, i, k in others]
        routines.add_scaled(count, terms, row.ctypes.data)


def _numpy_sum(each: _Sum, phases: np.ndarray, wide: np.ndarray, count: int) -> None:
    """The same by NumPy alone."""
    flat = phases.reshape(*phases.shape[:2], -1)
    wide = wide[:, :count]
    product = scratch.array("product", wide.shape, wide.dtype)
    for number, tap in enumerate(each.taps):
        start = int(np.ravel_multi_index(tap.place, phases.shape[2:]))
        multiply = np.multiply if tap.matrix.size == 1 else np.matmul
        multiply(tap.matrix, flat[:, tap.phase, start : start + count], out=product if number else wide)
        if number:
            wide += product
