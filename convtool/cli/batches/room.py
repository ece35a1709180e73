"""How much memory an image of a batch may take, told from its header, and how much there is."""

from __future__ import annotations

import os
import re
from types import SimpleNamespace

from convtool import process
from convtool.cli.batches.places import Task
from convtool.errors import DataError, SettingError
from convtool.images.header import values_of
from convtool.memory import available_memory

_MOST = 1 << 60  # values, of what claims to have more
_SHARE = 0.75  # of the memory that is free
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
# Bytes for each value of an 8-bit image at the peak, a little more than was measured; the tests measure them again.
_BYTES = {"convolve": 16, "correlate": 16, "edges": 12, "maxpool": 8, "local": 16}
_BYTES |= {"auto": 108, "pinv": 20, "tikhonov": 80, "wiener": 80, "rl": 108, "tv": 48, "non-local": 48}
_BYTES |= {"least-squares": 84}
_UNKNOWN = 128  # for methods that came later
_MORE = 20  # for decoding to linear light, and for figures on the kernel
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
    """What is left of a limit for the images, when what they have in common has its part."""
    if getattr(asked, "method", None) != "least-squares":
        return limit
    if not process.policy.reproducible:
        process.policy.memory = min(process.policy.memory, limit // _PARTS)
    return limit - _KEPT * (limit // _PARTS)


def needed(task: Task, asked: SimpleNamespace, command: str, has_facts: bool = False) -> int:
    """About how many bytes a task takes at its peak: its file, and the arrays of the computation."""
    try:
        size = os.path.getsize(task.image)
    except OSError:  # which is said when it is read
        return 0
    each = _BYTES.get(getattr(asked, "method", command), _UNKNOWN)
    each += _MORE * (getattr(asked, "linear", False) + has_facts)
    values, width = values_of(task.image)
    is_double = getattr(asked, "precision", "auto") == "double" or width > 2
    values = min(values, _MOST)
    return _FIXED + size + values * each * (2 if is_double else 1)


def too_large(needed: int, limit: int) -> DataError:
    """The error for an image that does not fit by itself."""
    return DataError(f"it would take about {needed} bytes of memory, and the limit is {limit}: {_ADVICE}")
