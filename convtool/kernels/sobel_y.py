"""Sobel derivative along Y: positive under correlate where values grow downwards (convolve negates it).

The taps as everyone prints them, and as in OpenCV and scipy.ndimage.sobel, which correlate. `convtool convolve` flips
the kernel, as a convolution does, and so gives the negative. A ramp of slope 1 gives 8.

References
----------
I. Sobel, G. Feldman, "A 3x3 isotropic gradient operator for image processing", Stanford AI Project (1968).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Options:
    """There is nothing to set."""


def make(options: Options) -> np.ndarray:
    """The 3x3 taps (float64, YX, sum 0)."""
    import numpy as np

    return np.array([[-1, -2, -1], [0, 0, 0], [1, 2, 1]], dtype=np.float64)
