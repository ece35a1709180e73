"""Whether the data were made by the kernel turned by 180 degrees: convolution taken for correlation, or the reverse.

What the right kernel explains comes from an image of few edges; turned, it leaves ghosts beside them, or a residual.
So the least values of the same energy are compared on a few crops, with the kernel as it is and turned,

    E = 1/2 ||M A x - y||^2 + weight TV(x),      weight = FACTOR sigma^2,      doubt = log(E / E_turned) > MARGIN

at little precision: both fall short of their minima alike. The turned kernel on the data is the kernel itself on the
turned data. Kernels that are nearly their own reverse (max |k * k| > ALIKE ||k||^2) are not asked. Measured on 17
pictures, eight kernels and noise of 0 to 10 grey levels: with the right kernel the logarithm was 0.008 at most; turned,
it was beyond the margin in three of four at noise of up to 1, in one of five at 10, and hardly ever in soft pictures.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from convtool import fft
from convtool.deconvolution.solvers import scene as scenes
from convtool.deconvolution.solvers.crops import crops
from convtool.deconvolution.solvers.total_variation import TotalVariation
from convtool.errors import percent

if TYPE_CHECKING:
    from convtool.kernel import Kernel
    from convtool.observation import Observation

_FACTOR = 0.04  # weight / variance of the noise
_MARGIN = 0.015
_ALIKE = 0.9
_LEAST_NOISE = 2.0  # grey levels: with less weight, minima are far off, and kernels are not told apart as well
_FEWEST = 1 << 12  # samples that tell
_SHARE, _SAMPLES = 4, (1 << 14, 1 << 16)  # one sample in so many is looked at, within these bounds
_TOL, _LIMIT = 1e-2, 100


def doubt(observation: Observation, noise: float) -> str | None:
    """What to say of an observation of one image, whose noise has this level; None where nothing speaks for turning."""
    if observation.y.size < _FEWEST or likeness(observation.operator.kernel) > _ALIKE:
        return None
    better = advantage(observation, noise)
    if better <= _MARGIN:
        return None
    is_convolution = observation.operator.operation == "convolve"
    other, name = ("correlation", "correlate") if is_convolution else ("convolution", "convolve")
    return (
        f"turned by 180 degrees this kernel explains the data better (by {percent(math.expm1(better))}): they may"
        f" have been made by {other}: try --operation {name} (operation='{name}' in Python)"
    )


def advantage(observation: Observation, noise: float) -> float:
    """log(E / E_turned) of an observation of one image: the median of those of its crops."""
    least, most = _SAMPLES
    parts = crops(observation, min(max(observation.y.size // _SHARE, least), most))
    energies = [(_energy(each, noise), _energy(_turned(each), noise)) for each in parts]
    return float(np.median([math.log(a / b) if a > 0 and b > 0 else 0.0 for a, b in energies]))


def likeness(kernel: Kernel) -> float:
    """How far a kernel is its own reverse, wherever that lies: max (k * k) / ||k||^2, 1 for symmetric ones."""
    taps = kernel.taps.reshape(-1, *kernel.extent)
    grid = tuple(fft.fast_length(2 * n - 1) for n in kernel.extent)
    transform = fft.transform(grid, taps.dtype)
    laid = np.pad(taps, [(0, 0), *((0, m - n) for m, n in zip(grid, kernel.extent, strict=True))])
    squared = transform.inverse(np.square(transform.forward(laid)).sum(axis=0, keepdims=True))
    return float(squared.max() / np.square(taps).sum())


def _turned(observation: Observation) -> Observation:
    """The observation of the image turned by 180 degrees."""
    axes = tuple(range(2, observation.y.ndim))
    weights = None if observation.weights is None else np.flip(observation.weights, axes)
    return replace(observation, y=np.flip(observation.y, axes), weights=weights)


def _energy(observation: Observation, noise: float) -> float:
    """E."""
    scene = scenes.of(observation)
    weight = _FACTOR * max(noise / scene.unit, _LEAST_NOISE) ** 2
    minimum = TotalVariation(scene).minimise(weight, _TOL, _LIMIT)
    return scene.unit**2 * (minimum.misfit + weight * minimum.variation)
