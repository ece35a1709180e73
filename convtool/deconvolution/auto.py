"""The best method for the data, told from the data: it measures, chooses, says why, and solves.

In this order:

    pinv        the data are periodic, and what noise and rounding become in the pseudo-inverse, noise level times its
                noise gain, stays below a thousandth of the signal's standard deviation
    rl          the data are photon counts (their variance grows with the signal as that of counts does) on a background
    non-local   two axes, and its time (`_SECONDS` a megasample) is worth it at this effort
    tv          everything else: stacks, large images, little effort

Where a method cannot take the operator (negative taps for rl, mixing channels for non-local) the next one is asked. A
batch is one choice: what is exact, or counts photons, must be so in every image.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from convtool.errors import percent
from convtool.solution import Estimate

if TYPE_CHECKING:
    import numpy as np

    from convtool.deconvolution.solvers.filters import Decomposition
    from convtool.noise import Noise
    from convtool.observation import Observation

_EXACT = 1e-3  # of the signal: noise of the pseudo-inverse up to which it is the answer
_DAMPED, _TELLING = 0.1, 0.01  # of the norm; share of the frequencies below it from which on they tell the noise
_SECONDS = 28.0  # that non-local takes for a million samples on two cores, about
_WORTH = {"low": 0.0, "normal": 8.0, "high": 120.0}  # seconds that a better result is worth, by effort
_CLIPPED = 1e-3  # share of saturated pixels above which data are no counts
_DARK = 0.25  # share of the signal's range below which half of the pixels of a frame with a background lie


_SETTINGS: dict[str, dict[str, Any]] = {"rl": {"background": None}}  # options that are better measured than left alone

HELD = 30.0  # see the package


@dataclass(frozen=True)
class Options:
    """There is nothing to set: to change the choice, name the method."""


class Choice(NamedTuple):
    """A method and why it was taken, in sentences."""

    method: str
    reasons: tuple[str, ...]


def solve(observation: Observation, options: Options) -> Estimate:
    """What the chosen method gives for data y [n, c_out, *outputs]."""
    from convtool.deconvolution import methods, settled

    choice = choose(observation)
    module = methods.load(choice.method)
    settings = module.Options(**_SETTINGS.get(choice.method, {}))
    estimate = module.solve(observation, settings)
    chosen = {"method": choice.method, "options": settled(asdict(settings), estimate.metrics)}
    metrics = {**estimate.metrics, "chosen": chosen, "reasons": list(choice.reasons)}
    notes = (*choice.reasons, *estimate.notes)
    return replace(estimate, metrics=metrics, notes=notes)


def choose(observation: Observation) -> Choice:
    """The method for an observation."""
    from convtool import noise

    rounding = 0.0 if observation.rounding is None else observation.rounding.level
    images = list(observation.images())
    levels = [noise.estimate(each.y[0], rounding, None if each.weights is None else each.weights[0]) for each in images]
    return _exact(observation, levels) or _counts(images, levels) or _prior(observation)


def _exact(observation: Observation, levels: list[Noise]) -> Choice | None:
    """The pseudo-inverse, where nothing that matters is amplified in any image."""
    from convtool.deconvolution.solvers import factors, periodic

    operator = observation.operator
    if observation.weights is not None or not operator.geometry.is_circulant or not periodic.is_affordable(operator):
        return None
    inverse = factors.inverse(operator)
    gains = [inverse.noise_gain * inverse.norm / _contrast(y) for y in observation.y]
    rounded = [_rounded(y, found) for y, found in zip(observation.y, levels, strict=True)]
    if max(gain * least for gain, least in zip(gains, rounded, strict=True)) >= _EXACT:
        return None  # told without a look at the spectrum
    parts = factors.decomposition(operator, operator)
    noise = [_white(y, found, parts) for y, found in zip(observation.y, levels, strict=True)]
    worst = max(gain * max(each) for gain, *each in zip(gains, rounded, noise, strict=True))
    if not worst < _EXACT:
        return None
    reason = f"the exact inverse was taken: noise and rounding become {percent(worst)} of the signal in it"
    return Choice("pinv", (reason,))


def _contrast(y: np.ndarray) -> float:
    """The standard deviation of an image's data; 1 for constant ones."""
    import numpy as np

    return float(np.std(y, dtype=np.float64)) or 1.0


def _rounded(y: np.ndarray, found: Noise) -> float:
    """The least noise that an image's data can have: rounding, to integers or in floats."""
    import numpy as np

    return max(found.rounding, float(np.finfo(y.dtype).eps) * float(np.abs(y).max()))


def _white(y: np.ndarray, found: Noise, parts: Decomposition) -> float:
    """The noise level of periodic data: at frequencies that the kernel damps it is told apart from fine detail."""
    import numpy as np

    from convtool.deconvolution.solvers import powerlaw

    if float(np.mean(parts.s < _DAMPED)) < _TELLING:
        return found.level
    return powerlaw.fit(parts, y).noise_level


def _counts(images: list[Observation], levels: list[Noise]) -> Choice | None:
    """Richardson-Lucy, for photons on a background."""
    if not all(map(_is_counted, images, levels)):
        return None
    law = f"variance = {levels[0].offset:.3g} + {levels[0].gain:.3g} x signal"
    reason = (
        f"Richardson-Lucy was taken: the noise grows with the signal as that of counted photons does ({law}), and most"
        " of the frame is background"
    )
    return Choice("rl", (reason,))


def _is_counted(observation: Observation, found: Noise) -> bool:
    """Whether one image's data are counted photons, most of them of a background."""
    import numpy as np

    y, rounding = observation.y[0], observation.rounding
    if not found.is_photon_count or observation.operator.kernel.taps.min() < 0 or y.min() < 0:
        return False
    if (rounding is not None and rounding.bits == 8) or found.saturated > _CLIPPED:
        return False  # photographs, whose shadows and highlights are clipped, only look like counts
    low, half, high = np.percentile(y, [0.5, 50, 99.9])
    return bool(half - low <= _DARK * (high - low))


def _prior(observation: Observation) -> Choice:
    """The non-local prior where there is time for it, else total variation."""
    operator = observation.operator
    seconds = _SECONDS * len(observation.y) * math.prod(operator.in_shape) / 1e6
    worth = _WORTH[observation.effort]
    if len(operator.geometry.grid) != 2 or operator.kernel.taps.shape[1:3] != (1, 1):
        what = "stacks" if len(operator.geometry.grid) != 2 else "images whose channels the kernel mixes"
        return Choice("tv", (f"total variation was taken: the non-local prior is not for {what}",))
    if seconds <= worth:
        reason = f"the non-local prior was taken: for photographs the best there is, in about {_time(seconds)}"
        return Choice("non-local", (reason,))
    if not worth:
        return Choice("tv", (f"total variation was taken: effort {observation.effort} does not wait for more",))
    reason = (
        f"total variation was taken: the non-local prior would take about {_time(seconds)}, more than the"
        f" {_time(worth)} that effort {observation.effort} allows"
    )
    is_help = observation.effort != "high" and seconds <= _WORTH["high"]
    return Choice("tv", (f"{reason}; --effort high would take it" if is_help else reason,))


def _time(seconds: float) -> str:
    """'8 s', '5 minutes'."""
    return f"{max(seconds, 1):.0f} s" if seconds < 100 else f"{seconds / 60:.0f} minutes"
