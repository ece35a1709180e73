"""Whether any scene, blurred by this kernel, can have left these data: told from their spectrum, before any solution.

What is left of a deconvolution's residual tells little of the kernel: where there is hardly any noise it is what the
prior has smoothed. What a kernel wipes out, however, no scene can bring into the data. With the data under a Blackman
window w of unit energy, so that their frame plays no part, and of the kernel what that window resolves of it,

    P(f) = |F (w y)|^2 (f),      h(f) = F [ (w * w)(t) (k * k)(t) ] (f) / (sum k)^2,      * correlations,

white noise leaves E P = sigma^2, and a scene of power S leaves h S more. Scenes are supposed to have no more power at
fine detail than where the kernel still passes nearly everything (|f| < r: h > 1/4 in nine directions of ten), and there
it is seen; photographs, whose power falls as |f|^-2 or so, are held to half the exponent q that is seen there:

    P(f) <= B(f) = N + 2 S_r (r / |f|)^s,       S_r = mean of P / h over r/2 < |f| < r,      s = q / 2, 0 to 1

N is sigma^2, or the least power of all |f| if that is more, as where the noise grows with the signal. Frequencies are
gathered into bins of (log |f|, log h), as those that a disk's rings of zeros are in; in each

    excess = exp( mean log P / B  +  Euler's constant  -  5 standard errors ),

1 for noise alone but for the last term. The kernel is in doubt where that is above 1.5 in a bin. Of white Gaussian
noise alone, 900 trials gave 0.93 at most; by the five errors, less than one in 10^5 should reach 1. What scenes do is
another matter, and was measured, on those that the bound was made with: 18 of them, 8 kernels, noise of 0 (rounding) to
20 grey levels, whole and cropped. With the right kernel it was 1.15 at most, in the 560 of 1152 cases that were judged.
A kernel that is too narrow for the data, and wipes out nothing that they hold, is the right one of a softer scene:
that, no spectrum can tell.

Nothing is said of kernels with negative taps or that mix channels, of strides, of data with gaps, of lossy compression
(whose noise is not white: 2.1), nor of few samples; nor where neighbours share the greatest value, or 0, as where
highlights or shadows are clipped, which brings detail of its own (up to 21, and 3.8). A black sky looks the same.

References: the logarithm of a periodogram, Wahba 1980 (doi:10.1080/01621459.1980.10477440); the fall of the power of
scenes, Field 1987 (doi:10.1364/JOSAA.4.002379).
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from convtool import fft
from convtool.deconvolution.solvers.crops import crops

if TYPE_CHECKING:
    from convtool.observation import Observation

_LIMIT = 1.5  # of the excess
_SAMPLES = 1 << 20  # that are looked at
_SHORTEST = 16  # samples of an axis
_LEAST = 5.0  # frequencies of a window's main lobe, with some to spare, in halves of the lowest
_PASSED, _SHARE = 0.25, 0.1  # of h; of the frequencies, that may be below it
_FEWEST = 16, 300  # frequencies that tell the scene, and the noise
_MORE = 2.0  # times S_r
_OCTAVE, _FACTOR = 6, 4.0  # bins in a factor of 2 of |f|; width of one of h
_ERRORS, _SPREAD = 5.0, 1.28  # standard errors; that of log P of one frequency
_RELATED = 3.0  # frequencies of a window that count as one
_EULER = 0.5772156649
_PLATEAU = 1e-4  # share of the data amid others at 0 or the greatest value, from which on they are clipped
_NEGATIVE = 1e-6  # of the largest tap: no less is rounding
_ROUNDING = 8.0  # units of least precision of the data's root mean square that computing leaves in them
_TINY = 1e-12


def doubt(observation: Observation, noise: float) -> str | None:
    """What to say of the kernel of an observation of one image, whose noise has this level; None of a plausible one."""
    found = excess(observation, noise)
    if found <= _LIMIT:
        return None
    return (
        "this kernel is hardly the one that made the data (or their noise is not white): at frequencies that it wipes"
        f" out they hold {found:.2g} times the power that noise and a scene can have left there"
    )


def excess(observation: Observation, noise: float) -> float:
    """The greatest excess over all bins, for the noise's level in the data's unit; 0 where there is nothing to say."""
    geometry, taps = observation.operator.geometry, observation.operator.window.taps
    y = observation.y[0]
    is_gapped = observation.weights is not None and not observation.weights.all()
    is_lossy = observation.rounding is not None and observation.rounding.is_lossy
    if is_gapped or is_lossy or any(n != 1 for n in (*taps.shape[1:3], *geometry.stride, *geometry.dilation)):
        return 0.0
    if taps.min() < -_NEGATIVE * taps.max() or not taps.max() > 0 or _is_clipped(y):
        return 0.0
    parts = np.concatenate([each.y for each in crops(observation, _SAMPLES)])  # [crops, c, *samples]
    shape = parts.shape[2:]
    if min(shape) < _SHORTEST:
        return 0.0
    windows = [_window(n) for n in shape]
    powers = _powers(parts, windows)
    rounding = _ROUNDING * float(np.finfo(y.dtype).eps) * float(np.sqrt(np.square(y, dtype=np.float64).mean()))
    level = max(noise, rounding)
    kinds = [powers[:, c] for c in range(len(y))] if len(taps) > 1 else [powers.reshape(-1, *powers.shape[2:])]
    found = (_excess(P, _passed(k, windows), shape, level) for P, k in zip(kinds, taps[:, 0, 0], strict=True))
    return max(found, default=0.0)


def _excess(powers: np.ndarray, h: np.ndarray, shape: tuple[int, ...], level: float) -> float:
    """The greatest excess of powers [n, *half] of n parts or channels that one kernel has blurred."""
    waves = fft.angular_frequencies(shape)
    radius = np.sqrt(sum((np.square(w / np.pi) for w in waves), np.zeros(h.shape)))
    rings = np.floor(_OCTAVE * np.log2(np.maximum(radius, _TINY))).astype(np.int64)
    rings -= rings.min()
    least = _LEAST / min(shape)
    end = _passband(h, radius, rings, least)
    mean, logs = powers.mean(axis=0), np.log(np.maximum(powers, np.finfo(np.float64).tiny)).mean(axis=0) + _EULER

    def scene(outer: float) -> float:
        some = (radius <= outer) & (radius > max(outer / 2, least))
        return float((mean[some] / h[some]).mean()) if some.sum() >= _FEWEST[0] else 0.0

    power, before = scene(end), scene(end / 2)
    if not power > 0:
        return 0.0
    slope = min(max(np.log2(before / power) / 2, 0.0), 1.0) if before > 0 else 0.0
    floor = max(level**2, _quietest(logs, rings, radius > least))
    fine = radius > end
    if not (floor > 0 and fine.any()):
        return 0.0
    bound = floor + _MORE * power * h[fine] * (end / radius[fine]) ** slope
    bins = np.floor(np.log(np.maximum(h[fine], _TINY)) / np.log(_FACTOR)).astype(np.int64)
    bins -= bins.min()
    bins += rings[fine] * (bins.max() + 1)
    number = np.bincount(bins)
    excess = np.bincount(bins, logs[fine] - np.log(bound))[number > 0]
    number = number[number > 0]
    error = _SPREAD * np.sqrt(_RELATED / (number * len(powers)))
    return float(np.exp(np.max(excess / number - _ERRORS * error)))


def _passband(h: np.ndarray, radius: np.ndarray, rings: np.ndarray, least: float) -> float:
    """The radius r within which the kernel passes nearly everything."""
    number = np.bincount(rings.ravel())
    lost = np.cumsum(np.bincount(rings.ravel(), h.ravel() < _PASSED)) > _SHARE * np.cumsum(number)
    outer = np.zeros(len(number))
    np.maximum.at(outer, rings.ravel(), radius.ravel())
    kept = outer[~lost | (outer <= 2 * least)]
    first = np.flatnonzero(lost & (outer > 2 * least))
    return float(outer[: first[0]].max(initial=0.0) if first.size else kept.max(initial=0.0))


def _quietest(logs: np.ndarray, rings: np.ndarray, counted: np.ndarray) -> float:
    """The least power of all rings, of which no more than that can be noise everywhere."""
    number = np.bincount(rings[counted])
    sums = np.bincount(rings[counted], logs[counted])
    many = number >= _FEWEST[1]
    return float(np.exp((sums[many] / number[many]).min())) if many.any() else 0.0


def _powers(parts: np.ndarray, windows: list[np.ndarray]) -> np.ndarray:
    """P [crops, c, *half] of parts [crops, c, *samples]."""
    w = functools.reduce(np.multiply.outer, windows)
    transform = fft.transform(w.shape, w.dtype)
    out = np.empty((*parts.shape[:2], *fft.half(w.shape)))
    for at in np.ndindex(parts.shape[:2]):
        y = parts[at].astype(np.float64)
        Y = transform.forward(w * (y - (w * y).sum() / w.sum()))
        out[at] = Y.real**2 + Y.imag**2
    return out


def _passed(taps: np.ndarray, windows: list[np.ndarray]) -> np.ndarray:
    """h [*half] for taps [*extent]."""
    shape, extent = tuple(len(w) for w in windows), taps.shape
    laid = np.pad(taps.astype(np.float64) / taps.sum(), [(0, n - 1) for n in extent])
    transform = fft.transform(laid.shape, laid.dtype)
    H = transform.forward(laid)
    product = transform.inverse((H.real**2 + H.imag**2).astype(H.dtype))
    places = []
    for axis, (w, n) in enumerate(zip(windows, extent, strict=True)):
        lags = np.r_[0:n, 1 - n : 0]
        overlap = np.array([w[lag:] @ w[: len(w) - lag] if lag < len(w) else 0.0 for lag in range(n)])
        lengths = [-1 if a == axis else 1 for a in range(len(extent))]
        product = product * overlap[np.abs(lags)].reshape(lengths)
        places.append(lags % len(w))
    grid = np.zeros(shape)
    np.add.at(grid, np.ix_(*places), product)
    return np.maximum(fft.transform(shape, grid.dtype).forward(grid).real, 0)


def _window(n: int) -> np.ndarray:
    w = np.blackman(n + 2)[1:-1]
    return w / np.sqrt(np.square(w).sum())


def _is_clipped(y: np.ndarray) -> bool:
    """Whether values at the top of y [c, *samples], or at 0 where that is its bottom, lie beside each other, as noise
    alone does not lay them; a bottom above 0 is flat by itself where little goes on.
    """
    return _plateau(y == y.max()) > _PLATEAU or (y.min() == 0 and _plateau(y == 0) > _PLATEAU)


def _plateau(marked: np.ndarray) -> float:
    """The share of places [c, *samples] that are marked, and the next along each axis as well."""
    for axis in range(1, marked.ndim):
        first, second = ((slice(None),) * axis + (part,) for part in (slice(1, None), slice(None, -1)))
        if marked.shape[axis] > 1:
            marked = marked[first] & marked[second]
    return float(marked.mean())
