"""Minimum-norm least squares for any boundary, padding, stride, dilation and groups: the operator's own pseudo-inverse.

    minimise ||A x - y||^2 + damping^2 ||x||^2,     of all minimisers the one of least norm:  x = A^+ y  without damping

Three ways lead there (`solver`), all in double precision: frequency by frequency where A is circulant; by the
capacitance matrix (`solvers.capacitance`) where A is square and invertible; by LSQR (`solvers.golub_kahan`) for every
A. `auto` takes the first where it can, and else iterates, unless the iteration does not promise to be done before the
second would be.

How near x is to A^+ y is bounded by its residual and the smallest nonzero singular value of A (`solvers.stopping`),
which is exact where A is small (its matrix is decomposed) or circulant, and else an estimate. The iteration ends when
the bound, relative to ||x||, falls to `tol`, or when the residual is rounding. What is reported includes rounding.

Each image of a batch is a system of its own; the channels of one image are one system, also where they do not mix.

There is no preconditioner. Where columns are dependent it would lose the least norm. Where they are not, the circulant
one was measured, with singular values raised to 1e-4 of the largest: at boundary zero and padding same it was no better
after 3000 steps; at padding full it took half the steps or fewer for some kernels, but a step cost three times as much.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from convtool.errors import percent
from convtool.registry import at_least
from convtool.solution import Estimate, Stopped

if TYPE_CHECKING:
    import numpy as np

    from convtool.deconvolution.solvers.least_norm import Aim, Answer, System
    from convtool.observation import Observation
    from convtool.operators import Convolution

AUTO_BOUNDARY = "periodic"
IS_DENSE = True

_WORSE = 10.0  # from how many times the residual on the periodic inverse's is worth a sentence
_RESIDUAL = 1e-4  # and from which relative residual on
_AMPLIFIES = 1e3  # condition number from which on data must be better than photographs are
_UNEXPLAINED = 0.02  # relative residual from which on more than a photograph's noise is left

HELD = 24.0  # see the package


@dataclass(frozen=True)
class Options:
    """Settings of least squares."""

    tol: float | None = field(
        default=None,
        metadata={
            "help": "error to reach, relative to x, as far as it can be bounded (auto: 1e-10; 1e-6 in single)",
            "within": at_least(0),
        },
    )
    limit: int | None = field(
        default=None,
        metadata={"help": "most iterations (auto: about a minute's work, 300 to 10000)", "within": at_least(1)},
    )
    damping: float = field(
        default=0.0,
        metadata={
            "help": "adds damping^2 ||x||^2 to what is minimised: less noise, more bias",
            "within": at_least(0),
        },
    )
    solver: Literal["auto", "iterative", "direct"] = field(
        default="auto", metadata={"help": "direct: in one step, for invertible operators of stride 1; auto: the faster"}
    )
    memory: float | None = field(
        default=None,
        metadata={
            "help": "GiB that a solution in one step may take (auto: 4, or half of what is free)",
            "within": at_least(0),
        },
    )


def solve(observation: Observation, options: Options) -> Estimate:
    """The solution for data y [n, c_out, *outputs]."""
    import numpy as np

    from convtool import process
    from convtool.deconvolution.solvers import factors, least_norm
    from convtool.deconvolution.solvers.trust import residuals

    y, operator = observation.complete("least-squares"), observation.operator
    system = factors.of(operator, ("system", options.damping), lambda: least_norm.System.of(operator, options.damping))
    tol = options.tol if options.tol is not None else 1e-10 if y.dtype == np.float64 else 1e-6
    memory = process.policy.memory if options.memory is None else int(options.memory * 2**30)
    aim = least_norm.Aim(tol, options.limit, options.solver, memory)
    x, found = np.empty((len(y), *operator.in_shape), y.dtype), []
    for n, (image, answer) in enumerate(least_norm.solutions(system, y, aim)):
        x[n] = image
        found.append(answer)
    metrics = _measured(found, system.scale, y.dtype)
    stop = _stopped(found, metrics)
    notes = [
        *_unexplained(max(answer.residual for answer in found), options.damping),
        *_trust(metrics, stop),
        *_further(stop, system, aim),
    ]
    notes += _undetermined(operator, metrics)
    periodic, others = _periodic(system, y), {}
    if periodic is not None:
        others["periodic"] = periodic
        metrics["periodic"] = {
            "name": "the periodic inverse instead",
            "relative_residual": residuals(operator, periodic, y)["relative_residual"],
            "norm": float(np.linalg.norm(periodic.ravel().astype(np.float64))),
        }
        notes += _compared(metrics["periodic"]["relative_residual"], max(answer.residual for answer in found))
    return Estimate(x, stop, metrics, (*notes, *observation.idle_spacing("least-squares")), others)


def _measured(found: list[Answer], scale: float, dtype: np.dtype) -> dict[str, Any]:
    """What the answers for all images have in common; of what differs, the worst."""
    worst = max(found, key=lambda answer: answer.condition)
    bounds = [answer.error_bound(dtype) for answer in found]
    known = [bound for bound in bounds if bound is not None]
    iterations = [answer.iterations for answer in found if answer.iterations is not None]
    expected = [answer.expected for answer in found if answer.expected is not None]
    misfits = [answer.normal for answer in found if not answer.is_compatible]
    gain = worst.spread.noise_gain
    return {
        "solved": worst.how,
        **({"iterations": max(iterations)} if iterations else {}),
        **({"normal_residual": max(misfits)} if misfits else {}),
        "norm": math.hypot(*(answer.peak / scale * answer.norms.x for answer in found)),
        "operator_norm": scale * worst.spread.norm,
        "condition": worst.condition,
        "condition_source": worst.spread.source,
        **({"rank": worst.spread.rank} if worst.spread.rank is not None else {}),
        "error_bound": max(known) if len(known) == len(bounds) else None,
        **({"expected_error": min(max(expected), 1.0)} if expected else {}),
        **({"noise_gain": gain / scale} if gain is not None else {}),
    }


def _stopped(found: list[Answer], metrics: dict[str, Any]) -> Stopped:
    """Why the work ended on the image that fared worst."""
    from convtool.deconvolution.solvers.stopping import Reason

    worst = max(found, key=lambda answer: (list(Reason).index(answer.reason), answer.iterations or 0))
    expected = metrics.get("expected_error")
    return Stopped(
        worst.reason,
        {
            "how": worst.how,
            "iterations": worst.iterations,
            "residual": _brief(worst.residual),
            "normal": _brief(worst.normal),
            "condition": f"{'' if worst.spread.is_exact else 'at least '}{_brief(worst.condition)}",
            "expect": "expect an error of the size of the image"
            if expected is None or expected >= 1
            else f"expect an error of about {_brief(expected)} or more",
        },
    )


def _unexplained(residual: float, damping: float) -> list[str]:
    """What to check where the best solution explains the data badly: that is how wrong settings show."""
    if damping or residual < _UNEXPLAINED:
        return []
    return [
        f"{percent(residual)} of the data cannot come from any image through this kernel and these settings: that is"
        " noise, or a bias that was added, or another kernel, operation, boundary, padding or origin"
    ]


def _trust(metrics: dict[str, Any], stop: Stopped) -> list[str]:
    """How near the least-squares solution is, and what that rests on; what errors of the data do to it."""
    bound, source, condition = metrics["error_bound"], metrics["condition_source"], _brief(metrics["condition"])
    known = f"the condition number, {condition} ({source})"
    if "expected_error" in metrics:
        near = stop.value if bound is None else f"{stop.value}, and at most {_brief(bound)}"
    elif bound is None:
        near = f"how near the least-squares solution is has no bound: {known}, allows none at this residual"
    elif source == "exact":
        near = f"the least-squares solution is met to {_brief(bound)}: {known}, allows no more at this residual"
    else:
        near = f"the least-squares solution is met to about {_brief(bound)}, if {known}, is right"
    if metrics["condition"] <= _AMPLIFIES:
        return [near]
    damping = _brief(0.01 * metrics["operator_norm"])
    return [
        near,
        f"the truth may be further away: errors of the data are amplified up to {condition} times; where they are"
        f" noise, --set damping={damping} (1 % of the operator's norm) or so holds them down",
    ]


def _further(stop: Stopped, system: System, aim: Aim) -> list[str]:
    """What to do about an iteration that was cut short."""
    from convtool.deconvolution.solvers import least_norm

    said = least_norm.advice(system, aim) if stop.reason is least_norm.Reason.LIMIT else None
    return [said] if said else []


def _undetermined(operator: Convolution, metrics: dict[str, Any]) -> list[str]:
    data, unknowns = math.prod(operator.out_shape), math.prod(operator.in_shape)
    rank = metrics.get("rank", min(data, unknowns))
    if rank == unknowns:
        return []
    return [
        f"the data determine {'' if 'rank' in metrics else 'at most '}{rank} of {unknowns} unknowns: of all images that"
        " explain them alike, this is the one of least norm"
    ]


def _periodic(system: System, y: np.ndarray) -> np.ndarray | None:
    """What the periodic inverse with the same kernel gives; None where there is none, or it is the solution itself."""
    import numpy as np

    from convtool.deconvolution.solvers import periodic

    operator = periodic.likened(system.operator)
    if operator is None or operator.geometry == system.operator.geometry or not periodic.is_affordable(operator):
        return None
    inverse = periodic.inverse(operator)
    x = np.empty((len(y), *operator.in_shape), y.dtype)
    for n in range(len(y)):
        x[n] = inverse.applied(y[n : n + 1].astype(np.float64))[0] / system.scale
    return x


def _compared(periodic: float, own: float) -> list[str]:
    """A sentence where the periodic inverse would have been much worse."""
    if periodic < max(_WORSE * own, _RESIDUAL):
        return []
    share = f"{percent(periodic)} of the data" if periodic < 1 else f"{periodic:.3g} times the data"
    return [f"the periodic inverse (pinv with boundary periodic) would have left a residual of {share}"]


def _brief(value: float) -> str:
    """'2e-12', '3.4', '2e4'."""
    if 0.01 <= value < 100 or not value:
        return f"{value:.2g}"
    mantissa, _, exponent = f"{value:.0e}".partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa
