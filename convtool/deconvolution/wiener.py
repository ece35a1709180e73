"""Wiener filter: the linear estimate of least mean square error for a given noise-to-signal power ratio.

    x^ = ( H^H H + r )^-1 H^H y^,    r(f) = noise power / signal power

The filter acts on the deviation from the mean; the mean itself (frequency 0) is restored as the pseudo-inverse does.
With `noise_to_signal` a number, r is that number at every frequency. Without, both powers are estimated from the data:
the noise is white, the signal's power falls as |f|^-p (as scenes do, with p about 2), and noise level and p maximise
Whittle's likelihood of the data's periodogram, |U^H y^|^2 ~ s^2 S(f) + noise.

Each image of a batch is estimated by itself, its channels together. References: Wiener 1949; Whittle 1953
(doi:10.1007/BF02590998); Field 1987 (doi:10.1364/JOSAA.4.002379) for the spectra of scenes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from convtool.deconvolution import Estimate, Stop

if TYPE_CHECKING:
    import numpy as np

    from convtool.deconvolution.solvers.powerlaw import PowerLaw
    from convtool.operators import Convolution


_RING = "its borders will ring, and both powers are overestimated: prefer --method tikhonov, which is cautious then"


@dataclass(frozen=True)
class Options:
    """Settings of the Wiener filter."""

    noise_to_signal: float | None = field(
        default=None, metadata={"help": "noise power over signal power (auto: both estimated from the data)"}
    )


def solve(y: np.ndarray, operator: Convolution, options: Options) -> Estimate:
    """The Wiener estimate for data y [n, c_out, *grid]."""
    import numpy as np

    from convtool.deconvolution.solvers import periodicity
    from convtool.deconvolution.solvers.filters import decompose, filtered, noise_gain
    from convtool.deconvolution.solvers.powerlaw import fit
    from convtool.errors import SettingError

    given = options.noise_to_signal
    if given is not None and not 0 <= given < np.inf:
        raise SettingError(f"method wiener: noise_to_signal must be at least 0 and finite, got {given}")
    parts = decompose(operator)
    fits = [fit(parts, image) for image in y] if given is None else []
    x = np.empty((len(y), *operator.in_shape), y.dtype)
    gains = []
    for n in range(len(y)):
        ratio = (
            np.full((*parts.s.shape[1:-1], 1), given / parts.norm / parts.norm) if given is not None else fits[n].ratio
        )
        ratio[(0,) * ratio.ndim] = 0
        G = parts.filter(ratio)
        x[n : n + 1] = filtered(G, y[n : n + 1], operator)
        gains.append(noise_gain(G, operator))
    metrics = {"operator_norm": parts.norm, "noise_gain": math.hypot(*gains) / math.sqrt(len(gains))}
    excess = 0.0
    for image, data in zip(x, y, strict=True):
        if given is None and periodicity.ringing(image, data) > periodicity.RINGING:
            excess = max(excess, periodicity.frame_excess(parts, data))
    notes = (periodicity.note(excess, _RING),) if excess > periodicity.LIMIT else ()
    return Estimate(x, Stop.DIRECT, metrics | _described(fits, given, parts.norm), notes)


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
