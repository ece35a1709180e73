"""The linear estimate with a prior that is diagonal in frequency, for any operator and any data that count.

    minimise ||M (A x - y)||^2 + sum_f ratio(f) |x^(f)|^2

with ratio a function of the angular frequencies (a weight times a penalty, or noise over signal). Three ways:

    everything seen on a torus       x^ = (H^H H + ratio)^-1 H^H y^
    a part of a torus seen           what is not seen is found with x (`unseen`): unknown surroundings, masks, strides
    zeros, edges, mirrors around     conjugate gradients in the frame, where f are the frequencies of its cosines:
                                     differences end at the frame

Where the ratio is to be chosen from the data, that is done on a torus: on the data continued smoothly, and again when
what lies outside has been found for the last choice, until the choice stays. What the smooth continuation gets wrong
looks like detail that the kernel has damped, so the first choice may be far too small; it is multiplied by 30 for that.
And a choice is raised until the least error that the data have, by rounding or by what is supposed of the unseen,
varies in the result by a tenth of what the data do at most.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from convtool import fft
from convtool.deconvolution.solvers import columns, conjugate_gradient, factors, progress
from convtool.deconvolution.solvers.columns import Columns
from convtool.deconvolution.solvers.filters import Decomposition, filtered, filtered_data, noise_gain
from convtool.deconvolution.solvers.folded import Folded
from convtool.deconvolution.solvers.torus import is_torus
from convtool.deconvolution.solvers.unseen import Completion, Steps, Surface

if TYPE_CHECKING:
    from convtool.observation import Observation

_TOL = {"low": 3e-2, "normal": 1e-2, "high": 1e-6}  # of what was not seen; the image in the frame is far closer
_FRAME_TOL = {"low": 1e-3, "normal": 1e-4, "high": 1e-8}
_LIMIT = {"low": 50, "normal": 300, "high": 2000}
_ROUNDING = 30.0
_FIRST = 30.0  # times the choice made on the data continued smoothly
_CHOICES = {"low": 3, "normal": 6, "high": 10}
_SUPPOSED = {4: 1e-4, 8: 5e-5}  # least error of the data over their variation, for numbers of so many bytes
_AMPLIFIED = 0.1  # of the data's variation: what the least error may become in the result
_DOUBLINGS = 100
_STAYS = 1.2  # factor by which a choice differs at most from one that is the same


class Reason(enum.Enum):
    """Why the work on an image ended, the worst last: the user's sentence, with places for its numbers."""

    DIRECT = "solved in one step, frequency by frequency"
    COMPLETED = (
        "solved frequency by frequency, together with the data that were not seen, which took {steps} steps of"
        " conjugate gradients to a relative residual of {residual}"
    )
    CONTINUED = (
        "solved in one step, frequency by frequency, for the data continued smoothly: conjugate gradients did not find"
        " the data that were not seen, since rounding hides what they would have to be"
    )
    REACHED = "relative residual of the normal equations reached {residual} after {steps} steps of conjugate gradients"
    LIMIT = "stopped at the limit of {steps} steps of conjugate gradients: relative residual {residual}, not {tol}"


class Prior(NamedTuple):
    """ratio: of angular frequencies that broadcast against each other, 0 the first of each axis, in units of the
    operator's norm squared; found: what a method wants to know of its choice; times: by what that was raised since."""

    ratio: Callable[[Sequence[np.ndarray]], np.ndarray]
    found: Any
    times: float = 1.0

    def at(self, waves: Sequence[np.ndarray]) -> np.ndarray:
        """The ratio, raised."""
        return self.times * self.ratio(waves)


# A prior for the decomposition of a circulant operator (whose `norm` will do where the prior is given), an image's data
# [c_out, *torus], and which of them were seen
# (None: they are all of the data as they came).
Rule = Callable[[Any, np.ndarray, np.ndarray | None], Prior]


class Answer(NamedTuple):
    """x [c_in, *grid], the prior it was found with, by how much white noise is amplified, and why the work ended."""

    x: np.ndarray
    prior: Prior
    noise_gain: float
    reason: Reason
    steps: Steps
    tol: float


def solved(observation: Observation, rule: Rule, is_chosen: bool) -> tuple[Decomposition | Columns, list[Answer]]:
    """The decomposition that rules are given, and the answer for each image of an observation.

    `is_chosen`: whether the rule looks at the data; it is given the operator's `Columns` where it does not, and those
    will do.
    """
    operator = observation.operator
    if not is_chosen and observation.weights is None and columns.fits(operator):
        return _by_columns(observation, rule)
    surface = Surface.under(operator)
    parts = factors.decomposition(operator, surface.operator)
    count, images = len(observation.y), enumerate(observation.images(), 1)
    return parts, [_Image(one, surface, parts, rule, is_chosen, n, count).answer() for n, one in images]


