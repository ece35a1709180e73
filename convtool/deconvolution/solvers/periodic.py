"""The pseudo-inverse of a circulant operator, and the circulant operator nearest to another one.

    x^(f) = H(f)^+ y^(f),     singular values at or below 1000 eps x the largest of all count as zero

For an operator of another boundary, the circulant one with the same windows (`likened`) has an inverse as well; it
answers another question, and stands beside the right answer for comparison.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from convtool import fft
from convtool.deconvolution.solvers.filters import filtered, noise_gain
from convtool.deconvolution.solvers.inverses import batched_pinv, default_rcond, largest_singular_value
from convtool.operators import Convolution

_MOST_ENTRIES = 1 << 24  # of the spectrum's matrices: a quarter of a GiB


@dataclass(frozen=True, eq=False)
class Inverse:
    """G [g, i, o, *half] with x^ = G y^, the operator's largest singular value and its smallest nonzero one, or 0."""

    operator: Convolution
    G: np.ndarray
    norm: float
    least: float

    @property
    def noise_gain(self) -> float:
        """Root-mean-square amplification of white noise."""
        return noise_gain(self.G, self.operator)

    def applied(self, y: np.ndarray) -> np.ndarray:
        """[n, c_in, *grid] of data [n, c_out, *grid]."""
        return filtered(self.G, y, self.operator)


def is_affordable(operator: Convolution) -> bool:
    """Whether the inverse takes no more memory and time than a few steps of an iteration would."""
    return math.prod(operator.kernel.taps.shape[:3]) * math.prod(fft.half(operator.geometry.grid)) <= _MOST_ENTRIES


def inverse(operator: Convolution) -> Inverse:
    """The pseudo-inverse of a circulant operator."""
    H = np.moveaxis(operator.spectrum, (1, 2), (-2, -1))
    norm = largest_singular_value(H)
    inverted = batched_pinv(H, default_rcond(H.dtype), norm)
    greatest = largest_singular_value(inverted)  # 0 where every window adds up to nothing
    return Inverse(operator, np.moveaxis(inverted, (-2, -1), (1, 2)), norm, 1 / greatest if greatest else 0.0)


def likened(operator: Convolution) -> Convolution | None:
    """The circulant operator with the same windows; None where there is none (strides, outputs of another size)."""
    geometry = operator.geometry
    if set(geometry.stride) != {1} or geometry.outputs != geometry.grid:
        return None
    return dataclasses.replace(operator, geometry=dataclasses.replace(geometry, boundary="periodic"))
