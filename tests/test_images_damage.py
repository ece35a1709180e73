"""Truncated and garbled files of every format end in one line, and never in other pixels or a traceback."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import PIL.Image
import pytest
import tifffile
from astropy.io import fits
from image_files import PROFILE, chunk, pixels, saved
from numpy.testing import assert_array_equal

from convtool import images
from convtool.errors import ConvtoolError, DataError, FileError, SettingError
from convtool.images import guard

SUFFIXES = ["png", "16.png", "npy", "jpg", "gif", "bmp", "webp", "tif", "lzw.tif", "imagej.tif", "ome.tif", "fits"]
TIFF = {"tif": {}, "lzw.tif": {"compression": "lzw"}, "imagej.tif": {"imagej": True}, "ome.tif": {"ome": True}}


def encoded(suffix: str) -> bytes:
    stream = io.BytesIO()
    if suffix == "16.png":
        return bytes(imagecodecs.png_encode(pixels((20, 30, 3), "uint16")))
    if suffix == "npy":
        return saved(pixels((20, 30)))
    if suffix in TIFF:
        tifffile.imwrite(stream, pixels((3, 20, 30)), photometric="minisblack", **TIFF[suffix])
        return stream.getvalue()
    if suffix == "fits":
        fits.PrimaryHDU(pixels((60, 70), "uint16")).writeto(stream)
        return stream.getvalue()
    kinds = {"jpg": "JPEG", "png": "PNG", "gif": "GIF", "bmp": "BMP", "webp": "WEBP"}
    PIL.Image.fromarray(pixels((20, 30, 3))).save(stream, kinds[suffix])
    return stream.getvalue()


def outcome(source: Path, raw: bytes) -> np.ndarray | ConvtoolError:
    """The pixels, or the one line that refuses them; any other exception, or a warning, fails the test."""
    source.write_bytes(raw)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return images.read(str(source)).data
        except (FileError, DataError, SettingError) as error:
            return error


def is_one_line(error: object, source: Path) -> bool:
    return isinstance(error, ConvtoolError) and str(source) in str(error) and "\n" not in str(error)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_truncated_files_are_one_line(tmp_path: Path, suffix: str) -> None:
    raw, source = encoded(suffix), tmp_path / f"in.{suffix}"
    whole = outcome(source, raw)
    assert isinstance(whole, np.ndarray)
    refused = 0
    for cut in [*range(0, 60, 7), *range(60, len(raw), max(1, len(raw) // 25)), len(raw) - 1]:
        found = outcome(source, raw[:cut])
        if isinstance(found, FileError):
            assert is_one_line(found, source)
            refused += 1
        else:  # what is missing was not about pixels
            assert isinstance(found, np.ndarray)
            assert_array_equal(found, whole)
    assert refused >= 20


@pytest.mark.parametrize("suffix", ["png", "16.png"])
def test_a_changed_byte_in_a_png_is_found(tmp_path: Path, suffix: str) -> None:
    raw, source = encoded(suffix), tmp_path / "in.png"
    for place in range(8, len(raw) - 1, max(1, len(raw) // 60)):
        found = outcome(source, raw[:place] + bytes([raw[place] ^ 0x41]) + raw[place + 1 :])
        assert "the PNG file is truncated or damaged" in str(found)
    place = raw.index(b"IDAT") + 100
    found = outcome(source, raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
    assert "the checksum of its 'IDAT' chunk is wrong" in str(found)


@pytest.mark.parametrize(
    ("depth", "colour", "width", "body"),
    [
        (8, 0, 5, bytes(10)),
        (8, 2, 5, b""),
        (16, 2, 5, bytes(60)),
        (16, 3, 5, bytes(60)),
        (8, 3, 5, bytes(24)),
        (8, 0, 0, b""),
    ],
)
def test_a_png_whose_checksums_hold_but_not_its_header(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, depth: int, colour: int, width: int, body: bytes
) -> None:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, 4, depth, colour, 0, 0, 0))
    raw = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")
    assert is_one_line(outcome(tmp_path / "in.png", raw), tmp_path / "in.png")
    assert caplog.records == []


@pytest.mark.parametrize(
    "kinds", [(b"IEND",), (b"IHDR", b"IEND"), (b"IDAT", b"IEND"), (b"tEXt", b"IHDR", b"IDAT", b"IEND")]
)
def test_a_png_that_lacks_its_header_or_its_pixels(tmp_path: Path, kinds: tuple[bytes, ...]) -> None:
    contents = {b"IHDR": struct.pack(">IIBBBBB", 5, 4, 8, 0, 0, 0, 0), b"IDAT": zlib.compress(bytes(24))}
    contents[b"tEXt"] = contents[b"IHDR"]  # as long as a header, and no header
    raw = b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, contents.get(kind, b"")) for kind in kinds)
    found = outcome(tmp_path / "in.png", raw)
    assert is_one_line(found, tmp_path / "in.png")
    assert "lacks its header or its pixels" in str(found)


def test_a_damaged_profile_costs_no_pixels(tmp_path: Path) -> None:
    raw = encoded("png")
    sound = outcome(tmp_path / "in.png", raw)
    profile = b"name\0\0" + zlib.compress(PROFILE)
    for content, kept in ((profile, PROFILE), (profile[:8] + b"\xff" * 40, None)):
        (tmp_path / "in.png").write_bytes(raw[:33] + chunk(b"iCCP", content) + raw[33:])
        image = images.read(str(tmp_path / "in.png"))
        assert image.metadata.icc == kept
        assert_array_equal(image.data, sound)


def test_what_memory_cannot_take_is_no_damage() -> None:
    with pytest.raises(FileError, match="PNG file takes more memory than there is"), guard.decoding("x.png", "PNG"):
        raise MemoryError


@pytest.mark.parametrize("suffix", ["png", "16.png"])
def test_a_transparent_colour_of_the_wrong_length(tmp_path: Path, suffix: str) -> None:
    raw = encoded(suffix)
    found = outcome(tmp_path / "in.png", raw[:33] + chunk(b"tRNS", b"12") + raw[33:])
    assert is_one_line(found, tmp_path / "in.png")
    assert "unknown error" not in str(found)


@pytest.mark.parametrize("how", [{}, {"bigtiff": True}, {"byteorder": ">"}])
def test_a_loop_of_pages_is_refused(tmp_path: Path, how: dict[str, object]) -> None:
    """The last page's pointer to the next one leads back to the first, or to itself."""
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels((3, 20, 30)), photometric="minisblack", metadata=None, **how)
    raw = bytearray(stream.getvalue())
    with tifffile.TiffFile(io.BytesIO(raw)) as file:
        offsets, form = [page.offset for page in file.pages], file.tiff
        last = file.pages[-1].offset
        (count,) = struct.unpack_from(form.tagnoformat, raw, last)
    assert len(offsets) == 3
    end = last + form.tagnosize + count * form.tagsize
    for target in offsets:
        raw[end : end + form.offsetsize] = struct.pack(form.offsetformat, target)
        found = outcome(tmp_path / "it.tif", bytes(raw))
        assert isinstance(found, FileError)
        assert "its pages form a loop" in str(found)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_garbled_files_never_show_a_traceback(tmp_path: Path, suffix: str) -> None:
    raw, source = encoded(suffix), tmp_path / f"in.{suffix}"
    rng = np.random.default_rng(3)
    refused = 0
    for _ in range(60):
        garbled = bytearray(raw)
        for place in rng.integers(0, min(len(raw), 400), 4):
            garbled[place] = rng.integers(256)
        found = outcome(source, bytes(garbled))
        assert isinstance(found, np.ndarray) or is_one_line(found, source)
        refused += isinstance(found, ConvtoolError)
    assert refused
