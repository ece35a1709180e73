"""Merging: one kernel that does what several in a row do, where that is possible, and where it is not.

Both layers as correlations with windows w1 [m, i], w2 [o, m] (convolutions: every kernel flipped, before and after):

    y1[j] = sum_m w1[m] x(j s1 - p1 + m d1) + b1             j = 0 .. c1 - 1
    y2[k] = sum_n w2[n] y1(k s2 - p2 + n d2) + b2
          = sum_n sum_m w2[n] w1[m] x(k s1 s2 - (p1 + s1 p2) + n s1 d2 + m d1) + (b2 + sum_n w2[n] b1)

so the merge has

    taps       w = (w1 spread by d1) * (w2 spread by s1 d2), channels contracted;   extent (n1-1) d1 + (n2-1) s1 d2 + 1
    stride     s1 s2            padding    p1 + s1 p2, before and after
    dilation   1                origin     o1 d1 + s1 d2 o2
    groups     gcd(g1, g2)      bias       b2 + sum w2 b1

and as many outputs as the chain, since floor(floor(a / s1) / s2) = floor(a / (s1 s2)). The last line of y2 replaces
y1(j) by its formula, which holds for the outputs j = 0 .. c1-1 that exist. Where the second kernel reads j outside
them, the chain takes what the boundary makes of y1, and the merge what the first kernel makes of the boundary of x.
They agree

    whatever came first, where p2 = 0: nothing outside is read;
    zero boundary, s1 = 1, p1 >= d1 (n1 - 1), b1 = 0: a window further out reads no sample of x, so y1 would be 0 there;
    periodic boundary, s1 = 1, c1 = n (or s1 c1 = n): both continue with the period n;
    any boundary, where the first kernel has one tap along the axis, s1 = 1, p1 = 0 (zero boundary: b1 = 0);
    wherever else the taps happen to cancel, such as symmetric kernels under the symmetric boundary.

Which outputs differ is in `convtool.merging.exactness`: row k of (chain - merge) is zero or not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np

from convtool import linear, model
from convtool.axes import Arrangement
from convtool.errors import SettingError
from convtool.merging import exactness, layers
from convtool.merging.layers import Layer, Stage
from convtool.merging.products import product


@dataclass(frozen=True, eq=False)
class Verification:
    """Chain and merge on one image: largest differences anywhere and where none is expected; largest |output|."""

    max_abs: float
    max_abs_inside: float
    peak: float


@dataclass(frozen=True, eq=False)
class Merged:
    """The merge of a chain; `layer` holds its kernel and settings, `operation` and `boundary` are the chain's."""

    layer: Layer
    operation: str
    boundary: str
    chain: tuple[Stage, ...]
    stage: Stage

    def differing(self, grid: Sequence[int]) -> np.ndarray:
        """Bool [*outputs]: where chain and merge differ for a generic image with these spatial lengths."""
        return exactness.differing(self.chain, self.stage, grid)

    def border(self, grid: Sequence[int]) -> tuple[tuple[int, int], ...]:
        """(before, after) for each spatial axis: the frame of outputs that holds all differing ones."""
        return exactness.border(self.differing(grid))

    def is_exact(self, grid: Sequence[int] | None = None) -> bool:
        """Whether no output differs, on this grid, or on all grids that the kernels fit into several times."""
        if self._rules is not None:
            return True
        return self._agrees_everywhere if grid is None else not self.differing(grid).any()

    def explain(self, grid: Sequence[int] | None = None) -> str:
        """One sentence: why the merge is exact, or what differs."""
        if self._rules is not None:
            return f"exact: {self._rules}"
        where = "on images of every size" if grid is None else "on images of this size"
        if self.is_exact(grid):
            return f"exact {where}: what the later kernels read outside the earlier outputs agrees for these taps"
        return f"not exact: {exactness.obstacle(self._firsts, self.chain)}"

    @cached_property
    def _rules(self) -> str | None:
        return exactness.rule(self._firsts, self.chain)

    @cached_property
    def _firsts(self) -> list[Stage]:
        """The merge of everything before the second, third, ... kernel."""
        firsts = [self.chain[0]]
        for stage in self.chain[1:-1]:
            firsts.append(product(firsts[-1], stage))
        return firsts

    @cached_property
    def _agrees_everywhere(self) -> bool:
        return not any(self.differing(grid).any() for grid in exactness.typical_grids(self.chain, self.stage))

    @property
    def channels(self) -> int:
        """Channels of the images that the chain takes; 1 where any number will do."""
        return layers.channels(self.chain)[0]

    @property
    def chain_cost(self) -> float:
        """Multiply-adds of the chain per output position of its end, all channels, non-zero taps counted."""
        counts = layers.channels(self.chain)
        strides = [math.prod(stage.stride) for stage in self.chain]
        return float(
            sum(
                _cost(s, c) * math.prod(strides[i + 1 :])
                for i, (s, c) in enumerate(zip(self.chain, counts, strict=True))
            )
        )

    @property
    def merged_cost(self) -> float:
        """Multiply-adds of the merge per output position, all channels, non-zero taps counted."""
        return float(_cost(self.stage, self.channels))

    def apply(self, x: np.ndarray, axes: str | None = None) -> np.ndarray:
        """The merged layer's result on x."""
        return _applied([self.stage], x, axes)

    def apply_chain(self, x: np.ndarray, axes: str | None = None) -> np.ndarray:
        """The chain's result on x."""
        return _applied(self.chain, x, axes)

    def verify(self, x: np.ndarray, axes: str | None = None) -> Verification:
        """Run both on an image and compare."""
        x = np.asarray(x)
        built = _model(self.stage, x, axes)
        chained, merged = self.apply_chain(x, axes), self.apply(x, axes)
        difference = np.abs(_canonical(built, chained).astype(np.float64) - _canonical(built, merged))
        inside = difference[..., ~self.differing(built.arrangement.grid)]
        return Verification(float(difference.max()), float(inside.max(initial=0.0)), float(np.abs(merged).max()))


