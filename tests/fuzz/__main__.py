"""Mutated images, kernels, kernel expressions, axes and lists of files, in search of what convtool cannot take.

Whatever comes in, a reader gives a result or a `ConvtoolError` with a message, within 5 seconds and 1 GiB. The first
input that breaks this is saved and its seed said; the exit status is then 1. The same seeds make the same inputs.
"""

from __future__ import annotations

import argparse
import faulthandler
import functools
import random
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convtool import files
from convtool.images import guard
from convtool.memory import available_memory

from .targets import NAMES, Target, targets
from .watch import BYTES, SECONDS, alarm, broken, memory


@dataclass(frozen=True)
class Span:
    """Which inputs: from a seed on, for so many seconds, or so many of them."""

    first: int
    most: int
    seconds: float


def made(name: str, target: Target, seed: int) -> Any:
    """The input of a seed."""
    rng = random.Random(f"{name} {seed}")
    return target.mutate(rng.choice(target.seeds), rng, target.seeds)


def fuzzed(name: str, target: Target, span: Span, folder: Path) -> int:
    """How many inputs a reader has been given; leaves the program at the first that breaks it."""
    end, seed, saved = time.monotonic() + span.seconds, span.first, folder / f"fuzz-{name}"
    with open(saved, "wb", buffering=0) as file:
        while time.monotonic() < end and seed < span.first + span.most:
            given = made(name, target, seed)
            file.truncate(0)
            file.seek(0)
            file.write(given if isinstance(given, bytes) else given.encode("utf-8", "surrogatepass"))
            why = judged(target, given)
            if why:
                print(f"{name}, seed {seed}, saved as {saved}: {why}", file=sys.stderr)
                sys.exit(1)
            seed += 1
    saved.unlink()
    return seed - span.first


def judged(target: Target, given: Any) -> str:
    """What is wrong with what a reader does with an input; '' for nothing."""
    faulthandler.dump_traceback_later(10 * SECONDS, exit=True, file=sys.__stderr__)  # where no alarm is heard
    why = broken(target.read, given)
    faulthandler.cancel_dump_traceback_later()
    return why or (f"memory has grown to {memory()} bytes" if memory() > BYTES else "")


def main() -> None:
    """Run every target, or some, for so many seconds each."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--targets", default=",".join(NAMES), help="comma-separated (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=60, help="for each target (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="seed to begin with (default: %(default)s)")
    parser.add_argument("--most", type=int, default=10**9, help="inputs of each target")
    parser.add_argument(
        "--keep", type=Path, default=Path(tempfile.gettempdir()), help="folder for what breaks a target"
    )
    asked = parser.parse_args()
    # It is asked for at every input, and takes longer to find out than most of them.
    guard.available_memory = files.available_memory = functools.cache(available_memory)
    with tempfile.TemporaryDirectory() as folder, alarm():
        every = targets(Path(folder))
        for name in asked.targets.split(","):
            if name not in every:
                parser.error(f"no target is named {name}: use {', '.join(NAMES)}")
            start = time.monotonic()
            count = fuzzed(name, every[name], Span(asked.first, asked.most, asked.seconds), asked.keep)
            taken = time.monotonic() - start
            print(f"{name}: {count} inputs in {taken:.0f} s, at most {memory() >> 20} MiB: all taken", flush=True)


if __name__ == "__main__":
    main()
