"""Pixels and files that the image tests share."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from convtool import images
from convtool.files import Staging

PROFILE = b"\0" * 16 + b"RGB " + b"\0" * 300
GREY_PROFILE = b"\0" * 16 + b"GRAY" + b"\0" * 300
RNG = np.random.default_rng(7)


def pixels(shape: tuple[int, ...], dtype: str = "uint8") -> np.ndarray:
    return RNG.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def put(
    values: np.ndarray, axes: str, target: Path, like: images.Image | None = None, **settings: Any
) -> images.Written:
    with Staging() as staging:
        return images.write(values, axes, str(target), staging, like=like, **settings)


def again(image: images.Image, target: Path) -> images.Written:
    """The image written as it is."""
    return put(image.data.astype(np.float64), image.axes, target, image, alpha=image.alpha)


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def saved(values: object, **settings: Any) -> bytes:
    """The bytes of an .npy file."""
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the version of the format
        np.save(stream, values, **settings)  # type: ignore[arg-type]
    return stream.getvalue()


def exif(orientation: int) -> bytes:
    entries = PIL.Image.Exif()
    entries[274] = orientation
    entries[271] = "Maker"
    return entries.tobytes()


def seen(source: Path, mode: str | None = None) -> np.ndarray:
    """The pixels as Pillow reads them."""
    with PIL.Image.open(source) as picture:
        return np.asarray(picture if mode is None else picture.convert(mode))


def info(source: Path) -> dict[Any, Any]:
    """What Pillow finds beside the pixels; its mode as 'mode'."""
    with PIL.Image.open(source) as picture:
        return {**picture.info, "mode": picture.mode}
