"""Total variation: least squares that keeps edges, its weight chosen from the noise measured in the data.

    minimise 1/2 ||M A x - y||^2 + weight TV(x)  [, x >= 0],      TV(x) = sum_pixels ( sum_axes,channels (D x)^2 )^1/2

with D the forward differences along the kernel's axes (with a spacing: divided by it, in units of the finest), M the
data that count, for any operator: periodic, within unknown surroundings, continued by zeros, edges or mirrors, strided.
How: `solvers.total_variation`; the weight: `solvers.tv_weight`. Each image of a batch is a problem of its own; a large
one within unknown surroundings is solved tile by tile (`solvers.tiles`). The kernel is doubted where it does better
turned (`solvers.orientation`), where no scene can have left the data (`solvers.plausibility`), or where next to no
weight predicts them best.

References: Rudin, Osher, Fatemi 1992 (doi:10.1016/0167-2789(92)90242-F) for total variation; the others in `solvers`.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from convtool.registry import above, at_least
from convtool.solution import Estimate, Stopped

if TYPE_CHECKING:
    import numpy as np

    from convtool.deconvolution.solvers.tv_weight import Choice
    from convtool.observation import Observation

_TOL = {"low": 1e-2, "normal": 5e-3, "high": 2e-3}  # at 1e-2 up to 0.3 dB are missing where there is little noise
_LIMIT = 500
_TILE = 1 << 22  # samples of data, all channels together, that are solved at once

HELD = 29.0  # see the package


@dataclass(frozen=True)
class Options:
    """Settings of total variation."""

    weight: float | None = field(
        default=None,
        metadata={
            "help": "regularisation weight, in the data's unit (auto: chosen from their noise)",
            "within": above(0),
        },
    )
    nonnegative: bool = field(default=False, metadata={"help": "allow no values below 0"})
    tol: float | None = field(
        default=None,
        metadata={
            "help": "relative primal and dual residual to reach (auto: 0.005, or as --effort says)",
            "within": above(0, below=1),
        },
    )
    limit: int = field(default=_LIMIT, metadata={"help": "most iterations at a weight", "within": at_least(1)})


class Reason(enum.Enum):
    """Why the iteration on an image ended, the worst last: the user's sentence, with places for its numbers."""

    CONVERGED = "converged after {iterations} iterations: primal and dual residual at most {tol}"
    LIMIT = "stopped at the limit of {iterations} iterations, before it had converged: residual {residual}, not {tol}"


class _Answer(NamedTuple):
    """What was found for one image or tile: x [c_in, *grid], numbers, all in the user's units, and what to doubt."""

    x: np.ndarray
    metrics: dict[str, Any]
    is_converged: bool
    notes: tuple[str, ...] = ()


def solve(observation: Observation, options: Options) -> Estimate:
    """The minimum for data y [n, c_out, *outputs]."""
    import numpy as np

    answers = [_solved(image, options, n + 1, len(observation.y)) for n, image in enumerate(observation.images())]
    worst = max(answers, key=lambda answer: (not answer.is_converged, answer.metrics["iterations"]))
    residual = max(worst.metrics["primal_residual"], worst.metrics["dual_residual"])
    tol = options.tol or _TOL[observation.effort]
    numbers = {"iterations": worst.metrics["iterations"], "tol": f"{tol:.2g}", "residual": f"{residual:.2g}"}
    stop = Stopped(Reason.CONVERGED if worst.is_converged else Reason.LIMIT, numbers)
    notes = dict.fromkeys(note for answer in answers for note in answer.notes)
    return Estimate(np.stack([answer.x for answer in answers]), stop, _measured(answers), tuple(notes))


