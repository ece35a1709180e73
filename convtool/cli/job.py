"""Job: one run of a command, with its report, its clock and its outputs; what all image commands share.

The order is always the same: check names, read, compute, then write everything at once (`finish`), so that a failure at
any point leaves nothing behind.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

import convtool
from convtool import files, process, wisdom
from convtool.cli.options import PARSERS
from convtool.cli.progress import shown
from convtool.cli.terminal import is_terminal, show_report
from convtool.errors import SettingError
from convtool.report import Report

STDOUT = "-"

# Parameters that name files or say how to talk, and the options of a method, which the result lists.
_NO_SETTINGS = {"image", "kernel", "output", "bias", "reference", "set_", "a", "b", "family", "shapes", "help"}
_NO_SETTINGS |= {"no_clobber", "report", "quiet", "verbose", "as_json", "max_pixels"}
_NO_SETTINGS |= {"kernels", "verify", "mask", "indices", "components", "direction", "spectrum", "map", "sharp"}


class Job:
    """One run; `inputs` are the names of everything that is read."""

    def __init__(
        self,
        context: typer.Context,
        *,
        inputs: list[str | None],
        outputs: list[str | None],
        threads: int | None = None,
    ) -> None:
        self.context = context
        self.quiet, verbose = context.params["quiet"], context.params["verbose"]
        self.no_clobber = context.params.get("no_clobber", False)
        self.report_file = context.params.get("report")
        self.report = Report(context.info_name or "", convtool.__version__)
        self.is_shown = not self.quiet and (verbose or is_terminal())
        self.is_heard = not self.quiet or self.report_file is not None  # whether notes reach anybody
        self.wants_facts = self.is_shown or self.report_file is not None
        self.inputs = [name for name in inputs if name is not None]
        self.from_kernel: set[str] = set()  # settings that a kernel's sidecar gives
        process.policy.one_shot, process.policy.load_wisdom, process.policy.threads = True, wisdom.read, threads
        process.policy.max_pixels = context.params.get("max_pixels", process.policy.max_pixels)
        if "" in [*self.inputs, *outputs, self.report_file]:
            raise SettingError("a file name is empty (an unset variable?): leave the option out, or name a file")
        if any(name in files.STDOUT_NAMES for name in outputs) and sys.stdout is not None and sys.stdout.isatty():
            raise SettingError("the result would go to the terminal: redirect standard output, or name a file with -o")
        if self.quiet and verbose:
            raise SettingError("--quiet and --verbose contradict each other: give one of them")
        if self.inputs.count(STDOUT) > 1:
            raise SettingError("only one input can come from standard input (-): name a file for the others")
        if self.report_file in files.STDOUT_NAMES:
            raise SettingError("standard output carries results only: name a file for --report (or /dev/stderr)")
        for name in [*outputs, self.report_file]:
            if name is not None:
                files.check_target(name, self.inputs, not self.no_clobber)

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Add the block's seconds to the report, and show a person that it takes long."""
        start = time.perf_counter()
        with shown(what, self.quiet):
            yield
        self.report.seconds[what] = self.report.seconds.get(what, 0.0) + time.perf_counter() - start

    def chosen(self, name: str) -> bool:
        """Whether the user gave this option."""
        source = self.context.get_parameter_source(name)
        return source is not None and source.name == "COMMANDLINE"

    def settle(self, resolved: dict[str, Any]) -> None:
        """Record every setting of the command: its resolved value where there is one, else the value it was given."""
        for parameter in self.context.command.params:
            name = str(parameter.name)
            if name not in _NO_SETTINGS:
                default = parameter.default
                if isinstance(default, str) and name in PARSERS:
                    default = PARSERS[name](default)
                value = resolved.get(name, self.context.params[name])
                self.report.set(name, value, default, self.chosen(name), name in self.from_kernel)

    @contextmanager
    def results(self) -> Iterator[files.Staging]:
        """The end of a run: stage results inside; the report follows, then all of them appear, then it is shown."""
        if not self.report.settings:
            self.settle({})
        with files.Staging() as staging:
            yield staging
            if self.report_file is not None:
                staging.open(self.report_file).write(self.report.to_json().encode())
        if not self.quiet:
            show_report(self.report, table=self.is_shown)
