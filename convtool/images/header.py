"""What an image file holds, from its header alone: values, shape, dtype; what is damaged is left for reading to say."""

from __future__ import annotations

import io
import math
import os
import re
import struct
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from convtool.axes import image_axes
from convtool.errors import ConvtoolError
from convtool.images import raster
from convtool.images.fits import FITS_AXES
from convtool.images.formats import kind_of
from convtool.images.npy import header as npy_header
from convtool.images.png import SAMPLES
from convtool.images.tiff_read import meaning_of, opened

_BYTE = np.dtype(np.uint8)
_FITS_DTYPES = {b"8": _BYTE} | {b"%d" % bits: np.dtype(f"i{bits // 8}") for bits in (16, 32, 64)}
_FITS_DTYPES |= {b"-32": np.dtype("f4"), b"-64": np.dtype("f8")}
_ENOUGH = 1 << 16  # bytes that hold the header of an .npy file


@dataclass(frozen=True)
class Header:
    """What a file's header says: how many values it holds, of which dtype, and the shape and axes of its image.

    Neither shape nor axes where they cannot be told; all images of a TIFF are of one shape, or the largest is meant.
    """

    values: int = 0
    dtype: np.dtype = _BYTE
    shape: tuple[int, ...] = ()
    axes: str = ""


def header_of(name: str, axes: str | None = None) -> Header:
    """What is in an image file, its axes being those given, if they fit; no values where it cannot be told."""
    readers = {"png": _png, "npy": _npy, "tiff": _tiff, "fits": _fits}
    kind = kind_of(name)
    try:
        found = readers.get(kind, _picture)(name) if kind else Header()
    except (ConvtoolError, OSError, ValueError, struct.error):
        return Header()
    return _relabelled(found, axes)


def values_of(name: str) -> tuple[int, int]:
    """(the number of values, bytes of each) in an image file; (0, 1) where it cannot be told."""
    found = header_of(name)
    return found.values, found.dtype.itemsize


def _relabelled(found: Header, axes: str | None) -> Header:
    try:
        return replace(found, axes=image_axes(found.shape, axes)) if axes or not found.axes else found
    except ConvtoolError:
        return replace(found, shape=(), axes="")


def _start(name: str) -> bytes:
    with open(name, "rb") as stream:
        return stream.read(_ENOUGH)


def _png(name: str) -> Header:
    width, height, depth, colour = struct.unpack_from(">IIBB", _start(name), 16)
    return _plane(height, width, SAMPLES.get(colour, 4), np.dtype(np.uint16 if depth > 8 else np.uint8))


def _plane(height: int, width: int, samples: int, dtype: np.dtype = _BYTE) -> Header:
    shape, axes = ((height, width), "YX") if samples == 1 else ((height, width, samples), "YXC")
    return Header(height * width * samples, dtype, shape, axes)


def _npy(name: str) -> Header:
    shape, _, dtype, _ = npy_header(_start(name), name)
    return Header(math.prod(shape), dtype, shape)


def _tiff(name: str) -> Header:
    with open(name, "rb", buffering=0) as stream, opened(io.BufferedReader(_Nameless(stream)), name) as file:
        largest = max(file.series, key=lambda each: math.prod(each.shape))
        letters = meaning_of(largest.axes)
        values = sum(math.prod(each.shape) for each in file.series)
        is_plain = letters.count("N") < 2 and len(set(letters)) == len(letters)
        shape, axes = (largest.shape, letters) if is_plain else _merged(largest.shape, letters)
        return Header(values, np.dtype(largest.dtype), shape, axes)


def _merged(shape: tuple[int, ...], letters: str) -> tuple[tuple[int, ...], str]:
    """Shape and axes with all N as one, the first."""
    batch = math.prod(n for n, letter in zip(shape, letters, strict=True) if letter == "N")
    inner = tuple(n for n, letter in zip(shape, letters, strict=True) if letter != "N")
    return (batch, *inner), "N" + letters.replace("N", "")


class _Nameless(io.RawIOBase):
    """A file of which nobody can tell where it lies: tifffile would open what an OME-TIFF names beside it."""

    def __init__(self, file: io.RawIOBase) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        return self._file.readinto(buffer)

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(place, whence)


def _fits(name: str) -> Header:
    """Of the whole file, which holds little but the values; the shape is that of its first image."""
    start = _start(name)
    found = re.search(rb"BITPIX  = +(-?\d{1,3}) ", start)
    dtype = _FITS_DTYPES.get(found[1], _BYTE) if found else _BYTE
    lengths = re.findall(rb"NAXIS([1-9])  = +(\d{1,18}) ", start[: start.find(b"END  ")])
    shape = tuple(int(length) for _, length in reversed(lengths))
    axes = FITS_AXES.get(len(shape), "")
    return Header(os.path.getsize(name) // dtype.itemsize, dtype, shape if axes else (), axes)


def _picture(name: str) -> Header:
    with open(name, "rb") as stream:
        mode, shape, _, _ = raster.header(stream, os.path.getsize(name), name, "image")
    return _plane(*shape, 1 if mode in ("1", "L") else 4)
