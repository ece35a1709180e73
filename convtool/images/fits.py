"""FITS through astropy (the extra `fits`): the first image in the file, its header kept.

https://fits.gsfc.nasa.gov/fits_standard.html
"""

from __future__ import annotations

import io
import math
from typing import IO, Any

import numpy as np

from convtool.axes import spelled
from convtool.errors import DataError, SettingError
from convtool.images.guard import check_memory, check_unpacked, damaged, decoding, extra, native, silence
from convtool.images.image import Image, Metadata, unkept

FITS_AXES = {2: "YX", 3: "ZYX", 4: "NZYX"}
_STALE = ("CHECKSUM", "DATASUM", "BLANK", "DATAMIN", "DATAMAX")  # of the input's values, not of the result's
_DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")
_WHY = "a FITS file, which astropy reads and writes"


def read_fits(raw: bytes, name: str) -> Image:
    """The first image with data, scaled by its BSCALE and BZERO.

    Raises FileError for a damaged file, DataError for one without an image, MissingExtraError without astropy.
    """
    fits = extra("astropy.io.fits", name, _WHY, "fits")
    with decoding(name, "FITS"), fits.open(io.BytesIO(raw), memmap=False) as units:
        unit = next((unit for unit in units if unit.is_image and len(unit.shape) > 1), None)
        if unit is None:
            raise DataError(f"{name} holds no image of 2 or more axes: convert what you mean to .npy")
        end = unit.fileinfo()["datLoc"] + unit.size
        if end > len(raw):
            raise damaged(name, "FITS", f"its header promises {end} bytes, the file holds {len(raw)}")
        bits = int(unit.header["BITPIX"])  # negative for floats
        check_memory(name, unit.shape, np.dtype(f"{'f' if bits < 0 else 'i'}{abs(bits) // 8}"))
        check_unpacked(name, math.prod(unit.shape), abs(bits) // 8, len(raw))
        data, header = native(unit.data), unit.header.copy()
    if data.ndim not in FITS_AXES:
        raise DataError(f"{name} has {data.ndim} axes (shape {spelled(data.shape)}), expected 2 to 4: cut it")
    for key in _STALE:
        header.remove(key, ignore_missing=True)
    letters = FITS_AXES[data.ndim]
    notes = (f"{name} has {data.ndim} axes, taken as {letters}: say --axes if they mean something else",)
    return Image(data, letters, None, name, "fits", Metadata(fits_header=header), notes if data.ndim > 2 else ())


def fits_axes(axes: str, dtype: np.dtype, target: str) -> str:
    """The order of axes in a FITS file for such values: N, C, Z, Y, X, those there are.

    Raises SettingError for a dtype that FITS lacks, MissingExtraError without astropy.
    """
    if dtype.name not in _DTYPES:
        raise SettingError(f"a FITS file cannot hold {dtype.name}: use --dtype float32, or write .npy")
    extra("astropy.io.fits", target, _WHY, "fits")
    return "".join(letter for letter in "NCZYX" if letter in axes)


def write_fits(stream: IO[bytes], data: np.ndarray, alpha: np.ndarray | None, metadata: Metadata) -> tuple[str, ...]:
    """Write an array with the header of the input; returns what could not be kept."""
    from astropy.io import fits

    header: Any = metadata.fits_header
    dropped = unkept("a FITS file", alpha, metadata)
    if header is not None and _lengths(header) != data.shape:
        dropped = (*dropped, "the match of the FITS header's coordinates (CRPIX) to the pixels, as the shape changed")
    buffer = io.BytesIO()  # astropy closes, and looks for a name on, the files it is given
    with silence:  # cards of the input that break the standard are mended, which it says
        if header is not None and not all(map(_can_be_written, header.cards)):
            header = fits.Header(filter(_can_be_written, header.cards))
            dropped = (*dropped, "cards of the FITS header that break the standard")
        fits.PrimaryHDU(data, header).writeto(buffer, output_verify="silentfix")
    stream.write(buffer.getbuffer())
    return dropped


def _can_be_written(card: Any) -> bool:
    """Whether astropy can write a card, once it has mended what it can."""
    try:
        card.verify("silentfix")
    except Exception:  # of several kinds, by what is wrong with it
        return False
    return True


def _lengths(header: Any) -> tuple[int, ...]:
    return tuple(int(header[f"NAXIS{axis}"]) for axis in range(int(header["NAXIS"]), 0, -1))
