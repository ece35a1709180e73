"""The command line: one file per subcommand in `commands`, found by its name.

`main` is the program. It turns every outcome into an exit status, everywhere the same:

    0 done    1 a verdict is no    2 usage, or the input failed    70 a bug    128 + n ended by signal n

A user's mistake is one line on standard error, never a traceback. Nothing here imports NumPy before a command has its
arguments, so that help and usage errors answer at once.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from types import FrameType
from typing import Any

from convtool.errors import ConvtoolError

_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


class Interrupted(BaseException):
    """A signal asked the program to end; unwinding removes what is half written."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def main() -> None:
    """Run the program on sys.argv and exit."""
    for name in _SIGNALS:
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) is not signal.SIG_IGN:
            signal.signal(getattr(signal, name), _interrupt)
    status = run(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # the reader has gone; the interpreter would complain about it once more
            status = status or 141
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(status)


def run(arguments: list[str]) -> int:
    """The exit status of a command line; every failure has been said on standard error."""
    import typer

    from convtool.cli.app import program

    # Typer exports only the leaves of its exceptions: these are click's UsageError and ClickException.
    usage_error, click_error = _exception_types(typer.BadParameter)
    try:
        return program().main(arguments or ["--help"], prog_name="convtool", standalone_mode=False) or 0
    except ConvtoolError as error:
        return _failed(str(error))
    except usage_error as error:
        return _failed(f"{error.format_message().replace('Value error, ', '')}{_help_hint(error)}")
    except click_error as error:
        return _failed(error.format_message())
    except Interrupted as interrupted:
        return 128 + interrupted.number
    except BrokenPipeError:
        return 128 + signal.SIGPIPE
    except MemoryError:
        return _failed("not enough memory: use a smaller image, --precision single, or a machine with more")
    except OSError as error:
        return _failed(f"{error.filename or 'input/output'}: {error.strerror or error}")
    except Exception:
        traceback.print_exc()
        return _failed("this is a bug in convtool: please report it with the lines above", 70)


def _exception_types(leaf: type[Any]) -> tuple[type[Any], type[Any]]:
    return leaf.__mro__[1], leaf.__mro__[2]


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted(number)


def _help_hint(error: Exception) -> str:
    context = getattr(error, "ctx", None)
    return f" (see '{context.command_path} --help')" if context else ""


def _failed(message: str, status: int = 2) -> int:
    """Print the message as one line, whatever it holds, and return the status."""
    text = "".join(c if c.isprintable() else " " if c in "\r\n\t" else repr(c)[1:-1] for c in message)
    print(f"convtool: {' '.join(text.split())}", file=sys.stderr)
    return status
