"""Data that were not seen, found together with the image: regularised solutions where a part of a torus is observed.

    min_x ||M (A x - y)||^2 + ||x||_w^2  =  min_z min_x ||A x - (y + z)||^2 + ||x||_w^2  =  min_z < y + z, R (y + z) >

z lives where M is 0, and R = 1 - H G(w), what the periodic solution for a complete torus leaves of its data, is known
frequency by frequency. So z solves (R z)_unseen = -(R y)_unseen, and x is the periodic solution for y + z: exact for
unknown surroundings, masked pixels and strides, for two transforms a step. On the margin around a frame, the strips
across each axis are solved exactly and added up as preconditioner (Schwarz), other unseen samples are divided by the
diagonal; z starts as the smooth extension, whose residual is what "relative" refers to. After few steps the image in
the frame is that of the limit. Steps that did not lower < y + z, R (y + z) >, as rounding makes them where R is nearly
singular, are taken back.

Reference: Reeves 2005 (doi:10.1109/TIP.2005.854474) for unseen data as unknowns; Toselli and Widlund 2005
(doi:10.1007/b137868) for Schwarz methods.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from convtool import fft
from convtool.deconvolution.solvers import conjugate_gradient
from convtool.deconvolution.solvers.filters import Decomposition, filtered_data
from convtool.deconvolution.solvers.scene import filled
from convtool.deconvolution.solvers.smooth_extension import extended
from convtool.deconvolution.solvers.strips import Strip

if TYPE_CHECKING:
    from convtool.operators import Convolution

_ROUNDING = 30.0  # residuals of so many eps of the data are rounding


class Steps(NamedTuple):
    """How many steps an iteration took, the residual it left, relative to the start's, and whether they were of use."""

    number: int
    residual: float
    is_useful: bool = True


