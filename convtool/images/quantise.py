"""From computed values to a file's dtype, counting everything that changes.

written = clip(rint(FACTOR * y + OFFSET)), with rint and clip for integers; floats are only clipped to their range, and
bool is the integers 0 and 1.
Values are converted in blocks, in the order they have in memory, so that no second image of floats is made; runs of
blocks go to all cores, and their counts are added in the runs' order. The change rint(y) - y is exact in y's own dtype:
it is a difference of neighbours, or -y.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from convtool import process
from convtool.errors import DataError, SettingError, listed
from convtool.images.image import Image

_INTEGERS = [f"{kind}{bits}" for kind in ("uint", "int") for bits in (8, 16, 32, 64)]
NAMES = ("bool", *_INTEGERS, "float16", "float32", "float64")
_BLOCK = 1 << 15  # stays in the processor's cache, with what is computed of it
_RUN = 32  # blocks that a thread takes at a time


class Counts(NamedTuple):
    """What converting did to values: counts as in `Written`, and the sum of the squares of changes by rounding."""

    clipped_low: int = 0
    clipped_high: int = 0
    rounded: int = 0
    nonfinite: int = 0
    squares: float = 0.0


@dataclass(frozen=True, eq=False)
class Quantised:
    """The converted values, laid out in memory as the computed ones, and the counts of `Written`."""

    data: np.ndarray
    scale: float
    offset: float
    clipped_low: int
    clipped_high: int
    rounded: int
    nonfinite: int
    rounding_error: float


def output_dtype(computed: np.dtype, like: Image | None, chosen: str | None, kind: str) -> np.dtype:
    """The dtype to write to a format: the chosen one, else the input's, else the one computed in.

    What was computed of bool has a dtype of its own, unless it is bool again; only .npy holds that, others hold uint8.
    """
    if chosen is not None:
        if chosen not in NAMES:
            raise SettingError(f"unknown --dtype '{chosen}': use {listed(NAMES)}")
        if chosen == "bool" and kind != "npy":
            raise SettingError("--dtype bool is for .npy files: use --dtype uint8, or write .npy")
        return np.dtype(chosen)
    kept = computed if like is None or like.data.dtype == np.bool_ else like.data.dtype
    return np.dtype(np.uint8) if kept == np.bool_ and kind != "npy" else kept


def scaling(scale: str | None, values: np.ndarray, dtype: np.dtype) -> tuple[float, float]:
    """Factor and offset of 'FACTOR', 'FACTOR,OFFSET' or 'fit' (the values' range onto the dtype's; floats: 0..1)."""
    return scaling_of(scale) or _fit(values, dtype)


def scaling_of(scale: str | None) -> tuple[float, float] | None:
    """The same where it does not depend on the values: None for fit; raises SettingError for none of these."""
    if scale is None:
        return 1.0, 0.0
    if scale == "fit":
        return None
    try:
        numbers = [float(part) for part in scale.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2) or not all(map(math.isfinite, numbers)) or numbers[0] == 0:
        raise SettingError(f"--scale must be FACTOR, FACTOR,OFFSET or fit (the factor not 0), got '{scale}'")
    return numbers[0], numbers[1] if len(numbers) == 2 else 0.0


def _fit(values: np.ndarray, dtype: np.dtype) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise DataError("--scale fit needs finite values, but the result has NaN or infinite ones: give a FACTOR")
    bottom, top = (0, 1) if dtype.kind == "f" else _range(dtype)
    factor = (top - bottom) / (high - low) if high > low else 1.0
    return factor, bottom - factor * low


def _range(dtype: np.dtype) -> tuple[int, int] | tuple[float, float]:
    if dtype == np.bool_:
        return 0, 1
    if dtype.kind in "iu":
        return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    return float(np.finfo(dtype).min), float(np.finfo(dtype).max)


def quantise(values: np.ndarray, dtype: np.dtype, scale: str | None) -> Quantised:
    """The values scaled, rounded and clipped to a dtype.

    Raises SettingError for a `scale` that is none, DataError for NaN or infinities that integers cannot hold.
    """
    factor, offset = scaling(scale, values, dtype)
    order = sorted(range(values.ndim), key=lambda axis: -abs(values.strides[axis]))
    within = values.transpose(order)
    target = np.empty(within.shape, dtype)
    source, out = np.ascontiguousarray(within).reshape(-1), target.reshape(-1)
    store = _store_floats if dtype.kind == "f" else _store_integers

    def converted(first: int) -> Counts:
        found = []
        for start in range(first, min(first + _RUN * _BLOCK, source.size), _BLOCK):
            block = source[start : start + _BLOCK]
            if (factor, offset) != (1.0, 0.0):
                block = factor * block.astype(np.float64) + offset
            found.append(store(block, out[start : start + _BLOCK]))
        return _sum(found)

    low, high, rounded, nonfinite, squares = _sum(process.each(converted, range(0, source.size, _RUN * _BLOCK)))
    error = math.sqrt(squares / (source.size - low - high)) if source.size > low + high else 0.0
    return Quantised(target.transpose(np.argsort(order)), factor, offset, low, high, rounded, nonfinite, error)


def _sum(counts: list[Counts]) -> Counts:
    return Counts(*map(sum, zip(*counts, strict=True)))


def _store_integers(block: np.ndarray, out: np.ndarray) -> Counts:
    if np.can_cast(block.dtype, out.dtype):  # as they are: no float holds every wide integer
        out[:] = block
        return Counts()
    if not (np.isfinite(block.min()) and np.isfinite(block.max())):  # a NaN is both
        raise DataError(
            f"the result has NaN or infinite values, which {out.dtype} cannot hold: use --dtype float32, .tif or .npy"
        )
    low, high = _range(out.dtype)
    rounded = np.rint(block)
    below, above = rounded < low, rounded >= high + 1  # a power of two, which every float can be, unlike `high`
    clipped_low, clipped_high = int(np.count_nonzero(below)), int(np.count_nonzero(above))
    change = rounded - block
    if clipped_low or clipped_high:
        inside = ~(below | above)
        change *= inside
        rounded *= inside
    np.copyto(out, rounded, casting="unsafe")
    if clipped_low or clipped_high:
        out[below], out[above] = low, high
    squares = change.astype(np.float64)
    np.square(squares, out=squares)
    return Counts(clipped_low, clipped_high, int(np.count_nonzero(change != 0)), 0, float(squares.sum()))


def _store_floats(block: np.ndarray, out: np.ndarray) -> Counts:
    nonfinite = int(np.count_nonzero(~np.isfinite(block)))
    if np.can_cast(block.dtype, out.dtype):
        out[:] = block
        return Counts(nonfinite=nonfinite)
    low, high = _range(out.dtype)
    below, above = np.isfinite(block) & (block < low), np.isfinite(block) & (block > high)
    out[:] = np.where(below, low, np.where(above, high, block))
    return Counts(int(np.count_nonzero(below)), int(np.count_nonzero(above)), nonfinite=nonfinite)
