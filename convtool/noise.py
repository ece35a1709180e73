"""The noise of an image, told from the image alone: its level, and whether it grows with the signal.

**Level.** The image is cut into small patches (8 x 8; 4 x 4 x 4 in stacks; 16 along lines), and each is turned into its
cosine components c_k, which keep white noise white. By their gain under the mixed second difference,
prod_i (2 - 2 cos w_i), they form three groups: the finest quarter F measures, the next M checks, the rest S (without
the mean and the slopes) says how much goes on in the patch. The level is measured where little goes on:

    level^2 = median { mean_F c^2 : patches whose mean_S c^2 is among the lowest quarter } / (median of chi^2 / dof)

Selecting by S does not bias F, since white noise is independent in the two (Ponomarenko et al. 2007), and what a blur
leaves of the scene is in S. Along some blur's directions F still holds something, but other combinations of
components do not: so the eigenvalues of the patches' covariance are the second opinion. The mean of those that are
noise (the largest set of lowest eigenvalues whose mean is no more than its median; Chen et al. 2015) is taken where it
is clearly less. With the blur's spectrum (`attenuation`) the third is the periodogram where the blur leaves nothing.

**Signal dependence.** Patches are sorted by their mean m, and the variance v_j is measured in each class j as above.
Classes in which the coarser half of F is louder than the finer one hold texture and are left out; on the others

    v_j = offset + gain m_j

is fitted, and believed if it is significant, steep, and explains the differences. If the data are whole multiples of
some step, and v_j = step m_j, they are counted photons, however little their brightness varies. The level is then that
at the mean signal. Everything scales with the image: estimate(a y) = a estimate(y).

References: Ponomarenko, Lukin, Zriakhov, Kaarna, Astola, "An automatic approach to lossy compression of AVIRIS images",
IGARSS 2007; Chen, Zhu, Heng, "An efficient statistical method for image noise level estimation", ICCV 2015.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from convtool import cosine_patches, fft
from convtool.cosine_patches import Patches
from convtool.errors import DataError

_QUIET = 0.25  # share of the patches that measures
_FEWEST = 24  # patches in a class
_SECOND_OPINION = 0.96  # of the first: from here down the eigenvalues are believed
_STEEP = 0.45  # growth of the variance over the image, over its mean: less may be texture
_LOST = 0.01  # of the strongest frequency: what a blur leaves of the scene there is below the noise
# of the patches' means, between classes
_QUANTILES = (*(k / 10 for k in range(10)), 0.95, 0.98, 0.99, 0.995, 1)


@dataclass(frozen=True)
class Noise:
    """The noise of an image, in the image's unit.

    level: standard deviation of the white noise that is as strong, rounding included; sensor: without rounding;
    rounding: as it was given. variance = offset + gain * signal, with gain 0 unless is_signal_dependent;
    is_photon_count: as photons do. is_white: whether the finest detail of the quietest patches is alike at all
    frequencies, which noise that was filtered, compressed or covered by texture is not. saturated: share of the pixels
    that are clipped at the greatest value. method: how the level was found, for reports.
    """

    level: float
    sensor: float
    rounding: float
    is_signal_dependent: bool
    gain: float
    offset: float
    is_photon_count: bool
    is_white: bool
    saturated: float
    method: str


class _Law(NamedTuple):
    """variance = offset + gain * signal; is_counted: gain is the step of the data, and offset 0."""

    gain: float
    offset: float
    is_counted: bool


def estimate(
    y: np.ndarray,
    rounding: float = 0.0,
    weights: np.ndarray | None = None,
    attenuation: np.ndarray | None = None,
) -> Noise:
    """The noise of one image y [c, *spatial]; its channels are taken together.

    Parameters: rounding, the standard deviation that rounding left in y, in y's unit (12**-0.5 for data stored as whole
    numbers); weights, 0 where y does not count, broadcast against y; attenuation, |H| of the blur on the half spectrum
    of y's grid. Raises DataError when nothing counts.

    >>> rng = np.random.default_rng(0)
    >>> round(estimate(3 * rng.normal(size=(1, 256, 256))).level, 1)
    3.0
    """
    valid = None if weights is None else np.broadcast_to(np.asarray(weights) > 0, y.shape)
    counted = y if valid is None else y[valid]
    if not counted.size:
        raise DataError("no pixel of the image counts (all weights are 0): the noise cannot be measured")
    if valid is not None:
        y = np.where(valid, y, counted[0])  # what does not count may be anything, NaN included
    saturated = _saturated(counted)
    patches = cosine_patches.gather(y, valid)
    if patches is None:
        how = "the image is constant, or too small to tell: taken for rounding alone"
        return Noise(rounding, 0.0, rounding, False, 0.0, rounding**2, False, True, saturated, how)
    level, is_white, how = _level(patches)
    law = _law(patches) if level > 2 * rounding else None  # rounding has laws of its own
    if law is not None:
        variance = law.offset + law.gain * float(counted.mean(dtype=np.float64))
        level = math.sqrt(variance) if variance > 0.25 * level**2 else level
        how = "the variance of quiet patches against their brightness"
    elif attenuation is not None and valid is None and not is_white:
        lost = _periodogram(y, attenuation)
        if lost is not None and lost < _SECOND_OPINION * level:
            level, how = lost, "the frequencies that the blur leaves nothing of"
    level = max(level, rounding)
    gain, offset, is_counted = law or _Law(0.0, level**2, False)
    rounded = 0.0 if is_counted else rounding
    sensor = math.sqrt(level**2 - rounded**2) if level > 1.02 * rounded else 0.0
    is_photons = law is not None and offset + gain * float(counted.min()) > -0.25 * level**2
    return Noise(level, sensor, rounding, law is not None, gain, offset, is_photons, is_white, saturated, how)


def unit(y: np.ndarray, dtype: np.dtype | type | str) -> float:
    """The value that stands for one grey level of 255: y / unit is in the unit of 8-bit images.

    For whole numbers the dtype's greatest value / 255; for floats (99.9th - 0.1st percentile) / 255 of what is finite;
    where that is next to nothing, as in frames of a few stars, the whole range, and of constants |value| / 255, or 1.

    >>> unit(np.zeros(3), np.uint8), unit(np.zeros(3), np.uint16), unit(np.zeros(3), np.float32)
    (1.0, 257.0, 1.0)
    """
    kind = np.dtype(dtype)
    if kind.kind in "iu":
        return float(np.iinfo(kind).max) / 255
    finite = y[np.isfinite(y)].astype(np.float64)
    if kind.kind == "b" or not finite.size:
        return 1.0 if not finite.size else 1 / 255
    low, high = np.percentile(finite, (0.1, 99.9))
    whole = float(finite.max()) - float(finite.min())
    span = high - low if high - low > 1e-3 * whole else whole
    return float(span or abs(finite[0])) / 255 or 1.0


def _saturated(values: np.ndarray) -> float:
    """The share of values at the greatest one, if there are too many of them for a distribution's end."""
    greatest, least = values.max(), values.min()
    top = int(np.count_nonzero(values == greatest))
    near = int(np.count_nonzero(values >= greatest - 0.02 * (greatest - least))) - top
    return top / values.size if greatest > least and top >= 16 and 2 * top > near else 0.0


