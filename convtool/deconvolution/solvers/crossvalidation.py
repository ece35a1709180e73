"""Generalised cross-validation for regularised filters.

With s the singular values, p = |L|^2 the penalty's spectrum and c = U^H y^ the data's components, the residual keeps
phi = w p / (s^2 + w p) of each component, all of it where s counts as zero, and everything outside the range of A:

    V(w) = N sum (phi |c|)^2 / ( N - gamma sum (1 - phi) )^2,      gamma = 1

phi depends on s^2 / p alone, so components are gathered into bins of log(s^2 / p), each with its energy and count; then
V costs nothing, and is searched on a grid that narrows around its least value.

V trusts the model: where the noise is not white, or the data are a crop, it takes for signal what is none and chooses a
weight that is orders of magnitude too small. Counting degrees of freedom several times (gamma > 1) guards against that,
and oversmooths otherwise (Kim and Gu 2004, doi:10.1046/j.1369-7412.2003.05316.x). So gamma stays 1 unless the data show
that the model does not hold: it is 6 for crops (`periodicity`), and 3 where the weight would amplify the noise,
measured in the components that the kernel damps, to over 0.45 of the data's own variation (`_amplified`), as it
happens with JPEG's missing frequencies, and the noise is found not to be white (of even textures a strong blur leaves
so little that white noise is amplified as much). On 600 simulated photographs this quotient was at most 0.39 where the
model holds, and the mean loss against the best weight 0.02 dB; for crops at low noise the loss fell from 20 to 2 dB.

Where a part of the torus was not seen, what its supposed values get wrong is taken for signal as well. There the weight
is at least three tenths of the one that is, on the average of the logarithms, the ratio of noise to signal of the
likeliest power law (`powerlaw`), which such errors mislead less.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from convtool import fft, noise
from convtool.deconvolution.solvers import periodicity, powerlaw
from convtool.deconvolution.solvers.filters import Decomposition, filtered_data

_BIN = 0.01  # width of a bin of ln(s^2 / p): phi changes by at most a 400th across it
_SEARCH = (121, 13, 13, 13, 13)  # weights tried in each round, between the neighbours of the last one's best


_CROP_GAMMA, _COLOURED_GAMMA = 6.0, 3.0
_IMPLAUSIBLE = (
    0.45  # amplified noise over the data's variation, above which gamma = 1 has failed if the noise is coloured
)
_IMPOSSIBLE = 4.0  # the same whatever the noise looks like: it was 1 at most where the model holds
_DOUBTFUL = 0.15  # the same where the frame tells of a crop: periodic data that look so reach 0.13
_DAMPED = 3  # half powers of ten by which a component is damped at least where it tells the noise
_ROUNDING = 1e3  # variation below so many eps^2 of the data's energy is none
_FEWEST = 0.002  # share of the components that a degree of damping must have to tell it
_SWOLLEN = 100.0  # energy of a result over that of its data, above which it is no scene
_OF_LIKELIEST = 0.3  # of the weight of the likeliest power law, for data of which a part was not seen
_INAUDIBLE = 1e-7  # noise over variation below which nothing is amplified that matters

_RING = "its borders will ring, and the weight was chosen cautiously"
_COLOURED = "the noise of the data is not white (compressed or filtered?), so the weight was chosen cautiously"
_NOISELESS = "cross-validation finds no noise in the data: the weight is the smallest one tried"


class Choice(NamedTuple):
    """A weight, and what a user should know about how it was found."""

    weight: float
    note: str | None = None


class _Bins(NamedTuple):
    """Ratios s^2 / p, energies and numbers of components in bins; energy and number of what no weight can restore."""

    ratio: np.ndarray
    energy: np.ndarray
    number: np.ndarray
    lost_energy: float
    lost_number: float
    total: float


class _Components(NamedTuple):
    """Energies of the data's components and the number of frequencies that each stands for, [groups, *half, k]; and the
    energy outside the range of A."""

    energy: np.ndarray
    number: np.ndarray
    outside: float


def chosen_weight(parts: Decomposition, penalty: np.ndarray, y: np.ndarray, seen: np.ndarray | None = None) -> Choice:
    """The weight, in units of norm^2, for one image y [c_out, *grid]; `penalty` [*half, 1] broadcasts against s.

    `seen` [c_out, *grid]: what of y was observed; without, all of it, and it may turn out to be a crop.
    """
    energy, outside = parts.energies(y)
    count = np.broadcast_to(fft.multiplicity(parts.operator.geometry.grid)[:, None], energy.shape)
    components = _Components(energy, count, outside)
    bins = _gathered(parts, penalty, components)
    if not len(bins.ratio) or not bins.energy.sum():
        return Choice(0.0)
    low, high = np.log(bins.ratio.min()), np.log(bins.ratio.max())
    least = max(low, high - 2 * np.log(1 / np.finfo(parts.s.dtype).eps)) - np.log(1e8)
    limits = (least, high + np.log(1e3))
    if seen is not None and (_is_varying(parts, components) or not penalty.flat[0]):  # else a constant would shrink
        floor = _likeliest(parts, penalty, y, seen)
        limits = max(least, floor), max(limits[1], floor + 1)
    plain = _minimiser(bins, 1.0, limits)
    chosen = float(np.exp(plain))
    amplified = _amplified(chosen, parts, penalty, components)
    excess = periodicity.frame_excess(parts, y) if seen is None else 0.0
    if excess > periodicity.LIMIT and (amplified > _DOUBTFUL or _bursts(chosen, parts, penalty, components, y)):
        return Choice(float(np.exp(_minimiser(bins, _CROP_GAMMA, limits))), periodicity.note(excess, _RING))
    if amplified > _IMPOSSIBLE or (amplified > _IMPLAUSIBLE and not noise.estimate(y, weights=seen).is_white):
        return Choice(float(np.exp(_minimiser(bins, _COLOURED_GAMMA, limits))), _COLOURED)
    return Choice(chosen, _NOISELESS if plain - least < 1e-6 else None)


def _bursts(weight: float, parts: Decomposition, penalty: np.ndarray, components: _Components, y: np.ndarray) -> bool:
    """Whether the result of a weight varies far more than the data do, or rings along its frame."""
    growth = np.square(parts.factors(weight * penalty), dtype=np.float64)
    if _varying(components.energy * growth, components) > _SWOLLEN * _varying(components.energy, components):
        return True
    x = filtered_data(parts.filter(weight * penalty), y, parts.operator)
    return periodicity.ringing(x, y) > periodicity.RINGING


def _likeliest(parts: Decomposition, penalty: np.ndarray, y: np.ndarray, seen: np.ndarray) -> float:
    """The logarithm of the least weight that the likeliest power law allows."""
    ratio = powerlaw.fit(parts, y, seen=seen).ratio
    counts = (ratio > 0) & (penalty > 0)
    if not counts.any():
        return -np.inf
    return float(np.mean(np.log(ratio[counts]) - np.log(penalty[counts])) + np.log(_OF_LIKELIEST))


def _varying(energy: np.ndarray, components: _Components) -> float:
    """The energy of all components but those of frequency 0."""
    still = energy.reshape(len(energy), -1, energy.shape[-1])[:, 0].sum()
    return float((energy * components.number).sum() - still)


def _is_varying(parts: Decomposition, components: _Components) -> bool:
    """Whether the data are more than a constant and the rounding of its transform."""
    total = float((components.energy * components.number).sum())
    return _varying(components.energy, components) > total * _ROUNDING * float(np.finfo(parts.s.dtype).eps) ** 2


def _amplified(weight: float, parts: Decomposition, penalty: np.ndarray, components: _Components) -> float:
    """The root mean square of the noise in the result over that of the data without their mean."""
    energy, count, _ = components
    varying = _varying(energy, components)
    level = _noise(parts, components)
    if not _is_varying(parts, components) or level * count.sum() <= _INAUDIBLE * varying:
        return 0.0
    gain = float((np.square(parts.factors(weight * penalty), dtype=np.float64) * count).sum())
    return float(np.sqrt(level * gain / varying))


def _noise(parts: Decomposition, components: _Components) -> float:
    """The noise's energy per component: the least at any degree of damping, since the scene only adds to it."""
    energy, count, _ = components
    s = np.broadcast_to(parts.s, energy.shape)
    damping = np.floor(-2 * np.log10(np.maximum(s, 1e-12))).astype(np.int64).ravel()
    number = np.bincount(damping, count.ravel(), minlength=_DAMPED + 1)[_DAMPED:]
    total = np.bincount(damping, (energy * count).ravel(), minlength=_DAMPED + 1)[_DAMPED:]
    enough = number > _FEWEST * count.sum()
    return float((total[enough] / number[enough]).min(initial=np.inf)) if enough.any() else 0.0


