"""Moore-Penrose pseudo-inverse, frequency by frequency: the minimum-norm least-squares solution.

    x^(f) = H(f)^+ y^(f),   singular values <= rcond x the largest over all frequencies and groups count as zero

One cutoff for all frequencies is what makes it the pseudo-inverse of the whole operator: a cutoff per matrix would
never drop a scalar. Exact for periodic boundaries; on noisy data it amplifies noise by up to 1 / rcond.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from convtool.registry import at_least
from convtool.solution import Estimate, Stop

if TYPE_CHECKING:
    import numpy as np

    from convtool.observation import Observation


AUTO_BOUNDARY = "periodic"

HELD = 6.0  # see the package


@dataclass(frozen=True)
class Options:
    """Settings of the pseudo-inverse."""

    rcond: float | None = field(
        default=None,
        metadata={
            "help": "singular values up to rcond x the largest count as zero (auto: 1000 eps of the dtype)",
            "within": at_least(0, below=1),
        },
    )


def solve(observation: Observation, options: Options) -> Estimate:
    """x = A^+ y for data y [n, c_out, *grid]."""
    from convtool.deconvolution.solvers import columns, single_use
    from convtool.deconvolution.solvers.inverses import default_rcond

    y, operator = observation.complete("pinv"), observation.operator
    if columns.fits(operator):
        return _by_columns(observation, y, default_rcond(operator.dtype) if options.rcond is None else options.rcond)
    solved = single_use.solution(operator, y, options.rcond)
    metrics = {"rcond": solved.rcond, "operator_norm": solved.norm, "noise_gain": solved.noise_gain}
    return Estimate(solved.x, Stop.DIRECT, metrics, observation.idle_spacing("pinv"))


def _by_columns(observation: Observation, y: np.ndarray, rcond: float) -> Estimate:
    """The same for a kernel that mixes no channels."""
    from convtool.deconvolution.solvers.columns import Columns, reciprocal

    operator = Columns(observation.operator)
    x, noise_gain = operator.solved(y, reciprocal(rcond))
    metrics = {"rcond": rcond, "operator_norm": operator.norm, "noise_gain": noise_gain}
    return Estimate(x, Stop.DIRECT, metrics, observation.idle_spacing("pinv"))
