"""The engine for large images and medium kernels: products of spectra in overlapping blocks that stay in the cache.

A transform of a whole large image reads it from memory for each axis; blocks of it are transformed in a core's cache,
one block a core, with no copy of the extended image. Of B samples e[j : j + B] of the extended signal along an axis,
with a kernel that spans d (N - 1) = R, the circular correlation is that of the signal at the first B - R places
(overlap-save; Oppenheim and Schafer 2010, section 8.7, ISBN 978-0-13-198842-2):

    y[o, j ... j + B - R] = F^-1( H F e[j : j + B] ),     H = conj( F w ),     one [o, i] matrix a frequency

so the signal is cut into blocks that overlap by R. Strides pick every s-th of the places. The adjoint correlates y,
spread by the stride and with zeros around it, with the taps turned round and transposed.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from convtool import boundary, fft, process, spectral
from convtool.geometry import Geometry

_CACHED = 640 * 640  # samples of a block, all of its input channels together: it and its spectrum stay in the cache
OVERHEAD = 2e5  # of a block, in multiply-adds: calls, copies, waiting for the interpreter


class BlocksEngine:
    """Correlation with window taps [g, o, i, *extent]; g = 1 is shared by all groups of x."""

    def __init__(self, taps: np.ndarray, geometry: Geometry, dtype: np.dtype) -> None:
        self.taps, self.geometry, self.dtype = taps, geometry, np.dtype(dtype)
        self._dense = dense(geometry)
        self.block = block_grid(self._dense, geometry.span, max(taps.shape[1:3]))

    def forward(self, x: np.ndarray) -> np.ndarray:
        """[n, g, o, *outputs] of x [n, g, i, *grid]."""
        geometry = self.geometry
        out = np.empty((*x.shape[:2], self.taps.shape[1], *self._dense), self.dtype)
        starts = tuple(-before for before, _ in geometry.padding)
        self._compute(x, starts, geometry.boundary, self._spectrum, out)
        if set(geometry.stride) == {1}:
            return out
        return np.ascontiguousarray(out[..., *_every(geometry)])

    def adjoint(self, y: np.ndarray) -> np.ndarray:
        """[n, g, i, *grid] of y [n, g, o, *outputs]."""
        geometry = self.geometry
        spread = y
        if set(geometry.stride) != {1}:
            spread = np.zeros((*y.shape[:3], *self._dense), self.dtype)
            spread[..., *_every(geometry)] = y
        is_cut = geometry.boundary == "zero" or geometry.is_circulant  # no margin is folded into the frame
        out = np.empty(
            (*y.shape[:2], self.taps.shape[2], *(geometry.grid if is_cut else geometry.extended)), self.dtype
        )
        starts = tuple((p if is_cut else 0) - r for r, (p, _) in zip(geometry.span, geometry.padding, strict=True))
        mode = "periodic" if geometry.is_circulant else "zero"
        self._compute(spread, starts, mode, self._adjoint_spectrum, out)
        return out if is_cut else boundary.fold(out, geometry.padding, geometry.boundary)

    @functools.cached_property
    def _spectrum(self) -> np.ndarray:
        """H of a block, [g, o, i, *half]."""
        return self._transformed(self.taps)

    @functools.cached_property
    def _adjoint_spectrum(self) -> np.ndarray:
        """H of the taps turned round and transposed, [g, i, o, *half]."""
        turned = np.flip(self.taps, tuple(range(3, self.taps.ndim)))
        return self._transformed(turned.swapaxes(1, 2))

    def _transformed(self, taps: np.ndarray) -> np.ndarray:
        H = fft.block_transform(self.block, self.dtype).forward(
            spectral.laid(taps, self.geometry, self.block, self.dtype, is_padded=True)
        )
        return np.conjugate(H, out=H)

    def _compute(
        self, signals: np.ndarray, starts: tuple[int, ...], mode: str, spectra: np.ndarray, out: np.ndarray
    ) -> None:
        """Every block of every signal [n, g, i, *grid], over the threads."""
        steps = [b - r for b, r in zip(self.block, self.geometry.span, strict=True)]
        places = list(itertools.product(*(range(0, n, s) for n, s in zip(out.shape[3:], steps, strict=True))))
        transform = fft.block_transform(self.block, self.dtype)

        def run(job: tuple[int, int, tuple[int, ...]]) -> None:
            n, g, place = job
            block = np.empty((signals.shape[2], *self.block), self.dtype)
            boundary.piece(signals[n, g], [a + p for a, p in zip(starts, place, strict=True)], mode, block)
            product = spectral.apply(spectra[g % len(spectra)], transform.forward(block))
            target = out[n, g][:, *(slice(p, p + s) for p, s in zip(place, steps, strict=True))]
            target[...] = transform.inverse(product)[:, *(slice(m) for m in target.shape[1:])]

        process.each(run, [(n, g, place) for n, g in np.ndindex(signals.shape[:2]) for place in places])


def dense(geometry: Geometry) -> tuple[int, ...]:
    """How many outputs there would be at stride 1."""
    return tuple(e - r for e, r in zip(geometry.extended, geometry.span, strict=True))


def _every(geometry: Geometry) -> Any:
    """Which of the dense outputs are outputs."""
    rows = zip(geometry.outputs, geometry.stride, strict=True)
    return tuple(slice(0, (count - 1) * s + 1, s) for count, s in rows)


@functools.lru_cache(256)
def block_grid(outputs: tuple[int, ...], span: tuple[int, ...], channels: int) -> tuple[int, ...]:
    """The block that correlates a signal of so many (dense) outputs at the least cost, of those that fit the cache.

    Where a kernel's span leaves none that fits, the smallest of reasonable use: twice the span.
    """
    most = [fft.fast_length(n + r) for n, r in zip(outputs, span, strict=True)]
    axes = [
        [b for b in sorted({_length(e) for e in range(12, 80)} | {whole}) if r < b <= whole]
        for r, whole in zip(span, most, strict=True)
    ]
    grids = list(itertools.product(*axes))
    fitting = [grid for grid in grids if math.prod(grid) * channels <= _CACHED]
    least = [tuple(min(fft.fast_length(2 * r + 1), whole) for r, whole in zip(span, most, strict=True))]
    return min(fitting or least, key=lambda grid: (cost(grid, outputs, span), grid))


@functools.cache
def _length(eighths: int) -> int:
    """Fast lengths about a quarter of an octave apart: 8, 10, 12, 14, 16, 20 ..."""
    return fft.fast_length(round(2 ** (eighths / 4)))


def cost(grid: Sequence[int], outputs: Sequence[int], span: Sequence[int]) -> float:
    """Of all transforms of one channel, as `fft.cost` counts, and what each block costs beside it."""
    return (fft.cost(grid) + OVERHEAD) * _count(grid, outputs, span)


def count(grid: Sequence[int], geometry: Geometry) -> int:
    """How many blocks a geometry's outputs take."""
    return _count(grid, dense(geometry), geometry.span)


def _count(grid: Sequence[int], outputs: Sequence[int], span: Sequence[int]) -> int:
    return math.prod(-(-n // (b - r)) for b, n, r in zip(grid, outputs, span, strict=True))
