"""The README says what the program does: its help is the program's, its examples run, its tables name what there is."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import readme

from convtool.cli.app import Commands

TEXT = readme.README.read_text()


def test_every_commands_help_is_in_the_readme_as_printed() -> None:
    assert readme.documented_commands(TEXT) == set(Commands(name="convtool").list_commands(None))
    assert readme.with_help(TEXT) == TEXT, "run `make readme`"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with the sample images, and a `convtool` on the path."""
    readme.clone(tmp_path)
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "convtool"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m convtool "$@"\n')
    program.chmod(0o755)
    return tmp_path


def test_the_console_examples_run(clone: Path) -> None:
    assert len(readme.commands(TEXT)) > 8
    env = {**os.environ, "PATH": f"{clone / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(readme.ROOT)}
    readme.run_commands(clone, env)
    made = {"psf.npy", "blurred.png", "restored.png", "report.json", "wiener.png", "cat.png", "edges.tif", "smooth.png"}
    assert made <= {path.name for path in clone.iterdir()}
    assert json.loads((clone / "report.json").read_text())["reference"]["as_written"]["psnr"] > 29


def test_the_first_example_prints_what_it_says(clone: Path) -> None:
    """But for numbers, whose last digits are the machine's."""
    block = TEXT.split("```console\n", 1)[1].split("```")[0]
    env = {**os.environ, "PATH": f"{clone / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(readme.ROOT)}
    commands = [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]
    printed = [line for line in block.splitlines() if not line.startswith("$ ")]
    done = subprocess.run(["sh", "-ec", "\n".join(commands)], cwd=clone, env=env, capture_output=True, text=True)
    assert done.returncode == 0
    blank = re.compile(r"\d[\d.]*")
    assert [blank.sub("#", line) for line in done.stderr.splitlines()] == [blank.sub("#", line) for line in printed]


def test_the_python_examples_run() -> None:
    blocks = readme.examples(TEXT, "python")
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})


def test_the_method_of_the_readme_is_a_method(tmp_path: Path) -> None:
    """Its file, dropped into a copy of the package, is offered and undoes a blur."""
    source = next(block for block in TEXT.split("```python\n") if block.startswith('"""Van Cittert')).split("```")[0]
    package = tmp_path / "convtool"
    shutil.copytree(readme.ROOT / "convtool", package)
    (package / "deconvolution" / "van_cittert.py").write_text(source)
    program = (
        "import numpy as np, convtool; x = np.random.default_rng(0).random((9, 8)); k = np.array([[0.1, 0.8, 0.1]])\n"
        "y = convtool.convolve(x, k); s = convtool.deconvolve(y, k, method='van-cittert')\n"
        "print(float(np.linalg.norm(s.x - x) / np.linalg.norm(y - x)))"
    )
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    run = {"env": env, "cwd": tmp_path, "capture_output": True, "text": True, "check": True}
    error = subprocess.run([sys.executable, "-c", program], **run).stdout  # type: ignore[call-overload]
    assert float(error) < 0.05
    help_text = subprocess.run([sys.executable, "-m", "convtool", "deconvolve", "--help"], **run).stdout  # type: ignore[call-overload]
    assert "van-cittert: Van Cittert iteration" in help_text
    assert "steps=...  number of corrections" in help_text
