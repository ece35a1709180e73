"""Tikhonov-regularised least squares, its weight chosen from the data by generalised cross-validation.

    minimise ||M (A x - y)||^2 + weight ||L x||^2,    x^(f) = ( H^H H + weight |L|^2 )^-1 H^H y^

with L the Laplacian (second differences), the gradient (forward differences) or the identity, along the axes of the
kernel:  |L|^2 = (sum_a (2 - 2 cos w_a) / h_a^2)^2,  sum_a (2 - 2 cos w_a) / h_a^2,  1,  with h_a the spacing of samples
over the finest one. For periodic data L wraps round, and so it does at the far side of unknown surroundings; with
zeros, edges or mirrors around the frame it ends there. M are the data that count; see `solvers.regularised`.

Each image of a batch gets a weight of its own, common to its channels. References: Golub, Heath and Wahba 1979
(doi:10.1080/00401706.1979.10489751) for the choice; Hansen, Nagy and O'Leary 2006 (doi:10.1137/1.9780898718874).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from convtool.registry import at_least
from convtool.solution import Estimate, Stopped

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from convtool.deconvolution.solvers.crossvalidation import Choice
    from convtool.deconvolution.solvers.filters import Decomposition
    from convtool.deconvolution.solvers.regularised import Rule
    from convtool.observation import Observation

_IDENTITY_WARNING = (
    "the weight of an identity penalty chosen by cross-validation can be several dB off:"
    " prefer penalty=laplacian, or set weight"
)

HELD = 26.0  # see the package


@dataclass(frozen=True)
class Options:
    """Settings of Tikhonov regularisation."""

    weight: float | None = field(
        default=None,
        metadata={
            "help": "regularisation weight (auto: chosen by generalised cross-validation)",
            "within": at_least(0),
        },
    )
    penalty: Literal["laplacian", "gradient", "identity"] = field(
        default="laplacian", metadata={"help": "what is kept small: the image's second or first differences, or itself"}
    )


def solve(observation: Observation, options: Options) -> Estimate:
    """The regularised solution for data y [n, c_out, *outputs]."""

    from convtool.deconvolution.solvers import regularised

    rule = _rule(options, regularised.steps_of(observation))
    parts, answers = regularised.solved(observation, rule, is_chosen=options.weight is None)
    choices: list[Choice] = [answer.prior.found for answer in answers]
    weights = [answer.prior.times * answer.prior.found.weight * parts.unit * parts.unit for answer in answers]
    metrics = {
        "weight": weights[0] if len(weights) == 1 else weights,
        "weight_source": "chosen by generalised cross-validation" if options.weight is None else "given",
        "operator_norm": parts.norm,
        "noise_gain": math.hypot(*(answer.noise_gain for answer in answers)) / math.sqrt(len(answers)),
    }
    notes = tuple(dict.fromkeys(choice.note for choice in choices if choice.note))
    if options.weight is None and options.penalty == "identity":
        notes = (*notes, _IDENTITY_WARNING)
    return Estimate(regularised.images(answers), Stopped(*regularised.worst(answers)), metrics, notes)


def _rule(options: Options, steps: tuple[float, ...]) -> Rule:
    """The weight, given or chosen by cross-validation."""
    from convtool import fft
    from convtool.deconvolution.solvers.crossvalidation import Choice, chosen_weight
    from convtool.deconvolution.solvers.regularised import Prior

    def rule(parts: Decomposition, y: np.ndarray, seen: np.ndarray | None) -> Prior:
        if options.weight is None:
            waves = fft.angular_frequencies(parts.operator.geometry.grid)
            choice = chosen_weight(parts, penalised(options.penalty, waves, steps)[..., None], y, seen)
        else:
            choice = Choice(options.weight / parts.unit / parts.unit)
        return Prior(lambda waves: choice.weight * penalised(options.penalty, waves, steps), choice)

    return rule


def penalised(penalty: str, waves: Sequence[np.ndarray], steps: Sequence[float]) -> np.ndarray:
    """|L|^2 at angular frequencies that broadcast against each other."""
    import numpy as np

    shape = np.broadcast_shapes(*(w.shape for w in waves))
    if penalty == "identity":
        return np.ones(shape)
    differences = np.zeros(shape)
    for w, h in zip(waves, steps, strict=True):
        differences += (2 - 2 * np.cos(w)) / h**2
    return np.square(differences, out=differences) if penalty == "laplacian" else differences
