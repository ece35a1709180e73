"""One image or many through one command.

A single image is a job by itself. Several names, a folder, a pattern, a list, `--output-dir` or `--skip-existing` make
a batch: `names` says what is read, `places` where each result goes, `records` whether it is there already, `room` what
fits into memory, `crew` does the work, and `tally` says what became of it. One image's failure costs that image alone.
"""

from __future__ import annotations

import glob
import os
import re
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from convtool.errors import DataError, FileError, SettingError

if TYPE_CHECKING:
    import typer

    from convtool.cli.image_command import Work
    from convtool.cli.job import Job

NO_IMAGE = "no image was named: name files, a folder, a quoted pattern, @LIST, or - for standard input"
_MANY = ("files_from", "output_dir", "output_name", "recursive")
FIELDS = ("stem", "ext", "suffix", "command", "parent")  # of names of results
_TEMPLATE = re.compile(rf"\{{({'|'.join(FIELDS)})\}}")


def run(context: typer.Context, work: Work, word: str, reads: tuple[str, ...], writes: tuple[str, ...]) -> None:
    """Do the work for all images that a command names; `reads` and `writes` are its options that name other files."""
    asked = SimpleNamespace(**context.params)
    if "" in (asked.output_dir, asked.output_name, asked.files_from):
        raise SettingError("a file name is empty (an unset variable?): leave the option out, or name a file or folder")
    if asked.as_json and sys.stdout is None:
        raise FileError("cannot write standard output, which --json is for: it is closed")
    if is_batch(asked):
        from convtool.cli.batches.batch import Batch

        Batch(context, work, word, reads, writes).run()
    else:
        _run_one(context, work, reads, writes)


def is_batch(asked: SimpleNamespace) -> bool:
    """Whether a command's parameters are for many images."""
    return bool(asked.skip_existing) or not names_one(asked)


def names_one(asked: SimpleNamespace) -> bool:
    """Whether what is asked for is one image by its name, whose results have names too."""
    words = asked.image or []
    return len(words) <= 1 and not any(getattr(asked, name) for name in _MANY) and not any(map(_is_for_many, words))


def is_pattern(word: str) -> bool:
    """Whether a word stands for the files that are named like it."""
    return glob.has_magic(word) and not os.path.lexists(word)


def _is_for_many(word: str) -> bool:
    return word.startswith("@") or os.path.isdir(word) or is_pattern(word)


def _run_one(context: typer.Context, work: Work, reads: tuple[str, ...], writes: tuple[str, ...]) -> None:
    from convtool import files
    from convtool.cli.job import Job

    given = context.params
    if not given["image"]:
        raise SettingError(NO_IMAGE)
    image = given["image"][0]
    check_names({name: given[name] for name in ("output", *writes)})
    if given["as_json"] and given["output"] in files.STDOUT_NAMES:
        raise SettingError("--json and -o - both write to standard output: name a file with -o")
    job = Job(
        context,
        inputs=[image, *read_besides(given, reads)],
        outputs=[given["output"], *(given[name] for name in writes)],
        threads=given.get("threads"),
    )
    if given["memory_limit"] is not None:
        _check_room(image, job, str(context.info_name))
    _check_destination(given)
    job.asked.image = image
    job.wants_facts = job.wants_facts or given["as_json"]
    if given["as_json"]:
        _told(work, job, image)
    else:
        work(job)


def _told(work: Work, job: Job, image: str) -> None:
    """Do the work for one image and print the lines of JSON that a batch of it alone would print."""
    from convtool.cli.batches.places import Task
    from convtool.cli.batches.tally import Tally, reason

    tally, task = Tally(1, job.report.command, job.report.version), Task(0, image, {})
    try:
        work(job)
        tally.add(task, job.report, None)
    except Exception as error:
        tally.add(task, None, reason(error))
        raise
    finally:
        if tally.ended:
            print(*tally.ready_lines(), tally.to_json(not job.asked.reproducible), sep="", end="")


def check_names(named: dict[str, str | None]) -> None:
    """Raises SettingError for a template in the place of the name of one image's result, by the options."""
    for option, name in named.items():
        if _TEMPLATE.search(name or ""):
            raise SettingError(f"--{option} '{name}' is a template for the results of many images: name a file")


def read_besides(given: dict[str, Any], reads: tuple[str, ...]) -> list[str]:
    """The files that a command reads beside its images: those of these options, and what lies with a kernel."""
    from convtool.cli import sidecar

    named = [given[name] for name in reads if given[name] is not None]
    return [*named, *sidecar.existing(named)]


def _check_destination(given: dict[str, Any]) -> None:
    """What could not be written is said before it is computed."""
    if any(given[name] is not None for name in ("output", "format", "dtype", "scale")):
        from convtool.images import check_destination

        check_destination(*(given[name] for name in ("output", "format", "dtype", "scale")))


def _check_room(image: str, job: Job, command: str) -> None:
    from convtool.cli.batches import room
    from convtool.cli.batches.places import Task

    limit = room.leave_for_factors(room.limit(job.asked.memory_limit), job.asked)
    needed = room.foretelling(job, command)(Task(0, image, {}))
    if needed > limit:
        raise DataError(f"{image}: {room.too_large(needed, limit)}")
