"""The bench's figures as text: every contender of a row as it is done, then one line a row."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from . import cost
from .cost import Point
from .outcome import Outcome, Timing, Verdict
from .row import FLOOR, OURS, PEER
from .timing import Spread

HEADS = ("row", "work", "convtool", "best peer", "ratio", "floor", "× floor", "first", "to reach", "reached")

_CELL = 60  # letters
_WIDTH, _INDENT = 120, "    "


def milliseconds(seconds: float) -> str:
    """Three digits."""
    ms = 1e3 * seconds
    return f"{ms:,.0f}" if ms >= 100 else f"{ms:.3g}"


def ratio(value: Spread) -> str:
    """A median and its quartiles, such as 1.32 [1.28–1.40]."""
    return f"{value.median:.3g} [{value.low:.3g}–{value.high:.3g}]"


def line(outcome: Outcome) -> list[str]:
    """The row's cells."""
    rivals, floors = outcome.of(PEER), outcome.of(FLOOR)
    return [
        f"{outcome.row} {outcome.regime}".strip(),
        outcome.work,
        _ours(outcome),
        _named(rivals[0]) if rivals else "–",
        _ratio(outcome, rivals),
        _named(floors[0]) if floors else "–",
        _ratio(outcome, floors),
        _first(outcome),
        "; ".join(f"≤ {v.at_most:g} × {v.text}" for v in outcome.verdicts) or "–",
        "; ".join(reached(v) for v in outcome.verdicts) or "–",
    ]


def _ours(outcome: Outcome) -> str:
    missing = next((t.missing for t in outcome.timings if t.role == OURS and t.missing), None)
    return _short(missing) or outcome.shown or (milliseconds(outcome.ours.median) if outcome.ours else "–")


def _short(text: str | None) -> str:
    """What fits into a cell; the whole is in the row's details."""
    return "" if text is None else text if len(text) <= _CELL else f"{text[:_CELL]}…"


def _named(timing: Timing) -> str:
    return f"{timing.name} {milliseconds(timing.median)}"


def _ratio(outcome: Outcome, rivals: Sequence[Timing]) -> str:
    value = outcome.ratio(rivals[0]) if rivals else None
    return "–" if value is None else ratio(value)


def _first(outcome: Outcome) -> str:
    planning = "" if outcome.planning is None else f" after {outcome.planning:.1f} s of planning"
    return "–" if outcome.first is None else f"{milliseconds(outcome.first)}{planning}"


def reached(verdict: Verdict) -> str:
    """'yes', 'no: 3.1', or why it was not measured."""
    if verdict.value is None:
        return f"not measured: {_short(verdict.why)}"
    return f"{'yes' if verdict.reached else 'no'}: {verdict.value.median:.3g}"


def details(outcome: Outcome) -> str:
    """Everyone who took part in a row, the fastest first, and who did not; milliseconds."""
    lines = [f"{outcome.row} {outcome.regime}".strip() + f": {outcome.work}"]
    for timing in sorted(outcome.timings, key=lambda t: t.median if t.seconds else float("inf")):
        lines.append(f"  {timing.name:28} {_detail(timing)}")
    if outcome.row != cost.NAME:  # its figures are a table of their own
        lines += [f"  {name:28} {value:.6g}" for name, value in outcome.figures.items()]
    if outcome.first is not None:
        lines.append(f"  {'first call, fresh process':28} {_first(outcome)}")
    for verdict in outcome.verdicts:
        lines.append(f"  ≤ {verdict.at_most:g} × {verdict.text}: {reached(verdict)}")
        if verdict.value is not None and verdict.why:
            lines += textwrap.wrap(verdict.why, _WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT)
    return "\n".join([*lines, *(f"  {note}" for note in outcome.notes)])


def _detail(timing: Timing) -> str:
    if timing.missing:
        return timing.missing
    text = f"{milliseconds(timing.median):>8}  in {len(timing.seconds)} rounds"
    if timing.source:
        return f"{milliseconds(timing.median):>8}  not measured here: {timing.source}"
    if not timing.agrees:
        return f"{text}; DISAGREES by {timing.difference:.2g}, more than {timing.tolerance:.2g}: it does not count"
    return text if timing.difference is None else f"{text}; differs by {timing.difference:.2g} ≤ {timing.tolerance:.2g}"


def summary(outcomes: Sequence[Outcome]) -> str:
    """All rows as a Markdown table; times in milliseconds."""
    return aligned([list(HEADS), *map(line, outcomes)])


def points(found: Sequence[Point]) -> str:
    """The study of cost against work, a line a size."""
    rows = [["size", "convtool", "bare transforms", "multiple", "bytes a pixel"]]
    for p in found:
        taken = "–" if p.bytes_a_pixel is None else f"{p.bytes_a_pixel:.1f}"
        rows.append([f"{p.side}²", milliseconds(p.seconds), milliseconds(p.transforms), ratio(p.multiple), taken])
    return aligned(rows)


def aligned(rows: list[list[str]]) -> str:
    """A Markdown table that is readable as it stands."""
    widths = [max(3, *(len(row[c]) for row in rows)) for c in range(len(rows[0]))]

    def text(row: Sequence[str]) -> str:
        return f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |"

    return "\n".join([text(rows[0]), text(["-" * width for width in widths]), *map(text, rows[1:])])
