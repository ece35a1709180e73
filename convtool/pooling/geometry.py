"""Where the windows of a pooling lie on an array: `convtool.geometry` for a box, with what pooling has of its own.

That is a window given as one number for all spatial axes or for the last of them, the stride "window", the boundary
"lowest", and torch's ceil mode: with s the stride, a last window that overhangs the padded axis counts if it starts
inside the frame or the padding before it.
"""

from __future__ import annotations

import itertools
import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from convtool import geometry
from convtool.axes import Arrangement, image_axes, spatial_of
from convtool.boundary import MODES
from convtool.errors import DataError, SettingError, listed
from convtool.geometry import Geometry, Padding

# What `running` holds at a time, at most, beside the results.
_READ = 2  # copies of the samples that are read
_PASSED = 6  # and of those that are worked on,
_SAMPLES = 1 << 20  # which are so many bytes,
_COLUMNS = 64  # or so many whole columns
_TABLE = 44  # bytes for each sample of an extended axis

BOUNDARIES = ("lowest", *MODES)
Window = int | Sequence[int]
Stride = str | int | Sequence[int]


def build(
    shape: Sequence[int],
    window: Window,
    *,
    axes: str | None = None,
    stride: Stride = 1,
    padding: Padding = 0,
    boundary: str = "lowest",
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
) -> Pooling:
    """The windows on an array of this shape; see `convtool.max_pool` for the settings, which are checked here.

    Raises SettingError for a bad setting, DataError when no window fits.
    """
    if boundary not in BOUNDARIES:
        raise SettingError(f"unknown boundary '{boundary}': use {listed(BOUNDARIES)}")
    letters = image_axes(shape, axes)
    extent = sides(window, spatial_of(letters))
    spatial = spatial_of(letters)[-len(extent) :]
    if isinstance(stride, str) and stride != "window":
        raise SettingError(f"unknown stride '{stride}': use whole numbers, or the word window")
    steps = _per_axis(extent if isinstance(stride, str) else stride, spatial, "stride")
    arrangement = Arrangement(letters, tuple(shape), spatial)
    found = box(
        arrangement.grid,
        extent,
        boundary_mode="zero" if boundary == "lowest" else boundary,
        padding=padding,
        stride=steps,
        dilation=_per_axis(dilation, spatial, "dilation"),
        # What the last step lacks of a stride, at most: with so much more, floor counts the windows that ceil would.
        spare=[s - 1 if ceil_mode else 0 for s in steps],
    )
    pairs = _overhanging(found, arrangement.grid) if ceil_mode else found.padding
    return Pooling(arrangement, replace(found, grid=arrangement.grid, padding=pairs), boundary)


