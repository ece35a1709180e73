"""The words of a command line as values, without the machinery that Typer imports for it where none is needed.

Typer converts every parameter, also those that were not given, through pydantic, which takes half as long to import as
NumPy does. Nearly all are words, one of a few words, or numbers: those are converted here, as Typer would, and all else
is left to it, so that it also says what is wrong with a word.
"""

from __future__ import annotations

import re
import typing
from typing import Any

_NUMBERS = {int: r"\d{1,15}", float: r"-?\d{1,15}(\.\d{1,15})?(e-?\d{1,2})?"}
_CONVERSION = "_runtime_param"  # where Typer keeps a parameter's conversion, once it has made it; None before


def converted_here(parameters: list[Any]) -> list[Any]:
    """A command's parameters, which now convert plain words by themselves; those of another Typer stay as they are."""
    for parameter in parameters:
        if getattr(parameter, _CONVERSION, ...) is None:
            setattr(parameter, _CONVERSION, _Conversion())
    return parameters


class _Conversion:
    """Stands in the place of Typer's conversion of a parameter, and makes room for it when it is needed."""

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        found = _plain(value, param)
        if found is not ...:
            return found
        setattr(param, _CONVERSION, None)
        return param.get_runtime_param().coerce(value, param=param, ctx=ctx)


def _plain(value: Any, param: Any) -> Any:
    """The value of a word that needs no more than this; `...` for others."""
    known, kind = param.type_descriptor.parameter_info, param.type_descriptor.annotation
    if value is None:
        return () if param.multiple or param.nargs == -1 else None
    if known.parser is not None or known.min not in (None, 1) or known.max is not None:
        return ...
    if param.multiple or param.nargs != 1:
        is_words = kind == list[str] and isinstance(value, list | tuple)
        return list(value) if is_words and all(isinstance(word, str) for word in value) else ...
    if typing.get_origin(kind) is typing.Literal:
        return value if isinstance(value, str) and value in typing.get_args(kind) else ...
    if kind in (str, int, float) and type(value) is kind:
        return value
    if kind in _NUMBERS and isinstance(value, str) and re.fullmatch(_NUMBERS[kind], value, re.ASCII):
        number = kind(value)
        return number if known.min is None or number >= known.min else ...
    return ...
