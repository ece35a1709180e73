"""The weight of total variation, chosen from the data: the one whose predicted data are nearest to those without noise.

With A x(y) the prediction that a weight gives for data y = A x + noise of variance sigma^2, Stein's unbiased estimate

    ||M A x(y) - y||^2  +  2 sigma^2 div,       div = sum_i d (A x(y))_i / d y_i

is, but for a constant, the squared error of the prediction on average (Stein 1981, doi:10.1214/aos/1176345632). The
divergence is that of a probe b of random signs, <b, A x(y + e b) - A x(y)> / e (Ramani, Blu, Unser 2008,
doi:10.1109/TIP.2008.2001404): the perturbed problem takes the same steps, so that the difference is a derivative. Where
the noise grows with the signal, b does too. The minimum over the weight is bracketed by factors and refined by a
parabola in its logarithm. As the error of the prediction is not that of x, a little less is taken (`_SHARE`, measured:
of 0.8 to 1.0 the loss against the best weight is the same within 0.03 dB).

All this is done on crops of a large image. Data with next to no noise give a weight in proportion to its variance.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from convtool import noise
from convtool.deconvolution.solvers import scene as scenes
from convtool.deconvolution.solvers.crops import crops
from convtool.deconvolution.solvers.total_variation import TotalVariation

if TYPE_CHECKING:
    from convtool.deconvolution.solvers.scene import Scene
    from convtool.observation import Observation

_APART = 2.0  # how much louder than all together one channel must be to be the one that counts
_LEAST_NOISE = 1e-3  # grey levels: data that are cleaner are taken for this noisy
_WORTH = 0.02  # grey levels of noise from which on the weight is searched for
_FACTOR = 0.04  # weight / variance to start from
_STEP = math.log(2.2)
_MOST = 7  # steps to either side
_SHARE = 0.89  # of the weight whose prediction is best
_PROBE = 0.5  # e / sigma
_ODD = 0.006  # weight / variance that is not a photograph's, whose are 0.014 to 0.2
_LOUD = 4.0  # grey levels of noise up to which that is told
_TOL, _LIMIT = 1e-2, 200
_EASY, _FALL = 0.004, 8.0  # weights below the first, in units of the scene, are approached by this factor
_SAMPLES = {"low": 1 << 15, "normal": 1 << 17, "high": 1 << 18}


@dataclass(frozen=True)
class Level:
    """The noise of one image, in the data's unit: its level, and variance = offset + gain * signal."""

    level: float
    offset: float
    gain: float


class Choice(NamedTuple):
    """A weight in the data's unit, how it was found, and whether it is so small that the kernel must be wrong."""

    weight: float
    source: str
    is_odd: bool = False


def noise_level(observation: Observation) -> Level:
    """The noise of the data of one image."""
    rounding = 0.0 if observation.rounding is None else observation.rounding.level
    weights = None if observation.weights is None else observation.weights[0]
    found = noise.estimate(observation.y[0], rounding, weights)
    for c, channel in enumerate(observation.y[0]):  # one that is much louder than all together must not be overlooked
        seen = None if weights is None else weights[c : c + 1]
        if len(observation.y[0]) > 1 and (seen is None or seen.any()):
            alone = noise.estimate(channel[None], rounding, seen)
            found = alone if alone.level > _APART * found.level else found
    return Level(found.level, found.offset, found.gain)


def chosen(observation: Observation, level: Level, is_nonnegative: bool) -> Choice:
    """The weight for an observation of one image."""
    unit, norm = scenes.unit_of(observation), scenes.norm_of(observation.operator)
    variance = max(level.level, _LEAST_NOISE * unit) ** 2 * norm / unit
    if level.level < _WORTH * unit:
        return Choice(_FACTOR * variance, "in proportion to the variance of the noise, of which there is next to none")
    samples = crops(observation, _SAMPLES[observation.effort])
    trials = [_Trial(sample, level, is_nonnegative, _FACTOR * variance) for sample in samples]
    log = least(lambda log: sum(trial.risk(math.exp(log) * variance) for trial in trials), math.log(_FACTOR))
    factor = _SHARE * math.exp(log)
    where = "" if samples[0].y.size == observation.y.size else f", on {len(trials)} crops"
    is_odd = factor < _ODD and level.level < _LOUD * unit
    return Choice(factor * variance, f"least predicted error at the measured noise{where}", is_odd)


def least(risk: Callable[[float], float], first: float) -> float:
    """Where a function is least, from a first guess on, by steps and a parabola."""
    known = {0: risk(first), 1: risk(first + _STEP)}
    ahead = 1 if known[1] < known[0] else -1
    at = max(ahead, 0)
    while abs(at + ahead) <= _MOST:
        known[at + ahead] = risk(first + (at + ahead) * _STEP)
        if known[at + ahead] >= known[at]:
            break
        at += ahead
    if at - 1 not in known or at + 1 not in known:
        return first + at * _STEP
    below, above = known[at - 1] - known[at], known[at + 1] - known[at]
    offset = (below - above) / (2 * (below + above)) if below + above > 0 else 0.0
    return first + (at + offset) * _STEP


def path(weight: float) -> list[float]:
    """Weights in the scene's units to minimise for in turn, the last the one that is wanted.

    A very small one would take thousands of iterations from the data, and would look converged long before; from the
    minimum for one a few times as large it takes dozens.
    """
    steps = max(0, math.ceil(math.log(_EASY / weight) / math.log(_FALL)))
    return [weight * _FALL**k for k in range(steps, -1, -1)]


class _Trial:
    """Predictions for one observation and for its perturbed copy, weight by weight, about the first of them."""

    def __init__(self, observation: Observation, level: Level, is_nonnegative: bool, first: float) -> None:
        scene = scenes.of(observation)
        self._dual, self._unit = scene.unit * scene.norm, scene.unit
        self._sigma = level.level / scene.unit
        self._probe = _probe(scene, level)
        perturbed = copy.copy(scene)
        perturbed.data = scene.data + scene.dtype.type(_PROBE * self._sigma) * self._probe
        self._scene = scene
        self._problems = [TotalVariation(each, is_nonnegative) for each in (scene, perturbed)]
        for weight in path(first / self._dual)[:-1]:
            self.risk(weight * self._dual)

    def risk(self, weight: float) -> float:
        """Of a weight in the data's unit: the estimated squared error of the prediction, less a constant."""
        plain, perturbed = self._problems
        found = plain.minimise(weight / self._dual, _TOL, _LIMIT)
        other = perturbed.minimise(weight / self._dual, 0.0, found.iterations)
        change = np.vdot(self._probe, other.blurred - found.blurred)
        divergence = float(change) / (_PROBE * self._sigma)
        return self._unit**2 * (2 * found.misfit + 2 * self._sigma**2 * divergence)


def _probe(scene: Scene, level: Level) -> np.ndarray:
    """Random signs where data were seen, as strong as the noise is there, relative to its level."""
    signs = np.random.default_rng(0).integers(0, 2, scene.data.shape).astype(scene.dtype)
    signs = scene.masked(2 * signs - 1)
    if not level.gain:
        return signs
    variance = np.maximum(level.offset + level.gain * scene.unit * scene.data, 0)
    return signs * np.sqrt(variance).astype(scene.dtype) / scene.dtype.type(level.level)
