"""How many iterations of Richardson-Lucy the data are worth: where the residual has reached the noise.

Two witnesses, each by its count of iterations:

`predicted`  A share of the data, drawn at random, is left out (its weights are 0), and A x + b predicts it. The error
             sum_out (y - A x - b)^2 falls while the iterations find signal and rises when they fit noise. No level of
             noise and no gain of the camera is needed. Where the noise depends on the signal, the I-divergence of what
             is left out is asked as well, and the later of the two is taken: the square sees bright stars, and is at
             their mercy; the I-divergence sees the sky.
`explained`  The first count whose residual is no more than the noise of those data that x has not fitted,
             sum M (y - A x - b)^2 / v <= 0.9 sum M, with the noise's variance v measured in the data: the discrepancy
             principle, with its constant below 1 for the freedom that x has.

For kernels that a few taps dominate nothing predicts a sample but itself: there the second decides alone. Where the
noise depends on the signal, the first does. Otherwise the count is the geometric mean of the two, `explained` held
within a factor of 2 of `predicted`. The constants were chosen on the cases of the quality bench.

References: Stone 1974, doi:10.1111/j.2517-6161.1974.tb00994.x (prediction of what was left out); Zanella, Boccacci,
Zanni and Bertero 2009, doi:10.1088/0266-5611/25/4/045010 (discrepancy for Poisson data).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from convtool.deconvolution.solvers.richardson_lucy import divergence

if TYPE_CHECKING:
    from convtool.deconvolution.solvers.richardson_lucy import RichardsonLucy
    from convtool.deconvolution.solvers.scene import Scene
    from convtool.observation import Observation
    from convtool.operators import Convolution

EXPLAINED = 0.9  # of the noise's variance: the residual where x has taken the rest for signal
_SHARE, _ENOUGH, _MOST = 0.03, 6000, 0.1  # of the data that are left out: a share, so many at least, a share at most
_FEWEST = 50  # samples that say something about a prediction
_DOMINANT = 0.3  # share of a kernel's sum in one tap from which on nothing else predicts a sample
_APART = 2.0  # factor between the two counts
_EVEN = 1.3  # how much more than its noise an even sky may scatter
_PATIENCE, _PAUSE = 1.3, 5  # the best prediction is the best when these many iterations more were no better


@dataclass
class Witness:
    """What speaks for a count of iterations, as a run goes on."""

    total: float  # sum M; 0 where the noise's level is no witness
    explained: int | None = None
    _best: dict[int, tuple[float, int]] = field(default_factory=dict, repr=False)
    _heard: int = field(default=0, repr=False)

    def hear(self, iterations: int, errors: tuple[float, ...], misfit: float) -> None:
        """Take in a point of a run, `iterations` steps from its start: errors of its predictions, and its misfit."""
        self._heard = iterations
        for kind, error in enumerate(errors):
            if error < self._best.get(kind, (math.inf, 0))[0]:
                self._best[kind] = error, iterations
        if self.total and self.explained is None and misfit <= EXPLAINED * self.total:
            self.explained = iterations

    @property
    def predicted(self) -> int:
        """The iterations that predict best."""
        return max(iterations for _, iterations in self._best.values())

    @property
    def is_done(self) -> bool:
        """Whether going on would change nothing."""
        if self._heard < _PATIENCE * self.predicted + _PAUSE:
            return False
        return not self.total or self.explained is not None or self._heard >= _APART * self.predicted

    def count(self) -> int:
        """The iterations that the data are worth: and one, as errors are of where steps start."""
        if not self.total:
            return self.predicted + 1
        least, most = self.predicted / _APART, self.predicted * _APART
        explained = min(max(self.explained or most, least), most)
        return round(math.sqrt(self.predicted * explained)) + 1


def left_out(data: np.ndarray, weights: np.ndarray | None, operator: Convolution) -> np.ndarray | None:
    """Indices into the flattened data of those to be predicted; None where they could not be."""
    taps = operator.window.taps
    seen = np.arange(data.size) if weights is None else np.flatnonzero(weights)
    count = round(len(seen) * min(max(_SHARE, _ENOUGH / max(len(seen), 1)), _MOST))
    if taps.max() > _DOMINANT * taps.sum(axis=tuple(range(2, taps.ndim))).max() or count < _FEWEST:
        return None
    return np.sort(np.random.default_rng(0).choice(seen, count, replace=False))


def without(data: np.ndarray, weights: np.ndarray | None, out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Data and weights that lack what is left out."""
    kept = np.ones_like(data) if weights is None else weights.copy()
    kept.reshape(-1)[out] = 0
    return data * kept, kept


def listen(run: RichardsonLucy, data: np.ndarray, out: np.ndarray, limit: int) -> Iterator[tuple[Witness, float]]:
    """The witness after every step of a run without the data that are left out, and the step's relative change."""
    hidden = data.reshape(-1)[out].astype(np.float64)
    is_even = run.variance is None or not run.variance[1]
    witness = Witness(run.count if is_even and run.variance else 0.0)
    for iterations in range(limit):
        step = run.advance()
        mean = run.mean.reshape(-1)[out].astype(np.float64)
        errors = (float(np.square(hidden - mean).sum()), divergence(hidden, mean))
        witness.hear(iterations, errors[:1] if is_even else errors, step.misfit)
        yield witness, step.change


def variance(observation: Observation, unit: float) -> tuple[float, float] | None:
    """(constant, slope) of the noise's variance in the mean of the data, which is measured in them; in units of unit^2.

    None where no noise is found.
    """
    from convtool import noise

    rounding = observation.rounding.level if observation.rounding else 0.0
    weights = None if observation.weights is None else observation.weights[0]
    found = noise.estimate(observation.y[0], rounding, weights)
    if found.is_signal_dependent:
        return max(found.offset, 0.0) / unit**2, found.gain / unit
    return (found.level**2 / unit**2, 0.0) if found.level else None


def sky(scene: Scene, data: np.ndarray, law: tuple[float, float] | None) -> float:
    """The level of an even background, in the scene's units, for data whose noise has the variance `law`.

    It is told from the data smoothed by the kernel, s = A^T M y / A^T M 1. Where noise explains how the most of s
    scatter, the sky is seen between stars: it is their median, by sigma clipping. Else light is everywhere, and the
    lowest values (the 2nd percentile) are the level, so that x >= 0 can explain the data.
    """
    seen = scene.adjoint(np.ones_like(data) if scene.weights is None else scene.weights)
    full = seen > 0.5 * seen.max()
    values = (scene.adjoint(data)[full] / seen[full]).astype(np.float64)
    lowest = float(np.percentile(values, 2))
    for _ in range(20):
        centre = float(np.median(values))
        spread = 1.4826 * float(np.median(np.abs(values - centre)))
        inside = values[np.abs(values - centre) <= 3 * spread]
        if len(inside) == len(values):
            break
        values = inside
    constant, slope = law or (0.0, 0.0)
    taps = scene.operator.window.taps
    narrowing = float(np.square(taps).sum() / np.square(taps.sum(axis=tuple(range(2, taps.ndim)))).sum())
    noise = math.sqrt(max(constant + slope * centre, 0.0) * narrowing)
    return max(centre if spread <= _EVEN * noise else lowest, 0.0)
