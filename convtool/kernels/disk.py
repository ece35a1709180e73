"""Disk: the blur of a lens out of focus, with exact anti-aliased edges.

Each tap is the area that a disk of the given radius, centred on the origin, covers of that pixel, divided by the disk's
area. The area below one corner, ∫₀ˣ min(y, √(r² − u²)) du, has a closed form; a pixel is a difference of four corners.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from convtool.kernels._grid import check_length, offsets, shape_of

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Options:
    """Parameters of the family."""

    radius: float = field(metadata={"help": "radius of the disk in pixels, fractions allowed"})


def make(options: Options) -> np.ndarray:
    """The taps (float64, YX, odd and square, sum 1); raises SettingError.

    >>> make(Options(radius=1.0))[1].round(4).tolist()
    [0.1453, 0.3183, 0.1453]
    """
    import numpy as np

    check_length(options.radius, "kernel disk: radius")
    n, _ = shape_of(None, (max(options.radius - 0.5, 0),) * 2, "kernel disk")
    edges = np.append(offsets(n), n // 2 + 1) - 0.5
    covered = np.diff(np.diff(_corner_area(edges[:, None], edges, options.radius), axis=0), axis=1)
    # Outside the disk the four corners cancel to rounding only; those taps are exactly zero.
    nearest = np.maximum(np.abs(offsets(n)) - 0.5, 0)
    covered[np.hypot(nearest[:, None], nearest) >= options.radius] = 0
    return covered / covered.sum()


def _corner_area(y: np.ndarray, x: np.ndarray, radius: float) -> np.ndarray:
    """The disk's area in the rectangle from the centre to (y, x), negative where y and x differ in sign."""
    import numpy as np

    height, width = np.minimum(np.abs(y), radius), np.minimum(np.abs(x), radius)
    flat = np.minimum(width, np.sqrt(radius**2 - height**2))  # up to here the rectangle's own edge is the lower one
    return np.sign(y) * np.sign(x) * (height * flat + _under_arc(width, radius) - _under_arc(flat, radius))


def _under_arc(u: np.ndarray, radius: float) -> np.ndarray:
    import numpy as np

    return 0.5 * (u * np.sqrt(radius**2 - u**2) + radius**2 * np.arcsin(u / radius))
