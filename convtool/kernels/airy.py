"""Airy pattern: the diffraction of a perfect lens with a round aperture.

I(r) ~ [2 J1(v) / v]^2 with v = 3.8317 r / radius, so that the first dark ring has the given radius, in pixels
0.61 wavelength / (NA * pixel) for a microscope (pixel size in the object) and 1.22 wavelength * focal ratio / pixel
for a telescope. By default it is averaged over each pixel, as a sensor does; the taps are scaled to sum 1.

References
----------
G. B. Airy, "On the diffraction of an object-glass with circular aperture", Trans. Camb. Phil. Soc. 5 (1835) 283-291.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from convtool.kernels._grid import check_length, radial, shape_of

if TYPE_CHECKING:
    import numpy as np

FIRST_ZERO = 3.8317059702075125  # of the Bessel function J1


@dataclass(frozen=True)
class Options:
    """Parameters of the family."""

    radius: float = field(metadata={"help": "radius of the first dark ring in pixels, at least 0.1"})
    size: int | tuple[int, ...] | None = field(
        default=None, metadata={"help": "taps, one number or Y,X; auto: 5 radii each way, 97 % of the light"}
    )
    integrate: bool = field(default=True, metadata={"help": "average over each pixel instead of sampling its centre"})


def make(options: Options) -> np.ndarray:
    """The taps (float64, YX, sum 1); raises SettingError.

    >>> make(Options(radius=2, size=5, integrate=False))[2].round(4).tolist()
    [0.0, 0.1224, 0.333, 0.1224, 0.0]
    """
    import numpy as np
    from scipy.special import j1

    check_length(options.radius, "kernel airy: radius", least=0.1)
    shape = shape_of(options.size, (5 * options.radius,) * 2, "kernel airy")

    def intensity(r: np.ndarray) -> np.ndarray:
        v = np.maximum(FIRST_ZERO / options.radius * r, 1e-9)  # 2 J1(v) / v is 1 to rounding below that
        return (2 * j1(v) / v) ** 2

    return radial(intensity, shape, options.radius if options.integrate else None)
