"""One image or many through one command.

A single image is a job by itself. Several names, a folder, a pattern, a list, `--output-dir` or `--skip-existing` make
a batch: `names` says what is read, `places` where each result goes, `records` whether it is there already, `room` what
fits into memory, `crew` does the work, and `tally` says what became of it. One image's failure costs that image alone.
"""

from __future__ import annotations

import glob
import os
from types import SimpleNamespace
from typing import TYPE_CHECKING

from convtool.errors import SettingError

if TYPE_CHECKING:
    import typer

    from convtool.cli.image_command import Work

NO_IMAGE = "no image was named: name files, a folder, a quoted pattern, @LIST, or - for standard input"
_MANY = ("files_from", "output_dir", "output_name", "skip_existing", "recursive")


def run(context: typer.Context, work: Work, word: str, reads: tuple[str, ...], writes: tuple[str, ...]) -> None:
    """Do the work for all images that a command names; `reads` and `writes` are its options that name other files."""
    asked = SimpleNamespace(**context.params)
    if is_batch(asked):
        from convtool.cli.batches.batch import Batch

        Batch(context, work, word, reads, writes).run()
    else:
        _run_one(context, work, reads, writes)


def is_batch(asked: SimpleNamespace) -> bool:
    """Whether a command's parameters are for many images."""
    words = asked.image or []
    return len(words) > 1 or any(getattr(asked, name) for name in _MANY) or any(map(_stands_for_many, words))


def _stands_for_many(word: str) -> bool:
    return word.startswith("@") or os.path.isdir(word) or (glob.has_magic(word) and not os.path.lexists(word))


def _run_one(context: typer.Context, work: Work, reads: tuple[str, ...], writes: tuple[str, ...]) -> None:
    from convtool import files
    from convtool.cli.job import Job
    from convtool.report import json_text

    given = context.params
    if not given["image"]:
        raise SettingError(NO_IMAGE)
    image = given["image"][0]
    if given["as_json"] and given["output"] in files.STDOUT_NAMES:
        raise SettingError("--json and -o - both write to standard output: name a file with -o")
    job = Job(
        context,
        inputs=[image, *(given[name] for name in reads)],
        outputs=[given["output"], *(given[name] for name in writes)],
        threads=given.get("threads"),
    )
    job.asked.image = image
    job.wants_facts = job.wants_facts or given["as_json"]
    work(job)
    if given["as_json"]:
        print(json_text(job.report.content()), end="")
