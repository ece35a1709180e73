"""What a batch reads: the words of the command line as the names of images.

    photo.png           a file
    folder              the images in it, by their names' endings, in order; with --recursive in its folders too
    'scans/*.tif'       a pattern that no file has for its name (** for any folders)
    @list.txt           the names in a list; they are taken as they are
    --files-from LIST   the same; - for standard input

What a folder holds beside images is left alone, and so are hidden files, the output folder, and files that the command
is given for other ends, such as its kernel.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace

from convtool import files
from convtool.cli import lists
from convtool.cli.batches import is_pattern
from convtool.errors import FileError, SettingError
from convtool.images.formats import READ


@dataclass(frozen=True)
class Input:
    """An image by its name, the folder below the one that was named in which it lies, whether it was found there or
    like a pattern, not named itself; and the error of a folder in its place that cannot be looked into."""

    name: str
    below: str = ""
    is_found: bool = False
    error: FileError | None = None


def expanded(asked: SimpleNamespace, others: list[str]) -> list[Input]:
    """The images of a batch, each once; `others` are the files it reads for other ends.

    Raises FileError and SettingError for what names none.
    """
    found = [each for word in asked.image or [] for each in _meant(word, asked, others)]
    if asked.files_from is not None:
        found += _listed(asked.files_from, asked.null)
    once: dict[tuple[str, str], Input] = {}
    for each in found:
        once.setdefault((os.path.abspath(each.name), each.below), each)
    return list(once.values())


def _meant(word: str, asked: SimpleNamespace, others: list[str]) -> Iterator[Input]:
    if word == files.STDIO:
        raise SettingError(_one_image(asked))
    if word.startswith("@"):
        if os.path.lexists(word):
            raise SettingError(
                f"{word} is a file, and also says that {word[1:]} lists names: say ./{word} for the image, or"
                f" --files-from {word[1:]}"
            )
        yield from _listed(word[1:], asked.null)
    elif os.path.isdir(word):
        if asked.output_dir is None:
            raise SettingError(f"the results of the folder {word} need a folder of their own: say --output-dir DIR")
        yield from _in_folder(word, asked, others)
    elif is_pattern(word):
        yield from _matching(word, asked.output_dir)
    else:
        yield Input(word)


def _one_image(asked: SimpleNamespace) -> str:
    """What to say of standard input as an image of a batch."""
    if asked.skip_existing and len(asked.image) == 1:
        return "--skip-existing goes by content, that of standard input is not known before: name a file"
    if asked.output_dir is not None and len(asked.image) == 1:
        return "standard input (-) has no name that its result could have: say where it goes with -o FILE"
    return "standard input (-) is one image: name it alone, or give names with --files-from -"


def _listed(source: str, null: bool) -> Iterator[Input]:
    spoken = "standard input" if source == files.STDIO else source
    found = lists.names(files.read_bytes(source), spoken, null)
    if not found:
        raise FileError(f"{spoken} names no image: give one name a line")
    yield from (Input("./-" if name == files.STDIO else name) for name in found)


def _matching(pattern: str, output_dir: str | None) -> Iterator[Input]:
    found = sorted(name for name in glob.iglob(pattern, recursive=True) if os.path.isfile(name))
    if output_dir is not None:
        found = [name for name in found if not files.is_inside(name, output_dir)]
    if not found:
        raise FileError(f"no file is named like {pattern}: is the pattern right?")
    yield from (Input(name, is_found=True) for name in found)


def _in_folder(folder: str, asked: SimpleNamespace, others: list[str]) -> Iterator[Input]:
    known = {_identity(name) for name in (*others, asked.output_dir or "")} - {None}
    found = list(_walk(folder, folder, asked.recursive, known))
    if not found:
        more = "" if asked.recursive else " (folders in it are for --recursive)"
        raise FileError(f"the folder {folder} holds no image{more}: names must end in {', '.join(READ)}")
    yield from found


def _walk(top: str, folder: str, is_recursive: bool, known: set[tuple[int, int] | None]) -> Iterator[Input]:
    """The images in a folder, and then those in its folders; links are followed to files, but not to folders."""
    try:
        with os.scandir(folder) as entries:
            shown = sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: os.fsencode(e.name))
    except OSError as error:
        unread = FileError(f"cannot read the folder {folder}: {files.reason(error)}")
        if folder == top:
            raise unread from error
        yield Input(folder, is_found=True, error=unread)  # which costs what lies in it
        return
    below = os.path.relpath(folder, top)
    for entry in shown:
        is_image = os.path.splitext(entry.name)[1].lower() in READ
        if is_image and _is_file(entry) and _identity(entry.path) not in known:
            yield Input(entry.path, "" if below == "." else below, is_found=True)
    for entry in shown:
        if is_recursive and entry.is_dir(follow_symlinks=False) and _identity(entry.path) not in known:
            yield from _walk(top, entry.path, is_recursive, known)


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Whether it is a file, or a link whose file cannot be had, which is said when it is read."""
    try:
        return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))
    except OSError:
        return True


def _identity(name: str) -> tuple[int, int] | None:
    """What a file or folder is, whatever it is called; None for a link to nothing."""
    try:
        status = os.stat(name)
    except OSError:
        return None
    return status.st_dev, status.st_ino
