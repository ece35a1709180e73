"""Where a merged kernel and the chain it stands for differ: rows of (chain - merge) that are not zero.

Both are affine maps of the image, chain(x) = C x + c and merge(x) = M x + m. Output k differs for a generic image when
row k of C - M is not zero, or c[k] != m[k]. Rows are not built: a row r is zero when r.x = 0 for x drawn at random, but
for a chance of 1 / |values drawn| (Schwartz 1980, doi:10.1145/322217.322225); two draws out of 2^17 integers leave
2^-34. Sums of integer taps are exact; for others, differences up to the rounding of the sums, n eps sum |w| |x|, count
as zero. Kernels are brought to the scale of 1 before, by powers of two, so that their scale does not matter; the
constants, c = C 0, are looked at by themselves.

Only outputs near the frame can differ, and what happens there depends on the grid's length n through n mod s alone, as
soon as both ends are apart. So a mask is computed on the smallest such grid, and its middle repeated (`marks`).

That makes "on every grid" a finite question: the grids with both ends apart, one for each n mod s, and all smaller
ones. Along an axis where a rule holds for any taps, one long grid answers it: there C and M are the same sums of

    w2[n] w1[m]  (shift by n s1 d2 + m d1 along this axis)  x  (what happens along the others)

and no two shifts meet in the middle of a long axis, so what cancels there cancels at every length.
"""

from __future__ import annotations

import itertools
import math
import numbers
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from convtool.axes import spelled
from convtool.errors import DataError, SettingError
from convtool.kernel import Kernel
from convtool.merging import layers, rules
from convtool.merging.layers import Stage, power_of_two
from convtool.merging.marks import Marks

_DRAWS, _LARGEST = 2, 1 << 16
_DIRECT = 1 << 27  # taps x samples up to which sums are taken one by one, with rounding that stays where it arises
_MOST_SAMPLES = 1 << 25  # of an image that is tried
_MOST_PIXELS = 1 << 40  # of an image that may be asked about
_MOST_GRIDS = 64  # residues of the grid's lengths that are all tried; above, lengths move together
_MOST_SMALL_GRIDS = 1024  # that are all tried, at about a millisecond each
_MOST_PRODUCTS = 1 << 28  # taps x samples of them together


@dataclass(frozen=True)
class Scope:
    """The grids on which a merge is exact: those with at least these lengths; and whether smaller ones were tried."""

    least: tuple[int, ...]
    is_tried: bool

    @property
    def is_all(self) -> bool:
        """Whether that is every grid."""
        return set(self.least) == {1}


