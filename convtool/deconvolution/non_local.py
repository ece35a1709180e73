"""Least squares with a prior of similar patches: groups of them are of low rank, which needs no training.

    y = M A x + noise,    each group of patches of x that look alike is nearly of low rank

The strongest prior here, and the slowest. Half-quadratic splitting alternates between the data and a denoiser that
groups patches (`solvers.patch_groups`, `solvers.patch_splitting`), from a pilot by total variation on. It knows the
noise level from the data, takes colour channels together, and any operator: periodic, within unknown surroundings,
continued by zeros, edges or mirrors, strided. In a volume, patches are grouped within each plane along Y and X.

References: Zhang, Zhao, Gao 2014 (doi:10.1109/TIP.2014.2323127); Danielyan, Katkovnik, Egiazarian 2012
(doi:10.1109/TIP.2011.2176954); Zhang et al. 2021 (doi:10.1109/TPAMI.2021.3088914).
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from convtool.deconvolution import Estimate, Stopped

if TYPE_CHECKING:
    import numpy as np

    from convtool.deconvolution.solvers.patch_splitting import Schedule
    from convtool.observation import Observation

_LEVELS = (25.0, 3.0)  # of denoising in the first and the last round, in grey levels
_EFFORTS = {"low": (10, 4, 16), "normal": (18, 3, 24), "high": (30, 2, 32)}  # rounds, step of groups, patches in one
_GREY_PATCH, _COLOUR_PATCH = 5, 4
_LEAST_NOISE = 1e-3  # grey levels: data that are cleaner are taken for this noisy
_PILOT_WEIGHT = 0.03  # of total variation, times the variance of the noise
_PILOT_TOL, _PILOT_LIMIT = 5e-3, 60  # of total variation, which need not be exact to show what is alike


@dataclass(frozen=True)
class Options:
    """Settings of the non-local method."""

    noise: float | None = field(
        default=None, metadata={"help": "standard deviation of the noise, in the data's unit (auto: measured)"}
    )
    strength: float | None = field(
        default=None,
        metadata={"help": "weight of the prior: more is smoother (auto: 0.13 to 0.25, by noise and kernel)"},
    )
    rounds: int | None = field(default=None, metadata={"help": "rounds of data and denoising (auto: by the effort)"})
    patch: int | None = field(
        default=None, metadata={"help": "side of a patch in pixels (auto: 5, of several channels 4)"}
    )
    count: int | None = field(default=None, metadata={"help": "patches in a group (auto: by the effort, 16 to 32)"})
    reach: int = field(default=12, metadata={"help": "how far away similar patches are looked for, in pixels"})


class Reason(enum.Enum):
    """Why the work ended: the user's sentence, with places for its numbers."""

    DONE = "all {rounds} rounds done, from denoising at {first} to denoising at {last} grey levels"


def solve(observation: Observation, options: Options) -> Estimate:
    """The estimate for data y [n, c_out, *outputs]."""
    import numpy as np

    _check(options)
    answers = [_solved(image, options, n + 1, len(observation.y)) for n, image in enumerate(observation.images())]
    names = answers[0][1]
    found = {name: [metrics[name] for _, metrics in answers] for name in names}
    last = answers[-1][1]
    stop = Stopped(
        Reason.DONE,
        {"rounds": last["rounds"], "first": f"{last['first_level']:.3g}", "last": f"{last['last_level']:.3g}"},
    )
    measured: dict[str, Any] = {name: each[0] if len(each) == 1 else each for name, each in found.items()}
    return Estimate(np.stack([x for x, _ in answers]), stop, measured)


def _check(options: Options) -> None:
    from convtool.errors import SettingError

    for name, number in (("noise", options.noise), ("strength", options.strength)):
        if number is not None and not 0 < number < math.inf:
            raise SettingError(f"method non-local: {name} must be above 0 and finite, got {number}")
    least = {"rounds": 1, "patch": 2, "count": 2, "reach": 1}
    for name, value in least.items():
        given = getattr(options, name)
        if given is not None and given < value:
            raise SettingError(f"method non-local: {name} must be at least {value}, got {given}")


def _solved(observation: Observation, options: Options, image: int, images: int) -> tuple[np.ndarray, dict[str, Any]]:
    """x for an observation of one image, and what was measured."""
    from convtool.deconvolution.solvers import patch_splitting
    from convtool.deconvolution.solvers import scene as scenes
    from convtool.deconvolution.solvers.progress import Step, tell
    from convtool.deconvolution.solvers.total_variation import TotalVariation
    from convtool.deconvolution.solvers.tv_weight import noise_level

    scene = scenes.of(observation)
    noise = noise_level(observation).level if options.noise is None else options.noise
    level = max(noise / scene.unit, _LEAST_NOISE)
    strength = patch_splitting.chosen_strength(scene, level) if options.strength is None else options.strength
    schedule = _schedule(observation, options, strength)

    def watch(number: int, change: float) -> None:
        tell(Step(number, schedule.rounds, change, image, images))

    pilot = TotalVariation(scene).minimise(_PILOT_WEIGHT * level**2, _PILOT_TOL, _PILOT_LIMIT).x
    x = patch_splitting.restore(scene, pilot, level, schedule, watch)
    metrics = {
        "noise": noise,
        "noise_source": "measured" if options.noise is None else "given",
        "strength": strength,
        "strength_source": "chosen by noise and kernel" if options.strength is None else "given",
        "rounds": schedule.rounds,
        "patch": schedule.layout.size,
        "count": schedule.layout.count,
        "first_level": schedule.first,
        "last_level": schedule.last,
    }
    return scene.leave(x), metrics


def _schedule(observation: Observation, options: Options, strength: float) -> Schedule:
    """How the rounds go at this effort."""
    from convtool.deconvolution.solvers.patch_groups import Layout
    from convtool.deconvolution.solvers.patch_splitting import Schedule

    is_grey = observation.operator.in_shape[0] == 1
    rounds, step, count = _EFFORTS[observation.effort]
    size = (_GREY_PATCH if is_grey else _COLOUR_PATCH) if options.patch is None else options.patch
    return Schedule(
        *_LEVELS,
        rounds=rounds if options.rounds is None else options.rounds,
        strength=strength,
        layout=Layout(size, count if options.count is None else options.count, min(step, size), options.reach),
    )
