"""The symbol of a circulant operator: its matrix [o, i] at each frequency, made where and when it is needed.

    H(f) = sum_m w[m] exp(2 pi i sum_a k_a (m_a d_a - p_a) / n_a),       f = (k_1, k_2, ...) of the half spectrum

for window taps w, dilations d and paddings p (see `operators`). Summed axis by axis, the first axis last,

    R[m_1, (k_2, ...)] = sum_(m_2, ...) w[m] exp(...),      H(k_1, (k_2, ...)) = sum_(m_1) exp(...) R[m_1, (k_2, ...)],

which are matrix products whose results lie as the matrices of H do, one after the other. Transforming the taps on the
grid of the image and reordering them takes longer (3 x 3 taps, 32 channels: 15 against 95 ms) and holds all of them.

The largest singular value is sought where it can be. u^H H(f) v is, up to a phase, a trigonometric polynomial of degree
D_a = d_a (N_a - 1) / 2 on axis a, so that near the frequency f* where the norm takes its largest value S

    ||H(f)||_2 >= S cos(sum_a D_a |f_a - f*_a|)          for arguments up to pi / 2 (M. Riesz 1914; Duffin & Schaeffer
                                                         1937, Bull. Amer. Math. Soc. 43)

and a lattice of frequencies with a point at `_TURN` of any other has one of at least S cos(_TURN). From the best of the
lattice the search goes on among the frequencies around them.
"""

from __future__ import annotations

import functools
import math
from typing import final

import numpy as np

from convtool import fft
from convtool.deconvolution.solvers import norms
from convtool.deconvolution.solvers.norms import Chosen, Largest, Stack, blocks, peak, power_of_two
from convtool.operators import Convolution

_TURN = 0.2  # radians: cos is 0.98
_SPARSE = 4  # a lattice is worth it that leaves so many frequencies to one
_FURTHEST = 4  # steps to a point of a lattice on an axis
_PEAKS = 16  # points of the lattice around which is looked


