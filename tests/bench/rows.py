"""All rows, in the order of the table; a subject adds its rows to `_SUBJECTS`."""

from __future__ import annotations

import functools

from . import choice, cost, rows_batches, rows_commands, rows_inverse, rows_iterative, rows_linear, rows_pooling
from .row import Row

_SUBJECTS = (rows_linear, rows_inverse, rows_pooling, rows_iterative, rows_commands, rows_batches)


@functools.cache
def every() -> dict[str, Row]:
    """The timed rows by name; no row makes its data before it is measured."""
    made = [make() for subject in _SUBJECTS for make in subject.ROWS]
    return {row.name: row for row in made}


def named(name: str) -> Row:
    """A row by its name, those that the studies are made of included: `cost:SIDE`, `choice:SIDE:SIZE`."""
    match name.split(":"):
        case [cost.NAME, side]:
            return cost.row(int(side))
        case [choice.NAME, side, size]:
            return choice.row(int(side), int(size))
    return every()[name]
