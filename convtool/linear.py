"""Convolution and correlation of arrays.

With taps k and origin o (the tap that lies on the output pixel), at padding "same" and stride 1,

    convolve     y[n] = sum_m k[m] x[n - (m - o) d]
    correlate    y[n] = sum_m k[m] x[n + (m - o) d]

`convolve` equals `scipy.ndimage.convolve` in the corresponding mode; `correlate` equals torch `conv2d` for zero
boundaries (odd kernels, and all kernels where the padding is given as numbers).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from convtool import masked, model, ranges
from convtool.axes import contiguous, image_axes
from convtool.errors import DataError
from convtool.geometry import Padding
from convtool.kernel import Origin
from convtool.observation import counted


def convolve(
    x: np.ndarray,
    kernel: np.ndarray,
    *,
    axes: str | None = None,
    kernel_axes: str | None = None,
    origin: Origin = "center",
    boundary: str = "periodic",
    padding: Padding = "same",
    stride: int | Sequence[int] = 1,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    bias: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    engine: str = "auto",
    precision: str = "auto",
) -> np.ndarray:
    """Convolve an image, stack or batch with a kernel: y[n] = sum_m k[m] x[n - (m - o) d].

    Parameters
    ----------
    x: real array; float32 stays float32, float64 stays float64, 8- and 16-bit integers are computed in float32, wider
        ones in float64
    kernel: real array: YX (every channel by itself), CYX (one a channel), OIYX (channels mix), or with Z
    axes: letters of x's axes, by rank YX, CYX, NCYX, NCZYX
    kernel_axes: letters of the kernel's axes, by rank YX, CYX (ZYX if x has Z), OIYX, OIZYX
    origin: the tap on the output pixel: "center" (n // 2), "first", "last" or indices; matters for padding "same"
    boundary: what lies outside the frame: "periodic", "zero", "edge", "reflect" or "symmetric"
    padding: how many outputs: "same", "valid", "full", a number, one per axis, or (before, after) per axis, in Z, Y, X
        order of the kernel's axes
    stride, dilation: a number, or one per axis of the kernel
    groups: blocks of channels that do not mix, for OIYX kernels with I = c_in / groups
    bias: one number per output channel, added to the result
    mask: nonzero where x was observed, in x's shape or that of its spatial axes; the rest may be NaN. An output is then
        sum(kernel) times the weighted mean of the observed pixels under the kernel, whose taps are not negative; NaN
        where there are none. See `convtool.masked`
    engine: "direct", "separable", "blocks", "fft", "opencv", or "auto", which should be the fastest; see
        `convtool.engines`
    precision: "single", "double", or "auto", by x's dtype

    Returns
    -------
    The result in x's order of axes; where an OIYX kernel gives an image without C several channels, C comes before the
    spatial axes.

    Raises
    ------
    convtool.errors.SettingError, convtool.errors.DataError

    Example
    -------
    >>> import numpy as np, convtool
    >>> convtool.convolve(np.eye(3), np.array([[1.0, 2.0, 3.0]]), boundary="zero")
    array([[2., 3., 0.],
           [1., 2., 3.],
           [0., 1., 2.]])
    """
    settings = (axes, kernel_axes, origin, boundary, padding, stride, dilation, groups, bias, mask, engine, precision)
    return _apply("convolve", x, kernel, *settings)


def correlate(
    x: np.ndarray,
    kernel: np.ndarray,
    *,
    axes: str | None = None,
    kernel_axes: str | None = None,
    origin: Origin = "center",
    boundary: str = "periodic",
    padding: Padding = "same",
    stride: int | Sequence[int] = 1,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    bias: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    engine: str = "auto",
    precision: str = "auto",
) -> np.ndarray:
    """Correlate an image, stack or batch with a kernel: y[n] = sum_m k[m] x[n + (m - o) d].

    The kernel is not flipped, as in torch `conv2d`; everything else is as in `convolve`.

    Example
    -------
    >>> import numpy as np, convtool
    >>> convtool.correlate(np.eye(3), np.array([[1.0, 2.0, 3.0]]), boundary="zero")
    array([[2., 1., 0.],
           [3., 2., 1.],
           [0., 3., 2.]])
    """
    settings = (axes, kernel_axes, origin, boundary, padding, stride, dilation, groups, bias, mask, engine, precision)
    return _apply("correlate", x, kernel, *settings)


def _apply(
    operation: str,
    x: np.ndarray,
    kernel: np.ndarray,
    axes: str | None,
    kernel_axes: str | None,
    origin: Origin,
    boundary: str,
    padding: Padding,
    stride: int | Sequence[int],
    dilation: int | Sequence[int],
    groups: int,
    bias: np.ndarray | None,
    mask: np.ndarray | None,
    engine: str,
    precision: str,
) -> np.ndarray:
    x = np.asarray(x)
    observed = None
    if mask is not None:
        x, observed = counted(x, image_axes(x.shape, axes), mask, None)
    built = model.build(
        x,
        kernel,
        axes=axes,
        kernel_axes=kernel_axes,
        origin=origin,
        boundary=boundary,
        padding=padding,
        stride=stride,
        dilation=dilation,
        groups=groups,
        operation=operation,
        engine=engine,
        precision=precision,
    )
    return contiguous(apply(built, x, bias, observed))


def apply(
    built: model.Model, x: np.ndarray, bias: np.ndarray | None = None, observed: np.ndarray | None = None
) -> np.ndarray:
    """The result of a model's operator on x, plus a bias [c_out]: a view in x's order of axes.

    `observed`, of x's shape: where x is to count; None: everywhere. Raises DataError as `ranges.check_overflow` and
    `masked.forward` do.
    """
    ranges.check_overflow(built.operator, x, built.bound)
    if observed is None or observed.all():
        y = built.operator.forward(built.canonical(x))
    else:
        y = masked.forward(built.operator, built.canonical(x), built.arrangement.canonical(observed))
    if bias is not None:
        y += checked_bias(bias, y.shape[1]).astype(y.dtype).reshape(-1, *[1] * (y.ndim - 2))
    return built.arrangement.restore(y)


def checked_bias(bias: np.ndarray, channels: int) -> np.ndarray:
    """The bias as numbers [c_out], or [1]; raises DataError."""
    bias = np.asarray(bias)
    if bias.dtype.kind not in "biuf" or bias.size not in (1, channels) or not np.isfinite(bias).all():
        raise DataError(f"the bias must be {channels} finite numbers, one per output channel, got shape {bias.shape}")
    return bias.ravel()
