"""Box: the mean over a rectangle of pixels, in 2-D or 3-D.

Every tap is 1 / (number of taps). With an even size the origin n // 2 lies half a pixel after the middle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from convtool.kernels._grid import check_shape, per_axis, rank

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Options:
    """Parameters of the family."""

    size: int | tuple[int, ...] = field(default=3, metadata={"help": "taps: one for Y and X, or Y,X or Z,Y,X"})


def make(options: Options) -> np.ndarray:
    """The taps (float64, YX or ZYX, sum 1); raises SettingError.

    >>> make(Options(size=(1, 4))).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """
    import numpy as np

    shape = per_axis(options.size, rank("kernel box", options.size), "kernel box: size")
    check_shape(shape, "kernel box")
    return np.full(shape, 1 / math.prod(shape))
