"""Steps: what an operation does to an image, and what its windows say about symmetry.

A step knows how to run, where its windows lie (`windows`: None where every output depends on every pixel), under which
flips and quarter turns it is symmetric, and how far rounding may carry its result: an error of e in its input becomes
at most gain e, and its own rounding adds to that (`convtool.equivariance.rounding`).
"""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np

from convtool import gradients, linear, model, pooling
from convtool.axes import Arrangement, spatial_of
from convtool.equivariance import rounding
from convtool.geometry import Geometry, resolve
from convtool.merging.layers import Layer
from convtool.pooling.geometry import Stride, Window

_SAME_TAP = 8 * np.finfo(np.float64).eps  # relative to the largest: generated kernels are symmetric to rounding


@dataclass(frozen=True, eq=False)
class Applied:
    """A step's result with its axes, by how much it amplifies errors, and what its own rounding adds.

    choice: logarithms of what a method chose from the data; sensitivity: by how much the result changes with them
    """

    y: np.ndarray
    axes: str
    gain: float
    rounding: float
    choice: tuple[float, ...] = ()
    sensitivity: float = 0.0


@dataclass(frozen=True)
class Move:
    """A flip or turn of the spatial axes: first `swapped` (Y and X), then `flipped`, as letters."""

    name: str
    swapped: bool
    flipped: str

    def __call__(self, x: np.ndarray, axes: str) -> np.ndarray:
        """The moved array."""
        out = x.swapaxes(axes.index("Y"), axes.index("X")) if self.swapped else x
        return np.flip(out, tuple(axes.index(letter) for letter in self.flipped if letter in axes))


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows along some axes; taps: on each axis, which of a window's samples count."""

    spatial: str
    geometry: Geometry
    taps: tuple[np.ndarray, ...]

    @classmethod
    def boxes(cls, spatial: str, geometry: Geometry) -> Windows:
        """Windows of which every sample counts."""
        return cls(spatial, geometry, tuple(np.arange(n) for n in geometry.extent))


class Step(abc.ABC):
    """One operation of a chain."""

    @abc.abstractmethod
    def apply(self, x: np.ndarray, axes: str) -> Applied:
        """The result on an image with these axes."""

    @abc.abstractmethod
    def windows(self, shape: Sequence[int], axes: str) -> Windows | None:
        """Where windows lie on an image of this shape; None where an output depends on everything."""

    @abc.abstractmethod
    def is_symmetric(self, move: Move, shape: Sequence[int], axes: str) -> bool:
        """Whether the operation is the same after the move, up to where its windows lie."""

    def placed(self, shape: Sequence[int], axes: str) -> Windows | None:
        """The windows whose place decides about flips."""
        return self.windows(shape, axes)


@final
@dataclass(frozen=True, eq=False)
class Convolve(Step):
    """Convolution or correlation with a `Layer`."""

    layer: Layer
    operation: str = "convolve"
    boundary: str = "periodic"

    def apply(self, x: np.ndarray, axes: str) -> Applied:
        built = self._model(x, axes)
        operator, bias = built.operator, self.layer.bias
        taps = operator.kernel.taps
        gain = float(np.abs(taps).sum(axis=tuple(range(2, taps.ndim))).max())
        size = gain * rounding.largest(x)
        if operator.engine_name == "direct":
            passes = np.count_nonzero((taps != 0).any(axis=(0, 1, 2)))
            error = rounding.of_sum(taps.shape[2] + passes + 1, size, operator.dtype)
        else:
            error = rounding.of_transforms(math.prod(operator.geometry.extended), size, operator.dtype)
        if bias is not None:
            error += rounding.of_sum(1, size + rounding.largest(np.asarray(bias)), operator.dtype)
        return Applied(linear.apply(built, x, bias), built.output_axes, gain, error)

    def windows(self, shape: Sequence[int], axes: str) -> Windows:
        built = self._model(blank(shape), axes)
        places = np.nonzero(built.operator.window.taps)[3:]
        return Windows(built.arrangement.spatial, built.operator.geometry, tuple(map(np.unique, places)))

    def is_symmetric(self, move: Move, shape: Sequence[int], axes: str) -> bool:
        return is_symmetric_model(self._model(blank(shape), axes), move)

    def _model(self, x: np.ndarray, axes: str) -> model.Model:
        return built_model(self.layer, self.operation, self.boundary, x, axes)


