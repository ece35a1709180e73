"""Least squares with a prior of similar patches: groups of them are of low rank, which needs no training.

    y = M A x + noise,    each group of patches of x that look alike is nearly of low rank

The strongest prior here, and the slowest. Half-quadratic splitting alternates between the data and a denoiser that
groups patches (`solvers.patch_groups`, `solvers.patch_splitting`), from a pilot by total variation on. It measures the
noise level, takes colour channels together, and any operator: periodic, within unknown surroundings (large images tile
by tile: `solvers.tiles`), continued by zeros, edges or mirrors, strided. In a volume, patches are grouped within each
plane along Y and X. The work is done in single precision, on grey levels of 0..255, whatever the data are in.

References: Zhang, Zhao, Gao 2014 (doi:10.1109/TIP.2014.2323127); Danielyan, Katkovnik, Egiazarian 2012
(doi:10.1109/TIP.2011.2176954); Zhang et al. 2021 (doi:10.1109/TPAMI.2021.3088914).
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from convtool.registry import above, at_least
from convtool.solution import Estimate, Stopped

if TYPE_CHECKING:
    import numpy as np

    from convtool.deconvolution.solvers.patch_splitting import Schedule
    from convtool.observation import Observation

_LAST_LEVEL = 3.0  # of denoising in the last round, in grey levels
_GREY_PATCH, _COLOUR_PATCH = 5, 4
_MOST = 64  # of every count: patches and groups larger than that take minutes, and gain nothing
_LEAST_NOISE = 0.25  # grey levels, as rounding to 8 bits leaves: cleaner data are taken for this noisy
_FAINT = 0.1  # share of the norm by which a constant must come through to be taken out
_PILOT_WEIGHT = 0.03  # of total variation, times the variance of the noise
_PILOT_TOL, _PILOT_LIMIT = 2e-3, 200
_TILE = 1 << 19  # samples of data, all channels together, that are solved at once

HELD = 14.0  # see the package


@dataclass(frozen=True)
class Options:
    """Settings of the non-local method."""

    noise: float | None = field(
        default=None,
        metadata={"help": "standard deviation of the noise, in the data's unit (auto: measured)", "within": above(0)},
    )
    strength: float | None = field(
        default=None,
        metadata={
            "help": "weight of the prior: more is smoother (auto: 0.13 to 0.25, by noise and kernel)",
            "within": above(0),
        },
    )
    rounds: int | None = field(
        default=None,
        metadata={"help": "rounds of data and denoising (auto: by the effort)", "within": at_least(1, _MOST)},
    )
    patch: int | None = field(
        default=None,
        metadata={"help": "side of a patch in pixels (auto: 5, of several channels 4)", "within": at_least(2, _MOST)},
    )
    count: int | None = field(
        default=None,
        metadata={"help": "patches in a group (auto: 24; 16 at effort low)", "within": at_least(2, _MOST)},
    )
    reach: int = field(
        default=12,
        metadata={"help": "how far away similar patches are looked for, in pixels", "within": at_least(1, _MOST)},
    )


class Reason(enum.Enum):
    """Why the work ended: the user's sentence, with places for its numbers."""

    DONE = "all {rounds} rounds done, from denoising at {first} to denoising at {last} grey levels"


class _Effort(NamedTuple):
    """The level of the first round, in grey levels; rounds, and from one grouping to the next; of groups: pixels from
    one to the next, and patches in each."""

    first_level: float
    rounds: int
    regroup: int
    step: int
    patches: int


_EFFORTS = {
    "low": _Effort(15.0, 10, 5, 4, 16),
    "normal": _Effort(25.0, 14, 5, 3, 24),
    "high": _Effort(25.0, 24, 2, 2, 24),
}


