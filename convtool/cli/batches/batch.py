"""Batch: a command's work for many images, from their names to the summary."""

from __future__ import annotations

import functools
import importlib
import os
import signal
import traceback
from contextlib import ExitStack, closing, suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING

import typer

import convtool
from convtool import blas, digests, files, process, temporaries
from convtool.cli import scarcity
from convtool.cli.batches import NO_IMAGE, places, read_besides, records, room
from convtool.cli.batches.crew import Crew, Done, first_interrupt
from convtool.cli.batches.lines import Lines
from convtool.cli.batches.names import Input, expanded
from convtool.cli.batches.places import Task
from convtool.cli.batches.tally import FAILED, Tally, reason
from convtool.cli.job import Job
from convtool.cli.kept import EndsBatchError, Kept
from convtool.cli.progress import Watch
from convtool.cli.terminal import say, show_table
from convtool.errors import ConvtoolError, FileError, NoRoomError, SettingError
from convtool.images import check_destination
from convtool.memory import is_lack_of_memory

if TYPE_CHECKING:
    from convtool.cli.image_command import Work
    from convtool.report import Report

_NEED_EACH_OTHER = ("scipy.linalg", "scipy.special", "scipy.fft", "scipy.ndimage", "scipy.sparse", "scipy.optimize")
_HOPELESS = ("ENOSPC", "EDQUOT", "EROFS")  # of the disk, whatever the image


class Batch:
    """A command's work for many images; making it checks everything that can be checked before work begins."""

    def __init__(
        self, context: typer.Context, work: Work, word: str, reads: tuple[str, ...], writes: tuple[str, ...]
    ) -> None:
        self._work, self._command = work, str(context.info_name)
        others = read_besides(context.params, reads)
        self._job = job = Job(context, inputs=others, outputs=[], threads=context.params.get("threads"))
        self._asked = asked = job.asked
        _check_places(asked, others)
        if not asked.image and asked.files_from is None:
            raise SettingError(NO_IMAGE)
        others += _lists(asked)
        self._tasks = self._planned(expanded(asked, others), others, word, writes)
        _load_for_threads(asked)
        self._limit = room.leave_for_factors(room.limit(asked.memory_limit), asked)
        self._records = records.Records(asked, self._command, reads, writes)
        self._tally = Tally(len(self._tasks), self._command, convtool.__version__)
        self._reports: dict[int, Report] = {}
        self._is_ended = self._is_told = False
        _set_up(job)

    def _planned(self, inputs: list[Input], others: list[str], word: str, writes: tuple[str, ...]) -> list[Task]:
        """What is to be done, once it is sure that nothing which is read, or written, is replaced."""
        asked = self._asked
        plan = functools.partial(places.tasks, asked=asked, command=self._command, word=word, writes=writes)
        left = self._without_results(inputs, plan(inputs))
        found = plan(left)
        places.check(found, others)
        outputs = [task.output for task in found if task.error is None]
        for target in {os.path.splitext(output)[1]: output for output in outputs}.values():
            check_destination(target, asked.format, asked.dtype, asked.scale)
        if asked.report is not None:
            places.check_report(asked.report, found, others, map(records.name_of, outputs))
        self._job.reserved = places.reserved(found, others)
        return found

    def _without_results(self, inputs: list[Input], planned: list[Task]) -> list[Input]:
        """The inputs without what an earlier run has made of others; it is said where the user has named such files."""
        left = places.without_results(inputs, [name for task in planned for name in records.made(task)])
        named = [each.name for each in set(inputs) - set(left) if not each.is_found]
        if named and not (self._job.quiet or self._asked.as_json):
            more = f" and {len(named) - 1} more" if len(named) > 1 else ""
            say(f"note: {min(named)}{more}: left out, since it is a result of this command for another of the images")
        return left

    def run(self) -> None:
        """Do it; raises typer.Exit with the status unless every image is done."""
        for folder in records.folders(self._tasks):
            temporaries.sweep(folder)
        self._prepare_report()
        asked, quiet = self._asked, self._job.quiet or self._asked.as_json
        crew = Crew(room.jobs(asked), self._do, room.foretelling(self._job, self._command), self._limit)
        with ExitStack() as stack:
            stream = None if asked.report is None else stack.enter_context(closing(Lines(asked.report)))
            watch = stack.enter_context(Watch(self._tally.progress, self._tally.total, quiet))
            stack.enter_context(first_interrupt(lambda: self._hear(crew)))
            stack.enter_context(blas.single_threaded())
            try:
                self._work_through(crew, stream, watch)
            finally:
                try:
                    self._write(self._tally.late_lines(), stream)
                finally:
                    stack.close()
                    self._show(quiet)
        self._leave()

    def _work_through(self, crew: Crew, stream: Lines | None, watch: Watch) -> None:
        """All that is left to do; what is in hand ends before an error leaves here, unless the process is to end."""

        def tick(image: str = "") -> None:
            self._tell_end(crew)
            watch.tick(self._tally.ended, image)

        try:
            for done in crew.run(self._tasks, tick):
                self._end(done, crew)
                self._write(self._tally.ready_lines(), stream)
                tick(done.task.image)
        except Exception:
            for done in crew.drain():
                with suppress(ConvtoolError):  # which others may have met as well
                    self._end(done, crew)
            raise
        except BaseException:  # the process is to end, whatever the threads do
            temporaries.abandon()
            raise

    def _do(self, task: Task) -> None:
        """What a thread does for an image."""
        if task.error is not None:
            raise task.error
        raw = files.read_bytes(task.image)
        digest = digests.of_bytes(raw)
        if self._asked.skip_existing and self._records.is_done(task, digest):
            return
        one = self._job.of(image=task.image, **task.results)
        one.inputs, one.raw = [*self._job.inputs, task.image], raw
        del raw
        for target in task.results.values():
            places.prepare(target)
            files.check_target(target, one.inputs, not one.no_clobber)
            if self._asked.skip_existing and os.path.exists(target) and not os.path.isfile(target):
                raise FileError(f"{target} is no file, and --skip-existing is for results that stay: name a file")
        one.staged = functools.partial(self._stage_record, task, digest)
        self._work(one)
        if self._asked.reproducible:
            one.report.seconds.clear()
        self._reports[task.number] = one.report

    def _stage_record(self, task: Task, digest: str, staging: files.Staging) -> None:
        name = records.name_of(task.output)
        if os.path.islink(name) or (os.path.lexists(name) and not os.path.isfile(name)):
            raise FileError(f"cannot write {name}: the record of a result is a file, and that is none: remove it")
        places.prepare(name)
        text = self._records.text(task, digest, staging.digests())
        staging.open(name).write(text.encode())

    def _end(self, done: Done, crew: Crew) -> None:
        """Take note of how an image's work has ended."""
        error, report = done.error, self._reports.pop(done.task.number, None)
        if isinstance(error, Exception) and not isinstance(error, ConvtoolError | OSError) and is_lack_of_memory(error):
            error = MemoryError()  # whatever it is, that is why
        if isinstance(error, EndsBatchError):
            raise error.error
        if isinstance(error, NoRoomError):
            raise error
        if error is not None and not isinstance(error, ConvtoolError | OSError | MemoryError):
            if not self._tally.is_bug:  # the next would mostly be the same
                with suppress(OSError):
                    traceback.print_exception(error)
            self._tally.is_bug = True
        self._tally.add(done.task, report, None if error is None else reason(error))
        if error is not None and (self._asked.on_error == "stop" or _is_hopeless(error)):
            crew.is_stopping = True

    def _hear(self, crew: Crew) -> None:
        """The first Ctrl-C; nothing is printed here, where it may come in the middle of a line."""
        crew.is_stopping = self._is_ended = True

    def _tell_end(self, crew: Crew) -> None:
        if self._is_ended and not self._is_told:
            self._is_told = True
            say(f"finishing the {crew.in_hand} in hand; once more Ctrl-C stops at once")

    def _prepare_report(self) -> None:
        """A report in the output folder, which is made for it."""
        folder, report = self._asked.output_dir, self._asked.report
        if report is not None and folder is not None and files.is_inside(report, folder):
            places.prepare(report)

    def _write(self, lines: list[str], stream: Lines | None) -> None:
        for line in lines:
            if self._asked.as_json:
                print(line, end="", flush=True)
            if stream is not None:
                stream.add(line)

    def _show(self, quiet: bool) -> None:
        """The summary; failures are said even where nothing else is."""
        for told in self._tally.told_failures():
            say(f"failed: {told}")
        if self._asked.as_json:
            with suppress(OSError, ValueError):
                print(self._tally.to_json(not self._asked.reproducible), end="", flush=True)
        if quiet:
            return
        if self._job.is_shown:
            show_table(self._tally.rows())
        for note in self._tally.notes():
            say(f"note: {note}")
        say(self._tally.summary())

    def _leave(self) -> None:
        if self._is_ended:
            raise typer.Exit(128 + signal.SIGINT)
        if self._tally.is_bug:
            raise typer.Exit(70)
        if self._tally.counts[FAILED]:
            raise typer.Exit(1)


