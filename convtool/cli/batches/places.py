"""Where a batch writes: the file of each result, known before any work is done.

A result's name is that of its image through --output-name, in the image's folder, or in --output-dir, where the tree
below a folder that was named is mirrored. Its fields are

    {stem} {ext}       the image's name without its ending; that ending, without its dot
    {suffix}           the ending of the result's format, with its dot
    {command}          convolve, ...
    {parent}           the name of the folder that the image lies in

and a field's value never has a separator in it, so that nothing is written outside the folder.
"""

from __future__ import annotations

import os
import string
from collections.abc import Iterable
from dataclasses import dataclass
from types import SimpleNamespace

from convtool import files
from convtool.cli.batches import FIELDS, check_names, names_one
from convtool.cli.batches.names import Input
from convtool.errors import FileError, SettingError
from convtool.images.formats import SUFFIXES, kind_of, output_format, suffix_for

_TELLING = ("{stem}_{ext}{suffix}", "{parent}_{stem}{suffix}", "{parent}_{stem}_{ext}{suffix}")
_USUAL = {"png": ".png", "jpeg": ".jpg", "tiff": ".tif", "npy": ".npy", "fits": ".fits"}


@dataclass(frozen=True)
class Task:
    """One image of a batch: its number, its name, what each option that names a result stands for, and why there is
    nothing to do but say so."""

    number: int
    image: str
    results: dict[str, str]
    error: FileError | None = None

    @property
    def output(self) -> str:
        """The file of the result itself."""
        return self.results["output"]


def tasks(inputs: list[Input], asked: SimpleNamespace, command: str, word: str, writes: tuple[str, ...]) -> list[Task]:
    """What is to be done for each input; raises SettingError where two results, or a result and an input, collide."""
    if asked.output is not None:
        return [_named(inputs[0], asked, writes)] if names_one(asked) else _refused_output(len(inputs))
    usual = "{stem}{suffix}" if asked.output_dir else f"{{stem}}.{word}{{suffix}}"
    templates = {"output": asked.output_name or usual}
    templates |= {name: getattr(asked, name) for name in writes if getattr(asked, name) is not None}
    for name, template in templates.items():
        _check_template(template, "--output-name" if name == "output" else f"--{name}", len(inputs))
    found = []
    for number, each in enumerate(inputs):
        values = _values(each.name, _suffix(each.name, asked.format), command)
        folder = _folder(each, asked.output_dir)
        placed = {name: os.path.join(folder, template.format(**values)) for name, template in templates.items()}
        found.append(Task(number, each.name, placed if each.error is None else {}, each.error))
    return found


def _named(image: Input, asked: SimpleNamespace, writes: tuple[str, ...]) -> Task:
    """An image whose results were named; they must have records beside them, so they are files."""
    if asked.output in files.STDOUT_NAMES:
        raise SettingError("--skip-existing is for results that stay: name a file with -o")
    named = {name: getattr(asked, name) for name in ("output", *writes)}
    check_names(named)
    return Task(0, image.name, {name: target for name, target in named.items() if target is not None})


def _refused_output(count: int) -> list[Task]:
    raise SettingError(f"-o names one file, and this is a batch of {count}: say --output-dir FOLDER instead")


def without_results(inputs: list[Input], made: Iterable[str]) -> list[Input]:
    """The inputs without those that a batch like this has made of others of them."""
    results = {os.path.realpath(name) for name in made}
    return [each for each in inputs if os.path.realpath(each.name) not in results]


def reserved(found: list[Task], others: Iterable[str]) -> frozenset[str]:
    """All files that a batch reads or writes by name, as they are on the disk; what else is written is none of them."""
    names = {*others, *(task.image for task in found), *(name for task in found for name in task.results.values())}
    return frozenset(map(os.path.realpath, names))