class _GreyLevels(NamedTuple):
    """y' = (y - A c) / unit and A' = A / norm, for which x = c + scale x', scale = unit / norm; c is constant."""

    unit: float
    scale: float
    constant: np.ndarray

    def restored(self, x: np.ndarray) -> np.ndarray:
        """x from x' in single precision."""
        dtype = self.constant.dtype
        return self.constant + x.astype(dtype) * dtype.type(self.scale)


def solve(observation: Observation, options: Options) -> Estimate:
    """The estimate for data y [n, c_out, *outputs]."""
    import numpy as np

    images = list(observation.images())
    answers = [_solved(image, options, n + 1, len(images)) for n, image in enumerate(images)]
    names = answers[0][1]
    found = {name: [metrics[name] for _, metrics in answers] for name in names}
    last = answers[-1][1]
    stop = Stopped(
        Reason.DONE,
        {"rounds": last["rounds"], "first": f"{last['first_level']:.3g}", "last": f"{last['last_level']:.3g}"},
    )
    measured: dict[str, Any] = {name: each[0] if len(each) == 1 else each for name, each in found.items()}
    doubts = [_doubt(image, metrics) for image, (_, metrics) in zip(images, answers, strict=True)]
    notes = tuple(dict.fromkeys(said for said in doubts if said is not None)) + observation.idle_spacing("non-local")
    return Estimate(np.stack([x for x, _ in answers]), stop, measured, notes)


def _doubt(observation: Observation, metrics: dict[str, Any]) -> str | None:
    """What speaks against the kernel, or the way round that it lies."""
    from convtool.deconvolution.solvers import orientation, plausibility

    if metrics["pilot_kept"]:
        return (
            "patches led away from the data, of which there are too few for this kernel: the result is that of total"
            " variation, as --method tv gives"
        )
    noise = metrics["noise"]
    return orientation.doubt(observation, noise) or plausibility.doubt(observation, noise)


def _solved(observation: Observation, options: Options, image: int, images: int) -> tuple[np.ndarray, dict[str, Any]]:
    """x for an observation of one image, all at once or tile by tile, and what was measured."""
    import numpy as np

    from convtool.deconvolution.solvers import patch_splitting, tiles
    from convtool.deconvolution.solvers import scene as scenes
    from convtool.deconvolution.solvers.tv_weight import noise_level

    single, grey = _in_grey_levels(observation)
    noise = noise_level(observation).level if options.noise is None else options.noise
    level = max(noise / grey.unit, _LEAST_NOISE)
    parts = tiles.tiles(single, _TILE)
    first = single if len(parts) == 1 else parts[0].observation
    strength = options.strength or patch_splitting.chosen_strength(scenes.of(first), level)
    schedule = _schedule(observation, options, strength)
    left: list[dict[str, float]] = []

    def solved(tile: Observation) -> np.ndarray:
        number = (image - 1) * len(parts) + len(left) + 1
        x, found = _restored(tile, level, schedule, (number, images * len(parts)))
        left.append(
            {
                "discrepancy": found["left"] * grey.unit / noise if noise else 0.0,
                "whiteness": found["whiteness"],
                "astray": found["astray"],
            }
        )
        return x

    if len(parts) == 1:
        x = solved(single)
    else:
        x = tiles.blended(parts, observation.operator.in_shape, np.dtype(np.float32), solved)
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
        "discrepancy": math.sqrt(sum(each["discrepancy"] ** 2 for each in left) / len(left)),
        "whiteness": sum(each["whiteness"] for each in left) / len(left),
        "pilot_kept": any(each["astray"] for each in left),
    }
    return grey.restored(x), metrics if len(parts) == 1 else metrics | {"tiles": len(parts)}


