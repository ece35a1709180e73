"""Where a merged kernel and the chain it stands for differ: rows of (chain - merge) that are not zero.

Both are affine maps of the image, chain(x) = C x + c and merge(x) = M x + m. Output k differs for a generic image when
row k of C - M is not zero, or c[k] != m[k]. Rows are not built: a row r is zero when r.x = 0 for x drawn at random, but
for a chance of 1 / |values drawn| (Schwartz 1980, doi:10.1145/322217.322225); two draws out of 2^17 integers leave
2^-34. Sums of integer taps are exact; for others, differences up to the rounding of the sums, n eps sum |w| |x|, count
as zero. Kernels are brought to the scale of 1 before, by powers of two, so that their scale does not matter; the
constants, c = C 0, are looked at by themselves.

Only outputs near the frame can differ, and what happens there depends on the grid's length n through n mod s alone, as
soon as both ends are apart. So a mask is computed on the smallest such grid, and its middle repeated.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from convtool.axes import spelled
from convtool.errors import SettingError
from convtool.kernel import Kernel
from convtool.merging import layers
from convtool.merging.layers import Stage, power_of_two

_DRAWS, _LARGEST = 2, 1 << 16
_DIRECT = 1 << 27  # taps x samples up to which sums are taken one by one, with rounding that stays where it arises
_MOST_SAMPLES = 1 << 25  # of an image that is tried
_MOST_GRIDS = 64  # residues of the grid's lengths that are all tried; above, lengths move together


def differing(chain: Sequence[Stage], merged: Stage, grid: Sequence[int]) -> np.ndarray:
    """Bool [*outputs] of the merge on this grid: where the chain gives something else for a generic image.

    Raises SettingError for a grid that is none, DataError when the kernels do not fit into it.
    """
    if len(grid) != len(merged.spatial) or min(grid) < 1:
        raise SettingError(
            f"the image's size {spelled(grid)} does not fit: give {len(merged.spatial)} lengths, for {merged.spatial}"
        )
    small = [min(n, _apart(chain, merged, axis, n)) for axis, n in enumerate(grid)]
    mask = _probed(chain, merged, small)
    for axis, (n, less) in enumerate(zip(grid, small, strict=True)):
        stride = merged.stride[axis]
        middle = (merged.padding[axis][0] + (less - merged.span[axis]) // 2) // stride
        copies = np.where(np.arange(mask.shape[axis]) == min(middle, mask.shape[axis] - 1), 1 + (n - less) // stride, 1)
        mask = np.repeat(mask, copies, axis)
    return mask


def typical_grids(chain: Sequence[Stage], merged: Stage) -> list[tuple[int, ...]]:
    """Grids that stand for all large ones: one for each residue of the lengths by the merged stride.

    Raises SettingError where the kernels are so large that these would take gigabytes.
    """
    lengths = [[_apart(chain, merged, axis, r) for r in range(s)] for axis, s in enumerate(merged.stride)]
    if math.prod(max(each) for each in lengths) * layers.channels(chain)[0] > _MOST_SAMPLES:
        raise SettingError(
            f"no rule says whether kernels that span {spelled([n + 1 for n in merged.span])} pixels together merge"
            " exactly for images of every size, and they are too large to try: say --image-shape (a grid in Python)"
        )
    if math.prod(merged.stride) <= _MOST_GRIDS:
        return list(itertools.product(*lengths))
    longest = max(merged.stride)
    return [tuple(each[i % len(each)] for each in lengths) for i in range(longest)]


def _apart(chain: Sequence[Stage], merged: Stage, axis: int, n: int) -> int:
    """The smallest length, equal to n modulo the stride, at which the two ends do not see each other."""
    stride, span = merged.stride[axis], merged.span[axis]
    steps = [1, *itertools.accumulate((stage.stride[axis] for stage in chain), lambda a, b: a * b)]
    margins = sum(s * sum(stage.padding[axis]) for s, stage in zip(steps, chain, strict=False))
    least = 2 * margins + 3 * span + 4 * stride * len(chain) + 2
    return least + (n - least) % stride


def _probed(chain: Sequence[Stage], merged: Stage, grid: Sequence[int]) -> np.ndarray:
    counts = layers.channels(chain)
    random = np.random.default_rng(20)
    shape = (_DRAWS, counts[0], *grid)
    draws = random.integers(1, _LARGEST, shape) * random.choice([-1.0, 1.0], shape)
    found = _differ(*_linear(chain, merged), counts, draws)
    if any(stage.bias is not None for stage in chain):
        found = found | _differ(*_constant(chain, merged), counts, np.zeros((1, *shape[1:])))
    return found


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


def rule(firsts: Sequence[Stage], chain: Sequence[Stage]) -> str | None:
    """Why the merge is exact on every grid, from the settings alone; None where they do not say.

    firsts: the merges of everything before the second, third, ... stage
    """
    reasons: dict[str, None] = {}
    for first, second in zip(firsts, chain[1:], strict=True):
        found = [_rule(first, second, axis) for axis in range(len(second.stride))]
        if None in found:
            return None
        reasons |= dict.fromkeys(reason for reason in found if reason)
    return "; ".join(reasons)


def _rule(first: Stage, second: Stage, axis: int) -> str | None:
    """The rules of `convtool.merging`, for one axis."""
    pads, span = first.padding[axis], first.span[axis]
    if second.padding[axis] == (0, 0):
        return "without padding, the later kernel reads nothing outside the earlier output"
    if first.stride[axis] == 1 and (*pads, span) == (0, 0, 0) and not (first.boundary == "zero" and _has_bias(first)):
        return "along an axis where the earlier kernel has one tap, the order does not matter"
    if first.stride[axis] == 1 and first.boundary == "zero" and min(pads) >= span and not _has_bias(first):
        return "with stride 1 and this much padding, the earlier output is zero wherever it ends"
    if first.stride[axis] == 1 and first.boundary == "periodic" and sum(pads) == span:
        return "periodic, with stride 1 and an earlier output as large as the image"
    return None


def _has_bias(stage: Stage) -> bool:
    return stage.bias is not None and bool(stage.bias.any())


def obstacle(firsts: Sequence[Stage], chain: Sequence[Stage]) -> str:
    """What keeps the merge from being exact by a rule, in words."""
    for number, (first, second) in enumerate(zip(firsts, chain[1:], strict=True), 2):
        failing = [axis for axis in range(len(second.stride)) if _rule(first, second, axis) is None]
        if failing:
            pads = ",".join(f"{before}:{after}" for before, after in second.padding)
            seen = "zeros" if first.boundary == "zero" else f"its {first.boundary} continuation"
            return (
                f"kernel {number} (padding {pads}) reads outside the output before it: the chain sees {seen} there, the"
                " merge what the image has there"
            )
    return "the kernels meet at the border in a way that no rule covers"