def _minimiser(bins: _Bins, gamma: float, limits: tuple[float, float]) -> float:
    """The logarithm of the weight that minimises V."""
    first, last = limits
    best = first
    for number in _SEARCH:
        tried = np.linspace(first, last, number)
        i = int(np.argmin([_score(np.exp(w), bins, gamma) for w in tried]))
        best, first, last = tried[i], tried[max(i - 1, 0)], tried[min(i + 1, number - 1)]
    return float(best)


def _score(weight: float, bins: _Bins, gamma: float) -> float:
    phi = weight / (bins.ratio + weight)
    kept = (phi @ bins.number) + bins.lost_number
    freedom = bins.total - gamma * (bins.total - kept) if gamma != 1 else kept
    return float(((phi**2 @ bins.energy) + bins.lost_energy) / freedom**2) if freedom > 0 else np.inf


def _gathered(parts: Decomposition, penalty: np.ndarray, components: _Components) -> _Bins:
    energy, count, outside = components
    s, kept, penalty = (np.broadcast_to(a, energy.shape) for a in (parts.s, parts.kept, penalty))
    restorable = (penalty > 0) & (s > 0)
    lost = ~restorable & ((penalty > 0) | ~kept)  # as `Decomposition.factors` leaves them out
    missing = parts.u.shape[-2] - parts.u.shape[-1]
    cells = parts.operator.groups * float(np.prod(parts.operator.geometry.grid))
    logs, weights = 2 * np.log(s[restorable]) - np.log(penalty[restorable]), count[restorable]
    places = np.floor(logs / _BIN).astype(np.int64)
    places -= places.min(initial=0)
    number = np.bincount(places, weights)
    filled = number > 0
    return _Bins(
        ratio=np.exp(np.bincount(places, logs * weights)[filled] / number[filled]),
        energy=np.bincount(places, energy[restorable] * weights)[filled],
        number=number[filled],
        lost_energy=outside + float(energy[lost] @ count[lost]),
        lost_number=float(count[lost].sum()) + missing * cells,
        total=parts.u.shape[-2] * cells,
    )
