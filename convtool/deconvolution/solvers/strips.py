"""Systems on a strip of a torus, solved exactly: what preconditions the search for data outside a frame.

A filter with the real, even spectrum Q > 0 on a torus, restricted to a strip of m lines across one axis (and all of the
others), is diagonal in the Fourier basis of the other axes; each component k is a Hermitian Toeplitz matrix T_k [m, m]
of the filter's taps at distances 0 .. m - 1. Levinson's recursion gives the prediction filter a, with T a = E e_0, and

    T^-1 = ( L(a) L(a)^H - L(b) L(b)^H ) / E,      b = (0, conj(a[m-1]), ..., conj(a[1])),

L(a) the lower triangular Toeplitz matrix with first column a: four convolutions along the strip, for which it is padded
to twice its width. A T that is nearly singular, as those of weak priors are, is loaded on its diagonal, or the
recursion would lose all of its digits: the inverse is then that of a matrix nearby.

References: Levinson 1946 (doi:10.1002/sapm1946251261); Gohberg and Semencul 1972, in Kailath and Sayed 1995
(doi:10.1137/1037082).
"""

from __future__ import annotations

import numpy as np

from convtool import fft

_LOAD = 1e-10  # of a component's diagonal, added to it
_NOISE = 1e-13  # of the largest component's diagonal, added to all: what the transform's rounding leaves in them
_LEAST = 1e-14  # of the first: a prediction error that rounding has made negative becomes this


class Strip:
    """The inverse, on the last `width` lines across `axis`, of the filter with taps [*grid], distance 0 first."""

    def __init__(self, taps: np.ndarray, axis: int, width: int) -> None:
        self.axis, self.width = axis, width
        lines = np.ascontiguousarray(np.moveaxis(taps, axis, 0)[:width], np.float64)
        others = lines.shape[1:]
        across = fft.transform(others, lines.dtype)
        a = prediction_filter(across.forward(lines))
        b = np.zeros_like(a)
        b[1:] = a[:0:-1].conj()
        self._transform = fft.transform((fft.fast_length(2 * width - 1), *others), lines.dtype)
        self._a, self._b = (self._transform.forward(self._padded(across.inverse(each))) for each in (a, b))

    def solved(self, r: np.ndarray) -> np.ndarray:
        """T^-1 r on the strip [*grid with `width` along the axis]."""
        inverse, width = self._transform.inverse, self.width
        R = self._spectrum(np.moveaxis(r, self.axis, 0))
        first, second = (inverse(each.conj() * R)[:width] for each in (self._a, self._b))
        product = self._a * self._spectrum(first) - self._b * self._spectrum(second)
        return np.moveaxis(inverse(product)[:width], 0, self.axis)

    def _spectrum(self, r: np.ndarray) -> np.ndarray:
        return self._transform.forward(self._padded(r))

    def _padded(self, r: np.ndarray) -> np.ndarray:
        out = np.zeros(self._transform.shape)
        out[: self.width] = r
        return out


def prediction_filter(taps: np.ndarray) -> np.ndarray:
    """a / sqrt(E) [m, *components] for Hermitian Toeplitz matrices whose first columns are taps [m, *components]."""
    error = (1 + _LOAD) * taps[0].real
    error = np.maximum(error + _NOISE * error.max(), np.finfo(np.float64).tiny)
    least = _LEAST * error
    a = np.zeros(taps.shape, np.complex128)
    a[0] = 1
    for i in range(1, len(taps)):
        reflection = -np.einsum("l...,l...->...", a[:i], taps[i:0:-1]) / error
        reflection /= np.maximum(np.abs(reflection), 1)  # is below 1 but for rounding
        a[1 : i + 1] += reflection * a[i - 1 :: -1].conj()
        error = np.maximum(error * (1 - np.abs(reflection) ** 2), least)
    return a / np.sqrt(error)
