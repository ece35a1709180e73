"""The parts of README.md that say what the program does: each command's help between markers, and the examples.

Run as a program, it writes the help. It imports the standard library alone, as `installed.py` must.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
_BLOCK = re.compile(r"<!-- help: (\S+) -->\n.*?<!-- end -->", re.DOTALL)
_START = "<!-- help: {0} -->\n<details><summary>{0} --help</summary>\n\n```text\n"
_END = "```\n\n</details>\n<!-- end -->"


def help_of(command: str) -> str:
    """What `convtool COMMAND --help` prints at a width of 100."""
    arguments = [] if command == "convtool" else [command]
    return subprocess.run(
        [sys.executable, "-m", "convtool", *arguments, "--help"],
        env={**os.environ, "COLUMNS": "100"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def with_help(text: str) -> str:
    """The README with every help block as the commands print it now."""
    return _BLOCK.sub(lambda m: _START.format(m[1]) + help_of(m[1]) + _END, text)


def documented_commands(text: str) -> set[str]:
    """The commands whose help the README holds."""
    return set(_BLOCK.findall(text)) - {"convtool"}


def examples(text: str, language: str) -> list[str]:
    """The blocks in a language that are marked to be run."""
    return re.findall(rf"<!-- run -->\n```{language}\n(.*?)```", text, re.DOTALL)


def commands(text: str) -> list[str]:
    """The command lines of the console examples that are marked to be run."""
    lines = (line for block in examples(text, "console") for line in block.splitlines())
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


def clone(folder: Path) -> None:
    """Put into a folder what the examples read."""
    shutil.copytree(ROOT / "sample_images", folder / "sample_images")


def run_commands(folder: Path, env: dict[str, str]) -> None:
    """Run the console examples there, one after the other; raises RuntimeError at the first that fails."""
    for command in commands(README.read_text()):
        words = ["bash", "-o", "pipefail", "-c", command]
        done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"of the README's examples this one fails: {command}\n{done.stderr}")


if __name__ == "__main__":
    README.write_text(with_help(README.read_text()))
