"""Write computed values as an image file: laid out for the format, converted with counts, metadata kept."""

from __future__ import annotations

import numpy as np

from convtool.axes import spelled
from convtool.errors import DataError
from convtool.files import Staging
from convtool.images import fits, npy, png, raster, tiff_write
from convtool.images.formats import output_format
from convtool.images.image import Image, Metadata, Written
from convtool.images.layout import laid_out
from convtool.images.quantise import output_dtype, quantise, scaling_of


def write(
    values: np.ndarray,
    axes: str,
    target: str,
    staging: Staging,
    *,
    like: Image | None,
    format: str | None = None,
    dtype: str | None = None,
    scale: str | None = None,
    alpha: np.ndarray | None = None,
) -> Written:
    """Stage floating-point values, one axis per letter of `axes`, as the file `target` (`-`: standard output).

    `like` is the input, whose dtype (but for bool, see `output_dtype`) and metadata are kept; `dtype` names another
    one; `scale` is None, 'FACTOR', 'FACTOR,OFFSET' or 'fit'; `alpha` is [Y, X] of the values' own frame. The format is
    that of the target's ending.

    Raises SettingError for what the format cannot hold, DataError for NaN in integers or an alpha of another shape.
    """
    kind = output_format(target, format)
    wanted = output_dtype(values.dtype, like, dtype, kind)
    metadata = Metadata() if like is None else like.metadata
    _check_alpha(alpha, axes, values.shape)
    order = _order(kind, axes, values.shape, wanted, metadata, target)
    result = quantise(values, wanted, scale)
    data = laid_out(result.data, axes, order)
    dropped = _encode(kind, staging, target, data, order, alpha, metadata)
    return Written(
        format=kind,
        dtype=wanted.name,
        shape=data.shape,
        axes=order,
        clipped_low=result.clipped_low,
        clipped_high=result.clipped_high,
        rounded=result.rounded,
        rounding_error=result.rounding_error,
        scale=result.scale,
        offset=result.offset,
        nonfinite=result.nonfinite,
        dropped=dropped,
        values=result.data,
    )


def check_destination(target: str | None, format: str | None, dtype: str | None, scale: str | None) -> None:
    """Raises SettingError for what could not be written whatever the values, before they are computed.

    target: a name, or None where that follows from the input's
    """
    scaling_of(scale)
    wanted = None if dtype is None else output_dtype(np.dtype(np.float32), None, dtype, "npy")
    if target is None and format is None:
        return
    target = target or "the result"
    kind = output_format(target, format)
    if wanted is not None:
        _order(kind, "YX", (1, 1), output_dtype(wanted, None, dtype, kind), Metadata(), target)


def _check_alpha(alpha: np.ndarray | None, axes: str, shape: tuple[int, ...]) -> None:
    sizes = dict(zip(axes, shape, strict=True))
    frame = (sizes.get("Y"), sizes.get("X"))
    if alpha is not None and alpha.shape != frame:
        raise DataError(
            f"alpha has shape {spelled(alpha.shape)}, but the result's frame is {frame[0]}x{frame[1]}: resample it"
        )


def _order(
    kind: str,
    axes: str,
    shape: tuple[int, ...],
    dtype: np.dtype,
    metadata: Metadata,
    target: str,
) -> str:
    """The file's order of axes; every refusal comes from here, before values are converted or a file is opened."""
    if kind == "png":
        return png.png_axes(axes, shape, dtype)
    if kind == "jpeg":
        return raster.jpeg_axes(axes, shape, dtype)
    if kind == "tiff":
        return tiff_write.tiff_axes(axes, shape, metadata)
    return fits.fits_axes(axes, dtype, target) if kind == "fits" else axes


def _encode(
    kind: str,
    staging: Staging,
    target: str,
    data: np.ndarray,
    axes: str,
    alpha: np.ndarray | None,
    metadata: Metadata,
) -> tuple[str, ...]:
    stream = staging.open(target)
    if kind == "png":
        return png.write_png(stream, data, alpha, metadata)
    if kind == "jpeg":
        return raster.write_jpeg(stream, data, alpha, metadata)
    if kind == "tiff":
        return tiff_write.write_tiff(stream, data, axes, alpha, metadata)
    if kind == "fits":
        return fits.write_fits(stream, data, alpha, metadata)
    return npy.write_npy(stream, data, alpha, metadata)
