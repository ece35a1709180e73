"""Images of point sources laid upon each other: where each lies between the samples, how bright it is, and the mean.

Source i in a window of samples is f_i K(x - d_i) + noise. Starting from centroids under a Gaussian window (iterated
until they rest), positions d_i and fluxes f_i are refined against the mean image K by weighted least squares, and K is
averaged again from the windows moved by -d_i, four times over (Anderson and King 2000 do so on a finer grid). Windows
are moved by Fourier's shift theorem: it leaves white noise white and takes nothing away from the fine detail, as
splines do; what undersampling folds over has another phase in every source, and averages out.

The noise has the variance a + b f K + (e f K)^2: the sky's, the photons', and what the sources' shapes differ by. Its
coefficients are fitted to the residuals, and every sample has its weight from them; samples beyond 4 sigma are clipped.

References
----------
J. Anderson, I. R. King, "Toward high-precision astrometry with WFPC2. I. Deriving an accurate point-spread function",
Publ. Astron. Soc. Pac. 112 (2000) 1360-1382, doi:10.1086/316632.
P. B. Stetson, "DAOPHOT: a computer program for crowded-field stellar photometry", Publ. Astron. Soc. Pac. 99 (1987)
191-222, doi:10.1086/131977.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from convtool import fft

_ROUNDS = 4
_WINDOW = 1 / 6  # standard deviation of the centroids' window, over the kernel's size
_STEPS, _REST = 50, 1e-4  # of the centroid's iteration
_CLIP = 4.0
_SIGNIFICANT = 3.0  # standard deviations of a sum of squared noise that a difference of shapes must exceed
_MAD = 1.4826
_BINS = 12  # of brightness, in which the noise is measured
_FEWEST = 3  # sources from which on their differences tell of the noise


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows [n, *cut] about sources, without background; the kernel's support is `box`, the rest tapers off to 0."""

    values: np.ndarray
    box: tuple[slice, ...]
    noise: float

    @property
    def cut(self) -> tuple[int, ...]:
        """Samples of a window on each axis; odd, so that there is no frequency without a sign."""
        return self.values.shape[1:]


@dataclass(frozen=True)
class Noise:
    """The variance of a sample with so much light: sky + photons x light + (shape x light)^2."""

    sky: float
    photons: float = 0.0
    shape_square: float = 0.0

    def variance(self, light: np.ndarray) -> np.ndarray:
        """Of each sample."""
        return self.sky + self.photons * light + self.shape_square * light**2


@dataclass(frozen=True, eq=False)
class Stack:
    """The mean image [*cut] of sources, its sum over the box 1; each source's place d [n, axes] and flux [n]; the
    standard error of each sample, and how far each source's shape is from the mean, noise apart.
    """

    mean: np.ndarray
    error: np.ndarray
    places: np.ndarray
    fluxes: np.ndarray
    deviations: np.ndarray


def stacked(windows: Windows, starts: np.ndarray) -> Stack:
    """The mean image of sources at these places [n, axes], counted from the middle of each window."""
    places, fluxes = starts, _sums(windows.values, windows.box)
    moved = shifted(windows.values, -places)
    mean = np.median(moved / _column(fluxes, moved), axis=0)
    noise = Noise(windows.noise**2)
    for _ in range(_ROUNDS):
        mean = _centred(mean / mean[windows.box].sum(), windows.box)
        places, fluxes = _fitted(windows, mean, places, fluxes, noise)
        moved = shifted(windows.values, -places)
        noise = _noise(moved, mean, fluxes, windows)
        mean, error = _average(moved, mean, fluxes, noise)
    total = mean[windows.box].sum()
    return Stack(mean / total, error / total, places, fluxes * total, _deviations(moved, mean, fluxes, noise, windows))


def centroids(windows: Windows) -> np.ndarray:
    """The centre [n, axes] of each source from the middle of its window: its centroid under a Gaussian about itself."""
    boxes = windows.values[(slice(None), *windows.box)]
    grids = _offsets(boxes.shape[1:])
    widths = [max(_WINDOW * n, 0.8) for n in boxes.shape[1:]]
    places = np.zeros((len(boxes), len(grids)))
    for _ in range(_STEPS):
        apart = [g - _column(d, boxes) for g, d in zip(grids, places.T, strict=True)]
        weight = boxes * np.exp(-0.5 * sum((a / w) ** 2 for a, w in zip(apart, widths, strict=True)))
        total = _column(_sums(weight, ()), boxes)
        # A Gaussian source under a Gaussian window of its own width moves by half the way: twice that is the step.
        steps = np.stack([2 * _sums(weight * a / total, ()) for a in apart], axis=1)
        limits = np.array([n / 2 - 1 if n > 2 else 0.5 for n in boxes.shape[1:]])
        places = np.clip(places + np.where(np.isfinite(steps), steps, 0).clip(-1, 1), -limits, limits)
        if abs(steps).max() < _REST:
            break
    return places


