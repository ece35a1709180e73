"""How many values an image file holds, from its header alone; what is damaged is left for reading to say."""

from __future__ import annotations

import io
import math
import os
import re
import struct
from typing import Any

import numpy as np

from convtool.errors import ConvtoolError
from convtool.images import raster
from convtool.images.formats import kind_of
from convtool.images.npy import header as npy_header
from convtool.images.png import SAMPLES
from convtool.images.tiff_read import opened

_ENOUGH = 1 << 16  # bytes that hold the header of an .npy file


def values_of(name: str) -> tuple[int, int]:
    """(the number of values, bytes of each) in an image file; (0, 1) where it cannot be told."""
    readers = {"png": _png, "npy": _npy, "tiff": _tiff, "fits": _fits}
    kind = kind_of(name)
    try:
        return readers.get(kind, _picture)(name) if kind else (0, 1)
    except (ConvtoolError, OSError, ValueError, struct.error):
        return 0, 1


def _start(name: str) -> bytes:
    with open(name, "rb") as stream:
        return stream.read(_ENOUGH)


def _png(name: str) -> tuple[int, int]:
    width, height, depth, colour = struct.unpack_from(">IIBB", _start(name), 16)
    return width * height * SAMPLES.get(colour, 4), -(-depth // 8)


def _npy(name: str) -> tuple[int, int]:
    shape, _, dtype, _ = npy_header(_start(name), name)
    return math.prod(shape), dtype.itemsize


def _tiff(name: str) -> tuple[int, int]:
    with open(name, "rb", buffering=0) as stream, opened(io.BufferedReader(_Nameless(stream)), name) as file:
        return sum(math.prod(each.shape) for each in file.series), np.dtype(file.series[0].dtype).itemsize


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


def _fits(name: str) -> tuple[int, int]:
    """Of the whole file, which holds little but the values."""
    found = re.search(rb"BITPIX  = +-?(\d{1,3})", _start(name))
    each = max(1, int(found[1]) // 8) if found else 1
    return os.path.getsize(name) // each, each


def _picture(name: str) -> tuple[int, int]:
    with open(name, "rb") as stream:
        mode, shape, _, _ = raster.header(stream, os.path.getsize(name), name, "image")
    return math.prod(shape) * (1 if mode in ("1", "L") else 4), 1
