"""Tikhonov-regularised least squares, its weight chosen from the data by generalised cross-validation.

    minimise ||A x - y||^2 + weight ||L x||^2,    x^(f) = ( H^H H + weight |L|^2 )^-1 H^H y^

with L the Laplacian (second differences), the gradient (forward differences) or the identity, all periodic, along the
axes of the kernel:  |L|^2 = (sum_a 2 - 2 cos w_a)^2,  sum_a 2 - 2 cos w_a,  1.

Each image of a batch gets a weight of its own, common to its channels. References: Golub, Heath and Wahba 1979
(doi:10.1080/00401706.1979.10489751) for the choice; Hansen, Nagy and O'Leary 2006 (doi:10.1137/1.9780898718874).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from convtool.deconvolution import Estimate, Stop

if TYPE_CHECKING:
    import numpy as np

    from convtool.operators import Convolution

_IDENTITY_WARNING = (
    "the weight of an identity penalty chosen by cross-validation can be several dB off:"
    " prefer penalty=laplacian, or set weight"
)


@dataclass(frozen=True)
class Options:
    """Settings of Tikhonov regularisation."""

    weight: float | None = field(
        default=None, metadata={"help": "regularisation weight (auto: chosen by generalised cross-validation)"}
    )
    penalty: Literal["laplacian", "gradient", "identity"] = field(
        default="laplacian", metadata={"help": "what is kept small: the image's second or first differences, or itself"}
    )


def solve(y: np.ndarray, operator: Convolution, options: Options) -> Estimate:
    """The regularised solution for data y [n, c_out, *grid]."""
    import numpy as np

    from convtool.deconvolution.solvers.crossvalidation import Choice, chosen_weight
    from convtool.deconvolution.solvers.filters import decompose, filtered, noise_gain
    from convtool.errors import SettingError

    if options.weight is not None and not 0 <= options.weight < np.inf:
        raise SettingError(f"method tikhonov: weight must be at least 0 and finite, got {options.weight}")
    parts = decompose(operator)
    penalty = penalty_spectrum(options.penalty, operator.geometry.grid)[..., None]
    x = np.empty((len(y), *operator.in_shape), y.dtype)
    choices, gains = [], []
    for n in range(len(y)):
        choice = (
            chosen_weight(parts, penalty, y[n])
            if options.weight is None
            else Choice(options.weight / parts.norm / parts.norm)
        )
        G = parts.filter(choice.weight * penalty)
        x[n : n + 1] = filtered(G, y[n : n + 1], operator)
        choices.append(choice)
        gains.append(noise_gain(G, operator))
    weights = [choice.weight * parts.norm * parts.norm for choice in choices]
    metrics = {
        "weight": weights[0] if len(weights) == 1 else weights,
        "weight_source": "chosen by generalised cross-validation" if options.weight is None else "given",
        "operator_norm": parts.norm,
        "noise_gain": math.hypot(*gains) / math.sqrt(len(gains)),
    }
    notes = tuple(dict.fromkeys(choice.note for choice in choices if choice.note))
    if options.weight is None and options.penalty == "identity":
        notes = (*notes, _IDENTITY_WARNING)
    return Estimate(x, Stop.DIRECT, metrics, notes)


def penalty_spectrum(penalty: str, grid: tuple[int, ...]) -> np.ndarray:
    """|L|^2 on the half spectrum of a grid."""
    import numpy as np

    from convtool import fft

    differences = sum((2 - 2 * np.cos(w) for w in fft.angular_frequencies(grid)), np.zeros(fft.half(grid)))
    return {"laplacian": differences**2, "gradient": differences, "identity": np.ones_like(differences)}[penalty]