def box(grid: Sequence[int], extent: Sequence[int], *, spare: Sequence[int] = (), **settings: Any) -> Geometry:
    """The geometry of a box around its middle; what is wrong is said of a window, where others have a kernel.

    `spare` samples an axis behind the grid count for the windows that there are, and are not told of. For the settings,
    and for what is raised, see `convtool.geometry.resolve`.
    """
    grown = [n + more for n, more in itertools.zip_longest(grid, spare, fillvalue=0)]
    try:
        return geometry.resolve(grown, extent, [n // 2 for n in extent], **settings)
    except (DataError, SettingError) as error:
        if any(spare) and isinstance(error, DataError):
            box(grid, extent, **settings)
        raise type(error)(str(error).replace("kernel", "window")) from None


def _overhanging(windows: Geometry, grid: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """The padding with what a last window needs that starts inside the frame or the padding before it."""
    pairs = []
    for n, (before, after), span, stride in zip(grid, windows.padding, windows.span, windows.stride, strict=True):
        last = n + before + after - span - 1
        lacks = -last % stride
        pairs.append((before, after + lacks if last + lacks < n + before else after))
    return tuple(pairs)


def sides(window: Any, spatial: str) -> tuple[int, ...]:
    """The window's sides, along the last so many of the spatial axes; raises SettingError."""
    if not spatial:
        raise SettingError("the image has no spatial axis (Z, Y or X) for a window: say --axes")
    found = tuple(window) if _are_several(window) else (window,) * len(spatial)
    if not 1 <= len(found) <= len(spatial) or not _are_counts(found):
        raise SettingError(
            f"the window must be whole numbers of at least 1, one for all spatial axes of the image ({spatial}) or one"
            f" each for the last of them, got {window}"
        )
    return tuple(map(int, found))


def _per_axis(value: Any, spatial: str, what: str) -> tuple[int, ...]:
    found = tuple(value) if _are_several(value) else (value,) * len(spatial)
    if len(found) != len(spatial) or not _are_counts(found):
        raise SettingError(
            f"{what} must be whole numbers of at least 1, one for all or {len(spatial)} (for {', '.join(spatial)}),"
            f" got {value}"
        )
    return tuple(map(int, found))


def _are_several(value: Any) -> bool:
    return isinstance(value, list | tuple | np.ndarray)


def _are_counts(values: Sequence[Any]) -> bool:
    return all(isinstance(n, numbers.Integral) and int(n) >= 1 for n in values)


@dataclass(frozen=True)
class Pooling:
    """Windows on an array: its axes, the windows' geometry (for `lowest` that of `zero`), and what lies outside."""

    arrangement: Arrangement
    geometry: Geometry
    boundary: str

    @property
    def origin(self) -> tuple[int, ...]:
        """The sample of a window that its output stands for: the middle one."""
        return tuple(n // 2 for n in self.geometry.extent)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the result, in the array's order of axes."""
        outputs = dict(zip(self.arrangement.spatial, self.geometry.outputs, strict=True))
        pairs = zip(self.arrangement.axes, self.arrangement.shape, strict=True)
        return tuple(outputs.get(letter, n) for letter, n in pairs)

    @property
    def dimensions(self) -> tuple[int, ...]:
        """The array's dimensions that the windows extend along, for Z, Y, X."""
        return tuple(self.arrangement.axes.index(letter) for letter in self.arrangement.spatial)

    def needed_bytes(self, itemsize: int, index_bytes: int = 0) -> int:
        """Bytes that a result of such items takes, and what is held on the way to it, at most.

        On the way are tables of what each axis reads, and the samples of the extended image that some outputs see: rows
        along the first axis of the windows, then columns along the others.
        """
        windows, shape = self.geometry, self.arrangement.shape
        columns = [min(math.prod(shape[i + 1 :]), _COLUMNS) for i in self.dimensions]
        rows = zip(windows.extended, windows.extent, windows.outputs, columns, strict=True)
        # Where there are few outputs, they are reduced tap by tap, without passes over all samples.
        read, passed = zip(*((n * wide, min(n, taps * count) * wide) for n, taps, count, wide in rows), strict=True)
        first, span, length = min(zip(self.dimensions, windows.span, windows.extended, strict=True))
        slab = min(5 * span + 1, length) * math.prod(shape[first + 1 :])
        samples = _READ * (slab + max(read)) + _PASSED * (max(passed) + _SAMPLES // itemsize)
        return (itemsize + index_bytes) * (math.prod(self.shape) + samples) + _TABLE * sum(windows.extended)

    @property
    def empty(self) -> int:
        """Windows, of one plane, that read no sample."""
        return math.prod(self.geometry.outputs) - math.prod(int(np.count_nonzero(n)) for n in self._samples())

    def samples(self) -> np.ndarray:
        """How many samples each window reads, in a shape that divides the result.

        Raises DataError where a window reads none, which has no mean.
        """
        total = np.ones((), np.int64)
        for letter, dimension, found in zip(self.arrangement.spatial, self.dimensions, self._samples(), strict=True):
            if not found.all():
                raise DataError(
                    f"the window of output {letter}={int(np.argmin(found))} reads no pixel, so it has no mean: use a"
                    " smaller padding, or a boundary that continues the image"
                )
            shape = [1] * len(self.arrangement.shape)
            shape[dimension] = -1
            total = total * found.reshape(shape)
        return total

    def _samples(self) -> list[np.ndarray]:
        """For each axis and output, the samples a window reads: those in the frame where nothing lies outside."""
        windows = self.geometry
        counts = [np.full(n, taps) for n, taps in zip(windows.outputs, windows.extent, strict=True)]
        if self.boundary != "lowest":
            return counts
        axes = zip(counts, windows.positions([0] * len(counts)), windows.grid, windows.dilation, strict=True)
        return [
            np.maximum(np.minimum((n - 1 - first) // d, taps - 1) + 1 - np.maximum(-(first // d), 0), 0)
            for taps, first, n, d in axes
        ]
