"""Read an image of any format that convtool knows, told by its first bytes and never by its name."""

from __future__ import annotations

import dataclasses

from convtool.axes import image_axes
from convtool.errors import SettingError
from convtool.files import STDIO, beside, read_bytes
from convtool.images.fits import read_fits
from convtool.images.formats import sniff, suffix_for
from convtool.images.image import Image
from convtool.images.nonfinite import check_choice, settle
from convtool.images.npy import read_npy
from convtool.images.png import read_png
from convtool.images.raster import read_raster
from convtool.images.tiff_read import read_tiff


def read(source: str, *, axes: str | None = None, nan: str = "refuse", raw: bytes | None = None) -> Image:
    """The image in a file, a pipe or, for `-`, standard input; `raw` is its content, where that was read already.

    `axes` names the axes as read (an image file's are relabelled: a TIFF's 'ZYX' as 'NYX'); `nan` says what becomes of
    NaN and infinities: 'refuse', 'keep', or fill by 'zero', 'mean' or 'nearest'.

    Raises FileError for what cannot be read, DataError for values that cannot be used, SettingError for axes that do
    not fit, MissingExtraError where an optional codec is needed.
    """
    check_choice(nan)
    spoken = "standard input" if source == STDIO else source
    image = settle(decode(read_bytes(source) if raw is None else raw, spoken, axes), nan)
    return dataclasses.replace(image, name=source)


def decode(raw: bytes, name: str, axes: str | None = None) -> Image:
    """The image in a file's bytes; NaN and infinities are still in it."""
    kind = sniff(raw, name)
    if kind == "npy":
        return read_npy(raw, name, axes)
    readers = {"png": read_png, "tiff": read_tiff, "fits": read_fits}
    image = readers[kind](raw, name) if kind in readers else read_raster(raw, name, kind)
    return image if axes is None else _relabelled(image, axes)


def _relabelled(image: Image, axes: str) -> Image:
    letters = image_axes(image.data.shape, axes, f"{image.name} (read as {image.axes})")
    if letters == image.axes:
        return image
    if image.alpha is not None:
        raise SettingError(f"{image.name} has alpha, so its axes are {image.axes}: drop --axes {axes}")
    tiff, metadata = image.metadata.tiff, image.metadata
    if tiff is not None:
        meaning = tiff.meaning.translate(str.maketrans(image.axes, letters))
        metadata = dataclasses.replace(metadata, tiff=dataclasses.replace(tiff, meaning=meaning))
    kept = tuple(note for note in image.assumed if "say --axes" not in note)
    return dataclasses.replace(image, axes=letters, metadata=metadata, assumed=kept)


def default_target(image: Image, word: str) -> str:
    """Where a result goes that nobody named: 'dir/NAME.WORD.png' beside 'dir/NAME.jpg', in the input's format.

    JPEG, and formats that are only read, become PNG. Raises SettingError for an image that came through a pipe.
    """
    return beside(image.name, word, suffix_for(image.name, image.format))
