"""The least-squares solution of least norm for one operator and several images, and what is known of its error.

Everything here is in double precision and in units in which the largest tap lies in [1/2, 1) and the data's largest
value is 1, so that no square over- or underflows; only the x that `solutions` gives is in the user's.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from convtool.deconvolution.solvers import factors, golub_kahan, one_step, progress, singular_values, stopping
from convtool.deconvolution.solvers.golub_kahan import Iterate
from convtool.deconvolution.solvers.one_step import OneStep
from convtool.deconvolution.solvers.singular_values import Spread
from convtool.deconvolution.solvers.stopping import Goal, Pace, Reason
from convtool.errors import SettingError
from convtool.kernel import Kernel
from convtool.operators import Convolution

_BASIS_BYTES = 16 << 20  # for vectors kept orthogonal: about 1000 unknowns
_WORK = 2e10  # multiply-adds of iterations that take about half a minute
_FEWEST, _MOST = 300, 10000
_ROUNDING = 64 * golub_kahan.EPS


@dataclass(frozen=True)
class Aim:
    """tol: relative error to reach; limit: most iterations, None for `System.limit`; solver: the method's option.

    memory: bytes that a solution in one step may take
    """

    tol: float
    limit: int | None
    solver: str
    memory: int


@dataclass(frozen=True, eq=False)
class System:
    """A scaled operator and damping; `scale` takes them back. spread: its singular values where they are known."""

    operator: Convolution
    damping: float
    scale: float
    spread: Spread | None

    @classmethod
    def of(cls, operator: Convolution, damping: float) -> System:
        """The system of an operator, in double precision."""
        kernel = operator.kernel
        scale = math.ldexp(1.0, math.frexp(float(np.abs(kernel.taps).max()))[1])
        taps = Kernel(kernel.taps / scale, kernel.origin)
        scaled = dataclasses.replace(operator, kernel=taps, dtype=np.dtype(np.float64), batch=_FEWEST)
        return cls(scaled, damping / scale, scale, singular_values.exact(scaled, damping / scale))

    @property
    def step(self) -> float:
        """Multiply-adds of an iteration: taps, and the passes over whole vectors."""
        operator = self.operator
        outputs, inputs = math.prod(operator.out_shape), math.prod(operator.in_shape)
        taps = min(int(np.count_nonzero((operator.kernel.taps != 0).any(axis=(0, 1, 2)))), 64)
        return float(2 * outputs * taps * operator.kernel.taps.shape[2] + 12 * (outputs + inputs))

    @property
    def limit(self) -> int:
        """Iterations that take about a minute at most, or the least there should be."""
        return int(min(max(_WORK / self.step, _FEWEST), _MOST))

    def goal(self, aim: Aim, data: np.ndarray) -> Goal:
        """What an iteration for these data is to reach."""
        most = min(math.prod(self.operator.out_shape), math.prod(self.operator.in_shape)) + 1
        return Goal(
            aim.tol,
            aim.limit or self.limit,
            self.damping,
            golub_kahan.length(data),
            None if self.spread is None else self.spread.least,
            most if self.is_small else None,
        )

    @property
    def is_small(self) -> bool:
        """Whether all vectors of an iteration are kept, and made orthogonal to each other."""
        return golub_kahan.fits(self.operator, _BASIS_BYTES)


class Ended(NamedTuple):
    """The last iterate, and why it is the last."""

    at: Iterate
    reason: Reason


class Norms(NamedTuple):
    """Of x, of r = A x - y, of A^T r + d^2 x, and of y."""

    x: float
    residual: float
    normal: float
    data: float


@dataclass(frozen=True, eq=False)
class Answer:
    """Why the work on an image ended, and what is known of its x; the data were divided by `peak`.

    how: "by LSQR", or the way in one step, which has no iterations
    expected: about what ||x - x+|| / ||x|| is at least, where the limit ended the iteration, else None
    """

    peak: float
    reason: Reason
    how: str
    norms: Norms
    spread: Spread
    damping: float
    iterations: int | None = None
    expected: float | None = None

    @property
    def residual(self) -> float:
        """||A x - y|| / ||y||."""
        return _ratio(self.norms.residual, self.norms.data)

    @property
    def is_compatible(self) -> bool:
        """Whether the operator can give the data, so that the residual vanishes but for rounding."""
        return self.residual <= stopping.COMPATIBLE

    @property
    def normal(self) -> float:
        """||A^T r + d^2 x|| / (||A|| ||r||)."""
        return _ratio(self.norms.normal, self.norms.residual * self.spread.norm)

    @property
    def condition(self) -> float:
        """kappa, with the damping in it; infinite where nothing is known of the smallest singular value."""
        return self.spread.condition(self.damping)

    def error_bound(self, dtype: np.dtype) -> float | None:
        """What ||x - x+|| / ||x+|| cannot exceed, with x rounded to dtype; None where nothing can be said.

        Of the smallest singular value, an iteration that was cut short has seen too little; damping needs none.

        With kappa = ||A|| / sigma, rounding may amount to 64 eps kappa (1 + kappa ||r|| / (||A|| ||x||)): data that A
        cannot give are what least squares is most sensitive to.
        """
        if not self.norms.x:
            return 0.0
        spread = self.spread
        if self.damping and not spread.is_exact:
            spread = dataclasses.replace(spread, least=0.0)
        elif self.reason is Reason.LIMIT and not spread.is_exact:
            return None
        gap = stopping.gap(self.norms.residual, self.norms.normal, spread.least, self.damping) / self.norms.x
        misfit = self.norms.residual / (spread.norm * self.norms.x)
        condition = spread.condition(self.damping)
        rounding = _ROUNDING * condition * (1 + condition * misfit)
        if not spread.is_clear or not gap + rounding < 1:
            return None
        return gap / (1 - gap) + rounding + (float(np.finfo(dtype).eps) if dtype.itemsize < 8 else 0.0)


def solutions(system: System, y: np.ndarray, aim: Aim) -> Iterator[tuple[np.ndarray, Answer]]:
    """x [c_in, *grid] and its answer for every image in data [n, c_out, *outputs].

    Raises SettingError where a solution in one step is wanted and there is none.
    """
    direct = None if system.damping or aim.solver == "iterative" else _direct(system, aim)
    if aim.solver == "direct" and direct is None:
        raise SettingError(f"method least-squares: no solution in one step: {_obstacle(system, aim)}")
    for n, image in enumerate(y):
        peak = float(np.abs(image).max()) or 1.0
        data = image.astype(np.float64) / peak
        found = direct or _iterated(system, data, aim, (n + 1, len(y)))
        direct = found if isinstance(found, OneStep) else None
        x = _solved(found, data)
        yield x * (peak / system.scale), _answer(system, found, x, data, peak)


def _direct(system: System, aim: Aim) -> OneStep | None:
    """The solution in one step that is to be used from the start."""
    found = one_step.by_frequency(system.operator)
    if found is None and aim.solver == "direct" and _is_bordered(system, aim):
        return _by_capacitance(system.operator, aim.memory)
    return found


def _by_capacitance(operator: Convolution, budget: int) -> OneStep | None:
    return factors.of(operator, ("capacitance", budget), lambda: one_step.by_capacitance(operator, budget))


def _is_bordered(system: System, aim: Aim) -> bool:
    """Whether the capacitance matrix may be tried."""
    needed = one_step.bytes_needed(system.operator)
    return _may_be_regular(system) and needed is not None and needed <= aim.memory


def _may_be_regular(system: System) -> bool:
    known = system.spread
    return known is None or (known.rank == math.prod(system.operator.in_shape) and known.is_clear)


def _obstacle(system: System, aim: Aim) -> str:
    """Why there is no solution in one step, and what to do."""
    needed = one_step.bytes_needed(system.operator)
    if system.damping:
        return "it knows no damping: leave solver out"
    if needed is None:
        return "that takes stride 1, and as many outputs as inputs: leave solver out"
    if _may_be_regular(system) and needed > aim.memory:
        size, most = one_step.spelled_bytes(needed), one_step.spelled_bytes(aim.memory)
        return f"it takes {size} and may take {most}: say memory={math.ceil(needed / 2**30)}, or leave solver out"
    return "the operator cannot be inverted, or not in double precision: leave solver out"


def advice(system: System, aim: Aim) -> str | None:
    """What would take an iteration further that was not tried."""
    needed = one_step.bytes_needed(system.operator)
    if system.damping or needed is None or not _may_be_regular(system):
        return None
    can_try = f"an invertible operator can be solved in one step, here with {one_step.spelled_bytes(needed)} of memory:"
    if needed > aim.memory:
        return f"{can_try} --set solver=direct --set memory={math.ceil(needed / 2**30)}"
    return f"{can_try} --set solver=direct" if aim.solver == "iterative" else None


def _iterated(system: System, data: np.ndarray, aim: Aim, place: tuple[int, int]) -> Ended | OneStep:
    """Where the iteration for image `place[0]` of `place[1]` ends, or the one step that is to be had sooner."""
    goal, operator = system.goal(aim, data), system.operator
    pace = Pace(goal, _worth(system, aim, place[1] - place[0] + 1))
    for at in golub_kahan.lsqr(operator, data, system.damping, system.is_small):
        progress.tell(progress.Step(at.count, goal.limit, at.residual / (goal.norm_data or 1.0), *place))
        reason = goal.reason(at)
        if pace.is_hopeless(at) or (reason is Reason.LIMIT and pace.has_choice):
            direct = _by_capacitance(operator, aim.memory)
            if direct is not None:
                return direct
            pace = Pace(goal, math.inf)
        if reason is not None:
            return Ended(at, reason)
    raise AssertionError("an exhausted iteration has no gap left")


def _worth(system: System, aim: Aim, images: int) -> float:
    """How many iterations an image take as long as a solution in one step would, for so many images."""
    if aim.solver == "iterative" or system.damping or not _is_bordered(system, aim):
        return math.inf
    return one_step.steps_worth(system.operator, system.step) / images


def _solved(found: Ended | OneStep, data: np.ndarray) -> np.ndarray:
    if isinstance(found, OneStep):
        return found.applied(data[None])[0]
    return np.zeros_like(found.at.x) if found.reason is Reason.NOTHING else found.at.x


def _answer(system: System, found: Ended | OneStep, x: np.ndarray, data: np.ndarray, peak: float) -> Answer:
    """What is known of x; its norms are computed anew."""
    residual = system.operator.forward(x)
    residual -= data
    normal = system.operator.adjoint(residual)
    normal += system.damping**2 * x
    norms = Norms(*(golub_kahan.length(each) for each in (x, residual, normal, data)))
    if isinstance(found, OneStep):
        return Answer(peak, Reason.ONE_STEP, found.name, norms, system.spread or found.spread, 0.0)
    expected = None
    if found.reason is Reason.LIMIT:
        expected = _ratio(golub_kahan.expected_error(found.at), norms.x)
    spread = system.spread or _seen(found.at)
    return Answer(peak, found.reason, "by LSQR", norms, spread, system.damping, found.at.count, expected)


def _seen(at: Iterate) -> Spread:
    """The singular values as far as an iteration saw them."""
    largest, least = golub_kahan.extreme_values(at) if at.count else (0.0, 0.0)
    return Spread(largest, max(least, 0.0), f"estimated from below by {at.count} iterations", False)


def _ratio(a: float, b: float) -> float:
    return a / b if b else 0.0
