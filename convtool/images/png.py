"""PNG: read through Pillow, or imagecodecs for 16-bit colour, which Pillow cuts to 8; written by `png_encoder`."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from contextlib import nullcontext
from typing import IO

import numpy as np

from convtool import process
from convtool.errors import SettingError
from convtool.images import png_encoder
from convtool.images.alpha import opacity_as
from convtool.images.guard import check_memory, check_unpacked, damaged, decoding, extra
from convtool.images.image import Image, Metadata
from convtool.images.layout import plane_axes
from convtool.images.png_chunks import chunks_of, metadata_of, pixels_only, write_chunks
from convtool.images.png_sizes import check_possible, check_whole
from convtool.images.profiles import profile_for
from convtool.images.raster import pillow_pixels, split_alpha

SAMPLES = {0: 1, 2: 3, 3: 4, 4: 2, 6: 4}  # by colour type: grey, RGB, palette, grey and alpha, RGB and alpha
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_PALETTE = 3
_UNSET = 90  # in every sample at first: where the last row still is, the file may have ended before it
_LARGE = 1 << 21  # bytes that take longer to inflate than a thread takes to begin, by far
_MODES = {
    (8, 0): "L",
    (16, 0): "I;16",
    (8, 2): "RGB",
    (8, 4): "LA",
    (8, 6): "RGBA",
}  # Pillow's, by depth and colour type


def read_png(raw: bytes, name: str) -> Image:
    """A PNG of any kind: 8 or 16 bits, grey or RGB, a palette as RGB, alpha apart.

    Raises FileError for a damaged file, MissingExtraError for 16-bit colour without imagecodecs.
    """
    chunks, deflated = chunks_of(raw, name)
    first = dict(reversed(chunks))
    width, height, depth, colour, *methods = struct.unpack(">IIBBBBB", first[b"IHDR"])
    if depth not in _DEPTHS.get(colour, ()):
        raise damaged(name, "PNG", f"colour type {colour} with {depth} bits")
    if methods not in ([0, 0, 0], [0, 0, 1]):
        raise damaged(name, "PNG", "its compression, filter and interlace methods are {}, {} and {}".format(*methods))
    dtype = np.dtype(np.uint16 if depth == 16 else np.uint8)
    check_memory(name, (height, width, SAMPLES[colour]), dtype)
    check_unpacked(name, height * width, SAMPLES[colour] * dtype.itemsize, len(raw))
    check_possible(deflated, name, first[b"IHDR"])
    if (depth, colour) in _MODES:
        pixels = _inflated(deflated, name, first[b"IHDR"])
    else:
        check_whole(deflated, name, first[b"IHDR"])
        pixels = _pixels(raw, name, depth, colour, b"tRNS" in first)
    if pixels.dtype == np.bool_:
        pixels = pixels * np.uint8(255)
    data, alpha = split_alpha(pixels.astype(dtype, copy=False))
    if alpha is None and b"tRNS" in first:
        alpha = _keyed_alpha(data, first[b"tRNS"], depth, name)
    axes = "YX" if data.ndim == 2 else "YXC"
    return Image(
        data, axes, alpha, name, "png", metadata_of(chunks), tuple(_assumed(name, depth, colour, b"acTL" in first))
    )


def _inflated(deflated: list[memoryview], name: str, header: bytes) -> np.ndarray:
    """The pixels in a file's IDAT chunks by Pillow's decoder alone.

    It lets go of the interpreter's lock, once for them all. To open a file Pillow and imageio load all their formats.
    """
    import PIL.Image

    width, height, depth, colour, _, _, is_interlaced = struct.unpack(">IIBBBBB", header)
    mode = _MODES[depth, colour]
    stored = f"{mode}B" if depth == 16 else mode  # the high byte first
    joined = b"".join(deflated)
    with decoding(name, "PNG"), process.waits() if len(joined) > _LARGE else nullcontext():
        picture = PIL.Image.new(mode, (width, height), (_UNSET,) * SAMPLES[colour])
        picture.frombytes(joined, "zip", (stored, is_interlaced))
        pixels = np.asarray(picture)
    if is_interlaced or (pixels[-1] == _UNSET).all():
        check_whole(deflated, name, header)
    return pixels


def _pixels(raw: bytes, name: str, depth: int, colour: int, transparent: bool) -> np.ndarray:
    if depth == 16:
        codec = extra("imagecodecs", name, f"a 16-bit {_kind(colour)} PNG, which Pillow would cut to 8 bits", "codecs")
        with decoding(name, "PNG"):
            return codec.png_decode(pixels_only(raw, name))
    mode = None if colour != _PALETTE else "RGBA" if transparent else "RGB"
    return pillow_pixels(raw, name, "PNG", mode)


def _kind(colour: int) -> str:
    return "grey and alpha" if colour == 4 else "colour"


def _keyed_alpha(data: np.ndarray, key: bytes, depth: int, name: str) -> np.ndarray:
    """Alpha where one colour, named in the file's own depth, is the transparent one."""
    if len(key) != 2 * data[0, 0].size:
        raise damaged(name, "PNG", f"its 'tRNS' chunk has {len(key)} bytes")
    spread = 1 if depth >= 8 else 255 // (2**depth - 1)
    colour = np.frombuffer(key, ">u2").astype(np.int64) * spread
    same = data == colour[0] if data.ndim == 2 else (data == colour).all(axis=-1)
    return np.where(same, 0, np.iinfo(data.dtype).max).astype(data.dtype)


def _assumed(name: str, depth: int, colour: int, animated: bool) -> Iterable[str]:
    if colour == _PALETTE:
        yield f"the palette of {name} was looked up: its pixels are RGB"
    elif depth < 8:
        yield f"the {depth}-bit values of {name} were spread over 0..255"
    if animated:
        yield f"{name} is animated: only its first frame is used"


def png_axes(axes: str, shape: tuple[int, ...], dtype: np.dtype) -> str:
    """The order of axes in a PNG for such values; raises SettingError for what a PNG cannot hold."""
    if dtype not in (np.uint8, np.uint16):
        advice = "use --dtype uint8 or uint16, or write .tif or .npy"
        raise SettingError(f"a PNG holds 8- or 16-bit integers, got {dtype.name}: {advice}")
    return plane_axes("PNG", axes, shape)


def write_png(stream: IO[bytes], data: np.ndarray, alpha: np.ndarray | None, metadata: Metadata) -> tuple[str, ...]:
    """Write [Y, X] or [Y, X, 3] pixels with alpha and metadata; returns what could not be kept."""
    icc, dropped = profile_for(metadata.icc, colour=data.ndim == 3)
    pixels = data if alpha is None else np.dstack([data, opacity_as(alpha, data.dtype)])
    return dropped + write_chunks(stream, png_encoder.header(pixels), png_encoder.encoded(pixels), metadata, icc)
