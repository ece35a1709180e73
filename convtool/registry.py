"""A folder of modules as a registry: one file, one thing the user can name, with its options.

`deconvolution/` (methods) and `kernels/` (families) work alike: each public module of the folder is an entry whose
name is the file's name with hyphens for underscores, whose first docstring line is its one-line help, and whose
`Options` is a frozen dataclass. Each field carries its help in `metadata={"help": ...}` and, if its numbers may not lie
anywhere, where they may: `"within": at_least(0)`, which is checked before there is anything to apply them to. A new
file is a new entry; nothing else has to change. Entry modules import NumPy inside their functions, so that `--help` can
list them at once.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import math
import numbers
import pkgutil
import types
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from convtool.errors import SettingError, listed


class Range(NamedTuple):
    """Where a number may lie; always finite. Made by `at_least` and `above`."""

    least: float
    has_least: bool
    most: float = math.inf
    has_most: bool = True

    def holds(self, value: float) -> bool:
        """Whether a number lies there.

        >>> [at_least(0, below=1).holds(number) for number in (0, 0.5, 1, math.nan)]
        [True, True, False, False]
        """
        is_above = value >= self.least if self.has_least else value > self.least
        return is_above and math.isfinite(value) and (value <= self.most if self.has_most else value < self.most)

    def spelled(self, value: float) -> str:
        """'at least 0 and below 1', as it is said to who gave another value."""
        words = f"{'at least' if self.has_least else 'above'} {self.least:g}"
        if math.isfinite(self.most):
            return f"{words} and {'at most' if self.has_most else 'below'} {self.most:g}"
        return words if isinstance(value, int) else f"{words} and finite"


def at_least(least: float, most: float = math.inf, below: float = math.inf) -> Range:
    """From a number on, up to another one or below it."""
    return Range(least, True, min(most, below), most <= below)


def above(least: float, below: float = math.inf) -> Range:
    """More than a number, and below another one."""
    return Range(least, False, below, not math.isfinite(below))


@dataclass(frozen=True)
class Registry:
    """The entries in the folder of a package; `noun` is what error texts call one of them."""

    package: str
    noun: str

    def names(self) -> list[str]:
        """Every entry's name, sorted."""
        return list(_entries(self.package))

    def load(self, name: str) -> types.ModuleType:
        """The module behind a name; raises SettingError that lists the names there are."""
        names = self.names()
        if name not in names:
            raise SettingError(f"unknown {self.noun} '{name}': use {listed(names)}")
        return importlib.import_module(f"{self.package}.{name.replace('-', '_')}")

    def summary(self, name: str) -> str:
        """The entry's one-line help: the first line of its module's docstring, without its full stop."""
        return (self.load(name).__doc__ or "").strip().splitlines()[0].rstrip(".")

    def options(self, name: str, settings: dict[str, str]) -> Any:
        """The entry's `Options` from texts such as {"sigma": "1.6"}."""
        return parse(self.load(name).Options, settings, f"{self.noun} {name}")


@functools.cache
def _entries(package: str) -> tuple[str, ...]:
    folder = importlib.import_module(package).__path__
    modules = (m.name for m in pkgutil.iter_modules(folder) if not m.ispkg)
    return tuple(sorted(name.replace("_", "-") for name in modules if not name.startswith("_")))


def fields(options: Any) -> list[tuple[str, str, object, str]]:
    """(name, type, default, help) of each field of an `Options` class or instance; the default '...' means required."""
    hints = typing.get_type_hints(options if isinstance(options, type) else type(options))
    return [
        (f.name, _spelled(hints[f.name]), ... if f.default is dataclasses.MISSING else f.default, f.metadata["help"])
        for f in dataclasses.fields(options)
    ]