def _by_columns(observation: Observation, rule: Rule) -> tuple[Columns, list[Answer]]:
    """The answers for a prior that does not depend on the data, for whole tori and kernels that mix no channels."""
    operator = Columns(observation.operator)
    prior = rule(operator, observation.y[0], None)

    x, gain = operator.solved(observation.y, columns.regularised(prior.at, operator.dtype))
    return operator, [Answer(image, prior, gain, Reason.DIRECT, Steps(0, 0.0), 0.0) for image in x]


class _Image(NamedTuple):
    """One image's problem."""

    observation: Observation
    surface: Surface
    parts: Decomposition
    rule: Rule
    is_chosen: bool
    number: int
    images: int

    def answer(self) -> Answer:
        operator = self.observation.operator
        if operator.geometry.is_circulant and self.observation.weights is None:
            return self._direct()
        return self._completed() if is_torus(operator.geometry) else self._in_frame()

    def _direct(self) -> Answer:
        y = self.observation.y
        prior = self.rule(self.parts, y[0], None)
        G = self.parts.filter(self._on_torus(prior))
        x = filtered(G, y, self.parts.operator)[0]
        return Answer(x, prior, noise_gain(G, self.parts.operator), Reason.DIRECT, Steps(0, 0.0), 0.0)

    def _completed(self) -> Answer:
        effort = self.observation.effort
        prior, completion = self._chosen()
        steps = completion.improve(self._on_torus(prior), _TOL[effort], _LIMIT[effort], self._watch(effort))
        G = self.parts.filter(self._on_torus(prior))
        x = filtered(G, completion.y[None], self.parts.operator)[0]
        x = x[(slice(None), *map(slice, self.observation.operator.geometry.grid))]
        return self._ended(x, prior, G, Reason.COMPLETED, steps, _TOL[effort])

    def _chosen(self) -> tuple[Prior, Completion]:
        """The prior, chosen on completed data, and these."""
        y, seen = self.surface.started(self.observation.y[0], _only(self.observation.weights))
        completion = Completion(self.parts, self.surface, y, seen)
        if not self.is_chosen:
            return self.rule(self.parts, y, seen), completion
        prior = self._raised(completion.y, seen)
        last = _FIRST * self._on_torus(prior)
        for _ in range(_CHOICES[self.observation.effort]):
            completion.improve(last, _TOL["low"], _LIMIT["low"])
            prior = self._raised(completion.y, seen)
            before, last = last, self._on_torus(prior)
            if np.all((last <= _STAYS * before) & (before <= _STAYS * last)):
                break
        return prior, completion

    def _raised(self, y: np.ndarray, seen: np.ndarray) -> Prior:
        """The prior chosen for data y [c_out, *torus], no weaker than their least error allows."""
        prior = self.rule(self.parts, y, seen)
        ratio, parts = self._on_torus(prior), self.parts
        varying = _variation(y, seen, not ratio.flat[0]) if _variation(y, seen, True) else 0.0
        rounding = self.observation.rounding
        least = max(rounding.level if rounding else 0.0, _SUPPOSED[y.itemsize] * varying)
        number = fft.multiplicity(parts.operator.geometry.grid)[:, None]
        for doubled in range(_DOUBLINGS):
            gain = (np.square(parts.factors(2.0**doubled * ratio), dtype=np.float64) * number).sum()
            gain *= parts.operator.groups / len(parts.s) / y.size
            if least * gain**0.5 <= _AMPLIFIED * varying or not varying:
                break
        return prior._replace(times=2.0**doubled)

    def _in_frame(self) -> Answer:
        effort = self.observation.effort
        prior, _ = self._chosen()
        operator, scene = self.observation.operator, Folded(self.observation)
        waves = np.ix_(*(np.pi * np.arange(n) / n for n in scene.shape[1:]))
        ratio = (prior.at(waves) * (self.parts.norm / scene.norm) ** 2).astype(scene.dtype)
        limits = _FRAME_TOL[effort], _LIMIT[effort]
        is_helpful = (
            operator.geometry.boundary == "zero" and operator.kernel.taps.shape[1] >= scene.shape[0] / operator.groups
        )
        on_torus = self._inverse(prior) if is_helpful else None
        x, steps = _solved_in_frame(scene, ratio, *limits, self._watch(effort), on_torus)
        G = self.parts.filter(self._on_torus(prior))
        return self._ended(scene.leave(x), prior, G, Reason.REACHED, steps, _FRAME_TOL[effort])

    def _inverse(self, prior: Prior) -> conjugate_gradient.Map:
        """(H^H H + ratio)^-1 on the torus, for images in a part of it."""
        operator, grid = self.parts.operator, self.observation.operator.geometry.grid
        G = self.parts.normal_inverse(self._on_torus(prior))
        inside = (slice(None), *map(slice, grid))

        def solved(r: np.ndarray) -> np.ndarray:
            out = np.zeros((len(r), *operator.geometry.grid), r.dtype)
            out[inside] = r
            return filtered_data(G, out, operator)[inside]

        return solved

    def _ended(self, x: np.ndarray, prior: Prior, G: np.ndarray, reason: Reason, steps: Steps, tol: float) -> Answer:
        reached = reason if steps.number < _LIMIT[self.observation.effort] else Reason.LIMIT
        reached = reached if steps.is_useful else Reason.CONTINUED
        return Answer(x, prior, noise_gain(G, self.parts.operator), reached, steps, tol)

    def _on_torus(self, prior: Prior) -> np.ndarray:
        return prior.at(fft.angular_frequencies(self.parts.operator.geometry.grid))[..., None]

    def _watch(self, effort: str) -> conjugate_gradient.Watch:
        def watch(number: int, residual: float) -> None:
            progress.tell(progress.Step(number, _LIMIT[effort], residual, self.number, self.images))

        return watch


