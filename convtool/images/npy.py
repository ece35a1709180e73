"""NumPy's .npy files, without ever unpickling: what the header says is checked before a value is touched."""

from __future__ import annotations

import io
import math
from typing import IO

import numpy as np

from convtool.axes import image_axes, spelled
from convtool.errors import DataError, FileError
from convtool.images.guard import check_memory, damaged, native, silence
from convtool.images.image import Image, Metadata, unkept

_LONGEST = 1 << 63
_REFUSED = {
    "c": "complex numbers: save its real part, or its absolute value",
    "V": "records (a structured dtype): save one of the fields",
    "S": "text: save numbers",
    "U": "text: save numbers",
    "M": "dates: save numbers",
    "m": "time spans: save numbers",
}


def read_npy(raw: bytes, name: str, axes: str | None) -> Image:
    """The array of an .npy file, with the axes given or its rank's default.

    Raises FileError for a damaged file or one of Python objects, DataError for other values than real numbers,
    SettingError where axes do not fit.
    """
    data = read_array(raw, name)
    letters = image_axes(data.shape, axes, name)
    assumed = axes is None and data.ndim > 2
    note = f"{name} has {data.ndim} axes, taken as {letters}: say --axes if they mean something else"
    return Image(data, letters, None, name, "npy", Metadata(), (note,) if assumed else ())


def read_array(raw: bytes, name: str) -> np.ndarray:
    """The array in an .npy file: real numbers, native, C-contiguous; read-only where it is the file's own bytes."""
    shape, fortran, dtype, start = header(raw, name)
    _check_dtype(dtype, name)
    if min(shape, default=1) < 0:
        raise damaged(name, ".npy", f"its shape is {shape}")
    promised, held = math.prod(shape) * dtype.itemsize, len(raw) - start
    if promised > held:
        raise FileError(
            f"cannot read {name}: its header promises {promised} bytes (shape {spelled(shape)}, {dtype.name}),"
            f" but the file holds {held}: it is truncated or damaged"
        )
    check_memory(name, shape, dtype)
    flat = np.frombuffer(raw, dtype, math.prod(shape), start)
    return native(flat.reshape(shape, order="F" if fortran else "C"))


def header(raw: bytes, name: str) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """(shape, whether in Fortran order, dtype, where the values begin) of a file that begins with these bytes."""
    stream = io.BytesIO(raw)
    with silence:  # of files of Python 2, read well all the same
        try:
            version = np.lib.format.read_magic(stream)
            if version == (3, 0):  # exists only for records with names outside Latin-1
                raise DataError(f"{name} holds {_REFUSED['V']}")
            parse = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = parse(stream)
        except DataError:
            raise
        except Exception as error:  # the header is parsed as Python text, which fails in many ways
            raise damaged(name, ".npy", str(error)) from error
    if any(n >= _LONGEST for n in shape):
        raise damaged(name, ".npy", "it promises an axis of 2^63 samples or more")
    return shape, fortran, dtype, stream.tell()


def _check_dtype(dtype: np.dtype, name: str) -> None:
    if dtype.hasobject:
        raise FileError(
            f"cannot read {name}: it holds Python objects (a pickle), which convtool never loads: save numbers"
        )
    if dtype.kind in _REFUSED:
        raise DataError(f"{name} holds {_REFUSED[dtype.kind]}")
    if dtype.itemsize > 8:
        raise DataError(f"{name} holds {dtype.name} values, which are too wide: save it as float64")


def write_npy(stream: IO[bytes], data: np.ndarray, alpha: np.ndarray | None, metadata: Metadata) -> tuple[str, ...]:
    """Write an array as .npy; returns what could not be kept."""
    np.lib.format.write_array(stream, data, allow_pickle=False)
    return unkept("an .npy file", alpha, metadata)
