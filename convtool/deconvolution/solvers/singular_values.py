"""The spread of an operator's singular values: from its matrix where it is small, by frequencies where circulant.

Groups of channels do not mix, so that each distinct kernel's block is decomposed by itself. A value counts as zero at
or below max(m, n) eps times the largest; where others lie close above rounding, that is a guess (`is_clear`).
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from convtool.deconvolution.solvers import periodic
from convtool.kernel import Kernel
from convtool.operators import Convolution

_EPS = float(np.finfo(np.float64).eps)
_ROUNDING = 32 * _EPS  # zeros are computed smaller than this, in units of the largest
_CLEAR = 1e-10  # where the smallest value kept is larger than this, in units of the largest, none was dropped unduly
_MOST_WORK = 1e9  # multiply-adds of a decomposition, m n min(m, n): some tenths of a second


@dataclass(frozen=True)
class Spread:
    """norm and least: the largest and the smallest nonzero singular value; source: how they are known.

    rank: how many are not zero, None if that was not counted; is_clear: whether zeros can be told from the others;
    noise_gain: root-mean-square amplification of white noise by the pseudo-inverse, None if unknown.
    """

    norm: float
    least: float
    source: str
    is_exact: bool
    rank: int | None = None
    is_clear: bool = True
    noise_gain: float | None = None

    def condition(self, damping: float) -> float:
        """sqrt((norm^2 + d^2) / (least^2 + d^2)); infinite where nothing is known of the least."""
        least = math.hypot(self.least, damping)
        return math.hypot(self.norm, damping) / least if least else math.inf


def exact(operator: Convolution, damping: float = 0.0) -> Spread | None:
    """The spread of an operator that is small, or circulant; None for others."""
    origin = operator.kernel.origin
    kernels = [Kernel(taps[None], origin) for taps in operator.kernel.taps]
    blocks = [dataclasses.replace(operator, kernel=kernel, groups=1) for kernel in kernels]
    outputs, inputs = math.prod(blocks[0].out_shape), math.prod(blocks[0].in_shape)
    if len(blocks) * outputs * inputs * min(outputs, inputs) <= _MOST_WORK:
        values = [np.linalg.svd(block.to_sparse().toarray(), compute_uv=False) for block in blocks]
        return _dense(np.stack(values), operator, max(outputs, inputs) * _EPS, damping)
    if operator.geometry.is_circulant and periodic.is_affordable(operator):
        return circulant(periodic.inverse(operator))
    return None


def circulant(inverse: periodic.Inverse) -> Spread:
    """The spread of a circulant operator whose inverse is known."""
    is_clear = inverse.least > _CLEAR * inverse.norm
    return Spread(inverse.norm, inverse.least, "exact", True, None, is_clear, inverse.noise_gain)


def _dense(values: np.ndarray, operator: Convolution, cutoff: float, damping: float) -> Spread:
    """From the singular values [block, k] of all blocks."""
    norm = float(values.max())
    kept = values > max(cutoff, _ROUNDING) * norm
    gains = np.divide(values, np.square(values) + damping**2, out=np.zeros_like(values), where=kept)
    repeats = operator.groups // len(values)
    return Spread(
        norm,
        float(values[kept].min(initial=norm)),
        "exact",
        True,
        rank=int(kept.sum()) * repeats,
        is_clear=not (~kept & (values > _ROUNDING * norm)).any(),
        noise_gain=math.sqrt(repeats * float(np.square(gains).sum()) / math.prod(operator.out_shape)),
    )
