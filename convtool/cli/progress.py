"""One line on a terminal that says how far an iteration has come; nothing where nobody looks."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from convtool.cli.terminal import is_terminal
from convtool.deconvolution.solvers.progress import Step, watched

if TYPE_CHECKING:
    from convtool.cli.job import Job

_PATIENCE, _PAUSE = 0.5, 0.1  # seconds before the line appears, and between its changes
_CLEAR = "\r\x1b[K"


@contextmanager
def shown(job: Job) -> Iterator[None]:
    """Show the steps of solvers inside the block while they run; the line is gone afterwards."""
    if job.quiet or not is_terminal():
        yield
        return
    line = _Line()
    try:
        with watched(line.update):
            yield
    finally:
        line.clear()


class _Line:
    def __init__(self) -> None:
        self.start = time.monotonic()
        self.due, self.is_there = self.start + _PATIENCE, False

    def update(self, step: Step | str) -> None:
        now = time.monotonic()
        if isinstance(step, str):  # rare, and long work follows: shown at once
            self.is_there = True
            self._write(f"{_CLEAR}{step}")
            return
        if step.iteration <= 1:
            self.start = now
        if now < self.due:
            return
        self.due, self.is_there = now + _PAUSE, True
        rate = step.iteration / max(now - self.start, 1e-3)
        image = f"image {step.image} of {step.images}, " if step.images > 1 else ""
        self._write(
            f"{_CLEAR}{image}iteration {step.iteration} of at most {step.limit}, residual {step.residual:.1e},"
            f" {rate:.3g} a second"
        )

    def clear(self) -> None:
        if self.is_there:
            self._write(_CLEAR)

    def _write(self, text: str) -> None:
        with suppress(OSError, ValueError):  # nobody sees it; the work goes on
            sys.stderr.write(text)
            sys.stderr.flush()
