"""Every window of an image as an array: a view, for reductions that no name stands for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from convtool import axes as axes_
from convtool import boundary as boundary_
from convtool.errors import DataError
from convtool.geometry import Padding
from convtool.pooling.geometry import Window, box, sides
from convtool.windows import engine


def receptive_fields(
    x: np.ndarray,
    window: Window,
    *,
    axes: str | None = None,
    boundary: str = "periodic",
    padding: Padding = "valid",
    stride: int | Sequence[int] = 1,
    dilation: int | Sequence[int] = 1,
) -> np.ndarray:
    """Every window of an image as a strided, read-only view: fields[..., n, ..., m] = x_ext[..., n s - p + m d, ...].

    With padding "valid" (or 0) it is a view of x itself; otherwise of x extended by the boundary.

    Parameters
    ----------
    x: array of any dtype
    window: taps along each spatial axis of x, or one number for each of the last ones of Z, Y, X
    axes: letters of x's axes, by rank YX, CYX, NCYX, NCZYX
    boundary, padding, stride, dilation: as in `convtool.correlate`; padding "same" centres windows at n // 2

    Returns
    -------
    x's axes in x's order, the window's axes counting windows in place of pixels, then the window in the order Z, Y, X:
    of x [c, h, w], window (3, 5) and padding "valid" [c, h - 2, w - 4, 3, 5].

    Raises
    ------
    convtool.errors.SettingError, convtool.errors.DataError

    Example
    -------
    >>> import numpy as np, convtool
    >>> x = np.arange(20.0).reshape(4, 5)
    >>> fields = convtool.receptive_fields(x, (2, 3))
    >>> fields.shape, float(np.median(fields, axis=(-2, -1))[0, 0])
    ((3, 3, 2, 3), 3.5)
    """
    x = np.asarray(x)
    if x.size == 0:
        raise DataError(f"the image is empty (shape {axes_.spelled(x.shape)})")
    letters = axes_.image_axes(x.shape, axes)
    extent = sides(window, axes_.spatial_of(letters))
    spatial = axes_.spatial_of(letters)[-len(extent) :]
    windows = box(
        [x.shape[letters.index(letter)] for letter in spatial],
        extent,
        boundary_mode=boundary,
        padding=padding,
        stride=stride,
        dilation=dilation,
    )
    order = "".join(letter for letter in letters if letter not in spatial) + spatial
    inner = axes_.transposed(x, letters, order)
    if windows.extended != windows.grid:
        inner = boundary_.extend(inner, windows.padding, windows.boundary)
    places = [order.index(letter) for letter in letters]
    return engine.fields(inner, windows).transpose(*places, *range(x.ndim, x.ndim + len(extent)))
