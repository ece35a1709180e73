"""PNG, JPEG and other pictures in and out; Pillow and imagecodecs read what was written."""

from __future__ import annotations

import dataclasses
import struct
import sys
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import PIL.Image
import pytest
from image_files import GREY_PROFILE, PROFILE, RNG, again, chunk, exif, info, pixels, put, seen
from numpy.testing import assert_allclose, assert_array_equal

from convtool import images
from convtool.errors import DataError, FileError, MissingExtraError, SettingError
from convtool.images import guard


@pytest.mark.parametrize(
    ("mode", "shape", "axes"),
    [("L", (5, 7), "YX"), ("RGB", (5, 7, 3), "YXC"), ("LA", (5, 7, 2), "YX"), ("RGBA", (5, 7, 4), "YXC")],
)
def test_png_of_8_bits(tmp_path: Path, mode: str, shape: tuple[int, ...], axes: str) -> None:
    data = pixels(shape)
    PIL.Image.fromarray(data).save(tmp_path / "in.png")
    assert info(tmp_path / "in.png")["mode"] == mode
    image = images.read(str(tmp_path / "in.png"))
    assert (image.axes, image.format, image.data.dtype) == (axes, "png", np.uint8)
    assert image.data.flags.c_contiguous
    stored = data if image.alpha is None else np.dstack([image.data, image.alpha])
    assert (image.alpha is not None) == mode.endswith("A")
    assert_array_equal(stored, data)
    written = again(image, tmp_path / "out.png")
    assert_array_equal(seen(tmp_path / "out.png"), data)
    assert (written.format, written.dtype, written.axes, written.rounded) == ("png", "uint8", axes, 0)


@pytest.mark.parametrize("samples", [1, 2, 3, 4])
def test_png_of_16_bits_keeps_every_bit(tmp_path: Path, samples: int) -> None:
    data = pixels((6, 5, samples), "uint16")
    (tmp_path / "in.png").write_bytes(imagecodecs.png_encode(data.squeeze()))
    image = images.read(str(tmp_path / "in.png"))
    assert image.data.dtype == np.uint16
    stored = image.data if image.alpha is None else np.dstack([image.data, image.alpha])
    assert_array_equal(stored.reshape(data.shape), data)
    again(image, tmp_path / "out.png")
    assert_array_equal(imagecodecs.png_decode((tmp_path / "out.png").read_bytes()).reshape(data.shape), data)


def test_16_bit_colour_png_is_read_by_imagecodecs_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = pixels((6, 5, 3), "uint16")
    source = tmp_path / "photo.png"
    source.write_bytes(imagecodecs.png_encode(data))
    grey = tmp_path / "grey.png"
    grey.write_bytes(imagecodecs.png_encode(data[..., 0].copy()))
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(
        MissingExtraError, match=r"photo.png is a 16-bit colour PNG.*8 bits: pip install 'convtool\[codecs\]'"
    ):
        images.read(str(source))
    assert_array_equal(images.read(str(grey)).data, data[..., 0])
    for axes, values, alpha in (("YXC", data, None), ("YX", data[..., 0], data[..., 1])):  # to write it needs none
        put(values.astype(float), axes, tmp_path / f"{axes}.png", dtype="uint16", alpha=alpha)
    monkeypatch.undo()
    assert_array_equal(imagecodecs.png_decode((tmp_path / "YXC.png").read_bytes()), data)
    assert_array_equal(imagecodecs.png_decode((tmp_path / "YX.png").read_bytes()), data[..., :2])


@pytest.mark.parametrize(("depth", "dtype"), [(8, "uint8"), (16, "uint16")])
def test_png_chunks_survive(tmp_path: Path, caplog: pytest.LogCaptureFixture, depth: int, dtype: str) -> None:
    data = pixels((4, 6, 3), dtype)
    extras = [
        (b"gAMA", struct.pack(">I", 45455)),
        (b"iCCP", b"name\0\0" + zlib.compress(PROFILE)),
        (b"pHYs", struct.pack(">IIB", 3000, 4000, 1)),
        (b"eXIf", exif(6).removeprefix(b"Exif\0\0")),
        (b"tEXt", b"Author\0someone"),
    ]
    raw = imagecodecs.png_encode(data)
    (tmp_path / "in.png").write_bytes(
        raw[:33] + b"".join(chunk(*extra) for extra in [*extras, (b"bKGD", b"1")]) + raw[33:]
    )
    image = images.read(str(tmp_path / "in.png"))
    assert_array_equal(image.data, data)  # as stored, although EXIF says that it is to be turned
    assert image.metadata.icc == PROFILE
    assert_allclose(image.metadata.dpi, (76.2, 101.6))
    again(image, tmp_path / "out.png")
    result = (tmp_path / "out.png").read_bytes()
    assert all(chunk(*extra) in result for extra in extras)
    with PIL.Image.open(tmp_path / "out.png") as shown:
        assert shown.info["icc_profile"] == PROFILE
        assert shown.getexif()[274] == 6
        assert shown.text["Author"] == "someone"
        assert_allclose(shown.info["dpi"], (76.2, 101.6))
        shown.load()
    assert caplog.records == []  # libpng would remark on the background


