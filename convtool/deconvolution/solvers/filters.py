"""Inverse filters: one matrix G [i, o] a frequency, x^ = G y^, for every method that is linear in the data.

Spectra are [g, o, i, *half], as `Convolution.spectrum` gives them; filters [g, i, o, *half]; data [n, c, *grid].
The singular value decomposition H = U diag(s) V^H of every frequency's matrix (for one channel: s = |H|) serves all
regularised methods: with a weight w >= 0 a frequency and component,

    G(w) = V diag( s / (s^2 + w) ) U^H            0 where s counts as zero and w is 0

Singular values are kept in units of the largest, the operator's norm, and weights w in units of its square, so that no
scale of a kernel over- or underflows. What lies below the rounding of that largest one is a zero that some transforms
leave exact and others do not, and is set to zero: no weight, however small, may amplify it.
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
    """U [g, *half, o, k], s [g, *half, k] and V^H [g, *half, k, i] of an operator's spectrum, k = min(o, i).

    s is in units of `norm`, the operator's norm: its largest singular value over all frequencies.
    """

    u: np.ndarray
    s: np.ndarray
    vh: np.ndarray
    norm: float
    operator: Convolution

    @property
    def unit(self) -> float:
        """The norm; 1 where nothing comes through, in whose units that is nothing as well."""
        return self.norm or 1.0

    @property
    def kept(self) -> np.ndarray:
        """Which singular values do not count as zero: those above default_rcond."""
        return self.s > default_rcond(self.s.dtype)

    def factors(self, weight: np.ndarray | float) -> np.ndarray:
        """s / (s^2 + w) in units of 1 / norm, shape of s."""
        with np.errstate(over="ignore"):  # an infinite weight is one that suppresses everything
            weight = np.broadcast_to(np.asarray(weight).astype(self.s.dtype), self.s.shape)
        where = (weight > 0) | self.kept
        return np.divide(self.s, np.square(self.s) + weight, out=np.zeros_like(self.s), where=where)

    def filter(self, weight: np.ndarray | float) -> np.ndarray:
        """G(w), [g, i, o, *half]; `weight`, in units of norm^2, broadcasts against s."""
        factors = self.factors(weight) / self.s.dtype.type(self.unit)
        if self.u.shape[-2:] == self.vh.shape[-2:] == (1, 1):
            return (factors[..., 0] * self.u[..., 0, 0].conj())[:, None, None]
        return np.moveaxis((adjoint(self.vh) * factors[..., None, :]) @ adjoint(self.u), (-2, -1), (1, 2))

    def normal_inverse(self, weight: np.ndarray | float, least: float = 1e-7) -> np.ndarray:
        """(H^H H + w)^-1 in units of 1 / norm^2, [g, i, i, *half], H not wide; s^2 + w is `least` at least."""
        s2 = np.maximum(np.square(self.s) + np.asarray(weight), least).astype(self.s.dtype)
        if self.vh.shape[-1] == 1:
            return (1 / s2[..., 0])[:, None, None]
        return np.moveaxis((adjoint(self.vh) / s2[..., None, :]) @ self.vh, (-2, -1), (1, 2))

    def residual(self, weight: np.ndarray | float) -> np.ndarray:
        """1 - H G(w), [g, o, o, *half]: what the regularised solution leaves of the data; symmetric, from 0 to 1."""
        with np.errstate(over="ignore"):
            weight = np.broadcast_to(np.asarray(weight).astype(self.s.dtype), self.s.shape)
        left = np.where(self.kept, self.s.dtype.type(0), self.s.dtype.type(1))
        np.divide(weight, np.square(self.s) + weight, out=left, where=(weight > 0) & np.isfinite(weight))
        left[np.isinf(weight)] = 1
        if self.u.shape[-2] == 1:
            return left[..., 0][:, None, None]
        explained = (self.u * (1 - left)[..., None, :]) @ adjoint(self.u)
        return np.moveaxis(np.eye(self.u.shape[-2], dtype=self.s.dtype) - explained, (-2, -1), (1, 2))

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
        u, s, vh = np.linalg.svd(H, full_matrices=False)
    else:
        s = np.abs(H)[..., 0]
        u = np.divide(H, s[..., None], out=np.ones_like(H), where=s[..., None] > 0)
        vh = np.ones((1,) * H.ndim, H.dtype)
    norm = float(s.max())
    relative = s / s.dtype.type(norm) if norm else s
    relative[relative < np.finfo(s.dtype).eps] = 0
    return Decomposition(u, relative, vh, norm, operator)


def filtered(G: np.ndarray, y: np.ndarray, operator: Convolution) -> np.ndarray:
    """x [n, c_in, *grid] = F^-1 G F y for data y [n, c_out, *grid]."""
    return np.stack([filtered_data(G, image, operator) for image in y])


def filtered_data(G: np.ndarray, y: np.ndarray, operator: Convolution) -> np.ndarray:
    """F^-1 G F y [groups * G's rows, *grid] for one image's data y [c_out, *grid]; G is [g, rows, o, *half]."""
    grid, groups = operator.geometry.grid, operator.groups
    transform = fft.transform(grid, y.dtype, uses=2 * operator.batch * groups)
    out = np.empty((groups, G.shape[1], *grid), y.dtype)
    for g, data in enumerate(y.reshape(groups, -1, *grid)):
        out[g] = transform.inverse(spectral.apply(G[g % len(G)], transform.forward(data)))
    return out.reshape(-1, *grid)


def noise_gain(G: np.ndarray, operator: Convolution) -> float:
    """Root-mean-square amplification of white noise: sqrt(E ||F^-1 G F e||^2 / E ||e||^2)."""
    peak = float(np.abs(G).max()) or 1.0  # so that no square of it overflows
    energy = np.square(np.abs(G) / peak, dtype=np.float64)
    grid = operator.geometry.grid
    total = float((energy * fft.multiplicity(grid)).sum()) * operator.groups / len(G)
    return peak * float(np.sqrt(total / (operator.out_shape[0] * np.prod(grid))))


def _squared(a: np.ndarray) -> np.ndarray:
    return np.square(a.real, dtype=np.float64) + np.square(a.imag, dtype=np.float64)
