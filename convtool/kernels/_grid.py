"""The pixel grid that the families share: checked settings, coordinates about the origin, averages over pixels.

The origin of n taps is the tap n // 2, as everywhere in convtool; coordinates are whole pixels from there. The
underscore keeps this module out of the registry: it is no family.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, TypeVar

from convtool.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

MAX_TAPS = 2**27  # 1 GiB of float64: more is a slip of the keyboard, not a kernel

Number = TypeVar("Number", int, float)


def rank(what: str, *settings: float | tuple[float, ...] | None) -> int:
    """How many axes the settings speak of: 3 (ZYX) if one of them has 3 numbers, else 2 (YX); SettingError above 3."""
    axes = max((len(s) for s in settings if isinstance(s, tuple)), default=1)
    if axes > 3:
        raise SettingError(f"{what} got {axes} numbers for one setting: give 1, 2 (Y,X) or 3 (Z,Y,X)")
    return max(axes, 2)


def per_axis(value: Number | tuple[Number, ...], axes: int, what: str) -> tuple[Number, ...]:
    """One number an axis, where a single one holds for every axis; raises SettingError for any other count."""
    values = value if isinstance(value, tuple) else (value,)
    if len(values) == 1:
        return values * axes
    if len(values) != axes:
        raise SettingError(f"{what} must be 1 number or {axes}, one an axis, got {len(values)}")
    return values


def check_length(value: float, what: str, least: float = 0.0) -> None:
    """Raise SettingError unless the value is finite, above zero and at least `least` (in pixels)."""
    if not (0 < value < math.inf and value >= least):
        bound = f"at least {least:g}" if least else "above 0"
        raise SettingError(f"{what} must be a finite number {bound}, got {value:g}")


def check_shape(shape: tuple[int, ...], what: str) -> None:
    """Raise SettingError unless every axis has a tap and the whole has at most MAX_TAPS."""
    spelled = " x ".join(str(n) for n in shape)
    if min(shape) < 1:
        raise SettingError(f"{what}: every size must be 1 or more, got {spelled}")
    if math.prod(shape) > MAX_TAPS:
        raise SettingError(f"{what} would have {spelled} taps, more than {MAX_TAPS}: make it smaller")


def shape_of(size: int | tuple[int, ...] | None, reach: tuple[float, ...], what: str) -> tuple[int, ...]:
    """The kernel's shape: the size that was asked for, else the odd one that reaches so many pixels each way."""
    if size is None:
        size = tuple(2 * math.ceil(min(r, MAX_TAPS)) + 1 for r in reach)
    shape = per_axis(size, len(reach), f"{what}: size")
    check_shape(shape, what)
    return shape


def offsets(taps: int) -> np.ndarray:
    """Each tap's distance from the origin taps // 2, in pixels: -2 ... 1 for 4 taps, -2 ... 2 for 5."""
    import numpy as np

    return np.arange(taps) - taps // 2


def radial(profile: Callable[[np.ndarray], np.ndarray], shape: tuple[int, ...], width: float | None) -> np.ndarray:
    """The YX taps, with sum 1, of a profile of the radius: its mean over each pixel; for width None, its values there.

    The mean is a Gauss-Legendre sum. `width` is the profile's own width in pixels: the narrower, the more points, so
    that the error stays below 1e-7 of the largest tap from 0.1 pixels on.
    """
    import numpy as np

    points, weights = np.polynomial.legendre.leggauss(1 if width is None else 4 + math.ceil(8 / width))
    # One quadrant is enough: the other three are its mirror images.
    y, x = np.arange(shape[0] // 2 + 1)[:, None], np.arange(shape[1] // 2 + 1)
    quadrant = np.zeros((y.size, x.size))
    for (dy, wy), (dx, wx) in itertools.product(zip(points / 2, weights, strict=True), repeat=2):
        quadrant += wy * wx * profile(np.hypot(y + dy, x + dx))
    taps = quadrant[np.abs(offsets(shape[0]))[:, None], np.abs(offsets(shape[1]))]
    return taps / taps.sum()