def _restored(
    observation: Observation, level: float, schedule: Schedule, number: tuple[int, int]
) -> tuple[np.ndarray, dict[str, float]]:
    """x' of an image or tile, in grey levels, and what it leaves of the data: how much, and how far from white."""
    import numpy as np

    from convtool.deconvolution.solvers import patch_splitting
    from convtool.deconvolution.solvers import scene as scenes
    from convtool.deconvolution.solvers.progress import Step, tell
    from convtool.deconvolution.solvers.total_variation import TotalVariation
    from convtool.deconvolution.solvers.whiteness import whiteness

    def watch(iteration: int, change: float) -> None:
        tell(Step(iteration, schedule.rounds, change, *number))

    def pilot() -> np.ndarray:  # made twice rather than kept: it is one image too many
        return TotalVariation(scene).minimise(_PILOT_WEIGHT * level**2, _PILOT_TOL, _PILOT_LIMIT).x

    def size(y: np.ndarray) -> float:
        return math.sqrt(float(np.square(y, dtype=np.float64).sum()) / count)

    scene = scenes.of(observation)
    count = observation.y.size if scene.weights is None else max(float(scene.weights.sum(dtype=np.float64)), 1.0)
    x = patch_splitting.restore(scene, pilot(), level, schedule, watch)
    residual = scene.masked(scene.forward(x)) - scene.data
    is_astray = not size(residual) <= size(scene.data) + level  # worse than no image at all
    if is_astray:
        x = pilot()
        residual = scene.masked(scene.forward(x)) - scene.data
    measured = {"left": size(residual), "whiteness": whiteness(residual, scene.weights), "astray": is_astray}
    return scene.leave(x), measured


def _in_grey_levels(observation: Observation) -> tuple[Observation, _GreyLevels]:
    """The problem without the constant in it, in single precision: the denoiser's, and enough beside the noise.

    Groups are chosen, not computed: the least difference may change one. So the unit of the data must leave no trace in
    what is compared, which rounding to single precision after the division by it brings about.
    """
    import numpy as np

    from convtool.deconvolution.solvers import scene as scenes
    from convtool.kernel import Kernel
    from convtool.observation import Rounding

    operator, y = observation.operator, observation.y[0]
    unit, norm = scenes.unit_of(observation), scenes.norm_of(operator)
    constant = np.zeros((operator.in_shape[0], *[1] * (y.ndim - 1)), y.dtype)
    gains = np.abs(operator.kernel.taps.sum(axis=tuple(range(3, operator.kernel.taps.ndim)))) / norm
    if gains.shape[1:] == (1, 1) and gains.min() > _FAINT:
        seen = np.ones_like(y) if observation.weights is None else observation.weights[0]
        ones = replace(operator).forward(np.ones(operator.in_shape, y.dtype))  # a copy's spectra do not stay
        axes = tuple(range(1, y.ndim))
        sums = ((seen * each).sum(axis=axes, keepdims=True, dtype=np.float64) for each in (y, ones))
        constant = np.divide(*sums).astype(y.dtype)
        y = y - constant * ones
    kernel = Kernel(operator.kernel.taps / norm, operator.kernel.origin)
    single = replace(
        observation,
        y=(y / y.dtype.type(unit)).astype(np.float32)[None],
        operator=replace(operator, kernel=kernel, dtype=np.dtype(np.float32)),
        weights=None if observation.weights is None else observation.weights.astype(np.float32),
        rounding=Rounding.to(np.dtype(np.uint8)),
    )
    return single, _GreyLevels(unit, unit / norm, constant)


def _schedule(observation: Observation, options: Options, strength: float) -> Schedule:
    """How the rounds go at this effort."""
    from convtool.deconvolution.solvers.patch_groups import Layout
    from convtool.deconvolution.solvers.patch_splitting import Schedule

    is_grey = observation.operator.in_shape[0] == 1
    effort = _EFFORTS[observation.effort]
    size = (_GREY_PATCH if is_grey else _COLOUR_PATCH) if options.patch is None else options.patch
    count = effort.patches if options.count is None else options.count
    return Schedule(
        first=effort.first_level,
        last=_LAST_LEVEL,
        rounds=effort.rounds if options.rounds is None else options.rounds,
        strength=strength,
        regroup=effort.regroup,
        layout=Layout(size, count, min(effort.step, size), options.reach),
    )
