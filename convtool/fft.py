"""Real Fourier transforms over the trailing axes of stacks of planes: the only module that imports an FFT library.

Conventions: forward X[f] = sum_x x[x] exp(-2 pi i f.x / n), unscaled; inverse scaled by 1 / prod(n). Only the half
spectrum of the last axis is kept (n // 2 + 1 frequencies); `multiplicity` says how often each stands for in the whole.

Which library. Small grids go to numpy.fft, and so does in a short-lived process all work too small to earn back the
quarter of a second that importing another library takes. The others go to scipy.fft (pocketfft), which needs no plans,
holds no state, and whose threads do not wait for each other. pyFFTW (Frigo and Johnson 2005,
doi:10.1109/JPROC.2004.840301) is faster on some grids, by plans that were measured, which takes seconds where a
transform takes milliseconds: so where `measure` has found it to be, and that was kept. The choice follows from the
sizes and from what was learned, never from what ran before.

Wisdom enters and leaves here as bytes; `convtool.wisdom` keeps it in files.
"""

from __future__ import annotations

import bisect
import functools
import math
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from convtool import libraries, process

_SMALL_GRID = 64 * 64  # below, numpy.fft is as fast; planning and threads would only add to it
_EARNS_IMPORT = 4e8  # multiply-adds (n log2 n) that numpy.fft takes as long over as importing scipy.fft takes
_TRIALS = 5  # of each library, in turns, by which one is called the faster
_THREADED_GRID = 768 * 768  # below, threads save under a millisecond, and lose many where other work holds a core


