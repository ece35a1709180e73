"""Noise level and power-law spectrum of the scene behind blurred data, by Whittle's likelihood.

With components c = U^H y^ at radial frequency r (1 at the Nyquist frequency), the model is

    E |c|^2 = a ( s^2 r^-p + nu ),       S(r) = a r^-p the signal's power,  a nu the noise's

and minimises  sum log E + |c|^2 / E  over a (in closed form), p and nu. Components are gathered into bins of
(log s^2, log r): wide ones for a search over a grid, narrow ones for the descent from its best point.

Where a part of the torus was not seen, what is supposed of it is no signal and no white noise, and strongly blurred
data would be explained by a p and a nu that no scene has. There p is at least 1, nu at least 1e-7 (of float64 1e-8),
and the ratio that at least, times r^4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from convtool import fft
from convtool.deconvolution.solvers.filters import Decomposition

_WIDE, _NARROW = 8, 50  # bins in a factor of e
_STEEPEST, _FLATTEST = 6.0, 1.0  # exponents; the latter where a part was not seen
_LEAST_EXPONENT = 4  # of the least ratio there
_LEAST = {4: 1e-7, 8: 1e-8}  # nu where a part was not seen, for data of so many bytes
_EXPONENTS, _LEVELS = 13, 61


class _Bins(NamedTuple):
    """s^2 and r (both averaged as logarithms), summed energy, and number of components, one entry a bin."""

    s2: np.ndarray
    r: np.ndarray
    energy: np.ndarray
    number: np.ndarray


class PowerLaw(NamedTuple):
    """noise_to_signal: noise power / signal power over all frequencies but 0; noise_level: the noise's standard
    deviation in the data's unit; exponent: p; ratio: noise / signal at each frequency, [*half, 1]; nu: the ratio at the
    Nyquist frequency; least: of nu. Ratios of noise to signal are in units of the operator's norm squared."""

    noise_to_signal: float
    noise_level: float
    exponent: float
    ratio: np.ndarray
    nu: float = 0.0
    least: float = 0.0

    def at(self, radius: np.ndarray) -> np.ndarray:
        """The ratio of noise to signal at radial frequencies."""
        return np.maximum(self.nu * radius**self.exponent, self.least * radius**_LEAST_EXPONENT)


def radii(waves: Sequence[np.ndarray]) -> np.ndarray:
    """|f| at angular frequencies that broadcast against each other, 0 the first of each axis.

    1 is the Nyquist frequency of an axis; frequency 0 takes the value of the nearest other.
    """
    squares = sum((np.square(w / np.pi) for w in waves), np.zeros(np.broadcast_shapes(*(w.shape for w in waves))))
    if squares.size > 1:
        squares.flat[0] = squares.ravel()[1:].min()
    return np.sqrt(np.where(squares > 0, squares, 1.0))


def fit(
    parts: Decomposition, y: np.ndarray, steps: Sequence[float] | None = None, seen: np.ndarray | None = None
) -> PowerLaw:
    """The most likely power law and noise of one image's data y [c_out, *grid].

    `steps`: distances of samples along the axes, the finest of which is 1; all alike without. `seen` [c_out, *grid]:
    what of y was observed; without, all of it.
    """
    grid = parts.operator.geometry.grid
    waves = fft.angular_frequencies(grid)
    radius = radii(waves if steps is None else [w / h for w, h in zip(waves, steps, strict=True)])[..., None]
    energy, s2, counts = _components(parts, y)
    if not (energy * counts).any():
        return PowerLaw(0.0, 0.0, 0.0, np.zeros_like(radius))
    wide, narrow = (_gathered(energy, s2, radius, counts, resolution) for resolution in (_WIDE, _NARROW))
    least = 0.0 if seen is None else _LEAST[parts.s.dtype.itemsize]
    exponents = 0.0 if seen is None else _FLATTEST, _STEEPEST
    levels = float(np.log(least or np.finfo(parts.s.dtype).eps ** 2)), float(np.log(1e8))
    exponent, log_nu = _likeliest(wide, narrow, exponents, levels)
    nu = float(np.exp(log_nu))
    scale = float((narrow.energy / (narrow.s2 * narrow.r**-exponent + nu)).sum() / narrow.number.sum())
    weights = np.broadcast_to(fft.multiplicity(grid)[:, None], radius.shape).ravel()[1:]
    mean_signal = float((weights / radius.ravel()[1:] ** exponent).sum() / max(weights.sum(), 1))
    noise = float(np.sqrt(scale * nu / np.prod(grid)))
    law = PowerLaw(nu / mean_signal if mean_signal else 0.0, noise, exponent, radius, nu, least)
    return law._replace(ratio=law.at(radius))


def _likeliest(
    wide: _Bins, narrow: _Bins, exponents: tuple[float, float], levels: tuple[float, float]
) -> tuple[float, float]:
    """The exponent and log nu of the greatest likelihood: the best of a grid, then downhill."""
    from scipy.optimize import minimize

    powers, tried = np.linspace(*exponents, _EXPONENTS), np.linspace(*levels, _LEVELS)
    scores = np.array([_score(p, tried, wide) for p in powers])
    i, j = np.unravel_index(int(np.argmin(scores)), scores.shape)
    found = minimize(
        lambda at: _score(at[0], at[1:], narrow)[0],
        (powers[i], tried[j]),
        method="Nelder-Mead",
        bounds=(exponents, levels),
        options={"xatol": 1e-5, "fatol": 1e-12},
    )
    return float(found.x[0]), float(found.x[1])


def _components(parts: Decomposition, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Energies, s^2 (at least rounding's) and counts of all components; frequency 0 counts as none."""
    energy, _ = parts.energies(y)
    grid = parts.operator.geometry.grid
    counts = np.broadcast_to(fft.multiplicity(grid)[:, None], energy.shape).copy()
    counts.reshape(len(counts), -1, counts.shape[-1])[:, 0] = 0
    s2 = np.maximum(np.square(parts.s, dtype=np.float64), np.finfo(parts.s.dtype).eps ** 2)
    return energy, np.broadcast_to(s2, energy.shape), counts


def _gathered(energy: np.ndarray, s2: np.ndarray, radius: np.ndarray, counts: np.ndarray, resolution: int) -> _Bins:
    logs = np.log(s2).ravel(), np.log(np.broadcast_to(radius, energy.shape)).ravel()
    keys = [np.floor(resolution * log).astype(np.int64) for log in logs]
    keys = [key - key.min() for key in keys]
    bins = keys[0] * (keys[1].max() + 1) + keys[1]
    weights = counts.ravel()
    number = np.bincount(bins, weights)
    filled = number > 0
    sums = [np.bincount(bins, values * weights)[filled] for values in (*logs, energy.ravel())]
    number = number[filled]
    return _Bins(np.exp(sums[0] / number), np.exp(sums[1] / number), sums[2], number)


def _score(exponent: float, log_nu: np.ndarray, bins: _Bins) -> np.ndarray:
    """The likelihood's negative logarithm per component, its scale at its best, for each of several log nu."""
    shape = bins.s2 * bins.r**-exponent + np.exp(log_nu)[:, None]
    return (np.log(shape) @ bins.number) / bins.number.sum() + np.log((1 / shape) @ bins.energy)