def shifted(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Windows [n, *cut] moved by d [n, axes] samples: x[n] becomes x[n - d]."""
    transform = fft.transform(values.shape[1:], np.dtype(np.float64), 2 * len(values))
    phase = sum(
        _column(d, values) * w for d, w in zip(places.T, fft.angular_frequencies(values.shape[1:]), strict=True)
    )
    return transform.inverse(transform.forward(values) * np.exp(-1j * phase))


def _slopes(mean: np.ndarray) -> list[np.ndarray]:
    """The derivative of an image along each axis."""
    transform = fft.transform(mean.shape, np.dtype(np.float64), 2)
    spectrum = transform.forward(mean)
    return [transform.inverse(1j * w * spectrum) for w in fft.angular_frequencies(mean.shape)]


def _fitted(
    windows: Windows, mean: np.ndarray, places: np.ndarray, fluxes: np.ndarray, noise: Noise
) -> tuple[np.ndarray, np.ndarray]:
    """Places and fluxes after a step of weighted least squares against the mean image moved to each source."""
    inner = (slice(None), *windows.box)
    images = np.stack([mean, *_slopes(mean)])
    # Everything is moved to the mean's own place; there, a step of -d in the source is +d in the mean's slope.
    moved = shifted(windows.values, -places)[inner].reshape(len(places), -1)
    design = images[inner].reshape(len(images), -1)
    light = fluxes.clip(0)[:, None] * design[0].clip(0)
    weight = 1 / noise.variance(light)
    normal = np.einsum("ip,np,jp->nij", design, weight, design)
    right = np.einsum("ip,np,np->ni", design, weight, moved)
    # The pseudo-inverse, since along an axis of one sample there is no slope.
    solution = np.einsum("nij,nj->ni", np.linalg.pinv(normal, hermitian=True), right)
    steps = -solution[:, 1:] / solution[:, :1]
    return places + np.where(np.isfinite(steps), steps, 0).clip(-0.5, 0.5), np.maximum(
        solution[:, 0], 1e-3 * windows.noise
    )


def _noise(moved: np.ndarray, mean: np.ndarray, fluxes: np.ndarray, windows: Windows) -> Noise:
    """The noise of the moved windows, from what they differ by from the mean."""
    if len(moved) < _FEWEST:
        return Noise(windows.noise**2)
    inner = (slice(None), *windows.box)
    known = (_column(fluxes, moved) * mean.clip(0))[inner].ravel()
    apart = abs((moved - _column(fluxes, moved) * mean)[inner]).ravel()
    order = np.argsort(known)
    groups = [g for g in np.array_split(order[known[order] > windows.noise], _BINS) if len(g) >= _BINS]
    lost = len(moved) / (len(moved) - 1)
    levels = np.array([windows.noise**2, *(lost * (_MAD * np.median(apart[g])) ** 2 for g in groups)])
    lights = np.array([0.0, *(known[g].mean() for g in groups)])
    design = np.stack([np.ones_like(lights), lights, lights**2], axis=1) / levels.clip(1e-300)[:, None]
    scale = design.max(axis=0).clip(1e-300)
    sky, photons, shape = nnls(design / scale, np.ones(len(levels)))[0] / scale
    return Noise(max(float(sky), 0.25 * windows.noise**2), float(photons), float(shape))


def _average(moved: np.ndarray, mean: np.ndarray, fluxes: np.ndarray, noise: Noise) -> tuple[np.ndarray, np.ndarray]:
    """The weighted mean of the windows per unit of flux, without samples that are too far from the last mean, and its
    standard error.
    """
    flux = _column(fluxes, moved)
    variance = noise.variance(flux * mean.clip(0))
    weight = flux**2 / variance
    if len(moved) >= _FEWEST:
        far = abs(moved - flux * mean) > _CLIP * np.sqrt(variance)
        # At least half of the weight stays: where most are far, it is the mean that is wrong.
        far &= (weight * far).sum(axis=0) < 0.5 * weight.sum(axis=0)
        weight = weight * ~far
    total = weight.sum(axis=0)
    return (weight * moved / flux).sum(axis=0) / total, 1 / np.sqrt(total)


def _deviations(moved: np.ndarray, mean: np.ndarray, fluxes: np.ndarray, noise: Noise, windows: Windows) -> np.ndarray:
    """The norm of each source's difference from the mean, over the mean's norm, without what the noise explains."""
    inner = (slice(None), *windows.box)
    light = _column(fluxes, moved) * mean
    expected = noise.sky + noise.photons * light.clip(0)
    doubt = _SIGNIFICANT * np.sqrt(2 * _sums(expected[inner] ** 2, ()))
    left = _sums((moved - light)[inner] ** 2 - expected[inner], ()) - doubt
    return np.sqrt(left.clip(0)) / (fluxes * np.linalg.norm(mean[windows.box]))


def _centred(mean: np.ndarray, box: tuple[slice, ...]) -> np.ndarray:
    """The mean image with its own windowed centroid in the middle."""
    place = centroids(Windows(mean[None], box, 0.0))
    return shifted(mean[None], -place)[0]


def _offsets(shape: Sequence[int]) -> list[np.ndarray]:
    """Each sample's distance from the middle one along each axis, shaped to broadcast."""
    return list(np.ogrid[tuple(slice(-(n // 2), n - n // 2) for n in shape)])


def _column(values: np.ndarray, like: np.ndarray) -> np.ndarray:
    """[n] as [n, 1, ...]."""
    return values.reshape(-1, *(1,) * (like.ndim - 1))


def _sums(values: np.ndarray, box: tuple[slice, ...]) -> np.ndarray:
    return values[(slice(None), *box)].reshape(len(values), -1).sum(axis=1)
