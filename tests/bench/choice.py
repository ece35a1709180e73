"""Does convtool choose well? Its own choice of engine beside each engine by name, over a grid of sizes.

Where the choice is right, its time is that of the best engine, but for noise; the verdict is on the worst place.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from . import worker
from .floors import memory_pass
from .outcome import Outcome, Timing, Verdict
from .row import OURS, PEER, Call, Contender, Row
from .rows_linear import Image, image, ours
from .timing import Spread

NAME = "choice"
_SIDES, _KERNELS, _AT_MOST = (64, 256, 1024), (3, 5, 9, 15, 31), 1.2
_MORE = 4  # times as many rounds: a ratio of 1.2 at the worst of many places takes quiet medians


def by_engine(data: Image, engine: str) -> Call:
    """convtool with its engine named."""
    import convtool

    return lambda: convtool.convolve(data.x, data.kernel, boundary="reflect", engine=engine)


def engines() -> list[str]:
    """The names that --engine takes, but auto."""
    from convtool.operators import ENGINES

    return [name for name in ENGINES if name != "auto"]


def row(side: int, size: int) -> Row:
    """One place of the grid; float32 sums in another order differ by more the more taps there are."""
    return Row(
        name=f"{NAME}:{side}:{size}",
        work=f"convolve {side}², k = {size}",
        data=partial(image, (side, side), size),
        ours=partial(ours, boundary="reflect"),
        peers=tuple(Contender(engine, partial(by_engine, engine=engine)) for engine in engines()),
        floors=(memory_pass((side, side)),),
        tolerance=1e-4,
    )


def outcome(threads: int, rounds: int, budget: float) -> Outcome:
    """The row of the study: the choice over the best engine, place by place."""
    found: dict[str, Spread] = {}
    spoilt: list[Timing] = []
    for side in _SIDES:
        for size in _KERNELS:
            measured = worker.in_process(row(side, size), "", threads, _MORE * rounds, budget)
            best = measured.of(PEER)
            value = measured.ratio(best[0]) if best else None
            spoilt += [t for t in measured.timings if t.missing] + measured.disagreements
            if value:
                found[f"{side}², k = {size}: over {best[0].name}"] = value
    work = f"the choice of an engine, {_SIDES[0]}² to {_SIDES[-1]}², k = {_KERNELS[0]} to {_KERNELS[-1]}"
    if not found:
        return Outcome(NAME, work, timings=(*spoilt, Timing(OURS, OURS, missing="nothing was measured")))
    place = max(found, key=lambda name: found[name].median)
    verdict = Verdict(f"best engine (worst: {place})", _AT_MOST, found[place], place)
    figures = {name: value.median for name, value in found.items()}
    shown = f"× {np.median(list(figures.values())):.3g} of the best, × {figures[place]:.3g} at worst"
    return Outcome(NAME, work, timings=tuple(spoilt), verdicts=(verdict,), figures=figures, shown=shown)
