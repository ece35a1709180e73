"""Report: what a command was told, what it assumed, what it measured; the only thing that becomes JSON or a table.

The JSON has `schema` (a version number, raised when a field changes its meaning), the command, and the sections below.
Infinite and undefined numbers are null, since JSON has none. `notes` are sentences on what to trust and what to do.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

SCHEMA = 1
SECTIONS = ("input", "kernel", "result", "reference", "output", "seconds")


@dataclass
class Report:
    """The report of one run; sections are filled as the work goes on."""

    command: str
    version: str
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    input: dict[str, Any] = field(default_factory=dict)
    kernel: dict[str, Any] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)
    reference: dict[str, Any] = field(default_factory=dict)
    output: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def set(self, name: str, value: Any, default: Any, chosen: bool, from_kernel: bool = False) -> None:
        """Record a resolved setting, its default, and whether the user chose it, a kernel's file did, or nobody."""
        source = "chosen" if chosen else "kernel" if from_kernel else "assumed"
        self.settings[name] = {"value": value, "default": default, "source": source}

    def content(self) -> dict[str, Any]:
        """What the report says, by section; those that are empty are left out."""
        head = {"schema": SCHEMA, "convtool": self.version, "command": self.command, "settings": self.settings}
        sections = {name: getattr(self, name) for name in SECTIONS if getattr(self, name)}
        return {**head, **sections, "notes": self.notes}

    def to_json(self) -> str:
        """The report as JSON text."""
        return json_text(self.content(), indent=2)

    def rows(self) -> list[tuple[str, str]]:
        """(label, text) lines of the table for a terminal: the JSON's sections, without what says nothing."""
        shown = {name: dict(getattr(self, name)) for name in SECTIONS}
        if "as_written" in shown["reference"]:
            shown["reference"] |= {"measured": "as written", **shown["reference"].pop("as_written")}
        for source, label in (("chosen", "chosen"), ("kernel", "by kernel"), ("assumed", "assumed")):
            shown[label] = {name: entry["value"] for name, entry in self.settings.items() if entry["source"] == source}
        command = shown["result"].get("command")
        if command is not None:  # it says the rest as well
            shown["result"] = {name: value for name, value in shown["result"].items() if name not in _IN_COMMAND}
        lines = [(name, _line(section)) for name, section in shown.items() if section]
        return lines if command is None else [*lines, ("command", command)]


def json_text(content: dict[str, Any], indent: int | None = None) -> str:
    """Content as JSON, ended by a line end; on one line without `indent`."""
    text = json.dumps(_plain(content), indent=indent, ensure_ascii=False)
    # A file's name need not be text that UTF-8 can hold; then everything is escaped.
    return (text if _is_text(text) else json.dumps(_plain(content), indent=indent)) + "\n"


def _is_text(text: str) -> bool:
    return not any("\ud800" <= c <= "\udfff" for c in text)


def _plain(value: Any) -> Any:
    """The value as JSON can hold it."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


_SAYS_NOTHING = {"scale": 1, "offset": 0, **dict.fromkeys(("alpha", "alpha_differs", "nonfinite", "rounded"), 0)}
_IN_COMMAND = ("command", "reasons", "chosen", "options")  # of a result
_PAIRS = ("padding", "border")  # (before, after) for each axis
_MOST_NUMBERS = 16  # of a list in the table
_SAYS_NOTHING |= dict.fromkeys(("clipped_low", "clipped_high", "rounding_error"), 0)


def _line(section: dict[str, Any]) -> str:
    """'camera.png: format png, axes YX, ..., weight 0.7 (chosen by ...)'."""
    pieces: list[str] = []
    for name, given in section.items():
        value = given.tolist() if hasattr(given, "tolist") else given
        if value in (None, "", {}, []) or (name in _SAYS_NOTHING and value == _SAYS_NOTHING[name]) or name == "name":
            continue
        if name.endswith("_source") and pieces and section.get(name.removesuffix("_source")) is not None:
            pieces[-1] += f" ({value})"
        elif isinstance(value, list) and (isinstance(value[0], dict) or _count(value) > _MOST_NUMBERS):
            pieces.append(f"{len(value)} {name.replace('_', ' ')}")  # a table has no room for them
        elif isinstance(value, dict):
            pieces += [_line(value)] if any(item is not None for item in value.values()) else []
        else:
            pieces.append(f"{name.replace('_', ' ')} {spelled(value, name == 'shape', name in _PAIRS)}")
    head = [str(section["name"])] if "name" in section else []
    return ": ".join([*head, ", ".join(pieces)] if pieces else head)


def _count(value: Any) -> int:
    return sum(map(_count, value)) if isinstance(value, list | tuple) else 1


def spelled(value: Any, is_shape: bool = False, is_pairs: bool = False) -> str:
    """A value as a table shows it: four digits of a number, shapes as 8x3x5, lists of pairs as 1:2,0:1."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and abs(value) < 1e6 else f"{value:.4g}"
    if not isinstance(value, list | tuple):
        return str(value)
    inner = [isinstance(item, list | tuple) for item in value]
    if is_pairs and all(inner) and all(len(item) == 2 and _count(item) == 2 for item in value):
        return ",".join(":".join(map(spelled, item)) for item in value)
    separator = "; " if any(inner) and is_pairs else "x" if is_shape else ","
    return separator.join(spelled(item, False, is_pairs) for item in value)
