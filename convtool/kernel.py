"""Kernel: taps and the origin, the tap that lies on the output pixel.

Taps are kept as [g, o, i, *extent] for `groups` blocks of o outputs and i inputs each, so that every kind of kernel is
one thing:

    YX (every channel by itself)       g = 1, o = i = 1, shared by all channels
    CYX (one a channel)                g = c, o = i = 1
    OIYX, I = c_in / groups            g = groups, o = O / groups, i = I

The origin counts taps from 0 on each axis, by default n // 2 (as in scipy.ndimage and OpenCV). Flipping a kernel turns
convolution into correlation: taps reversed, origin n - 1 - o.
"""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from convtool import axes
from convtool.errors import DataError, SettingError

Origin = str | Sequence[int]


@dataclass(frozen=True, eq=False)
class Kernel:
    """Taps [g, o, i, *extent] (float64) with the origin on each spatial axis; see the module for the shapes."""

    taps: np.ndarray
    origin: tuple[int, ...]

    @property
    def extent(self) -> tuple[int, ...]:
        """Number of taps on each spatial axis."""
        return self.taps.shape[3:]

    def flipped(self) -> Kernel:
        """The kernel reversed on every spatial axis: convolving with one is correlating with the other."""
        spatial = tuple(range(3, self.taps.ndim))
        return Kernel(
            np.flip(self.taps, spatial), tuple(n - 1 - o for n, o in zip(self.extent, self.origin, strict=True))
        )


def build(
    array: np.ndarray,
    kernel_axes: str,
    *,
    channels: int,
    has_channels: bool = True,
    origin: Origin = "center",
    groups: int = 1,
    is_data: bool = False,
) -> Kernel:
    """The Kernel of an array whose axes are known, for an image of so many channels.

    With `is_data` these channels are the operator's *outputs* (data to deconvolve). Raises DataError when taps or
    channels do not fit, SettingError for a bad origin or groups.
    """
    taps = grouped(checked_taps(array), kernel_axes, groups)
    _check_channels(taps, array.shape, kernel_axes, channels, has_channels, is_data)
    return Kernel(taps, origin_of(origin, taps.shape[3:]))


def checked_taps(array: np.ndarray) -> np.ndarray:
    """The array as float64; raises DataError when it is empty, not real, or not finite."""
    array = np.asarray(array)
    if array.dtype.kind not in "biuf":
        raise DataError(f"the kernel has dtype {array.dtype}, expected real numbers")
    if array.size == 0:
        raise DataError(f"the kernel is empty (shape {axes.spelled(array.shape)})")
    bad = array.size - int(np.isfinite(array).sum())
    if bad:
        raise DataError(f"the kernel holds {bad} NaN or infinite taps of {array.size}")
    with np.errstate(over="ignore"):
        taps = array.astype(np.float64)
    if not np.isfinite(taps).all():
        raise DataError("the kernel holds taps too large for float64: scale the kernel")
    return taps


def origin_of(origin: Origin, extent: Sequence[int]) -> tuple[int, ...]:
    """'center' (n // 2), 'first', 'last' or an index per spatial axis, as indices."""
    if isinstance(origin, str):
        named = {"center": [n // 2 for n in extent], "first": [0 for _ in extent], "last": [n - 1 for n in extent]}
        if origin not in named:
            raise SettingError(f"unknown origin '{origin}': use center, first, last or an index per axis")
        return tuple(named[origin])
    found: tuple[Any, ...] = tuple(origin) if isinstance(origin, Sequence | np.ndarray) else (origin,)
    whole = len(found) == len(extent) and all(isinstance(o, numbers.Integral) for o in found)
    if not whole or not all(0 <= o < n for o, n in zip(found, extent, strict=True)):
        raise SettingError(
            f"origin {','.join(map(str, found))} does not lie in the kernel: give {len(extent)} indices from 0,"
            f" below {axes.spelled(extent)}"
        )
    return tuple(map(int, found))


def grouped(array: np.ndarray, kernel_axes: str, groups: int) -> np.ndarray:
    """Taps [g, o, i, *extent] of an array whose axes are known; raises SettingError where groups do not fit."""
    spatial = axes.spatial_of(kernel_axes)
    if "O" in kernel_axes:
        taps = axes.transposed(array, kernel_axes, "OI" + spatial)
        if not isinstance(groups, numbers.Integral) or groups < 1 or len(taps) % groups:
            raise SettingError(f"groups must be at least 1 and divide the kernel's {len(taps)} outputs, got {groups}")
        return taps.reshape(groups, -1, *taps.shape[1:])
    if groups != 1:
        raise SettingError(f"groups={groups} needs an OIYX kernel, got axes {kernel_axes}: leave groups out")
    if "C" in kernel_axes:
        return axes.transposed(array, kernel_axes, "C" + spatial)[:, None, None]
    return axes.transposed(array, kernel_axes, spatial)[None, None, None]


def _check_channels(
    taps: np.ndarray, shape: Sequence[int], kernel_axes: str, channels: int, has_channels: bool, outputs: bool
) -> None:
    if taps.shape[:3] == (1, 1, 1) and "O" not in kernel_axes and "C" not in kernel_axes:
        return
    g, o, i = taps.shape[:3]
    wanted = g * (o if outputs else i)
    if wanted == channels:
        return
    side = "output" if outputs else "input"
    got = f"{channels} channels" if has_channels else "1 channel (no C axis)"
    raise DataError(
        f"the kernel has {wanted} {side} channels (axes {kernel_axes}, shape {axes.spelled(shape)}"
        f"{f', groups {g}' if 'O' in kernel_axes and g > 1 else ''}), but the image has {got}:"
        f" pass a {axes.spatial_of(kernel_axes)} kernel or an image of {wanted} channels"
    )
