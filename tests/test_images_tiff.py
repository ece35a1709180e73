"""TIFF in and out: axes, kinds, colours, compressions and metadata; tifffile and Pillow read what was written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import tifffile
from image_files import GREY_PROFILE, PROFILE, again, exif, info, pixels, put, seen
from numpy.testing import assert_allclose, assert_array_equal

from convtool import images
from convtool.errors import DataError, SettingError


def described(source: Path) -> tuple[str, str, tuple[int, ...], np.ndarray]:
    """Kind, axes, shape and pixels as tifffile finds them."""
    with tifffile.TiffFile(source) as file:
        series = file.series[0]
        return series.kind, series.axes, series.shape, series.asarray()


@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32", "float64"]
)
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_every_dtype(tmp_path: Path, dtype: str, byteorder: Any) -> None:
    data = pixels((5, 7)).astype(dtype)
    tifffile.imwrite(tmp_path / "in.tif", data, byteorder=byteorder)
    image = images.read(str(tmp_path / "in.tif"))
    assert (image.axes, image.format, image.data.dtype) == ("YX", "tiff", np.dtype(dtype))
    assert image.data.dtype.isnative
    assert_array_equal(image.data, data)
    assert again(image, tmp_path / "out.tif").dtype == dtype
    assert_array_equal(tifffile.imread(tmp_path / "out.tif"), data)


KINDS: list[tuple[tuple[int, ...], dict[str, Any], str]] = [
    ((5, 7), {"metadata": None}, "YX"),
    ((5, 7, 3), {"metadata": None, "photometric": "rgb"}, "YXC"),
    ((3, 5, 7), {"metadata": None, "photometric": "minisblack"}, "ZYX"),
    ((4, 5, 7, 3), {"metadata": None, "photometric": "rgb"}, "ZYXC"),
    ((3, 5, 7), {"photometric": "minisblack"}, "ZYX"),
    ((2, 3, 5, 7), {"photometric": "minisblack"}, "NZYX"),
    ((3, 5, 7), {"photometric": "minisblack", "metadata": {"axes": "CYX"}}, "CYX"),
    ((2, 3, 5, 7), {"photometric": "minisblack", "metadata": {"axes": "ZTYX"}}, "NZYX"),
    ((2, 3, 2, 5, 7), {"photometric": "minisblack", "metadata": {"axes": "TZPYX"}}, "NZYX"),
    ((2, 3, 4, 5, 7), {"photometric": "minisblack", "metadata": {"axes": "ZTPYX"}}, "NZYX"),
    ((2, 5, 7, 3), {"photometric": "rgb", "metadata": {"axes": "CYXS"}}, "NYXC"),
    ((2, 3, 5, 7), {"imagej": True, "metadata": {"axes": "ZCYX"}}, "ZCYX"),
    ((2, 3, 4, 5, 7), {"imagej": True, "metadata": {"axes": "TZCYX"}}, "NZCYX"),
    ((2, 5, 7, 3), {"imagej": True, "metadata": {"axes": "TYXS"}}, "NYXC"),
    ((2, 3, 5, 7), {"ome": True, "photometric": "minisblack", "metadata": {"axes": "CZYX"}}, "CZYX"),
    ((2, 3, 4, 5, 7), {"ome": True, "photometric": "minisblack", "metadata": {"axes": "TCZYX"}}, "NCZYX"),
    ((3, 5, 7), {"ome": True, "photometric": "minisblack", "metadata": {"axes": "ZYX"}}, "ZYX"),
]


@pytest.mark.parametrize(("shape", "settings", "axes"), KINDS)
def test_axes_of_every_kind_come_and_go(
    tmp_path: Path, shape: tuple[int, ...], settings: dict[str, Any], axes: str
) -> None:
    data = pixels(shape)
    tifffile.imwrite(tmp_path / "in.tif", data, **settings)
    before = described(tmp_path / "in.tif")
    image = images.read(str(tmp_path / "in.tif"))
    assert image.axes == axes
    assert image.data.ndim == len(axes)
    assert image.data.flags.c_contiguous
    written = again(image, tmp_path / "out.tif")
    after = described(tmp_path / "out.tif")
    assert after[:3] == before[:3]
    assert_array_equal(after[3], data)
    assert written.dropped == ()
    back = images.read(str(tmp_path / "out.tif"))
    assert_array_equal(back.data, image.data)
    assert (back.axes, back.assumed) == (
        image.axes,
        tuple(words.replace("in.tif", "out.tif") for words in image.assumed),
    )


def test_batch_axes_are_merged_in_their_order(tmp_path: Path) -> None:
    data = pixels((2, 3, 4, 5, 7))
    tifffile.imwrite(tmp_path / "in.tif", data, photometric="minisblack", metadata={"axes": "TZPYX"})
    image = images.read(str(tmp_path / "in.tif"))
    assert_array_equal(image.data, data.transpose(0, 2, 1, 3, 4).reshape(8, 3, 5, 7))
    assert any("axis P" in words and "length 4" in words for words in image.assumed)


def test_pages_are_z_and_that_is_said(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "in.tif", pixels((3, 5, 7)), metadata=None, photometric="minisblack")
    image = images.read(str(tmp_path / "in.tif"))
    assert len(image.assumed) == 1
    assert "the 3 pages of" in image.assumed[0]
    assert "were read as Z (axes ZYX): say --axes NYX" in image.assumed[0]
    named = images.read(str(tmp_path / "in.tif"), axes="NYX")
    assert (named.axes, named.assumed) == ("NYX", ())
    again(named, tmp_path / "out.tif")
    assert described(tmp_path / "out.tif")[:3] == ("generic", "IYX", (3, 5, 7))
    with pytest.raises(SettingError, match="3x5x7"):
        images.read(str(tmp_path / "in.tif"), axes="YX")


def test_images_that_are_alike_are_a_batch_and_others_are_left_with_a_word(tmp_path: Path) -> None:
    first, second = pixels((2, 5, 7)), pixels((2, 5, 7))
    with tifffile.TiffWriter(tmp_path / "in.tif") as writer:
        writer.write(first, photometric="minisblack")
        writer.write(second, photometric="minisblack")
    image = images.read(str(tmp_path / "in.tif"))
    assert image.axes == "NZYX"
    assert_array_equal(image.data, [first, second])
    again(image, tmp_path / "out.tif")
    assert_array_equal(images.read(str(tmp_path / "out.tif")).data, image.data)
    with tifffile.TiffWriter(tmp_path / "thumb.tif") as writer:
        writer.write(first, photometric="minisblack")
        writer.write(second[:, ::2], photometric="minisblack")
    image = images.read(str(tmp_path / "thumb.tif"))
    assert_array_equal(image.data, first)
    assert any("2 images of different shapes: only the first (2x5x7)" in words for words in image.assumed)


def test_imagej_fields_survive(tmp_path: Path) -> None:
    fields = {
        "axes": "ZCYX", "spacing": 1.5, "unit": "um", "finterval": 0.25, "Info": "stained", "mode": "composite",
        "Ranges": (0.0, 10.0, 1.0, 11.0), "Labels": [f"plane {n}" for n in range(6)],
        "LUTs": [np.tile(np.arange(256, dtype="uint8"), (3, 1)) // (n + 1) for n in range(2)],
    }  # fmt: skip
    data = pixels((3, 2, 5, 7), "uint16")
    tifffile.imwrite(tmp_path / "in.tif", data, imagej=True, resolution=(4.0, 8.0), metadata=fields)
    image = images.read(str(tmp_path / "in.tif"))
    assert image.metadata.dpi is None  # ImageJ's resolution is in its own unit
    put(image.data[..., 1:] * 1.0, image.axes, tmp_path / "out.tif", image)
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        found = dict(file.imagej_metadata or {})
        assert file.pages[0].tags["XResolution"].value == (4, 1)
        assert file.pages[0].tags["YResolution"].value == (8, 1)
    assert_array_equal(found.pop("LUTs"), fields.pop("LUTs"))
    assert {key: found[key] for key in fields if key != "axes"} == {
        key: value for key, value in fields.items() if key != "axes"
    }


def test_what_is_said_of_planes_goes_when_there_are_others(tmp_path: Path) -> None:
    fields = {"axes": "CYX", "unit": "um", "Labels": ["a", "b", "c"], "Ranges": (0.0, 9.0) * 3}
    tifffile.imwrite(tmp_path / "in.tif", pixels((3, 5, 7)), imagej=True, metadata=fields)
    put(np.ones((2, 5, 7)), "CYX", tmp_path / "out.tif", images.read(str(tmp_path / "in.tif")))
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        found = file.imagej_metadata or {}
    assert found["unit"] == "um"
    assert not {"Labels", "Ranges"} & set(found)


def test_ome_fields_survive(tmp_path: Path) -> None:
    sizes = {"PhysicalSizeX": 0.25, "PhysicalSizeXUnit": "µm", "PhysicalSizeZ": 1.5, "TimeIncrement": 2.0}
    metadata = {"axes": "CZYX", "Name": "cells", "Channel": {"Name": ["DAPI", "GFP"]}, **sizes}
    tifffile.imwrite(tmp_path / "in.ome.tif", pixels((2, 3, 5, 7)), metadata=metadata, photometric="minisblack")
    image = images.read(str(tmp_path / "in.ome.tif"))
    again(image, tmp_path / "out.tif")
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        found = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]
    assert found["Name"] == "cells"
    assert {key: found["Pixels"][key] for key in sizes} == sizes
    assert [channel["Name"] for channel in found["Pixels"]["Channel"]] == ["DAPI", "GFP"]
    fewer = put(image.data[:1] * 1.0, image.axes, tmp_path / "fewer.tif", image)
    assert fewer.shape == (1, 3, 5, 7)
    assert described(tmp_path / "fewer.tif")[0] == "ome"


def test_a_kind_that_cannot_hold_the_dtype_is_dropped_with_a_word(tmp_path: Path) -> None:
    data = pixels((3, 5, 7), "uint16")
    tifffile.imwrite(tmp_path / "in.tif", data, imagej=True, metadata={"axes": "ZYX"})
    written = again(image := images.read(str(tmp_path / "in.tif")), tmp_path / "same.tif")
    assert written.dropped == ()
    written = put(image.data * 1.0, image.axes, tmp_path / "out.tif", image, dtype="int32")
    assert any("ImageJ description" in words and "int32" in words for words in written.dropped)
    assert described(tmp_path / "out.tif")[:3] == ("shaped", "ZYX", (3, 5, 7))


@pytest.mark.parametrize("settings", [{}, {"imagej": True}, {"ome": True}, {"metadata": None}])
def test_output_is_the_same_every_time_and_names_no_software(tmp_path: Path, settings: dict[str, Any]) -> None:
    tifffile.imwrite(tmp_path / "in.tif", pixels((3, 5, 7)), photometric="minisblack", **settings)
    image = images.read(str(tmp_path / "in.tif"))
    again(image, tmp_path / "a.tif")
    again(image, tmp_path / "b.tif")
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert not {"DateTime", "Software"} & {tag.name for tag in file.pages[0].tags}
    put(image.data + 1.0, image.axes, tmp_path / "b.tif", image)
    assert (tmp_path / "a.tif").read_bytes() != (tmp_path / "b.tif").read_bytes()


def test_resolution_profile_orientation_and_description_survive(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "in.tif", pixels((5, 7, 3)), photometric="rgb", metadata=None, description="a remark",
        resolution=(200.5, 100), resolutionunit="CENTIMETER", iccprofile=PROFILE, extratags=[(274, 3, 1, 6, True)],
    )  # fmt: skip
    image = images.read(str(tmp_path / "in.tif"))
    assert_allclose(image.metadata.dpi, (200.5 * 2.54, 254))
    put(image.data[:, 1:] * 1.0, "YXC", tmp_path / "out.tif", image)
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        tags = file.pages[0].tags
        assert (tags["XResolution"].value, tags["YResolution"].value) == ((401, 2), (100, 1))
        assert (tags.valueof(296), tags.valueof(274), tags.valueof(34675)) == (3, 6, PROFILE)
        assert file.pages[0].description == "a remark"
    again(image, tmp_path / "out.png")
    found = info(tmp_path / "out.png")
    assert_allclose(found["dpi"], (200.5 * 2.54, 254), atol=0.02)
    assert found["icc_profile"] == PROFILE
    with PIL.Image.open(tmp_path / "out.png") as picture:
        assert picture.getexif()[274] == 6
    assert_array_equal(seen(tmp_path / "out.png"), image.data)


def test_a_png_as_tiff_keeps_what_tiff_can(tmp_path: Path) -> None:
    PIL.Image.fromarray(pixels((5, 7))).save(
        tmp_path / "in.png", dpi=(300, 150), icc_profile=GREY_PROFILE, exif=exif(8)
    )
    written = again(images.read(str(tmp_path / "in.png")), tmp_path / "out.tif")
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        tags = file.pages[0].tags
        assert (tags.valueof(274), tags.valueof(296), tags.valueof(34675)) == (8, 2, GREY_PROFILE)
        assert_allclose(tags.valueof(282)[0] / tags.valueof(282)[1], 300, rtol=1e-4)
    assert any("EXIF" in words for words in written.dropped)


def test_fresh_axes(tmp_path: Path) -> None:
    cases = [
        ("CYX", (3, 5, 7), "YXS"),
        ("CYX", (2, 5, 7), "CYX"),
        ("NCYX", (2, 3, 5, 7), "TYXS"),
        ("XYZ", (7, 5, 2), "ZYX"),
    ]
    for axes, shape, expected in cases:
        data = pixels(shape)
        put(data * 1.0, axes, tmp_path / "out.tif", dtype="uint8")
        kind, found, _, stored = described(tmp_path / "out.tif")
        ours = axes.replace("N", "T").replace("C", "S" if "S" in expected else "C")
        assert found == expected
        assert kind == "shaped" if "T" in found else True
        assert_array_equal(stored, data.transpose([ours.index(letter) for letter in expected]))


def test_channels_that_appear_or_vanish(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "in.tif", pixels((3, 5, 7)), imagej=True, metadata={"axes": "ZYX"})
    image = images.read(str(tmp_path / "in.tif"))
    put(np.ones((3, 2, 5, 7)), "ZCYX", tmp_path / "out.tif", image)
    assert described(tmp_path / "out.tif")[:3] == ("imagej", "ZCYX", (3, 2, 5, 7))


@pytest.mark.parametrize("extra", ["unassalpha", "assocalpha"])
@pytest.mark.parametrize("samples", [2, 4])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_alpha(tmp_path: Path, extra: str, samples: int, planar: Any) -> None:
    data = pixels((5, 7, samples), "uint16")
    photometric: Any = "rgb" if samples == 4 else "minisblack"
    stored = data if planar == "contig" else np.moveaxis(data, -1, 0)
    tifffile.imwrite(tmp_path / "in.tif", stored, photometric=photometric, planarconfig=planar, extrasamples=[extra])  # type: ignore[list-item]
    image = images.read(str(tmp_path / "in.tif"))
    assert image.axes == ("YXC" if samples == 4 else "YX")
    assert_array_equal(image.data, data[..., :3] if samples == 4 else data[..., 0])
    assert_array_equal(image.alpha, data[..., -1])
    again(image, tmp_path / "out.tif")
    assert_array_equal(tifffile.imread(tmp_path / "out.tif"), data)
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        assert [kind.name for kind in file.pages[0].extrasamples] == [extra.upper()]


def test_a_stack_with_alpha_keeps_it_as_a_channel(tmp_path: Path) -> None:
    data = pixels((2, 5, 7, 4))
    tifffile.imwrite(tmp_path / "in.tif", data, photometric="rgb", extrasamples=["unassalpha"], metadata=None)
    image = images.read(str(tmp_path / "in.tif"))
    assert image.axes == "ZYXC"
    assert_array_equal(image.data, data)
    assert any("stack with alpha" in words for words in image.assumed)


def test_white_is_zero_is_inverted(tmp_path: Path) -> None:
    data = pixels((5, 7))
    tifffile.imwrite(tmp_path / "in.tif", data, photometric="miniswhite")
    image = images.read(str(tmp_path / "in.tif"))
    assert_array_equal(image.data, seen(tmp_path / "in.tif"))
    again(image, tmp_path / "out.tif")
    assert_array_equal(seen(tmp_path / "out.tif"), seen(tmp_path / "in.tif"))
    tifffile.imwrite(tmp_path / "bits.tif", data > 100, photometric="minisblack")
    assert_array_equal(images.read(str(tmp_path / "bits.tif")).data, (data > 100) * 255)


def test_palettes(tmp_path: Path) -> None:
    data = pixels((5, 7))
    colours = pixels((3, 256), "uint16")
    tifffile.imwrite(tmp_path / "in.tif", data, photometric="palette", colormap=colours)
    image = images.read(str(tmp_path / "in.tif"))
    assert image.axes == "YXC"
    assert_array_equal(image.data, (colours >> 8).T[data])
    again(image, tmp_path / "out.tif")
    assert_array_equal(tifffile.imread(tmp_path / "out.tif"), image.data)
    tifffile.imwrite(tmp_path / "imagej.tif", data, photometric="palette", colormap=colours, imagej=True)
    image = images.read(str(tmp_path / "imagej.tif"))
    assert_array_equal(image.data, data)  # there the colours are only for display
    again(image, tmp_path / "out.tif")
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        assert file.is_imagej
        assert_array_equal(file.pages[0].colormap, colours)


def test_colours_that_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "in.tif", pixels((5, 7, 4)), photometric="separated")
    with pytest.raises(DataError, match="is a CMYK image, which convtool does not read: convert it to RGB"):
        images.read(str(tmp_path / "in.tif"))
    tifffile.imwrite(tmp_path / "in.tif", np.ones((5, 7), np.complex64))
    with pytest.raises(DataError, match="complex64"):
        images.read(str(tmp_path / "in.tif"))


COMPRESSED: list[tuple[str, tuple[int, ...], str]] = [
    ("tiff_lzw", (5, 7), "uint8"), ("tiff_lzw", (5, 7, 3), "uint8"), ("tiff_lzw", (5, 7), "uint16"),
    ("tiff_lzw", (5, 7), "float32"), ("packbits", (5, 7), "uint8"), ("tiff_adobe_deflate", (5, 7, 3), "uint8"),
]  # fmt: skip


def without_imagecodecs(folder: Path) -> dict[str, np.ndarray | str]:
    """What reading each TIFF of a folder gives, or says, where imagecodecs is not installed."""
    code = (
        "import sys; sys.modules['imagecodecs'] = None\n"
        "import numpy as np; from convtool import images; from convtool.errors import MissingExtraError\n"
        "for source in sys.argv[1:]:\n"
        "    try: np.save(source, images.read(source).data)\n"
        "    except MissingExtraError as error: open(source + '.npy', 'w').write(str(error))\n"
    )
    sources = sorted(str(source) for source in folder.glob("*.tif"))
    root = Path(__file__).parent.parent
    subprocess.run([sys.executable, "-W", "error", "-c", code, *sources], cwd=root, check=True)
    found = {Path(source).stem: Path(source + ".npy") for source in sources}
    return {
        name: np.load(result) if result.read_bytes().startswith(b"\x93") else result.read_text()
        for name, result in found.items()
    }


def test_compressions(tmp_path: Path) -> None:
    expected = {}
    for compression, shape, dtype in COMPRESSED:
        name = f"{compression}-{len(shape)}-{dtype}"
        expected[name] = pixels(shape).astype(dtype)
        PIL.Image.fromarray(expected[name]).save(tmp_path / f"{name}.tif", compression=compression)
    expected["stack"] = pixels((3, 5, 7))
    lzw: dict[str, Any] = {"compression": "lzw", "metadata": None, "photometric": "minisblack"}
    tifffile.imwrite(tmp_path / "stack.tif", expected["stack"], **lzw)
    bare = without_imagecodecs(tmp_path)
    for name, data in expected.items():
        for found in (images.read(str(tmp_path / f"{name}.tif")).data, bare[name]):
            assert isinstance(found, np.ndarray)
            assert found.dtype == data.dtype
            assert_array_equal(found, data)


def test_what_only_imagecodecs_can_decompress(tmp_path: Path) -> None:
    wide, turned = pixels((5, 7, 3), "uint16"), pixels((5, 7))
    tifffile.imwrite(tmp_path / "wide.tif", wide, compression="lzw", photometric="rgb")
    tifffile.imwrite(tmp_path / "turned.tif", turned, compression="lzw", extratags=[(274, 3, 1, 6, True)])
    for name, data in (("wide", wide), ("turned", turned)):
        assert_array_equal(images.read(str(tmp_path / f"{name}.tif")).data, data)
    for name, said in without_imagecodecs(tmp_path).items():  # Pillow would cut the one to 8 bits and turn the other
        assert isinstance(said, str)
        assert said.endswith(
            f"{name}.tif is compressed by LZW, which needs imagecodecs: pip install 'convtool[codecs]'"
        )


def test_jpeg_compression(tmp_path: Path) -> None:
    smooth = np.add.outer(np.arange(32), np.arange(48))[..., None] * np.array([1, 2, 3]) % 256
    PIL.Image.fromarray(smooth.astype(np.uint8)).save(tmp_path / "in.tif", compression="jpeg")
    assert np.abs(images.read(str(tmp_path / "in.tif")).data - seen(tmp_path / "in.tif").astype(int)).max() <= 2


def test_kernels_in_tiff(tmp_path: Path) -> None:
    taps = np.random.default_rng(1).normal(size=(3, 5, 4)).astype(np.float32)
    tifffile.imwrite(tmp_path / "k.tif", taps, photometric="minisblack")
    found, notes = images.read_kernel(str(tmp_path / "k.tif"))
    assert found.dtype == np.float32
    assert_array_equal(found, taps)
    assert notes == ()
    tifffile.imwrite(tmp_path / "k.tif", np.array([[1, 0, -1]] * 3, np.int16))
    found, notes = images.read_kernel(str(tmp_path / "k.tif"))
    assert_array_equal(found, [[1, 0, -1]] * 3)
    assert any("sum to 0" in note for note in notes)


def test_imagejs_words_that_are_not_ascii(tmp_path: Path) -> None:
    """ImageJ writes them as \\u and four digits; its Info has a place that holds any."""
    fields = {"unit": "zz", "axes": "ZYX", "Info": "žlutý kůň"}
    tifffile.imwrite(tmp_path / "in.tif", pixels((3, 5, 7)), imagej=True, metadata=fields)
    raw = (tmp_path / "in.tif").read_bytes()
    assert raw.count(b"unit=zz") == 1
    (tmp_path / "in.tif").write_bytes(raw.replace(b"unit=zz", "unit=ž".encode()))
    image = images.read(str(tmp_path / "in.tif"))
    again(image, tmp_path / "out.tif")
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        assert file.imagej_metadata is not None
        assert file.imagej_metadata["Info"] == "žlutý kůň"
        assert "unit=\\u017e" in file.pages.first.description.splitlines()
