"""The best method for the data, told from the data: it measures, chooses, says why, and solves.

In this order:

    pinv        the data are periodic, and what noise and rounding become in the pseudo-inverse, noise level times its
                noise gain, stays below a thousandth of the signal's standard deviation
    rl          the data are photon counts (their variance grows with the signal as that of counts does) on a background
    non-local   two axes, and its time (`_SECONDS` a megasample) is worth it at this effort
    tv          everything else: stacks, large images, little effort

Where a method cannot take the operator (negative taps for rl, mixing channels for non-local) the next one is asked. A
batch is one choice, made on its first image.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from convtool.deconvolution import Estimate

if TYPE_CHECKING:
    from convtool.noise import Noise
    from convtool.observation import Observation

_EXACT = 1e-3  # of the signal: noise of the pseudo-inverse up to which it is the answer
_DAMPED, _TELLING = 0.1, 0.01  # of the norm; share of the frequencies below it from which on they tell the noise
_SECONDS = 45.0  # that non-local takes for a million samples on two cores, about
_WORTH = {"low": 0.0, "normal": 8.0, "high": 120.0}  # seconds that a better result is worth, by effort
_DARK = 0.25  # share of the signal's range below which half of the pixels of a frame with a background lie


@dataclass(frozen=True)
class Options:
    """There is nothing to set: to change the choice, name the method."""


class Choice(NamedTuple):
    """A method and why it was taken, in sentences."""

    method: str
    reasons: tuple[str, ...]


def solve(observation: Observation, options: Options) -> Estimate:
    """What the chosen method gives for data y [n, c_out, *outputs]."""
    from convtool.deconvolution import methods

    choice = choose(observation)
    module = methods.load(choice.method)
    settings = module.Options()
    estimate = module.solve(observation, settings)
    chosen = {"method": choice.method, "options": _resolved(asdict(settings), estimate.metrics)}
    metrics = {**estimate.metrics, "chosen": chosen, "reasons": list(choice.reasons)}
    notes = (*choice.reasons, *estimate.notes)
    return replace(estimate, metrics=metrics, notes=notes)


def choose(observation: Observation) -> Choice:
    """The method for an observation."""
    from convtool import noise

    first = next(observation.images())
    rounding = 0.0 if first.rounding is None else first.rounding.level
    found = noise.estimate(first.y[0], rounding, None if first.weights is None else first.weights[0])
    return _exact(first, found) or _counts(first, found) or _prior(observation)


def _exact(observation: Observation, found: Noise) -> Choice | None:
    """The pseudo-inverse, where nothing that matters is amplified."""
    import numpy as np

    from convtool.deconvolution.solvers import periodic

    operator, y = observation.operator, observation.y[0]
    if observation.weights is not None or not operator.geometry.is_circulant or not periodic.is_affordable(operator):
        return None
    signal = float(np.std(y, dtype=np.float64))
    inverse = periodic.inverse(operator)
    floor = float(np.finfo(y.dtype).eps) * float(np.abs(y).max())
    amplified = inverse.noise_gain * inverse.norm / (signal or 1.0)
    least = max(found.rounding, floor)
    if not least * amplified < _EXACT:
        return None
    share = max(_white(observation, found), least) * amplified
    if not share < _EXACT:
        return None
    reason = f"the exact inverse was taken: noise and rounding become {100 * share:.2g} % of the signal in it"
    return Choice("pinv", (reason,))


def _white(observation: Observation, found: Noise) -> float:
    """The noise level of periodic data: at frequencies that the kernel damps it is told apart from fine detail."""
    import numpy as np

    from convtool.deconvolution.solvers import filters, powerlaw

    parts = filters.decompose(observation.operator)
    if float(np.mean(parts.s < _DAMPED)) < _TELLING:
        return found.level
    return powerlaw.fit(parts, observation.y[0]).noise_level


def _counts(observation: Observation, found: Noise) -> Choice | None:
    """Richardson-Lucy, for photons on a background."""
    import numpy as np

    y = observation.y[0]
    if not found.is_photon_count or observation.operator.kernel.taps.min() < 0 or y.min() < 0:
        return None
    low, half, high = np.percentile(y, [0.5, 50, 99.9])
    if not half - low <= _DARK * (high - low):
        return None
    law = f"variance = {found.offset:.3g} + {found.gain:.3g} x signal"
    reason = (
        f"Richardson-Lucy was taken: the noise grows with the signal as that of counted photons does ({law}), and most"
        " of the frame is background"
    )
    return Choice("rl", (reason,))


def _prior(observation: Observation) -> Choice:
    """The non-local prior where there is time for it, else total variation."""
    operator = observation.operator
    seconds = _SECONDS * math.prod(observation.y.shape) / 1e6
    worth = _WORTH[observation.effort]
    if len(operator.geometry.grid) != 2 or operator.kernel.taps.shape[1:3] != (1, 1):
        what = "stacks" if len(operator.geometry.grid) != 2 else "images whose channels the kernel mixes"
        return Choice("tv", (f"total variation was taken: the non-local prior is not for {what}",))
    if seconds <= worth:
        reason = f"the non-local prior was taken: it is the best there is, and takes about {seconds:.1g} s"
        return Choice("non-local", (reason,))
    reason = (
        f"total variation was taken: the non-local prior would take about {seconds:.2g} s, more than the {worth:.2g} s"
        f" that effort {observation.effort} allows"
    )
    is_help = observation.effort != "high" and seconds <= _WORTH["high"]
    return Choice("tv", (f"{reason}; --effort high would take it" if is_help else reason,))


def _resolved(options: dict[str, Any], metrics: dict[str, Any]) -> dict[str, Any]:
    """A method's options with what it settled on in place of 'auto'."""
    found = {name: metrics.get(name) if value is None else value for name, value in options.items()}
    return {name: value for name, value in found.items() if isinstance(value, int | float | str | bool)}
