"""The forward model of a user's arrays: axes named, kernel arranged, operator built; the verbs start here.

`Model` ties an image array to the operator: `canonical` takes the array to [n, c, *grid] in the computing dtype, and
`restore` takes a result back to the array's own order of axes. Arguments are checked here, once.
"""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from convtool import axes as axes_
from convtool import kernel as kernel_
from convtool import ranges
from convtool.errors import SettingError
from convtool.geometry import Padding, inputs, resolve, written
from convtool.observation import UNKNOWN
from convtool.operators import Convolution

PRECISIONS = ("auto", "single", "double")


@dataclass(frozen=True, eq=False)
class Model:
    """An operator and the arrangement of the array it is applied to.

    `frame` is the part of the operator's grid that images take, where the operator acts on a scene larger than that.
    `bound` is a number that no |x| exceeds.
    """

    arrangement: axes_.Arrangement
    kernel_axes: str
    operator: Convolution
    frame: tuple[slice, ...] | None = None
    bound: float = 0.0

    @property
    def input_axes(self) -> str:
        """The axes of what the operator takes, in the array's order."""
        return self.arrangement.result_axes(self.operator.in_shape[0])

    @property
    def output_axes(self) -> str:
        """The axes of what the operator gives, in the array's order."""
        return self.arrangement.result_axes(self.operator.out_shape[0])

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of what the operator takes, in the array's order."""
        arrangement, operator = self.arrangement, self.operator
        lengths = dict(zip(arrangement.axes, arrangement.shape, strict=True)) | {"C": operator.in_shape[0]}
        grid = operator.geometry.grid if self.frame is None else [part.stop - part.start for part in self.frame]
        lengths |= dict(zip(arrangement.spatial, grid, strict=True))
        return tuple(lengths[letter] for letter in self.input_axes)

    def canonical_input(self, x: np.ndarray) -> np.ndarray:
        """An array with `input_axes` as [n, c_in, *grid]."""
        arrangement = axes_.Arrangement(self.input_axes, x.shape, self.arrangement.spatial)
        return arrangement.canonical(x).astype(self.operator.dtype)

    def canonical(self, x: np.ndarray) -> np.ndarray:
        """x as [n, c, *grid], contiguous, in the computing dtype."""
        return np.ascontiguousarray(self.arrangement.canonical(x), self.operator.dtype)

    def framed(self, x: np.ndarray) -> np.ndarray:
        """The frame's part of an image [n, c_in, *grid] of the operator, a view in the array's order of axes."""
        return self.arrangement.restore(x if self.frame is None else x[(slice(None), slice(None), *self.frame)])

    def restore(self, y: np.ndarray) -> np.ndarray:
        """A result [n, c, *spatial] in the array's order of axes, contiguous."""
        return axes_.contiguous(self.arrangement.restore(y))


def build(
    x: np.ndarray,
    kernel: np.ndarray,
    *,
    axes: str | None = None,
    kernel_axes: str | None = None,
    origin: kernel_.Origin = "center",
    boundary: str = "periodic",
    padding: Padding = "same",
    stride: int | Sequence[int] = 1,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    operation: str = "convolve",
    engine: str = "auto",
    precision: str = "auto",
    is_data: bool = False,
    shape: Sequence[int] | None = None,
    keep_extension: bool = False,
) -> Model:
    """The model for an array x, or, with `is_data`, for an array y that the operator has made.

    The operator acts on x's grid. With `is_data` that is the unknown's: `shape`, its lengths along the kernel's spatial
    axes in Z, Y, X order, or the only one that y can come from. With boundary "unknown" it is that of the scene around
    the data's frame, and images are the frame's part of it, or all of it with `keep_extension`.

    Raises DataError and SettingError; see `convtool.convolve` for the settings.
    """
    bound, kernel = ranges.check_image(x), np.asarray(kernel)
    image_axes = axes_.image_axes(x.shape, axes)
    taps_axes = axes_.kernel_axes(np.shape(kernel), image_axes, kernel_axes)
    arrangement = axes_.Arrangement(image_axes, x.shape, axes_.spatial_of(taps_axes))
    taps = kernel_.build(
        kernel,
        taps_axes,
        channels=arrangement.channels,
        has_channels="C" in image_axes,
        origin=origin,
        groups=groups,
        is_data=is_data,
    )
    is_part = is_data and boundary == UNKNOWN
    boundary, padding = _surrounded(padding, stride) if is_part else (boundary, padding)
    windows: dict[str, Any] = {"padding": padding, "stride": stride, "dilation": dilation}
    operator = Convolution.build(
        taps,
        _unknown(arrangement.grid, shape, taps.flipped() if operation == "convolve" else taps, windows)
        if is_data
        else arrangement.grid,
        arrangement.channels if set("OC").isdisjoint(taps_axes) else len(taps.taps),
        operation=operation,
        boundary=boundary,
        **windows,
        engine=engine,
        dtype=_checked_dtype(x, kernel, precision),
        batch=x.size // (arrangement.channels * int(np.prod(arrangement.grid))),
    )
    is_cut = is_part and not keep_extension
    return Model(arrangement, taps_axes, operator, _under(operator, arrangement.grid) if is_cut else None, bound)


