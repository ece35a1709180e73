"""Records: what a result was made of, so that `--skip-existing` can tell that nothing has changed.

The record of `DIR/NAME` is `DIR/.convtool/NAME.json`, written with it in every batch:

    convtool_result    version of this format
    convtool, command, settings    what made it: the version, the command and its parameters that matter to the result
    reads      SHA-256 of each other file that was read, such as the kernel, or a kernel's expression as it is
    image      SHA-256 of the image file
    results    SHA-256 of the result, and of the files that were written with it, by their names from that folder

It holds no times, and nothing of where the folder lies, so that two runs that do the same write the same. A result is
left be where all of it is as it would be now, the files' contents included.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any

import convtool
from convtool import digests, files
from convtool.cli import batch_options, sidecar
from convtool.cli.batches.places import Task

FOLDER = ".convtool"
_FORMAT = 2
_LONGEST = 240  # bytes of a name, to which an ending is put
_LARGEST = 1 << 20  # bytes of a record
_KEY = "convtool_result"
_NO_MATTER = {"image", "output", "report", "quiet", "verbose", "no_clobber", "max_pixels", "threads"}
_NO_MATTER |= batch_options.NAMES


def name_of(target: str) -> str:
    """The record's file name."""
    name = os.path.basename(target)
    if len(os.fsencode(name)) > _LONGEST:
        name = digests.of_bytes(os.fsencode(name))
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
        found, folder = _content(task.output), os.path.dirname(task.output)
        names = {_within(target, folder) for target in task.results.values()}
        if found is None or not names <= found["results"].keys():
            return False
        results = {name: digests.of_file(os.path.join(folder, name)) for name in found["results"]}
        return bool(found == self._record(image, results))

    def text(self, task: Task, image: str, found: dict[str, str]) -> str:
        """The record of an image with this digest, whose results have those, by their files."""
        folder = os.path.dirname(task.output)
        record = self._record(image, {_within(target, folder): digest for target, digest in found.items()})
        return json.dumps(record, indent=2, sort_keys=True) + "\n"

    def _record(self, image: str, results: Mapping[str, str | None]) -> dict[str, Any]:
        return {**self._head, "image": image, "results": results}


def made(task: Task) -> list[str]:
    """The files that an earlier run of such a task has written, as its record has them; none without one.

    Only below the result's folder, or where this task writes: a record from elsewhere has no say over other files.
    """
    found = None if task.error is not None else _content(task.output)
    if found is None:
        return []
    folder = os.path.dirname(task.output)
    names = [os.path.join(folder, name) for name in found["results"]]
    return [name for name in names if name in task.results.values() or files.is_inside(name, folder or ".")]


def _content(output: str) -> dict[str, Any] | None:
    """What the record of a result holds; None where there is none, or what is there is none of ours."""
    name = name_of(output)
    try:
        if not os.path.isfile(name) or os.path.getsize(name) > _LARGEST:
            return None
        with open(name, "rb") as stream:
            found = json.load(stream)
    except (OSError, ValueError, RecursionError):
        return None
    is_ours = isinstance(found, dict) and _KEY in found and isinstance(found.get("results"), dict)
    return found if is_ours and all(map(_is_name, found["results"])) else None


def _is_name(text: str) -> bool:
    """Whether a file may be called so: JSON holds texts that no system takes."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def _within(target: str, folder: str) -> str:
    return os.path.relpath(target, folder or ".")


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
    return " ".join(digests.of_bytes(files.read_bytes(each)) for each in [name, *sidecar.existing([name])])


def is_stream(name: str) -> bool:
    """Whether a name is that of standard input, a pipe or a device."""
    return name == files.STDIO or (os.path.exists(name) and not os.path.isfile(name) and not os.path.isdir(name))
