"""The measure of what the tests reach: statements as the interpreter traces them, of every process, killed ones too."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import reached

SAMPLE = '''"""Every kind of block."""
from __future__ import annotations
from contextlib import suppress
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import nothing
class Pair:
    """Fields."""
    left: int = 1
    def total(self):
        return self.left
    def never(self):
        """Not called."""
        return 0
def choose(n):
    global last
    last = n
    if n == 0:
        return "none"
    elif n == 1:
        return "one"
    else:
        n += 1
    while n < 3:
        n += 1
    else:
        n += 10
    for i in range(0):
        n -= 1
    try:
        with suppress(KeyError):
            raise KeyError
            n -= 1
        raise ValueError(n)
    except TypeError:
        n -= 1
    except ValueError:
        n += 1
    else:
        n -= 1
    finally:
        n += 1
    match n:
        case 0:
            n -= 1
        case _:
            n += 1
    return n
'''
MODULE = "sample.py"


def traced(calls: str) -> set[int]:
    """The lines that the interpreter says it runs, of the sample and of calls after it."""
    lines = set()

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename != MODULE:
            return None
        if event == "line":
            lines.add(frame.f_lineno)
        return trace

    code, names = compile(SAMPLE, MODULE, "exec"), {"__name__": "sample"}
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        exec(code, names)
        exec(calls, names)
    finally:
        sys.settrace(before)
    return lines


@pytest.mark.parametrize("calls", ["", "choose(0)", "choose(1)", "choose(2)", "choose(9); Pair().total()"])
def test_statements_are_marked_when_they_run(calls: str) -> None:
    tree, lines = reached.marked(SAMPLE, 0)
    marks = bytearray(len(lines))
    names = {"__name__": "sample", "__reached__": marks}
    exec(compile(tree, MODULE, "exec"), names)
    exec(calls, names)
    found = {line for line, mark in zip(lines, marks, strict=True) if mark}
    assert found == traced(calls) & set(lines)
    assert names["__doc__"] == "Every kind of block."
    # What the compiler alone reads, what is under TYPE_CHECKING, and lines that are parts of a statement have none.
    silent = ('"""', "from __future__", "import nothing", "global", "else:", "except", "finally:", "case")
    rows = enumerate(SAMPLE.splitlines(), 1)
    assert sorted(lines) == [number for number, row in rows if not row.strip().startswith(silent)]


def test_runs_of_statements_are_spelled() -> None:
    assert reached.spelled([7, 1, 2, 4, 9], bytes([0, 1, 0, 0, 1])) == "2-7"
    assert reached.spelled([1, 2, 3, 4], bytes([0, 1, 1, 0])) == "1, 4"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    reached.prepare(tmp_path)
    return tmp_path


def measured(folder: Path, *arguments: str) -> int:
    path = f"{Path(reached.__file__).parent / 'reach'}{os.pathsep}{reached.PACKAGE.parent}"
    env = {**os.environ, "REACHED": str(folder), "PYTHONPATH": path}
    return subprocess.run([sys.executable, *arguments], env=env, capture_output=True).returncode


def test_processes_mark_what_they_reach(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert measured(folder, "-m", "convtool", "--version") == 0
    reached.report(folder)
    missed = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert "convtool/__main__.py" not in missed
    assert "convtool/cli/commands/convolve.py" in missed
    assert re.fullmatch(r"\d+-\d+", missed["convtool/fft.py"])  # all of it
    before = sum((folder / "marks").read_bytes())
    assert measured(folder, "-c", "import convtool.fft, os, signal; os.kill(os.getpid(), signal.SIGKILL)") == -9
    assert sum((folder / "marks").read_bytes()) > before


def test_nothing_measured_is_said(folder: Path) -> None:
    with pytest.raises(SystemExit, match="no process has marked anything"):
        reached.report(folder)
