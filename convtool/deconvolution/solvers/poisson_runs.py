"""One image through Richardson-Lucy until there is a reason to stop, and the log of how it went.

The noise is the reason unless a count or a change was asked for, or none is found: beside the run goes a second one, on
data to which noise was added, which tells how much of the noise the first has fitted (`poisson_stopping`). The estimate
of the least risk is what is returned.
"""

from __future__ import annotations

import enum
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from convtool.deconvolution.solvers import poisson_stopping, progress, richardson_lucy
from convtool.deconvolution.solvers import scene as scenes
from convtool.deconvolution.solvers.poisson_stopping import Risk
from convtool.deconvolution.solvers.richardson_lucy import RichardsonLucy

if TYPE_CHECKING:
    from convtool.deconvolution.solvers.scene import Scene
    from convtool.observation import Observation

_STILL = 1e-5  # relative change from which on x counts as converged, where no noise was met
_UNEXPLAINED = 1.5  # times the noise: a residual from here on is none


class Reason(enum.Enum):
    """Why the iterations ended; the value is the user's sentence."""

    DARK = "the data are nowhere above the background: nothing is the likeliest image"
    COUNT = "made the {iterations} iterations that were asked for"
    CHANGE = "the estimate changed by less than {tol:.2g} of itself after {iterations} iterations"
    NOISE = (
        "the residual has reached the noise after {iterations} iterations: from there on more of the noise would be"
        " fitted than of the signal"
    )
    MISFIT = (
        "no more signal was found after {iterations} iterations: more of the noise would be fitted, but the residual is"
        " {ratio:.3g} times the noise measured in the data: is it another kernel?"
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
    """What the iterations on one image came to; x, snapshots, I-divergences and background in the user's units.

    fit: the I-divergence and how many times the noise the residual is, measured when called
    """

    reason: Reason
    x: np.ndarray
    background: float
    iterations: int = 0
    change: float = 0.0
    ratio: float = math.inf
    fit: Callable[[], tuple[float, float]] = lambda: (0.0, math.inf)
    rows: list[dict[str, Any]] = field(default_factory=list)
    snapshots: dict[int, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class _Problem:
    """One image's scene, its data and background in the scene's units, and how to find the noise's variance."""

    scene: Scene
    data: np.ndarray
    background: float
    law: Callable[[], tuple[float, float] | None]
    task: Task

    def begun(self) -> RichardsonLucy:
        """The iteration at its start."""
        tv, acceleration = self.task.tv / self.scene.norm, self.task.acceleration
        weights = self.scene.weights
        return RichardsonLucy(self.scene, self.data, weights, self.background, acceleration, tv)

    def twin(self, data: np.ndarray) -> RichardsonLucy:
        """One on other data, whose momentum another is to tell."""
        acceleration = "none" if self.task.acceleration == "none" else "heavy-ball"  # which keeps less
        return RichardsonLucy(self.scene, data, self.scene.weights, self.background, acceleration)

    def fit(self, x: np.ndarray) -> tuple[float, float]:
        """The I-divergence of x in the user's unit, and how many times the noise the residual is."""
        divergence, misfit = richardson_lucy.fit(self.scene, self.data, self.background, x, self.law())
        count = self.data.size if self.scene.weights is None else self.scene.weights.sum(dtype=np.float64)
        return divergence * self.scene.unit, (misfit / max(count, 1)) ** 0.5

    def tell(self, iteration: int, limit: int, change: float) -> None:
        """Say a step to whoever watches."""
        progress.tell(progress.Step(iteration, limit, change, *self.task.place))


def solved(image: Observation, task: Task) -> Run:
    """The iterations on an observation of one image."""
    scene = scenes.of(image)
    data = np.maximum(scene.data, 0) if (scene.data < 0).any() else scene.data
    law, given = functools.cache(partial(poisson_stopping.variance, image, scene.unit)), task.background
    background = poisson_stopping.sky(scene, data, law()) if given is None else given / scene.unit
    if not (data > background).any():
        return Run(Reason.DARK, np.zeros(image.operator.in_shape, image.y.dtype), background * scene.unit)
    problem = _Problem(scene, data, background, law, task)
    variance = None if task.iterations is not None or task.tol is not None or task.tv else law()
    return _iterated(problem, Risk(data, scene.weights, variance, problem.twin) if variance else None)


def _iterated(problem: _Problem, risk: Risk | None) -> Run:
    """Iterations to a count, a change that is small or, with the risk at hand, the estimate that has the least."""
    task, scene = problem.task, problem.scene
    iteration = problem.begun()
    tol = task.still if task.tol is not None or task.iterations is None else 0.0
    limit = task.iterations or task.limit
    run = Run(Reason.COUNT if task.iterations else Reason.LIMIT, problem.data, problem.background * scene.unit)
    changes = []
    for n in range(1, limit + 1):
        is_measured = is_logged(n - 1)
        step = risk.advance(iteration, is_measured) if risk else iteration.advance(is_measured)
        changes.append(step.change)
        problem.tell(n, limit, step.change)
        if is_measured:
            run.rows.append({"iteration": n - 1, "i_divergence": step.divergence * scene.unit, "change": step.change})
        if task.snapshots is not None and n % task.snapshots == 0:
            run.snapshots[n] = scene.leave(iteration.balanced())
        if risk and risk.is_known(n):
            run.reason = Reason.NOISE
            iteration.x, iteration.iterations = risk.x, risk.count
            break
        if step.change < tol:
            run.reason = Reason.CHANGE
            break
    return _ended(problem, iteration, run, changes)


def _ended(problem: _Problem, iteration: RichardsonLucy, run: Run, changes: list[float]) -> Run:
    """The run with what it came to; what came after its last iteration is dropped."""
    scene = problem.scene
    run.iterations, run.change = iteration.iterations, changes[iteration.iterations - 1]
    run.rows = [row for row in run.rows if row["iteration"] < run.iterations]
    run.snapshots = {n: x for n, x in run.snapshots.items() if n <= run.iterations}
    run.fit = functools.cache(partial(problem.fit, iteration.x))
    if run.reason is Reason.NOISE:
        run.ratio = run.fit()[1]
        run.reason = Reason.MISFIT if run.ratio > _UNEXPLAINED else Reason.NOISE
    run.x = scene.leave(iteration.balanced())
    return run


def is_logged(n: int) -> bool:
    """Whether iteration n is in the log: all at first, where most happens, then one in five or ten of their number."""
    step = 10 ** max(len(str(n)) - 2, 0)
    return n < 5 or n % (5 * step) == 0 if n < 100 else n % step == 0
