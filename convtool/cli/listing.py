"""The entries of a registry with their options, as the end of a command's help: a new file shows up by itself."""

from __future__ import annotations

import textwrap

from convtool.registry import Registry, fields

_WIDTH = 96


def listing(title: str, registry: Registry) -> str:
    """The text, with the marks that keep its lines as they are."""
    blocks = [title, *(_entry(registry, name) for name in registry.names())]
    return "\n\n".join(f"\b\n{block}" for block in blocks)


def _entry(registry: Registry, name: str) -> str:
    lines = _wrapped(f"{name}: {registry.summary(name)}.", 0)
    for option, kind, default, text in fields(registry.load(name).Options):
        standing = "required" if default is ... else f"default {_spelled(default)}"
        lines += _wrapped(f"{option}=...  {text}; {kind}; {standing}", 2)
    return "\n".join(lines)


def _wrapped(text: str, indent: int) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=" " * indent, subsequent_indent=" " * (indent + 4))


def _spelled(default: object) -> str:
    if isinstance(default, tuple):
        return ",".join(map(str, default))
    return "auto" if default is None else str(default)
