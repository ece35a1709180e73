"""What is fuzzed: readers, each with what it is given; what they must hold beside not failing is asserted here."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from convtool import axes, images, kernels
from convtool.cli import lists
from convtool.errors import ConvtoolError
from convtool.files import Staging
from convtool.images.header import header_of
from convtool.images.reading import decode

from . import corpus
from .mutations import garbled, mutated

_SHAPES = ((3, 4), (2, 3, 4), (1, 2, 3, 4), (2, 2, 2, 3, 4))
_MANY = 1_000_000
NAMES = ("images", "headers", "copies", "kernels", "specs", "axes", "lists")
_PITCH = {"X": Fraction(2), "Y": Fraction(1, 3), "Z": Fraction(7)}


@dataclass(frozen=True)
class Target:
    """A reader: what it is given, from the corpus, by a mutation."""

    seeds: Sequence[Any]
    mutate: Callable[..., Any]
    read: Callable[[Any], object]


def targets(folder: Path) -> dict[str, Target]:
    """All of them by name; they may write into the folder."""
    pictures = corpus.image_files(folder)
    arrays = [*corpus.kernel_files(), *pictures[::5]]
    return {
        "images": Target(pictures, mutated, lambda raw: decode(raw, "it")),
        "headers": Target(pictures, mutated, lambda raw: _header(raw, folder / "h")),
        "copies": Target(pictures, mutated, lambda raw: _copy(raw, folder)),
        "kernels": Target(arrays, mutated, lambda raw: _kernel(raw, folder / "k")),
        "specs": Target(corpus.specs(), garbled, _spec),
        "axes": Target(corpus.axes(), garbled, _axes),
        "lists": Target(corpus.lists(), mutated, _lists),
    }


def _header(raw: bytes, file: Path) -> None:
    """What a batch foretells memory from: it refuses nothing, and leaves that to reading."""
    file.write_bytes(raw)
    for letters in (None, "YXC"):
        found = header_of(str(file), letters)
        assert found.values >= 0
        assert len(found.axes) == len(found.shape)


def _copy(raw: bytes, folder: Path) -> None:
    """An image written again, other samples and all that it carries; those of many pixels are for `images`."""
    image = decode(raw, "it")
    if image.data.size > _MANY:
        return
    values = image.data.astype("float64")
    image = replace(image, metadata=images.resampled(image.metadata, _PITCH))
    suffix = {"tiff": "tif", "jpeg": "jpg"}.get(image.format, image.format)
    for ending in (suffix if suffix in ("png", "jpg", "tif", "npy", "fits") else "png", "png", "tif"):
        with suppress(ConvtoolError), Staging() as staging:
            target = str(folder / f"copy.{ending}")
            images.write(values, image.axes, target, staging, like=image, alpha=image.alpha, dtype="uint8")


def _kernel(raw: bytes, file: Path) -> object:
    file.write_bytes(raw)
    return images.read_kernel(str(file))


def _spec(text: str) -> object:
    return kernels.make(text) if kernels.is_spec(text) else None


def _axes(text: str) -> None:
    for shape in _SHAPES:
        with suppress(ConvtoolError):
            axes.image_axes(shape, text, "it")
        with suppress(ConvtoolError):
            axes.kernel_axes(shape, "NCZYX", text)


def _lists(raw: bytes) -> None:
    """The names joined give the list back, but for empty ones."""
    for null, mark in ((True, b"\0"), (False, b"\n")):
        with suppress(ConvtoolError):
            found = [os.fsencode(name) for name in lists.names(raw, "it", null)]
            parts = [part if null or part[-1:] != b"\r" else part[:-1] for part in raw.split(mark)]
            assert mark.join(found) == mark.join(filter(None, parts))
            assert null or b"\0" not in raw
