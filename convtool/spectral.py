"""The FFT engine: a correlation as a product of spectra.

    y = F^-1( H F x ),    H = conj( F w ),    one [o, i] matrix per frequency and group

Three grids. *Circular*: a periodic image of a good size is transformed as it is, and any padding is read off the
periodic result. *Zeros*: an image with zeros around enters as it is, too, a grid so large that what wraps round reads
zeros. *Padded*: every other boundary, and periodic images of awkward (large prime) sizes, are extended by their margin
and transformed on the next fast size; the windows inside never see the wrap, so the result is exact as well. Strides
pick every s-th output. The adjoint does the same steps backwards with conj(H).

Kernels that mix channels need all of a group's spectra at once (`SpectralEngine`). Others go plane by plane, through
the cache (`PlaneEngine`, `convtool.passes`), and a kernel's spectrum is kept from its second use on. On grids so small
that NumPy transforms them, or of one axis, they go with the rest.

Rounding. With the unit roundoff u, a grid of n samples and the 2-norm over the grid and the channels of a group,

    ||error|| <= (12 log2 n + 4 i) u  sqrt(sum over o, i of (sum |w|)^2)  ||e||

to first order in u: 3 log2 n a transform of well-made twiddles, and as much again for the products.

References: Higham 2002, Accuracy and Stability of Numerical Algorithms, ch. 24 (doi:10.1137/1.9780898718027).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np

from convtool import boundary, fft, passes
from convtool.geometry import Geometry
from convtool.passes import KernelSpectrum, Response, Source, Target, places

_PADDING_GAIN = 1.3  # the padded route must be predicted this much faster: it also copies


class SpectralEngine:
    """Correlation with window taps [g, o, i, *extent]; g = 1 is shared by all groups of x."""

    def __init__(self, taps: np.ndarray, geometry: Geometry, dtype: np.dtype, planes: int = 1) -> None:
        self.taps, self.geometry, self.dtype = taps, geometry, np.dtype(dtype)
        self.is_padded, self.grid = route(geometry)
        self._uses = 2 * planes + math.prod(taps.shape[:3])

    @functools.cached_property
    def transform(self) -> fft.RealTransform:
        """That of the grid."""
        return fft.transform(self.grid, self.dtype, self._uses)

    @functools.cached_property
    def spectrum(self) -> np.ndarray:
        """H on the transform's grid, [g, o, i, *half]."""
        H = self.transform.forward(laid(self.taps, self.geometry, self.grid, self.dtype, self.is_padded))
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
        geometry = self.geometry
        if x.shape[1:] == self.grid:
            return x
        extended = boundary.extend(x, geometry.padding, geometry.boundary) if self.is_padded else x
        out = np.zeros((len(x), *self.grid), self.dtype)
        out[:, *map(slice, extended.shape[1:])] = extended
        return out

    def _left(self, x: np.ndarray) -> np.ndarray:
        """The adjoint of `_entered`."""
        geometry = self.geometry
        if not self.is_padded:
            return x[:, *map(slice, geometry.grid)]
        return boundary.fold(x[:, *map(slice, geometry.extended)], geometry.padding, geometry.boundary)

    def _output_index(self) -> tuple:
        """Which samples of the transform's grid are outputs."""
        rows = list(zip(self.geometry.outputs, self.geometry.stride, self.grid, strict=True))
        if all((count - 1) * s < n for count, s, n in rows):
            return self.geometry.strided
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