def _typical(squares: np.ndarray, dof: int) -> float:
    """The mean of chi^2-distributed mean squares by their median, which texture in some does not reach."""
    return float(np.median(squares)) / (1 - 2 / (9 * max(dof, 1))) ** 3


def _quietest(rest: np.ndarray, share: float, fewest: int) -> np.ndarray:
    """Which patches have least going on."""
    count = min(max(int(share * len(rest)), fewest), len(rest))
    return np.argpartition(rest, count - 1)[:count]


def _level(patches: Patches) -> tuple[float, bool, str]:
    """The level, whether the quietest patches are white, and how it was found."""
    quiet = _quietest(patches.rest, _QUIET, 64)
    finest = _typical(patches.finest[quiet], patches.dof[0])
    check = _typical(patches.check[quiet], patches.dof[1])
    slack = 2.5 / math.sqrt(len(quiet) * max(min(patches.dof), 1) / patches.overlap)
    is_white = 0.8 * finest <= check * (1 + slack) and check <= (1.3 + slack) * finest
    level = math.sqrt(finest)
    second = _smallest_eigenvalues(patches.components)
    if second is not None and second < _SECOND_OPINION * level:
        return second, is_white, "the smallest eigenvalues of the patches' covariance"
    return level, is_white, "the finest detail of the quietest patches"


