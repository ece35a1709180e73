"""Which formats there are: by their first bytes when reading, by the name's ending when writing."""

from __future__ import annotations

import os

from convtool.errors import FileError, SettingError, listed
from convtool.files import STDOUT_NAMES

SUFFIXES = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".npy": "npy",
    ".fits": "fits",
    ".fit": "fits",
    ".fts": "fits",
}
READ = (*SUFFIXES, ".bmp", ".gif", ".webp")  # endings of what can be read
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),
    (b"MM\0+", "tiff"),
    (b"\x93NUMPY", "npy"),
    (b"SIMPLE  =", "fits"),
    (b"BM", "bmp"),
    (b"GIF8", "gif"),
    (b"PK\x03\x04", "zip"),
)


def sniff(raw: bytes, name: str) -> str:
    """The format of a file from its first bytes; raises FileError for an empty or unknown one."""
    if not raw:
        raise FileError(f"cannot read {name}: it is empty")
    kind = _kind(raw)
    if kind == "zip":
        raise FileError(f"cannot read {name}: it is an archive (.npz?): save the one array with numpy.save as .npy")
    if kind is not None:
        return kind
    raise FileError(
        f"cannot read {name}: it is no PNG, JPEG, TIFF, FITS, .npy, BMP, GIF or WebP file, or damaged at its start"
    )


def kind_of(name: str) -> str:
    """The format of a file by its first bytes; empty where they say nothing, or there are none."""
    if not os.path.isfile(name):  # to open a pipe is to wait for somebody
        return ""
    try:
        with open(name, "rb") as stream:
            return _kind(stream.read(12)) or ""
    except OSError:
        return ""


def is_known(raw: bytes) -> bool:
    """Whether the first bytes are those of any format listed here."""
    return _kind(raw) is not None


def _kind(raw: bytes) -> str | None:
    if raw[:4] == b"RIFF" and raw[8:12] == b"WEBP":
        return "webp"
    return next((kind for magic, kind in _MAGIC if raw.startswith(magic)), None)


def output_format(target: str, chosen: str | None) -> str:
    """The format to write: the chosen one, else by the target's ending, else .npy for standard output."""
    if chosen is not None:
        suffix = "." + chosen.lower().lstrip(".")
        if suffix not in SUFFIXES:
            raise SettingError(f"unknown format '{chosen}': use {listed(sorted(set(SUFFIXES.values())))}")
        return SUFFIXES[suffix]
    suffix = os.path.splitext(target)[1].lower()
    if target in STDOUT_NAMES:
        return "npy"
    if suffix not in SUFFIXES:
        raise SettingError(
            f"cannot tell the format of {target} from its ending: use {listed(SUFFIXES)}, or say --format"
        )
    return SUFFIXES[suffix]


def suffix_for(name: str, kind: str) -> str:
    """The ending of a result in the format of `name`; lossy formats and those that are only read give '.png'."""
    own = os.path.splitext(name)[1]
    if kind == "jpeg" or kind not in SUFFIXES.values():
        return ".png"
    return own if SUFFIXES.get(own.lower()) == kind else {"tiff": ".tif"}.get(kind, f".{kind}")
