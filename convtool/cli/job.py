"""Job: one run of a command, with its report, its clock and its outputs; what all image commands share.

The order is always the same: check names, read, compute, then write everything at once (`results`), so that a failure
at any point leaves nothing behind. A batch is a job for the whole, and one `of` it for each image.
"""

from __future__ import annotations

import copy
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import typer

import convtool
from convtool import files, process, wisdom
from convtool.cli import batch_options
from convtool.cli.kept import Kept
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
_NO_SETTINGS |= batch_options.NAMES
_REPRODUCIBLE_MEMORY = 2 << 30  # bytes for a solution in one step, however much is free


class Job:
    """One run; `inputs` are the names of everything that is read.

    Attributes
    ----------
    asked: the command's parameters; in a batch, with the names that are this image's
    kept: what was read or made for other images already
    reserved: in a batch, the files that are read, or results, of any image
    raw: the image file's content, where it was read to know it again
    staged: what is to be done once the results are staged
    """

    def __init__(
        self,
        context: typer.Context,
        *,
        inputs: Sequence[str | None],
        outputs: Sequence[str | None],
        threads: int | None = None,
    ) -> None:
        self.context, self.asked = context, SimpleNamespace(**context.params)
        self.kept = Kept(is_batch=False)
        self.raw: bytes | None = None
        self.reserved: frozenset[str] = frozenset()
        self.staged: Callable[[files.Staging], None] | None = None
        self.quiet, verbose = context.params["quiet"], context.params["verbose"]
        self.no_clobber = context.params.get("no_clobber", False)
        self.report_file = context.params.get("report")
        self.report = Report(context.info_name or "", convtool.__version__)
        self.is_shown = not self.quiet and (verbose or is_terminal())
        self.is_heard = not self.quiet or self.report_file is not None  # whether notes reach anybody
        self.wants_facts = self.is_shown or self.report_file is not None
        self.inputs = [name for name in inputs if name is not None]
        self.from_kernel: set[str] = set()  # settings that a kernel's sidecar gives
        _set_policy(self.asked, threads)
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
            if name is not None and not self._is_made_room_for(name):
                files.check_target(name, self.inputs, not self.no_clobber)

    def _is_made_room_for(self, name: str) -> bool:
        """Whether a file goes to a folder that will be made for it."""
        folder = self.context.params.get("output_dir")
        return folder is not None and files.is_inside(name, folder) and not os.path.isdir(os.path.dirname(name) or ".")

    def of(self, **names: str | None) -> Job:
        """The job for one image of a batch, whose names these are; it says nothing by itself."""
        one = copy.copy(self)
        one.asked = SimpleNamespace(**{**vars(self.asked), **names})
        one.report = Report(self.report.command, self.report.version)
        one.from_kernel, one.quiet, one.is_shown, one.report_file = set(), True, False, None
        return one

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
                value = resolved.get(name, getattr(self.asked, name))
                self.report.set(name, value, default, self.chosen(name), name in self.from_kernel)

    @contextmanager
    def results(self) -> Iterator[files.Staging]:
        """The end of a run: stage results inside; the report follows, then all of them appear, then it is shown."""
        if not self.report.settings:
            self.settle({})
        with files.Staging() as staging:
            yield staging
            if self.staged is not None:
                self.staged(staging)
            if self.report_file is not None:
                staging.open(self.report_file).write(self.report.to_json().encode())
        if not self.quiet:
            show_report(self.report, table=self.is_shown)


def _set_policy(asked: SimpleNamespace, threads: int | None) -> None:
    policy = process.policy
    policy.one_shot, policy.load_wisdom, policy.threads = True, wisdom.read, threads
    policy.max_pixels = getattr(asked, "max_pixels", policy.max_pixels)
    policy.reproducible = getattr(asked, "reproducible", False)
    if policy.reproducible:  # nor on whether there are other images
        policy.load_wisdom, policy.one_shot, policy.memory = None, False, _REPRODUCIBLE_MEMORY
