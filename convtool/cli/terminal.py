"""What a person sees on standard error: the report as a table, and its notes; plain text where there is no terminal."""

from __future__ import annotations

import sys
from contextlib import suppress

from convtool.report import Report


def is_terminal() -> bool:
    """Whether a person reads standard error."""
    return sys.stderr is not None and sys.stderr.isatty()


def show_report(report: Report, table: bool) -> None:
    """Print the table, if wanted, and the notes, always; a full or closed standard error is no failure of the work."""
    if table:
        show_table(report.rows())
    for note in report.notes:
        say(f"note: {note}")


def say(text: str) -> None:
    """Print one line; a closed or full standard error is no failure of the work."""
    with suppress(OSError, ValueError):
        if sys.stderr is not None:
            print(f"convtool: {printable(text)}", file=sys.stderr, flush=True)


def show_table(rows: list[tuple[str, str]]) -> None:
    """Print labelled rows."""
    with suppress(OSError, ValueError):
        if sys.stderr is None:
            return
        if is_terminal():
            _rich_table(rows)
        else:
            for label, text in rows:
                print(f"{label:>10}  {printable(text)}", file=sys.stderr)


def _rich_table(rows: list[tuple[str, str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for label, text in rows:
        table.add_row(label, Text(printable(text)))
    Console(stderr=True, highlight=False).print(table)


def printable(text: str) -> str:
    """The text without control characters, so that a file's name cannot steer the terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