def _surrounded(padding: Padding, stride: int | Sequence[int]) -> tuple[str, Padding]:
    """The boundary and padding of windows that lie inside the scene around data with unknown surroundings.

    Raises SettingError where the data are not as large as their frame.
    """
    if padding != "same" or np.any(np.asarray(stride) != 1):
        raise SettingError(
            "boundary unknown needs padding same and stride 1 (the data are a part of a larger scene), got padding"
            f" {written(padding)}, stride {_joined(stride)}: say another boundary"
        )
    return "zero", "valid"


def _under(operator: Convolution, data: tuple[int, ...]) -> tuple[slice, ...]:
    """The part of an operator's grid that lies under its data: under the origins of its windows."""
    starts = [o * d for o, d in zip(operator.window.origin, operator.geometry.dilation, strict=True)]
    return tuple(slice(start, start + n) for start, n in zip(starts, data, strict=True))


def _unknown(
    data: tuple[int, ...], shape: Sequence[int] | None, window: kernel_.Kernel, settings: dict[str, Any]
) -> tuple[int, ...]:
    """The grid of the image that data on a grid come from; `settings` are its padding, stride and dilation.

    Raises SettingError where `shape` must say it, or contradicts the data.
    """
    least, greatest = zip(*inputs(data, window.extent, window.origin, **settings), strict=True)
    possible = axes_.spelled(least) + ("" if least == greatest else f" to {axes_.spelled(greatest)}")
    if shape is None:
        if least == greatest:
            return greatest
        raise SettingError(
            f"the data of {axes_.spelled(data)} at stride {_joined(settings['stride'])} come from images of {possible}:"
            f" say --image-shape {_joined(greatest)} (shape= in Python), or what it was, and a method for"
            " strides (least-squares, tv, rl)"
        )
    found = _whole_lengths(shape, len(data))
    if not all(low <= n <= high for n, low, high in zip(found, least, greatest, strict=True)):
        made = resolve(found, window.extent, window.origin, boundary_mode="zero", **settings).outputs
        raise SettingError(
            f"an image of {axes_.spelled(found)} gives data of {axes_.spelled(made)}, and these are"
            f" {axes_.spelled(data)}, which come from images of {possible}: change --image-shape (shape= in Python)"
        )
    return found


def _whole_lengths(shape: object, ndim: int) -> tuple[int, ...]:
    found = tuple(shape) if isinstance(shape, Sequence | np.ndarray) else (shape,)
    if len(found) != ndim or not all(isinstance(n, numbers.Integral) and int(n) >= 1 for n in found):
        raise SettingError(
            f"the image's shape must be whole numbers of at least 1, {ndim} of them (one per axis of the kernel), got"
            f" {_joined(shape)}"
        )
    return tuple(int(n) for n in found)


def _joined(values: object) -> str:
    return ",".join(map(str, values)) if isinstance(values, Sequence | np.ndarray) else str(values)


def again(built: Model, x: np.ndarray, kernel: np.ndarray, precision: str) -> Model:
    """The model that `build` would make of x, out of that of another image like it; raises DataError as it would."""
    bound = ranges.check_image(x)
    _checked_dtype(x, np.asarray(kernel), precision)
    return replace(built, bound=bound)


def _checked_dtype(x: np.ndarray, kernel: np.ndarray, precision: str) -> np.dtype:
    """The computing dtype, which must hold image and kernel."""
    dtype = working_dtype(x.dtype, precision)
    ranges.check_image_range(x, dtype)
    ranges.check_kernel_range(kernel, dtype)
    return dtype


def working_dtype(dtype: np.dtype, precision: str = "auto") -> np.dtype:
    """The computing dtype for an image dtype: its own for floats, single for 8- and 16-bit integers, else double."""
    if precision not in PRECISIONS:
        raise SettingError(f"unknown precision '{precision}': use auto, single or double")
    if precision != "auto":
        return np.dtype(np.float32 if precision == "single" else np.float64)
    narrow = dtype.itemsize <= (4 if dtype.kind == "f" else 2)
    return np.dtype(np.float32 if narrow else np.float64)