def check(found: list[Task], others: Iterable[str]) -> None:
    """Raises SettingError where two results would be one file, or a result would replace what is read."""
    taken: dict[str, str] = {}
    for task in found:
        for target in task.results.values():
            first = taken.setdefault(os.path.realpath(target), task.image)
            if first is not task.image or list(task.results.values()).count(target) > 1:
                raise SettingError(f"two results would go to {target}: {_tell_apart(first, task.image)}")
    for name in (*others, *(task.image for task in found)):
        image = taken.get(os.path.realpath(name))
        if image is not None and os.path.exists(name):
            raise SettingError(
                f"the result of {image} would replace {name}, which is read: choose another --output-dir or"
                " --output-name"
            )


def check_report(report: str, found: list[Task], others: Iterable[str], records: Iterable[str]) -> None:
    """Raises SettingError where a report would replace what is read or written."""
    if os.path.exists(report) and not os.path.isfile(report):
        return  # a device or a pipe
    read = [*others, *(task.image for task in found)]
    if os.path.realpath(report) in reserved(found, [*others, *records]) or any(files.are_one(report, n) for n in read):
        raise SettingError(f"the report would replace {report}, which is read or written here: name another --report")


def _tell_apart(first: str, second: str) -> str:
    if first == second:
        return f"the image itself and what another option names for {first}: give them different names"
    if os.path.realpath(first) == os.path.realpath(second):
        return f"{first} and {second} are one file: name it once"
    for template in _TELLING:
        if len({template.format(**_values(name, ".", "")) for name in (first, second)}) > 1:
            return f"those of {first} and {second}: tell them apart with --output-name, such as '{template}'"
    return f"those of {first} and {second}: name a folder that holds both with --recursive, which keeps its tree"


def _check_template(template: str, option: str, count: int) -> None:
    example = "'{stem}_edges{suffix}'"
    try:
        parsed = string.Formatter().parse(template)
        fields = [(name, form or "", conversion) for _, name, form, conversion in parsed if name is not None]
    except ValueError as error:
        raise SettingError(f"{option} '{template}' is no template ({error}): use one such as {example}") from None
    strange = [_written(*field) for field in fields if field[0] not in FIELDS or any(field[1:])]
    if strange:
        known = ", ".join(f"{{{name}}}" for name in FIELDS)
        raise SettingError(
            f"{option} has the field {strange[0]}, expected {known} as they are: use one such as {example}"
        )
    parts = template.split("/")
    if template.startswith("/") or ".." in parts or parts[-1] in ("", "."):
        raise SettingError(f"{option} '{template}' leads elsewhere: it must be a file's name below the output folder")
    if count > 1 and not fields:
        raise SettingError(f"{option} '{template}' is one name for {count} results: put {{stem}} in it")


def _written(name: str, form: str, conversion: str | None) -> str:
    """A template's field as it was written."""
    return f"{{{name}{f'!{conversion}' if conversion else ''}{f':{form}' if form else ''}}}"


def _values(name: str, suffix: str, command: str) -> dict[str, str]:
    """What the fields of a template stand for, for the image of this name."""
    stem, ending = os.path.splitext(os.path.basename(name))
    parent = os.path.basename(os.path.dirname(os.path.abspath(name))) or "root"  # of what lies in /
    return {"stem": stem, "ext": ending[1:], "suffix": suffix, "command": command, "parent": parent}


def _suffix(name: str, format: str | None) -> str:
    """The ending of a result: of the format asked for, else of the input's, by its ending or, where that says nothing,
    its first bytes."""
    if format is not None:
        return _USUAL[output_format(name, format)]
    kind = SUFFIXES.get(os.path.splitext(name)[1].lower())
    return suffix_for(name, kind or kind_of(name))


def _folder(each: Input, output_dir: str | None) -> str:
    return os.path.dirname(each.name) if output_dir is None else os.path.join(output_dir, each.below)


def prepare(target: str) -> None:
    """Make the folder of a result; raises FileError where it cannot be."""
    folder = os.path.dirname(target)
    try:
        if folder:
            os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise FileError(
            f"cannot create the folder {folder}: {files.reason(error)}: choose another --output-dir"
        ) from error
