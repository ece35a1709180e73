"""Pictures through imageio's Pillow plugin: JPEG, and BMP, GIF and WebP for reading; PNG's pixels come here too."""

from __future__ import annotations

import io
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np

from convtool.axes import spelled
from convtool.errors import DataError, SettingError
from convtool.images.guard import check_memory, check_unpacked, decoding, most_pixels
from convtool.images.image import Image, Metadata, resolution_within
from convtool.images.layout import plane_axes
from convtool.images.profiles import profile_for

_SAMPLES = {"1": 1, "L": 1, "LA": 2, "P": 4, "RGB": 3, "RGBA": 4}
_LEFT = 0.7  # of a step's rounding error
_LARGEST_PIXEL = 4  # bytes
_opening = threading.RLock()
_EXIF_PREFIX = b"Exif\0\0"
_LARGEST_EXIF = 65533 - len(_EXIF_PREFIX)  # a JPEG segment


def read_raster(raw: bytes, name: str, kind: str) -> Image:
    """A JPEG, BMP, GIF or WebP; raises FileError when it is damaged, DataError when it is neither grey nor RGB."""
    what = {"webp": "WebP"}.get(kind, kind.upper())
    mode, shape, frames, info = header(io.BytesIO(raw), len(raw), name, what)
    if mode not in _SAMPLES:
        raise DataError(f"{name} is a {mode} image, which convtool does not read: convert it to RGB")
    check_memory(name, (*shape, _SAMPLES[mode]), np.dtype(np.uint8))
    check_unpacked(name, math.prod(shape), _SAMPLES[mode], len(raw))
    lookup = None if mode != "P" else "RGBA" if "transparency" in info else "RGB"
    pixels = pillow_pixels(raw, name, what, lookup)
    data, alpha = split_alpha(pixels * np.uint8(255) if pixels.dtype == np.bool_ else pixels)
    notes = (f"{name} holds {frames} pictures: only its first is used",) if frames > 1 else ()
    axes = "YX" if data.ndim == 2 else "YXC"
    return Image(data, axes, alpha, name, kind, _metadata(info), notes, _loss(info.get("quantization")))


def _loss(tables: dict[int, list[int]] | None) -> float:
    """What a JPEG's quantisation leaves, from the steps q of the first table, that of the brightness.

    Rounding to multiples of q leaves q / sqrt(12) in a coefficient; the transform is orthonormal, so that pixels have
    the root mean square of them. Steps beyond the coefficients that a picture has leave less: 0.7 of it is where
    deblurred photographs came nearest the truth, of 0.25 to 1, for qualities 50 to 95.
    """
    if not tables:
        return 0.0
    steps = np.array(tables[min(tables)], float)
    return _LEFT * float(np.sqrt(np.square(steps).mean() / 12))


def header(stream: IO[bytes], size: int, name: str, what: str) -> tuple[str, tuple[int, int], int, dict[str, Any]]:
    """Mode, [Y, X], number of frames and Pillow's `info` of a file of so many bytes, without decoding."""
    import PIL.Image

    with decoding(name, what), _any_size(name, size), PIL.Image.open(stream) as picture:
        info: dict[str, Any] = {str(key): value for key, value in picture.info.items()}
        info["quantization"] = getattr(picture, "quantization", None)
        return picture.mode, (picture.height, picture.width), getattr(picture, "n_frames", 1), info


def _metadata(info: dict[str, Any]) -> Metadata:
    exif, dpi = info.get("exif"), info.get("dpi", (0, 0))
    return Metadata(
        icc=info.get("icc_profile") or None,
        exif=exif.removeprefix(_EXIF_PREFIX) if exif else None,
        dpi=(float(dpi[0]), float(dpi[1])) if min(dpi) > 0 else None,
    )


def pillow_pixels(raw: bytes, name: str, what: str, mode: str | None) -> np.ndarray:
    """The first frame's pixels as stored (EXIF orientation not applied), converted to a Pillow mode if one is named."""
    import imageio.v3 as iio

    with decoding(name, what):
        with _any_size(name, len(raw)):
            file: Any = iio.imopen(raw, "r", plugin="pillow")
        with file:
            return file.read(index=0, mode=mode)


@contextmanager
def _any_size(name: str, packed: int) -> Iterator[None]:
    """Pillow's limit on pixels lifted to ours, for files of so many bytes: a GIF's frames are made room for early.

    It is the process's, so one file is opened at a time; pixels are decoded outside.
    """
    import PIL.Image

    with _opening:
        most = most_pixels(_LARGEST_PIXEL, packed)
        limit, PIL.Image.MAX_IMAGE_PIXELS = PIL.Image.MAX_IMAGE_PIXELS, most  # to twice this many it only warns
        try:
            yield
        except PIL.Image.DecompressionBombError as error:
            pixels = int(str(error).partition("(")[2].partition(" ")[0])
            check_unpacked(name, pixels, _LARGEST_PIXEL, packed)
            raise
        finally:
            PIL.Image.MAX_IMAGE_PIXELS = limit


def split_alpha(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Grey [Y, X] or RGB [Y, X, 3], and alpha [Y, X] where the last axis has 2 or 4 samples."""
    if pixels.ndim == 2 or pixels.shape[-1] == 3:
        return np.ascontiguousarray(pixels), None
    colour = pixels[..., 0] if pixels.shape[-1] == 2 else pixels[..., :3]
    return np.ascontiguousarray(colour), np.ascontiguousarray(pixels[..., -1])


def jpeg_axes(axes: str, shape: tuple[int, ...], dtype: np.dtype) -> str:
    """The order of axes in a JPEG for such values; raises SettingError for what a JPEG cannot hold."""
    if dtype != np.uint8:
        raise SettingError(
            f"a JPEG holds 8-bit integers, got {dtype.name}: use --dtype uint8, or write .png, .tif or .npy"
        )
    if max(shape, default=0) > 65535:
        raise SettingError(f"a JPEG is at most 65535 wide and high, got shape {spelled(shape)}: write .png or .tif")
    return plane_axes("JPEG", axes, shape)


def write_jpeg(stream: IO[bytes], data: np.ndarray, alpha: np.ndarray | None, metadata: Metadata) -> tuple[str, ...]:
    """Write [Y, X] or [Y, X, 3] at quality 95 with profile, EXIF and resolution; returns what could not be kept."""
    import imageio.v3 as iio

    icc, dropped = profile_for(metadata.icc, colour=data.ndim == 3)
    options: dict[str, Any] = {} if icc is None else {"icc_profile": icc}
    dpi, lost = resolution_within(metadata, 1, 65535, "JPEG")
    if dpi is not None:
        options["dpi"] = tuple(round(value) for value in dpi)
    if metadata.exif is not None and len(metadata.exif) <= _LARGEST_EXIF:
        options["exif"] = _EXIF_PREFIX + metadata.exif
    elif metadata.exif is not None:
        dropped = (*dropped, "the EXIF data, which is too long for a JPEG")
    if alpha is not None:
        dropped = (*dropped, "alpha, which a JPEG cannot hold")
    dropped += lost
    stream.write(
        iio.imwrite("<bytes>", data, extension=".jpeg", plugin="pillow", is_batch=False, quality=95, **options)
    )
    return dropped
