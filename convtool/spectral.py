"""The FFT engine: a correlation as a product of spectra.

    y = F^-1( H F x ),    H = conj( F w ),    one [o, i] matrix per frequency and group

Two grids. *Circular*: a periodic image of a good size is transformed as it is, and any padding is read off the periodic
result. *Padded*: every other boundary, and periodic images of awkward (large prime) sizes, are extended by their margin
and transformed on the next fast size; the windows inside never see the wrap, so the result is exact as well. Strides
pick every s-th output. The adjoint does the same steps backwards with conj(H).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np

from convtool import boundary, fft
from convtool.geometry import Geometry

_PADDING_GAIN = 1.3  # the padded route must be predicted this much faster: it also copies


class SpectralEngine:
    """Correlation with window taps [g, o, i, *extent]; g = 1 is shared by all groups of x."""

    def __init__(self, taps: np.ndarray, geometry: Geometry, dtype: np.dtype, planes: int = 1) -> None:
        self.taps, self.geometry, self.dtype = taps, geometry, np.dtype(dtype)
        self.is_circular, self.grid = route(geometry)
        self.transform = fft.transform(self.grid, self.dtype, uses=2 * planes + math.prod(taps.shape[:3]))

    @functools.cached_property
    def spectrum(self) -> np.ndarray:
        """H on the transform's grid, [g, o, i, *half]."""
        H = self.transform.forward(laid(self.taps, self.geometry, self.grid, self.dtype))
        return np.conjugate(H, out=H)

    def forward(self, x: np.ndarray) -> np.ndarray:
        """[n, g, o, *outputs] of x [n, g, i, *grid]."""
        out = np.empty((*x.shape[:2], self.taps.shape[1], *self.geometry.outputs), self.dtype)
        for n, g in np.ndindex(x.shape[:2]):
            H = self.spectrum[g % len(self.spectrum)]
            product = apply(H, self.transform.forward(self._entered(x[n, g])))
            out[n, g] = self.transform.inverse(product)[(slice(None), *self._output_index())]
        return out

    def adjoint(self, y: np.ndarray) -> np.ndarray:
        """[n, g, i, *grid] of y [n, g, o, *outputs]."""
        out = np.empty((*y.shape[:2], self.taps.shape[2], *self.geometry.grid), self.dtype)
        for n, g in np.ndindex(y.shape[:2]):
            H = self.spectrum[g % len(self.spectrum)].conj().swapaxes(0, 1)
            product = apply(H, self.transform.forward(self._scattered(y[n, g])))
            out[n, g] = self._left(self.transform.inverse(product))
        return out

    def _entered(self, x: np.ndarray) -> np.ndarray:
        """x [i, *grid] on the transform's grid."""
        if self.is_circular:
            return x
        geometry = self.geometry
        out = np.zeros((len(x), *self.grid), self.dtype)
        inside = (slice(None), *(slice(n) for n in geometry.extended))
        out[inside] = boundary.extend(x, geometry.padding, geometry.boundary)
        return out

    def _left(self, x: np.ndarray) -> np.ndarray:
        """The adjoint of `_entered`."""
        if self.is_circular:
            return x
        inside = (slice(None), *(slice(n) for n in self.geometry.extended))
        return boundary.fold(x[inside], self.geometry.padding, self.geometry.boundary)

    def _output_index(self) -> tuple:
        """Which samples of the transform's grid are outputs."""
        rows = list(zip(self.geometry.outputs, self.geometry.stride, self.grid, strict=True))
        if all((count - 1) * s < n for count, s, n in rows):
            return tuple(slice(0, (count - 1) * s + 1, s) for count, s, _ in rows)
        return np.ix_(*(np.arange(count) * s % n for count, s, n in rows))

    def _scattered(self, y: np.ndarray) -> np.ndarray:
        """The adjoint of picking the outputs: y [o, *outputs] on the transform's grid, zero elsewhere."""
        out = np.zeros((len(y), *self.grid), self.dtype)
        index = self._output_index()
        if isinstance(index[0], slice):
            out[(slice(None), *index)] = y
        else:  # periodic outputs beyond one period land on the same samples
            for o in range(len(y)):
                np.add.at(out[o], index, y[o])
        return out


def route(geometry: Geometry) -> tuple[bool, tuple[int, ...]]:
    """(circular?, grid of the transform), the cheaper of the routes that are exact for this geometry."""
    padded = tuple(map(fft.fast_length, geometry.extended))
    if geometry.boundary != "periodic" or fft.cost(geometry.grid) > _PADDING_GAIN * fft.cost(padded):
        return False, padded
    return True, geometry.grid


def padded_grid(grid: Sequence[int], extent: Sequence[int]) -> tuple[int, ...]:
    """The grid that images of this size and kernels of this extent are padded to, where the image is not periodic."""
    return tuple(fft.fast_length(n + k - 1) for n, k in zip(grid, extent, strict=True))


def laid(
    taps: np.ndarray, geometry: Geometry, grid: Sequence[int], dtype: np.dtype, is_padded: bool = False
) -> np.ndarray:
    """Window taps [g, o, i, *extent] laid on a periodic grid, [g, o, i, *grid]; H is the conjugate of its transform.

    On the geometry's own grid the first output lies at sample 0 (taps at m d - p); on a larger one, or where
    `is_padded`, the extended signal does (taps at m d). Taps that meet on one sample, for kernels larger than the grid,
    add up.
    """
    is_own = tuple(grid) == geometry.grid and not is_padded
    first = [p for p, _ in geometry.padding] if is_own else [0] * len(grid)
    rows = zip(geometry.extent, geometry.dilation, first, grid, strict=True)
    places = np.ix_(*((np.arange(count) * d - p) % n for count, d, p, n in rows))
    out = np.zeros((*taps.shape[:3], *grid), dtype)
    for block in np.ndindex(taps.shape[:3]):
        np.add.at(out[block], places, taps[block].astype(dtype))
    return out


def apply(H: np.ndarray, X: np.ndarray) -> np.ndarray:
    """H [o, i, *half] times X [i, *half], frequency by frequency; may overwrite X."""
    if H.shape[:2] == (1, 1):
        X *= H[0]
        return X
    return np.einsum("oi...,i...->o...", H, X)
