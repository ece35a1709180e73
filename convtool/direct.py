"""The engine for small kernels: a correlation as a sum over its taps, in blocks of rows that stay in the cache.

    y[g, o, j] = sum_i sum_m  w[g, o, i, m]  x_ext[g, i, j s + m d]

Each nonzero tap is one pass over a block: a scaled add where channels keep apart (o = i = 1), a product of the
[o, i] matrix with the block where they mix. The adjoint runs the same passes with reads and writes exchanged.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from convtool import boundary
from convtool.geometry import Geometry

_BLOCK = 1 << 15  # samples of output a block: with its operands it fits a core's second-level cache


class DirectEngine:
    """Correlation with window taps [g, o, i, *extent]; g = 1 is shared by all groups of x."""

    def __init__(self, taps: np.ndarray, geometry: Geometry, dtype: np.dtype) -> None:
        self.taps, self.geometry = taps.astype(dtype), geometry
        self._places = [tuple(m) for m in np.argwhere((taps != 0).any(axis=(0, 1, 2)))]

    def forward(self, x: np.ndarray) -> np.ndarray:
        """[n, g, o, *outputs] of x [n, g, i, *grid]."""
        out = np.zeros((*x.shape[:2], self.taps.shape[1], *self.geometry.outputs), x.dtype)
        for n, g in np.ndindex(x.shape[:2]):
            extended = boundary.extend(x[n, g], self.geometry.padding, self.geometry.boundary)
            taps = self.taps[g % len(self.taps)]
            for rows in self._blocks():
                block = out[n, g][:, rows]
                for m in self._places:
                    _accumulate(block, taps[(..., *m)], extended[(slice(None), *self._window(m, rows))])
        return out

    def adjoint(self, y: np.ndarray) -> np.ndarray:
        """[n, g, i, *grid] of y [n, g, o, *outputs]."""
        geometry = self.geometry
        out = np.empty((*y.shape[:2], self.taps.shape[2], *geometry.grid), y.dtype)
        for n, g in np.ndindex(y.shape[:2]):
            extended = np.zeros((self.taps.shape[2], *geometry.extended), y.dtype)
            taps = self.taps[g % len(self.taps)]
            for rows in self._blocks():
                block = y[n, g][:, rows]
                for m in self._places:
                    _accumulate(extended[(slice(None), *self._window(m, rows))], taps[(..., *m)].T, block)
            out[n, g] = boundary.fold(extended, geometry.padding, geometry.boundary)
        return out

    def _blocks(self) -> Iterator[slice]:
        """Slices of the first spatial axis of the outputs."""
        rows, *rest = self.geometry.outputs
        step = max(1, _BLOCK // math.prod(rest))
        return (slice(first, min(first + step, rows)) for first in range(0, rows, step))

    def _window(self, m: tuple[int, ...], rows: slice) -> tuple[slice, ...]:
        """Where tap m reads the extended signal for these output rows."""
        geometry = self.geometry
        first = (rows.start, *(0 for _ in m[1:]))
        count = (rows.stop - rows.start, *geometry.outputs[1:])
        starts = [a * s + k * d for a, s, k, d in zip(first, geometry.stride, m, geometry.dilation, strict=True)]
        return tuple(slice(a, a + (c - 1) * s + 1, s) for a, c, s in zip(starts, count, geometry.stride, strict=True))


def _accumulate(target: np.ndarray, matrix: np.ndarray, source: np.ndarray) -> None:
    """target [o, ...] += matrix [o, i] @ source [i, ...]."""
    if matrix.size == 1:
        target += matrix[0, 0] * source
    else:
        target += (matrix @ source.reshape(len(source), -1)).reshape(target.shape)
