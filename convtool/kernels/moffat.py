"""Moffat profile: a star seen through the atmosphere.

I(r) ~ [1 + (r / alpha)^2]^(-beta) with alpha = fwhm / (2 sqrt(2^(1/beta) - 1)), scaled to sum 1. By default it is
averaged over each pixel, as a sensor does; leave that out for a fwhm that was fitted to the pixels' own values.
A large beta tends to a Gaussian; turbulence theory gives 4.765; real frames lie lower.

References
----------
A. F. J. Moffat, "A theoretical investigation of focal stellar images in the photographic emulsion and application to
photographic photometry", Astron. Astrophys. 3 (1969) 455-461. I. Trujillo et al., "The effects of seeing on Sersic
profiles - II. The Moffat PSF", Mon. Not. R. Astron. Soc. 328 (2001) 977-985, doi:10.1046/j.1365-8711.2001.04937.x.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from convtool.errors import SettingError
from convtool.kernels._grid import check_length, radial, shape_of

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Options:
    """Parameters of the family."""

    fwhm: float = field(metadata={"help": "full width at half maximum in pixels, at least 0.1"})
    beta: float = field(default=2.5, metadata={"help": "how fast the wings fall off, above 1"})
    size: int | tuple[int, ...] | None = field(
        default=None, metadata={"help": "taps, one number or Y,X; auto: 4 fwhm each way, 99 % of the light at beta 2.5"}
    )
    integrate: bool = field(default=True, metadata={"help": "average over each pixel instead of sampling its centre"})


def make(options: Options) -> np.ndarray:
    """The taps (float64, YX, sum 1); raises SettingError.

    >>> taps = make(Options(fwhm=4, beta=3, size=(5, 7), integrate=False))
    >>> bool(abs(taps[2, 5] / taps[2, 3] - 0.5) < 1e-12)
    True
    """
    check_length(options.fwhm, "kernel moffat: fwhm", least=0.1)
    if not 1 < options.beta < math.inf:
        raise SettingError(f"kernel moffat: beta must be a finite number above 1, got {options.beta:g}")
    shape = shape_of(options.size, (4 * options.fwhm,) * 2, "kernel moffat")
    alpha = options.fwhm / (2 * math.sqrt(math.expm1(math.log(2) / options.beta)))
    return radial(lambda r: (1 + (r / alpha) ** 2) ** -options.beta, shape, options.fwhm if options.integrate else None)
