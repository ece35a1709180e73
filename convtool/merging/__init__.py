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

The rules, and one for mirrors, are in `convtool.merging.rules`; which outputs differ elsewhere is computed in
`convtool.merging.exactness`: row k of (chain - merge) is zero or not.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np

from convtool import linear, model
from convtool.axes import Arrangement
from convtool.errors import SettingError
from convtool.merging import costs, layers, rules
from convtool.merging.costs import Prediction
from convtool.merging.exactness import Comparison, Scope
from convtool.merging.layers import Layer, Stage
from convtool.merging.marks import Marks
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
        return self.marks(grid).expanded()

    def border(self, grid: Sequence[int]) -> tuple[tuple[int, int], ...]:
        """(before, after) for each spatial axis: the frame of outputs that holds all differing ones."""
        return self.marks(grid).border

    def marks(self, grid: Sequence[int]) -> Marks:
        """What `differing` says, in little memory whatever the grid; raises SettingError and DataError."""
        return self._comparison.marks(grid)

    @property
    def scope(self) -> Scope | None:
        """The grids on which no output differs: those from some least lengths on; None where large ones differ too.

        Raises SettingError where no rule says so and the kernels are too large to try.
        """
        return self._comparison.scope

    def is_exact(self, grid: Sequence[int] | None = None) -> bool:
        """Whether no output differs, on this grid, or on all that are as large as `scope` says."""
        if grid is None:
            return self.scope is not None
        return self.marks(grid).is_empty

    def explain(self, grid: Sequence[int] | None = None) -> str:
        """One sentence: why the merge is exact, or what differs."""
        rule = self._comparison.rule
        if self.is_exact(grid):
            if rule is not None:
                return f"exact: {rule}"
            where = "on images of this size" if grid is not None else self._where
            return f"exact {where}: what the later kernels read outside the earlier outputs agrees for these taps"
        is_bias = self._comparison.is_bias if grid is None else not self.marks(grid).are_rows
        obstacle = rules.obstacle(self._comparison.firsts, self.chain, is_bias)
        return f"not exact: {obstacle}" + ("" if grid is None else f"; {self._places(self.marks(grid))}")

    @property
    def _where(self) -> str:
        if self.scope is None or self.scope.is_all:
            return "on images of every size"
        least = ",".join(map(str, self.scope.least))
        smaller = "not on all smaller ones" if self.scope.is_tried else "smaller ones were not tried"
        return f"on images of at least {least} pixels ({self.stage.spatial}; {smaller})"

    def _places(self, marks: Marks) -> str:
        total = math.prod(marks.shape)
        if marks.count == total:
            return f"all {total} outputs differ" if total > 1 else "the one output differs"
        widths = [f"{a}:{b} ({axis})" for (a, b), axis in zip(marks.border, self.stage.spatial, strict=True)]
        return f"the outputs that differ lie within {' and '.join(widths)} of the border"

    def before(self, number: int) -> Stage:
        """The merge of the first `number` kernels of the chain, one at least and not all of them."""
        return self._comparison.firsts[number - 1]

    @cached_property
    def _comparison(self) -> Comparison:
        firsts = itertools.accumulate(self.chain[:-1], product)
        return Comparison(self.chain, self.stage, tuple(firsts))

    @property
    def channels(self) -> int:
        """Channels of the images that the chain takes; 1 where any number will do."""
        return layers.channels(self.chain)[0]

    @property
    def chain_cost(self) -> float:
        """Multiply-adds of the chain per output position of its end, all channels, non-zero taps counted."""
        return costs.multiply_adds(self.chain)

    @property
    def merged_cost(self) -> float:
        """Multiply-adds of the merge per output position, all channels, non-zero taps counted."""
        return costs.multiply_adds([self.stage])

    def predicted(self, grid: Sequence[int]) -> tuple[Prediction, Prediction]:
        """What the engines are predicted to take on one image with these lengths: for the chain, and for the merge."""
        return costs.predicted(self.chain, grid, self.channels), costs.predicted([self.stage], grid, self.channels)

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


def merge_kernels(
    chain: Iterable[Layer | np.ndarray], *, operation: str = "convolve", boundary: str = "periodic"
) -> Merged:
    """One kernel for several in a row: k = (k1 spread by d1) * (k2 spread by s1 d2), and where it does the same.

    Parameters
    ----------
    chain: two `Layer`s or more, in the order in which they are applied; their channels contract. An array is a `Layer`
        with nothing but a kernel
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
    given = _layers(chain)
    stages = layers.stages(given, operation, boundary)
    layers.channels(stages)
    merged = reduce(product, stages)
    return Merged(_layer(merged), operation, boundary, tuple(stages), merged)


def _layers(chain: Iterable[Layer | np.ndarray]) -> list[Layer]:
    """The chain as layers; raises SettingError where it is none."""
    if isinstance(chain, Layer | np.ndarray | str) or not isinstance(chain, Iterable):
        raise SettingError(f"merging takes a list of two kernels or more, got one {type(chain).__name__}")
    found = [item if isinstance(item, Layer) else Layer(item) for item in chain]
    if len(found) < 2:
        raise SettingError(f"merging takes two kernels or more, got {len(found)}")
    return found


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
