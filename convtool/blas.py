"""How many threads the BLAS of NumPy and SciPy takes.

OpenBLAS shares even short products among threads of its own, which wait for each other for milliseconds where other
work holds the cores. Whoever spreads work over threads calls it inside `single_threaded`.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable

from convtool import process


def single_threaded() -> process.Change:
    """Within, no call of NumPy's or SciPy's BLAS takes threads of its own, if it can be told so; may be nested."""
    return _single_threaded


def _limit() -> Callable[[], None]:
    before = [(limit, count()) for count, limit in _controls()]
    for limit, _ in before:
        limit(1)

    def undo() -> None:
        for limit, count in before:
            limit(count)

    return undo


_single_threaded = process.Change(_limit)


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
