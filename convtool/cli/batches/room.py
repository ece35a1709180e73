"""How much memory an image of a batch may take, told from its header, and how much there is."""

from __future__ import annotations

import os
import re
from types import SimpleNamespace

from convtool.cli.batches.places import Task
from convtool.errors import DataError, SettingError
from convtool.images.header import values_of
from convtool.memory import available_memory

_SHARE = 0.75  # of the memory that is free
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
# Bytes for each value of the image, in single precision, at the peak: measured by `python -m tests.batch_memory`.
_BYTES = {"convolve": 24, "correlate": 24, "maxpool": 16, "edges": 24, "local": 32}
_BYTES |= {"auto": 160, "pinv": 60, "tikhonov": 80, "wiener": 80, "rl": 100, "tv": 160, "non-local": 160}
_BYTES |= {"least-squares": 160}
_LEAST = 256 << 20  # to begin with: with less, a library that is loaded may wait for memory for ever
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
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE | re.ASCII)
    if found is None or not float(found[1]):
        raise SettingError(f"--memory-limit must be a size such as 800M or 8G (of 1024 M), got '{text}'")
    return int(float(found[1]) * _UNITS[found[2].upper()])


def needed(task: Task, asked: SimpleNamespace, command: str) -> int:
    """About how many bytes a task takes at its peak: its file, and the arrays of the computation."""
    try:
        size = os.path.getsize(task.image)
    except OSError:  # which is said when it is read
        return 0
    each = _BYTES[getattr(asked, "method", command)]
    double = asked.precision == "double" if hasattr(asked, "precision") else False
    values, width = values_of(task.image)
    return _FIXED + size + values * each * (2 if double or width > 4 else 1)
