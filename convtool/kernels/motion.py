"""Motion: the blur of a camera or an object that moves at constant speed along a line.

Each tap is the share of the path that lies in that pixel: a segment of the given length, centred on the origin, at an
angle counter-clockwise from the +X axis as seen on the screen (rows grow downwards, so 90° points to row 0).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from convtool.errors import SettingError
from convtool.kernels._grid import check_length, shape_of

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Options:
    """Parameters of the family."""

    length: float = field(metadata={"help": "length of the path in pixels, fractions allowed"})
    angle: float = field(
        default=0.0, metadata={"help": "degrees counter-clockwise from +X as seen on the screen (Y points down)"}
    )


def make(options: Options) -> np.ndarray:
    """The taps (float64, YX, odd sizes that just hold the path, sum 1); raises SettingError.

    >>> make(Options(length=3, angle=90)).round(4).tolist()
    [[0.3333], [0.3333], [0.3333]]
    """
    import numpy as np

    check_length(options.length, "kernel motion: length")
    if not math.isfinite(options.angle):
        raise SettingError(f"kernel motion: angle must be a finite number of degrees, got {options.angle:g}")
    angle, half = math.radians(options.angle), options.length / 2
    step = np.array([-math.sin(angle), math.cos(angle)])
    shape_of(None, tuple(half * np.abs(step)), "kernel motion")  # refuses what would not fit into memory
    pixels, shares = _pieces(step, half)
    reach = np.abs(pixels).max(axis=1)
    taps = np.zeros(2 * reach + 1)
    taps[tuple(pixels + reach[:, None])] = shares / shares.sum()
    return taps


def _pieces(step: np.ndarray, half: float) -> tuple[np.ndarray, np.ndarray]:
    """The pixels [2, n] that the path crosses, each once, and the length of the path in each [n]."""
    import numpy as np

    if half < 0.5:  # within the pixel of the origin, however short
        return np.zeros((2, 1), int), np.ones(1)
    cuts = np.sort(np.concatenate([[-half, half], *(_crossings(component, half) for component in step)]))
    lengths = np.diff(cuts)
    kept = lengths > 1e-9  # where the path meets a pixel's corner, the two crossings differ by rounding only
    middles = (cuts[:-1] + lengths / 2)[kept]
    return np.rint(np.outer(step, middles)).astype(int), lengths[kept]


def _crossings(component: float, half: float) -> np.ndarray:
    """Where along the path one coordinate passes from a pixel to the next: at its half-integers."""
    import numpy as np

    borders = np.arange(0.5, half * abs(component))
    return np.concatenate([-borders, borders]) / component if borders.size else borders