def _check_places(asked: SimpleNamespace, others: list[str]) -> None:
    """Raises SettingError where standard input would be read twice, or the output folder is none."""
    if [*_lists(asked), *others].count(files.STDIO) > 1:
        raise SettingError("only one input can come from standard input (-): name a file for the others")
    streams = [name for name in others if records.is_stream(name)]
    if asked.skip_existing and streams:
        name = "standard input" if streams[0] == files.STDIO else streams[0]
        raise SettingError(f"--skip-existing goes by content, that of {name} is not known before: name a file")
    if asked.output_dir is not None and os.path.exists(asked.output_dir) and not os.path.isdir(asked.output_dir):
        raise SettingError(f"--output-dir {asked.output_dir} is a file: name a folder, which is made if needed")


def _lists(asked: SimpleNamespace) -> list[str]:
    """The lists that names are read from."""
    words = [word[1:] for word in asked.image or [] if word.startswith("@")]
    return words if asked.files_from is None else [asked.files_from, *words]


def _load_for_threads(asked: SimpleNamespace) -> None:
    """Import what several threads would import at the same time: SciPy's modules need each other, and threads that
    wait for each other get some that are half made. Most commands use the one for transforms alone, when they need it.
    """
    scarcity.load_for_threads()
    if hasattr(asked, "method") or getattr(asked, "nan", None) == "nearest":
        for name in _NEED_EACH_OTHER:
            with suppress(NoRoomError):  # said by who does need it
                importlib.import_module(name)


def _set_up(job: Job) -> None:
    """Settle for the whole batch what must not differ from image to image."""
    policy = process.policy
    policy.one_shot = False
    job.kept = Kept(is_batch=True)
    policy.keep = job.kept.of_shape
    job.is_heard = not job.quiet or job.report_file is not None or job.asked.as_json
    job.wants_facts = job.report_file is not None or job.asked.as_json or job.asked.verbose


def _is_hopeless(error: BaseException) -> bool:
    """Whether the next image would fail as well: there is no place for its result."""
    import errno

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in {getattr(errno, name, -1) for name in _HOPELESS}:
            return True
        cause = cause.__cause__
    return False
