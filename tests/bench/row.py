"""What a row of the bench is: some work, convtool, its peers, the floor, and the ratio to reach.

A contender is `prepare(data) -> call`: what `prepare` does (importing, converting, planning) is not timed, `call()` is.
What cannot run here raises `MissingError`, which becomes a line that says so. `times` is for floors: the work takes so
many calls (Richardson-Lucy's 60 pairs of transforms are timed as one pair).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Call = Callable[[], Any]
Difference = Callable[[Any, Any], float]

OURS, PEER, FLOOR, QUOTED = "convtool", "peer", "floor", "quoted"


class MissingError(Exception):
    """Why something cannot be measured here."""


@dataclass(frozen=True)
class Contender:
    """Who does the work: prepare(data) -> call; `needs` are modules, or commands written `command:NAME`.

    tolerance: the difference from convtool's result up to which they agree, where it is not the row's
    """

    name: str
    prepare: Callable[[Any], Call]
    needs: tuple[str, ...] = ()
    tolerance: float | None = None
    times: float = 1.0


@dataclass(frozen=True)
class Quote:
    """A figure that was not measured here, and where it comes from."""

    name: str
    seconds: float
    source: str


@dataclass(frozen=True)
class Target:
    """convtool's time is to be at most `at_most` times that of the fastest of some contenders.

    of: their names, or FLOOR; empty: every peer but those in `but`. needs: modules without which the target does not
    hold. limit: where it is missed, what bounds the time, and what was tried; of two threads of an AMD EPYC
    """

    at_most: float
    text: str
    of: tuple[str, ...] = ()
    but: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    limit: str = ""


def relative(ours: np.ndarray, theirs: np.ndarray) -> float:
    """max |ours - theirs| / max |theirs|; infinite for other shapes, and for what is not finite."""
    if ours.shape != theirs.shape or not np.isfinite(theirs).all():
        return float("inf")
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def inside(margin: int) -> Difference:
    """`relative` without that many pixels at each side, where boundaries differ."""

    def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
        cut: tuple[Any, ...] = (..., *(slice(margin, n - margin) for n in theirs.shape[-2:]))
        return relative(ours[cut], theirs[cut])

    return difference


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the bench; `data` makes the same inputs every time, with NumPy alone.

    difference, tolerance: how results are compared, and up to where they agree
    plan: arguments of `convtool plan`; a row that has them is measured without its wisdom (cold) and with it (warm)
    figures: more numbers of convtool's result, by name
    times: what convtool's call counts, such as 1 / 20 for a batch of 20; is_fresh: whether its first call is the first
    most_rounds: of everyone but the floors, where calls take minutes
    """

    name: str
    work: str
    data: Callable[[], Any]
    ours: Callable[[Any], Call]
    peers: tuple[Contender, ...]
    tolerance: float
    floors: tuple[Contender, ...] = ()
    targets: tuple[Target, ...] = ()
    difference: Difference = relative
    plan: tuple[str, ...] = ()
    figures: Callable[[Any, Any], dict[str, float]] | None = None
    quotes: tuple[Quote, ...] = ()
    times: float = 1.0
    is_fresh: bool = True
    most_rounds: int | None = None

    @property
    def regimes(self) -> tuple[str, ...]:
        """How often the row is measured, and with what wisdom."""
        return ("cold", "warm") if self.plan else ("",)
