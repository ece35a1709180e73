"""What a unit of each kind of work costs on this machine: figures by which an engine is chosen.

Some were measured on one machine and are in the code; `convtool plan` measures those of its own, kept as JSON beside
what FFTW has learned, for a number of threads. What cannot be read counts as none.
"""

from __future__ import annotations

import functools
import json
import math
from dataclasses import asdict, dataclass, fields

from convtool import process


@dataclass(frozen=True)
class Costs:
    """Nanoseconds of one unit of work in single precision, on the threads of the process.

    multiply_add: of a sum over taps, as `convtool.products.work` counts; sample: of bringing a sample to a pass and
    back; transform, block: of n log2 n of a grid of n samples, as a whole and in blocks; spectral: of one complex
    product; call: of one call of an engine, whatever it does
    """

    multiply_add: float = 0.02
    sample: float = 1.0
    transform: float = 0.14
    block: float = 0.11
    spectral: float = 1.0
    call: float = 130_000.0


def current() -> Costs:
    """The costs by which engines are chosen: those measured on this machine, where they were."""
    return _learned(process.policy.load_wisdom, process.threads())


def name(threads: int) -> str:
    """What they are kept by."""
    return f"costs-2-threads-{threads}"


def as_bytes(costs: Costs) -> bytes:
    """For `process.Policy.load_wisdom` to give back."""
    return json.dumps(asdict(costs)).encode()


def from_bytes(blob: bytes) -> Costs | None:
    """None for what is no costs, or none that could be."""
    try:
        found = {field.name: float(json.loads(blob)[field.name]) for field in fields(Costs)}
    except (ValueError, TypeError, KeyError):
        return None
    return Costs(**found) if all(math.isfinite(each) and each > 0 for each in found.values()) else None


@functools.lru_cache(8)
def _learned(load: object, threads: int) -> Costs:
    blob = load(name(threads)) if callable(load) else None
    return (from_bytes(blob) if blob else None) or Costs()