@final
class Symbol(Stack):
    """The matrices H(f) / unit of a circulant operator's distinct kernels, numbered kernel by kernel, then by f."""

    def __init__(self, operator: Convolution) -> None:
        self.operator, self.shape = operator, operator.kernel.taps.shape[1:3]

    @functools.cached_property
    def frequencies(self) -> int:
        """How many the half spectrum has."""
        return math.prod(fft.half(self.operator.geometry.grid))

    @functools.cached_property
    def unit(self) -> float:
        """A power of two near the largest tap, so that no square over- or underflows."""
        return power_of_two(peak(self.operator.kernel.taps))

    @functools.cached_property
    def multiplicity(self) -> np.ndarray:
        """How many frequencies of the full spectrum each of the half spectrum stands for, by the matrices' numbers."""
        grid = self.operator.geometry.grid
        return np.tile(np.broadcast_to(fft.multiplicity(grid), fft.half(grid)).ravel(), self.kernels)

    @property
    def kernels(self) -> int:
        """How many distinct kernels there are."""
        return len(self.operator.kernel.taps)

    @property
    def repeats(self) -> int:
        """How many groups share a kernel."""
        return self.operator.groups // self.kernels

    @property
    def count(self) -> int:
        """How many matrices there are."""
        return self.kernels * self.frequencies

    @functools.cached_property
    def blocks(self) -> list[slice]:  # type: ignore[override]
        """All numbers in order: rows of frequencies along all axes but the first, or parts of one."""
        rows, across = len(self._phases), self._sums.shape[2]
        parts = blocks(across, math.prod(self.shape))
        if len(parts) > 1:
            starts = range(0, self.count, across)
            return [slice(first + part.start, first + part.stop) for first in starts for part in parts]
        parts = blocks(rows, across * math.prod(self.shape))
        starts = range(0, self.count, self.frequencies)
        return [slice(first + part.start * across, first + part.stop * across) for first in starts for part in parts]

    def at(self, chosen: Chosen) -> np.ndarray:
        across = self._sums.shape[2]
        if not isinstance(chosen, slice):
            kernels, rest = np.divmod(chosen, self.frequencies)
            rows, columns = np.divmod(rest, across)
            return (self._phases[rows][:, None, :] @ self._sums[kernels, :, columns]).reshape(-1, *self.shape)
        kernel, rest = divmod(chosen.start, self.frequencies)
        row, column = divmod(rest, across)
        count = chosen.stop - chosen.start
        sums = self._sums[kernel, :, column : column + count]  # all columns where the block has several rows
        phases = self._phases[row : row + -(-count // across)]
        return (phases @ sums.reshape(len(sums), -1)).reshape(-1, *self.shape)

    def largest(self) -> Largest:
        """The largest singular value of all."""
        steps, half = self._lattice_steps, fft.half(self.operator.geometry.grid)
        if norms.is_quick(self, self.count) or math.prod(steps) < _SPARSE:
            return norms.largest(self)
        points = [np.unique([*range(0, n, step), n - 1]) for n, step in zip(half, steps, strict=True)]
        kernels = np.arange(self.kernels) * self.frequencies
        lattice = np.add.outer(kernels, np.ravel_multi_index(np.meshgrid(*points, indexing="ij"), half).ravel())
        best = norms.ranked(self, lattice.ravel())[:_PEAKS]
        return Largest(norms.largest_among(self, self._around(best, steps)), False)

    def _around(self, numbers: np.ndarray, steps: list[int]) -> np.ndarray:
        """The numbers of all frequencies within a lattice's steps, halved, of some."""
        half = fft.half(self.operator.geometry.grid)
        offsets = np.meshgrid(*(np.arange(-(step // 2), step // 2 + 1) for step in steps), indexing="ij")
        kernels, rest = np.divmod(numbers, self.frequencies)
        places = [at[:, None] + move.ravel() for at, move in zip(np.unravel_index(rest, half), offsets, strict=True)]
        places = [*(at % n for at, n in zip(places[:-1], half[:-1], strict=True)), np.clip(places[-1], 0, half[-1] - 1)]
        return np.unique(kernels[:, None] * self.frequencies + np.ravel_multi_index(places, half))

    @property
    def _lattice_steps(self) -> list[int]:
        """Frequencies from one point of the lattice to the next, by axis."""
        geometry = self.operator.geometry
        rows = zip(geometry.grid, geometry.span, strict=True)
        reach = [_TURN * n / (len(geometry.grid) * math.pi * max(span, 1e-9)) for n, span in rows]  # on either side
        return [2 * int(min(count, _FURTHEST, n // 2)) + 1 for count, n in zip(reach, geometry.grid, strict=True)]

    @functools.cached_property
    def _phases(self) -> np.ndarray:
        """[k_1, m_1]."""
        return self._exponentials(0)

    @functools.cached_property
    def _sums(self) -> np.ndarray:
        """R [kernel, m_1, (k_2, ...), o * i]."""
        taps = self.operator.window.taps / self.unit
        kernels, outputs, inputs = taps.shape[:3]
        sums = np.moveaxis(taps.reshape(kernels, outputs * inputs, *taps.shape[3:]), 1, -1)
        for axis in range(1, taps.ndim - 3):
            sums = np.moveaxis(np.tensordot(self._exponentials(axis), sums, (1, axis + 1)), 0, axis + 1)
        found = sums.reshape(kernels, taps.shape[3], -1, outputs * inputs)
        return np.ascontiguousarray(found, self._phases.dtype)

    def _exponentials(self, axis: int) -> np.ndarray:
        """exp(2 pi i k (m d - p) / n), [k, m], of one axis."""
        geometry = self.operator.geometry
        n, count = geometry.grid[axis], fft.half(geometry.grid)[axis]
        offsets = np.arange(geometry.extent[axis]) * geometry.dilation[axis] - geometry.padding[axis][0]
        turns = np.outer(np.arange(count), offsets) % n / n
        return np.exp(2j * np.pi * turns).astype(np.result_type(self.operator.dtype, np.complex64))
