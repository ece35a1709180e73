"""What a chain of kernels costs: multiply-adds as they stand on paper, and the time that the engines should take.

Paper counts taps. Where a kernel goes by FFT its taps cost nothing, so a merge with many more of them can be the faster
one; whether it is, the constants say by which `convtool.choice` chooses an engine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from convtool import choice
from convtool.merging import layers
from convtool.merging.layers import Stage
from convtool.operators import Convolution


@dataclass(frozen=True)
class Prediction:
    """Relative time of a chain on one image, and the engine of each of its kernels."""

    time: float
    engines: tuple[str, ...]


def multiply_adds(chain: Sequence[Stage]) -> float:
    """Per output position of the chain's end, all channels, non-zero taps counted."""
    counts = layers.channels(chain)
    strides = [math.prod(stage.stride) for stage in chain]
    each = [
        int(np.count_nonzero(stage.kernel.taps)) * (count if stage.is_shared else 1)
        for stage, count in zip(chain, counts, strict=True)
    ]
    return float(sum(cost * math.prod(strides[i + 1 :]) for i, cost in enumerate(each)))


def predicted(chain: Sequence[Stage], grid: Sequence[int], channels: int) -> Prediction:
    """The time of a chain on one image of so many channels; raises DataError where the kernels do not fit into it."""
    time, engines = 0.0, []
    for stage in chain:
        operator = stage.operator(grid, channels)
        engines.append(operator.engine_name)
        time += _time(operator)
        grid, channels = operator.geometry.outputs, operator.out_shape[0]
    return Prediction(time, tuple(engines))


def _time(operator: Convolution) -> float:
    """Of one image, in the unit of `convtool.choice.times`."""
    taps = operator.window.taps
    times = choice.times(taps, operator.geometry, operator.groups / len(taps), operator.dtype)
    return operator.groups * times[operator.engine_name]
