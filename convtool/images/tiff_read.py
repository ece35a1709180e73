"""TIFF through tifffile: pages, samples and ImageJ's, OME's or tifffile's own axes, as one array of N C Z Y X.

Samples S and channels C become C (C a batch axis where both occur); the pages of a plain file become Z; every other
axis (time, position, angle ...) is a batch axis, and several of them are merged into one N.
"""

from __future__ import annotations

import io
import logging
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np

from convtool.axes import spelled
from convtool.errors import DataError
from convtool.images.exif import exif_with
from convtool.images.guard import check_memory, check_unpacked, damaged, decoding, missing_extra, native
from convtool.images.image import Image, Metadata
from convtool.images.tiff_claims import check_description, check_pages, check_segments
from convtool.images.tiff_fields import metadata_of

_REFUSED = {5: "CMYK", 8: "CIELAB", 9: "ICCLAB", 10: "ITULAB", 32803: "raw mosaic", 32844: "LogL", 32845: "LogLuv"}
_WHITE_IS_ZERO, _RGB, _PALETTE, _YCBCR = 0, 2, 3, 6
_JPEG = (6, 7)
_ALPHA = (1, 2)  # premultiplied, and not


def read_tiff(raw: bytes, name: str) -> Image:
    """A TIFF's first image, or all its images where they are alike.

    Raises FileError for a damaged file, DataError for colours other than grey and RGB, MissingExtraError for a
    compression that needs imagecodecs.
    """
    with opened(io.BytesIO(raw), name) as file:
        alike = [one for one in file.series if (one.shape, one.axes, one.dtype) == _likeness(file.series[0])]
        series, page = file.series[0], file.series[0].keyframe
        _check_photometric(page, name)
        together = len(alike) == len(file.series) > 1
        shape = (len(alike) if together else 1, *series.shape)
        check_memory(name, shape, np.dtype(series.dtype))
        samples = page.samplesperpixel
        check_unpacked(name, math.prod(shape) // samples, samples * np.dtype(series.dtype).itemsize, len(raw))
        chosen = alike if together else [series]
        for one in chosen:
            check_segments(one, name, len(raw))
        data = (
            np.stack([_pixels(raw, file, one, name) for one in chosen])
            if together
            else _pixels(raw, file, series, name)
        )
        axes = (("P" if "T" in series.axes else "T") if together else "") + series.axes
        notes = [] if together else _other_series(file, name)
        return _assembled(data, axes, file, page, name, notes)


@contextmanager
def opened(stream: IO[bytes], name: str) -> Iterator[Any]:
    """tifffile's TiffFile of a file whose claims are no larger than it is."""
    import tifffile

    check_pages(stream, name)
    stream.seek(0)
    # Of Micro-Manager's index tifffile believes every number; what it says is in these files as ImageJ's or OME's, too.
    with _page_errors(name), decoding(name, "TIFF"), tifffile.TiffFile(stream, is_mmstack=False) as file:
        check_description(file, name)
        yield file


def _likeness(series: Any) -> tuple[object, ...]:
    return series.shape, series.axes, series.dtype


def _check_photometric(page: Any, name: str) -> None:
    photometric = int(page.photometric)
    raw_luminance = photometric == _YCBCR and int(page.compression) not in _JPEG  # no codec turns these into RGB
    if photometric in _REFUSED or raw_luminance:
        kind = _REFUSED.get(photometric, "YCbCr")
        raise DataError(f"{name} is a {kind} image, which convtool does not read: convert it to RGB")
    if np.dtype(page.dtype).kind not in "uifb":
        raise DataError(f"{name} holds {page.dtype} values: save their real part, or their absolute value")


def _other_series(file: Any, name: str) -> list[str]:
    if len(file.series) == 1:
        return []
    first = spelled(file.series[0].shape)
    return [f"{name} holds {len(file.series)} images of different shapes: only the first ({first}) is used"]


@contextmanager
def _page_errors(name: str) -> Iterator[None]:
    """A broken chain of pages, which tifffile only logs, dropping them, is an error; its other logs stay inside."""
    logger = logging.getLogger("tifffile")
    broken: list[str] = []
    here = threading.get_ident()  # other files are read at the same time

    def keep(record: logging.LogRecord) -> bool:
        if record.thread == here and record.levelno >= logging.ERROR and "TiffPages" in record.getMessage():
            broken.append(record.getMessage())
        return False

    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)
    if broken:
        raise damaged(name, "TIFF", broken[0])


def _pixels(raw: bytes, file: Any, series: Any, name: str) -> np.ndarray:
    try:
        return series.asarray()
    except Exception as error:
        if "requires the 'imagecodecs' package" not in str(error):
            raise
        if not _pillow_is_right(file, series):
            why = f"compressed by {series.keyframe.compression.name}, which needs imagecodecs"
            raise missing_extra(name, why, "codecs") from error
    import imageio.v3 as iio

    frames = np.stack(list(iio.imiter(raw, plugin="pillow")))
    return frames.reshape(series.shape).astype(series.dtype, copy=False)


