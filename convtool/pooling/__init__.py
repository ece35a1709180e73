"""Pooling: the maximum, the minimum or the mean of a window at every position.

    y[b, h, w, c] = max x[b, s h - p + d i, s w - p + d j, c],   i = 0 .. S_h - 1,  j = 0 .. S_w - 1

for windows [S_h, S_w], or [S_d, S_h, S_w], stride s, padding p and dilation d, in whatever order the array's axes are.
The padding's words and the number of outputs are those of `convtool.geometry`, the origin of a window being S // 2;
torch and ONNX's operators count alike, but ONNX's reference evaluator misplaces paddings where all strides are 1.

Outside the frame lies what the boundary says; the default, `lowest`, is nothing at all: -inf for floats, the dtype's
minimum for integers and False for bool where the maximum is taken, the reverse for the minimum, and pixels that a mean
does not count. With another boundary the samples that continue the image are data, also for the mean. A window that
reads no pixel gives that lowest value; it has no mean.

Maxima and minima keep the dtype, infinities are numbers, and NaN propagates. The index of a maximum is that of the
first one in the order of Z, Y, X; where there is a NaN it is that of the last NaN, as torch's loop gives.
`convtool.pooling.running` is how it is computed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from convtool import model
from convtool.axes import spelled
from convtool.errors import DataError, SettingError, listed
from convtool.geometry import Geometry, Padding
from convtool.pooling import reductions, running
from convtool.pooling.geometry import Pooling, Stride, Window, build
from convtool.pooling.reductions import Planes, Reduction

OPERATIONS = ("max", "min", "mean")


def max_pool(
    x: np.ndarray,
    window: Window,
    *,
    axes: str | None = None,
    stride: Stride = 1,
    padding: Padding = 0,
    boundary: str = "lowest",
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
) -> np.ndarray:
    """The maximum over a window at every position: y[n] = max x[s n - p + d m], m = 0 .. window - 1 on each axis.

    Parameters
    ----------
    x: real array of any dtype, which is kept; NaN propagates
    window: pixels on a side, for all spatial axes; or one per axis, for the last so many of Z, Y, X
    axes: letters of x's axes, by rank YX, CYX, NCYX, NCZYX
    stride: a number, or one per axis of the window, or "window", the usual pooling
    padding: "same", "valid", "full", a number, one per axis, or (before, after) per axis; of any size
    boundary: what lies outside the frame: "lowest" (nothing), "periodic", "zero", "edge", "reflect" or "symmetric"
    dilation: a number, or one per axis of the window
    ceil_mode: whether a last window that overhangs the padding counts, if it starts in the frame or before it

    Returns
    -------
    The maxima, in x's dtype and order of axes.

    Raises
    ------
    convtool.errors.SettingError, convtool.errors.DataError

    Example
    -------
    >>> import numpy as np, convtool
    >>> convtool.max_pool(np.array([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]]), (2, 3))
    array([[9, 6, 6]])
    """
    return _pool("max", x, window, axes, stride, padding, boundary, dilation, ceil_mode)


def min_pool(
    x: np.ndarray,
    window: Window,
    *,
    axes: str | None = None,
    stride: Stride = 1,
    padding: Padding = 0,
    boundary: str = "lowest",
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
) -> np.ndarray:
    """The minimum over a window at every position; `lowest` is then the highest value. See `max_pool`.

    Example
    -------
    >>> import numpy as np, convtool
    >>> convtool.min_pool(np.array([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]]), 2, stride="window")
    array([[1, 1]])
    """
    return _pool("min", x, window, axes, stride, padding, boundary, dilation, ceil_mode)


def mean_pool(
    x: np.ndarray,
    window: Window,
    *,
    axes: str | None = None,
    stride: Stride = 1,
    padding: Padding = 0,
    boundary: str = "lowest",
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
) -> np.ndarray:
    """The mean over a window at every position, float32 or float64; with `lowest`, of its pixels in the frame alone.

    See `max_pool`. Raises DataError, before anything is computed, where a window reads no pixel.

    Example
    -------
    >>> import numpy as np, convtool
    >>> convtool.mean_pool(np.array([[3.0, 1.0, 4.0]]), (1, 3), padding="same")
    array([[2.        , 2.66666667, 2.5       ]])
    """
    return _pool("mean", x, window, axes, stride, padding, boundary, dilation, ceil_mode)


def max_pool_indices(
    x: np.ndarray,
    window: Window,
    *,
    axes: str | None = None,
    stride: Stride = 1,
    padding: Padding = 0,
    boundary: str = "lowest",
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """The maxima and where they are: (values, indices), the indices int64 and of the same shape.

    See `max_pool`. An index counts the pixels of the plane (or volume) that a window lies in, in the order of Z, Y, X,
    without padding, as torch's do; every channel and item of a batch counts for itself. It is -1 where a window reads
    no pixel, and where boundary "zero" puts a zero above all of a window's pixels.

    Example
    -------
    >>> import numpy as np, convtool
    >>> convtool.max_pool_indices(np.array([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]]), (2, 3))
    (array([[9, 6, 6]]), array([[5, 7, 7]]))
    """
    return apply_indices(_built(x, window, axes, stride, padding, boundary, dilation, ceil_mode), x)


def _pool(operation: str, x: np.ndarray, *settings: Any) -> np.ndarray:
    return apply(_built(x, *settings), x, operation)


def _built(
    x: np.ndarray,
    window: Window,
    axes: str | None,
    stride: Stride,
    padding: Padding,
    boundary: str,
    dilation: int | Sequence[int],
    ceil_mode: bool,
) -> Pooling:
    return build(
        _checked(x).shape,
        window,
        axes=axes,
        stride=stride,
        padding=padding,
        boundary=boundary,
        dilation=dilation,
        ceil_mode=ceil_mode,
    )


def apply(built: Pooling, x: np.ndarray, operation: str) -> np.ndarray:
    """The "max", "min" or "mean" of windows on x, in x's order of axes."""
    x = _checked(x)
    if operation == "mean":
        return _means(built, x)
    if operation not in OPERATIONS:
        raise SettingError(f"unknown operation '{operation}': use {listed(OPERATIONS)}")
    combine = reductions.maximum if operation == "max" else reductions.minimum
    return _reduced(built, x, x.dtype, Reduction(combine, True, _outside(built, x.dtype, operation)))[0]


