"""The bench's figures as text: one line a contender, then the mean PSNR by kind of case."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from .bench import Result

HEADS = ("contender", "cases", "PSNR", "gain", "least", "SSIM", "seconds", "weight", "regret", "most", "border", "seen")


def summary(results: Sequence[Result], inputs: dict[str, float]) -> str:
    """Means over a group's cases, and what the contenders' errors say.

    gain and the least: dB above the input (PSNR and SSIM are means too); seconds: the median; weight: the median;
    regret and the most: dB that the oracle weight would have gained; border: dB that known surroundings would have;
    seen: the same over the pixels at least half of whose light reached the frame
    """
    rows = [["(input)", str(len(inputs)), f"{np.mean(list(inputs.values())):.2f}", *[""] * 9]]
    errors = []
    for name in dict.fromkeys(result.task.name for result in results):
        mine = [result for result in results if result.task.name == name]
        rows.append(_row(name, [result for result in mine if result.error is None]))
        failed = [result for result in mine if result.error is not None]
        if failed:
            errors.append(
                f"{name} failed in {len(failed)} of {len(mine)}, first in '{failed[0].case}': {failed[0].error}"
            )
    return "\n".join([aligned([list(HEADS), *rows]), *errors])


def _row(name: str, done: list[Result]) -> list[str]:
    gains, regrets = _values(done, "gain"), _values(done, "regret")
    return [
        name,
        str(len(done)),
        _text(np.mean, _values(done, "psnr"), ".2f"),
        _text(np.mean, gains, "+.2f"),
        _text(np.min, gains, "+.2f"),
        _text(np.mean, _values(done, "ssim"), ".3f"),
        _text(np.median, _values(done, "seconds"), ".2f"),
        _text(np.median, _values(done, "weight"), ".3g"),
        _text(np.mean, regrets, ".2f"),
        _text(np.max, regrets, ".2f"),
        _text(np.mean, _values(done, "border"), ".2f"),
        _text(np.mean, _values(done, "seen_border"), ".2f"),
    ]


def _values(results: Iterable[Result], name: str) -> list[float]:
    return [getattr(result, name) for result in results if getattr(result, name) is not None]


def _text(reduce: object, values: list[float], form: str) -> str:
    return format(float(reduce(values)), form) if values else ""  # type: ignore[operator]


def by_kind(results: Sequence[Result], measure: str, inputs: dict[str, float]) -> str:
    """Means of one measure, a column for each kind of case; `inputs` holds the input's PSNR by case."""
    kinds = list(dict.fromkeys(result.kind for result in results))
    rows = [[f"mean {measure}", *kinds]]
    if measure == "psnr":
        cases = {kind: {r.case for r in results if r.kind == kind} for kind in kinds}
        rows.append(["(input)", *(f"{np.mean([inputs[case] for case in cases[kind]]):.2f}" for kind in kinds)])
    for name in dict.fromkeys(result.task.name for result in results):
        mine = [result for result in results if result.task.name == name]
        columns = [_values((r for r in mine if r.kind == kind), measure) for kind in kinds]
        rows.append([name, *(_text(np.mean, values, ".2f") for values in columns)])
    return aligned(rows)


def by_case(results: Sequence[Result]) -> str:
    """The gain of every contender on every case."""
    names = list(dict.fromkeys(result.task.name for result in results))
    found = {(r.case, r.task.name): r.gain for r in results}
    rows = [["gain", *names]]
    for case in dict.fromkeys(result.case for result in results):
        values = [found.get((case, name)) for name in names]
        rows.append([case, *("" if value is None else f"{value:+.2f}" for value in values)])
    return aligned(rows)


def aligned(rows: list[list[str]]) -> str:
    """A Markdown table that is readable as it stands: the first column to the left, numbers to the right."""
    widths = [max(3, *(len(row[c]) for row in rows)) for c in range(len(rows[0]))]

    def line(row: Sequence[str]) -> str:
        first, *others = row
        cells = [first.ljust(widths[0]), *(text.rjust(width) for text, width in zip(others, widths[1:], strict=True))]
        return f"| {' | '.join(cells)} |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([line(rows[0]), line(rule), *map(line, rows[1:])])
