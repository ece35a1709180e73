"""Small patches all over an image, and their cosine components.

A patch (8 x 8; 4 x 4 x 4 in stacks; 16 along lines) is turned into its orthonormal cosine components, in which white
noise stays white. They are sorted by their gain under the mixed second difference, prod_i (2 - 2 cos w_i), the finest
first, and form three groups: `finest` (a quarter), `check` (the next 3 / 16) and `rest`, which is without the mean and
the slopes. Patches of one value, or with many pixels at a value where the image is clipped, are left out.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

_LENGTHS = {1: 16, 2: 8}  # of a patch, by the number of axes; 4 in stacks: 64 components, or 16
_ENOUGH, _MOST = 8192, 32768  # patches: more phases of the grid of patches are taken up to the first
_PHASES = (3, 0, 6, 2, 5, 7, 1, 4)  # not 0 first: the blocks of a JPEG begin there
_CLIPPED = 1 / 32  # share of a patch's pixels at the image's least or greatest value that spoils it


@dataclass(frozen=True, eq=False)
class Patches:
    """Means [n] of the patches and mean squares of the three groups of components, [n] each; components [n, k].

    quantum: the step of which all values are whole multiples, 0 if there is none.
    """

    means: np.ndarray
    finest: np.ndarray
    check: np.ndarray
    rest: np.ndarray
    components: np.ndarray
    dof: tuple[int, int]  # of finest and check
    quantum: float
    overlap: float  # how many patches share a pixel


def gather(y: np.ndarray, valid: np.ndarray | None) -> Patches | None:
    """The components of patches all over y; None where no patch has what measures."""
    sides = [min(_LENGTHS.get(y.ndim - 1, 4), n) for n in y.shape[1:]]
    spoilt = _clipped(y)
    kept: list[np.ndarray] = []
    for phase in _phases(y.shape[1:], sides):
        cut, ends = _cut(y, sides, phase), _cut(spoilt, sides, phase)
        good = (cut != cut[:, :1]).any(axis=1)
        if valid is not None:
            good &= _cut(valid, sides, phase).all(axis=1)
        clear = good & (ends.mean(axis=1) <= _CLIPPED)
        kept.append(cut[clear if 10 * clear.sum() > good.sum() else good].astype(np.float64))
        if sum(map(len, kept)) >= _ENOUGH:
            break
    values = np.concatenate(kept)
    if len(values) > _MOST:
        values = values[:: -(-len(values) // _MOST)]
    cosines, groups = _basis(tuple(sides))
    if not len(values) or not groups[0]:
        return None
    means = values.mean(axis=1)
    components = (values - means[:, None]) @ cosines.T
    finest, check, rest = (np.square(components[:, start:stop]).mean(axis=1) for start, stop in _spans(groups))
    return Patches(means, finest, check, rest, components, groups[:2], _quantum(values), max(len(kept) / 2, 1.0))


def _clipped(y: np.ndarray) -> np.ndarray:
    """Which values lie on an end where far more pile up than next to it."""
    out = np.zeros(y.shape, bool)
    low, high = y.min(), y.max()
    for end, start, nearest in ((low, high, np.minimum), (high, low, np.maximum)):
        at = y == end
        beside = nearest.reduce(y, axis=None, initial=start, where=~at)
        if np.count_nonzero(at) > 3 * np.count_nonzero(y == beside):
            out |= at
    return out


def _phases(shape: Sequence[int], sides: Sequence[int]) -> Iterator[list[int]]:
    """First pixels of the grids of patches, shifted alike along all axes."""
    seen = []
    for shift in _PHASES:
        first = [min(shift % side, n - side) for n, side in zip(shape, sides, strict=True)]
        if first not in seen:
            seen.append(first)
            yield first


def _cut(y: np.ndarray, sides: Sequence[int], first: Sequence[int]) -> np.ndarray:
    """The patches of y [c, *spatial] on the grid that begins at `first`, [n, pixels]; every k-th of very many."""
    counts = [(n - f) // s for n, f, s in zip(y.shape[1:], first, sides, strict=True)]
    inside = tuple(slice(f, f + m * s) for f, m, s in zip(first, counts, sides, strict=True))
    shape = [len(y)] + [length for pair in zip(counts, sides, strict=True) for length in pair]
    ndim = len(sides)
    order = [0, *range(1, 2 * ndim, 2), *range(2, 2 * ndim + 1, 2)]
    grid = y[(slice(None), *inside)].reshape(shape).transpose(order)
    step = max(1, math.isqrt(len(y) * math.prod(counts) // _MOST))
    along = tuple(slice(None, None, step) if m > 4 * step else slice(None) for m in counts[-2:])
    grid = grid[(slice(None),) * (1 + ndim - len(along)) + along]
    return grid.reshape(-1, math.prod(sides))


@functools.lru_cache(8)
def _basis(sides: tuple[int, ...]) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Cosine components of a patch, [k, pixels], by falling gain of the mixed second difference, without the mean and
    the slopes; and how many of them measure, check and select."""
    rows: np.ndarray = np.ones((1, 1))
    gain, degree = np.ones(1), np.zeros(1, int)
    for n in sides:
        k = np.arange(n)
        axis = np.cos(np.pi * (np.arange(n) + 0.5) * k[:, None] / n) * math.sqrt(2 / n)
        axis[0] = math.sqrt(1 / n)
        rows = np.kron(rows, axis)
        gain = np.kron(gain, 2 - 2 * np.cos(np.pi * k / n) if n > 1 else np.ones(1))
        degree = (degree[:, None] + k).ravel()
    order = [i for i in np.argsort(-gain, kind="stable") if degree[i] > 1]
    finest = min(max(len(rows) // 4, 1), len(order))
    check = min(3 * len(rows) // 16, len(order) - finest)
    return rows[order], (finest, check, len(order) - finest - check)


def _spans(groups: Sequence[int]) -> list[tuple[int, int]]:
    ends = np.cumsum([0, *groups])
    return [(int(a), int(b)) if b > a else (0, 1) for a, b in itertools.pairwise(ends)]


def _quantum(values: np.ndarray) -> float:
    """The step of which all values are whole multiples, such as a count; 0 where there is none."""
    drawn = np.unique(values.ravel()[:: max(values.size // 65536, 1)])
    gaps = np.diff(drawn)
    if not gaps.size or gaps.min() < np.finfo(np.float64).eps * np.ptp(drawn):  # more steps than can be told apart
        return 0.0
    step = float(np.ptp(drawn) / np.round(gaps / gaps.min()).sum())
    multiples = drawn / step
    return step if np.abs(multiples - np.round(multiples)).max() < 1e-2 else 0.0
