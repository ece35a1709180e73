"""y += a x on parts of arrays, by the BLAS that SciPy brings, without the interpreter's lock.

NumPy takes two passes and a temporary array for `y += a * x`; BLAS takes one, from the cache twice as fast and more.
The routines are those that SciPy offers to compiled code (`scipy.linalg.cython_blas`), called through ctypes, which
lets go of the lock; SciPy's own Python wrappers hold it. Addresses are those of arrays that the caller keeps alive;
lengths and strides count samples.

OpenBLAS shares even short sums among threads of its own, which wait for each other for milliseconds where other work
holds the cores. Whoever spreads work over threads calls inside `single_threaded`.
"""

from __future__ import annotations

import ctypes
import functools
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

_LETTERS = {"float32": "s", "float64": "d"}
_REALS = {"float32": ctypes.c_float, "float64": ctypes.c_double}
_STEP = ctypes.byref(ctypes.c_int(1))


class Routines:
    """The routines for one dtype; get them from `routines`."""

    def __init__(self, dtype: np.dtype) -> None:
        letter, self._real = _LETTERS[dtype.name], _REALS[dtype.name]
        self._axpy = _routine(f"{letter}axpy", 6)

    def number(self, value: float) -> Any:
        """A factor as the routines take it."""
        return ctypes.byref(self._real(value))

    def add_scaled(self, count: int, terms: list[tuple[Any, int]], target: int) -> None:
        """target[:count] += sum of a x[:count] over the terms (a, address of x)."""
        axpy, length, step = self._axpy, ctypes.byref(ctypes.c_int(count)), _STEP
        for factor, source in terms:
            axpy(length, factor, source, step, target, step)


@functools.cache
def routines(dtype: np.dtype) -> Routines:
    """The routines for float32 or float64."""
    return Routines(dtype)


def _routine(name: str, arguments: int) -> Callable[..., None]:
    """A routine of `scipy.linalg.cython_blas` that takes so many pointers."""
    from scipy.linalg import cython_blas

    capsule = cython_blas.__pyx_capi__[name]
    api = ctypes.pythonapi
    api.PyCapsule_GetName.restype, api.PyCapsule_GetName.argtypes = ctypes.c_char_p, [ctypes.py_object]
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    address = api.PyCapsule_GetPointer(capsule, api.PyCapsule_GetName(capsule))
    return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * arguments)(address)


_lock = threading.Lock()
_inside = 0
_before: list[tuple[Callable[[int], None], int]] = []


@contextmanager
def single_threaded() -> Iterator[None]:
    """Within, no call of NumPy's or SciPy's BLAS takes threads of its own, if it can be told so; may be nested."""
    global _inside
    with _lock:
        if not _inside:
            for count, limit in _controls():
                _before.append((limit, count()))
                limit(1)
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            while not _inside and _before:
                limit, count_before = _before.pop()
                limit(count_before)


def _controls() -> list[tuple[Callable[[], int], Callable[[int], None]]]:
    """How to ask and tell each BLAS that is loaded its number of threads, if it is the OpenBLAS of a wheel."""
    libraries = {"numpy.linalg._umath_linalg": "64_", "scipy.linalg.cython_blas": ""}
    found = (_control(module, ending) for module, ending in libraries.items() if module in sys.modules)
    return [control for control in found if control is not None]


@functools.cache
def _control(module: str, ending: str) -> tuple[Callable[[], int], Callable[[int], None]] | None:
    try:
        library = ctypes.CDLL(sys.modules[module].__file__)  # symbols of what it is linked with are found through it
        names = [f"scipy_openblas_{verb}_num_threads{ending}" for verb in ("get", "set")]
        return getattr(library, names[0]), getattr(library, names[1])
    except (OSError, AttributeError):
        return None