class PlaneEngine(SpectralEngine):
    """The same for taps [g, 1, 1, *extent], which mix no channels, on grids of two axes or more."""

    def __init__(self, taps: np.ndarray, geometry: Geometry, dtype: np.dtype, planes: int = 1) -> None:
        super().__init__(taps, geometry, dtype, planes)
        self._spectra = [KernelSpectrum(each[0, 0], geometry, self.grid, self.dtype, self.is_padded) for each in taps]
        self._fleeting = [int(planes <= len(taps))] * len(taps)  # uses of each spectrum until it is kept

    def forward(self, x: np.ndarray) -> np.ndarray:
        geometry = self.geometry
        out = np.empty((*x.shape[:2], 1, *geometry.outputs), self.dtype)
        index = self._output_index()
        for n, g in np.ndindex(x.shape[:2]):
            if isinstance(index[0], slice):
                target = _into(out[n, g, 0], index[0].step, index[1:])
                self._filter(self._source(x[n, g, 0]), self._response(g), target)
            else:
                whole = np.empty(self.grid, self.dtype)
                self._filter(self._source(x[n, g, 0]), self._response(g), _into(whole))
                out[n, g, 0] = whole[index]
        return out

    def adjoint(self, y: np.ndarray) -> np.ndarray:
        geometry = self.geometry
        out = np.empty((*y.shape[:2], 1, *geometry.grid), self.dtype)
        for n, g in np.ndindex(y.shape[:2]):
            whole = np.empty(geometry.extended, self.dtype) if self.is_padded else out[n, g, 0]
            self._filter(_plain(self._spread(y[n, g])), self._response(g, is_adjoint=True), _into(whole))
            if self.is_padded:
                out[n, g, 0] = boundary.fold(whole, geometry.padding, geometry.boundary)
        return out

    def _filter(self, source: Source, response: Response, target: Target) -> None:
        passes.filtered(source, response, target, self.grid, self.dtype)

    def _source(self, x: np.ndarray) -> Source:
        """The rows of a plane, extended where its boundary asks for that."""
        geometry = self.geometry
        if not self.is_padded:
            return _plain(x)
        (before, _), *others = geometry.padding
        starts = tuple(-first for first, _ in others)

        def read(rows: slice) -> np.ndarray:
            out = np.empty((rows.stop - rows.start, *geometry.extended[1:]), self.dtype)
            boundary.piece(x, (rows.start - before, *starts), geometry.boundary, out)
            return out

        return Source(geometry.extended[0], read)

    def _spread(self, y: np.ndarray) -> np.ndarray:
        """y [1, *outputs] as it enters the adjoint, where rows and ends of zeros may be missing."""
        fits = all(count <= n for count, n in zip(self.geometry.outputs, self.grid, strict=True))
        return y[0] if fits and set(self.geometry.stride) == {1} else self._scattered(y)[0]

    def _response(self, group: int, is_adjoint: bool = False) -> Response:
        """F w by columns, or its conjugate; kept where it is used again."""
        group %= len(self._spectra)
        kernel = self._spectra[group]
        self._fleeting[group] -= 1
        if self._fleeting[group] >= 0:
            return kernel.columns if is_adjoint else kernel.conjugate
        whole = kernel.whole
        return (lambda columns: whole[:, columns]) if is_adjoint else (lambda columns: whole[:, columns].conj())


def _plain(x: np.ndarray) -> Source:
    """The rows of a plane as they are."""
    return Source(len(x), x.__getitem__)


def _into(out: np.ndarray, step: int = 1, rest: tuple[slice, ...] = ()) -> Target:
    """All of a plane, from every `step`-th row and the part `rest` of it."""
    index = rest or tuple(slice(n) for n in out.shape[1:])

    def write(rows: slice, found: np.ndarray) -> None:
        out[rows] = found[:, *index]

    return Target(len(out), write, step)


def engine(taps: np.ndarray, geometry: Geometry, dtype: np.dtype, planes: int = 1) -> SpectralEngine:
    """The engine for window taps [g, o, i, *extent] that so many planes go through."""
    is_plain = taps.shape[1:3] == (1, 1) and len(geometry.grid) > 1
    if is_plain and fft.library(route(geometry)[1], 2 * planes + len(taps), dtype) != "numpy":
        return PlaneEngine(taps, geometry, dtype, planes)
    return SpectralEngine(taps, geometry, dtype, planes)


def route(geometry: Geometry) -> tuple[bool, tuple[int, ...]]:
    """(padded?, grid of the transform), the cheapest of the routes that are exact for this geometry."""
    if geometry.boundary == "zero":
        rows = zip(geometry.grid, geometry.padding, geometry.strided, strict=True)
        return False, tuple(fft.fast_length(max(n + max(margins), places.stop)) for n, margins, places in rows)
    padded = tuple(map(fft.fast_length, geometry.extended))
    if geometry.boundary != "periodic" or fft.cost(geometry.grid) > _PADDING_GAIN * fft.cost(padded):
        return True, padded
    return False, geometry.grid


def padded_grid(grid: Sequence[int], extent: Sequence[int]) -> tuple[int, ...]:
    """The grid that images of this size and kernels of this extent are padded to, where the image is not periodic."""
    return tuple(fft.fast_length(n + k - 1) for n, k in zip(grid, extent, strict=True))


def laid(
    taps: np.ndarray, geometry: Geometry, grid: Sequence[int], dtype: np.dtype, is_padded: bool = False
) -> np.ndarray:
    """Window taps [g, o, i, *extent] laid on a periodic grid, [g, o, i, *grid]; H is the conjugate of its transform.

    The signal begins at sample 0 (taps at m d - p); where `is_padded`, the extended signal does (taps at m d). Taps
    that meet on one sample, for kernels larger than the grid, add up.
    """
    spots = np.ix_(*places(geometry, grid, is_padded))
    out = np.zeros((*taps.shape[:3], *grid), dtype)
    for block in np.ndindex(taps.shape[:3]):
        np.add.at(out[block], spots, taps[block].astype(dtype))
    return out


def apply(H: np.ndarray, X: np.ndarray) -> np.ndarray:
    """H [o, i, *half] times X [i, *half], frequency by frequency; may overwrite X."""
    if H.shape[:2] == (1, 1):
        X *= H[0]
        return X
    return np.einsum("oi...,i...->o...", H, X)
