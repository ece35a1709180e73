"""How well a pair of images determines a kernel: errors of the taps, the scene's energy, what the fit leaves over.

Standard errors are square roots of the diagonal of sigma^2 / n (G + lambda R)^-1 over the positive taps, with
sigma^2 the residual's variance (Wahba 1983): the variance of penalised taps and, on the average over them, their bias.
A sum that is held at 1 takes the uncertainty along it away. A tap that came out 0 has the error that it would have if
it alone were let free.

The scene's energy at a frequency f is that of the windows in the direction of a tapered wave of taps,
h^T G h / |h|^2 with h[m] = hann[m] exp(2 pi i f m); white noise of variance sigma^2 has sigma^2 in each, and where the
scene has less, it tells nothing about the kernel's response at f.

References
----------
G. Wahba, "Bayesian 'confidence intervals' for the cross-validated smoothing spline", J. R. Stat. Soc. B 45 (1983)
133-150, doi:10.1111/j.2517-6161.1983.tb01239.x.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.linalg import cho_factor, cho_solve, eigvalsh

from convtool import fft
from convtool.estimation.evidence import Evidence

_LEAST_ENERGY = 1e-12  # over the largest at any frequency: below, energy is rounding


def noise_variance(evidence: Evidence, penalised: np.ndarray, w: np.ndarray) -> float:
    """The residual's variance, for as many degrees of freedom as the positive taps have left."""
    free = w != 0
    inverse = _inverse(penalised[np.ix_(free, free)])
    used = float(np.vdot(inverse, evidence.gram[np.ix_(free, free)]))
    return evidence.residual(w) * evidence.count / max(evidence.count - used, 1.0)


def standard_errors(penalised: np.ndarray, w: np.ndarray, unit: float, *, held: bool, scaled: bool) -> np.ndarray:
    """The standard error of each tap; `penalised` is G + lambda R, `unit` the residual's variance over the data.

    `held`: the sum of the taps was held. `scaled`: taps are divided by their sum, and errors are those of the quotient.
    """
    free = w != 0
    inverse = _inverse(penalised[np.ix_(free, free)])
    variance = np.empty_like(w)
    reach = penalised[np.ix_(~free, free)]
    variance[~free] = 1 / (np.diag(penalised)[~free] - np.einsum("ij,ij->i", reach @ inverse, reach))
    rows = inverse.sum(axis=0)
    total = float(w.sum())
    if held:
        variance[free] = np.diag(inverse) - rows**2 / rows.sum()
    elif scaled:
        share = w[free] / total
        variance[free] = np.diag(inverse) - 2 * share * rows + share**2 * rows.sum()
    else:
        variance[free] = np.diag(inverse)
    return np.sqrt(unit * variance.clip(0)) / (total if scaled else 1.0)


def _inverse(a: np.ndarray) -> np.ndarray:
    return cho_solve(cho_factor(a, lower=True, check_finite=False), np.eye(len(a)), check_finite=False)


def condition(gram: np.ndarray) -> float:
    """The largest over the smallest eigenvalue; infinite where that is no more than rounding."""
    values = eigvalsh(gram, check_finite=False)
    return float(values[-1] / values[0]) if values[0] > len(gram) * 1e-16 * values[-1] else np.inf


def determined_share(gram: np.ndarray, taps: Sequence[int], variance: float) -> float:
    """The share of all frequencies at which the scene has more energy than noise of this variance."""
    taper = np.ones(1)
    for n in taps:
        taper = np.multiply.outer(taper, np.hanning(n + 2)[1:-1]).ravel()
    lengths = tuple(2 * n - 1 for n in taps)
    lag = np.zeros((len(taper), len(taper)), np.int64)
    for place, length in zip(np.indices(taps).reshape(len(taps), -1), lengths, strict=True):
        lag = lag * length + (place[:, None] - place) % length
    sums = np.bincount(lag.ravel(), (gram * np.outer(taper, taper)).ravel(), minlength=int(np.prod(lengths)))
    spectrum = fft.transform(lengths, np.dtype(np.float64)).forward(sums.reshape(lengths)).real / float(taper @ taper)
    weights = np.broadcast_to(fft.multiplicity(lengths), spectrum.shape)
    seen = spectrum > max(variance, _LEAST_ENERGY * float(spectrum.max()))
    return float(weights[seen].sum() / weights.sum())


def neighbour_correlation(residual: np.ndarray) -> list[float]:
    """Along each axis, the correlation of neighbouring samples of a residual; 0 for white noise."""
    centred = residual - residual.mean()
    power = float(np.vdot(centred, centred))
    found = []
    for axis, n in enumerate(centred.shape):
        first, second = np.take(centred, range(n - 1), axis), np.take(centred, range(1, n), axis)
        found.append(float(np.vdot(first, second)) / power if power else 0.0)
    return found


def residual(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> np.ndarray:
    """y - w * x over the windows inside the frame; w has the rank of x."""
    shape = tuple(map(fft.fast_length, x.shape))
    transform = fft.transform(shape, np.dtype(np.float64), 3)
    padded = [np.pad(z, [(0, n - m) for n, m in zip(shape, z.shape, strict=True)]) for z in (x, w)]
    product = transform.forward(padded[0]) * transform.forward(padded[1]).conj()
    return y - transform.inverse(product)[tuple(slice(0, n) for n in y.shape)]
