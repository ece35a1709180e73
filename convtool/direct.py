"""The engine for small kernels: a correlation as a sum over its taps, by products of matrices.

    y[o, j] = sum_i sum_m  w[o, i, m]  e[i, j s + m d]                   e: the extended signal, one group

*Phases.* With m d = q s + r, 0 <= r < s on every axis, tap m reads only the phase e_r[n] = e[n s + r], and
y[j] = sum_m w[m] e_r(m)[j + q(m)]: a correlation of stride 1. With stride 1 there is one phase, e itself.

*Products.* What taps add is computed as products of matrices, whatever the number of channels: see `convtool.products`.

*Adjoint.* e_r[n] = sum over taps of phase r of w[m]^T y[n - q(m)], the same sum on y with zeros around it.

Work goes block by block of rows over the threads of the process; a block's extended signal and its phases are made in
a core's cache. The inside of an image of one channel is read where it lies. Rounding: each output is a plain sum of its
products, so with the unit roundoff u of the dtype, and n taps (times i where channels mix)

    |error| <= (n + 1) u / (1 - (n + 1) u)  sum |w| |x|

References: Higham 2002, Accuracy and Stability of Numerical Algorithms, ch. 3 (doi:10.1137/1.9780898718027).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from convtool import blas, boundary, process, scratch
from convtool.geometry import Geometry
from convtool.products import Plan

_BLOCK = 1 << 19  # samples of outputs that are summed up at once: fewer make threads wait for the interpreter,
_FEWER = 8  # but so many times fewer where channels mix, with more work to each
_LARGEST = 1 << 20  # samples of a block, all channels
_PLANE = 1 << 14  # samples of an image that is taken by itself, of many along an axis
_PARTED = 1 << 18  # samples of an image whose inside is told from its borders
_THREADED = 1 << 18  # multiply-adds below which a second thread costs more than it saves
_OVERLAP = 2  # rows of a block are at least a kernel's reach over this, so that little is extended twice


@dataclass(frozen=True, eq=False)
class _Sum:
    """out[o, j] = sum over taps of matrix [o, i] e_phase[i, j + place], where e extends a signal [i, *grid]."""

    signal: np.ndarray
    margins: boundary.Margins
    mode: str
    stride: tuple[int, ...]
    reach: tuple[int, ...]
    plan: Plan | None
    out: np.ndarray
    is_inside: bool = False  # the signal is all that is read, and lies as a phase does


class DirectEngine:
    """Correlation with window taps [g, o, i, *extent]; g = 1 is shared by all groups of x."""

    def __init__(self, taps: np.ndarray, geometry: Geometry, dtype: np.dtype) -> None:
        self.taps, self.geometry = taps.astype(dtype), geometry
        self._places = np.argwhere((taps != 0).any(axis=(0, 1, 2)))
        self._q, self._r = np.divmod(self._places * geometry.dilation, geometry.stride)  # m d = q s + r
        self._reach = tuple(self._q.max(axis=0, initial=0).tolist())
        self._plans: dict[tuple[int, tuple[int, ...] | None], Plan | None] = {}

    def forward(self, x: np.ndarray) -> np.ndarray:
        """[n, g, o, *outputs] of x [n, g, i, *grid]."""
        geometry = self.geometry
        out = np.empty((*x.shape[:2], self.taps.shape[1], *geometry.outputs), x.dtype)
        lead = self._apart()
        how = geometry.padding[lead:], geometry.boundary, geometry.stride[lead:], self._reach[lead:]
        _compute(
            [
                _Sum(x[n, g][:, *at], *how, self._plan(g, None, lead), out[n, g][:, *at])
                for n, g in np.ndindex(x.shape[:2])
                for at in np.ndindex(geometry.grid[:lead])
            ]
        )
        return out

    def adjoint(self, y: np.ndarray) -> np.ndarray:
        """[n, g, i, *grid] of y [n, g, o, *outputs]."""
        geometry, lead = self.geometry, self._apart()
        extended = np.empty((*y.shape[:2], self.taps.shape[2], *geometry.extended), y.dtype)
        sums = []
        for (n, g), phase in itertools.product(np.ndindex(y.shape[:2]), np.ndindex(geometry.stride)):
            part = extended[n, g][:, *_every(phase, geometry.stride)]
            rows = zip(part.shape[1:], geometry.outputs, self._reach, strict=True)
            margins = [(reach, max(size - count, 0)) for size, count, reach in rows][lead:]
            how = margins, "zero", (1,) * len(margins), self._reach[lead:], self._plan(g, phase, lead)
            sums += [_Sum(y[n, g][:, *at], *how, part[:, *at]) for at in np.ndindex(geometry.grid[:lead])]
        _compute(sums)
        return boundary.fold(extended, geometry.padding, geometry.boundary)

    def _apart(self) -> int:
        """How many of the first axes no tap reaches along, beside planes large enough to be taken one by one."""
        geometry, lead = self.geometry, 0
        while (
            lead < len(geometry.grid) - 2
            and (geometry.extent[lead], geometry.stride[lead], geometry.padding[lead]) == (1, 1, (0, 0))
            and math.prod(geometry.grid[lead + 1 :]) >= _PLANE
        ):
            lead += 1
        return lead

    def _plan(self, group: int, phase: tuple[int, ...] | None, lead: int) -> Plan | None:
        """How to sum up the taps of a group, or back, those of a phase; None where there are none."""
        key = (group % len(self.taps), phase)
        if key not in self._plans:
            chosen = np.full(len(self._r), True) if phase is None else (self._r == phase).all(axis=1)
            matrices = np.moveaxis(self.taps[key[0]][:, :, *self._places[chosen].T], -1, 0)
            phases, places = np.ravel_multi_index(self._r[chosen].T, self.geometry.stride), self._q[chosen]
            if phase is not None:
                phases, places, matrices = 0 * phases, self._reach - places, matrices.swapaxes(1, 2)
            how = phases, places[:, lead:], matrices, self._reach[lead:]
            self._plans[key] = Plan(*how) if chosen.any() else None
        return self._plans[key]


def _compute(sums: list[_Sum]) -> None:
    """All sums, block by block."""
    work = sum(len(each.plan.places) * len(each.signal) * each.out.size for each in sums if each.plan)
    parts = [part for each in sums for part in _parts(each) if part.out.size]
    blocks = [(part, first, rows) for part in parts for first, rows in _rows(part)]
    with blas.single_threaded():
        if work < _THREADED:
            for block in blocks:
                _compute_block(block)
        else:
            process.each(_compute_block, blocks)


def _parts(each: _Sum) -> list[_Sum]:
    """A sum of an image of one channel as its inside, which is read where it lies, and the borders around it."""
    is_plain = len(each.signal) == 1 and each.signal.ndim == 3 and set(each.stride) == {1}
    if not is_plain or not each.signal.flags.c_contiguous or each.out[0].size < _PARTED:
        return [each]
    ranges = []
    for n, m, reach, count in zip(each.signal.shape[1:], each.margins, each.reach, each.out.shape[1:], strict=True):
        low = min(m[0], count)
        ranges.append((low, min(max(n - reach + m[0], low), count), count))
    (top, bottom, rows), (left, right, columns) = ranges
    inside = [(top, bottom, left, right), (top, bottom, 0, left), (top, bottom, right, columns)]
    return [_part(each, *range_) for range_ in (*inside, (0, top, 0, columns), (bottom, rows, 0, columns))]


def _part(each: _Sum, top: int, bottom: int, left: int, right: int) -> _Sum:
    """The sum for some rows and columns of its outputs; margins are then negative where they cut the signal."""
    margins = []
    axes = zip(each.signal.shape[1:], each.margins, each.reach, (top, left), (bottom, right), strict=True)
    for n, (before, _), reach, begin, end in axes:
        margins.append((before - begin, end - begin + reach - n - (before - begin)))
    return replace(
        each,
        margins=margins,
        out=each.out[:, top:bottom, left:right],
        is_inside=all(m[0] == 0 >= m[1] for m in margins),
    )


def _rows(each: _Sum) -> list[tuple[int, int]]:
    """(first, count) of the blocks of outputs along the first axis."""
    o, outputs, *others = each.out.shape
    size = math.prod(others)
    columns = min(each.plan.columns(size), size) if each.plan else size
    channels = max(o, len(each.signal))
    most = min(_LARGEST // (channels * size), _BLOCK // (min(channels, _FEWER) * o * columns))
    most = max(1, most, each.reach[0] // _OVERLAP)
    return [(first, min(most, outputs - first)) for first in range(0, outputs, most)]


def _compute_block(block: tuple[_Sum, int, int]) -> None:
    """Some rows of outputs of a sum."""
    each, first, rows = block
    target = each.out[:, first : first + rows]
    if each.plan is None:
        target[...] = 0
    elif target.ndim == 2:
        each.plan.compute(_phases(each, first, rows)[:, None], target[None])
    else:
        each.plan.compute(_phases(each, first, rows), target.swapaxes(0, 1))


def _phases(each: _Sum, first: int, rows: int) -> np.ndarray:
    """The phases [phase, row, i, *inner] that these rows of outputs read; of one axis [phase, i, *row]."""
    stride, channels = each.stride, len(each.signal)
    if each.is_inside:
        return each.signal[:, first : first + rows + each.reach[0], None]
    extended = [n + sum(m) for n, m in zip(each.signal.shape[1:], each.margins, strict=True)]
    inner = [-(-n // s) for n, s in zip(extended[1:], stride[1:], strict=True)]
    shape = (rows + each.reach[0], *inner)
    starts = (first * stride[0] - each.margins[0][0], *(-before for before, _ in each.margins[1:]))
    where = 1 if len(shape) == 1 else 2
    memory = (math.prod(stride), *shape[: where - 1], channels, *shape[where - 1 :])
    out = scratch.array("phases", memory, each.signal.dtype)
    by_channel = np.moveaxis(out, where, 0)
    if len(out) == 1:
        boundary.piece(each.signal, starts, each.mode, by_channel[:, 0])
        return out
    whole = scratch.array("extended", (channels, shape[0] * stride[0], *extended[1:]), each.signal.dtype)
    boundary.piece(each.signal, starts, each.mode, whole)
    for number, phase in enumerate(np.ndindex(stride)):
        part = whole[:, *_every(phase, stride)]
        by_channel[:, number] = 0
        inside: Any = [slice(n) for n in part.shape[1:]]
        by_channel[:, number, *inside] = part
    return out


def _every(phase: Sequence[int], stride: Sequence[int]) -> Any:
    """Which samples of an extended signal are this phase."""
    return [slice(r, None, s) for r, s in zip(phase, stride, strict=True)]