def _pillow_is_right(file: Any, series: Any) -> bool:
    """Where Pillow keeps every bit and changes none: upright 8-bit grey or RGB, 16-bit and float32 grey."""
    page = series.keyframe
    exact = {(1, 1, "uint8"), (1, 1, "uint16"), (1, 1, "float32"), (_RGB, 3, "uint8")}
    kind = (int(page.photometric), page.samplesperpixel, np.dtype(page.dtype).name)
    upright = page.tags.valueof(274, 1) == 1 and int(page.planarconfig or 1) == 1
    return kind in exact and upright and len(file.series) == 1 and len(file.pages) == len(series.pages)


def _assembled(data: np.ndarray, axes: str, file: Any, page: Any, name: str, notes: list[str]) -> Image:
    """The array with its colours and axes settled, and the file's metadata."""
    if "Y" not in axes or "X" not in axes:
        raise DataError(f"{name} has axes {axes}, expected an image with Y and X")
    kind = file.series[0].kind
    colormap = None
    if int(page.photometric) == _PALETTE and kind == "imagej":
        colormap = page.colormap  # a display colour: the values are the measurement
    elif int(page.photometric) == _PALETTE:
        data, axes = _looked_up(data, page.colormap), axes + "S"
        notes.append(f"the palette of {name} was looked up: its pixels are RGB")
    data = _black_is_zero(data, page, name, notes)
    if "S" in axes:
        data, axes = np.moveaxis(data, axes.index("S"), -1), axes.replace("S", "") + "S"
    data, axes, alpha = _without_alpha(data, axes, page, name, notes)
    meaning = meaning_of(axes)
    notes.extend(_said(axes, meaning, data.shape, name))
    tiff = metadata_of(file, page, axes, data.shape, meaning, colormap)
    data, letters = _merged(data, meaning)
    dpi = _dpi(tiff.resolution, tiff.resolution_unit)
    metadata = Metadata(page.tags.valueof(34675), exif_with(tiff.orientation), dpi, tiff=tiff)
    return Image(native(data), letters, alpha, name, "tiff", metadata, tuple(notes))


def _looked_up(indices: np.ndarray, colormap: np.ndarray) -> np.ndarray:
    wide = colormap >> 8 if colormap.max() > 255 else colormap
    return np.ascontiguousarray(wide.T.astype(np.uint8)[indices])


def _black_is_zero(data: np.ndarray, page: Any, name: str, notes: list[str]) -> np.ndarray:
    if data.dtype == np.bool_:
        data = data * np.uint8(255)
        notes.append(f"the 1-bit values of {name} were spread over 0..255")
    if int(page.photometric) != _WHITE_IS_ZERO or data.dtype.kind != "u":
        return data
    notes.append(f"{name} stores white as 0: its values were inverted, so that black is 0")
    return np.iinfo(data.dtype).max - data


def _without_alpha(
    data: np.ndarray, axes: str, page: Any, name: str, notes: list[str]
) -> tuple[np.ndarray, str, np.ndarray | None]:
    extras = [int(kind) for kind in page.extrasamples]
    if not extras or extras[-1] not in _ALPHA or axes[-1] != "S" or data.shape[-1] not in (2, 4):
        return data, axes, None
    if data.ndim > 3:
        notes.append(f"{name} is a stack with alpha, which is treated as one more channel")
        return data, axes, None
    alpha = np.ascontiguousarray(data[..., -1])
    return (data[..., 0], axes[:-1], alpha) if data.shape[-1] == 2 else (data[..., :3], axes, alpha)


def meaning_of(axes: str) -> str:
    """Letter by letter: what the file's axes are among N C Z Y X."""
    known = {"Z": "Z", "Y": "Y", "X": "X", "S": "C", "C": "N" if "S" in axes else "C"}
    meaning = [known.get(letter, "N") for letter in axes]
    pages = max(axes.rfind("Q"), axes.rfind("I"))  # nothing says what these are
    if pages >= 0 and "Z" not in axes:
        meaning[pages] = "Z"
    return "".join(meaning)


def _said(axes: str, meaning: str, shape: tuple[int, ...], name: str) -> Iterator[str]:
    for letter, taken, length in zip(axes, meaning, shape, strict=True):
        if letter in "QI" and taken == "Z":
            ours = _letters(meaning)
            separate = ours.replace("Z", "" if "N" in ours else "N")
            hint = f": say --axes {separate} if they are separate images" if len(separate) == len(ours) else ""
            yield f"the {length} pages of {name} were read as Z (axes {ours}){hint}"
        elif taken == "N":
            yield f"axis {letter} of {name} (length {length}) was taken as separate images (N)"


def _letters(meaning: str) -> str:
    return ("N" if "N" in meaning else "") + meaning.replace("N", "")


def _merged(data: np.ndarray, meaning: str) -> tuple[np.ndarray, str]:
    """All batch axes moved to the front and merged into one."""
    batch = [place for place, letter in enumerate(meaning) if letter == "N"]
    rest = [place for place, letter in enumerate(meaning) if letter != "N"]
    moved = data.transpose(batch + rest)
    return (moved.reshape(-1, *moved.shape[len(batch) :]) if batch else moved), _letters(meaning)


def _dpi(resolution: tuple[tuple[int, int], tuple[int, int]] | None, unit: int) -> tuple[float, float] | None:
    per_inch = {2: 1.0, 3: 2.54}.get(unit)
    if resolution is None or per_inch is None or not all(n and d for n, d in resolution):
        return None
    (x, x_per), (y, y_per) = resolution
    return x / x_per * per_inch, y / y_per * per_inch