def parse(options: Callable[..., Any], settings: dict[str, str], owner: str) -> Any:
    """Build an `Options` from texts; SettingError for an unknown name, a missing one or a value of the wrong type."""
    hints = typing.get_type_hints(options)
    known = {f.name: f for f in dataclasses.fields(options)}  # type: ignore[arg-type]
    for name in settings:
        if name not in known:
            raise SettingError(f"{owner} has no option '{name}': it has {listed(known) if known else 'none'}")
    for name, field in known.items():
        if field.default is dataclasses.MISSING and name not in settings:
            raise SettingError(f"{owner} needs {name}=... ({field.metadata['help']})")
    values = {name: _value(text, hints[name], f"{owner}: {name}") for name, text in settings.items()}
    found = options(**values)
    _check_ranges(found, owner)
    return found


def check(options: Any, owner: str) -> None:
    """Raises SettingError when a field of an `Options` instance holds a value of the wrong type, or out of range."""
    hints = typing.get_type_hints(type(options))
    for field in dataclasses.fields(options):
        value, hint = getattr(options, field.name), hints[field.name]
        if not any(_fits(value, kind) for kind in _kinds(hint)):
            raise SettingError(f"{owner}: {field.name} must be {_spelled(hint)}, got {value!r}")
    _check_ranges(options, owner)


def _check_ranges(options: Any, owner: str) -> None:
    for field in dataclasses.fields(options):
        value, within = getattr(options, field.name), field.metadata.get("within")
        if within is not None and value is not None and not within.holds(value):
            raise SettingError(f"{owner}: {field.name} must be {within.spelled(value)}, got {value}")


def _fits(value: Any, kind: Any) -> bool:
    if typing.get_origin(kind) is typing.Literal:
        return value in typing.get_args(kind)
    if typing.get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(_fits(item, typing.get_args(kind)[0]) for item in value)
    if kind in (int, float):
        return isinstance(value, numbers.Integral if kind is int else numbers.Real) and not isinstance(value, bool)
    return isinstance(value, kind)


def assignments(items: Iterable[str], owner: str) -> dict[str, str]:
    """{'sigma': '1,2', 'size': '9'} from ['sigma=1,2', 'size=9']; each name once."""
    found: dict[str, str] = {}
    for item in items:
        name, equals, text = item.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name or not text.strip():
            raise SettingError(f"{owner}: expected name=value, got '{item}'")
        if name in found:
            raise SettingError(f"{owner}: {name} is set twice")
        found[name] = text.strip()
    return found


def _value(text: str, hint: Any, what: str) -> Any:
    kinds = _kinds(hint)
    if types.NoneType in kinds and text.lower() in ("none", "auto"):
        return None
    for kind in kinds:
        try:
            if kind is not types.NoneType:
                return _converted(text, kind)
        except ValueError:
            continue
    raise SettingError(f"{what} must be {_spelled(hint)}, got '{text}'")


def _converted(text: str, kind: Any) -> Any:
    if typing.get_origin(kind) is typing.Literal:
        choices = {str(choice): choice for choice in typing.get_args(kind)}
        if text not in choices:
            raise ValueError(text)
        return choices[text]
    if typing.get_origin(kind) is tuple:
        inner = typing.get_args(kind)[0]
        return tuple(_converted(part, inner) for part in text.split(","))
    if kind is bool:
        return _truth(text)
    return kind(text)


def _kinds(hint: Any) -> tuple[Any, ...]:
    # `int | None` is a UnionType, but `Literal["a"] | None` is a typing.Union.
    union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    return typing.get_args(hint) if union else (hint,)


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false", "yes", "no"):
        raise ValueError(text)
    return text.lower() in ("true", "yes")


_SPELLED = {float: "a number", int: "a whole number", bool: "true or false", str: "a word", types.NoneType: "auto"}


def _spelled(hint: Any) -> str:
    if len(_kinds(hint)) > 1:
        return " or ".join(_spelled(kind) for kind in _kinds(hint))
    if typing.get_origin(hint) is typing.Literal:
        return listed(typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        inner = typing.get_args(hint)[0]
        return {float: "numbers joined by commas", int: "whole numbers joined by commas"}[inner]
    return _SPELLED[hint]
