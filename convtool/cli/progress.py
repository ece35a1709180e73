"""A bar on the terminal while work lasts: how far iterations or images have come, or how long a stage has been running.

It appears where a person looks, after a second, and is gone when the stage is over. A thread draws it, a few times a
second; who does the work leaves word of where it is, and never waits, so that being watched costs it nothing. Of a
batch that nobody looks at a line is printed every few seconds instead.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any

from convtool.cli.terminal import is_terminal, printable, say
from convtool.deconvolution.solvers.progress import Step, watched

_PATIENCE, _PAUSE = 1.0, 0.25  # seconds before the bar appears, and between its changes
_WIDTH = 24
_LINES = 5.0  # seconds between lines where there is no terminal
_bars: list[_Bar] = []  # no more than one


@contextmanager
def shown(what: str, is_quiet: bool) -> Iterator[None]:
    """Show the stage `what`, and the steps of solvers inside the block, while they run."""
    if is_quiet or not is_terminal() or _bars:
        yield
        return
    bar = _Bar(what)
    _bars.append(bar)
    try:
        with watched(bar.update):
            yield
    finally:
        _bars.remove(bar)
        bar.end()


class _Bar:
    def __init__(self, what: str) -> None:
        self._last: Step | str = what
        self._since = time.monotonic()
        self._due, self._over = threading.Event(), threading.Event()
        self._is_announced = False
        self._thread = threading.Thread(target=self._run, name="convtool-progress", daemon=True)
        self._thread.start()

    def update(self, step: Step | str) -> None:
        """Take note of where the work is."""
        if isinstance(step, str):  # rare, and long work follows: shown at once
            self._since, self._is_announced = time.monotonic(), True
            self._due.set()
        elif step.iteration <= 1:
            self._since = time.monotonic()
        self._last = step

    def end(self) -> None:
        """Take the bar away."""
        self._over.set()
        self._due.set()
        self._thread.join()

    def _run(self) -> None:
        self._due.wait(_PATIENCE)
        if self._over.is_set() and not self._is_announced:
            return
        with suppress(OSError, ValueError):  # nobody sees it; the work goes on
            self._draw()

    def _draw(self) -> None:
        with _progress() as bar:
            text, done, total = self._state()
            task = bar.add_task(text, completed=done, total=total)
            while not self._over.wait(_PAUSE):
                text, done, total = self._state()
                bar.update(task, description=text, completed=done, total=total, refresh=True)

    def _state(self) -> tuple[str, int, int | None]:
        """What to say, and how much is done of how much; None where nobody knows."""
        step, seconds = self._last, time.monotonic() - self._since
        if isinstance(step, str):
            return f"{step}, {seconds:.0f} s", 0, None
        rate = step.iteration / max(seconds, 1e-3)
        image = f"image {step.image} of {step.images}, " if step.images > 1 else ""
        text = f"{image}iteration {step.iteration} of at most {step.limit}, residual {step.residual:.1e}"
        return f"{text}, {rate:.3g} a second", step.iteration, step.limit


def _progress() -> Any:
    """A bar with a text before it, drawn when it is told to."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(_WIDTH),
        console=Console(stderr=True),
        transient=True,
        auto_refresh=False,
        redirect_stdout=False,  # results go there
        redirect_stderr=False,
    )


class Watch:
    """What is seen of a batch of `total` images: `describe` puts into words how far it is, with an image's name."""

    def __init__(self, describe: Callable[[str], str], total: int, is_quiet: bool) -> None:
        self._describe, self._total = describe, total
        self._bar = _progress() if is_terminal() and not is_quiet else None
        self._pause = float("inf") if is_quiet else _LINES if self._bar is None else _PAUSE
        self._last, self._current = time.monotonic(), ""

    def __enter__(self) -> Watch:
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task("", total=self._total)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            with suppress(OSError, ValueError):
                self._bar.stop()

    def tick(self, ended: int, current: str = "") -> None:
        """Show how far it is, unless that was shown a moment ago."""
        self._current = current or self._current
        if time.monotonic() - self._last < self._pause:
            return
        self._last = time.monotonic()
        text = self._describe(self._current)
        if self._bar is None:
            say(text)
            return
        with suppress(OSError, ValueError):
            self._bar.update(self._task, completed=ended, description=printable(text), refresh=True)
