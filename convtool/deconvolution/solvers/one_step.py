"""Solutions without iteration: of circulant operators frequency by frequency, of others by their capacitance matrix.

Both are the pseudo-inverse: the first whatever the rank, the second only where the operator is invertible (it is
square), so that where its condition number comes near 1 / eps it is not used.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from convtool.deconvolution.solvers import capacitance, factors, golub_kahan, periodic, progress, singular_values
from convtool.deconvolution.solvers.singular_values import Spread
from convtool.operators import Convolution

_WORST = 1e10  # condition number from which on rank cannot be told from rounding
_STEP_PER_PIVOT = 1 / 40  # measured: multiply-adds of an iteration that take as long as one of a factorisation, over 3


@dataclass(frozen=True, eq=False)
class OneStep:
    """x [n, c_in, *grid] of data [n, c_out, *grid], by `applied`; `name` says how, for the report."""

    name: str
    spread: Spread
    applied: Callable[[np.ndarray], np.ndarray]


def by_frequency(operator: Convolution) -> OneStep | None:
    """The solution of a circulant operator; None for others, and where it would take too much memory."""
    if not operator.geometry.is_circulant or not periodic.is_affordable(operator):
        return None
    inverse = factors.inverse(operator)
    return OneStep("frequency by frequency", singular_values.circulant(inverse), inverse.applied)


def bytes_needed(operator: Convolution) -> int | None:
    """The memory that the capacitance matrix takes at its peak; None where there is none."""
    return capacitance.bytes_needed(operator) if capacitance.applies(operator) else None


def by_capacitance(operator: Convolution, budget: int) -> OneStep | None:
    """The solution by the capacitance matrix, in so many bytes; None where the operator is singular, or nearly so."""
    rows, size = capacitance.border_size(operator), capacitance.bytes_needed(operator)
    progress.tell(f"factoring a {rows}x{rows} matrix, in {spelled_bytes(size)} of memory")
    factored = capacitance.reliable(operator, budget)
    if factored is None:
        return None
    progress.tell("factored: solving, and estimating the condition number")
    least = 1 / capacitance.inverse_norm(factored)
    spread = Spread(
        golub_kahan.largest_value(operator), least, "estimated by power iteration", False, math.prod(operator.in_shape)
    )
    if spread.condition(0.0) > _WORST:
        return None
    return OneStep("by its capacitance matrix", spread, lambda y: capacitance.solve(factored, y).x)


def spelled_bytes(size: int) -> str:
    """'2.7 GiB', '31 MiB'."""
    return f"{size / (1 << 30):.2g} GiB" if size >= 1 << 30 else f"{math.ceil(size / (1 << 20))} MiB"


def steps_worth(operator: Convolution, step: float) -> float:
    """How many iterations of so many multiply-adds take as long as factoring the capacitance matrices."""
    return len(operator.kernel.taps) * capacitance.border_size(operator) ** 3 * _STEP_PER_PIVOT / step
