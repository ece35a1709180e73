"""The oldest dependencies that pyproject.toml allows, as pins for pip: `python tests/oldest.py EXTRA...` prints them.

So `make oldest` tests what is declared, and cannot drift from it. What the dependencies need in their turn is the
newest that they allow. Run by the oldest Python that is declared: for later ones there are no wheels of that time.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parent.parent / "pyproject.toml"
_REQUIREMENT = re.compile(r"([\w.-]+)(?:\[([\w,]+)\])?(?:(?:>=|==)([\w.]+))?")


def pins(project: dict[str, Any], extras: list[str]) -> list[str]:
    """A pin for each requirement at run time and of the extras, and of the extras that those name in their turn.

    Raises ValueError for a requirement without a lowest version.
    """
    lines = list(project["dependencies"])
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    found: list[str] = []
    for line in lines:
        match = _REQUIREMENT.fullmatch(line)
        name, inner, version = match.groups() if match else (None, None, None)
        if name == project["name"]:
            found += pins({**project, "dependencies": []}, inner.split(","))
        elif name is None or version is None:
            raise ValueError(
                f"{line!r} in pyproject.toml names no lowest version that can be tested: write NAME>=VERSION"
            )
        else:
            found.append(f"{name}{f'[{inner}]' if inner else ''}=={version}")
    return found


def main(extras: list[str]) -> None:
    """Print the pins."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    oldest = project["requires-python"].removeprefix(">=")
    running = "{}.{}".format(*sys.version_info)
    if running != oldest:
        sys.exit(
            f"oldest: this is Python {running}, the oldest declared is {oldest}: make oldest OLDEST=python{oldest}"
        )
    print("\n".join(pins(project, extras)))


if __name__ == "__main__":
    main(sys.argv[1:])
