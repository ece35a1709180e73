"""Cost against work: periodic convolution from 256² to 16384², as a multiple of the bare transforms, and its memory.

What grows faster than the transforms shows as a multiple that climbs with the size; so does memory a pixel. The
multiple is of the fastest library's transforms at each size. Sizes that would not fit into free memory are left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from . import machine, memory, worker
from .floors import transforms
from .outcome import Outcome, Timing, Verdict
from .row import FLOOR, OURS, Row
from .rows_linear import image, ours
from .timing import Spread

NAME = "cost"
_KERNEL, _FIRST, _CONSTANT = 31, 256, 1.3
_MEMORY, _MEMORY_FROM = "memory-convolve-31", 1024  # below, an image is less than what libraries allocate at once
_IMAGES_NEEDED = 12  # of free memory, in images: what convtool and the bare transforms take together, and some
_SMALL_AND_LARGE = (
    "At 256² fixed costs count: 0.3 ms of Python, and the transform of the kernel, which is as large as the image's."
    " Above 2048² blocks that stay in the cache beat whole transforms, so the multiple falls below 1."
)
_BUFFERS = "Buffers of a fixed size (the FFT library's, each thread's) count for less in larger images: it falls."
LARGEST = {"cold": 16384, "warm": 2048}  # a measured plan of a larger grid takes minutes


@dataclass(frozen=True)
class Point:
    """One size: seconds of convtool and of the bare transforms, and bytes a pixel, None for a small image."""

    side: int
    seconds: float
    transforms: float
    multiple: Spread
    bytes_a_pixel: float | None


def row(side: int) -> Row:
    """The work at one size."""
    return Row(
        name=f"{NAME}:{side}",
        work=f"periodic convolve {side}², k = {_KERNEL}",
        data=partial(image, (side, side), _KERNEL),
        ours=partial(ours, boundary="periodic"),
        peers=(),
        floors=transforms((side, side)),
        tolerance=0.0,
        plan=(f"{side}x{side}", "--precision", "single"),
    )


def sides(limit: int) -> Iterator[int]:
    """256, 512, ... as far as the limit and the free memory go."""
    side = _FIRST
    while side <= limit and _IMAGES_NEEDED * 4 * side * side < machine.free_memory():
        yield side
        side *= 2


def outcome(regime: str, limit: int, threads: int, rounds: int, budget: float) -> tuple[Outcome, list[Point]]:
    """The row of the study, and its points."""
    found = []
    for side in sides(min(limit, LARGEST[regime])):
        point = _point(worker.in_process(row(side), regime, threads, rounds, budget), side, threads)
        if point is None:
            break
        found.append(point)
    work = f"cost against work: periodic convolve, k = {_KERNEL}, {_FIRST}² to {found[-1].side if found else 0}²"
    if not found:
        return Outcome(NAME, work, regime, (Timing(OURS, OURS, missing="no size fits into the memory"),)), found
    return _summed(work, regime, found), found


def _point(measured: Outcome, side: int, threads: int) -> Point | None:
    floors = measured.of(FLOOR)
    if measured.ours is None or not floors:
        return None
    multiple = measured.ratio(floors[0])
    assert multiple is not None
    taken = memory.peak(_MEMORY, side, threads) / side**2 if side >= _MEMORY_FROM else None
    return Point(side, measured.ours.median, floors[0].median, multiple, taken)


def _flatness(name: str, column: dict[int, float], why: str) -> Verdict:
    value = max(column.values()) / min(column.values())
    found = Verdict(f"{name}, most / least", _CONSTANT, Spread(value, value, value), "itself")
    return found if found.reached else dataclasses.replace(found, why=why)


def _summed(work: str, regime: str, found: list[Point]) -> Outcome:
    multiples = {p.side: p.multiple.median for p in found}
    memories = {p.side: p.bytes_a_pixel for p in found if p.bytes_a_pixel is not None}
    columns = {
        "multiple": multiples,
        "seconds": {p.side: p.seconds for p in found},
        "transforms": {p.side: p.transforms for p in found},
        "bytes a pixel": memories,
    }
    studied = (("multiple", multiples, _SMALL_AND_LARGE), ("bytes a pixel", memories, _BUFFERS))
    verdicts = tuple(_flatness(name, column, why) for name, column, why in studied if len(column) > 1)
    figures = {f"{name} {side}": value for name, column in columns.items() for side, value in column.items()}
    shown = f"× {min(multiples.values()):.2g} … {max(multiples.values()):.2g}"
    return Outcome(NAME, work, regime, verdicts=verdicts, figures=figures, shown=shown)
