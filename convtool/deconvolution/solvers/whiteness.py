"""Whether the residual of a deconvolution is white, as the noise of a camera is: a second opinion on its weight.

With the autocorrelation r_k of the residual at the lags k of a window, of the pairs of samples that were both seen,

    whiteness = (1/2) sum_{0 < |k| <= REACH} ( r_k^2 - 1 / pairs_k ),      r_0 = 1, averaged over channels

which is 0 on average for white noise, whatever the size of the image, and grows as the residual keeps traces of edges:
because the weight is too large, or because the kernel is not the one that made the data (Almeida and Figueiredo 2013,
doi:10.1109/TIP.2013.2257810). Of data with hardly any noise, what the prior has smoothed is most of the residual, with
the right kernel as well: so the kernel itself is asked otherwise (`solvers.plausibility`).
"""

from __future__ import annotations

import numpy as np

from convtool import fft

REACH = 4  # lags to each side, on every axis


def whiteness(residual: np.ndarray, weights: np.ndarray | None) -> float:
    """The measure for a residual [c, *samples] and the weights (0 or 1) of its samples; 0 where nothing is left.

    >>> rng = np.random.default_rng(0)
    >>> white = rng.normal(size=(1, 64, 64))
    >>> abs(whiteness(white, None)) < 0.05, whiteness(white + np.roll(white, 1, axis=2), None) > 0.2
    (True, True)
    """
    shape = residual.shape[1:]
    grid = tuple(fft.fast_length(n + min(REACH, n - 1)) for n in shape)
    transform = fft.transform(grid, residual.dtype, uses=4 * len(residual))
    window = np.ix_(*(_lags(n) for n in shape))
    return float(
        np.mean([_measure(each, _seen(weights, c, shape), transform, window) for c, each in enumerate(residual)])
    )


def _measure(
    residual: np.ndarray, seen: np.ndarray, transform: fft.RealTransform, window: tuple[np.ndarray, ...]
) -> float:
    pairs = np.rint(_autocorrelation(seen.astype(residual.dtype), transform)[window].astype(np.float64))
    mean = residual.sum(where=seen, dtype=np.float64) / max(pairs.flat[0], 1.0)
    centred = np.where(seen, residual - residual.dtype.type(mean), 0)
    found = _autocorrelation(centred, transform)[window] / np.maximum(pairs, 1.0)
    if not found.flat[0] > 0:
        return 0.0
    r = np.where(pairs > 0, found / found.flat[0], 0.0)
    excess = np.square(r) - np.where(pairs > 0, 1 / np.maximum(pairs, 1.0), 0.0)
    return float(excess.sum() - excess.flat[0]) / 2


def _autocorrelation(x: np.ndarray, transform: fft.RealTransform) -> np.ndarray:
    laid = np.zeros(transform.shape, x.dtype)
    laid[tuple(slice(n) for n in x.shape)] = x
    X = transform.forward(laid)
    return transform.inverse((X.real**2 + X.imag**2).astype(X.dtype))


def _lags(n: int) -> np.ndarray:
    reach = min(REACH, n - 1)
    return np.r_[0 : reach + 1, -reach:0]


def _seen(weights: np.ndarray | None, c: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.ones(shape, bool) if weights is None else weights[c] > 0
