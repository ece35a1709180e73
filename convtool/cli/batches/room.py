"""How much memory an image of a batch may take, told from its header, and how much there is."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from convtool import process
from convtool.cli import reading, sidecar
from convtool.cli.batches import shapes
from convtool.cli.batches.places import Task
from convtool.cli.batches.shapes import Shapes
from convtool.cli.kept import EndsBatchError
from convtool.deconvolution import methods
from convtool.errors import DataError, SettingError
from convtool.images.header import Header, header_of
from convtool.memory import available_memory
from convtool.model import working_dtype
from convtool.registry import assignments

if TYPE_CHECKING:
    import numpy as np

    from convtool.cli.job import Job

_MOST = 1 << 60  # values, of what claims to have more
_SHARE = 0.75  # of the memory that is free
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
# Arrays in the computing dtype that a command holds at its peak, as large as the image, the grid, and the result: a
# little more than was measured; the tests measure them again. Methods say it themselves, as HELD.
_HELD = {"convolve": (1.25, 1.0, 2.25), "correlate": (1.25, 1.0, 2.25), "local": (1.25, 1.0, 2.25)}
_HELD |= {"edges": (1.25, 0.0, 1.5), "maxpool": (1.5, 0.5, 3.0)}
_UNKNOWN = 32.0  # for what came later and does not say it
_MORE = 5.0  # for decoding to linear light, for figures on the kernel, and for a reference
_SPECTRA = 1.25  # arrays of the kernel's values at all frequencies, where it mixes channels
_INDEX = 18  # bytes of a place of a maximum, and of its copy
_FIELD, _SNAPSHOT = 2.75, 2.0  # arrays of a direction or component of gradients, and of a snapshot
_LEAST = 64 << 20  # to begin with: a thread's stack, codecs, and a small image
_ADVICE = "raise --memory-limit, cut the image up, or use a machine with more"
_PARTS, _KEPT = 8, 2  # of the limit, for the factors of a solution in one step, which are kept for so many shapes
_FIXED = 16 << 20  # of a thread, and of what libraries keep


def limit(text: str | None) -> int:
    """The bytes that the images in hand may take together.

    Raises SettingError for what is no size, DataError where there is no memory even to begin.
    """
    free = available_memory()
    if free < _LEAST:
        raise DataError(
            f"only {free} bytes of memory are free, and a batch needs {_LEAST} to begin: free some, or take one image"
        )
    if text is None:
        return int(_SHARE * free)
    found = re.fullmatch(r"(\d{1,18}(?:\.\d{1,18})?)([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE | re.ASCII)
    if found is None or not float(found[1]):
        raise SettingError(f"--memory-limit must be a size such as 800M or 8G (of 1024 M), got '{text}'")
    return int(float(found[1]) * _UNITS[found[2].upper()])


def jobs(asked: SimpleNamespace) -> int:
    """How many images may be in hand at a time: as asked, else as many as threads, where there is room for them."""
    most = process.policy.most_threads
    found = asked.jobs or process.workers()
    return found if most is None else min(found, most)


def leave_for_factors(limit: int, asked: SimpleNamespace) -> int:
    """What is left of a limit for the images, when what they have in common has its part.

    With --reproducible only a limit that was said may decide how images are solved, not the memory that is free.
    Raises DataError where nothing is left.
    """
    if getattr(asked, "method", None) != "least-squares":
        return limit
    policy, method = process.policy, _method_options(asked)
    if asked.memory_limit is not None or not policy.reproducible:
        policy.memory = min(policy.memory, limit // _PARTS)
    each = policy.memory if method.memory is None else int(method.memory * 2**30)
    left = limit - (0 if method.solver == "iterative" else _KEPT * each)
    if left <= 0:
        raise DataError(
            f"solutions in one step may take {_KEPT * each} bytes of memory, and the limit is {limit}: say"
            " --memory-limit, of which they take a quarter, a smaller --set memory, or --set solver=iterative"
        )
    return left


def foretelling(job: Job, command: str) -> Callable[[Task], int]:
    """Gives the bytes that a task of a job takes; the kernel is read for that, and kept. Raises what reading does."""

    def foretell(task: Task) -> int:
        if task.error is not None:  # which is all that there is to it
            return 0
        try:
            taps, beside = _kernel(job)
        except EndsBatchError as ends:
            raise ends.error from None
        return needed(task, job.asked, command, job.wants_facts, taps, beside)

    return foretell


def _kernel(job: Job) -> tuple[np.ndarray | None, dict[str, Any]]:
    """The taps that a job's images are convolved with, and the settings beside them; None for a job without."""
    if not hasattr(job.asked, "kernel"):
        return None, {}
    takes_all = hasattr(job.asked, "normalize")  # else the taps are taken as they are, and nothing with them
    name, normalize = job.asked.kernel, getattr(job.asked, "normalize", False)
    taps = reading.kept_kernel(job, name, normalize, plain=not takes_all)[0]
    found = job.kept.common(("sidecar", name), lambda: sidecar.find(name)) if takes_all else None
    return taps, {} if found is None else found.settings


def needed(
    task: Task,
    asked: SimpleNamespace,
    command: str,
    has_facts: bool = False,
    taps: np.ndarray | None = None,
    beside: dict[str, Any] | None = None,
) -> int:
    """About how many bytes a task takes at its peak: its file, and the arrays of the computation."""
    try:
        size = os.path.getsize(task.image)
    except OSError:  # which is said when it is read
        return 0
    header = header_of(task.image, getattr(asked, "axes", None))
    if header.values > _MOST:
        header = Header(_MOST, header.dtype)
    width = working_dtype(header.dtype, getattr(asked, "precision", "auto")).itemsize
    if getattr(asked, "op", "mean") != "mean":  # maxima are of the image's own dtype
        width = header.dtype.itemsize
    found = shapes.of(header, asked, taps, beside or {})
    arrays = _held(asked, command, found) + _beside(asked, found)
    arrays += _MORE * (getattr(asked, "linear", False) + has_facts + _asks(asked, "reference")) * found.largest
    return _FIXED + size + int(arrays) * width + _INDEX * _asks(asked, "indices") * found.result


def _held(asked: SimpleNamespace, command: str, found: Shapes) -> float:
    """Values that the command itself, or its method, holds."""
    method = getattr(asked, "method", None)
    if method is not None:
        return getattr(methods.load(method), "HELD", _UNKNOWN) * found.largest + _SPECTRA * found.spectra
    image, grid, result = _HELD.get(command, (_UNKNOWN,) * 3)
    return image * found.image + grid * found.grid + result * found.result + _SPECTRA * found.spectra


def _beside(asked: SimpleNamespace, found: Shapes) -> float:
    """Values of what is made in addition to the result: as computed, and as written."""
    count = _FIELD * (_asks(asked, "direction") + found.ndim * _asks(asked, "components"))
    if _asks(asked, "set_"):
        method = _method_options(asked)
        every, most = (getattr(method, name, None) for name in ("snapshots", "iterations"))
        count += _SNAPSHOT * ((most or getattr(method, "limit", 0) or 0) // every if every else 0)
    return count * found.result


def _method_options(asked: SimpleNamespace) -> Any:
    return methods.options(asked.method, assignments(getattr(asked, "set_", None) or [], "--set"))


def _asks(asked: SimpleNamespace, name: str) -> bool:
    return bool(getattr(asked, name, None))


def too_large(needed: int, limit: int) -> DataError:
    """The error for an image that does not fit by itself."""
    return DataError(f"it would take about {needed} bytes of memory, and the limit is {limit}: {_ADVICE}")
