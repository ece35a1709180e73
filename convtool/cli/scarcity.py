"""Little address space (`ulimit -v`): libraries are loaded only where there is room for them, and take few threads.

OpenBLAS, which NumPy, SciPy and OpenCV bring along, waits for ever, or ends the process, where it finds no room for the
buffers of its threads, and a library that is loaded half may crash. So `prepare` is called before any of them is
imported. Where the address space has a limit, it lets BLAS and convtool have the threads that there is room for, and
from then on each of these libraries is refused, with the number of bytes, unless it fits; the buffer of BLAS is taken
as soon as it is loaded, while there is room for it. Without a limit nothing is done, and nothing costs time.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

_MIB = 1 << 20
# Of libraries by the module that loads them: the bytes that they take with one thread, and what each further one takes.
# The tests measure them again.
ROOM = {
    "numpy": (120 * _MIB, 44 * _MIB),
    "scipy.linalg": (160 * _MIB, 44 * _MIB),
    "scipy.special": (0, 0),  # loads the BLAS of scipy.linalg too, which is to come first
    "cv2": (224 * _MIB, 144 * _MIB),
    "pyfftw": (48 * _MIB, 0),
    "astropy": (48 * _MIB, 0),
}
_LEFT = 32 * _MIB  # for the codecs and whatever else is small, once a library is loaded
_PLENTY = 1024 * _MIB  # with which a command does most work, and all libraries, on one thread
_AMPLE = 2 * _PLENTY  # with which images leave room for OpenCV, which is only faster
_THREAD = 256 * _MIB  # of a further thread: its stack and heap, and the buffers of three libraries
_M_ARENA_MAX = -8  # of glibc's mallopt


def prepare() -> None:
    """Make ready for the limit of the address space, if there is one."""
    try:
        import resource
    except ImportError:  # Windows
        return
    if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
        return
    from convtool import process
    from convtool.memory import free_address_space

    free, asked = free_address_space(), os.environ.get("OPENBLAS_NUM_THREADS", "")
    most = min(process.usable_cpus(), max(1, 1 + (free - _PLENTY) // _THREAD))
    threads = min(most, int(asked)) if asked.isdecimal() and int(asked) else most
    os.environ["OPENBLAS_NUM_THREADS"] = str(threads)
    process.policy.most_threads, process.policy.is_sparing = most, free < _AMPLE
    if most == 1:
        _share_one_heap()
    sys.meta_path.insert(0, _Gate(threads))


def load_for_threads() -> None:
    """Load what threads will need, before they begin and images take the room; where there is a limit."""
    if any(isinstance(finder, _Gate) for finder in sys.meta_path):
        from contextlib import suppress

        from convtool import fft
        from convtool.errors import NoRoomError

        with suppress(NoRoomError):  # said by who does need it
            fft.scipy_fft()


def _share_one_heap() -> None:
    """Keep threads from reserving 64 MiB each for a heap of their own; where the C library can be told so."""
    import ctypes

    try:
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
    except (OSError, AttributeError):
        return


class _Gate:
    """A finder of modules that lets those in `ROOM` be loaded where they fit."""

    def __init__(self, threads: int) -> None:
        self._threads = threads

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> ModuleSpec | None:
        """How to load a module, once it is sure that it fits; None for those that are small."""
        if name not in ROOM:
            return None
        from importlib.machinery import PathFinder

        found = PathFinder.find_spec(name, path)
        if found is not None and found.loader is not None:
            vars(found.loader)["exec_module"] = self._guarded(name, found.loader.exec_module)
        return found

    def _guarded(self, name: str, load: Callable[[Any], None]) -> Callable[[Any], None]:
        def guarded(module: Any) -> None:
            if name == "scipy.special":
                import scipy.linalg  # noqa: F401
            self._check(name)
            load(module)
            _take_buffer(module)

        return guarded

    def _check(self, name: str) -> None:
        from convtool.errors import NoRoomError
        from convtool.memory import free_address_space

        once, each = ROOM[name]
        needed, free = once + (self._threads - 1) * each + _LEFT, free_address_space()
        if free < needed:
            library = name.partition(".")[0]
            raise NoRoomError(
                f"loading {library} takes {needed} bytes of address space, and only {free} are free: raise the limit"
                " (ulimit -v)"
            )


def _take_buffer(module: Any) -> None:
    """Let a library's BLAS take the buffer of this thread, which it keeps."""
    import numpy as np

    if module.__name__ not in ("numpy", "scipy.linalg"):
        return
    ones = np.ones((256, 256))
    if module is np:
        ones @ ones
    else:
        module.blas.dgemm(1.0, ones, ones)
