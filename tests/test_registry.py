"""A folder of modules as a registry: what it lists, how it reads settings, and what it says when they are wrong."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from convtool.errors import SettingError
from convtool.registry import Registry, assignments, fields, parse


@dataclass(frozen=True)
class Options:
    weight: float = field(metadata={"help": "how much"})
    count: int = field(default=3, metadata={"help": "how many"})
    limit: int | None = field(default=None, metadata={"help": "at most"})
    widths: float | tuple[float, ...] = field(default=1.0, metadata={"help": "how wide"})
    sizes: tuple[int, ...] | None = field(default=None, metadata={"help": "how large"})
    fast: bool = field(default=True, metadata={"help": "hurry"})
    side: Literal["left", "right"] = field(default="left", metadata={"help": "which side"})
    order: Literal[1, 2] | None = field(default=2, metadata={"help": "which order"})
    label: str = field(default="", metadata={"help": "its name"})


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A package on disk with two entries, a private module and a sub-package."""
    package = tmp_path / "shelf"
    (package / "inner").mkdir(parents=True)
    for name in ("__init__.py", "inner/__init__.py", "_private.py"):
        (package / name).write_text("")
    entry = '"""{}\n\nMore.\n"""\nfrom dataclasses import dataclass, field\n@dataclass(frozen=True)\nclass Options:\n{}'
    size = '    size: int = field(metadata={"help": "how large"})\n'
    (package / "two_words.py").write_text(entry.format("Two words, one name.", size))
    (package / "plain.py").write_text(entry.format("A plain thing", "    pass\n"))
    monkeypatch.syspath_prepend(tmp_path)
    return Registry("shelf", "thing")


def test_each_public_module_is_an_entry(registry: Registry) -> None:
    assert registry.names() == ["plain", "two-words"]
    assert registry.summary("two-words") == "Two words, one name"
    assert registry.summary("plain") == "A plain thing"
    assert registry.load("two-words").__name__ == "shelf.two_words"
    assert registry.options("two-words", {"size": "7"}).size == 7


@pytest.mark.parametrize("name", ["twowords", "_private", "-private", "inner", "", "plain.py", "two_words"])
def test_an_unknown_name_lists_the_names_there_are(registry: Registry, name: str) -> None:
    with pytest.raises(SettingError) as caught:
        registry.load(name)
    assert str(caught.value) == f"unknown thing '{name}': use plain or two-words"


def test_errors_name_the_entry(registry: Registry) -> None:
    for name, settings, text in [
        ("two-words", {}, "thing two-words needs size=... (how large)"),
        ("two-words", {"size": "7", "depth": "1"}, "thing two-words has no option 'depth': it has size"),
        ("two-words", {"size": "large"}, "thing two-words: size must be a whole number, got 'large'"),
        ("plain", {"size": "7"}, "thing plain has no option 'size': it has none"),
    ]:
        with pytest.raises(SettingError) as caught:
            registry.options(name, settings)
        assert str(caught.value) == text


def test_defaults_stay_where_nothing_is_set() -> None:
    assert parse(Options, {"weight": "0.5"}, "it") == Options(weight=0.5)


READ: list[tuple[str, str, Any]] = [
    ("weight", "1e-3", 0.001),
    ("weight", "-2", -2.0),
    ("count", "-4", -4),
    ("limit", "9", 9),
    ("limit", "none", None),
    ("limit", "Auto", None),
    ("widths", "2.5", 2.5),
    ("widths", "1,2.5", (1.0, 2.5)),
    ("sizes", "9", (9,)),
    ("sizes", "9,15", (9, 15)),
    ("sizes", "auto", None),
    ("fast", "no", False),
    ("fast", "TRUE", True),
    ("side", "right", "right"),
    ("order", "1", 1),
    ("order", "none", None),
    ("label", "none", "none"),
]


@pytest.mark.parametrize(("name", "text", "value"), READ)
def test_texts_become_values_of_the_fields_type(name: str, text: str, value: Any) -> None:
    found = getattr(parse(Options, {"weight": "1"} | {name: text}, "it"), name)
    assert found == value
    assert type(found) is type(value)


WRONG = [
    ("weight", "heavy", "a number"),
    ("weight", "none", "a number"),
    ("weight", "1,2", "a number"),
    ("count", "2.0", "a whole number"),
    ("limit", "some", "a whole number or auto"),
    ("widths", "1,,2", "a number or numbers joined by commas"),
    ("sizes", "9,1.5", "whole numbers joined by commas or auto"),
    ("fast", "1", "true or false"),
    ("side", "Left", "left or right"),
    ("side", "none", "left or right"),
    ("order", "3", "1 or 2 or auto"),
]


@pytest.mark.parametrize(("name", "text", "expected"), WRONG)
def test_a_value_of_the_wrong_type_is_refused(name: str, text: str, expected: str) -> None:
    with pytest.raises(SettingError) as caught:
        parse(Options, {"weight": "1"} | {name: text}, "it")
    assert str(caught.value) == f"it: {name} must be {expected}, got '{text}'"


def test_fields_of_a_class_and_of_an_instance() -> None:
    listed = fields(Options)
    assert listed == fields(Options(weight=2.0))
    assert [name for name, *_ in listed] == [f.name for f in dataclasses.fields(Options)]
    assert listed[0] == ("weight", "a number", ..., "how much")
    assert listed[2] == ("limit", "a whole number or auto", None, "at most")
    assert listed[7] == ("order", "1 or 2 or auto", 2, "which order")


def test_assignments() -> None:
    assert assignments(["sigma=1,2", " noise-to-signal = 0.1 ", "label=a=b"], "it") == {
        "sigma": "1,2",
        "noise_to_signal": "0.1",
        "label": "a=b",
    }
    assert assignments([], "it") == {}


@pytest.mark.parametrize(
    ("items", "text"),
    [
        (["sigma"], "it: expected name=value, got 'sigma'"),
        (["=3"], "it: expected name=value, got '=3'"),
        (["sigma= "], "it: expected name=value, got 'sigma= '"),
        (["a-b=1", "a_b=2"], "it: a_b is set twice"),
    ],
)
def test_assignments_that_are_none(items: list[str], text: str) -> None:
    with pytest.raises(SettingError) as caught:
        assignments(items, "it")
    assert str(caught.value) == text
