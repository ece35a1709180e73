"""Real Fourier transforms over the trailing axes of stacks of planes: the only module that imports an FFT library.

Conventions: forward X[f] = sum_x x[x] exp(-2 pi i f.x / n), unscaled; inverse scaled by 1 / prod(n). Only the half
spectrum of the last axis is kept (n // 2 + 1 frequencies); `multiplicity` says how often each stands for in the whole.

Which library. pyFFTW (Frigo and Johnson 2005, doi:10.1109/JPROC.2004.840301) transforms several times faster than
numpy.fft, but importing it costs a quarter of a second. So small grids, and in a short-lived process all work too
small to earn the import back, go to numpy.fft. The choice follows from the sizes alone, never from what ran before.

Planning is the trap: a measured FFTW plan takes seconds where its transform takes milliseconds. A transform uses wisdom
where there is some and an estimated plan where not; it is measured only for work that earns it back (`uses`), or when
asked (`measure`). Wisdom enters and leaves here as bytes; `convtool.wisdom` keeps it in a file.
"""

from __future__ import annotations

import functools
import math
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from convtool.errors import SettingError

_SMALL_GRID = 64 * 64  # below, numpy.fft is as fast; planning and threads would only add to it
_EARNS_IMPORT = 4e8  # multiply-adds (n log2 n) that numpy.fft takes as long over as importing pyFFTW takes
_EARNS_MEASURE = 5000  # transforms of one grid in one call after which a measured plan has paid for itself
_THREADED_GRID = 768 * 768  # below, threads save under a millisecond, and lose many where other work holds a core


@dataclass
class Policy:
    """Settings of the process: a command sets them once, before any transform."""

    threads: int | None = None
    one_shot: bool = False
    load_wisdom: Callable[[str], bytes | None] | None = None


policy = Policy()


def threads() -> int:
    """Threads that transforms use: as set, else CONVTOOL_THREADS, else the CPUs that this process may use.

    Raises SettingError when the variable is no number.
    """
    text = os.environ.get("CONVTOOL_THREADS") or "0"
    if not text.isdecimal():
        raise SettingError(f"CONVTOOL_THREADS must be a whole number of threads (0: all CPUs), got '{text}'")
    return policy.threads or int(text) or usable_cpus()


