"""Inverse filters: one matrix G [i, o] a frequency, x^ = G y^, for every method that is linear in the data.

Spectra are [g, o, i, *half], as `Convolution.spectrum` gives them; filters [g, i, o, *half]; data [n, c, *grid].
The singular value decomposition H = U diag(s) V^H of every frequency's matrix (for one channel: s = |H|) serves all
regularised methods: with a weight w >= 0 a frequency and component,

    G(w) = V diag( s / (s^2 + w) ) U^H            0 where s counts as zero and w is 0
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from convtool import fft, spectral
from convtool.deconvolution.solvers.inverses import adjoint, default_rcond

if TYPE_CHECKING:
    from convtool.operators import Convolution


@dataclass(frozen=True, eq=False)
class Decomposition:
    """U [g, *half, o, k], s [g, *half, k] and V^H [g, *half, k, i] of an operator's spectrum, k = min(o, i)."""

    u: np.ndarray
    s: np.ndarray
    vh: np.ndarray
    operator: Convolution

    @property
    def norm(self) -> float:
        """The operator's norm: the largest singular value over all frequencies."""
        return float(self.s.max())

    @property
    def kept(self) -> np.ndarray:
        """Which singular values do not count as zero: those above default_rcond x the norm."""
        return self.s > default_rcond(self.s.dtype) * self.norm

    def filter(self, weight: np.ndarray | float) -> np.ndarray:
        """G(w), [g, i, o, *half]; `weight` broadcasts against s."""
        weight = np.broadcast_to(np.asarray(weight, self.s.dtype), self.s.shape)
        factors = np.zeros_like(self.s)
        np.divide(self.s, np.square(self.s) + weight, out=factors, where=(weight > 0) | self.kept)
        if self.u.shape[-2:] == self.vh.shape[-2:] == (1, 1):
            return (factors[..., 0] * self.u[..., 0, 0].conj())[:, None, None]
        return np.moveaxis((adjoint(self.vh) * factors[..., None, :]) @ adjoint(self.u), (-2, -1), (1, 2))

    def energies(self, y: np.ndarray) -> tuple[np.ndarray, float]:
        """|U^H y^|^2 [groups, *half, k] of one image's data y [c_out, *grid], and the energy outside the range of U.

        Both in float64; summed over the full spectrum they are ||y^||^2.
        """
        operator = self.operator
        grid = operator.geometry.grid
        Y = fft.transform(grid, y.dtype).forward(y.reshape(operator.groups, -1, *grid))
        Y = np.moveaxis(Y, 1, -1)[..., None]
        inside = _squared(adjoint(self.u) @ Y)[..., 0] if self.u.shape[-2] > 1 else _squared(Y)[..., 0]
        if self.u.shape[-2] == self.u.shape[-1]:
            return inside, 0.0
        total = _squared(Y).sum(axis=(-2, -1)) - inside.sum(axis=-1)
        return inside, max(float((total * fft.multiplicity(grid)).sum()), 0.0)


def decompose(operator: Convolution) -> Decomposition:
    """The decomposition of a circulant operator's spectrum."""
    H = np.moveaxis(operator.spectrum, (1, 2), (-2, -1))
    if H.shape[-2:] != (1, 1):
        return Decomposition(*np.linalg.svd(H, full_matrices=False), operator)
    s = np.abs(H)
    phase = np.divide(H, s, out=np.ones_like(H), where=s > 0)
    return Decomposition(phase, s[..., 0], np.ones((1,) * H.ndim, H.dtype), operator)


def filtered(G: np.ndarray, y: np.ndarray, operator: Convolution) -> np.ndarray:
    """x [n, c_in, *grid] = F^-1 G F y for data y [n, c_out, *grid]."""
    grid = operator.geometry.grid
    transform = fft.transform(grid, y.dtype, uses=2 * len(y) * operator.groups)
    out = np.empty((len(y), *operator.in_shape), y.dtype)
    for n, g in np.ndindex(len(y), operator.groups):
        data = y[n].reshape(operator.groups, -1, *grid)[g]
        product = spectral.apply(G[g % len(G)], transform.forward(data))
        out[n].reshape(operator.groups, -1, *grid)[g] = transform.inverse(product)
    return out


def noise_gain(G: np.ndarray, operator: Convolution) -> float:
    """Root-mean-square amplification of white noise: sqrt(E ||F^-1 G F e||^2 / E ||e||^2)."""
    energy = np.square(G.real, dtype=np.float64) + np.square(G.imag, dtype=np.float64)
    grid = operator.geometry.grid
    total = float((energy * fft.multiplicity(grid)).sum()) * operator.groups / len(G)
    return float(np.sqrt(total / (operator.out_shape[0] * np.prod(grid))))


def _squared(a: np.ndarray) -> np.ndarray:
    return np.square(a.real, dtype=np.float64) + np.square(a.imag, dtype=np.float64)
