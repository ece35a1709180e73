"""The Typer program: its subcommands are the files in `commands`, each imported when it is named or listed."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

import convtool
from convtool.cli.words import converted_here

_FOLDER = "convtool.cli.commands"


class Command(TyperCommand):
    """A command whose words are converted by `words`."""

    def get_params(self, ctx: Any) -> list[Any]:
        return converted_here(super().get_params(ctx))


class Commands(TyperGroup):
    """A group whose commands are found by file name."""

    def get_params(self, ctx: Any) -> list[Any]:
        return converted_here(super().get_params(ctx))

    def list_commands(self, ctx: Any) -> list[str]:
        folder = importlib.import_module(_FOLDER).__path__
        return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(folder))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except Exception as error:  # click's UsageError, which Typer does not export
            from difflib import get_close_matches

            near = get_close_matches(args[0], self.list_commands(ctx), 1)
            if near and args[0] not in self.list_commands(ctx):
                error.message = f"No such command '{args[0]}': did you mean {near[0]}?"  # type: ignore[attr-defined]
            raise

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"{_FOLDER}.{cmd_name.replace('-', '_')}")
        app = typer.Typer(add_completion=False, rich_markup_mode=None, context_settings=_SETTINGS)
        epilog = getattr(module, "EPILOG", None)
        app.command(name=cmd_name, epilog=epilog, cls=Command)(module.run)
        return typer.main.get_command(app)


_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def program() -> Any:
    """The whole program as a click command."""
    app = typer.Typer(cls=Commands, rich_markup_mode=None, context_settings=_SETTINGS)
    app.callback()(_top)
    return typer.main.get_command(app)


def _show_version(asked: bool) -> None:
    if asked:
        print(f"convtool {convtool.__version__}")
        raise typer.Exit


def _top(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """Convolve, correlate and undo convolutions of images, and say how far to trust the results.

    Exit status: 0 done, 1 a verdict is no, or some of many images failed, 2 usage or bad input, 70 a bug,
    128 + n ended by signal n.
    """
