"""The generated parts of README.md: each command's help, between markers; run as a program, it writes them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"
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


if __name__ == "__main__":
    README.write_text(with_help(README.read_text()))
