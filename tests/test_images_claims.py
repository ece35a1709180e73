"""TIFFs and PNGs of a few hundred bytes that claim far more than they hold: refused at once, and never filled up."""

from __future__ import annotations

import io
import json
import re
import struct
import time
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import tifffile
from image_files import chunk, pixels
from numpy.testing import assert_array_equal

from convtool.errors import ConvtoolError, DataError, FileError
from convtool.images.reading import decode

SECONDS, BYTES = 2.0, 50_000_000


def refusal(raw: bytes) -> str:
    """The one line that refuses a file, which must come soon and in little memory."""
    tracemalloc.start()
    start = time.perf_counter()
    with pytest.raises(ConvtoolError) as caught:
        decode(raw, "it")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.perf_counter() - start < SECONDS
    assert peak < BYTES
    assert isinstance(caught.value, FileError | DataError)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# TIFF: tags

LONG, SHORT = 4, 3
Tag = tuple[int, int, int, int]  # code, type, count, and its value or where that is


def tiff(body: bytes, tags: list[Tag]) -> bytes:
    """A little-endian TIFF of one page, whose body lies at byte 8."""
    packed = b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
    return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + struct.pack("<H", len(tags)) + packed + bytes(4)


def page(width: int, height: int, **changes: int) -> list[Tag]:
    """The tags of 8-bit grey pixels in one strip at byte 8; `tile` makes it one square tile."""
    found = {"compression": 1, "rows": height, "bits": 8, "samples": 1, "held": 35, "tile": 0, **changes}
    tags = [(256, LONG, 1, width), (257, LONG, 1, height), (258, SHORT, 1, found["bits"])]
    tags += [(259, SHORT, 1, found["compression"]), (262, SHORT, 1, 1), (277, SHORT, 1, found["samples"])]
    if found["tile"]:
        side = found["tile"]
        return [*tags, (322, LONG, 1, side), (323, LONG, 1, side), (324, LONG, 1, 8), (325, LONG, 1, found["held"])]
    return [*tags, (273, LONG, 1, 8), (278, LONG, 1, found["rows"]), (279, LONG, 1, found["held"])]


PACKED = zlib.compress(bytes(range(35)))
ADOBE_DEFLATE = 8


def test_the_tags_of_these_tests_make_a_tiff() -> None:
    expected = np.arange(35).reshape(5, 7)
    assert_array_equal(decode(tiff(bytes(range(35)), page(7, 5)), "it").data, expected)
    deflated = page(7, 5, compression=ADOBE_DEFLATE, held=len(PACKED))
    assert_array_equal(decode(tiff(PACKED, deflated), "it").data, expected)


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        (page(1, 8388609, rows=1, compression=ADOBE_DEFLATE), "it holds 1 strips or tiles, and needs 8388609"),
        (page(8000, 8000), "it holds 157 bytes, and needs 64000000"),
        (page(7, 5, samples=65_535), "it holds 157 bytes, and needs 2293725"),
        (page(7, 5, bits=64), "it holds 157 bytes, and needs 280"),
        (page(7, 5, bits=65_535), "truncated or damaged"),
        (page(7, 5, tile=40_000, compression=ADOBE_DEFLATE), "to 1600000000 pixels, .* say --max-pixels"),
        (page(1, 8_388_609, samples=278, compression=ADOBE_DEFLATE), "to 8388609 pixels, and more than 965595 are"),
        (page(2**31, 2**31), "but only|promises|--max-pixels"),
        (page(0, 5), "no values"),
        ([tag for tag in page(7, 5) if tag[0] != 273], "truncated or damaged"),
        ([(273, LONG, 2**32 - 1, 8), *(tag for tag in page(7, 5) if tag[0] != 273)], "it holds 0 strips"),
    ],
)
def test_a_tag_that_promises_more_than_there_is(tags: list[Tag], words: str) -> None:
    line = refusal(tiff(bytes(35), tags))
    assert re.search(words, line), line


def test_values_that_are_loaded_once_for_every_tag_that_speaks_of_them() -> None:
    """4000 tags, each a list of the same 100,000 numbers: tifffile would load them all."""
    tags = [*page(7, 5), *[(273, LONG, 100_000, 8)] * 4000]
    assert "its pages claim more bytes than it holds" in refusal(tiff(bytes(400_000), tags))


def test_pages_that_lie_over_each_other() -> None:
    """Every four bytes another page begins, and reads 4000 tags."""
    body = bytearray(60_000)
    for at in range(0, 8000, 4):
        struct.pack_into("<H", body, at, 4000)
        struct.pack_into("<I", body, at + 2 + 12 * 4000, 8 + at + 4)
    assert "its pages claim more bytes than it holds" in refusal(b"II*\0" + struct.pack("<I", 8) + bytes(body))


# TIFF: descriptions


