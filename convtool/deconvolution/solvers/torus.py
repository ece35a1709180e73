"""A scene on a periodic grid, where A is a product of spectra, and M says which of its samples were seen.

    A x = F^-1 H F x,      D_a x = (x[n + e_a] - x[n]) / h_a, wrapping round,
    (A^T A + beta D^T D + gamma) x = r   <=>   (H^H H + beta P + gamma) x^ = r^,    P = sum_a (2 - 2 cos w_a) / h_a^2

For periodic data of stride 1 the grid is the image's own and everything is seen. Where the windows lie inside a larger
scene (padding "valid": unknown surroundings), the grid is the next fast one, its samples beyond the scene are free, and
no window that was seen reaches across the wrap (Reeves 2005, doi:10.1109/TIP.2005.854474; Matakos, Ramani and Fessler
2013, doi:10.1109/TIP.2013.2244218; Almeida and Figueiredo 2013, doi:10.1109/TIP.2013.2258354). Strides leave out
samples as well.

Where channels mix, H^H H is diagonalised once at every frequency, V diag(s^2) V^H.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from convtool import fft, passes, spectral
from convtool.deconvolution.solvers.inverses import adjoint
from convtool.deconvolution.solvers.scene import Scene, filled, first_guess

if TYPE_CHECKING:
    from convtool.geometry import Geometry
    from convtool.observation import Observation

_USES = 400  # transforms of the grid that an iterative method takes, about


def is_torus(geometry: Geometry) -> bool:
    """Whether windows of this geometry, on a periodic grid, read what they should."""
    reach = [(count - 1) * s for count, s in zip(geometry.outputs, geometry.stride, strict=True)]
    if geometry.boundary == "periodic":
        return all(last < n for last, n in zip(reach, geometry.grid, strict=True))
    return not any(p or q for p, q in geometry.padding)


class Torus(Scene):
    """The scene of an observation whose operator is a product of spectra on a periodic grid, masked."""

    wraps = True

    def __init__(self, observation: Observation) -> None:
        super().__init__(observation)
        operator = self.operator
        geometry = operator.geometry
        is_whole = geometry.boundary == "periodic"
        self.grid = geometry.grid if is_whole else tuple(map(fft.fast_length, geometry.grid))
        self.transform = fft.transform(self.grid, self.dtype, uses=_USES * operator.in_shape[0])
        self.shape = (operator.in_shape[0], *self.grid)
        taps = operator.window.taps / self.norm
        H = self.transform.forward(spectral.laid(taps, geometry, self.grid, self.dtype))
        self.H = np.conjugate(H, out=H)  # [g, o, i, *half], g = 1 or groups
        is_large = fft.library(self.grid, _USES, self.dtype) == "scipy"
        self._is_plain = H.shape[1:3] == (1, 1) and len(self.grid) > 1 and is_large
        rows = zip(geometry.outputs, geometry.stride, strict=True)
        self._seen = (slice(None), *(slice(0, (count - 1) * s + 1, s) for count, s in rows))
        self._inside = (slice(None), *(slice(0, n) for n in geometry.grid))
        self.data = self._placed(observation.y[0] / self.dtype.type(self.unit))
        is_complete = observation.weights is None and geometry.outputs == self.grid
        ones = np.ones(operator.out_shape, self.dtype)
        self.weights = (
            None if is_complete else self._placed(ones if observation.weights is None else observation.weights[0])
        )
        if self.weights is not None:
            self.data *= self.weights
        self._images: list[np.ndarray] | None = None  # A^T of the data, by groups, as spectra

    def forward(self, x: np.ndarray) -> np.ndarray:
        return self._in_passes(x, is_adjoint=False) if self._is_plain else self._through(x, self._blur)

    def adjoint(self, y: np.ndarray) -> np.ndarray:
        return self._in_passes(y, is_adjoint=True) if self._is_plain else self._through(y, self._blur_adjoint)

    def gradient(self, x: np.ndarray) -> np.ndarray:
        out = np.empty((len(self.steps), *x.shape), x.dtype)
        for d, axis, h in zip(out, range(1, x.ndim), self.steps, strict=True):
            body, last = _shifted(axis, 1, None), _shifted(axis, -1, None)
            np.subtract(x[body], x[_shifted(axis, None, -1)], out=d[_shifted(axis, None, -1)])
            np.subtract(x[_shifted(axis, None, 1)], x[last], out=d[last])
            if h != 1:
                d /= x.dtype.type(h)
        return out

    def gradient_adjoint(self, d: np.ndarray) -> np.ndarray:
        out = np.zeros(d.shape[1:], d.dtype)
        for each, axis, h in zip(d, range(1, out.ndim), self.steps, strict=True):
            scaled = each if h == 1 else each / d.dtype.type(h)
            out -= scaled
            out[_shifted(axis, 1, None)] += scaled[_shifted(axis, None, -1)]
            out[_shifted(axis, None, 1)] += scaled[_shifted(axis, -1, None)]
        return out

    def least_squares(
        self, y: np.ndarray, z: np.ndarray, beta: float, gamma: float, start: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        x, blurred = np.empty(self.shape, self.dtype), np.empty(self.data.shape, self.dtype)
        for g, (data, more) in enumerate(zip(self._grouped(y), self._grouped(z), strict=True)):
            X = self._blur_adjoint(g, self.transform.forward(data))
            X += self.transform.forward(more)
            X = self._solved(g, X, beta, gamma)
            self._grouped(x)[g] = self.transform.inverse(X.copy())
            self._grouped(blurred)[g] = self.transform.inverse(self._blur(g, X))
        return x, blurred

    def fitted(self, z: np.ndarray, beta: float, gamma: float, start: np.ndarray) -> np.ndarray:
        x = np.empty(self.shape, self.dtype)
        if self._images is None:
            self._images = [
                self._blur_adjoint(g, self.transform.forward(y)) for g, y in enumerate(self._grouped(self.data))
            ]
        for g, more in enumerate(self._grouped(z)):
            X = self.transform.forward(more)
            X += self._images[g]
            self._grouped(x)[g] = self.transform.inverse(self._solved(g, X, beta, gamma))
        return x

    def precondition(self, r: np.ndarray, gamma: float) -> np.ndarray:
        return self._through(r, lambda g, R: self._solved(g, R, 0.0, gamma))

    def leave(self, x: np.ndarray) -> np.ndarray:
        return x[self._inside] * self.dtype.type(self.scale)

    def start(self) -> np.ndarray:
        # The sample under the window's origin is the one that an output stands for.
        geometry = self.operator.geometry
        window = zip(self.operator.window.origin, geometry.dilation, geometry.padding, strict=True)
        shift = tuple(o * d - p for o, d, (p, _) in window)
        first = first_guess(filled(self.data, self.weights), self.operator, self.norm)
        return np.roll(first, shift, axis=tuple(range(1, first.ndim)))

    def _placed(self, y: np.ndarray) -> np.ndarray:
        """Data [c_out, *outputs] on the torus, 0 where there are none."""
        out = np.zeros((len(y), *self.grid), self.dtype)
        out[self._seen] = y
        return out

    def _grouped(self, a: np.ndarray) -> np.ndarray:
        return a.reshape(self.operator.groups, -1, *self.grid)

    def _through(self, a: np.ndarray, product: Callable[[int, np.ndarray], np.ndarray]) -> np.ndarray:
        """F^-1 product F, group by group."""
        groups = [
            self.transform.inverse(product(g, self.transform.forward(each))) for g, each in enumerate(self._grouped(a))
        ]
        return np.concatenate(groups)

    def _in_passes(self, a: np.ndarray, is_adjoint: bool) -> np.ndarray:
        """A or A^T plane by plane, where channels do not mix."""
        out = np.empty_like(a)
        for c, plane in enumerate(a):
            passes.apply(self._response(c, is_adjoint), plane, out[c])
        return out

    def _response(self, c: int, is_adjoint: bool) -> passes.Response:
        H = self.H[c % len(self.H), 0, 0].reshape(self.grid[0], -1)
        return (lambda columns: H[:, columns].conj()) if is_adjoint else (lambda columns: H[:, columns])

    def _blur(self, g: int, X: np.ndarray) -> np.ndarray:
        """H X; may overwrite X."""
        return spectral.apply(self.H[g % len(self.H)], X)

    def _blur_adjoint(self, g: int, Y: np.ndarray) -> np.ndarray:
        """H^H Y; may overwrite Y."""
        H = self.H[g % len(self.H)]
        if H.shape[:2] == (1, 1):
            Y *= self._conjugate[g % len(self.H)][0]
            return Y
        return np.einsum("oi...,o...->i...", H.conj(), Y)

    def _solved(self, g: int, R: np.ndarray, beta: float, gamma: float) -> np.ndarray:
        """(H^H H + beta P + gamma)^-1 R; may overwrite R."""
        diagonal = self._roughness * self.dtype.type(beta)
        diagonal += self.dtype.type(gamma)
        h = g % len(self.H)
        if self.H.shape[1:3] == (1, 1):
            R /= _positive(diagonal + self._power[h])
            return R
        V, s2 = self._modes
        return _through_modes(V[h], R, _positive(s2[h] + diagonal[..., None]))

    @functools.cached_property
    def _conjugate(self) -> np.ndarray:
        return self.H[:, 0].conj()

    @functools.cached_property
    def _power(self) -> np.ndarray:
        """|H|^2 [g, *half] of kernels that mix no channels."""
        H = self.H[:, 0, 0]
        return H.real**2 + H.imag**2

    @functools.cached_property
    def _modes(self) -> tuple[np.ndarray, np.ndarray]:
        """V [g, *half, i, i] and s^2 [g, *half, i] of H^H H at every frequency."""
        H = np.moveaxis(self.H, (1, 2), (-2, -1))
        s2, V = np.linalg.eigh(adjoint(H) @ H)
        return V, np.maximum(s2, 0)

    @functools.cached_property
    def _roughness(self) -> np.ndarray:
        """P [*half]."""
        w = fft.angular_frequencies(self.grid)
        total = sum(((2 - 2 * np.cos(w)) / h**2 for w, h in zip(w, self.steps, strict=True)), np.zeros(1))
        return np.broadcast_to(total, fft.half(self.grid)).astype(self.dtype)


def _shifted(axis: int, start: int | None, stop: int | None) -> tuple[slice, ...]:
    return (slice(None),) * axis + (slice(start, stop),)


def _positive(diagonal: np.ndarray) -> np.ndarray:
    """A diagonal to divide by, in units of the norm, where 0 means that nothing is known: it becomes infinite."""
    diagonal[diagonal <= np.finfo(diagonal.dtype).eps] = np.inf
    return diagonal


def _through_modes(V: np.ndarray, R: np.ndarray, divisor: np.ndarray) -> np.ndarray:
    """V diag(1 / divisor) V^H R for R [i, *half]."""
    components = (adjoint(V) @ np.moveaxis(R, 0, -1)[..., None])[..., 0] / divisor
    return np.ascontiguousarray(np.moveaxis((V @ components[..., None])[..., 0], -1, 0))
