"""Random positive taps of sum 1, the same for a seed everywhere: asymmetric, for tests and demonstrations.

The taps are uniform in (0, 1] before they are scaled. They come from the raw 64-bit stream of PCG64, which NumPy
guarantees never to change, and not from a distribution, which it may improve.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from convtool.errors import SettingError
from convtool.kernels._grid import check_shape, per_axis, rank

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Options:
    """Parameters of the family."""

    size: int | tuple[int, ...] = field(default=5, metadata={"help": "taps: one for Y and X, or Y,X or Z,Y,X"})
    seed: int = field(default=0, metadata={"help": "0 or more; another seed, another kernel"})


def make(options: Options) -> np.ndarray:
    """The taps (float64, YX or ZYX, positive, sum 1); raises SettingError.

    >>> make(Options(size=(1, 3))).round(4).tolist()
    [[0.6721, 0.2847, 0.0432]]
    """
    import numpy as np

    shape = per_axis(options.size, rank("kernel random", options.size), "kernel random: size")
    check_shape(shape, "kernel random")
    if options.seed < 0:
        raise SettingError(f"kernel random: seed must be 0 or more, got {options.seed}")
    bits = np.random.PCG64(options.seed).random_raw(math.prod(shape)) >> np.uint64(11)
    taps = (bits + np.uint64(1)).reshape(shape) * 2.0**-53
    return taps / taps.sum()
