"""When an iteration for a least-squares solution has done what it can, and what to say then.

The bound of the error ||x - x+||, without rounding, is `gap`: since x lies in the range of A^T, with sigma the
smallest nonzero singular value of A, d the damping, r = A x - y,

    ||x - x+|| = ||A^+ r||  <=  min( ||r|| / sigma,  ||A^T r|| / sigma^2 ),
    d > 0:     ||x - x+||   <=  ||A^T r + d^2 x|| / (sigma^2 + d^2)
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

from convtool.deconvolution.solvers.golub_kahan import EPS, Iterate

COMPATIBLE = 1e-7  # relative residual below which the data count as what the operator can give
_LOOK = 10  # iterations from one look at the pace to the next


class Reason(enum.Enum):
    """Why the work on an image ended, the worst last: the user's sentence, with places for its numbers."""

    ONE_STEP = "solved in one step, {how}, to a residual of {residual}"
    NOTHING = "nothing of the data can come from the operator: the image of least norm is zero"
    REACHED = "residual reached {residual} after {iterations} iterations"
    LEAST = "residual reached its minimum within {normal} after {iterations} iterations"
    ROUNDING = "residual reached rounding, {residual}, after {iterations} iterations"
    LEAST_ROUNDING = "residual reached its minimum within rounding, {normal}, after {iterations} iterations"
    LIMIT = "stopped at {iterations} iterations: the operator's condition number is {condition}, {expect}"


def gap(residual: float, normal: float, least: float, damping: float) -> float:
    """The bound of ||x - x+|| from the norms of r and of A^T r + d^2 x; infinite where sigma is 0 and nothing known."""
    if not normal:
        return 0.0
    size = least * least + damping * damping
    explained = normal / size if size else math.inf
    return explained if damping or not least else min(residual / least, explained)


@dataclass(frozen=True)
class Goal:
    """What an iteration is to reach: an error of `tol` relative to x, in at most `limit` steps, for data of a norm.

    least: the smallest nonzero singular value, None where only the iteration tells
    most: steps after which the space is exhausted, where its vectors are kept orthogonal
    """

    tol: float
    limit: int
    damping: float
    norm_data: float
    least: float | None
    most: int | None

    def gap(self, at: Iterate) -> float:
        """The bound of the error of an iterate."""
        if self.least is not None:
            return gap(at.residual, at.normal, self.least, self.damping)
        least = 1 / at.inverse_norm if at.inverse_norm else 0.0  # with the damping in it, where there is one
        if self.damping:
            return gap(at.residual, at.normal, 0.0, max(least, self.damping))
        return gap(at.residual, at.normal, least, 0.0)

    def reason(self, at: Iterate) -> Reason | None:
        """Why to stop at an iterate, or None."""
        small = at.residual <= COMPATIBLE * self.norm_data
        if at.count <= 1 and at.normal <= EPS * at.norm * at.residual and not at.norm_x > EPS * at.residual:
            return Reason.NOTHING
        if self.gap(at) <= self.tol / (1 + self.tol) * at.norm_x:
            return Reason.REACHED if small else Reason.LEAST
        is_rounding = at.residual <= EPS * (at.norm * at.norm_x + self.norm_data)
        is_rounding |= at.normal <= EPS * at.norm * at.residual
        if is_rounding or (self.most is not None and at.count >= self.most):
            return Reason.ROUNDING if small else Reason.LEAST_ROUNDING
        return Reason.LIMIT if at.count >= self.limit else None


class Pace:
    """Whether an iteration will reach its goal in fewer than `worth` steps more; judged by its last half."""

    def __init__(self, goal: Goal, worth: float) -> None:
        self.goal, self.worth = goal, worth
        self._gaps: list[float] = []

    @property
    def has_choice(self) -> bool:
        """Whether there is another way at all."""
        return not math.isinf(self.worth)

    def is_hopeless(self, at: Iterate) -> bool:
        """To be asked at every step: whether to give the iteration up."""
        self._gaps.append(self.goal.gap(at) / at.norm_x if at.norm_x else math.inf)
        count = len(self._gaps)
        if not self.has_choice or count < 2 * _LOOK or count % _LOOK:
            return False
        now, before = self._gaps[-1], self._gaps[count // 2 - 1]
        if not now < before:
            return True
        rate = math.log(before / now) / (count - count // 2)
        return math.log(max(now / self.goal.tol, 1.0)) > rate * self.worth
