"""The engines that compute a correlation, and which of them is the fastest for a kernel and a grid.

    direct       a sum over the taps                        `convtool.direct`
    separable    passes along the axes                      `convtool.separable`    kernels of low rank
    blocks       products of spectra, block by block        `convtool.blocks`
    fft          products of spectra of the whole image     `convtool.spectral`
    opencv       a sum over the taps, compiled              `convtool.opencv`       where the extra `fast` is installed

All compute the same operator and its adjoint, to rounding. How long each takes is predicted from the work that it does
and from `convtool.costs`, nanoseconds for a unit of each kind of work, which `measured` finds for a machine. The choice
follows from the sizes, the taps and the costs alone, so that it repeats itself.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Protocol

import numpy as np

from convtool import blocks, fft, opencv, process, products, separable, spectral
from convtool import costs as machine
from convtool.blocks import BlocksEngine
from convtool.costs import Costs
from convtool.direct import DirectEngine
from convtool.errors import SettingError
from convtool.geometry import Geometry
from convtool.opencv import OpenCVEngine
from convtool.separable import SeparableEngine

NAMES = ("direct", "separable", "blocks", "fft", "opencv")
_SPECTRAL = 1.0  # nanoseconds of a complex product and its traffic; little beside the transforms
_KERNEL = 0.5  # of a transform: the columns of a kernel's spectrum alone, where channels do not mix
_PRODUCTS = 6  # of the direct engine, that take as long as a call of an engine, with what is prepared for them
_NOTHING = 0.2  # milliseconds that no choice depends on
_LEAST = 1e-4  # nanoseconds: nothing costs nothing
_TRIALS = 7
_PLANES = 100  # that an engine is timed as if for: as many earn back every import and kept spectrum
_MOST_TAPS_SPLIT = 1 << 14  # kernels of more taps are not split: that itself would take longer than a transform


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


def fastest(taps: np.ndarray, geometry: Geometry, batch: float, dtype: np.dtype) -> str:
    """The name of the engine that should take the least time."""
    return preferred(times(taps, geometry, batch, dtype))


def preferred(found: dict[str, float]) -> str:
    """The engine that takes the least of these times; direct, exact in integers, where it takes hardly more."""
    best = min(found, key=lambda name: found[name])
    return "direct" if found["direct"] <= found[best] + _NOTHING else best


def times(taps: np.ndarray, geometry: Geometry, batch: float, dtype: np.dtype) -> dict[str, float]:
    """Milliseconds that each engine should take for one image and group; `batch` of them share the kernel's spectra."""
    _, o, i = taps.shape[:3]
    width, costs = np.dtype(dtype).itemsize / 4, machine.current()
    outputs = math.prod(geometry.outputs)
    each, stacks = products.work((taps != 0).any(axis=(0, 1, 2)), geometry.stride, geometry.dilation, o, i)
    found = {"direct": (costs.multiply_add * each + costs.sample * max(o, i)) * outputs}
    calls = {"direct": 1.5 + stacks / _PRODUCTS, "separable": float(len(geometry.grid))}
    if not opencv.obstacle(taps, geometry, dtype):
        found["opencv"] = (2 * costs.multiply_add * taps[0].size + 0.7 * costs.sample) * outputs
        calls["opencv"] = 0.3
    grid = blocks.block_grid(geometry, o, i)
    found["blocks"] = 2 * costs.block * blocks.cost(grid, geometry, o, i)
    if o * i == 1:
        found["blocks"] += costs.spectral * math.prod(grid) * blocks.count(grid, geometry)
        found["blocks"] += costs.block * fft.cost(grid) / max(batch, 1)
    whole = spectral.route(geometry)[1]
    found["fft"] = _spectral(whole, 1, taps.shape, batch, costs.transform, costs.spectral)
    if (
        taps[0].size <= _MOST_TAPS_SPLIT and min(found.values()) > costs.call
    ):  # what takes less, splitting would not save
        split = separable.multiply_adds(taps, geometry, dtype)
        if split is not None:
            work, passes = split
            found["separable"] = costs.multiply_add * work + costs.sample * passes * math.prod(geometry.grid)
    all_ = {name: width * time + costs.call * calls.get(name, 1) for name, time in found.items()}
    if "opencv" in all_ and process.policy.one_shot:
        all_["opencv"] += opencv.IMPORT / max(batch, 1)
    return {name: time / 1e6 for name, time in all_.items()}


def _spectral(
    grid: tuple[int, ...], count: float, shape: tuple[int, ...], batch: float, transform: float, product: float
) -> float:
    """Nanoseconds of the transforms and products of so many grids, and once a batch of the kernel's [g, o, i, ...]."""
    _, o, i, *_ = shape
    kernel = o * i if o * i > 1 else _KERNEL
    transforms = transform * fft.cost(grid) * (count * (o + i) + kernel / max(batch, 1))
    return transforms + product * o * i * math.prod(grid) * count


def measured() -> Costs:
    """The costs of this machine, on the threads of the process: engines timed on work of known size, for seconds."""
    side, span = 1536, 15
    few, many, wide = (np.ones((1, 1, 1, n, n)) for n in (3, 9, span + 1))
    less, more = (products.work(taps[0, 0, 0] != 0, (1, 1), (1, 1))[0] for taps in (few, many))
    x = np.ones((1, 1, 1, side, side), np.float32)
    samples = side**2
    call = _timed("direct", few, np.ones((1, 1, 1, 8, 8), np.float32))
    short, long = _timed("direct", few, x), _timed("direct", many, x)
    multiply_add = max(long - short, 0) / ((more - less) * samples)
    geometry = _geometry(wide, x)
    grid = blocks.block_grid(geometry, 1, 1)
    block = _timed("blocks", wide, x) / (2 * blocks.cost(grid, geometry, 1, 1))
    transform = (_timed("fft", wide, x) - _SPECTRAL * samples) / (2 * fft.cost((side, side)))
    return Costs(
        multiply_add=max(multiply_add, _LEAST),
        sample=max((short - call) / samples - less * multiply_add, _LEAST),
        transform=max(transform, _LEAST),
        block=max(block - _SPECTRAL / (2 * math.log2(math.prod(grid))), _LEAST),
        spectral=_SPECTRAL,
        call=call,
    )


def _timed(name: str, taps: np.ndarray, x: np.ndarray) -> float:
    """Nanoseconds of one correlation, the least of several; spectra and plans are made before."""
    engine, found = build(name, taps, _geometry(taps, x), x.dtype, _PLANES), math.inf
    for _ in range(_TRIALS):
        start = time.perf_counter_ns()
        engine.forward(x)
        found = min(found, time.perf_counter_ns() - start)
    return found


def _geometry(taps: np.ndarray, x: np.ndarray) -> Geometry:
    """Of a periodic correlation with as many outputs as inputs."""
    extent = taps.shape[3:]
    ones = (1,) * len(extent)
    return Geometry(x.shape[3:], extent, "periodic", tuple((0, n - 1) for n in extent), ones, ones)
