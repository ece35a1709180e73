"""Generalised cross-validation for regularised filters.

With s the singular values, p = |L|^2 the penalty's spectrum and c = U^H y^ the data's components, the residual keeps
phi = w p / (s^2 + w p) of each component, all of it where s counts as zero, and everything outside the range of A:

    V(w) = N sum (phi |c|)^2 / ( sum phi )^2

phi depends on s^2 / p alone, so components are gathered into bins of log(s^2 / p), each with its energy and count; then
V costs nothing, and is searched on a grid that narrows around its least value.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from convtool import fft
from convtool.deconvolution.solvers.filters import Decomposition

_BIN = 0.01  # width of a bin of ln(s^2 / p): phi changes by at most a 400th across it
_SEARCH = (121, 13, 13, 13, 13)  # weights tried in each round, between the neighbours of the last one's best


class Choice(NamedTuple):
    """A weight, and whether it is the smallest one that was admitted."""

    weight: float
    is_least: bool


def chosen_weight(parts: Decomposition, penalty: np.ndarray, y: np.ndarray) -> Choice:
    """The weight that minimises V for one image's data y [c_out, *grid]; `penalty` [*half, 1] broadcasts against s."""
    ratio, energy, count, fixed = _gathered(parts, penalty, y)
    if not len(ratio) or not energy.sum():
        return Choice(0.0, False)
    low, high = np.log(ratio.min()), np.log(ratio.max())
    least = max(low, high - 2 * np.log(1 / np.finfo(parts.s.dtype).eps)) - np.log(1e3)
    first, last = least, high + np.log(1e3)
    for number in _SEARCH:
        tried = np.linspace(first, last, number)
        best = int(np.argmin([_score(np.exp(w), ratio, energy, count, fixed) for w in tried]))
        first, last = tried[max(best - 1, 0)], tried[min(best + 1, number - 1)]
    return Choice(float(np.exp(tried[best])), bool(tried[best] - least < 1e-6))


def _gathered(
    parts: Decomposition, penalty: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[float, float]]:
    """Ratios s^2 / p, energies and counts in bins; and (energy, count) of what no weight can restore."""
    operator = parts.operator
    energy, outside = parts.energies(y)
    counts = np.broadcast_to(fft.multiplicity(operator.geometry.grid)[:, None], energy.shape)
    energy = energy * counts
    kept = np.broadcast_to(parts.kept, energy.shape)
    restorable = kept & np.broadcast_to(penalty > 0, energy.shape)
    lost = ~kept
    missing = parts.u.shape[-2] - parts.u.shape[-1]
    fixed = (
        outside + float(energy[lost].sum()),
        float(counts[lost].sum()) + missing * operator.groups * float(np.prod(operator.geometry.grid)),
    )
    ratio = np.broadcast_to(np.square(parts.s, dtype=np.float64), energy.shape)[restorable]
    ratio = ratio / np.broadcast_to(penalty, energy.shape)[restorable]
    bins = np.floor(np.log(ratio) / _BIN).astype(np.int64)
    bins -= bins.min(initial=0)
    number = np.bincount(bins, counts[restorable])
    filled = number > 0
    centre = np.bincount(bins, np.log(ratio) * counts[restorable])[filled] / number[filled]
    return np.exp(centre), np.bincount(bins, energy[restorable])[filled], number[filled], fixed


def _score(
    weight: float, ratio: np.ndarray, energy: np.ndarray, count: np.ndarray, fixed: tuple[float, float]
) -> float:
    phi = weight / (ratio + weight)
    return float(((phi**2 @ energy) + fixed[0]) / ((phi @ count) + fixed[1]) ** 2)