def usable_cpus() -> int:
    """CPUs in the process's affinity mask, or its control group's quota (rounded up) where that is less."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        with open("/sys/fs/cgroup/cpu.max") as file:
            quota, period = file.read().split()
        return min(count, math.ceil(int(quota) / int(period))) or 1
    except (OSError, ValueError):
        return count


def fast_length(n: int) -> int:
    """The least length >= n whose only prime factors are 2, 3, 5 and 7."""
    best = 1 << max(n - 1, 0).bit_length()
    odd = [3**a * 5**b * 7**c for a in range(14) for b in range(10) for c in range(8) if 3**a * 5**b * 7**c < best]
    return min([best, *(o << max(-(-n // o) - 1, 0).bit_length() for o in odd)])


def cost(shape: Sequence[int]) -> float:
    """Relative time of one transform on a grid: n log2 n, with prime factors above 13 several times dearer."""
    return math.prod(shape) * sum(_cost_per_sample(n) for n in shape)


@functools.lru_cache(256)
def _cost_per_sample(n: int) -> float:
    total, factor = 0.0, 2
    while n > 1:
        if factor * factor > n:
            factor = n
        while n % factor == 0:
            total += math.log2(factor) * (1 if factor <= 13 else 5)
            n //= factor
        factor += 1
    return total


def half(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of the half spectrum of a real grid."""
    return (*shape[:-1], shape[-1] // 2 + 1)


def multiplicity(shape: Sequence[int]) -> np.ndarray:
    """How many frequencies of the full spectrum each of the half spectrum's last axis stands for: 1 or 2."""
    counts = np.full(shape[-1] // 2 + 1, 2.0)
    counts[0] = 1
    if shape[-1] % 2 == 0:
        counts[-1] = 1
    return counts


def angular_frequencies(shape: Sequence[int]) -> list[np.ndarray]:
    """omega in radians a sample on each axis of the half spectrum, shaped to broadcast against it."""
    last = len(shape) - 1
    omega = [2 * np.pi * (np.fft.rfftfreq(n) if i == last else np.fft.fftfreq(n)) for i, n in enumerate(shape)]
    return [w.reshape([-1 if i == j else 1 for j in range(len(shape))]) for i, w in enumerate(omega)]


def cosines(x: np.ndarray, ndim: int) -> np.ndarray:
    """The orthonormal type-II cosine transform over the last `ndim` axes."""
    from scipy.fft import dctn

    return dctn(x, axes=range(-ndim, 0), norm="ortho", workers=threads())


def cosines_inverse(coefficients: np.ndarray, ndim: int) -> np.ndarray:
    """The inverse, and adjoint, of `cosines`."""
    from scipy.fft import idctn

    return idctn(coefficients, axes=range(-ndim, 0), norm="ortho", workers=threads())


class RealTransform:
    """Transforms of real [..., *shape] arrays of one dtype; get one from `transform`, which keeps the plans."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.shape, self.dtype = shape, dtype
        self.axes = tuple(range(-len(shape), 0))

    def forward(self, x: np.ndarray) -> np.ndarray:
        """The half spectrum [..., *half(shape)] of x [..., *shape]."""
        return np.fft.rfftn(x, axes=self.axes)

    def inverse(self, spectrum: np.ndarray) -> np.ndarray:
        """The real array of a half spectrum, which may be overwritten."""
        return np.fft.irfftn(spectrum, s=self.shape, axes=self.axes)


class _FFTWTransform(RealTransform):
    """Planes one by one through a pair of FFTW plans, so that memory and planning do not grow with the stack."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, count: int, measured: bool) -> None:
        super().__init__(shape, dtype)
        self._complex = np.result_type(dtype, np.complex64)
        self._real, self._half = _planes((), shape, dtype), _planes((), half(shape), self._complex)
        self._lock = threading.Lock()  # a plan's arrays are its state
        effort = "FFTW_MEASURE" if measured else None
        self._forward = _plan(self._real, self._half, "FFTW_FORWARD", count, effort)
        self._inverse = _plan(self._half, self._real, "FFTW_BACKWARD", count, effort)

    def forward(self, x: np.ndarray) -> np.ndarray:
        lead = x.shape[: x.ndim - len(self.shape)]
        out = _planes(lead, half(self.shape), self._complex)
        with self._lock:
            for i in np.ndindex(lead):
                self._run(self._forward, x[i], self._real, out[i])
        return out

    def inverse(self, spectrum: np.ndarray) -> np.ndarray:
        lead = spectrum.shape[: spectrum.ndim - len(self.shape)]
        out = _planes(lead, self.shape, self.dtype)
        with self._lock:
            for i in np.ndindex(lead):
                self._run(self._inverse, spectrum[i], self._half, out[i])
        out *= self.dtype.type(1 / math.prod(self.shape))
        return out

    @staticmethod
    def _run(plan: Any, source: np.ndarray, buffer: np.ndarray, target: np.ndarray) -> None:
        if source.dtype != buffer.dtype or not source.flags.c_contiguous or source.ctypes.data % _ALIGNMENT:
            buffer[...] = source
            source = buffer
        plan.update_arrays(source, target)
        plan.execute()


_ALIGNMENT = 64


def _planes(lead: tuple[int, ...], shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An uninitialised stack [*lead, *shape] whose planes are contiguous and aligned as FFTW plans for."""
    dtype = np.dtype(dtype)
    inner = tuple(dtype.itemsize * math.prod(shape[i + 1 :]) for i in range(len(shape)))
    plane = -(-dtype.itemsize * math.prod(shape) // _ALIGNMENT) * _ALIGNMENT
    outer = tuple(plane * math.prod(lead[i + 1 :]) for i in range(len(lead)))
    buffer = np.empty(plane * math.prod(lead) + _ALIGNMENT, np.uint8)
    offset = -buffer.ctypes.data % _ALIGNMENT
    return np.ndarray((*lead, *shape), dtype, buffer, offset, outer + inner)


def _plan(source: np.ndarray, target: np.ndarray, direction: str, count: int, effort: str | None) -> Any:
    """A plan measured if asked, else from wisdom, else estimated; the arrays' content is lost."""
    pyfftw = _pyfftw()
    axes = tuple(range(source.ndim))
    destroy = ("FFTW_DESTROY_INPUT",) if direction == "FFTW_BACKWARD" else ()

    def planned(*flags: str) -> Any:
        return pyfftw.FFTW(source, target, axes=axes, direction=direction, flags=(*flags, *destroy), threads=count)

    if effort:
        return planned(effort)
    try:
        return planned("FFTW_MEASURE", "FFTW_WISDOM_ONLY")
    except RuntimeError:  # no wisdom for this grid
        return planned("FFTW_ESTIMATE")


@functools.cache
def _pyfftw() -> Any:
    import pyfftw

    blob = policy.load_wisdom(_version(pyfftw)) if policy.load_wisdom else None
    parts = tuple(blob.split(b"\0")) if blob else ()
    if len(parts) == len(pyfftw.export_wisdom()):
        pyfftw.import_wisdom(parts)
    return pyfftw


def transform(shape: Sequence[int], dtype: np.dtype, uses: int = 2) -> RealTransform:
    """The transform of a real grid of float32 or float64; `uses` is how many transforms of it are to be expected."""
    count = threads() if math.prod(shape) >= _THREADED_GRID else 1
    return _transform(
        tuple(shape), np.dtype(dtype), library(shape, uses), count, uses >= _EARNS_MEASURE and not policy.one_shot
    )


def library(shape: Sequence[int], uses: int = 2) -> str:
    """'numpy' or 'fftw': which library transforms this grid so many times; see the module for the rule."""
    if math.prod(shape) < _SMALL_GRID or (policy.one_shot and uses * cost(shape) < _EARNS_IMPORT):
        return "numpy"
    return "fftw"


@functools.lru_cache(2)  # each keeps two buffers of its grid
def _transform(shape: tuple[int, ...], dtype: np.dtype, name: str, count: int, measured: bool) -> RealTransform:
    return RealTransform(shape, dtype) if name == "numpy" else _FFTWTransform(shape, dtype, count, measured)


def measure(shape: Sequence[int], dtype: np.dtype | str) -> None:
    """Plan the transforms of a grid by measurement (seconds), so that wisdom holds them from now on."""
    count = threads() if math.prod(shape) >= _THREADED_GRID else 1
    _FFTWTransform(tuple(shape), np.dtype(dtype), count, measured=True)
    _transform.cache_clear()


def export_wisdom() -> bytes:
    """What FFTW has learned in this process, for `load_wisdom` in another one."""
    return b"\0".join(_pyfftw().export_wisdom())


def library_version() -> str:
    """The versions that wisdom depends on, such as 'pyfftw-0.15.1-fftw-3.3.10'."""
    return _version(_pyfftw())


def _version(pyfftw: Any) -> str:
    return f"pyfftw-{pyfftw.__version__}-fftw-{pyfftw.fftw_version}"
