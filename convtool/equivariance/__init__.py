"""Is f(T x) = T' f(x)? For shifts T, and for flips and quarter turns, answered by computing both sides.

What is to be expected follows from the windows of f (`expectations`): where equality holds for every image, and by how
much the output of a shifted image moves. The two sides are compared there; rounding (`rounding`) is the only difference
that is allowed: twice what one evaluation may carry, since there are two.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from convtool.axes import image_axes, spatial_of, spelled
from convtool.equivariance import chains, comparison, expectations, search
from convtool.equivariance.chains import Run
from convtool.equivariance.functions import Function
from convtool.equivariance.inversion import Deconvolve
from convtool.equivariance.steps import Convolve, Edges, Move, Pool, Step
from convtool.errors import DataError, SettingError

__all__ = ["Convolve", "Deconvolve", "Edges", "Finding", "Function", "Pool", "Verdict", "verify_equivariance"]


@dataclass(frozen=True, eq=False)
class Finding:
    """One transformation T.

    Attributes
    ----------
    transformation: 'shift 3,-2', 'flip Y' or 'turn 90'
    output_shift: by how much the output was taken to move, in its own samples; None for flips and turns
    holds: whether the largest error where equality is expected is within the tolerance
    largest, where, region: that error, its index, and whether it lies 'inside' or 'in the border' (where the window
        there, or that of the output it is compared with, leaves the frame)
    tolerance: what rounding may make of equal values
    expected: 'everywhere', or inside which border
    border: (before, after) for each spatial axis, outputs where nothing is expected
    explanation: why it does not hold, as far as that can be told
    error: |f(T x) - T' f(x)| of every output
    """

    transformation: str
    output_shift: tuple[int, ...] | None
    holds: bool
    largest: float
    where: tuple[int, ...]
    region: str
    tolerance: float
    expected: str
    border: tuple[tuple[int, int], ...]
    explanation: str
    error: np.ndarray


@dataclass(frozen=True, eq=False)
class Verdict:
    """Whether every finding holds; `axes`: the output's; `skipped`: moves under which f is not symmetric."""

    holds: bool
    findings: tuple[Finding, ...]
    axes: str
    skipped: tuple[str, ...]


def verify_equivariance(
    f: Step | Sequence[Step] | Callable[[np.ndarray], Any],
    x: np.ndarray,
    *,
    axes: str | None = None,
    shift: Sequence[int] | None = None,
    output_shift: Sequence[int] | None = None,
    trials: int = 0,
    seed: int = 0,
    group: str | None = None,
    tolerance: float | None = None,
) -> Verdict:
    """Whether f(T x) = T' f(x), compared on an image x wherever f promises it.

    Parameters
    ----------
    f: a step of this module, several that follow each other, or any callable of an array
    x: the image; axes as in `convtool.convolve`
    shift: pixels along the last of the spatial axes Z, Y, X, circular; a multiple of f's stride
    output_shift: by how many samples the output is claimed to move; by default shift / stride
    trials, seed: or so many random shifts
    group: or "flips" or "rot90": every one of its moves under which f's kernels are symmetric
    tolerance: the largest error that counts as rounding; by default derived from dtype, kernels and values

    Raises
    ------
    convtool.errors.SettingError: for a shift that is no multiple of the stride, or where nothing can be expected
    convtool.errors.DataError

    Example
    -------
    >>> import numpy as np
    >>> from convtool.equivariance import Pool, verify_equivariance
    >>> x = np.random.default_rng(0).random((12, 16))
    >>> verify_equivariance(Pool(2, stride=2, boundary="periodic"), x, shift=(4, -2)).findings[0].output_shift
    (2, -1)
    """
    x = np.asarray(x)
    letters = _checked(x, axes)
    chain = _steps(f)
    if (shift is not None) + bool(trials) + (group is not None) != 1:
        raise SettingError("what to verify it under is unclear: give one of shift, trials or group")
    if output_shift is not None and shift is None:
        raise SettingError("an output shift belongs to a shift: give both")
    if not isinstance(trials, numbers.Integral) or trials < 0:
        raise SettingError(f"trials must be a whole number of at least 1, got {trials}")
    wanted = None if shift is None else _full(shift, letters)
    claimed = None if output_shift is None else _full(output_shift, letters)
    reference = chains.run(chain, x, letters)
    if group is not None:
        return _verify_group(chain, x, reference, group, tolerance)
    shifts = [wanted] if wanted is not None else chains.random_shifts(chain, reference, trials, seed)
    found = tuple(_verify_shift(chain, x, reference, each, claimed, tolerance) for each in shifts)
    return Verdict(all(finding.holds for finding in found), found, reference.axes[-1], ())


def _checked(x: np.ndarray, axes: str | None) -> str:
    """The axes of an image, which must have a spatial one; raises SettingError and DataError."""
    if x.dtype.kind not in "biuf":
        raise DataError(f"the image has dtype {x.dtype}, expected real numbers (integers or floats)")
    if x.size == 0:
        raise DataError(f"the image is empty (shape {spelled(x.shape)})")
    letters = image_axes(x.shape, axes)
    if not spatial_of(letters):
        raise SettingError(f"the image has no spatial axis (axes {letters}): say --axes")
    return letters


