"""Records: what a result was made of, so that `--skip-existing` can tell that nothing has changed.

The record of `DIR/NAME` is `DIR/.convtool/NAME.json`, written with it in every batch:

    convtool_result    version of this format
    convtool, command, settings    what made it: the version, the command and its parameters that matter to the result
    reads      SHA-256 of each other file that was read, such as the kernel, or a kernel's expression as it is
    image      SHA-256 of the image file
    results    SHA-256 of the result, and of the files that were written with it, by their options or their names

It holds no times and no paths, so that two runs that do the same write the same. A result is left be where all of it
is as it would be now, the files' contents included.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import convtool
from convtool import files
from convtool.cli import batch_options, sidecar
from convtool.cli.batches.places import Task
from convtool.errors import ConvtoolError

FOLDER = ".convtool"
_FORMAT = 1
_LONGEST = 240  # bytes of a name, to which an ending is put
_KEY = "convtool_result"
_NO_MATTER = {"image", "output", "report", "quiet", "verbose", "no_clobber", "max_pixels", "threads"}
_NO_MATTER |= batch_options.NAMES


def name_of(target: str) -> str:
    """The record's file name."""
    name = os.path.basename(target)
    if len(os.fsencode(name)) > _LONGEST:
        name = files.digest(os.fsencode(name))
    return os.path.join(os.path.dirname(target), FOLDER, f"{name}.json")


class Records:
    """The records of one batch."""

    def __init__(self, asked: SimpleNamespace, command: str, reads: tuple[str, ...], writes: tuple[str, ...]) -> None:
        left = _NO_MATTER | set(reads) | set(writes)
        settings = {name: value for name, value in vars(asked).items() if name not in left}
        head = {
            _KEY: _FORMAT,
            "convtool": convtool.__version__,
            "command": command,
            "settings": settings,
            "reads": {name: _content_of(value) for name in reads if (value := getattr(asked, name)) is not None},
        }
        self._head = json.loads(json.dumps(head))  # as it will be read again, tuples as lists

    def is_done(self, task: Task, image: str) -> bool:
        """Whether the results of an image with this digest are there as they would be now."""
        try:
            found = json.loads(files.read_bytes(name_of(task.output)))
            folder = os.path.dirname(task.output)
            more = {name: os.path.join(folder, os.path.basename(name)) for name in found["results"]}
            results = {
                name: files.digest(files.read_bytes(target)) for name, target in {**more, **task.results}.items()
            }
        except (ConvtoolError, ValueError, TypeError, KeyError, RecursionError):
            return False
        return bool(found == self._record(image, results))

    def text(self, task: Task, image: str, digests: dict[str, str]) -> str:
        """The record of an image with this digest, whose results have those, by their files."""
        names = {target: name for name, target in task.results.items()}
        found = {names.get(target, os.path.basename(target)): digests[target] for target in digests}
        record = self._record(image, found)
        return json.dumps(record, indent=2, sort_keys=True) + "\n"

    def _record(self, image: str, results: dict[str, str]) -> dict[str, Any]:
        return {**self._head, "image": image, "results": results}


def folders(found: Iterable[Task]) -> set[str]:
    """Every folder that results and their records go to."""
    every = {os.path.dirname(os.path.realpath(target)) for task in found for target in task.results.values()}
    return every | {os.path.join(folder, FOLDER) for folder in every}


def _content_of(name: str) -> str | None:
    """The digest of a file, with those of a kernel's settings beside it; what is no file stands for itself.

    None for a stream, which nobody knows before it is read.
    """
    if is_stream(name):
        return None
    if not os.path.isfile(name):
        return name
    return " ".join(files.digest(files.read_bytes(each)) for each in [name, *sidecar.existing([name])])


def is_stream(name: str) -> bool:
    """Whether a name is that of standard input, a pipe or a device."""
    return name == files.STDIO or (os.path.exists(name) and not os.path.isfile(name) and not os.path.isdir(name))
