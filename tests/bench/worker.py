"""One row in one regime, in this fresh process: `python -m tests.bench.worker ROW ROUNDS BUDGET` prints its outcome.

The process is fresh so that convtool's first call pays what a new machine pays: imports and plans. NumPy alone is
loaded before it. What is warm has wisdom of `convtool plan` in CONVTOOL_CACHE_DIR, what is cold an empty folder.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from . import machine
from .outcome import Outcome, Timing, as_json, from_json, judged
from .row import FLOOR, OURS, PEER, QUOTED, Contender, MissingError, Row
from .timing import alternate, share, timed

_LONG = 5.0  # seconds, after which a first run is warm-up enough


def in_process(row: Row, regime: str, threads: int, rounds: int, budget: float) -> Outcome:
    """The outcome of a row, from a fresh process of so many threads."""
    folder, planning = machine.wisdom(row.plan, threads) if regime == "warm" else (machine.no_wisdom(), None)
    command = [sys.executable, "-m", "tests.bench.worker", row.name, str(rounds), str(budget)]
    done = subprocess.run(
        command, cwd=machine.ROOT, env=machine.environment(threads, folder, regime), capture_output=True, text=True
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        return Outcome(row.name, row.work, regime, (Timing(OURS, OURS, missing=last),), planning=planning)
    found = json.loads(done.stdout.splitlines()[-1])
    return from_json(found | {"planning": planning})


def measured(row: Row, rounds: int, budget: float, regime: str = "") -> Outcome:
    """The outcome of a row, here and now."""
    data = row.data()
    runs = _prepared(row, data)
    ready = {run.timing.name: run for run in runs if run.call}
    gc.collect()
    gc.disable()  # its pauses are nobody's speed
    try:
        seconds = alternate(
            {name: run.call for name, run in ready.items() if run.call},
            {
                name: share(rounds if run.timing.role == FLOOR else row.most_rounds or rounds, run.seconds[-1], budget)
                for name, run in ready.items()
            },
        )
    finally:
        gc.enable()
    timings = [
        replace(run.timing, seconds=tuple(s * run.times for s in seconds.get(run.timing.name, ()))) for run in runs
    ]
    quoted = [Timing(f"{q.name} (quoted)", QUOTED, (q.seconds,) * rounds, source=q.source) for q in row.quotes]
    first = runs[0].seconds[0] if row.is_fresh and runs[0].call else None
    figures = row.figures(data, runs[0].result) if row.figures and runs[0].call else {}
    outcome = Outcome(row.name, row.work, regime, (*timings, *quoted), first=first, figures=figures)
    return judged(row, outcome, machine.absent)


@dataclass
class _Run:
    """A contender that was tried: its call, the seconds of its first runs, and what will be known of its time."""

    timing: Timing
    times: float = 1.0
    call: Callable[[], Any] | None = None
    result: Any = None
    seconds: Sequence[float] = ()


def _prepared(row: Row, data: Any) -> list[_Run]:
    """Every contender, convtool first; results are compared with its result, and not kept. Without it, nobody else."""
    ours = _tried(Contender(OURS, row.ours, times=row.times), OURS, data)
    found = [ours]
    if not ours.call:
        return found
    for role, contender in [*((PEER, peer) for peer in row.peers), *((FLOOR, floor) for floor in row.floors)]:
        run = _tried(contender, role, data)
        if role == PEER and run.call:
            tolerance = row.tolerance if contender.tolerance is None else contender.tolerance
            difference = row.difference(ours.result, run.result)
            run.timing = replace(run.timing, difference=difference, tolerance=tolerance)
        run.result = None
        found.append(run)
    return found


def _tried(contender: Contender, role: str, data: Any) -> _Run:
    """A contender's first runs: two, or one where it takes long. What fails must not take the others' figures away."""
    try:
        machine.use(contender.needs)
        call = contender.prepare(data)
        seconds, result = timed(call)
    except Exception as error:
        reason = str(error) if isinstance(error, MissingError) else f"{type(error).__name__}: {error}"
        return _Run(Timing(contender.name, role, missing=reason))
    again = [] if seconds > _LONG else [timed(call)[0]]
    return _Run(Timing(contender.name, role), contender.times, call, result, [seconds, *again])


def main() -> None:
    """Measure the row of the arguments."""
    from . import rows

    name, rounds, budget = sys.argv[1:]
    _let_python_load_wisdom()
    outcome = measured(rows.named(name), int(rounds), float(budget), os.environ.get(machine.REGIME, ""))
    print(json.dumps(as_json(outcome)))


def _let_python_load_wisdom() -> None:
    """As the commands do: the library by itself reads no file."""
    from convtool import process, wisdom

    if hasattr(process.policy, "load_wisdom"):
        process.policy.load_wisdom = wisdom.read


if __name__ == "__main__":
    main()
