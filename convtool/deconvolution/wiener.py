"""Wiener filter: the linear estimate of least mean square error for a given noise-to-signal power ratio.

    x^ = ( H^H H + r )^-1 H^H y^,    r(f) = noise power / signal power

The filter acts on the deviation from the mean; the mean itself (frequency 0) is restored as the pseudo-inverse does.
With `noise_to_signal` a number, r is that number at every frequency. Without, both powers are estimated from the data:
the noise is white, the signal's power falls as |f|^-p (as scenes do, with p about 2; f in cycles a unit of the
spacing), and noise level and p maximise Whittle's likelihood of the data's periodogram, |U^H y^|^2 ~ s^2 S(f) + noise.

Data that are no complete period are those of the minimiser of ||M (A x - y)||^2 + sum r |x^|^2, M what counts; with
zeros, edges or mirrors around the frame, f are the frequencies of the frame's cosines. See `solvers.regularised`.

Each image of a batch is estimated by itself, its channels together. References: Wiener 1949; Whittle 1953
(doi:10.1007/BF02590998); Field 1987 (doi:10.1364/JOSAA.4.002379) for the spectra of scenes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from convtool.registry import at_least
from convtool.solution import Estimate, Stopped

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from convtool.deconvolution.solvers.filters import Decomposition
    from convtool.deconvolution.solvers.powerlaw import PowerLaw
    from convtool.deconvolution.solvers.regularised import Rule
    from convtool.observation import Observation


_RING = "its borders will ring, and both powers are overestimated"

HELD = 26.0  # see the package


@dataclass(frozen=True)
class Options:
    """Settings of the Wiener filter."""

    noise_to_signal: float | None = field(
        default=None,
        metadata={
            "help": "noise power over signal power (auto: both estimated from the data)",
            "within": at_least(0),
        },
    )


def solve(observation: Observation, options: Options) -> Estimate:
    """The Wiener estimate for data y [n, c_out, *outputs]."""

    from convtool.deconvolution.solvers import regularised
    from convtool.deconvolution.solvers.filters import Decomposition

    given = options.noise_to_signal
    rule = _rule(given, regularised.steps_of(observation))
    parts, answers = regularised.solved(observation, rule, is_chosen=given is None)
    gains = [answer.noise_gain for answer in answers]
    metrics = {"operator_norm": parts.norm, "noise_gain": math.hypot(*gains) / math.sqrt(len(gains))}
    fits = [_raised(answer.prior.found, answer.prior.times) for answer in answers] if given is None else []
    x = regularised.images(answers)
    stop = Stopped(*regularised.worst(answers))
    notes: tuple[str, ...] = ()
    if given is None and isinstance(parts, Decomposition) and stop.reason is regularised.Reason.DIRECT:
        notes = _crops(parts, x, observation)
    return Estimate(x, stop, metrics | _described(fits, given, parts.norm), notes)


def _rule(given: float | None, steps: tuple[float, ...]) -> Rule:
    """Noise over signal, given or of the likeliest power law; 0 at frequency 0."""
    import numpy as np

    from convtool.deconvolution.solvers.powerlaw import fit, radii
    from convtool.deconvolution.solvers.regularised import Prior

    def rule(parts: Decomposition, y: np.ndarray, seen: np.ndarray | None) -> Prior:
        law = fit(parts, y, steps, seen) if given is None else None
        white = (given or 0.0) / parts.unit / parts.unit

        def ratio(waves: Sequence[np.ndarray]) -> np.ndarray:
            is_still = sum(np.abs(w) for w in waves) == 0
            if law is None:
                return np.where(is_still, 0.0, white)
            return np.where(is_still, 0.0, law.at(radii([w / h for w, h in zip(waves, steps, strict=True)])))

        return Prior(ratio, law)

    return rule


def _raised(law: PowerLaw, times: float) -> PowerLaw:
    """The law with more noise."""
    return law._replace(noise_to_signal=times * law.noise_to_signal, noise_level=math.sqrt(times) * law.noise_level)


def _crops(parts: Decomposition, x: np.ndarray, observation: Observation) -> tuple[str, ...]:
    """What to say of periodic data that look like a crop."""
    from convtool.deconvolution.solvers import periodicity

    excess = 0.0
    for image, data in zip(x, observation.y, strict=True):
        if periodicity.ringing(image, data) > periodicity.RINGING:
            excess = max(excess, periodicity.frame_excess(parts, data))
    return (periodicity.note(excess, _RING),) if excess > periodicity.LIMIT else ()


def _described(fits: list[PowerLaw], given: float | None, norm: float) -> dict[str, Any]:
    if given is not None:
        return {"noise_to_signal": given, "noise_to_signal_source": "given"}

    def one_or_all(values: list[float]) -> Any:
        return values[0] if len(values) == 1 else values

    return {
        "noise_to_signal": one_or_all([fit.noise_to_signal * norm * norm for fit in fits]),
        "noise_to_signal_source": "estimated from the data's power spectrum",
        "noise_level": one_or_all([fit.noise_level for fit in fits]),
        "signal_exponent": one_or_all([fit.exponent for fit in fits]),
    }
