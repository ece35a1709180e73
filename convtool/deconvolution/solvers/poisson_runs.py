"""One image through Richardson-Lucy until there is a reason to stop, and the log of how it went.

The noise is the reason unless a count or a change was asked for: a first run without a share of the data tells how many
iterations they are worth (`poisson_stopping`), and a second one with all of them makes as many.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from convtool.deconvolution.solvers import poisson_stopping, progress
from convtool.deconvolution.solvers import scene as scenes
from convtool.deconvolution.solvers.richardson_lucy import RichardsonLucy

if TYPE_CHECKING:
    from convtool.deconvolution.solvers.scene import Scene
    from convtool.observation import Observation

_STILL = 1e-5  # relative change from which on x counts as converged, where no noise was met
_UNEXPLAINED = 1.5  # times the noise: a residual from here on is none
_PREDICTED = "from there on the fit to data that were left out for the purpose gets no better"
_EXPLAINED = "it is {ratio:.2f} times the noise measured in the data"


class Reason(enum.Enum):
    """Why the iterations ended; the value is the user's sentence."""

    DARK = "the data are nowhere above the background: nothing is the likeliest image"
    COUNT = "made the {iterations} iterations that were asked for"
    CHANGE = "the estimate changed by less than {tol:.2g} of itself after {iterations} iterations"
    NOISE = "the residual has reached the noise after {iterations} iterations: {how}"
    MISFIT = (
        "no more signal was found after {iterations} iterations: the fit to data that were left out for the purpose"
        " gets no better, but the residual is {ratio:.3g} times the noise measured in the data: is it another kernel?"
    )
    LIMIT = (
        "gave up at the limit of {iterations} iterations, with the estimate still changing by {change:.2g} of itself"
    )


@dataclass(frozen=True)
class Task:
    """What is asked of the iterations; see the options of the method.

    background is in the data's unit, None to find it; place: the number of the image, and of how many.
    """

    iterations: int | None
    tol: float | None
    background: float | None
    acceleration: str
    tv: float
    limit: int
    snapshots: int | None
    place: tuple[int, int]

    @property
    def still(self) -> float:
        """The relative change from which on x counts as converged."""
        return self.tol if self.tol is not None else 1e-4 if self.tv else _STILL


@dataclass
class Run:
    """What the iterations on one image came to; x, snapshots, I-divergences and background in the user's units."""

    reason: Reason
    x: np.ndarray
    background: float
    iterations: int = 0
    change: float = 0.0
    ratio: float = math.inf
    divergence: float = 0.0
    how: str = ""
    rows: list[dict[str, Any]] = field(default_factory=list)
    snapshots: dict[int, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class _Problem:
    """One image's scene, its data and background in the scene's units, and the noise's variance (constant, slope)."""

    scene: Scene
    data: np.ndarray
    background: float
    variance: tuple[float, float] | None
    task: Task

    def begun(self, without: np.ndarray | None = None) -> RichardsonLucy:
        """The iteration at its start, on the data that are not left out."""
        scene, task = self.scene, self.task
        data, weights = self.data, scene.weights
        if without is not None:
            data, weights = poisson_stopping.without(data, weights, without)
        tv = task.tv / scene.norm
        return RichardsonLucy(scene, data, weights, self.background, task.acceleration, tv, self.variance)

    def tell(self, iteration: int, limit: int, change: float) -> None:
        """Say a step to whoever watches."""
        progress.tell(progress.Step(iteration, limit, change, *self.task.place))


def solved(image: Observation, task: Task) -> Run:
    """The iterations on an observation of one image."""
    scene = scenes.of(image)
    data = np.maximum(scene.data, 0) if (scene.data < 0).any() else scene.data
    law, given = poisson_stopping.variance(image, scene.unit), task.background
    background = poisson_stopping.sky(scene, data, law) if given is None else given / scene.unit
    if not (data > background).any():
        return Run(Reason.DARK, np.zeros(image.operator.in_shape, image.y.dtype), background * scene.unit)
    problem = _Problem(scene, data, background, law, task)
    if task.iterations is not None or task.tol is not None or task.tv:
        return _iterated(problem, task.iterations)
    out = poisson_stopping.left_out(data, scene.weights, image.operator)
    if out is None:
        return _iterated(problem, None, until_explained=True)
    count = _worth(problem, out)
    return _iterated(problem, count, Reason.NOISE if count else None)


def _worth(problem: _Problem, out: np.ndarray) -> int | None:
    """How many iterations the data are worth; None where no noise was met."""
    limit = problem.task.limit
    heard = poisson_stopping.listen(problem.begun(out), problem.data, out, limit)
    for iteration, (witness, change) in enumerate(heard, 1):
        problem.tell(iteration, limit, change)
        if change < _STILL:
            return None
        if witness.is_done:
            return witness.count()
    return None


def _iterated(
    problem: _Problem, count: int | None, reached: Reason | None = None, until_explained: bool = False
) -> Run:
    """Iterations to a count, a change that is small or, if asked, a residual that the noise explains."""
    task, scene = problem.task, problem.scene
    iteration = problem.begun()
    tol = task.still if task.tol is not None or count is None else 0.0
    limit = count or task.limit
    run = Run(Reason.LIMIT, problem.data, problem.background * scene.unit)
    if count is not None:
        run.reason = reached or Reason.COUNT
    for n in range(1, limit + 1):
        is_measured = until_explained or is_logged(n - 1)
        step = iteration.advance(is_measured)
        problem.tell(n, limit, step.change)
        if is_measured:
            run.rows.append({"iteration": n - 1, "i_divergence": step.divergence * scene.unit, "change": step.change})
        if task.snapshots is not None and n % task.snapshots == 0:
            run.snapshots[n] = scene.leave(iteration.balanced())
        if until_explained and step.misfit <= poisson_stopping.EXPLAINED * iteration.count:
            run.reason = Reason.NOISE
            break
        if step.change < tol:
            run.reason = Reason.CHANGE
            break
    run.iterations, run.change = iteration.iterations, step.change
    final = iteration.measured()
    run.divergence, run.ratio = final.divergence * scene.unit, (final.misfit / max(iteration.count, 1)) ** 0.5
    if run.reason is Reason.NOISE and run.ratio > _UNEXPLAINED:
        run.reason = Reason.MISFIT
    run.how = _PREDICTED if reached else _EXPLAINED.format(ratio=run.ratio)
    run.x = scene.leave(iteration.balanced())
    return run


def is_logged(n: int) -> bool:
    """Whether iteration n is in the log: all at first, then about one in ten of what was before."""
    step = 10 ** max(len(str(n)) - 2, 0)
    return n < 20 or n % (5 * step) == 0 if n < 100 else n % step == 0