def _solved(observation: Observation, options: Options, image: int, images: int) -> _Answer:
    """The answer for an observation of one image, all at once or tile by tile."""
    from convtool.deconvolution.solvers import tiles, tv_weight

    noise = tv_weight.noise_level(observation)
    choice = tv_weight.Choice(options.weight, "given") if options.weight is not None else None
    choice = choice or tv_weight.chosen(observation, noise, options.nonnegative)
    found = {"weight": choice.weight, "weight_source": choice.source, "noise_level": noise.level}
    parts = tiles.tiles(observation, _TILE)
    answers: list[_Answer] = []

    def solved(tile: Observation) -> np.ndarray:
        number = (image - 1) * len(parts) + len(answers) + 1
        answer = _minimised(tile, options, found, number, images * len(parts))
        answers.append(answer._replace(x=answer.x[:0]))
        return answer.x

    if len(parts) == 1:
        x = solved(observation)
    else:
        x = tiles.blended(parts, observation.operator.in_shape, observation.y.dtype, solved)
    metrics = answers[0].metrics if len(parts) == 1 else _summed(answers)
    is_converged = all(answer.is_converged for answer in answers)
    doubts = _doubts(observation, choice, noise.level) if is_converged else ()
    return _Answer(x, found | metrics, is_converged, doubts)


def _minimised(observation: Observation, options: Options, found: dict[str, Any], image: int, images: int) -> _Answer:
    """The minimum for one image or tile, with the weight that was found."""
    from convtool.deconvolution.solvers import scene as scenes
    from convtool.deconvolution.solvers import tv_weight
    from convtool.deconvolution.solvers.progress import Step, tell
    from convtool.deconvolution.solvers.total_variation import TotalVariation
    from convtool.deconvolution.solvers.whiteness import whiteness

    def watch(iteration: int, residual: float) -> None:
        tell(Step(iteration, options.limit, residual, image, images))

    scene = scenes.of(observation)
    weight = found["weight"] / (scene.unit * scene.norm)
    tol = options.tol or _TOL[observation.effort]
    problem, iterations = TotalVariation(scene, options.nonnegative), 0
    for step in tv_weight.path(weight):
        minimum = problem.minimise(step, tol, options.limit, watch)
        iterations += minimum.iterations
    count = observation.y.size if scene.weights is None else max(float(scene.weights.sum(dtype="f8")), 1.0)
    left = scene.unit * math.sqrt(2 * minimum.misfit / count)
    metrics = {
        "iterations": iterations,
        "primal_residual": minimum.primal,
        "dual_residual": minimum.dual,
        "objective": (minimum.misfit + weight * minimum.variation) * scene.unit**2,
        "discrepancy": left / found["noise_level"] if found["noise_level"] else 0.0,
        "whiteness": whiteness(scene.masked(minimum.blurred) - scene.data, scene.weights),
    }
    return _Answer(scene.leave(minimum.x), metrics, minimum.is_converged)


def _summed(answers: list[_Answer]) -> dict[str, Any]:
    """The metrics of tiles as those of their image; the objective is not theirs, as they overlap."""
    found = {name: [answer.metrics[name] for answer in answers] for name in answers[0].metrics}
    worst = {name: max(found[name]) for name in ("iterations", "primal_residual", "dual_residual")}
    return worst | {
        "tiles": len(answers),
        "discrepancy": math.sqrt(sum(value**2 for value in found["discrepancy"]) / len(answers)),
        "whiteness": sum(found["whiteness"]) / len(answers),
    }


def _doubts(observation: Observation, choice: Choice, noise: float) -> tuple[str, ...]:
    """What speaks against the kernel: it does better turned, no scene leaves such data, or only a tiny weight fits."""
    from convtool.deconvolution.solvers import orientation, plausibility

    said = orientation.doubt(observation, noise) or plausibility.doubt(observation, noise)
    if said is not None:
        return (said,)
    if choice.is_odd:
        return (
            "this kernel is hardly the one that made the data, it may be too wide: they are predicted best with next to"
            " no regularisation, which is not so for photographs",
        )
    return ()


def _measured(answers: list[_Answer]) -> dict[str, Any]:
    """The metrics of one image, or lists of those of several."""
    found = {name: [answer.metrics.get(name) for answer in answers] for name in answers[0].metrics}
    return {name: each[0] if len(set(each)) == 1 else each for name, each in found.items()}
