"""Gaussian blur of a given standard deviation, in 2-D or 3-D.

k(p) ~ prod over axes of exp(-p^2 / (2 sigma^2)), p in pixels from the origin n // 2, scaled to sum 1. By default it is
sampled at the pixel centres, as in scipy.ndimage.gaussian_filter and OpenCV. With `integrate` it is averaged over each
pixel (exactly, by the error function), as a sensor does to an optical blur: its variance grows by 1/12.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from convtool.kernels._grid import check_length, offsets, per_axis, rank, shape_of

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Options:
    """Parameters of the family."""

    sigma: float | tuple[float, ...] = field(
        metadata={"help": "standard deviation in pixels: one for Y and X, or Y,X or Z,Y,X"}
    )
    size: int | tuple[int, ...] | None = field(
        default=None, metadata={"help": "taps, one number or one an axis; auto: 4 sigma each way"}
    )
    integrate: bool = field(default=False, metadata={"help": "average over each pixel instead of sampling its centre"})


def make(options: Options) -> np.ndarray:
    """The taps (float64, YX or ZYX, sum 1); raises SettingError.

    >>> make(Options(sigma=0.5, size=3))[1].round(4).tolist()
    [0.0838, 0.6193, 0.0838]
    """
    import numpy as np

    axes = rank("kernel gaussian", options.sigma, options.size)
    sigmas = per_axis(options.sigma, axes, "kernel gaussian: sigma")
    for sigma in sigmas:
        check_length(sigma, "kernel gaussian: sigma")
    shape = shape_of(options.size, tuple(4 * sigma for sigma in sigmas), "kernel gaussian")
    line = _averages if options.integrate else _samples
    return functools.reduce(np.multiply.outer, (line(n, sigma) for n, sigma in zip(shape, sigmas, strict=True)))


def _samples(taps: int, sigma: float) -> np.ndarray:
    import numpy as np

    values = np.exp(-0.5 * (offsets(taps) / sigma) ** 2)
    return values / values.sum()


def _averages(taps: int, sigma: float) -> np.ndarray:
    import numpy as np
    from scipy.special import ndtr

    # On the negative side of the axis both terms are small, so that far taps keep all their digits.
    p = -np.abs(offsets(taps))
    values = ndtr((p + 0.5) / sigma) - ndtr((p - 0.5) / sigma)
    return values / values.sum()
