"""Local window operations: convolution whose multiply and add are something else, and the windows themselves.

    y[n] = r over the taps m of c(x_ext[n s - p + m d], w[m])

in the orientation of `correlate`, the weights unflipped. With weights OIYX, r runs over the input channels too:
y[o] = r over (i, m) of c(x[i], w[o, i, m]).

    combine   reduce
    mul       sum      correlation, as `convtool.correlate` (to rounding; that is faster)
    add       max      grey dilation with the reflected structuring element, see `local`
    sub       min      grey erosion
    absdiff   sum      the L1 distance of every window from a template: small where it matches
    tan-add   prod     the product of tan(x + w)

Every tap counts, also a zero. `functions` has all names with their derivatives, `engine` the passes, `fields` the
windows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from convtool import axes as axes_
from convtool import model
from convtool.errors import DataError
from convtool.geometry import Padding
from convtool.kernel import Origin
from convtool.windows import engine
from convtool.windows.fields import receptive_fields
from convtool.windows.functions import Function, combination, differentiable, reduction

__all__ = ["apply", "local", "local_gradients", "needed_bytes", "receptive_fields"]

_MARGIN = 24  # bytes for each sample of an axis's margins, while they are filled


def local(
    x: np.ndarray,
    weights: np.ndarray,
    combine: Function = "mul",
    reduce: Function = "sum",
    *,
    axes: str | None = None,
    kernel_axes: str | None = None,
    origin: Origin = "center",
    boundary: str = "periodic",
    padding: Padding = "same",
    stride: int | Sequence[int] = 1,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    precision: str = "auto",
) -> np.ndarray:
    """Combine every pixel of a window with its weight and reduce: y[n] = r over m of c(x_ext[n s - p + m d], w[m]).

    Parameters
    ----------
    x, weights, axes, kernel_axes, origin, boundary, padding, stride, dilation, groups, precision: as the image, the
        kernel and the settings of `convtool.correlate`; the weights are as many taps as the window has, all of them
        used, and finite: what is to take no part in a maximum is a large negative number such as -1e9
    combine: "mul" (x w), "add", "sub" (x - w), "absdiff" (|x - w|), "max", "min", "tan-add" (tan(x + w); near a pole it
        is huge); or a NumPy ufunc of two numbers, or a function f(array, weight) that gives an array
    reduce: "sum", "prod", "max", "min", "mean" (over all taps and input channels); or a NumPy ufunc of two numbers such
        as np.logaddexp, or a function f(accumulated, values), called for the second value and every one after it

    Functions must treat every element by itself, since they see blocks of the image; taps come in C order of
    (input channel, tap). Their results are stored in the computing dtype.

    Returns
    -------
    As `convtool.correlate`: x's order of axes, float32 for float32 and 8- and 16-bit x, else float64. What is too large
    for that is infinite; means of finite values never are. Sums are right to rounding, which grows with the root of the
    number of taps.

    Raises
    ------
    convtool.errors.SettingError, convtool.errors.DataError

    Notes
    -----
    Where b is a structuring element, (sub, min) with w = b is `scipy.ndimage.grey_erosion(x, structure=b)`. A dilation
    reflects its element: (add, max) with w = np.flip(b) and origin n - 1 - n // 2 (the centre, where n is odd) is
    `scipy.ndimage.grey_dilation(x, structure=b)`. So an opening with w is (sub, min) with w, then (add, max) with w
    flipped. The zero boundary puts pixels of value 0 around the frame, which a maximum may well take.

    References
    ----------
    Sternberg, S. R. (1986). Grayscale morphology. Computer Vision, Graphics, and Image Processing 35, 333-355.
    doi:10.1016/0734-189X(86)90004-6

    Example
    -------
    >>> import numpy as np, convtool
    >>> convtool.local(np.array([3.0, 1.0, 4.0, 1.0, 5.0]), np.zeros(3), "add", "max", boundary="edge")
    array([3., 4., 4., 5., 5.])
    """
    x, weights = np.asarray(x), _checked_weights(weights)
    built = model.build(
        x,
        weights,
        axes=axes,
        kernel_axes=kernel_axes,
        origin=origin,
        boundary=boundary,
        padding=padding,
        stride=stride,
        dilation=dilation,
        groups=groups,
        operation="correlate",
        precision=precision,
    )
    return apply(built, x, combine, reduce)


def needed_bytes(built: model.Model) -> int:
    """Bytes that `apply` takes with its result and a copy of it, at most."""
    operator, arrangement = built.operator, built.arrangement
    size = math.prod(arrangement.shape)
    results = 2 * size // math.prod(operator.in_shape) * math.prod(operator.out_shape)
    extended = engine.held(operator.window.taps.shape[2], operator.geometry)
    margins = sum(sum(pair) for pair in operator.geometry.padding)
    return (size + results + extended) * operator.dtype.itemsize + _MARGIN * margins


def apply(built: model.Model, x: np.ndarray, combine: Function, reduce: Function) -> np.ndarray:
    """The operation on x with the weights and windows of a model of correlation, in x's order of axes."""
    operator = built.operator
    pair = combination(combine, operator.dtype), reduction(reduce, operator.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        y = engine.apply(*_grouped(built, x), operator.geometry, *pair)
    return built.restore(y.reshape(-1, *operator.out_shape))


def local_gradients(
    x: np.ndarray,
    weights: np.ndarray,
    gradient: np.ndarray,
    combine: str = "mul",
    reduce: str = "sum",
    *,
    axes: str | None = None,
    kernel_axes: str | None = None,
    origin: Origin = "center",
    boundary: str = "periodic",
    padding: Padding = "same",
    stride: int | Sequence[int] = 1,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    precision: str = "auto",
) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives of L = sum(gradient * local(x, weights, ...)) by x and by the weights: (d_x, d_weights).

    `gradient` may be the derivative of any L by the output (the chain rule). For (mul, sum), d_x is the adjoint of the
    correlation, applied to `gradient`.

    Parameters
    ----------
    gradient: array of the shape of local(x, weights, ...)
    combine, reduce: names; see `local`, which has the other parameters too

    Returns
    -------
    d_x, d_weights: shaped as x and as weights, both in the computing dtype, that of `local`'s result.

    Raises
    ------
    convtool.errors.SettingError (also for ufuncs and callables), convtool.errors.DataError

    Notes
    -----
    Only subgradients exist where values tie: max and min as a reduction give all to the first of the equal taps, in C
    order of (input channel, tap), as a combination all to the pixel; absdiff is flat at 0. A product with factors of
    zero is differentiated exactly.

    Example
    -------
    >>> import numpy as np, convtool
    >>> d_x, d_weights = convtool.local_gradients(np.array([3.0, 1.0, 4.0]), np.array([0.0, 2.0]), np.ones(2),
    ...                                           "add", "max", padding="valid")
    >>> d_x, d_weights
    (array([1., 0., 1.]), array([1., 1.]))
    """
    x, weights = np.asarray(x), _checked_weights(weights)
    pair = differentiable(combine, reduce)
    built = model.build(
        x,
        weights,
        axes=axes,
        kernel_axes=kernel_axes,
        origin=origin,
        boundary=boundary,
        padding=padding,
        stride=stride,
        dilation=dilation,
        groups=groups,
        operation="correlate",
        precision=precision,
    )
    canonical, taps = _grouped(built, x)
    incoming = _canonical_gradient(built, np.asarray(gradient))
    shaped = incoming.reshape(len(canonical), len(taps), taps.shape[1], *incoming.shape[2:])
    with np.errstate(over="ignore", invalid="ignore"):
        d_x, d_taps = engine.gradients(canonical, taps, shaped, built.operator.geometry, *pair)
    return built.restore(d_x.reshape(-1, *built.operator.in_shape)), _as_given(d_taps, built.kernel_axes)


def _checked_weights(weights: np.ndarray) -> np.ndarray:
    weights = np.asarray(weights)
    bad = int(np.count_nonzero(~np.isfinite(weights))) if weights.dtype.kind == "f" else 0
    if bad:
        raise DataError(
            f"{bad} of {weights.size} weights are NaN or infinite: give what is to take no part in a maximum a large"
            " finite number such as -1e9"
        )
    return weights


def _grouped(built: model.Model, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x [n, g, i, *grid] and taps [g, o, i, *extent]; channels that share their taps are images by themselves."""
    taps = built.operator.window.taps.astype(built.operator.dtype)
    return built.canonical(x).reshape(-1, len(taps), taps.shape[2], *built.operator.geometry.grid), taps


def _canonical_gradient(built: model.Model, gradient: np.ndarray) -> np.ndarray:
    """The gradient as [n, c_out, *outputs]; raises DataError unless it has the shape of the result, and is finite."""
    arrangement, (channels, *outputs) = built.arrangement, built.operator.out_shape
    lengths = dict(zip(arrangement.axes, arrangement.shape, strict=True)) | {"C": channels}
    lengths |= dict(zip(arrangement.spatial, outputs, strict=True))
    expected = tuple(lengths[letter] for letter in built.output_axes)
    if gradient.shape != expected or gradient.dtype.kind not in "biuf" or not np.isfinite(gradient).all():
        raise DataError(
            f"the gradient must be finite real numbers of the result's shape {axes_.spelled(expected)},"
            f" got {gradient.dtype} of shape {axes_.spelled(gradient.shape)}"
        )
    given = axes_.Arrangement(built.output_axes, expected, arrangement.spatial)
    return np.ascontiguousarray(given.canonical(gradient), built.operator.dtype)


def _as_given(taps: np.ndarray, letters: str) -> np.ndarray:
    """Taps [g, o, i, *extent] in the axes of the array that they came from."""
    g, o, i, *extent = taps.shape
    lead, lengths = next(row for row in (("OI", (g * o, i)), ("C", (g,)), ("", ())) if set(row[0]) <= set(letters))
    order = lead + axes_.spatial_of(letters)
    return np.ascontiguousarray(axes_.transposed(taps.reshape(*lengths, *extent), order, letters))
