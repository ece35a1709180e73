"""`convtool` as its users run it: another process, real files, its exit status and what it wrote."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRAM = (sys.executable, "-m", "convtool")
TIMEOUT = 120  # seconds, after which a command counts as hanging


@dataclass(frozen=True)
class Outcome:
    """What a command left to its caller."""

    status: int
    stdout: bytes
    stderr: str


def environment(**changes: str) -> dict[str, str]:
    """This process's environment without its own settings of the interpreter and of convtool, and with `changes`."""
    ours = ("PYTHONUNBUFFERED", "PYTHONIOENCODING", "CONVTOOL_THREADS")
    return {name: value for name, value in os.environ.items() if name not in ours} | changes


def run(
    *arguments: str | Path,
    stdin: bytes = b"",
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    before: Callable[[], object] | None = None,
) -> Outcome:
    """Run `convtool ARGUMENTS` to its end; `before` is called in the new process."""
    done = subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        env=environment() if env is None else env,
        cwd=cwd,
        preexec_fn=before,
        timeout=TIMEOUT,
    )
    return Outcome(done.returncode, done.stdout, done.stderr.decode(errors="surrogateescape"))


def succeed(*arguments: str | Path, **settings: Any) -> Outcome:
    """Run a command that must do its work: status 0, and nothing on standard error but notes."""
    outcome = run(*arguments, **settings)
    assert outcome.status == 0, outcome.stderr
    if not {"-v", "--verbose"} & set(map(str, arguments)):
        strays = [line for line in outcome.stderr.splitlines() if not line.startswith("convtool: note: ")]
        assert not strays
    return outcome


def refused(folder: Path, *arguments: str | Path, **settings: Any) -> str:
    """Run a command that must refuse its input; the one line that it says.

    Status 2, one line on standard error, nothing on standard output, and every file of the folder as it was.
    """
    files = contents(folder)
    outcome = run(*arguments, **settings)
    lines = outcome.stderr.splitlines()
    assert "Traceback" not in outcome.stderr, outcome.stderr
    assert (outcome.status, len(lines)) == (2, 1), outcome.stderr
    assert lines[0].startswith("convtool: ")
    assert lines[0].isprintable()
    assert outcome.stdout == b""
    assert contents(folder) == files
    return lines[0].removeprefix("convtool: ")


def contents(folder: Path) -> dict[str, bytes | None]:
    """What lies in a folder, hidden files too: the bytes of each regular file."""
    return {entry.name: entry.read_bytes() if entry.is_file() else None for entry in folder.iterdir()}


def report(file: Path) -> dict[str, Any]:
    """A report that was written; fails on NaN and Infinity, which are no JSON."""

    def reject(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"), parse_constant=reject)
    return found


def value(found: dict[str, Any], setting: str) -> Any:
    """The resolved value of a setting in a report."""
    return found["settings"][setting]["value"]


def notes(outcome: Outcome) -> list[str]:
    """The notes on standard error."""
    lead = "convtool: note: "
    return [line.removeprefix(lead) for line in outcome.stderr.splitlines() if line.startswith(lead)]


def peak(here: Path, *arguments: str) -> int:
    """The most memory that a command has held, in bytes."""
    code = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stderr=-3)\n"
    code += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    words = [sys.executable, "-c", code, *PROGRAM, *arguments]
    done = subprocess.run(words, cwd=here, env=environment(), capture_output=True, check=True)
    return int(done.stdout) * (1 if sys.platform == "darwin" else 1024)
