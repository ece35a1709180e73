"""The bar on a terminal: when it appears, what it says, and that it leaves nothing behind."""

from __future__ import annotations

import io
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, suppress

import pytest

from convtool.cli import progress
from convtool.deconvolution.solvers.progress import Step, tell


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress, "_PATIENCE", 0.01)
    monkeypatch.setattr(progress, "_PAUSE", 0.01)
    return Terminal()


@contextmanager
def shown(seen: Terminal, what: str) -> Iterator[None]:
    with redirect_stderr(seen), progress.shown(what, False):
        yield


def wait_for(seen: Terminal, text: str) -> None:
    end = time.monotonic() + 10
    while text not in plain(seen) and time.monotonic() < end:
        time.sleep(0.005)
    assert text in plain(seen)


def plain(seen: Terminal) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen.getvalue())


def is_over() -> bool:
    return not [thread for thread in threading.enumerate() if thread.name == "convtool-progress"]


def test_a_stage_says_for_how_long_it_runs(seen: Terminal) -> None:
    with shown(seen, "reading"):
        wait_for(seen, "reading, 0 s")
    assert seen.getvalue().endswith("\x1b[1A\x1b[2K")  # the line is taken away
    assert is_over()


def test_iterations_fill_the_bar(seen: Terminal) -> None:
    with shown(seen, "computing"):
        tell(Step(1, 40, 0.5, 1, 1))
        wait_for(seen, "iteration 1 of at most 40, residual 5.0e-01")
        tell(Step(20, 40, 0.25, 2, 3))
        wait_for(seen, "image 2 of 3, iteration 20 of at most 40, residual 2.5e-01")
        tell("factoring a 9x9 matrix")
        wait_for(seen, "factoring a 9x9 matrix")


def test_words_are_shown_at_once(seen: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_PATIENCE", 60)
    with shown(seen, "computing"):
        tell("factoring a 9x9 matrix")
    assert "factoring a 9x9 matrix" in plain(seen)


def test_short_work_shows_nothing(seen: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_PATIENCE", 60)
    start = time.monotonic()
    with shown(seen, "computing"):
        tell(Step(1, 40, 0.5, 1, 1))
    assert time.monotonic() - start < 30
    assert (seen.getvalue(), is_over()) == ("", True)


@pytest.mark.parametrize("is_quiet", [True, False])
def test_nobody_looks(is_quiet: bool) -> None:
    stream = Terminal() if is_quiet else io.StringIO()
    with redirect_stderr(stream), progress.shown("computing", is_quiet):
        tell("factoring")
        assert is_over()  # not begun
    assert stream.getvalue() == ""


def test_there_is_one_bar_and_failures_take_it_away(seen: Terminal) -> None:
    with suppress(KeyError), shown(seen, "computing"), shown(seen, "reading"):
        wait_for(seen, "computing")
        raise KeyError
    assert "reading" not in plain(seen)
    assert is_over()
    with shown(seen, "writing"):
        wait_for(seen, "writing")


def test_a_terminal_that_goes_does_not_stop_the_work(seen: Terminal) -> None:
    with shown(seen, "computing"):
        seen.close()
        time.sleep(0.1)
    assert is_over()
