"""Medians of alternating rounds, and ratios with their spread.

In each round every contender runs once, forwards in even rounds and backwards in odd ones, so that neither a drift of
the machine nor what ran before favours one. Ratios are taken round by round: what slows a whole round leaves them
alone. Each has run before, which does not count. Who is slow takes part in the first rounds only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_PAUSE = 0.005  # seconds: the threads of one library spin for a while after its work, at the expense of the next


@dataclass(frozen=True)
class Spread:
    """A median between the first and the third quartile."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """The median and the quartiles, linear between values."""
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    return Spread(float(median), float(low), float(high))


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Of ours over theirs, of the rounds that both took part in."""
    return spread([a / b for a, b in zip(ours, theirs, strict=False)])


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """(seconds, result) of a call."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def share(rounds: int, seconds: float, budget: float, at_least: int = 3) -> int:
    """How many rounds a contender takes part in: as many as its budget of seconds allows."""
    return min(rounds, max(at_least, int(budget / max(seconds, 1e-9))))


def order(names: Sequence[str], round_: int) -> list[str]:
    """Who runs when in a round."""
    return list(names) if round_ % 2 == 0 else list(names)[::-1]


def alternate(calls: Mapping[str, Callable[[], Any]], shares: Mapping[str, int]) -> dict[str, list[float]]:
    """The seconds of each call, in as many rounds as its share."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for round_ in range(max(shares.values(), default=0)):
        for name in order(list(calls), round_):
            if round_ < shares[name]:
                time.sleep(_PAUSE)
                seconds[name].append(timed(calls[name])[0])
    return seconds
