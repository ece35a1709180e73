"""Two images compared after a shift, where that is expected to make them equal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from convtool.axes import spatial_of, spelled
from convtool.equivariance.expectations import Track
from convtool.errors import DataError


class Largest(NamedTuple):
    """The largest error and its index."""

    value: float
    where: tuple[int, ...]


def spread(lines: Mapping[str, np.ndarray], axes: str) -> np.ndarray:
    """Where every axis is marked; axes without marks have length 1."""
    found = np.ones((1,) * len(axes), bool)
    for letter, line in lines.items():
        found = found & line.reshape([-1 if each == letter else 1 for each in axes])
    return found


def valid(tracks: Mapping[str, Track], shift: Sequence[int], axes: str) -> np.ndarray:
    """Where outputs are expected to agree, if they moved by `shift`; to be broadcast over the other axes."""
    return spread({a: _line(track, u) for (a, track), u in zip(tracks.items(), shift, strict=True)}, axes)


def _line(track: Track, shift: int) -> np.ndarray:
    """Where nothing has a counterpart, a shift is still one modulo the length, and can be told from the right one."""
    if track.is_whole:
        return track.valid
    line = track.valid & track.counterparts(shift)
    return line if line.any() else track.valid


def shifted(moved: np.ndarray, reference: np.ndarray, axes: str, shift: Sequence[int]) -> np.ndarray:
    """|f(T x) - T' f(x)|, with the circular shift T' of the output."""
    return difference(moved, np.roll(reference, shift, [axes.index(letter) for letter in spatial_of(axes)]))


def difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|a - b| in float64; two NaN and equal infinities do not differ, what else is no number differs infinitely.

    Raises DataError where they differ in shape or kind: one of them is the result of a moved image.
    """
    if (a.shape, a.dtype) != (b.shape, b.dtype):
        raise DataError(
            f"the result depends on the values of the image: shape {spelled(a.shape)}, {a.dtype} of the moved image,"
            f" expected {spelled(b.shape)}, {b.dtype}"
        )
    if a.dtype.kind in "iub":  # differences of wide integers fit no float, and not their own dtype
        least, most = np.minimum(a, b), np.maximum(a, b)
        return (most.astype(np.uint64) - least.astype(np.uint64)).astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        found = np.abs(a.astype(np.float64) - b.astype(np.float64))
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return np.where(same, 0.0, np.where(np.isnan(found), np.inf, found))


def largest(error: np.ndarray, where: np.ndarray) -> Largest:
    """The largest error among the marked outputs."""
    marked = np.where(where, error, -1.0)
    place = np.unravel_index(int(np.argmax(marked)), marked.shape)
    return Largest(float(marked[place]), tuple(int(i) for i in place))


def ends(line: np.ndarray) -> tuple[int, int]:
    """(before, after): how many at each end of a line are not marked."""
    marked = np.flatnonzero(line)
    return (int(marked[0]), len(line) - 1 - int(marked[-1])) if len(marked) else (len(line), 0)