@functools.lru_cache(4096)
def fast_length(n: int) -> int:
    """The least length >= n whose only prime factors are 2, 3, 5 and 7."""
    best = 1 << max(n - 1, 0).bit_length()
    odd = _odd_lengths()
    return min([best, *(o << max(-(-n // o) - 1, 0).bit_length() for o in odd[: bisect.bisect_left(odd, best)])])


@functools.cache
def _odd_lengths() -> list[int]:
    """Products of 3, 5 and 7, in order, up to the largest that any grid has."""
    return sorted(
        3**a * 5**b * 7**c for a in range(21) for b in range(14) for c in range(12) if 3**a * 5**b * 7**c < 1 << 31
    )


def cost(shape: Sequence[Any]) -> Any:
    """Relative time of one transform on a grid: n log2 n, with prime factors above 13 several times dearer.

    Lengths may be arrays, of the grids to be compared.
    """
    each = [np.vectorize(_cost_per_sample)(n) if isinstance(n, np.ndarray) else _cost_per_sample(n) for n in shape]
    return math.prod(shape) * sum(each)


@functools.lru_cache(1024)
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

    return dctn(x, axes=range(-ndim, 0), norm="ortho", workers=process.workers())


def cosines_inverse(coefficients: np.ndarray, ndim: int) -> np.ndarray:
    """The inverse, and adjoint, of `cosines`."""
    from scipy.fft import idctn

    return idctn(coefficients, axes=range(-ndim, 0), norm="ortho", workers=process.workers())


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


class _ScipyTransform(RealTransform):
    """By scipy.fft (pocketfft), on one thread or several; it has no state, so that threads may share it."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, is_threaded: bool) -> None:
        super().__init__(shape, dtype)
        self._is_threaded = is_threaded

    def forward(self, x: np.ndarray) -> np.ndarray:
        return scipy_fft().rfftn(x, axes=self.axes, workers=self._workers())

    def inverse(self, spectrum: np.ndarray) -> np.ndarray:
        return scipy_fft().irfftn(spectrum, s=self.shape, axes=self.axes, workers=self._workers(), overwrite_x=True)

    def _workers(self) -> int:
        return process.workers() if self._is_threaded else 1


class _FFTWTransform(RealTransform):
    """Planes one by one through a pair of FFTW plans, so that memory and planning do not grow with the stack."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, count: int, is_measured: bool = False) -> None:
        super().__init__(shape, dtype)
        self._complex = np.result_type(dtype, np.complex64)
        self._real, self._half = _planes((), shape, dtype), _planes((), half(shape), self._complex)
        self._lock = threading.Lock()  # a plan's arrays are its state
        self._forward = _plan(self._real, self._half, "FFTW_FORWARD", count, is_measured)
        self._inverse = _plan(self._half, self._real, "FFTW_BACKWARD", count, is_measured)

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


def _plan(source: np.ndarray, target: np.ndarray, direction: str, count: int, is_measured: bool) -> Any:
    """A plan measured if asked, else from wisdom, else estimated; the arrays' content is lost."""
    pyfftw = _pyfftw()
    axes = tuple(range(source.ndim))
    destroy = ("FFTW_DESTROY_INPUT",) if direction == "FFTW_BACKWARD" else ()

    def planned(*flags: str) -> Any:
        return pyfftw.FFTW(source, target, axes=axes, direction=direction, flags=(*flags, *destroy), threads=count)

    if is_measured:
        return planned("FFTW_MEASURE")
    try:
        return planned("FFTW_MEASURE", "FFTW_WISDOM_ONLY")
    except RuntimeError:  # no wisdom for this grid
        return planned("FFTW_ESTIMATE")


@functools.cache
def _pyfftw() -> Any:
    import pyfftw

    blob = process.policy.load_wisdom(_version(pyfftw)) if process.policy.load_wisdom else None
    parts = tuple(blob.split(b"\0")) if blob else ()
    if len(parts) == len(pyfftw.export_wisdom()):
        pyfftw.import_wisdom(parts)
    return pyfftw


def transform(shape: Sequence[int], dtype: np.dtype, uses: int = 2) -> RealTransform:
    """The transform of a real grid of float32 or float64; `uses` is how many transforms of it are to be expected."""
    shape, dtype = tuple(shape), np.dtype(dtype)
    name = library(shape, uses, dtype)
    if name == "fftw":
        return _planned(shape, dtype, _planned_threads(shape))
    return RealTransform(shape, dtype) if name == "numpy" else _ScipyTransform(shape, dtype, _is_large(shape))


def block_transform(shape: Sequence[int], dtype: np.dtype) -> RealTransform:
    """The transform of one block of many, which threads run side by side, each on its own."""
    return _ScipyTransform(tuple(shape), np.dtype(dtype), is_threaded=False)


def library(shape: Sequence[int], uses: int = 2, dtype: np.dtype | type = np.float32) -> str:
    """'numpy', 'scipy' or 'fftw': which library transforms this grid so many times; see the module for the rule."""
    if math.prod(shape) < _SMALL_GRID or (process.policy.one_shot and uses * cost(shape) < _EARNS_IMPORT):
        return "numpy"
    return libraries.learned().get(libraries.name(shape, np.dtype(dtype)), "scipy")


def measure(shape: Sequence[int], dtype: np.dtype | str) -> dict[str, str]:
    """Plan FFTW's transforms of a grid by measurement (seconds), and find out whether they are the fastest.

    Returns the library by the grid's name, for `libraries.as_bytes`; the plans are in the wisdom from now on.
    """
    shape, dtype = tuple(shape), np.dtype(dtype)
    rivals: dict[str, RealTransform] = {
        "fftw": _FFTWTransform(shape, dtype, _planned_threads(shape), is_measured=True),
        "scipy": _ScipyTransform(shape, dtype, _is_large(shape)),
    }
    x, best = np.ones(shape, dtype), dict.fromkeys(rivals, math.inf)
    for _ in range(_TRIALS):
        for name, rival in rivals.items():
            start = time.perf_counter()
            rival.inverse(rival.forward(x))
            best[name] = min(best[name], time.perf_counter() - start)
    _planned.cache_clear()
    return {libraries.name(shape, dtype): min(best, key=lambda name: best[name])}


def _planned_threads(shape: Sequence[int]) -> int:
    return process.threads() if _is_large(shape) else 1


def _is_large(shape: Sequence[int]) -> bool:
    """Whether a transform of this grid is worth several threads."""
    return math.prod(shape) >= _THREADED_GRID


@functools.lru_cache(2)  # each keeps two buffers of its grid
def _planned(shape: tuple[int, ...], dtype: np.dtype, count: int) -> RealTransform:
    return _FFTWTransform(shape, dtype, count)


@functools.cache
def scipy_fft() -> Any:
    """The library for blocks of a grid, imported when it is first used."""
    import scipy.fft

    return scipy.fft


def export_wisdom() -> bytes:
    """What FFTW has learned in this process, for `load_wisdom` in another one."""
    return b"\0".join(_pyfftw().export_wisdom())


def library_version() -> str:
    """The versions that wisdom depends on, such as 'pyfftw-0.15.1-fftw-3.3.10'."""
    return _version(_pyfftw())


def _version(pyfftw: Any) -> str:
    return f"pyfftw-{pyfftw.__version__}-fftw-{pyfftw.fftw_version}"