@dataclass(frozen=True, eq=False)
class Comparison:
    """Chain and merge on images of any size; every small grid is tried once.

    firsts: the merges of everything before the second, third, ... stage
    """

    chain: tuple[Stage, ...]
    merged: Stage
    firsts: tuple[Stage, ...]
    _tried: dict[tuple[int, ...], tuple[np.ndarray, bool]] = field(default_factory=dict, repr=False)

    @cached_property
    def rule(self) -> str | None:
        """Why the merge is exact on every grid, from the settings alone; None where they do not say."""
        return rules.exact(self.firsts, self.chain)

    def marks(self, grid: Sequence[int]) -> Marks:
        """The outputs of the merge on this grid for which the chain gives something else for a generic image.

        Raises SettingError for a grid that is none, DataError when the kernels do not fit into it.
        """
        lengths = self._checked(grid)
        small = tuple(min(n, self._apart(axis, n)) for axis, n in enumerate(lengths))
        if small not in self._tried:
            self._tried[small] = _probed(self.chain, self.merged, small)
        mask, are_rows = self._tried[small]
        middle, copies = [], []
        for axis, (n, less) in enumerate(zip(lengths, small, strict=True)):
            stride = self.merged.stride[axis]
            row = (self.merged.padding[axis][0] + (less - self.merged.span[axis]) // 2) // stride
            middle.append(min(row, mask.shape[axis] - 1))
            copies.append(1 + (n - less) // stride)
        return Marks(mask, tuple(middle), tuple(copies), are_rows)

    @cached_property
    def scope(self) -> Scope | None:
        """The grids on which the merge is exact; None where even large ones differ.

        Raises SettingError where the kernels are so large that trying would take gigabytes.
        """
        if self.rule is not None:
            return Scope((1,) * len(self.merged.span), True)
        if not all(self.marks(grid).is_empty for grid in self._large_grids()):
            return None
        lengths = self._lengths
        if not self._is_cheap(lengths):
            return Scope(tuple(1 if len(each) == 1 else each[-stride] for each, stride in self._steps), False)
        differs = np.zeros([len(each) for each in lengths], bool)
        for index in np.ndindex(differs.shape):
            differs[index] = self._differs([each[i] for each, i in zip(lengths, index, strict=True)])
        least = _threshold(differs)
        return None if least is None else Scope(least, True)

    @cached_property
    def is_bias(self) -> bool:
        """Whether on large grids nothing differs but the constants."""
        return not any(self.marks(grid).are_rows for grid in self._large_grids())

    @property
    def _steps(self) -> Iterable[tuple[range, int]]:
        return zip(self._lengths, self.merged.stride, strict=True)

    @cached_property
    def _lengths(self) -> list[range]:
        """The lengths along each axis that stand for all: one where a rule holds, else 1, 2, ... to the long ones."""
        free = rules.open_axes(self.firsts, self.chain)
        longest = [self._apart(axis, 0) for axis in range(len(self.merged.span))]
        ends = [max(self._apart(axis, r) for r in range(s)) + 1 for axis, s in enumerate(self.merged.stride)]
        return [range(1, ends[axis]) if axis in free else range(n, n + 1) for axis, n in enumerate(longest)]

    def _large_grids(self) -> list[tuple[int, ...]]:
        """Grids that stand for all large ones: one for each residue of the lengths by the merged stride."""
        lengths = [each[-stride:] for each, stride in self._steps]
        if math.prod(each[-1] for each in lengths) * layers.channels(self.chain)[0] > _MOST_SAMPLES:
            raise SettingError(
                f"no rule says whether kernels that span {spelled([n + 1 for n in self.merged.span])} pixels together"
                " merge exactly for images of every size, and they are too large to try: say --image-shape (a grid in"
                " Python)"
            )
        if math.prod(map(len, lengths)) <= _MOST_GRIDS:
            return list(itertools.product(*lengths))
        return [tuple(each[i % len(each)] for each in lengths) for i in range(max(map(len, lengths)))]

    def _is_cheap(self, lengths: Sequence[range]) -> bool:
        taps = sum(stage.kernel.taps.size for stage in (*self.chain, self.merged))
        products = (
            math.prod(len(each) * (each[0] + each[-1]) // 2 for each in lengths)
            * _DRAWS
            * taps
            * layers.channels(self.chain)[0]
        )
        return math.prod(map(len, lengths)) <= _MOST_SMALL_GRIDS and products <= _MOST_PRODUCTS

    def _differs(self, grid: Sequence[int]) -> bool:
        """Whether anything differs on a grid; nothing does where the kernels do not fit."""
        try:
            return not self.marks(grid).is_empty
        except DataError:
            return False

    def _checked(self, grid: Sequence[int]) -> tuple[int, ...]:
        axes = self.merged.spatial
        found = tuple(grid) if isinstance(grid, Sequence | np.ndarray) and not isinstance(grid, str) else (grid,)
        whole = all(isinstance(n, numbers.Integral) and int(n) >= 1 for n in found)
        if len(found) != len(axes) or not whole:
            raise SettingError(
                f"the image's size {spelled(found)} does not fit: give {len(axes)} lengths, whole numbers, for {axes}"
            )
        if math.prod(map(int, found)) > _MOST_PIXELS:
            raise SettingError(f"no image has {spelled(found)} pixels: give the size of one")
        return tuple(map(int, found))

    def _apart(self, axis: int, n: int) -> int:
        """The smallest length, equal to n modulo the stride, at which the two ends do not see each other."""
        stride, span = self.merged.stride[axis], self.merged.span[axis]
        steps = [1, *itertools.accumulate((stage.stride[axis] for stage in self.chain), lambda a, b: a * b)]
        margins = sum(s * sum(stage.padding[axis]) for s, stage in zip(steps, self.chain, strict=False))
        least = 2 * margins + 3 * span + 4 * stride * len(self.chain) + 2
        return least + (n - least) % stride


def _threshold(differs: np.ndarray) -> tuple[int, ...] | None:
    """The least lengths, from 1 on, such that no grid with at least these differs; [i, j] is the grid i+1, j+1."""
    for axis in range(differs.ndim):
        differs = np.flip(np.logical_or.accumulate(np.flip(differs, axis), axis), axis)
    free = np.argwhere(~differs)
    return tuple(int(i) + 1 for i in free[np.argmin(free.sum(axis=1))]) if len(free) else None


def _probed(chain: Sequence[Stage], merged: Stage, grid: Sequence[int]) -> tuple[np.ndarray, bool]:
    """Bool [*outputs]: where chain and merge differ; and whether they do for the image's sake."""
    counts = layers.channels(chain)
    random = np.random.default_rng(20)
    shape = (_DRAWS, counts[0], *grid)
    draws = random.integers(1, _LARGEST, shape) * random.choice([-1.0, 1.0], shape)
    rows = _differ(*_linear(chain, merged), counts, draws)
    if all(stage.bias is None for stage in chain):
        return rows, bool(rows.any())
    return rows | _differ(*_constant(chain, merged), counts, np.zeros((1, *shape[1:]))), bool(rows.any())


def _differ(chain: Sequence[Stage], merged: Stage, counts: Sequence[int], x: np.ndarray) -> np.ndarray:
    """Bool [*outputs]: where chain and merge differ, by more than rounding, on one of the images x [n, c, *grid]."""
    samples = math.prod(x.shape[2:])
    is_small = sum(stage.kernel.taps.size for stage in (*chain, merged)) * samples <= _DIRECT
    rounding = _rounding(chain, counts) * (1.0 if is_small else math.log2(samples))
    difference = np.abs(_affine(chain, counts, x, is_small) - _affine([merged], counts, x, is_small))
    bound = _affine(list(map(_absolute, chain)), counts, np.abs(x), is_small)
    bound += _affine([_absolute(merged)], counts, np.abs(x), is_small)
    # Rounding in transforms spreads over the image.
    marks = np.asarray(difference > rounding * (bound if is_small else bound.max()))
    return np.asarray(marks.any(axis=(0, 1)))


def _rounding(chain: Sequence[Stage], counts: Sequence[int]) -> float:
    """The relative error of a sum of so many products, one after another."""
    terms = [math.prod(s.kernel.extent) * s.kernel.taps.shape[2] for s in chain]
    return (sum(terms) + 4 * len(counts)) * float(np.finfo(np.float64).eps)


def _affine(chain: Sequence[Stage], counts: Sequence[int], x: np.ndarray, is_small: bool) -> np.ndarray:
    """The chain, with its biases, on images [n, c, *grid]."""
    for stage, count in zip(chain, counts, strict=False):
        x = stage.operator(x.shape[2:], count, engine="direct" if is_small else "auto").forward(x)
        if stage.bias is not None:
            x = x + stage.bias.reshape(-1, *[1] * (x.ndim - 2))
    return x


def _linear(chain: Sequence[Stage], merged: Stage) -> tuple[list[Stage], Stage]:
    """The stages without biases, all taps near 1."""
    powers = _powers(chain)
    kernels = [_rescaled(s, s.kernel.taps, power, None) for s, power in zip(chain, powers, strict=True)]
    return kernels, _rescaled(merged, merged.kernel.taps, sum(powers), None)


def _constant(chain: Sequence[Stage], merged: Stage) -> tuple[list[Stage], Stage]:
    """The stages, all taps near 1, and the largest of what the biases become at the end near 1 too."""
    powers = _powers(chain)
    reached = list(itertools.accumulate(powers))
    sizes = [
        power_of_two(s.bias) - r for s, r in zip(chain, reached, strict=True) if s.bias is not None and s.bias.any()
    ]
    largest = max(sizes, default=0)
    stages = [
        _rescaled(s, s.kernel.taps, power, r + largest) for s, power, r in zip(chain, powers, reached, strict=True)
    ]
    return stages, _rescaled(merged, merged.kernel.taps, reached[-1], reached[-1] + largest)


def _powers(chain: Sequence[Stage]) -> list[int]:
    return [power_of_two(stage.kernel.taps) for stage in chain]


def _rescaled(stage: Stage, taps: np.ndarray, power: int, bias: int | None) -> Stage:
    """A stage with taps / 2^power and bias / 2^bias, or none."""
    offset = None if bias is None or stage.bias is None else np.ldexp(stage.bias, -bias)
    return replace(stage, kernel=Kernel(np.ldexp(taps, -power), stage.kernel.origin), bias=offset)


def _absolute(stage: Stage) -> Stage:
    kernel = Kernel(np.abs(stage.kernel.taps), stage.kernel.origin)
    return replace(stage, kernel=kernel, bias=None if stage.bias is None else np.abs(stage.bias))