OME = """<?xml version="1.0" encoding="UTF-8"?>
<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:1">{annotations}<Image ID="Image:0">
<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="7" SizeY="5" SizeC="1" SizeZ="{z}" SizeT="{t}">
<Channel ID="Channel:0:0" SamplesPerPixel="1"/><TiffData {data}</Pixels></Image></OME>"""
MODULO = """<StructuredAnnotations><XMLAnnotation ID="A:0" Namespace="openmicroscopy.org/omero/dimension/modulo"><Value>
<Modulo><ModuloAlongT Type="lifetime" Start="{start}" End="{end}" Step="{step}"/></Modulo></Value></XMLAnnotation>
</StructuredAnnotations>"""


def described(pages: int = 2, data: str = 'IFD="0" PlaneCount="2"/>', annotations: str = "", **sizes: int) -> bytes:
    """An OME-TIFF of so many pages."""
    stream = io.BytesIO()
    xml = OME.format(**{"z": 2, "t": 1, **sizes}, data=data, annotations=annotations)
    values = pixels((pages, 5, 7))
    tifffile.imwrite(stream, values, photometric="minisblack", metadata=None, description=xml)
    return stream.getvalue()


def test_the_descriptions_of_these_tests_are_read() -> None:
    wavelengths = MODULO.format(start=1000, end=1001, step=1)
    for raw in (described(), described(data="/>"), described(4, z=4, annotations=wavelengths, data="/>")):
        image = decode(raw, "it")
        assert image.metadata.tiff is not None
        assert (image.axes, image.metadata.tiff.kind) == ("ZYX", "ome")


@pytest.mark.parametrize(
    "claims",
    [
        {"data": 'IFD="0" PlaneCount="100000000"/>'},
        {"data": 'IFD="0" NumPlanes="100000000"/>'},
        {"data": 'IFD="0" PlaneCount="100000000"><UUID FileName="/dev/zero">urn:uuid:2</UUID></TiffData>'},
        {"t": 100_000_000, "data": "/>"},
        {"z": 100_000, "t": 100_000},
        {"annotations": MODULO.format(start=0, end=100_000_000, step=1)},
        {"annotations": MODULO.format(start=0, end=1, step="1e-9")},
        {"annotations": MODULO.format(start=0, end=1, step=0)},
    ],
)
def test_planes_of_an_ome_description_that_no_page_can_hold(claims: dict[str, Any]) -> None:
    line = refusal(described(**claims))
    assert "it has 2 pages, but its OME-XML speaks of" in line
    assert "save the image as one file" in line


def test_planes_that_are_not_in_the_file_are_not_made_up() -> None:
    """tifffile would make them zeros."""
    assert "describes 4 pages (shape 4x5x7), and lacks some of them" in refusal(described(z=4))


def test_other_files_that_a_description_names_are_not_read(tmp_path: Path) -> None:
    other = tmp_path / "other.tif"
    tifffile.imwrite(other, pixels((5, 7)), metadata=None)
    named = f'<TiffData FirstZ="1" IFD="0" PlaneCount="1"><UUID FileName="{other}">urn:uuid:2</UUID></TiffData>'
    raw = described(pages=1, data=f'FirstZ="0" IFD="0" PlaneCount="1"/>{named}')
    (tmp_path / "it.tif").write_bytes(raw)
    assert tifffile.imread(tmp_path / "it.tif").shape == (2, 5, 7)  # by its name, with all that it names
    assert "describes 2 pages (shape 2x5x7), and lacks some of them" in refusal(raw)


def test_an_index_of_micro_manager_is_not_believed() -> None:
    """One that speaks of a frame 2 ** 32 - 2 makes tifffile list as many pages."""
    summary = json.dumps({"MicroManagerVersion": "2", "Frames": 1}).encode()
    index = struct.pack("<II10I", 3453623, 2, 0, 0, 0, 0, 8, 0, 0, 2**28, 0, 8)
    start = 40 + len(summary)
    header = struct.pack("<IIIIIIII", 54773648, start, 0, 0, 0, 0, 2355492, len(summary))
    body = header + summary + index
    tags = [(code, kind, n, value) for code, kind, n, value in page(7, 5) if code != 273]
    raw = tiff(body + bytes(range(35)), [*tags, (273, LONG, 1, 8 + len(body)), (51123, 2, 5, 8)])
    with tifffile.TiffFile(io.BytesIO(raw)) as file:
        assert file.is_mmstack
    assert_array_equal(decode(raw, "it").data, np.arange(35).reshape(5, 7))


# PNG: pixels that end early, though every checksum is right


def png(
    rows: bytes, width: int, height: int, depth: int = 8, colour: int = 0, interlaced: int = 0, others: bytes = b"\0\0"
) -> bytes:
    header = struct.pack(">IIBB2sB", width, height, depth, colour, others, interlaced)
    palette = chunk(b"PLTE", bytes(range(48))) if colour == 3 else b""
    pixel_chunk = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + palette + pixel_chunk + chunk(b"IEND", b"")


KINDS = [(8, 0, 1), (16, 0, 2), (8, 2, 3), (8, 4, 2), (8, 6, 4), (8, 3, 1), (16, 2, 6)]


