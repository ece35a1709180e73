"""The command line: one file per subcommand in `commands`, found by its name.

`main` is the program. It turns every outcome into an exit status, everywhere the same:

    0 done    1 a verdict is no, or some of many images failed    2 usage, or the input failed    70 a bug
    128 + n ended by signal n

A user's mistake is one line on standard error, never a traceback. Nothing here imports NumPy before a command has its
arguments, so that help and usage errors answer at once.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any

from convtool.cli import scarcity
from convtool.errors import ConvtoolError, listed

_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
_SIGNALLED, _PIPE_STATUS = 128, 141  # 128 + SIGPIPE
_NO_MEMORY = "not enough memory: use smaller inputs, or a machine with more"
_UNWINDING = 1.0  # seconds that a signal's work may take before another one ends the program without it


class Interrupted(BaseException):
    """A signal asked the program to end; unwinding removes what is half written."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def main() -> None:
    """Run the program on sys.argv and exit."""
    try:
        for name in _SIGNALS:
            if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) is not signal.SIG_IGN:
                signal.signal(getattr(signal, name), _interrupt)
        scarcity.prepare()
        status = _flushed(run(sys.argv[1:]))
    except Interrupted as interrupted:
        _flushed(0)
        status = 128 + interrupted.number
    if status > _SIGNALLED:  # other threads may be in long calls, which nobody waits for
        os._exit(status)
    sys.exit(status)


def run(arguments: list[str]) -> int:
    """The exit status of a command line; every failure has been said on standard error."""
    try:
        return _result(arguments)
    except ConvtoolError as error:
        return _failed(str(error))
    except BrokenPipeError:
        return _PIPE_STATUS
    except MemoryError:
        return _failed(_NO_MEMORY)
    except OSError as error:
        return _failed(f"{error.filename or 'input/output'}: {error.strerror or error}")
    except Exception as error:
        if (interrupted := _interrupted_by(error)) is not None:
            raise interrupted from None
        if _is_lack_of_memory(error):
            return _failed(_NO_MEMORY)
        with suppress(OSError):
            traceback.print_exc()
        return _failed("this is a bug in convtool: please report it with the lines above", 70)


def _is_lack_of_memory(error: BaseException) -> bool:
    from convtool import memory

    return memory.is_lack_of_memory(error)


def _interrupted_by(error: BaseException | None) -> Interrupted | None:
    """The signal that an error is made of: until 3.12 Python does so to what is raised while a class is made."""
    while error is not None and not isinstance(error, Interrupted):
        error = error.__cause__ or error.__context__
    return error


def _result(arguments: list[str]) -> int:
    import warnings

    import typer

    from convtool.cli.app import program

    warnings.showwarning = _show_warning
    # Typer exports only the leaves of its exceptions: these are click's UsageError and ClickException.
    usage_error, click_error = _exception_types(typer.BadParameter)
    command = program()
    if "_CONVTOOL_COMPLETE" in os.environ:
        return command.main(arguments, prog_name="convtool") or 0
    try:
        # Not command.main(), which takes a reader that has gone for a failure of its own.
        with command.make_context("convtool", arguments or ["--help"]) as context:
            try:
                return command.invoke(context) or 0
            except MemoryError:
                return _failed(f"not enough memory: {_room(command.get_command(context, context.invoked_subcommand))}")
    except typer.Exit as leave:
        return leave.exit_code
    except usage_error as error:
        return _failed(f"{error.format_message().replace('Value error, ', '')}{_help_hint(error)}")
    except click_error as error:
        return _failed(error.format_message())


def _room(command: Any) -> str:
    """What makes a command need less memory, of the options that it has."""
    names = {parameter.name for parameter in command.params}
    sizes = {"image": "image", "image_shape": "--image-shape", "padding": "--padding", "dilation": "--dilation"}
    smaller = [word for name, word in sizes.items() if name in names] or ["input"]
    single = "--precision single, " if "precision" in names else ""
    return f"use a smaller {listed(smaller)}, {single}or a machine with more"


def _exception_types(leaf: type[Any]) -> tuple[type[Any], type[Any]]:
    return leaf.__mro__[1], leaf.__mro__[2]


def _interrupt(number: int, frame: FrameType | None) -> None:
    for name in _SIGNALS:  # the unwinding must not be interrupted in its turn
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), partial(_interrupt_again, time.monotonic()))
    raise Interrupted(number)


def _interrupt_again(first: float, number: int, frame: FrameType | None) -> None:
    """End at once what a signal did not end in time: Python loses what is raised while it clears up."""
    if time.monotonic() - first > _UNWINDING:
        from convtool import temporaries

        temporaries.abandon()
        os._exit(128 + number)


def _flushed(status: int) -> int:
    """The status once everything printed has left; a stream that takes nothing more is closed to the interpreter."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except BrokenPipeError:
            status = status or _PIPE_STATUS
            _abandon(stream)
        except (OSError, ValueError) as error:
            _abandon(stream)
            if stream is sys.stdout and status == 0:
                status = _failed(f"cannot write standard output: {error}")
    return status


def _abandon(stream: Any) -> None:
    """Keep the interpreter from flushing a stream once more at its end: it would fail again and change the status."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _help_hint(error: Exception) -> str:
    context = getattr(error, "ctx", None)
    return f" (see '{context.command_path} --help')" if context else ""


def _show_warning(message: Warning | str, *_where: Any, **_more: Any) -> None:
    """A library's warning, as a line of ours: where in the code it arose tells the user nothing."""
    _failed(f"warning: {message}")


def _failed(message: str, status: int = 2) -> int:
    """Print the message as one line, whatever it holds, and return the status."""
    text = "".join(c if c.isprintable() else " " if c in "\r\n\t" else repr(c)[1:-1] for c in message)
    with suppress(OSError, ValueError):  # nobody hears it; the status still says it
        if sys.stderr is not None:
            print(f"convtool: {' '.join(text.split())}", file=sys.stderr)
    return status