@final
@dataclass(frozen=True, eq=False)
class Pool(Step):
    """Maximum, minimum or mean over windows, as in `convtool.max_pool`."""

    window: Window
    stride: Stride = 1
    padding: Any = 0
    boundary: str = "lowest"
    dilation: int | Sequence[int] = 1
    ceil_mode: bool = False
    op: str = "max"

    def apply(self, x: np.ndarray, axes: str) -> Applied:
        built = self._built(x.shape, axes)
        y = pooling.apply(built, x, self.op)
        terms = math.prod(built.geometry.extent) + 1 if self.op == "mean" else 0
        return Applied(y, axes, 1.0, rounding.of_sum(terms, rounding.largest(x), y.dtype))

    def windows(self, shape: Sequence[int], axes: str) -> Windows:
        built = self._built(shape, axes)
        return Windows.boxes(built.arrangement.spatial, built.geometry)

    def is_symmetric(self, move: Move, shape: Sequence[int], axes: str) -> bool:
        if not move.swapped:
            return True
        # What ceil_mode adds depends on the image; it is no setting. Without it the same window needs more room.
        room = max(self._built(shape, axes).geometry.stride)
        plain = replace(self, ceil_mode=False)._built([n + room for n in shape], axes)
        return _is_turnable(plain.arrangement.spatial, plain.geometry)

    def _built(self, shape: Sequence[int], axes: str) -> pooling.geometry.Pooling:
        return pooling.geometry.build(
            shape,
            self.window,
            axes=axes,
            stride=self.stride,
            padding=self.padding,
            boundary=self.boundary,
            dilation=self.dilation,
            ceil_mode=self.ceil_mode,
        )


@final
@dataclass(frozen=True, eq=False)
class Edges(Step):
    """Gradient magnitude, as in `convtool.edges`."""

    operator: str = "central"
    boundary: str = "reflect"

    def apply(self, x: np.ndarray, axes: str) -> Applied:
        ndim = len(spatial_of(axes))
        y = gradients.edges(x, axes=axes, operator=self.operator, boundary=self.boundary)
        gain = math.sqrt(ndim) * (2 if self.operator == "forward" else 1)
        terms = 2 * (3 * ndim + ndim + 1)  # taps along every axis, then a root of a sum of squares
        return Applied(y, axes, gain, rounding.of_sum(terms, gain * rounding.largest(x), y.dtype))

    def windows(self, shape: Sequence[int], axes: str) -> Windows:
        arrangement = Arrangement(axes, tuple(shape), spatial_of(axes))
        ndim, forward = len(arrangement.grid), self.operator == "forward"
        extent, origin = [2 if forward else 3] * ndim, [0 if forward else 1] * ndim
        settings: dict[str, Any] = {"boundary_mode": self.boundary, "padding": "same", "stride": 1, "dilation": 1}
        return Windows.boxes(arrangement.spatial, resolve(arrangement.grid, extent, origin, **settings))

    def is_symmetric(self, move: Move, shape: Sequence[int], axes: str) -> bool:
        return self.operator != "forward"


def built_model(
    layer: Layer, operation: str, boundary: str, x: np.ndarray, axes: str, is_data: bool = False
) -> model.Model:
    """A layer's operator on an image, or, with `is_data`, the one that made these data."""
    return model.build(
        x,
        layer.kernel,
        axes=axes,
        kernel_axes=layer.kernel_axes,
        origin=layer.origin,
        boundary=boundary,
        padding=layer.padding,
        stride=layer.stride,
        dilation=layer.dilation,
        groups=layer.groups,
        operation=operation,
        is_data=is_data,
    )


def blank(shape: Sequence[int]) -> np.ndarray:
    """An image that takes no memory, where only the shape matters."""
    return np.broadcast_to(np.float64(0), tuple(shape))


def is_symmetric_model(built: model.Model, move: Move) -> bool:
    """Whether the taps, and the settings where axes are swapped, are the same after the move.

    Axes that the kernel does not act along may be flipped: it takes their pixels one by one.
    """
    spatial, operator = built.arrangement.spatial, built.operator
    if move.swapped and ("Y" in spatial) != ("X" in spatial):
        return False
    if move.swapped and "Y" in spatial and not _is_turnable(spatial, operator.geometry):
        return False
    taps = operator.kernel.taps
    flips = replace(move, swapped=move.swapped and "Y" in spatial)
    moved = flips(taps, "GOI"[: taps.ndim - len(spatial)] + spatial)
    return bool((np.abs(moved - taps) <= _SAME_TAP * np.abs(taps).max()).all())


def _is_turnable(spatial: str, windows: Geometry) -> bool:
    """Whether Y and X are set alike."""
    if not {"Y", "X"} <= set(spatial):
        return False
    y, x = spatial.index("Y"), spatial.index("X")
    return all(each[y] == each[x] for each in (windows.extent, windows.stride, windows.dilation, windows.padding))