@pytest.mark.parametrize(("depth", "colour", "size"), KINDS)
@pytest.mark.parametrize("value", [0, 7, 90])
def test_a_png_that_ends_between_two_rows(depth: int, colour: int, size: int, value: int) -> None:
    """Pillow leaves the rows that are missing black, and says nothing."""
    row = b"\0" + bytes([value]) * 5 * size
    assert decode(png(4 * row, 5, 4, depth, colour), "it").data.shape[:2] == (4, 5)
    for rows in (3 * row, row, b"", 4 * row[:-1]):
        line = refusal(png(rows, 5, 4, depth, colour))
        assert f"its pixels end after {len(rows)} of {4 * len(row)} bytes" in line or "PNG file is truncated" in line


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 1), (3, 5), (8, 8), (9, 17)])
def test_an_interlaced_png_that_ends_early(shape: tuple[int, int]) -> None:
    """Its bytes are counted in passes of their own sizes, which Pillow's own file shows."""
    height, width = shape
    values = pixels(shape)
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    parts = [values[y::dy, x::dx] for y, x, dy, dx in passes]
    rows = b"".join(b"\0" + row.tobytes() for part in parts if part.size for row in part)
    assert_array_equal(decode(png(rows, width, height, interlaced=1), "it").data, values)
    with PIL.Image.open(io.BytesIO(png(rows, width, height, interlaced=1))) as picture:
        assert_array_equal(np.asarray(picture), values)
    last = next(part for part in reversed(parts) if part.size)[-1]
    assert "it" in refusal(png(rows[: -1 - len(last)], width, height, interlaced=1))


@pytest.mark.parametrize("colour", [0, 2])
@pytest.mark.parametrize(("others", "interlaced"), [(b"\1\0", 0), (b"\0\1", 0), (b"\0\0", 2)])
def test_methods_that_no_png_has(
    colour: int, others: bytes, interlaced: int, capfd: pytest.CaptureFixture[str]
) -> None:
    raw = png(bytes(4 * 31), 5, 4, depth=16, colour=colour, others=others, interlaced=interlaced)
    assert f"methods are {others[0]}, {others[1]} and {interlaced}" in refusal(raw)
    assert capfd.readouterr().err == ""  # where libpng would print a remark


def test_bytes_that_cannot_hold_so_many_pixels() -> None:
    """The 2 bytes of 60,000,001 rows, of which all but the first were taken for black ones."""
    line = refusal(png(b"\0\1", 1, 60_000_001))
    assert "cannot hold its 120000002 bytes of pixels" in line
    black = png(bytes(4001 * 4000), 4000, 4000)  # as much as deflate can do
    assert len(black) < 4001 * 4000 / 900
    assert not decode(black, "it").data.any()


# .npy


def npy(header: str, version: int = 1, length: int | None = None) -> bytes:
    """Eight numbers after a header, whose length may be another than it says."""
    said = struct.pack("<H" if version == 1 else "<I", len(header) if length is None else length)
    return b"\x93NUMPY" + bytes([version, 0]) + said + header.encode() + bytes(64)


def test_the_headers_of_these_tests_make_an_npy() -> None:
    for version in (1, 2):
        raw = npy("{'descr': '<f8', 'fortran_order': False, 'shape': (2, 4)}\n", version)
        assert_array_equal(decode(raw, "it").data, np.zeros((2, 4)))


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (npy("{'descr': '<f8', 'fortran_order': False, 'shape': (100000, 100000)}"), "promises 80000000000 bytes"),
        (
            npy("{'descr': '<f8', 'fortran_order': False, 'shape': (3, 3)}"),
            "promises 72 bytes .* but the file holds 64",
        ),
        (npy(f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({2**62}, {2**62})}}"), "promises"),
        (npy(f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({2**62}, 4, 0)}}"), "no values"),
        (npy("{'descr': '|V2000000000', 'fortran_order': False, 'shape': ()}"), "records"),
        (npy("{'descr': '<U500000000', 'fortran_order': False, 'shape': ()}"), "text"),
        (npy("{'descr': '|O', 'fortran_order': False, 'shape': (8,)}"), "a pickle"),
        (npy("{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (8,)}"), "a pickle"),
        (npy("(" * 9000, version=2), "truncated or damaged"),
        (npy("-" * 9000 + "1", version=2), "truncated or damaged"),
        (npy("{" + "'a': [0] * 10**9}", version=2), "truncated or damaged"),
        (npy("1", version=2, length=2**32 - 1), "truncated or damaged"),
        (npy("'" + "a" * 9_000_000 + "'", version=2), "truncated or damaged"),
    ],
)
def test_an_npy_header_is_held_against_the_file(raw: bytes, words: str) -> None:
    line = refusal(raw)
    assert re.search(words, line), line


# What a file carries beside its pixels


@pytest.mark.parametrize(("tag", "value"), [(296, 32_768), (274, 32_768), (296, 0), (274, 0)])
def test_a_unit_or_orientation_that_there_is_not_counts_as_none(tag: int, value: int) -> None:
    image = decode(tiff(bytes(35), [*page(7, 5), (tag, SHORT, 1, value)]), "it")
    assert image.metadata.tiff is not None
    assert image.metadata.tiff.resolution_unit == 1
    assert image.metadata.tiff.orientation == 1
    assert image.metadata.exif is None
