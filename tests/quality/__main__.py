"""How good are the results, beside those of others? Figures, never assertions; see `scenarios` for the cases.

Run it from the repository's root; `make quality` does. It needs scikit-image, and downloads nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .bench import Result, Task
    from .case import Case


def arguments() -> argparse.Namespace:
    """The command line, checked for contenders and groups that do not exist."""
    from . import contenders
    from .scenarios import GROUPS

    parser = argparse.ArgumentParser(prog="python -m tests.quality", description=__doc__)
    parser.add_argument("--groups", default=",".join(GROUPS), help="comma-separated (default: all: %(default)s)")
    parser.add_argument(
        "--methods",
        nargs="+",
        default=contenders.default_names(),
        metavar="NAME[:KEY=VALUE,...]",
        help="contenders, such as tv tv:boundary=periodic tikhonov:weight=0.01 pinv (default: %(default)s)",
    )
    parser.add_argument("--limit", type=int, help="cases a group, from its start, where it is most diverse")
    parser.add_argument("--oracle", default="tikhonov,tv", help="whose oracle weight to find (default: %(default)s)")
    parser.add_argument("--surroundings", default="auto,tv", help="who also gets the larger exposure (%(default)s)")
    parser.add_argument("--cases", action="store_true", help="also print the gain on every case")
    parser.add_argument("--json", type=Path, help="write every figure to this file")
    parser.add_argument("--gallery", type=Path, help="write a contact sheet to this PNG")
    parser.add_argument("--gallery-cases", type=int, default=1, help="cases a group on it (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="processes; with more than one, seconds are of busy cores")
    given = parser.parse_args()
    if find_spec("skimage") is None:
        parser.error("the pictures and the rivals are scikit-image's: pip install 'scikit-image>=0.24'")
    given.groups = given.groups.split(",")
    if unknown := set(given.groups) - set(GROUPS):
        parser.error(f"unknown group {', '.join(unknown)}: use {', '.join(GROUPS)}")
    for name in given.methods:
        try:
            contenders.check(name)
        except ValueError as error:
            parser.error(str(error))
    return given


def main() -> None:
    """Measure group by group, print the tables as they come, write the files."""
    given = arguments()
    if given.jobs > 1:  # one core a process
        os.environ |= {"OPENBLAS_NUM_THREADS": "1", "CONVTOOL_THREADS": "1"}
    from .bench import group, measure

    everything: list[Result] = []
    for name in given.groups:
        cases = group(name)[: given.limit]
        tasks = listed(given, name, len(cases))
        start = time.perf_counter()
        results = sorted(shown(measure(tasks, given.jobs), len(tasks)), key=lambda r: tasks.index(r.task))
        print(report(name, cases, results, given.cases, time.perf_counter() - start), flush=True)
        everything += results
        if given.json:
            given.json.write_text(json.dumps([dataclasses.asdict(result) for result in everything], indent=1))
    if given.gallery:
        draw(given)


def listed(given: argparse.Namespace, group: str, cases: int) -> list[Task]:
    """Every contender on every case of a group."""
    from .bench import Task

    oracle, surroundings = given.oracle.split(","), given.surroundings.split(",")
    return [
        Task(group, index, name, oracle=base in oracle, surroundings=base in surroundings)
        for name in given.methods
        for base in [name.partition(":")[0]]
        for index in range(cases)
    ]


def shown(results: object, total: int) -> list[Result]:
    """The results, counted on the terminal while they come."""
    found: list[Result] = []
    for result in results:  # type: ignore[attr-defined]
        found.append(result)
        if sys.stderr.isatty():
            print(f"\r{len(found)}/{total} {result.task.name:30}", end="", file=sys.stderr, flush=True)
    return found


def report(name: str, cases: tuple[Case, ...], results: list[Result], every: bool, seconds: float) -> str:
    """The tables of a group."""
    from . import tables

    inputs = {case.name: case.psnr(case.data) for case in cases}
    measure = "psnr" if name == "levin-like" else "gain"
    parts = [f"\n## {name}: {len(cases)} cases, {seconds:.0f} s\n", tables.summary(results, inputs)]
    parts += ["", tables.by_kind(results, measure, inputs)]
    if any(result.border is not None for result in results):
        parts += ["", tables.by_kind([r for r in results if r.border is not None], "border", inputs)]
    if every:
        parts += ["", tables.by_case(results)]
    return "\n".join(parts)


def draw(given: argparse.Namespace) -> None:
    """The contact sheet of the first cases of each group, by every contender that can."""
    from . import contenders
    from .bench import group
    from .gallery import Picture, sheet

    rows = []
    for name in given.groups:
        for case in group(name)[: min(given.gallery_cases, given.limit or given.gallery_cases)]:
            pictures = []
            for contender in given.methods:
                try:
                    pictures.append(Picture(contender, contenders.answer(contender, case).x))
                except Exception as error:
                    print(f"not in the gallery: {contender} on {case.name}: {error}", file=sys.stderr)
            rows.append((case, pictures))
    sheet(rows, given.gallery)


if __name__ == "__main__":
    main()