def _smallest_eigenvalues(components: np.ndarray) -> float | None:
    """The level by the mean of the covariance's lowest eigenvalues; None from too few patches."""
    n, k = components.shape
    if n < 40 * k:
        return None
    values = np.maximum(np.linalg.eigvalsh(components.T @ components / n), 0)
    running = np.cumsum(values) / np.arange(1, k + 1)
    for count in range(k, 1, -1):
        if running[count - 1] <= np.median(values[:count]):
            return float(np.sqrt(running[count - 1]))
    return None


def _law(patches: Patches) -> _Law | None:
    """How the variance grows with the brightness; None where it does not, or cannot be told."""
    classes = list(_classes(patches))
    if len(classes) < 4:
        return None
    m, v, s = np.array(classes).T
    if _counts(m, v, s, patches.quantum):
        return _Law(patches.quantum, 0.0, True)
    span = float(np.ptp(m))
    centre = float(m.mean())
    design = np.stack([np.ones_like(m), (m - centre) / (span or 1.0)], axis=1)
    weighted = design / s[:, None]
    covariance = np.linalg.pinv(weighted.T @ weighted)
    at_centre, slope = covariance @ (weighted.T @ (v / s))
    residual = float(np.square((v - design @ (at_centre, slope)) / s).sum())
    constant = np.average(v, weights=s**-2)
    before = float(np.square((v - constant) / s).sum())
    scale = max(residual / (len(m) - 2), 1.0)
    is_significant = slope > 5 * math.sqrt(covariance[1, 1] * scale)
    if not (is_significant and slope > _STEEP * constant and residual < 0.3 * before):
        return None
    gain = float(slope / span)
    return _Law(gain, float(at_centre - gain * centre), False)


def _counts(m: np.ndarray, v: np.ndarray, s: np.ndarray, quantum: float) -> bool:
    """Whether the variance is `quantum` times the mean everywhere, as that of counted photons is."""
    expected = quantum * m
    if not (quantum > 0 and (expected > 0).all()):
        return False
    off = np.abs(v - expected) / np.maximum(4 * s, 0.1 * expected)
    overall = np.average(v / expected, weights=(expected / s) ** 2)
    return bool(np.mean(off < 1) > 0.85 and abs(overall - 1) < (0.07 if m.max() > 1.3 * m.min() else 0.04))


def _classes(patches: Patches) -> Iterator[tuple[float, float, float]]:
    """(mean, variance of the noise, standard error of it) of the classes of brightness that are free of texture."""
    order = np.argsort(patches.means, kind="stable")
    ends = [int(q * len(order)) for q in _QUANTILES]
    for start, stop in itertools.pairwise(ends):
        members = order[start:stop]
        if len(members) < _FEWEST:
            continue
        quiet = members[_quietest(patches.rest[members], 0.35, _FEWEST)]
        v = _typical(patches.finest[quiet], patches.dof[0])
        half = patches.dof[0] // 2
        first, second = (
            _typical(np.square(patches.components[quiet, k : k + half]).mean(axis=1), half) for k in (0, half)
        )
        count = max(len(quiet) / patches.overlap, 4.0)
        relative = 1.25 * math.sqrt(2 / (patches.dof[0] * count))
        if v > 0 and second < (1.12 + 4 * relative) * first:
            yield float(np.median(patches.means[quiet])), v, relative * v


def _periodogram(y: np.ndarray, attenuation: np.ndarray) -> float | None:
    """The level by the windowed data's power where |H| is next to nothing; None where too few frequencies are so."""
    grid = y.shape[1:]
    lost = attenuation < _LOST * attenuation.max()
    if int(lost.sum()) < 200:
        return None
    window = functools.reduce(np.multiply.outer, [np.blackman(n + 2)[1:-1] for n in grid])
    window = (window / math.sqrt(float(np.square(window).sum()))).astype(y.dtype)
    centred = y - y.mean(axis=tuple(range(1, y.ndim)), keepdims=True)
    spectrum = fft.transform(grid, y.dtype).forward(centred * window)
    power = np.square(np.abs(spectrum[:, np.broadcast_to(lost, spectrum.shape[1:])]), dtype=np.float64)
    return math.sqrt(float(np.median(power)) / math.log(2))
