"""What was measured of a row: timings, verdicts on its targets, what a new machine pays first. All of it is JSON."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from . import timing
from .row import FLOOR, OURS, PEER, QUOTED, Row, Target
from .timing import Spread


@dataclass(frozen=True)
class Timing:
    """A contender's seconds by round: none where it is missing, those of another machine where it has a source.

    difference: from convtool's result; they agree up to the tolerance
    """

    name: str
    role: str
    seconds: tuple[float, ...] = ()
    missing: str | None = None
    difference: float | None = None
    tolerance: float | None = None
    source: str | None = None

    @property
    def agrees(self) -> bool:
        """Whether the result is convtool's, where it can be compared."""
        return self.difference is None or (self.tolerance is not None and self.difference <= self.tolerance)

    @property
    def counts(self) -> bool:
        """Whether the time says something: the work was done."""
        return bool(self.seconds) and self.agrees

    @property
    def median(self) -> float:
        """Seconds."""
        return timing.spread(self.seconds).median


@dataclass(frozen=True)
class Verdict:
    """A target and what became of it; `value` is None where nothing could be compared, and `why` says why; it says
    what bounds the time where the target was missed."""

    text: str
    at_most: float
    value: Spread | None = None
    against: str | None = None
    why: str = ""

    @property
    def reached(self) -> bool | None:
        """By the median; None where it was not measured."""
        return None if self.value is None else self.value.median <= self.at_most


@dataclass(frozen=True)
class Outcome:
    """A row measured in one regime.

    first: seconds of convtool's first call in a fresh process, imports included; planning: of `convtool plan` before it
    shown: what stands in place of convtool's time where the row measures something else
    """

    row: str
    work: str
    regime: str = ""
    timings: tuple[Timing, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    first: float | None = None
    planning: float | None = None
    figures: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    shown: str = ""

    def of(self, role: str) -> list[Timing]:
        """Who has this role and counts, fastest first."""
        return sorted((t for t in self.timings if t.role == role and t.counts), key=lambda t: t.median)

    @property
    def ours(self) -> Timing | None:
        """convtool's timing."""
        return next(iter(self.of(OURS)), None)

    def ratio(self, other: Timing) -> Spread | None:
        """convtool's time over another's."""
        return timing.ratios(self.ours.seconds, other.seconds) if self.ours else None

    @property
    def disagreements(self) -> list[Timing]:
        """Whose result is another one."""
        return [timing for timing in self.timings if not timing.agrees]


def judged(row: Row, outcome: Outcome, installed: Any) -> Outcome:
    """The outcome with a verdict on each of the row's targets; installed(names) says why one does not hold, or ''."""
    return dataclasses.replace(
        outcome, verdicts=tuple(_verdict(target, outcome, installed(target.needs)) for target in row.targets)
    )


def _verdict(target: Target, outcome: Outcome, why: str) -> Verdict:
    unmeasured = Verdict(target.text, target.at_most)
    rivals = _rivals(target, outcome)
    if why or not rivals or outcome.ours is None:
        ours = next((t.missing for t in outcome.timings if t.role == OURS and t.missing), "")
        return dataclasses.replace(unmeasured, why=why or ours or "nobody to compare with")
    found = dataclasses.replace(unmeasured, value=outcome.ratio(rivals[0]), against=rivals[0].name)
    return found if found.reached else dataclasses.replace(found, why=target.limit)


def _rivals(target: Target, outcome: Outcome) -> list[Timing]:
    """Whom a target speaks of, fastest first."""
    if target.of == (FLOOR,):
        return outcome.of(FLOOR)
    if target.of:
        return [t for t in outcome.of(PEER) + outcome.of(QUOTED) if t.name in target.of]
    return [t for t in outcome.of(PEER) if t.name not in target.but]


def as_json(outcome: Outcome) -> dict[str, Any]:
    """Plain dictionaries and lists."""
    return dataclasses.asdict(outcome)


def from_json(found: dict[str, Any]) -> Outcome:
    """The outcome that `as_json` gave, also after a file."""
    timings = tuple(Timing(**{**each, "seconds": tuple(each["seconds"])}) for each in found["timings"])
    verdicts = tuple(
        Verdict(**{**each, "value": Spread(**each["value"]) if each["value"] else None}) for each in found["verdicts"]
    )
    return Outcome(**{**found, "timings": timings, "verdicts": verdicts, "notes": tuple(found["notes"])})
