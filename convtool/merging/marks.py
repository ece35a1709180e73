"""Marks: which outputs differ, for images of any size, in the memory that a small one takes.

Far from the frame every output is like its neighbours. So a mask of a large image is the mask of a small one, in which
one row in the middle of each axis stands for many; how many are marked, and how near to the border, is read off the
small one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True, eq=False)
class Marks:
    """A mask whose row `middle` of each axis stands for `copies` of it.

    small: bool, the mask with every row once
    are_rows: whether chain and merge differ for the image's sake, not only in their constants (the biases)
    """

    small: np.ndarray
    middle: tuple[int, ...]
    copies: tuple[int, ...]
    are_rows: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """Outputs along each axis."""
        return tuple(n - 1 + many for n, many in zip(self.small.shape, self.copies, strict=True))

    @cached_property
    def is_empty(self) -> bool:
        """Whether nothing is marked."""
        return not self.small.any()

    @cached_property
    def count(self) -> int:
        """How many outputs are marked."""
        found = self.small.astype(np.int64)
        for axis in range(found.ndim):
            found = np.tensordot(self._repeats(axis), found, 1)
        return int(found)

    @cached_property
    def border(self) -> tuple[tuple[int, int], ...]:
        """(before, after) for each axis: a frame that holds everything marked, no side of which could be thinner."""
        frame = []
        for axis, (before, after) in enumerate(border(self.small)):
            repeats = self._repeats(axis)
            frame.append((int(repeats[:before].sum()), int(repeats[len(repeats) - after :].sum())))
        return tuple(frame)

    def expanded(self) -> np.ndarray:
        """The whole mask, bool [*shape]."""
        mask = self.small
        for axis in range(mask.ndim):
            mask = np.repeat(mask, self._repeats(axis), axis)
        return mask

    def _repeats(self, axis: int) -> np.ndarray:
        """For each row of the small mask, how many it stands for."""
        rows = np.arange(self.small.shape[axis])
        return np.where(rows == self.middle[axis], self.copies[axis], 1)


def border(mask: np.ndarray) -> tuple[tuple[int, int], ...]:
    """(before, after) for each axis: a frame that holds everything marked, no side of which could be thinner."""
    box = _unmarked(mask)
    return _frame_of(mask) if box is None else box


def _unmarked(mask: np.ndarray) -> tuple[tuple[int, int], ...] | None:
    """The frame around everything that is not marked, where nothing inside is; None where marks lie scattered."""
    others = [tuple(a for a in range(mask.ndim) if a != axis) for axis in range(mask.ndim)]
    free = [np.flatnonzero(~mask.all(axis=rest)) for rest in others]
    if not len(free[0]):
        return None
    frame = tuple((int(f[0]), n - 1 - int(f[-1])) for f, n in zip(free, mask.shape, strict=True))
    return None if _inside(mask, frame).any() else frame


def _frame_of(mask: np.ndarray) -> tuple[tuple[int, int], ...]:
    """A frame that holds scattered marks."""
    middle = [n // 2 for n in mask.shape]
    # Slabs along a whole axis are seen on the lines through the middle; marks in the corners follow.
    lines = [mask[(*middle[:axis], slice(None), *middle[axis + 1 :])] for axis in range(mask.ndim)]
    frame = [list(_ends(line)) for line in lines]
    while len(marks := np.argwhere(_inside(mask, frame))):
        widths = np.array(frame)
        gaps = np.stack([marks[0] + 1, np.array(mask.shape) - widths.sum(axis=1) - marks[0]], axis=1)
        axis, side = divmod(int(np.argmin(gaps)), 2)
        frame[axis][side] += int(gaps[axis, side])
    for axis, side in np.ndindex(mask.ndim, 2):
        while frame[axis][side] and not _inside(mask, _thinner(frame, axis, side)).any():
            frame = _thinner(frame, axis, side)
    return tuple((before, after) for before, after in frame)


def _inside(mask: np.ndarray, frame: Sequence[Sequence[int]]) -> np.ndarray:
    return mask[tuple(slice(a, max(a, n - b)) for n, (a, b) in zip(mask.shape, frame, strict=True))]


def _thinner(frame: list[list[int]], axis: int, side: int) -> list[list[int]]:
    return [[w - ((a, s) == (axis, side)) for s, w in enumerate(pair)] for a, pair in enumerate(frame)]


def _ends(line: np.ndarray) -> tuple[int, int]:
    """Marks at the start and at the end of a line, up to the unmarked stretch around its middle."""
    middle = len(line) // 2
    before = np.flatnonzero(line[: middle + 1])
    after = np.flatnonzero(line[middle + 1 :])
    return (int(before[-1]) + 1 if len(before) else 0), (len(line) - middle - 1 - int(after[0]) if len(after) else 0)