def apply_indices(built: Pooling, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The maxima and their indices; see `max_pool_indices`."""
    x = _checked(x)
    short = math.prod(built.arrangement.grid) < -reductions.nowhere(np.dtype(np.int32))
    index = np.dtype(np.int32 if short else np.int64)
    reduction = Reduction(reductions.first_maximum, True, _outside(built, x.dtype, "max"), index)
    values, indices = _reduced(built, x, x.dtype, reduction)
    return values, np.maximum(indices, -1, out=indices)


def needed_bytes(built: Pooling, dtype: np.dtype, operation: str, with_indices: bool = False) -> int:
    """Bytes that `apply`, or `apply_indices`, takes for an image of this dtype, with its results, at most."""
    if operation != "mean":
        return built.needed_bytes(dtype.itemsize, 8 * with_indices)
    item = model.working_dtype(dtype).itemsize
    return built.needed_bytes(item) + (8 + item) * math.prod(built.geometry.outputs)  # the samples of each window


def _means(built: Pooling, x: np.ndarray) -> np.ndarray:
    dtype = model.working_dtype(x.dtype)
    samples, summing = built.samples().astype(dtype), Reduction(reductions.total, False, 0)
    sums = _reduced(built, x, dtype, summing)[0]
    with np.errstate(invalid="ignore"):
        means = np.divide(sums, samples, out=sums)
    taps, limit = math.prod(built.geometry.extent), np.finfo(dtype).max
    if x.dtype.kind == "f" and not (is_sound := np.isfinite(means)).all() and _largest(x) > limit / taps:
        # Times 2^-k no sum overflows, and the mean of finite values lies between them. Small ones would lose bits.
        shrink = dtype.type(0.5 ** (1 + math.ceil(math.log2(taps))))
        with np.errstate(invalid="ignore", over="ignore"):
            shrunk = _reduced(built, x * shrink, dtype, summing)[0]
            again = np.divide(shrunk, samples * shrink)
        np.clip(again, -limit, limit, out=again, where=np.isfinite(shrunk))
        np.copyto(means, again, where=~is_sound)
    return means


def _largest(x: np.ndarray) -> float:
    """The largest size of the finite values."""
    return float(np.max(np.abs(x), where=np.isfinite(x), initial=0))


def _checked(x: Any) -> np.ndarray:
    """x in this machine's byte order; raises DataError unless it is non-empty and of real numbers."""
    x = np.asarray(x)
    if x.dtype.kind not in "biuf":
        raise DataError(f"the image has dtype {x.dtype}, expected real numbers (integers, floats or bool)")
    if x.size == 0:
        raise DataError(f"the image is empty (shape {spelled(x.shape)})")
    return x.astype(x.dtype.newbyteorder("="), copy=False)


def _outside(built: Pooling, dtype: np.dtype, operation: str) -> Any:
    """What the windows read outside the frame, where that is one value."""
    if built.boundary == "zero":
        return 0
    if dtype.kind == "f":
        return -np.inf if operation == "max" else np.inf
    limits = (0, 1) if dtype == np.bool_ else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return limits[operation == "min"]


def _reduced(built: Pooling, x: np.ndarray, dtype: np.dtype, reduction: Reduction) -> Planes:
    """The reduction of x to a dtype, with indices where it has an index dtype."""
    out = [np.empty(built.shape, dtype)]
    if reduction.index is not None:
        out.append(np.empty(built.shape, np.int64))
    bits = {"bool": np.dtype(np.uint8)}
    planes = (out[0].view(bits.get(dtype.name, dtype)), *out[1:])
    # NumPy computes in half precision number by number.
    computing = np.dtype(np.float32) if dtype == np.float16 else planes[0].dtype
    axes = [(i, _axis(built.geometry, k, reduction)) for k, i in enumerate(built.dimensions)]
    # Equal maxima in the order of Z, Y, X: the first along X is sought first. Values read memory in its own order.
    axes = axes[::-1] if reduction.index is not None else sorted(axes, key=lambda item: item[0])
    with np.errstate(invalid="ignore", over="ignore"):
        running.reduce(x.view(bits.get(x.dtype.name, x.dtype)), axes, reduction, computing, planes)
    return tuple(out)


def _axis(windows: Geometry, i: int, reduction: Reduction) -> running.Axis:
    """The windows along the spatial axis i, with what each sample adds to an index."""
    axis = running.along(
        windows.grid[i],
        windows.extent[i],
        windows.outputs[i],
        windows.padding[i][0],
        windows.stride[i],
        windows.dilation[i],
        windows.boundary,
        reduction.is_idempotent,
    )
    if reduction.index is None:
        return axis
    offsets = axis.sources * math.prod(windows.grid[i + 1 :])
    offsets[axis.sources < 0] = reductions.nowhere(reduction.index)
    return replace(axis, offsets=offsets.astype(reduction.index))
