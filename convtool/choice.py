"""Which engine is the fastest for a kernel and a grid.

How long each of `convtool.engines` takes is predicted from the work that it does and from `convtool.costs`, nanoseconds
for a unit of each kind of work, which `measured` finds for a machine. The choice follows from the sizes, the taps, the
costs and the number of threads alone, so that it repeats itself.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from convtool import blocks, engines, fft, opencv, process, products, separable, spectral
from convtool import costs as machine
from convtool.costs import Costs
from convtool.geometry import Geometry

_SPECTRAL = 1.0  # nanoseconds of a complex product and its traffic; little beside the transforms
_KERNEL = 0.5  # of a transform: the columns of a kernel's spectrum alone, where channels do not mix
_MIXING = 2.9  # times as long as what blocks of one channel would take over as much work
_NOTHING = 0.2  # milliseconds that no choice depends on
_LEAST = 1e-4  # nanoseconds: nothing costs nothing
_TRIALS = 7
_PLANES = 100  # that an engine is timed as if for: as many earn back every import and kept spectrum
_MOST_TAPS_SPLIT = 1 << 14  # kernels of more taps are not split: that itself would take longer than a transform
_FEWEST_SPLIT = 1 << 14  # outputs: for fewer, splitting would not save what it takes
_MOST_REMEMBERED = 1 << 12  # taps of a kernel whose choice is remembered


@dataclass(frozen=True, eq=False)
class _Job:
    """Window taps [g, o, i, *extent] on a grid; `batch` images and groups share the spectra of one kernel."""

    taps: np.ndarray
    geometry: Geometry
    batch: float
    dtype: np.dtype

    @functools.cached_property
    def outputs(self) -> int:
        return math.prod(self.geometry.outputs)

    @property
    def mixes(self) -> bool:
        return self.taps.shape[1:3] != (1, 1)


# Nanoseconds of one image and group in single precision, and how many calls' worth of time it takes beside; None where
# an engine cannot do the job.
Rule = Callable[[_Job, Costs], tuple[float, float] | None]


def _direct(job: _Job, costs: Costs) -> tuple[float, float]:
    _, o, i = job.taps.shape[:3]
    stride, dilation = job.geometry.stride, job.geometry.dilation
    each, stacks = products.work((job.taps != 0).any(axis=(0, 1, 2)), stride, dilation, o, i)
    return (costs.multiply_add * each + costs.sample * max(o, i)) * job.outputs, 2.3 + stacks / 6


def _separable(job: _Job, costs: Costs) -> tuple[float, float] | None:
    if job.outputs < _FEWEST_SPLIT or job.taps[0].size > _MOST_TAPS_SPLIT:
        return None
    split = separable.multiply_adds(job.taps, job.geometry, job.dtype)
    if split is None:
        return None
    (work, passes), grid = split, job.geometry.grid
    return costs.multiply_add * work + costs.sample * passes * math.prod(grid), 2.5 * len(grid)


def _blocks(job: _Job, costs: Costs) -> tuple[float, float]:
    _, o, i = job.taps.shape[:3]
    grid = blocks.block_grid(job.geometry, o, i)
    work = 2 * costs.block * blocks.cost(grid, job.geometry, o, i)
    if job.mixes:
        return _MIXING * work, 2
    count, threads = blocks.count(grid, job.geometry), process.threads()
    work += costs.spectral * math.prod(grid) * count
    idle = max(-(-count // threads) * threads / count, 1)  # a block is one thread's
    return idle * work + costs.block * fft.cost(grid) / job.batch, 2


def _fft(job: _Job, costs: Costs) -> tuple[float, float]:
    _, o, i = job.taps.shape[:3]
    grid = spectral.route(job.geometry)[1]
    kernel = o * i if job.mixes else _KERNEL
    transforms = costs.transform * fft.cost(grid) * (o + i + kernel / job.batch)
    calls = 2 if fft.library(grid, 2, job.dtype) == "numpy" else 3
    return transforms + costs.spectral * o * i * math.prod(grid), calls


def _leaves_extras() -> bool:
    """Whether what is installed in addition is left aside: nothing may depend on it, or it would take too much room."""
    return process.policy.reproducible or process.policy.is_sparing


def _opencv(job: _Job, costs: Costs) -> tuple[float, float] | None:
    if _leaves_extras() or opencv.obstacle(job.taps, job.geometry, job.dtype):
        return None
    calls = 0.6 + (opencv.IMPORT / costs.call / job.batch if process.policy.one_shot else 0)
    return (1.2 * costs.multiply_add * job.taps[0].size + 0.8 * costs.sample) * job.outputs, calls


_RULES: dict[str, Rule] = {
    "direct": _direct,
    "separable": _separable,
    "blocks": _blocks,
    "fft": _fft,
    "opencv": _opencv,
}


def times(taps: np.ndarray, geometry: Geometry, batch: float, dtype: np.dtype) -> dict[str, float]:
    """Milliseconds that each engine should take for one image and group; `batch` of them share the kernel's spectra."""
    job, costs = _Job(taps, geometry, max(batch, 1), np.dtype(dtype)), machine.current()
    found = {name: rule(job, costs) for name, rule in _RULES.items()}
    width = job.dtype.itemsize / 4
    return {name: (width * each[0] + costs.call * each[1]) / 1e6 for name, each in found.items() if each is not None}


def fastest(taps: np.ndarray, geometry: Geometry, batch: float, dtype: np.dtype) -> str:
    """The name of the engine that should take the least time."""
    if taps.size > _MOST_REMEMBERED:
        return preferred(times(taps, geometry, batch, dtype))
    has_opencv = opencv.is_installed() and not _leaves_extras()
    policy = process.threads(), process.policy.one_shot, machine.current(), has_opencv
    return _remembered(taps.tobytes(), taps.shape, taps.dtype, geometry, batch, np.dtype(dtype), policy)


@functools.lru_cache(256)
def _remembered(
    taps: bytes,
    shape: tuple[int, ...],
    kind: np.dtype,
    geometry: Geometry,
    batch: float,
    dtype: np.dtype,
    policy: tuple,  # what else the times depend on
) -> str:
    return preferred(times(np.frombuffer(taps, kind).reshape(shape), geometry, batch, dtype))


def preferred(found: dict[str, float]) -> str:
    """The engine that takes the least of these times; direct, exact in integers, where it takes hardly more."""
    best = min(found, key=lambda name: found[name])
    return "direct" if found["direct"] <= found[best] + _NOTHING else best


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
    engine, found = engines.build(name, taps, _geometry(taps, x), x.dtype, _PLANES), math.inf
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