def _steps(f: Any) -> list[Step]:
    if isinstance(f, Step):
        return [f]
    if isinstance(f, Sequence) and f and all(isinstance(step, Step) for step in f):
        return list(f)
    if callable(f):
        return [Function(f)]
    raise SettingError(f"expected a step, several steps or a callable, got {type(f).__name__}")


def _full(shift: Any, axes: str) -> tuple[int, ...]:
    """A shift along the last spatial axes as one along all of them."""
    spatial = spatial_of(axes)
    given = tuple(shift) if isinstance(shift, list | tuple | np.ndarray) else ()
    if not 1 <= len(given) <= len(spatial) or not all(isinstance(t, numbers.Integral) for t in given):
        raise SettingError(
            f"a shift needs 1 to {len(spatial)} numbers, whole ones, along the last of {spatial}, got"
            f" {','.join(map(str, given)) or shift}"
        )
    return (0,) * (len(spatial) - len(given)) + tuple(int(t) for t in given)


def _verify_shift(
    chain: Sequence[Step],
    x: np.ndarray,
    reference: Run,
    shift: tuple[int, ...],
    claimed: tuple[int, ...] | None,
    tolerance: float | None,
) -> Finding:
    axes, out_axes = reference.axes[0], reference.axes[-1]
    tracks = chains.tracks(chain, reference, shift)
    predicted = tuple(track.shift for track in tracks.values())
    taken = predicted if claimed is None else claimed
    valid = comparison.valid(tracks, taken, out_axes)
    if not valid.any():
        raise SettingError(chains.nothing_expected(chain, reference))
    moved = chains.run(chain, np.roll(x, shift, [axes.index(a) for a in tracks]), axes)
    allowed = _allowed(reference, moved, tolerance)
    error = comparison.shifted(moved.y, reference.y, out_axes, taken)
    found = comparison.largest(error, valid)
    holds = found.value <= allowed
    both = {a: t.clear & np.roll(t.clear, u) for (a, t), u in zip(tracks.items(), taken, strict=True)}
    clear = comparison.spread(both, out_axes)
    explanation = "" if holds else reference.explain_choice(moved)
    if not holds and not explanation:
        explanation = search.explain(
            moved.y, reference.y, out_axes, tracks, taken, allowed, chains.border_told(chain, tracks)
        )
    return Finding(
        f"shift {','.join(map(str, shift))}",
        taken,
        holds,
        found.value,
        found.where,
        "inside" if np.broadcast_to(clear, error.shape)[found.where] else "in the border",
        allowed,
        "everywhere" if valid.all() else "inside a border",
        tuple(comparison.ends(track.valid) for track in tracks.values()),
        explanation,
        error,
    )


def _allowed(reference: Run, moved: Run, tolerance: float | None) -> float:
    """The largest difference that is rounding."""
    if tolerance is not None:
        return tolerance
    allowed = reference.allowed(moved)
    if math.isfinite(allowed):
        return allowed
    raise SettingError("the error of the operation has no bound to tell a violation by: give a tolerance (--tolerance)")


def _verify_group(chain: Sequence[Step], x: np.ndarray, reference: Run, name: str, tolerance: float | None) -> Verdict:
    axes, out_axes = reference.axes[0], reference.axes[-1]
    moves = expectations.group(name, spatial_of(axes))
    images = list(zip(chain, reference.shapes, reference.axes, strict=False))
    kept = [move for move in moves if all(step.is_symmetric(move, shape, a) for step, shape, a in images)]
    found = tuple(_verify_move(chain, x, reference, move, tolerance) for move in kept)
    skipped = tuple(move.name for move in moves if move not in kept)
    return Verdict(bool(found) and all(each.holds for each in found), found, out_axes, skipped)


def _verify_move(chain: Sequence[Step], x: np.ndarray, reference: Run, move: Move, tolerance: float | None) -> Finding:
    axes, out_axes = reference.axes[0], reference.axes[-1]
    moved = chains.run(chain, move(x, axes), axes)
    error = comparison.difference(moved.y, move(reference.y, out_axes))
    flaws = (expectations.flaw(s, move, n, a) for s, n, a in zip(chain, moved.shapes, moved.axes, strict=False))
    reason = next((flaw for flaw in flaws if flaw is not None), "the windows allow it: it is the operation itself")
    allowed = _allowed(reference, moved, tolerance)
    found = comparison.largest(error, np.ones((1,) * error.ndim, bool))
    holds = found.value <= allowed
    border = ((0, 0),) * len(spatial_of(out_axes))
    explanation = "" if holds else reference.explain_choice(moved) or reason
    return Finding(
        move.name, None, holds, found.value, found.where, "inside", allowed, "everywhere", border, explanation, error
    )
