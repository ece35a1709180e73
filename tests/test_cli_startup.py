"""What the program costs before it works, and what it says to whom: help, versions, terminals, logs."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from command import PROGRAM, environment, refused, run, succeed

COMMANDS = (
    "compare",
    "convolve",
    "correlate",
    "deconvolve",
    "edges",
    "estimate-kernel",
    "local",
    "make-kernel",
    "matrix",
    "maxpool",
    "merge-kernels",
    "plan",
    "split-kernel",
    "verify-equivariance",
)
HEAVY = ("numpy", "scipy", "pyfftw", "PIL", "imageio", "tifffile", "imagecodecs", "astropy")
AT_ONCE = [
    "--help",
    "--version",
    *(f"{command} --help" for command in COMMANDS),
    "nonsense",
    "--nonsense",
    "convolve",
    "convolve x.npy",
    "convolve x.npy -k k.npy --nonsense",
    "convolve x.npy -k k.npy --boundary nonsense",
    "convolve x.npy -k k.npy --padding nonsense",
    "convolve x.npy -k k.npy --stride nonsense",
    "correlate x.npy -k k.npy --origin nonsense",
    "deconvolve x.npy -k k.npy --method nonsense",
    "deconvolve x.npy -k k.npy --set nonsense=1",
    "deconvolve x.npy -k k.npy --set weight=nonsense",
    "compare x.npy",
    "make-kernel",
    "plan nonsense",
]


def test_help_and_usage_errors_import_nothing_heavy() -> None:
    """All of them in one process: what none of them imports, no single one does."""
    code = (
        "import sys\n"
        "from convtool.cli import run\n"
        "for words in sys.argv[1:]:\n"
        "    run(words.split())\n"
        f"    heavy = [name for name in {HEAVY} if name in sys.modules]\n"
        "    assert not heavy, (words, heavy)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *AT_ONCE], capture_output=True, env=environment(), timeout=120)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("words", ["--help", "convolve --help", "convolve --nonsense"])
def test_a_single_run_imports_nothing_heavy(words: str) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "convtool", *words.split()]
    done = subprocess.run(command, capture_output=True, env=environment(), timeout=60)
    imported = re.findall(r"^import time:.*\|\s*(\S+)$", done.stderr.decode(), re.MULTILINE)
    assert "convtool.cli" in imported
    assert not {name.partition(".")[0] for name in imported} & set(HEAVY)


def test_import_of_the_library_costs_nothing() -> None:
    code = f"import sys, convtool; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment(), timeout=60)
    assert done.stdout.strip() == b"[]"


@pytest.mark.parametrize(("words", "their_words"), [("--help", "--help"), ("convolve --nonsense", "c1 --nonsense")])
def test_answers_as_fast_as_an_empty_program(tmp_path: Path, words: str, their_words: str) -> None:
    """Within 1.3 times an empty Typer app with as many commands: medians of alternating runs, best of three rounds."""
    empty = tmp_path / "empty.py"
    body = "".join(f'@app.command()\ndef c{i}() -> None:\n    """Do it."""\n' for i in range(len(COMMANDS)))
    empty.write_text(f"import typer\napp = typer.Typer()\n{body}app()\n")
    ours, theirs = [*PROGRAM, *words.split()], [sys.executable, str(empty), *their_words.split()]
    # Bytecode as an installed program has it, also where this run is told to write none.
    env = environment(PYTHONPYCACHEPREFIX=str(tmp_path / "bytecode"), PYTHONDONTWRITEBYTECODE="")
    for command in (ours, theirs):
        subprocess.run(command, capture_output=True, env=env, timeout=60)
    ratios: list[float] = []
    while not ratios or (min(ratios) > 1.3 and len(ratios) < 3):
        rounds = [(_seconds(ours, env), _seconds(theirs, env)) for _ in range(7)]
        ratios.append(statistics.median(a for a, _ in rounds) / statistics.median(b for _, b in rounds))
    assert min(ratios) <= 1.3, ratios


def _seconds(command: list[str], env: dict[str, str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, capture_output=True, env=env, timeout=60)
    return time.perf_counter() - start


# Help -------------------------------------------------------------------------------------------------------------


def test_help_goes_to_standard_output() -> None:
    top = succeed("--help")
    assert top.stderr == ""
    for command in COMMANDS:
        assert re.search(rf"^  {command} ", top.stdout.decode(), re.MULTILINE)
    assert b"\x1b" not in top.stdout
    deconvolve = succeed("deconvolve", "--help").stdout.decode()
    for word in ("pinv", "rcond=", "tikhonov", "penalty=", "wiener", "noise_to_signal=", "--operation", "--reference"):
        assert word in deconvolve
    families = succeed("make-kernel", "-h").stdout.decode()
    for family in ("gaussian", "disk", "motion", "airy", "moffat", "sobel-x", "laplacian", "delta", "random", "box"):
        assert re.search(rf"^  {family}: ", families, re.MULTILINE)
    assert succeed().stdout == top.stdout
    assert re.fullmatch(rb"convtool \d+\.\d+\.\d+\n", succeed("--version").stdout)


def test_usage_errors_are_one_line(tmp_path: Path) -> None:
    line = refused(tmp_path, "convolve", "x.png", "--boundry", "zero", "-k", "box")
    assert "--boundary" in line  # did you mean
    assert "convtool convolve --help" in line
    assert "nonsense" in refused(tmp_path, "nonsense")


# Terminals and logs -----------------------------------------------------------------------------------------------


@pytest.fixture
def image(tmp_path: Path) -> Path:
    np.save(tmp_path / "x.npy", np.random.default_rng(16).random((20, 31)))
    return tmp_path / "x.npy"


def on_a_terminal(*arguments: str | Path, cwd: Path | None = None) -> tuple[int, bytes, str]:
    """Status, standard output and what a terminal on standard error showed."""
    pty = pytest.importorskip("pty")
    control, terminal = pty.openpty()
    process = subprocess.Popen(
        [*PROGRAM, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=terminal,
        cwd=cwd,
        env=environment(TERM="xterm", COLUMNS="100"),
    )
    os.close(terminal)
    shown = b""
    while True:
        try:
            piece = os.read(control, 4096)
        except OSError:  # the other side is closed
            piece = b""
        if not piece:
            break
        shown += piece
    os.close(control)
    out, _ = process.communicate(timeout=60)
    return process.returncode, out, shown.decode()


def test_a_terminal_gets_the_table(image: Path) -> None:
    words = ("convolve", image, "-k", "box:size=4", "--padding", "same", "-o", "-")
    status, out, shown = on_a_terminal(*words)
    assert status == 0
    assert out.startswith(b"\x93NUMPY")
    text = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert text != shown  # there is colour, or weight
    for label in ("input", "kernel", "result", "output", "seconds", "chosen", "assumed"):
        assert re.search(rf"^\s*{label}\s", text, re.MULTILINE), label
    assert "boundary periodic" in " ".join(text.split())
    assert "convtool: note: " in text
    assert on_a_terminal(*words, "--quiet") == (0, out, "")


def test_a_terminal_is_not_steered_by_names(image: Path) -> None:
    evil = "\x1b[8mhidden\x07.npy"
    image.rename(image.parent / evil)
    status, _, shown = on_a_terminal("convolve", evil, "-k", "box", "-o", "y.npy", cwd=image.parent)
    assert status == 0
    assert "hidden" in shown
    assert "\x1b[8m" not in shown
    assert "\x07" not in shown
    status, _, shown = on_a_terminal("convolve", f"{evil}gone", "-k", "box", cwd=image.parent)
    assert status == 2
    assert "\x1b" not in shown


def test_a_log_gets_notes_and_on_request_the_table(image: Path) -> None:
    plain = run("convolve", image, "-k", "box:size=4", "-o", "-")
    assert (plain.status, "\x1b" in plain.stderr, "assumed" in plain.stderr) == (0, False, False)
    verbose = run("convolve", image, "-k", "box:size=4", "-o", "-", "--verbose")
    assert verbose.stdout == plain.stdout
    assert "\x1b" not in verbose.stderr
    rows = [line.split()[0] for line in verbose.stderr.splitlines()]
    assert rows[:4] == ["input", "kernel", "result", "output"]
    assert rows.count("convtool:") == verbose.stderr.count("note:")
    quiet = run("convolve", image, "-k", "box:size=4", "-o", "-", "--quiet")
    assert (quiet.status, quiet.stdout, quiet.stderr) == (0, plain.stdout, "")


@pytest.mark.parametrize("words", ["compare x.npy x.npy", "make-kernel box -o -", "correlate x.npy -k box -o -"])
def test_standard_output_holds_the_result_alone(image: Path, words: str) -> None:
    plain = succeed(*words.split(), cwd=image.parent)
    verbose = succeed(*words.split(), "--verbose", "--report", "r.json", cwd=image.parent)
    assert verbose.stdout == plain.stdout != b""
    assert verbose.stderr != ""
    assert (image.parent / "r.json").stat().st_size > 0


def test_a_mistyped_command_is_guessed(tmp_path: Path) -> None:
    assert "No such command 'maxpol': did you mean maxpool?" in refused(tmp_path, "maxpol", "x.png")
    assert "did you mean" not in refused(tmp_path, "zzz", "x.png")