@dataclass(frozen=True, eq=False)
class Surface:
    """A torus that carries the outputs of an operator.

    operator: the circulant one with the same windows, on the torus; lattice: where the outputs lie, from 0 on, with
    their strides; reach: lengths of the part of the torus from the first to the last of them
    """

    operator: Convolution
    lattice: tuple[slice, ...]
    reach: tuple[int, ...]

    @classmethod
    def under(cls, operator: Convolution) -> Surface:
        """The operator's own grid where it is periodic, else one that no window wraps round."""
        geometry = operator.geometry
        span = geometry.span
        reach = tuple((count - 1) * s + 1 for count, s in zip(geometry.outputs, geometry.stride, strict=True))
        if geometry.boundary == "periodic":
            grid, first = geometry.grid, [p for p, _ in geometry.padding]
        else:
            grid = tuple(fft.fast_length(n + k) for n, k in zip(reach, span, strict=True))
            first = [0] * len(grid)
        padding = tuple((p, k - p) for p, k in zip(first, span, strict=True))
        stride = (1,) * len(grid)
        whole = dataclasses.replace(geometry, grid=grid, boundary="periodic", padding=padding, stride=stride)
        lattice = tuple(slice(0, n, s) for n, s in zip(reach, geometry.stride, strict=True))
        return cls(dataclasses.replace(operator, geometry=whole), lattice, reach)

    def started(self, y: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Data y [c_out, *outputs] on the torus, continued smoothly, and which of its samples were seen."""
        grid = self.operator.geometry.grid
        seen = np.zeros((len(y), *grid), bool)
        seen[(slice(None), *self.lattice)] = True if weights is None else weights > 0
        inside = (slice(None), *map(slice, self.reach))
        part = np.zeros((len(y), *self.reach), y.dtype)
        part[(slice(None), *self.lattice)] = y
        if not seen[inside].all():
            part = filled(part, seen[inside])
        return extended(part, grid), seen


class Completion:
    """The search for what was not seen, for one image's data and changing weights.

    y, seen: [c_out, *torus], the data with what is known or supposed of the rest
    """

    def __init__(self, parts: Decomposition, surface: Surface, y: np.ndarray, seen: np.ndarray) -> None:
        self.parts, self.surface, self.y = parts, surface, y
        self._unseen = np.flatnonzero(~seen)
        holes = ~seen
        for axis, n in enumerate(surface.reach, 1):
            holes[(slice(None),) * axis + (slice(n, None),)] = False
        self._holes = holes if holes.any() else None
        seen_energy = float(np.square(y, dtype=np.float64).mean())
        self._rounding = _ROUNDING * float(np.finfo(y.dtype).eps) * (seen_energy * len(self._unseen)) ** 0.5
        self._reference = 0.0

    def improve(
        self, weight: np.ndarray, tol: float, limit: int, watch: conjugate_gradient.Watch | None = None
    ) -> Steps:
        """Find the unseen data for a weight [*half, 1], to a residual relative to that of the smooth extension."""
        R = self.parts.residual(weight)
        last = Steps(0, 0.0)

        def watched(number: int, residual: float) -> None:
            nonlocal last
            last = Steps(number, residual * size / self._reference)
            if watch is not None:
                watch(last.number, last.residual)

        right = -self._residual(R, self.y)
        size = float(np.linalg.norm(right))
        self._reference = self._reference or size
        goal = max(tol * self._reference, self._rounding)
        if size <= goal:
            return Steps(0, size / self._reference if self._reference else 0.0)
        buffer = np.zeros_like(self.y)

        def normal(z: np.ndarray) -> np.ndarray:
            buffer.flat[self._unseen] = z
            return self._residual(R, buffer)

        with np.errstate(all="ignore"):  # what is not finite is of no use
            precondition = self._preconditioner(R)
            start = np.zeros_like(right)
            found = conjugate_gradient.solve(normal, right, precondition, start, goal / size, limit, watched)
            change = float(np.vdot(found, normal(found)) - 2 * np.vdot(found, right))
        if not change <= 0:
            return last._replace(is_useful=False)
        self.y.flat[self._unseen] += found
        return last

    def _residual(self, R: np.ndarray, y: np.ndarray) -> np.ndarray:
        """(R y)_unseen, in float64."""
        return filtered_data(R, y, self.parts.operator).ravel()[self._unseen].astype(np.float64)

    def _preconditioner(self, R: np.ndarray) -> conjugate_gradient.Map:
        """About the inverse of R on the unseen data."""
        pieces = [_Pieces.of(each, self.surface) for each in R]
        buffer = np.zeros(self.y.shape)

        def precondition(r: np.ndarray) -> np.ndarray:
            buffer.flat[self._unseen] = r
            per_group = len(buffer) // self.parts.operator.groups
            found = [pieces[c // per_group % len(pieces)].solved(plane) for c, plane in enumerate(buffer)]
            if self._holes is not None:
                for c, holes in enumerate(self._holes):
                    found[c][holes] = buffer[c][holes] / pieces[c // per_group % len(pieces)].diagonal
            return np.stack(found).ravel()[self._unseen]

        return precondition


class _Pieces(NamedTuple):
    """The strips of one group's torus, and the diagonal of its residual filter."""

    strips: list[Strip]
    diagonal: float

    @classmethod
    def of(cls, R: np.ndarray, surface: Surface) -> _Pieces:
        """Those of R [o, o, *half]; where channels mix, of the channels' mean."""
        grid = surface.operator.geometry.grid
        mean = sum((R[o, o].real / len(R) for o in range(len(R))), np.zeros(fft.half(grid), np.complex128))
        taps = fft.transform(grid, np.dtype(np.float64)).inverse(mean)
        widths = [n - reach for n, reach in zip(grid, surface.reach, strict=True)]
        return cls([Strip(taps, axis, width) for axis, width in enumerate(widths) if width], float(taps.flat[0]))

    def solved(self, r: np.ndarray) -> np.ndarray:
        """The sum of the solutions on the strips, for r [*torus]."""
        out = np.zeros_like(r)
        for strip in self.strips:
            lines = (slice(None),) * strip.axis + (slice(-strip.width, None),)
            out[lines] += strip.solved(r[lines])
        return out