def steps_of(observation: Observation) -> tuple[float, ...]:
    """Distances of samples along the axes, the finest of which is 1."""
    spacing = observation.spacing or (1.0,) * len(observation.operator.geometry.grid)
    return tuple(h / min(spacing) for h in spacing)


def _variation(y: np.ndarray, seen: np.ndarray, is_about_mean: bool) -> float:
    """The root mean square of the seen data of all channels, or of their deviations from the channels' means."""
    found = [plane[each].astype(np.float64) for plane, each in zip(y, seen, strict=True) if each.any()]
    squares = [np.square(plane - plane.mean() * is_about_mean).sum() for plane in found]
    return float(np.sqrt(sum(squares) / sum(map(len, found))))


def _only(weights: np.ndarray | None) -> np.ndarray | None:
    return None if weights is None else weights[0]


def _solved_in_frame(
    scene: Folded,
    ratio: np.ndarray,
    tol: float,
    limit: int,
    watch: conjugate_gradient.Watch,
    on_torus: conjugate_gradient.Map | None,
) -> tuple[np.ndarray, Steps]:
    """x with (A'^T M A' + C^T diag(ratio) C) x = A'^T y', to a residual relative to that of the scene's first guess.

    Where zeros surround the frame, the inverse on a torus beyond it is added to the preconditioner: half the steps.
    """
    ndim = ratio.ndim
    last = Steps(0, 0.0)

    def normal(x: np.ndarray) -> np.ndarray:
        out = scene.adjoint(scene.masked(scene.forward(x)))
        return out + fft.cosines_inverse(ratio * fft.cosines(x, ndim), ndim)

    def watched(number: int, residual: float) -> None:
        nonlocal last
        last = Steps(number, residual)
        watch(number, residual)

    start, right = scene.start(), scene.adjoint(scene.data)
    left = right - normal(start)
    size, floor = float(np.linalg.norm(left)), _ROUNDING * float(np.finfo(scene.dtype).eps * np.linalg.norm(right))
    if size <= floor:
        return start, last

    def preconditioned(r: np.ndarray) -> np.ndarray:
        return scene.divided(r, ratio) + (on_torus(r) if on_torus is not None else 0)

    goal = max(tol, floor / size)
    found = conjugate_gradient.solve(normal, left, preconditioned, np.zeros_like(left), goal, limit, watched)
    return start + found, last


def images(answers: Sequence[Answer]) -> np.ndarray:
    """x of all, [n, c_in, *grid]."""
    return np.stack([answer.x for answer in answers]) if len(answers) > 1 else answers[0].x[None]


def worst(answers: Sequence[Answer]) -> tuple[Reason, dict[str, Any]]:
    """The reason of the image with the worst end, and the numbers of its sentence."""
    answer = max(answers, key=lambda each: (list(Reason).index(each.reason), each.steps.number))
    residual, tol = f"{answer.steps.residual:.1e}", f"{answer.tol:.0e}"
    return answer.reason, {"steps": answer.steps.number, "residual": residual, "tol": tol}
