"""A ring on which a convolution's windows are a circulant that can be inverted, and the margin it has around a frame.

A frame of n samples, with windows of span s (from the first tap to the last) at padding (p, s - p), reads n + s samples
of the extended signal u: it lies at p .. p + n - 1 on a ring of M = n + s, and the outputs v = C u whose windows do not
wrap at 0 .. n - 1. An axis of the ring is closed with a sign, u(k + M) = +- u(k). With -1 the circulant is called
skew-circulant; over the period 2 M it is a circulant whose signals have odd frequencies only, half-way between those
that +1 has. So where the kernel has a zero at a frequency of one ring, there is another that misses it.

References
----------
Davis 1979, Circulant Matrices (skew-circulants); Reeves 2005, IEEE Transactions on Image Processing 14 (10).
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from dataclasses import dataclass

import numpy as np

from convtool import boundary, fft, spectral
from convtool.deconvolution.solvers.inverses import inverses
from convtool.geometry import Geometry

DOUBLE = np.dtype(np.float64)
ENTRIES = 1 << 22  # of a capacitance matrix, that are filled at a time
_CONTENT = 1e5  # a ring whose circulant is conditioned as well as this is not searched further


def best_ring(taps: np.ndarray, geometry: Geometry) -> tuple[Ring, np.ndarray, float]:
    """(ring, spectrum of C^-1, condition of C): the first ring that is good, else the best of all."""
    signs = itertools.product(*((1, -1) if span else (1,) for span in geometry.span))
    found: list[tuple[Ring, np.ndarray, float]] = []
    for each in sorted(signs, key=sum, reverse=True):
        ring = Ring(geometry.extended, each)
        found = sorted([*found, (ring, *inverted(taps, geometry, ring))], key=lambda entry: entry[2])[:1]
        if found[0][2] < _CONTENT:
            break
    return found[0]


def inverted(taps: np.ndarray, geometry: Geometry, ring: Ring) -> tuple[np.ndarray, float]:
    """(H^-1 [c, c, *half], zero where signals have no frequency; the condition of C, in Frobenius norms)."""
    at_zero = dataclasses.replace(geometry, padding=((0, 0),) * len(ring.shape))
    H = ring.transform.forward(spectral.laid(taps, at_zero, ring.period, DOUBLE))[0].conj()
    H = np.moveaxis(H, (0, 1), (-2, -1))[ring.occurring()]
    inverse = inverses(H)
    condition = float(np.linalg.norm(inverse, axis=(1, 2)).max() * np.linalg.norm(H, axis=(1, 2)).max())
    out = np.zeros((*H.shape[1:], *fft.half(ring.period)), H.dtype)
    out[..., ring.occurring()] = np.moveaxis(inverse, 0, -1)
    return out, condition if math.isfinite(condition) else math.inf


@dataclass(frozen=True, eq=False)
class Ring:
    """M samples an axis, each closed with sign +1 (periodic) or -1; transforms run over whole periods, M or 2 M."""

    shape: tuple[int, ...]
    signs: tuple[int, ...]

    @property
    def period(self) -> tuple[int, ...]:
        """Samples after which a signal on the ring repeats."""
        return tuple(m if sign > 0 else 2 * m for m, sign in zip(self.shape, self.signs, strict=True))

    @property
    def transform(self) -> fft.RealTransform:
        """The transform of one period."""
        return fft.transform(self.period, DOUBLE)

    def flat(self, place: np.ndarray) -> np.ndarray:
        """Flat indices of [d, samples] on the grid of all differences, 2 M - 1 an axis, where they are linear."""
        return np.ravel_multi_index(tuple(place), tuple(2 * m - 1 for m in self.shape))

    def responses(self, spectrum: np.ndarray) -> np.ndarray:
        """The impulse responses of a spectrum [a, *half] at all differences of two places, [a, flat]."""
        around = [np.arange(1 - m, m) % period for m, period in zip(self.shape, self.period, strict=True)]
        rows = np.arange(len(spectrum))
        share = 2.0 ** -self.signs.count(-1)  # of an impulse on a whole period is in the odd frequencies
        return self.transform.inverse(spectrum / share)[np.ix_(rows, *around)].reshape(len(rows), -1)

    def occurring(self) -> np.ndarray:
        """Which frequencies of the half spectrum signals have: the odd ones along an axis closed with -1."""
        found = np.ones(fft.half(self.period), bool)
        for axis, sign in enumerate(self.signs):
            if sign < 0:
                found[(slice(None),) * axis + (slice(0, None, 2),)] = False
        return found

    def filtered(self, spectrum: np.ndarray, v: np.ndarray) -> np.ndarray:
        """[n, a, *shape]: the spectrum [a, b, *half] times v [n, b, *shape]."""
        out = np.empty((len(v), len(spectrum), *self.shape))
        index = (slice(None), *map(slice, self.shape))
        for n, image in enumerate(v):
            for axis, sign in enumerate(self.signs, start=1):
                image = image if sign > 0 else np.concatenate([image, -image], axis)
            product = spectral.apply(spectrum, self.transform.forward(image))
            out[n] = self.transform.inverse(product)[index]
        return out


@dataclass(frozen=True, eq=False)
class Margin:
    """Which samples of a ring are `outputs` and `frame`, as slices, and which are not, as places [d, samples].

    unknown: all but the outputs
    outside: all but the frame; those that `copies` marks copy a sample of the frame, the others are zero
    sources: where they copy from
    """

    outputs: tuple
    frame: tuple
    unknown: np.ndarray
    outside: np.ndarray
    sources: np.ndarray
    copies: np.ndarray

    @classmethod
    def of(cls, geometry: Geometry) -> Margin:
        """Outputs lie from 0 on, the frame from the padding on."""
        axes = list(zip(geometry.extended, geometry.grid, geometry.padding, strict=True))
        outputs = tuple(slice(0, n) for _, n, _ in axes)
        frame = tuple(slice(p, p + n) for _, n, (p, _) in axes)
        outside = _complement(geometry.extended, frame)
        reads = [boundary.source(np.arange(m) - p, n, geometry.boundary) for m, n, (p, _) in axes]
        sources = np.stack([read[place] for read, place in zip(reads, outside, strict=True)])
        copies = np.all(sources >= 0, axis=0)
        before = np.array([p for p, _ in geometry.padding])[:, None]
        unknown = _complement(geometry.extended, outputs)
        return cls((..., *outputs), (..., *frame), unknown, outside, sources[:, copies] + before, copies)


def _complement(shape: tuple[int, ...], box: tuple[slice, ...]) -> np.ndarray:
    """The places [d, samples] outside a box."""
    is_left = np.ones(shape, bool)
    is_left[box] = False
    return np.array(np.nonzero(is_left))


def capacitance_matrix(ring: Ring, margin: Margin, inverse: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """S in Fortran order: rows (channel of u, sample outside), columns (channel of v, unknown sample)."""
    channels, count = len(inverse), margin.unknown.shape[1]
    S = np.empty((channels, count, channels, count), dtype)
    outside, sources, unknown = map(ring.flat, (margin.outside, margin.sources, margin.unknown))
    zero = ring.flat(np.array(ring.shape)[:, None] - 1)
    step = max(1, ENTRIES // max(count * channels, 1))
    for i in range(channels):
        G = ring.responses(inverse[i]).astype(dtype)
        for first in range(0, count, step):
            columns = slice(first, first + step)
            origins = zero - unknown[columns, None]
            part = G[:, outside + origins]
            part[..., margin.copies] -= G[:, sources + origins]
            S[:, columns, i] = part
    return S.reshape(channels * count, channels * count).T
