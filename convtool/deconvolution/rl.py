"""Richardson-Lucy: the likeliest non-negative image for photon counts, and for other data that are sums of light.

    x_k+1 = x_k A^T M (y / (A x_k + b)) / A^T M 1,       of all x >= 0 towards the least I-divergence of A x + b from y

M, 0 or 1, says which of the data count; b is a background, light that no kernel has blurred and that x does not
contain. Any boundary, stride and mask, stacks, and kernels that mix channels, as long as no tap is negative. Dividing
by A^T M 1 (Bertero and Boccacci 2005) keeps the flux up to the frame: sum M A x = sum M y.

The likeliest x fits the noise as well. So iterations end where the residual has reached the noise, which
`solvers.poisson_stopping` tells from the data; after a count, `iterations`; or once x changes by less than `tol`.

Negative data, which no light gives, are taken for 0, and counted. Of a batch each image ends by itself.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from convtool.registry import above, at_least
from convtool.solution import Estimate, Stopped

if TYPE_CHECKING:
    import numpy as np

    from convtool.deconvolution.solvers.poisson_runs import Run
    from convtool.observation import Observation

_NEGLIGIBLE = 1e-6  # of the largest tap: a negative one this small is rounding

HELD = 27.0  # see the package


@dataclass(frozen=True)
class Options:
    """Settings of Richardson-Lucy."""

    iterations: int | None = field(
        default=None,
        metadata={"help": "how many (auto: until the residual has reached the noise)", "within": at_least(1)},
    )
    tol: float | None = field(
        default=None,
        metadata={
            "help": "stop once x changes by less than this share of itself (auto: at the noise)",
            "within": above(0, below=1),
        },
    )
    background: float | None = field(
        default=0.0,
        metadata={
            "help": "level in the data that is no part of the image, in their unit (auto: that of an even sky)",
            "within": at_least(0),
        },
    )
    acceleration: Literal["biggs-andrews", "heavy-ball", "none"] = field(
        default="biggs-andrews", metadata={"help": "the way to fewer iterations, 4 times or so"}
    )
    tv: float = field(
        default=0.0,
        metadata={
            "help": "weight of the total variation, such as 0.002; ends at tol 1e-4 if nothing else",
            "within": at_least(0),
        },
    )
    limit: int = field(
        default=1000, metadata={"help": "most iterations where no count was asked for", "within": at_least(1)}
    )
    snapshots: int | None = field(
        default=None, metadata={"help": "keep the image after every so many iterations", "within": at_least(1)}
    )


def solve(observation: Observation, options: Options) -> Estimate:
    """The estimate for data y [n, c_out, *outputs]."""
    import numpy as np

    from convtool.deconvolution.solvers.poisson_runs import Reason, Task, solved

    _check(options, observation)
    tasks = [Task(**asdict(options), place=(n + 1, len(observation.y))) for n in range(len(observation.y))]
    runs = [solved(image, task) for image, task in zip(observation.images(), tasks, strict=True)]
    x = np.stack([run.x for run in runs])
    last = max(runs, key=lambda run: (list(Reason).index(run.reason), run.iterations))
    told = {"iterations": last.iterations, "tol": tasks[0].still, "change": last.change, "ratio": last.ratio}
    stop = Stopped(last.reason, told)
    counts = {n for run in runs for n in run.snapshots}
    snapshots = {n: np.stack([run.snapshots.get(n, run.x) for run in runs]) for n in sorted(counts)}
    metrics = _counted(runs, options)
    idle = () if options.tv else observation.idle_spacing("rl without tv")
    notes = (*_clipped(observation), *_told(runs, options), *_unfinished(runs, options), *idle)
    measure = partial(_fit, x, runs, observation)
    return Estimate(x, stop, metrics, notes, snapshots=snapshots, measure=measure)


def _check(options: Options, observation: Observation) -> None:
    from convtool.errors import SettingError

    taps = observation.operator.window.taps
    if taps.min() < -_NEGLIGIBLE * abs(taps).max():
        raise SettingError(
            f"method rl needs a kernel without negative taps (light only adds up), got {int((taps < 0).sum())}, the"
            f" lowest {taps.min():.3g}: use --method tv or tikhonov, or set them to 0"
        )
    ndim = len(observation.operator.geometry.grid)
    most = float(taps.sum(axis=tuple(range(2, taps.ndim))).max()) / (2 * ndim**0.5)
    if not options.tv < most:
        raise SettingError(f"method rl: tv must be at least 0 and below {most:.3g} for this kernel, got {options.tv}")


def _counted(runs: list[Run], options: Options) -> dict[str, Any]:
    """What is known of the runs without measuring."""
    from convtool.deconvolution.solvers.poisson_runs import is_logged

    log = [
        row if len(runs) == 1 else {"image": n, **row}
        for n, run in enumerate(runs)
        for row in run.rows
        if is_logged(row["iteration"])
    ]
    return {
        "iterations": _one_or_all([run.iterations for run in runs]),
        "relative_change": _one_or_all([run.change for run in runs]),
        "background": _one_or_all([run.background for run in runs]),
        "background_source": "given" if options.background is not None else "even sky found in the data",
        "log": log,
    }


def _one_or_all(values: list[Any]) -> Any:
    """What the images have in common; of what differs, a list."""
    return values[0] if len(values) == 1 else values


def _fit(x: np.ndarray, runs: list[Run], observation: Observation) -> dict[str, Any]:
    """How well x explains the data; the residuals with the background, where there is one."""
    import numpy as np

    from convtool.deconvolution.solvers.trust import residuals

    divergences, ratios = zip(*(run.fit() for run in runs), strict=True)
    told = {"i_divergence": _one_or_all(list(divergences)), "residual_to_noise": _one_or_all(list(ratios))}
    if not any(run.background for run in runs):
        return told
    levels = np.array([run.background for run in runs], x.dtype).reshape(-1, *(1,) * (x.ndim - 1))
    found = residuals(observation.operator, x, observation.y - levels, observation.weights)
    norm = [float(np.linalg.norm(y.ravel().astype(np.float64))) for y in (observation.y, observation.y - levels)]
    return told | found | {"relative_residual": found["relative_residual"] * norm[1] / (norm[0] or 1.0)}


def _unfinished(runs: list[Run], options: Options) -> list[str]:
    """A sentence on iterations that ended by the limit, before there was any other reason to."""
    from convtool.deconvolution.solvers.poisson_runs import Reason

    count = sum(run.reason is Reason.LIMIT for run in runs)
    if not count:
        return []
    which = "the iterations" if len(runs) == 1 else f"those of {count} of {len(runs)} images"
    return [
        f"{which} gave up at the limit of {options.limit}, before there was a reason to stop: say --set"
        f" limit={4 * options.limit} to go on, or --set iterations={options.limit} if this is what you want"
    ]


def _told(runs: list[Run], options: Options) -> list[str]:
    """A sentence on a background that was found."""
    levels = [run.background for run in runs]
    if options.background is not None or not any(levels):
        return []
    level = f"{levels[0]:.4g}" if len(levels) == 1 else f"{min(levels):.4g} to {max(levels):.4g}"
    return [f"an even background of {level} was found in the data, and is no part of the image"]


def _clipped(observation: Observation) -> list[str]:
    """A sentence on negative data."""
    y = observation.y if observation.weights is None else observation.y * observation.weights
    count = int((y < 0).sum())
    if not count:
        return []
    return [
        f"{count} of {y.size} data are negative, down to {float(y.min()):.4g}, which no light gives: taken for 0; if a"
        " background was subtracted, add it again and say --set background=LEVEL"
    ]
