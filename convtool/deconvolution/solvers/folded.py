"""A scene that is continued beyond its frame by zeros, its edge or mirrors: A is known by forward and adjoint alone.

    (A^T A + beta D^T D + gamma) x = r      by conjugate gradients, preconditioned in the cosine basis,

D are the differences inside the frame, D^T D = C^T diag(P) C with the type-II cosine transform C and
P = sum_a (2 - 2 cos(pi k_a / n_a)) / h_a^2. A^T A is about C^T diag(|H|^2) C, exactly so for mirrored kernels and
boundary "symmetric"; |H|^2 is taken at the cosines' frequencies, averaged over the signs that a cosine does not tell.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from typing import TYPE_CHECKING

import numpy as np

from convtool import fft
from convtool.deconvolution.solvers import conjugate_gradient
from convtool.deconvolution.solvers.scene import Scene, filled, first_guess
from convtool.kernel import Kernel

if TYPE_CHECKING:
    from convtool.observation import Observation

_TOL, _LIMIT = 1e-5, 30  # of conjugate gradients in one step of a method, which starts from its last x
_USES = 100  # of A' by a method, about
_FAINT = 0.1  # share of a window that must lie inside the frame for its shade to be taken off


class Folded(Scene):
    """The scene of an observation with any operator."""

    wraps = False

    def __init__(self, observation: Observation) -> None:
        super().__init__(observation)
        self.shape = self.operator.in_shape
        kernel = self.operator.kernel
        scaled = Kernel(kernel.taps / self.norm, kernel.origin)
        self._relative = dataclasses.replace(self.operator, kernel=scaled, batch=_USES)  # A'
        self.weights = None if observation.weights is None else observation.weights[0]
        self.data = observation.y[0] / self.dtype.type(self.unit)
        if self.weights is not None:
            self.data *= self.weights

    def forward(self, x: np.ndarray) -> np.ndarray:
        return self._relative.forward(x)

    def adjoint(self, y: np.ndarray) -> np.ndarray:
        return self._relative.adjoint(y)

    def gradient(self, x: np.ndarray) -> np.ndarray:
        out = np.zeros((len(self.steps), *x.shape), x.dtype)
        for axis, h in enumerate(self.steps, 1):
            body = (slice(None),) * axis + (slice(0, -1),)
            out[axis - 1][body] = np.diff(x, axis=axis) / x.dtype.type(h)
        return out

    def gradient_adjoint(self, d: np.ndarray) -> np.ndarray:
        out = np.zeros(d.shape[1:], d.dtype)
        for axis, h in enumerate(self.steps, 1):
            body = d[axis - 1][(slice(None),) * axis + (slice(0, -1),)] / d.dtype.type(h)
            out[(slice(None),) * axis + (slice(0, -1),)] -= body
            out[(slice(None),) * axis + (slice(1, None),)] += body
        return out

    def least_squares(
        self, y: np.ndarray, z: np.ndarray, beta: float, gamma: float, start: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        def normal(x: np.ndarray) -> np.ndarray:
            out = self.adjoint(self.forward(x))
            if beta:
                out += self.dtype.type(beta) * self.gradient_adjoint(self.gradient(x))
            return out + self.dtype.type(gamma) * x if gamma else out

        def precondition(r: np.ndarray) -> np.ndarray:
            return self._divided(r, beta, gamma)

        x = conjugate_gradient.solve(normal, self.adjoint(y) + z, precondition, start, _TOL, _LIMIT)
        return x, self.forward(x)

    def precondition(self, r: np.ndarray, gamma: float) -> np.ndarray:
        return self._divided(r, 0.0, gamma)

    def leave(self, x: np.ndarray) -> np.ndarray:
        return x * self.dtype.type(self.scale)

    def start(self) -> np.ndarray:
        geometry = self.operator.geometry
        y = first_guess(filled(self._lit(), self.weights), self.operator, self.norm)
        positions = geometry.positions(self.operator.window.origin)
        nearest = [
            np.abs(np.arange(n)[:, None] - at).argmin(axis=1) for n, at in zip(geometry.grid, positions, strict=True)
        ]
        return np.ascontiguousarray(y[:, *np.ix_(*nearest)])

    def _lit(self) -> np.ndarray:
        """The data without the shade that zeros around the frame cast on a constant, as if they were no zeros."""
        taps = self.operator.window.taps
        if self.operator.geometry.boundary != "zero" or taps.shape[1:3] != (1, 1):
            return self.data
        shade = self.forward(np.ones(self.shape, self.dtype))
        full = taps.reshape(len(taps), -1).sum(axis=1).reshape(-1, *(1,) * (shade.ndim - 1)) / self.norm
        share = np.divide(shade, full, out=np.ones_like(shade), where=full != 0)
        return self.data / np.maximum(share, self.dtype.type(_FAINT))

    def _divided(self, r: np.ndarray, beta: float, gamma: float) -> np.ndarray:
        return self.divided(r, self.dtype.type(beta) * self._roughness + self.dtype.type(gamma))

    def divided(self, r: np.ndarray, ratio: np.ndarray) -> np.ndarray:
        """About (A'^T A' + C^T diag(ratio) C)^-1 r, for a ratio [*grid] of the cosines C."""
        diagonal = np.maximum(self._power + ratio, self._floor)
        return fft.cosines_inverse(fft.cosines(r, len(self.steps)) / diagonal, len(self.steps))

    @functools.cached_property
    def _floor(self) -> np.ndarray:
        return self.dtype.type(1e-4)  # of the norm: below, the model of A^T A is not to be trusted

    @functools.cached_property
    def _roughness(self) -> np.ndarray:
        grid = self.operator.geometry.grid
        rows = zip(np.ix_(*map(np.arange, grid)), grid, self.steps, strict=True)
        total = sum(((2 - 2 * np.cos(np.pi * k / n)) / h**2 for k, n, h in rows), np.zeros(1))
        return np.broadcast_to(total, grid).astype(self.dtype)

    @functools.cached_property
    def _power(self) -> np.ndarray:
        """About the diagonal of C A^T A C^T, [c_in, *grid]."""
        geometry, operator = self.operator.geometry, self.operator
        taps = operator.window.taps / self.norm
        per_axis = [
            np.exp(-1j * np.pi * np.arange(n)[:, None] / n * (np.arange(count) * d))
            for n, count, d in zip(geometry.grid, geometry.extent, geometry.dilation, strict=True)
        ]
        total = np.zeros((*taps.shape[:3], *geometry.grid))
        signs = list(itertools.product((False, True), repeat=len(per_axis) - 1))
        for flipped in signs:
            H = taps.astype(complex)
            for factor, is_flipped in zip(per_axis, (False, *flipped), strict=True):
                H = np.tensordot(H, factor.conj() if is_flipped else factor, axes=(3, 1))  # to the last axis
            total += np.abs(H) ** 2 / len(signs)
        density = np.prod(geometry.stride)
        power = np.broadcast_to(total.sum(axis=1) / density, (operator.groups, *total.shape[2:]))
        return power.reshape(-1, *geometry.grid).astype(self.dtype)
