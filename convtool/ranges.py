"""What numbers an image and a kernel may hold: finite ones, and none that a computation would take out of its dtype.

A convolution is checked by a bound on what it adds up. To undo one, squares of the data are summed as well: they must
keep a distance from both ends of the dtype's range.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from convtool import blas
from convtool.axes import spelled
from convtool.engines import PLAIN_SUMS
from convtool.errors import DataError

if TYPE_CHECKING:
    from convtool.operators import Convolution

_ROOM = 0.99  # of a dtype's range, for rounding
_SQUARES = {"float32": (1e-32, 1e32), "float64": (1e-125, 1e125)}  # of the largest of data, whose squares are taken
_SUMS = 1e4  # times the number of data, by which sums of what is computed of them exceed the largest
_TAIL = 1e6  # by which the largest of an image keeps away from a dtype's smallest numbers, for the others


def check_image(x: np.ndarray) -> float:
    """A bound on the absolute values of x; raises DataError unless x is a non-empty array of finite real numbers."""
    if x.dtype.kind not in "biuf":
        raise DataError(f"the image has dtype {x.dtype}, expected real numbers (integers or floats)")
    if x.size == 0:
        raise DataError(f"the image is empty (shape {spelled(x.shape)})")
    bound = _bound(x)
    if np.isfinite(bound):
        return bound
    bad = ~np.isfinite(x)
    if not bad.any():  # too large for any dtype that is computed in
        return bound
    first = tuple(int(i) for i in np.argwhere(bad)[0])
    raise DataError(
        f"the image holds {int(bad.sum())} NaN or infinite values, the first at index {first}:"
        " fill them, or leave them out of convolve, correlate or deconvolve (mask=np.isfinite(image))"
    )


def _bound(x: np.ndarray) -> float:
    """A number that no |x| exceeds, not finite where x is not: its norm, or, where squares overflow, the greatest."""
    if x.dtype.kind != "f":
        return 2.0 ** (8 * x.dtype.itemsize)
    if x.flags.c_contiguous and x.dtype in (np.float32, np.float64):
        with blas.single_threaded(), np.errstate(all="ignore"):
            squares = np.vdot(x, x)  # by BLAS, in a third of the time
            if np.isfinite(squares):
                return float(np.sqrt(squares))
    return _largest(x)


def _largest(values: np.ndarray) -> float:
    """The largest absolute value."""
    return max(abs(float(values.max())), abs(float(values.min())))


def check_image_range(x: np.ndarray, dtype: np.dtype) -> None:
    """Raises DataError for floats that the computing dtype would turn into infinities."""
    if x.dtype.kind == "f" and np.finfo(x.dtype).max > np.finfo(dtype).max:
        _check_largest(_largest(x), "image", dtype)


def check_kernel_range(kernel: np.ndarray, dtype: np.dtype) -> None:
    """Raises DataError for taps that the computing dtype would turn into infinities, or into nothing."""
    if kernel.dtype.kind != "f":
        return
    largest = _largest(kernel)
    _check_largest(largest, "kernel", dtype)
    if 0 < largest < float(np.finfo(dtype).tiny) / float(np.finfo(dtype).eps):
        raise DataError(f"the kernel's largest tap is {largest:.3g}, too small for {dtype}: scale the kernel")


def _check_largest(largest: float, what: str, dtype: np.dtype) -> None:
    if largest > float(np.finfo(dtype).max):
        advice = "compute in double precision" if dtype == np.float32 else f"scale the {what}"
        raise DataError(f"the {what} holds {largest:.3g}, too large for {dtype}: {advice}")


def check_overflow(operator: Convolution, x: np.ndarray, bound: float) -> None:
    """Raises DataError where what the operator adds up of x, of which `bound` is known, may leave its dtype.

    A plain sum is at most max |x| sum |k|; a transform first adds up all the samples that there are.
    """
    taps, limit = operator.kernel.taps, _ROOM * float(np.finfo(operator.dtype).max)
    gain = _gain(taps, tuple(range(2, taps.ndim)))
    sums = 4 * max(gain, 1.0) * math.prod(operator.geometry.extended)
    if gain <= limit and bound * sums <= limit:
        return
    largest = _largest(x)
    if gain > limit or largest * (gain if operator.engine_name in PLAIN_SUMS else sums) > limit:
        advice = "compute in double precision" if operator.dtype == np.float32 else "scale the image"
        raise DataError(
            f"the image holds {largest:.3g} and the kernel's taps add up to {gain:.3g}, too large for sums in"
            f" {operator.dtype}: {advice}, or make NaN of what marks missing pixels"
        )


def _gain(taps: np.ndarray, axis: tuple[int, ...] | None = None) -> float:
    """The largest sum of absolute values of taps along these axes, by default all."""
    with np.errstate(over="ignore"):
        return float(np.abs(taps.astype(np.float64, copy=False)).sum(axis=axis).max())


def check_scale(data: np.ndarray, kernel: np.ndarray, dtype: np.dtype) -> None:
    """Raises DataError for data, a kernel or an image that are too large or small for what is summed of them."""
    y, tap, gain = _largest(data), _largest(kernel), _gain(kernel)
    with np.errstate(over="ignore"):
        x = np.float64(y) / np.float64(tap) if tap else 0.0
    limits, (low, high) = np.finfo(dtype), _SQUARES[dtype.name]
    top = float(limits.max) / _SUMS
    sizes = (
        ("data hold up to", y, low, min(high, top / data.size)),
        ("image would hold up to", x, float(limits.tiny) * _TAIL, top / data.size),
        ("kernel's taps add up to", gain, 0.0, top),
    )
    for what, size, least, most in sizes:
        if size and not least < size < most:
            advice = "compute in double precision" if dtype == np.float32 else "scale data and kernel"
            raise DataError(
                f"the {what} {size:.3g}, but in {dtype} only {least:.0e} to {most:.0e} can be computed with: {advice}"
            )
