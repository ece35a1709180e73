"""Which FFT library was found to be the fastest for a grid on this machine; `convtool plan` measures, and keeps it.

Kept as JSON, for a number of threads: the library by the grid's name. What cannot be read counts as none.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence

import numpy as np

from convtool import process

MEASURED = ("scipy", "fftw")


def learned() -> dict[str, str]:
    """The library for each grid that was measured on this machine, by the grid's name."""
    return dict(_learned(process.policy.load_wisdom, process.threads()))


def name(shape: Sequence[int], dtype: np.dtype) -> str:
    """Of a grid: '2048x2048 float32'."""
    return f"{'x'.join(map(str, shape))} {dtype.name}"


def wisdom_name(threads: int) -> str:
    """What they are kept by."""
    return f"transforms-1-threads-{threads}"


def as_bytes(found: dict[str, str]) -> bytes:
    """For `process.Policy.load_wisdom` to give back."""
    return json.dumps(found).encode()


@functools.lru_cache(8)
def _learned(load: object, threads: int) -> dict[str, str]:
    blob = load(wisdom_name(threads)) if callable(load) else None
    try:
        found = json.loads(blob or b"{}")
    except ValueError:
        return {}
    return {grid: each for grid, each in found.items() if each in MEASURED} if isinstance(found, dict) else {}