def test_a_profile_goes_when_its_colours_go(tmp_path: Path) -> None:
    PIL.Image.fromarray(pixels((4, 6, 3))).save(tmp_path / "in.png", icc_profile=PROFILE)
    image = images.read(str(tmp_path / "in.png"))
    written = put(np.zeros((4, 6)), "YX", tmp_path / "out.png", image)
    assert "icc_profile" not in info(tmp_path / "out.png")
    assert any("ICC profile" in words for words in written.dropped)
    PIL.Image.fromarray(pixels((4, 6))).save(tmp_path / "grey.png", icc_profile=GREY_PROFILE)
    again(images.read(str(tmp_path / "grey.png")), tmp_path / "out.png")
    assert info(tmp_path / "out.png")["icc_profile"] == GREY_PROFILE


@pytest.mark.parametrize("transparent", [False, True])
def test_palette_is_looked_up(tmp_path: Path, transparent: bool) -> None:
    picture = PIL.Image.fromarray(pixels((9, 8, 3))).quantize(5)
    picture.save(tmp_path / "in.png", **({"transparency": bytes([0, 100, 255, 255, 255])} if transparent else {}))
    expected = seen(tmp_path / "in.png", "RGBA")
    image = images.read(str(tmp_path / "in.png"))
    assert image.axes == "YXC"
    assert_array_equal(image.data, expected[..., :3])
    if transparent:
        assert_array_equal(image.alpha, expected[..., 3])
    else:
        assert image.alpha is None
    assert "palette" in image.assumed[0]


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_png_of_few_bits_is_spread(tmp_path: Path, depth: int) -> None:
    codes = RNG.integers(0, 2**depth, (5, 8), dtype=np.uint8)
    bits = np.unpackbits(codes[..., None], axis=-1)[..., 8 - depth :].reshape(5, -1)
    rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in bits)
    header = struct.pack(">IIBBBBB", 8, 5, depth, 0, 0, 0, 0)
    key = struct.pack(">H", 1)
    raw = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"tRNS", key) + chunk(b"IDAT", zlib.compress(rows))
    (tmp_path / "in.png").write_bytes(raw + chunk(b"IEND", b""))
    image = images.read(str(tmp_path / "in.png"))
    assert_array_equal(image.data, codes * (255 // (2**depth - 1)))
    assert_array_equal(image.alpha, np.where(codes == 1, 0, 255))
    assert image.data.dtype == np.uint8
    assert f"{depth}-bit" in image.assumed[0]


@pytest.mark.parametrize(("samples", "colour", "dtype"), [(1, 0, "uint8"), (3, 2, "uint8"), (1, 0, "uint16")])
def test_an_interlaced_png(tmp_path: Path, samples: int, colour: int, dtype: str) -> None:
    data = pixels((11, 13, samples), dtype)
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    rows = [row for y, x, dy, dx in passes for row in data[y::dy, x::dx].astype(data.dtype.newbyteorder(">"))]
    body = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))) + chunk(b"IEND", b"")
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 13, 11, 8 * data.itemsize, colour, 0, 0, 1))
    (tmp_path / "in.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + body)
    assert_array_equal(images.read(str(tmp_path / "in.png")).data, data.squeeze())


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("samples", [1, 3])
def test_a_transparent_colour_becomes_alpha(tmp_path: Path, dtype: str, samples: int) -> None:
    data = pixels((4, 5, samples), dtype)
    raw = imagecodecs.png_encode(data.squeeze())
    (tmp_path / "in.png").write_bytes(raw[:33] + chunk(b"tRNS", data[2, 3].astype(">u2").tobytes()) + raw[33:])
    image = images.read(str(tmp_path / "in.png"))
    assert_array_equal(image.data, data.squeeze())
    assert_array_equal(image.alpha, np.where((data == data[2, 3]).all(-1), 0, np.iinfo(dtype).max))


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg_is_read_as_stored_and_becomes_png(tmp_path: Path, mode: str) -> None:
    source = tmp_path / "in.jpg"
    picture = PIL.Image.fromarray(pixels((16, 24, 3))).convert(mode)
    profile = PROFILE if mode == "RGB" else GREY_PROFILE
    picture.save(source, quality=90, icc_profile=profile, exif=exif(6), dpi=(300, 200))
    image = images.read(str(source))
    assert_array_equal(image.data, seen(source))
    assert images.default_target(image, "convolved") == str(tmp_path / "in.convolved.png")
    again(image, tmp_path / "out.png")
    with PIL.Image.open(tmp_path / "out.png") as shown:
        assert (shown.getexif()[274], shown.getexif()[271], shown.info["icc_profile"]) == (6, "Maker", profile)
        assert_allclose(shown.info["dpi"], (300, 200), atol=0.02)
        assert_array_equal(np.asarray(shown), image.data)


def test_jpeg_is_written_only_when_asked(tmp_path: Path) -> None:
    smooth = np.add.outer(np.arange(16.0), np.arange(24.0))[..., None] * np.array([1.0, 2.0, 3.0]) + 30
    PIL.Image.fromarray(pixels((4, 5, 3))).save(tmp_path / "in.jpg", exif=exif(3), dpi=(90, 90))
    image = images.read(str(tmp_path / "in.jpg"))
    written = put(smooth, "YXC", tmp_path / "out.jpg", image, alpha=np.ones((16, 24), np.uint8))
    with PIL.Image.open(tmp_path / "out.jpg") as shown:
        assert shown.format == "JPEG"
        assert (shown.getexif()[274], shown.info["dpi"]) == (3, (90, 90))
        assert np.abs(np.asarray(shown) - smooth).max() < 4
    assert any("alpha" in words for words in written.dropped)


def test_other_pictures_are_read(tmp_path: Path) -> None:
    data = pixels((6, 9, 3))
    for suffix, exact in ((".bmp", True), (".webp", True), (".gif", False)):
        source = tmp_path / f"in{suffix}"
        PIL.Image.fromarray(data).save(source, lossless=True)
        image = images.read(str(source))
        assert image.axes == "YXC"
        assert_array_equal(image.data, data if exact else seen(source, "RGB"))
        assert images.default_target(image, "x") == str(tmp_path / "in.x.png")


def test_only_grey_and_rgb(tmp_path: Path) -> None:
    PIL.Image.fromarray(pixels((6, 9, 3))).convert("CMYK").save(tmp_path / "in.jpg")
    with pytest.raises(DataError, match=r"is a CMYK image.*: convert it to RGB"):
        images.read(str(tmp_path / "in.jpg"))


def test_format_is_told_by_content_not_by_name(tmp_path: Path) -> None:
    data = pixels((4, 5))
    PIL.Image.fromarray(data).save(tmp_path / "in.tif", format="PNG")
    image = images.read(str(tmp_path / "in.tif"))
    assert image.format == "png"
    assert images.default_target(image, "x").endswith("in.x.png")
    for content, words in ((b"", "is empty"), (b"hello", "is no PNG"), (b"PK\x03\x04zip", "archive .*npy")):
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises(FileError, match=words):
            images.read(str(tmp_path / "bad"))


def test_default_target_keeps_the_spelling_of_the_ending() -> None:
    image = images.Image(np.zeros((2, 2)), "YX", None, "d/a.TIFF", "tiff", images.Metadata())
    assert images.default_target(image, "x") == "d/a.x.TIFF"
    assert images.default_target(dataclasses.replace(image, name="d/a.png"), "x") == "d/a.x.tif"
    with pytest.raises(SettingError, match="-o FILE or -o -"):
        images.default_target(dataclasses.replace(image, name="-"), "x")


def test_bombs_are_refused_from_the_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = struct.pack(">IIBBBBB", 1 << 30, 1 << 30, 8, 2, 0, 0, 0)
    raw = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )
    (tmp_path / "bomb.png").write_bytes(raw)
    with pytest.raises(DataError, match=r"bomb.png \(shape 1073741824x1073741824x3, uint8\) needs \d+ bytes"):
        images.read(str(tmp_path / "bomb.png"))
    PIL.Image.fromarray(pixels((40, 50))).save(tmp_path / "in.jpg")
    monkeypatch.setattr(guard, "available_memory", lambda: 40 * 50 * 5 - 1)
    with pytest.raises(DataError, match="needs 10000 bytes of memory with its working copy, but only 9999"):
        images.read(str(tmp_path / "in.jpg"))
    monkeypatch.setattr(guard, "available_memory", lambda: 40 * 50 * 5)
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 10)
    assert images.read(str(tmp_path / "in.jpg")).data.shape == (40, 50)
    assert PIL.Image.MAX_IMAGE_PIXELS == 10
