"""The engines that compute a correlation, by their names.

    direct       a sum over the taps                        `convtool.direct`
    separable    passes along the axes                      `convtool.separable`    kernels of low rank
    blocks       products of spectra, block by block        `convtool.blocks`
    fft          products of spectra of the whole image     `convtool.spectral`
    opencv       a sum over the taps, compiled              `convtool.opencv`       where the extra `fast` is installed

All compute the same operator and its adjoint, to rounding; `convtool.choice` says which is the fastest for a kernel and
a grid.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from convtool import opencv, separable, spectral
from convtool.blocks import BlocksEngine
from convtool.direct import DirectEngine
from convtool.errors import SettingError
from convtool.geometry import Geometry
from convtool.opencv import OpenCVEngine
from convtool.separable import SeparableEngine

NAMES = ("direct", "separable", "blocks", "fft", "opencv")
PLAIN_SUMS = ("direct", "opencv")  # whose numbers on the way are not larger than their terms' absolute values together


class Engine(Protocol):
    """What computes a correlation."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        """[n, g, o, *outputs] of x [n, g, i, *grid]."""
        ...

    def adjoint(self, y: np.ndarray) -> np.ndarray:
        """[n, g, i, *grid] of y [n, g, o, *outputs]."""
        ...


def build(name: str, taps: np.ndarray, geometry: Geometry, dtype: np.dtype, planes: int) -> Engine:
    """The engine of this name for window taps [g, o, i, *extent]; raises SettingError where it cannot do them."""
    if name == "separable" and separable.multiply_adds(taps, geometry, dtype) is None:
        raise SettingError(
            "engine separable is for kernels that mix no channels and are a sum of few products of one vector an axis,"
            " which this one is not: use auto, direct, blocks or fft"
        )
    if name == "opencv":
        opencv.checked(taps, geometry, dtype)
    if name == "fft":
        return spectral.engine(taps, geometry, dtype, planes)
    engines: dict[str, Callable[[np.ndarray, Geometry, np.dtype], Engine]] = {
        "direct": DirectEngine,
        "separable": SeparableEngine,
        "blocks": BlocksEngine,
        "opencv": OpenCVEngine,
    }
    return engines[name](taps, geometry, dtype)