def merge_kernels(chain: Sequence[Layer], *, operation: str = "convolve", boundary: str = "periodic") -> Merged:
    """One kernel for several in a row: k = (k1 spread by d1) * (k2 spread by s1 d2), and where it does the same.

    Parameters
    ----------
    chain: two `Layer`s or more, in the order in which they are applied; their channels contract
    operation: "convolve" or "correlate", of all of them
    boundary: of all of them, as in `convtool.convolve`

    Raises
    ------
    convtool.errors.SettingError, convtool.errors.DataError

    Example
    -------
    >>> import numpy as np, convtool
    >>> box = np.ones((1, 2))
    >>> merged = convtool.merge_kernels([convtool.Layer(box, padding="valid"), convtool.Layer(box, padding="valid")])
    >>> merged.layer.kernel
    array([[1., 2., 1.]])
    >>> merged.is_exact()
    True
    """
    if len(chain) < 2:
        raise SettingError(f"merging takes two kernels or more, got {len(chain)}")
    stages = layers.stages(chain, operation, boundary)
    layers.channels(stages)
    merged = reduce(product, stages)
    return Merged(_layer(merged), operation, boundary, tuple(stages), merged)


def _layer(stage: Stage) -> Layer:
    return Layer(
        stage.array,
        kernel_axes=stage.axes,
        stride=stage.stride,
        padding=stage.padding if stage.word is None else stage.word,
        dilation=stage.dilation,
        origin=stage.kernel.origin,
        groups=stage.groups if stage.kind == "OI" else 1,
        bias=stage.bias,
    )


def _cost(stage: Stage, channels: int) -> int:
    """Multiply-adds of a stage per position of its output."""
    return int(np.count_nonzero(stage.kernel.taps)) * (channels if stage.is_shared else 1)


def _model(stage: Stage, x: np.ndarray, axes: str | None) -> model.Model:
    return model.build(
        x,
        stage.array,
        axes=axes,
        kernel_axes=stage.axes,
        origin=stage.kernel.origin,
        boundary=stage.boundary,
        padding=stage.padding,
        stride=stage.stride,
        dilation=stage.dilation,
        groups=stage.groups if stage.kind == "OI" else 1,
        operation=stage.operation,
    )


def _applied(chain: Sequence[Stage], x: np.ndarray, axes: str | None) -> np.ndarray:
    for stage in chain:
        built = _model(stage, x, axes)
        x, axes = linear.apply(built, x, stage.bias), built.output_axes
    return x


def _canonical(built: model.Model, y: np.ndarray) -> np.ndarray:
    """A result as [n, c_out, *outputs]."""
    return Arrangement(built.output_axes, y.shape, built.arrangement.spatial).canonical(y).astype(np.float64)
