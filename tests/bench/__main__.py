"""How fast is it, beside others on the same work? Figures, never assertions; see `row` for what a row is.

Run it from the repository's root; `make bench` does. Each row has a process of its own, in which convtool and its peers
take turns; results that differ from convtool's do not count, and make the exit status 1. Times are in milliseconds,
ratios are convtool's time over another's, with quartiles over the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from . import choice, cost, machine, memory, plot, rows, table, worker
from .cost import Point
from .outcome import Outcome, as_json, from_json


def arguments() -> argparse.Namespace:
    """The command line, checked for rows that do not exist."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rows", default="*", help="comma-separated names or patterns, such as small-*,pinv")
    parser.add_argument("--rounds", type=int, default=15, help="at most, for each row (default: %(default)s)")
    parser.add_argument("--budget", type=float, default=10, help="seconds a contender, beyond 3 rounds (%(default)s)")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), help="for everyone (%(default)s)")
    parser.add_argument("--regimes", default="cold,warm", help="without wisdom, and with it (default: %(default)s)")
    parser.add_argument("--limit", type=int, default=16384, help="largest side of cost against work (%(default)s)")
    parser.add_argument("--json", type=Path, help="write every figure to this file")
    parser.add_argument("--plot", type=Path, help="draw cost against work to this SVG file")
    parser.add_argument("--show", type=Path, nargs="+", help="print the table of files that --json wrote, and end")
    parser.add_argument("--list", action="store_true", help="name the rows and end")
    given = parser.parse_args()
    if given.rounds < 1 or given.threads < 1:
        parser.error("--rounds and --threads must be at least 1")
    if given.plot and given.plot.suffix != ".svg":
        parser.error(f"--plot draws SVG: say {given.plot.with_suffix('.svg')}")
    given.regimes = given.regimes.split(",")
    if unknown := {*given.regimes} - {*cost.LARGEST}:
        parser.error(f"unknown regime {', '.join(unknown)}: use cold, warm")
    given.names = []
    for pattern in given.rows.split(","):
        found = [name for name in names() if fnmatch(name, pattern)]
        if not found:
            parser.error(f"no row is named {pattern}: see --list")
        given.names += [name for name in found if name not in given.names]
    if given.plot and cost.NAME not in given.names:
        parser.error(f"--plot draws the row {cost.NAME}: add it to --rows")
    return given


def names() -> list[str]:
    """Every row, in the order of the table."""
    return [*rows.every(), choice.NAME, cost.NAME, *memory.CASES]


def main() -> int:
    """Measure row by row, print each as it is done, then the table; write the files."""
    given = arguments()
    if given.list:
        print(
            "\n".join(
                f"{name:28} {rows.every()[name].work if name in rows.every() else ''}".rstrip() for name in names()
            )
        )
        return 0
    if given.show:
        print(table.summary([from_json(o) for file in given.show for o in json.loads(file.read_text())["outcomes"]]))
        return 0
    described = machine.described(given.threads)
    print("\n".join(f"{key}: {value}" for key, value in described.items()), flush=True)
    outcomes: list[Outcome] = []
    studies: dict[str, list[Point]] = {}
    for name in given.names:
        for outcome in measured(name, given, studies):
            print(f"\n{table.details(outcome)}", flush=True)
            if outcome.row == cost.NAME:
                print(table.points(studies[outcome.regime]), flush=True)
            outcomes.append(outcome)
            if given.json:
                found = {"machine": described, "rounds": given.rounds, "outcomes": [as_json(o) for o in outcomes]}
                given.json.write_text(json.dumps(found, indent=1))
    print(f"\n{table.summary(outcomes)}")
    if given.plot:
        given.plot.write_text(plot.svg(studies))
    return 1 if any(outcome.disagreements for outcome in outcomes) else 0


def measured(name: str, given: argparse.Namespace, studies: dict[str, list[Point]]) -> Iterator[Outcome]:
    """The outcomes of a row as they come, one a regime; the points of the cost study go into `studies`."""
    settings = (given.threads, given.rounds, given.budget)
    if name in memory.CASES:
        yield memory.outcome(name, given.threads)
    elif name == choice.NAME:
        yield choice.outcome(*settings)
    elif name == cost.NAME:
        for regime in given.regimes:
            outcome, studies[regime] = cost.outcome(regime, given.limit, *settings)
            yield outcome
    else:
        row = rows.every()[name]
        for regime in row.regimes:
            if regime in ("", *given.regimes):
                yield worker.in_process(row, regime, *settings)


if __name__ == "__main__":
    sys.exit(main())
