"""Kernels from files: .npy, text, or an image whose integers are weights to be normalised."""

from __future__ import annotations

import re

import numpy as np

from convtool.axes import spelled
from convtool.errors import DataError, FileError
from convtool.files import read_bytes
from convtool.images.formats import is_known
from convtool.images.image import Image
from convtool.images.npy import read_array
from convtool.images.reading import decode


def read_kernel(source: str, plain: bool = False) -> tuple[np.ndarray, tuple[str, ...]]:
    """The taps in a file (`-`: standard input), and notes on what was done to them.

    .npy of any rank; an image (its integers divided by their sum); text: rows of numbers separated by commas,
    semicolons or blanks, lines starting with # left out. Integers become float64; float32 and float64 stay. With
    `plain` the taps are values and no weights: an image's integers stay as they are, and all may be zero.

    Raises FileError for what cannot be read, DataError for taps that cannot be used (NaN, empty, all zero, complex).
    """
    raw = read_bytes(source)
    notes: tuple[str, ...] = ()
    if not is_known(raw):
        taps = _numbers(raw, source)
    elif raw.startswith(b"\x93NUMPY"):
        taps = _floats(read_array(raw, source))
    else:
        taps, notes = _weights(decode(raw, source), plain)
    _check(taps, source, plain)
    return taps, notes


def _floats(taps: np.ndarray) -> np.ndarray:
    return taps if taps.dtype in (np.float32, np.float64) else taps.astype(np.float64)


def _check(taps: np.ndarray, source: str, plain: bool) -> None:
    if taps.size == 0:
        raise DataError(f"kernel {source} is empty (shape {spelled(taps.shape)}): give at least one tap")
    if not np.isfinite(taps).all():
        bad = np.count_nonzero(~np.isfinite(taps))
        raise DataError(f"kernel {source} has {bad} NaN or infinite taps: a kernel needs finite numbers")
    if not plain and not taps.any():
        raise DataError(f"kernel {source} is all zeros (shape {spelled(taps.shape)}): it would wipe out the image")


def _weights(image: Image, plain: bool) -> tuple[np.ndarray, tuple[str, ...]]:
    """An image as taps: one grey channel, integers normalised to sum 1, or with `plain` as they are."""
    taps, notes = _grey(image)
    if image.alpha is not None:
        notes = (*notes, f"the alpha of kernel {image.name} was ignored")
    if plain or taps.dtype.kind == "f":
        return _floats(taps), notes
    exact = taps.astype(np.float64)
    total = exact.sum()
    if total == 0:
        return exact, (*notes, f"the integers of kernel {image.name} sum to 0: they were left as they are")
    return exact / total, (*notes, f"kernel {image.name} holds integers: they were divided by their sum {total:.0f}")


def _grey(image: Image) -> tuple[np.ndarray, tuple[str, ...]]:
    if image.axes != "YXC":
        return image.data, ()
    first = image.data[..., 0]
    if not (image.data == first[..., np.newaxis]).all():
        raise DataError(
            f"kernel {image.name} is a colour image: save it as grey, or as an OIYX .npy for a kernel per channel"
        )
    return np.ascontiguousarray(first), (f"the channels of kernel {image.name} are equal: it was taken as grey",)


def _numbers(raw: bytes, source: str) -> np.ndarray:
    """The rows of a text file, all of one length."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileError(
            f"cannot read kernel {source}: it is no .npy, image or text file of numbers, or damaged"
        ) from error
    lines = [(n, line.strip()) for n, line in enumerate(text.splitlines(), 1)]
    rows = [(n, _row(line, n, source)) for n, line in lines if line and not line.startswith("#")]
    for n, row in rows:
        if len(row) != len(rows[0][1]):
            raise DataError(
                f"kernel {source}, line {n}, has {len(row)} numbers, but line {rows[0][0]} has {len(rows[0][1])}:"
                " rows must be equally long"
            )
    return np.array([row for _, row in rows], dtype=np.float64)


def _row(line: str, number: int, source: str) -> list[float]:
    separators = [mark for mark in ",;" if mark in line]
    if len(separators) > 1:
        raise DataError(
            f"kernel {source}, line {number}, mixes commas and semicolons: use one of them, and decimal points"
        )
    cells = line.split(separators[0]) if separators else re.split(r"\s+", line)
    row = []
    for cell in cells:
        try:
            row.append(float(cell))
        except ValueError as error:
            short = cell.strip()[:20]
            raise DataError(f"kernel {source}, line {number}: '{short}' is not a number") from error
    return row
