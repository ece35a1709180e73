"""How a signal continues outside its frame: extend, and its adjoint fold, one pair a mode.

For a frame of n samples, position p outside 0..n-1 takes the value at

    periodic    p mod n                     ... c d | a b c d | a b ...
    zero        nothing: the value is 0     ... 0 0 | a b c d | 0 0 ...
    edge        clip(p, 0, n-1)             ... a a | a b c d | d d ...
    reflect     mirrored at the edge sample ... c b | a b c d | c b ...   (period 2n - 2; n = 1: constant)
    symmetric   mirrored at the edge        ... b a | a b c d | d c ...   (period 2n)

An extension is separable and copies samples, so it is a few slice copies an axis (`runs`); its adjoint adds the same
slices back. Both work for margins of any length, also longer than the frame.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from convtool.errors import SettingError, listed

MODES = ("periodic", "zero", "edge", "reflect", "symmetric")
Margins = Sequence[tuple[int, int]]


def checked(mode: str) -> str:
    """The mode itself; raises SettingError that lists the modes there are."""
    if mode not in MODES:
        raise SettingError(f"unknown boundary '{mode}': use {listed(MODES)}")
    return mode


def source(positions: np.ndarray, n: int, mode: str) -> np.ndarray:
    """For each integer position, the index in 0..n-1 that it takes its value from; -1 where the value is zero."""
    if mode == "periodic":
        return positions % n
    if mode == "edge":
        return positions.clip(0, n - 1)
    if mode == "zero":
        return np.where((positions >= 0) & (positions < n), positions, -1)
    if mode == "symmetric":
        return np.minimum(positions % (2 * n), 2 * n - 1 - positions % (2 * n))
    period = max(2 * n - 2, 1)
    return np.minimum(positions % period, period - positions % period) if n > 1 else positions * 0


class Run(NamedTuple):
    """`length` margin samples from `start` on are copies of `origin`, `origin + step`, ...; 0 is the frame's first."""

    start: int
    length: int
    origin: int
    step: int


def runs(n: int, margin: tuple[int, int], mode: str) -> list[Run]:
    """The margins of one axis as runs of copied samples; none for `zero`."""
    if mode == "zero":
        return []
    before, after = np.arange(-margin[0], 0), np.arange(n, n + margin[1])
    return [run for positions in (before, after) for run in _progressions(positions, source(positions, n, mode))]


def _progressions(positions: np.ndarray, origins: np.ndarray) -> list[Run]:
    found = []
    i, steps = 0, np.diff(origins).tolist()
    while i < len(origins):
        step = steps[i] if i < len(steps) and abs(steps[i]) <= 1 else 1
        end = i
        while end < len(steps) and steps[end] == step:
            end += 1
        found.append(Run(int(positions[i]), end - i + 1, int(origins[i]), step))
        i = end + 1
    return found


def extend(x: np.ndarray, margins: Margins, mode: str) -> np.ndarray:
    """x with its trailing len(margins) axes continued by (before, after) samples each; a new array, always."""
    lead = x.shape[: x.ndim - len(margins)]
    frame = x.shape[x.ndim - len(margins) :]
    grown = tuple(n + before + after for n, (before, after) in zip(frame, margins, strict=True))
    out = (np.zeros if mode == "zero" else np.empty)((*lead, *grown), x.dtype)
    out[..., *_frame(frame, margins)] = x
    for target, origin in _copies(frame, margins, mode):
        out[target] = out[origin]
    return out


def piece(x: np.ndarray, starts: Sequence[int], mode: str, out: np.ndarray) -> None:
    """Fill `out` [..., *shape] with the extended x from a place on: `starts`, where 0 is the frame's first sample."""
    ndim = len(starts)
    axes = [
        segments(n, start, length, mode)
        for n, start, length in zip(x.shape[x.ndim - ndim :], starts, out.shape[out.ndim - ndim :], strict=True)
    ]
    for copies in itertools.product(*axes):
        targets: Any = [target for target, _ in copies]
        origins: Any = [origin for _, origin in copies]
        out[..., *targets] = 0 if None in origins else x[..., *origins]


def segments(n: int, start: int, length: int, mode: str) -> list[tuple[slice, slice | None]]:
    """Which samples of a frame of n an axis reads from `start` on: pairs (of the reader, of the frame, None: zeros)."""
    end = start + length
    first, last = max(start, 0), min(end, n)
    found: list[tuple[slice, slice | None]] = []
    if first < last:
        found.append((slice(first - start, last - start), slice(first, last)))
    for a, b in ((start, min(end, 0)), (max(start, n), end)):
        if a < b and mode == "zero":
            found.append((slice(a - start, b - start), None))
        elif a < b:
            positions = np.arange(a, b)
            runs = _progressions(positions, source(positions, n, mode))
            found += [(slice(r.start - start, r.start - start + r.length), _origin(r, 0)) for r in runs]
    return found


def fold(y: np.ndarray, margins: Margins, mode: str) -> np.ndarray:
    """The adjoint of `extend`: every margin sample is added to the one it came from. Gives a view of y, overwritten."""
    frame = tuple(n - sum(m) for n, m in zip(y.shape[y.ndim - len(margins) :], margins, strict=True))
    for target, origin in reversed(_copies(frame, margins, mode)):
        # Repeated samples (edge) are a view of length one, so what arrives there is summed first.
        single = y[origin].shape != y[target].shape
        axis = next((i for i, (a, b) in enumerate(zip(y[origin].shape, y[target].shape, strict=True)) if a != b), None)
        y[origin] += y[target].sum(axis=axis, keepdims=True) if single else y[target]
    return y[..., *_frame(frame, margins)]


def _frame(frame: Sequence[int], margins: Margins) -> Any:
    return tuple(slice(before, before + n) for n, (before, _) in zip(frame, margins, strict=True))


def _copies(frame: Sequence[int], margins: Margins, mode: str) -> list[tuple[Any, Any]]:
    """(target, origin) index pairs that fill the margins; an axis spans the margins of the axes filled before it."""
    pairs = []
    inside = _frame(frame, margins)
    for axis, (n, margin) in enumerate(zip(frame, margins, strict=True)):
        for run in runs(n, margin, mode):
            around = (..., *(slice(None) for _ in range(axis)))
            rest = inside[axis + 1 :]
            target = slice(run.start + margin[0], run.start + margin[0] + run.length)
            pairs.append(((*around, target, *rest), (*around, _origin(run, margin[0]), *rest)))
    return pairs


def _origin(run: Run, before: int) -> slice:
    first = run.origin + before
    if run.step == 0:
        return slice(first, first + 1)
    end = first + run.step * run.length
    return slice(first, end if end >= 0 else None, run.step)
