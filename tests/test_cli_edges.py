"""`convtool edges` on files of every kind, and through pipes, pixels checked by SciPy and NumPy."""

from __future__ import annotations

import io
from pathlib import Path

import imagecodecs
import numpy as np
import PIL.Image
import pytest
import scipy.ndimage
import tifffile
from astropy.io import fits
from command import notes, refused, report, succeed, value

from convtool import gradients

RNG = np.random.default_rng(31)
MODES = {"periodic": "wrap", "zero": "constant", "edge": "nearest", "reflect": "mirror", "symmetric": "reflect"}
ROUNDED = 0.5 + 1e-3  # to integers, after computing in single precision


def pixels(*shape: int, dtype: str = "uint8") -> np.ndarray:
    return RNG.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def components(x: np.ndarray, axes: tuple[int, ...] = (0, 1), boundary: str = "reflect") -> list[np.ndarray]:
    """Central differences along these axes, by SciPy in float64."""
    line = [-0.5, 0, 0.5]
    return [scipy.ndimage.correlate1d(x.astype(np.float64), line, axis, mode=MODES[boundary]) for axis in axes]


def magnitude(parts: list[np.ndarray]) -> np.ndarray:
    return np.sqrt(sum(g**2 for g in parts))


def seen(file: Path | bytes) -> np.ndarray:
    """A PNG's samples, all bits of them."""
    return imagecodecs.png_decode(file if isinstance(file, bytes) else file.read_bytes())


def error(written: np.ndarray, exact: np.ndarray) -> float:
    """The largest distance of what was written from the exact values, clipped to the dtype."""
    assert written.shape == exact.shape
    if written.dtype.kind in "iu":
        limits = np.iinfo(written.dtype)
        exact = np.clip(exact, limits.min, limits.max)
    return float(np.abs(written.astype(np.float64) - exact).max())


def png(file: Path, *shape: int) -> np.ndarray:
    x = pixels(*shape)
    file.write_bytes(imagecodecs.png_encode(x))
    return x


# The magnitude ----------------------------------------------------------------------------------------------------


def test_a_picture_beside_its_input(tmp_path: Path) -> None:
    x = png(tmp_path / "x.png", 30, 41)
    outcome = succeed("edges", tmp_path / "x.png", "--report", tmp_path / "r.json")
    y = seen(tmp_path / "x.edges.png")
    assert y.dtype == np.uint8
    assert error(y, magnitude(components(x))) <= ROUNDED
    assert notes(outcome) == []
    output = report(tmp_path / "r.json")["output"]
    assert output["name"] == str(tmp_path / "x.edges.png")
    assert 0 < output["rounded"] < x.size
    assert (output["clipped_low"], output["clipped_high"]) == (0, 0)


def test_edges_of_bool_are_floats(tmp_path: Path) -> None:
    x = RNG.random((20, 31)) < 0.5
    np.save(tmp_path / "x.npy", x)
    assert notes(succeed("edges", tmp_path / "x.npy")) == []
    y = np.load(tmp_path / "x.edges.npy")
    assert y.dtype == np.float32
    assert error(y, magnitude(components(x))) < 1e-6
    (note,) = notes(succeed("edges", tmp_path / "x.npy", "-o", tmp_path / "y.png"))
    assert "the input holds bool, the result (0 to " in note
    assert error(seen(tmp_path / "y.png"), magnitude(components(x))) <= ROUNDED
    succeed("edges", tmp_path / "x.npy", "-o", tmp_path / "y.tif")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "y.tif"), y)


@pytest.mark.parametrize("boundary", MODES)
def test_boundaries(tmp_path: Path, boundary: str) -> None:
    x = RNG.random((12, 15))
    np.save(tmp_path / "x.npy", x)
    outcome = succeed("edges", tmp_path / "x.npy", "--boundary", boundary, "-o", "-")
    y = np.load(io.BytesIO(outcome.stdout))
    assert y.dtype == np.float64
    assert error(y, magnitude(components(x, boundary=boundary))) < 1e-14


def test_operators_are_those_of_the_library(tmp_path: Path) -> None:
    x = RNG.random((12, 15)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    for operator in ("scharr", "prewitt"):  # the others are below
        outcome = succeed("edges", tmp_path / "x.npy", "--operator", operator, "-o", "-")
        np.testing.assert_array_equal(np.load(io.BytesIO(outcome.stdout)), gradients.edges(x, operator=operator))
    line = refused(tmp_path, "edges", tmp_path / "x.npy", "--operator", "canny")
    assert all(operator in line for operator in gradients.OPERATORS)


def test_scipys_sobel_is_scale_8(tmp_path: Path) -> None:
    x = png(tmp_path / "x.png", 30, 41)
    outcome = succeed("edges", tmp_path / "x.png", "--operator", "sobel", "--scale", "8", "--dtype", "uint16")
    parts = [scipy.ndimage.sobel(x.astype(np.float64), axis, mode="mirror") for axis in (0, 1)]
    assert error(seen(tmp_path / "x.edges.png"), magnitude(parts)) <= ROUNDED
    assert notes(outcome) == []


def test_what_does_not_fit_is_counted(tmp_path: Path) -> None:
    x = np.zeros((9, 9), np.uint8)
    x[4, 4:6] = 255
    (tmp_path / "x.png").write_bytes(imagecodecs.png_encode(x))
    outcome = succeed("edges", tmp_path / "x.png", "--operator", "forward", "--report", tmp_path / "r.json")
    found = report(tmp_path / "r.json")
    assert found["output"]["clipped_high"] == 1  # where both differences are 255
    assert "1 of 81 values" in "\n".join(notes(outcome))


def test_colours_alpha_and_files_of_every_kind(tmp_path: Path) -> None:
    x = pixels(21, 30, 4)
    (tmp_path / "x.png").write_bytes(imagecodecs.png_encode(x))
    succeed("edges", tmp_path / "x.png")
    y = seen(tmp_path / "x.edges.png")
    assert error(y[..., :3], magnitude(components(x[..., :3]))) <= ROUNDED
    np.testing.assert_array_equal(y[..., 3], x[..., 3])
    wide = pixels(21, 30, dtype="uint16")
    tifffile.imwrite(tmp_path / "w.tif", wide)
    succeed("edges", tmp_path / "w.tif")
    y = tifffile.imread(tmp_path / "w.edges.tif")
    assert y.dtype == np.uint16
    assert error(y, magnitude(components(wide))) <= 0.51
    fits.PrimaryHDU(wide.astype(np.float32)).writeto(tmp_path / "f.fits")
    succeed("edges", tmp_path / "f.fits")
    assert error(fits.getdata(tmp_path / "f.edges.fits"), magnitude(components(wide))) < 0.01
    succeed("edges", tmp_path / "x.png", "-o", tmp_path / "x.npy")
    y = np.load(tmp_path / "x.npy")
    assert y.shape == (3, 21, 30)
    assert error(y, np.moveaxis(magnitude(components(x[..., :3])), -1, 0)) < 1e-3


def test_volumes_and_stacks_of_pictures(tmp_path: Path) -> None:
    x = RNG.random((5, 12, 15))
    np.save(tmp_path / "x.npy", x)
    for axes, along in (("ZYX", (0, 1, 2)), ("NYX", (1, 2)), ("CYX", (1, 2)), ("XNY", (0, 2))):
        outcome = succeed("edges", tmp_path / "x.npy", "--axes", axes, "-o", "-")
        assert error(np.load(io.BytesIO(outcome.stdout)), magnitude(components(x, along))) < 1e-14
    tifffile.imwrite(tmp_path / "x.tif", x.astype(np.float32), imagej=True, metadata={"axes": "ZYX"})
    succeed("edges", tmp_path / "x.tif")
    with tifffile.TiffFile(tmp_path / "x.edges.tif") as file:
        assert file.is_imagej
        assert file.series[0].axes == "ZYX"
        assert error(file.asarray(), magnitude(components(x, (0, 1, 2)))) < 1e-6


def test_precision_dtype_nan_and_threads(tmp_path: Path) -> None:
    x = png(tmp_path / "x.png", 30, 41)
    double = succeed("edges", tmp_path / "x.png", "-o", "-", "--precision", "double", "--threads", "1")
    y = np.load(io.BytesIO(double.stdout))
    assert y.dtype == np.float64
    assert error(y, magnitude(components(x))) < 1e-12
    succeed("edges", tmp_path / "x.png", "-o", tmp_path / "x.tif", "--dtype", "float32")
    assert error(tifffile.imread(tmp_path / "x.tif"), magnitude(components(x))) < 1e-3
    broken = x.astype(np.float32)
    broken[3, 4] = np.nan
    np.save(tmp_path / "n.npy", broken)
    assert "NaN" in refused(tmp_path, "edges", tmp_path / "n.npy")
    filled = np.where(np.isnan(broken), 0, broken)
    y = np.load(io.BytesIO(succeed("edges", tmp_path / "n.npy", "--nan", "zero", "-o", "-").stdout))
    assert error(y, magnitude(components(filled))) < 1e-3


def test_linear_light(tmp_path: Path) -> None:
    x = png(tmp_path / "x.png", 30, 41, 3)
    succeed("edges", tmp_path / "x.png", "--linear", "--components", tmp_path / "c.npy")
    codes = x / 255
    parts = components(np.where(codes <= 0.04045, codes / 12.92, ((codes + 0.055) / 1.055) ** 2.4))
    light = magnitude(parts)
    exact = 255 * np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    assert error(seen(tmp_path / "x.edges.png"), exact) <= ROUNDED
    written = np.load(tmp_path / "c.npy").reshape(2, 3, 30, 41)  # linear light itself: a code has no sign
    assert error(written, 255 * np.moveaxis(np.stack(parts), -1, 1)) < 1e-3


# Direction and components -----------------------------------------------------------------------------------------


def test_direction_and_components(tmp_path: Path) -> None:
    x = png(tmp_path / "x.png", 30, 41)
    files = {"--direction": tmp_path / "d.tif", "--components": tmp_path / "c.tif", "--report": tmp_path / "r.json"}
    words = [word for item in files.items() for word in item]
    outcome = succeed("edges", tmp_path / "x.png", *words)
    gy, gx = components(x)
    with tifffile.TiffFile(tmp_path / "c.tif") as file:
        assert file.series[0].axes == "CYX"
        parts = file.asarray()
    assert parts.dtype == np.float32
    assert error(parts, np.stack([gy, gx])) < 1e-4
    angle = tifffile.imread(tmp_path / "d.tif")
    np.testing.assert_allclose(angle, np.arctan2(gy, gx), atol=1e-6)
    assert error(seen(tmp_path / "x.edges.png"), magnitude([gy, gx])) <= ROUNDED
    found = report(tmp_path / "r.json")
    output = found["output"]
    assert (output["format"], output["dtype"]) == ("png", "uint8")
    assert output["direction"] == {
        "name": str(tmp_path / "d.tif"),
        "format": "tiff",
        "axes": "YX",
        "shape": [30, 41],
        "dtype": "float32",
    }
    assert (output["components"]["axes"], output["components"]["shape"]) == ("CYX", [2, 30, 41])
    assert {"direction", "components", "output", "image"}.isdisjoint(found["settings"])
    assert value(found, "dtype") == "uint8"
    assert value(found, "format") == "png"
    assert notes(outcome) == []


def test_components_of_colours_and_volumes(tmp_path: Path) -> None:
    x = png(tmp_path / "x.png", 20, 31, 3)
    succeed("edges", tmp_path / "x.png", "--components", tmp_path / "c.npy", "--direction", tmp_path / "d.npy")
    parts = [np.moveaxis(g, -1, 0) for g in components(x)]
    assert error(np.load(tmp_path / "c.npy"), np.concatenate(parts)) < 1e-4
    np.testing.assert_allclose(np.load(tmp_path / "d.npy"), np.arctan2(*parts), atol=1e-6)
    volume = RNG.random((5, 12, 15))
    np.save(tmp_path / "v.npy", volume)
    common = ("edges", tmp_path / "v.npy", "-o", tmp_path / "e.npy", "--components")
    succeed(*common, tmp_path / "c.npy", "--axes", "ZYX")
    assert error(np.load(tmp_path / "c.npy"), np.stack(components(volume, (0, 1, 2)))) < 1e-14
    succeed(*common, tmp_path / "c.npy", "--axes", "NYX")
    assert error(np.load(tmp_path / "c.npy"), np.stack(components(volume, (1, 2)), axis=1)) < 1e-14
    np.save(tmp_path / "line.npy", volume[0, 0])
    succeed("edges", tmp_path / "line.npy", "-o", tmp_path / "e.npy", "--components", tmp_path / "c.npy")
    assert error(np.load(tmp_path / "c.npy"), components(volume[0, 0], (0,))[0]) < 1e-14


def test_additions_to_standard_output_and_to_fits(tmp_path: Path) -> None:
    x = png(tmp_path / "x.png", 20, 31)
    outcome = succeed("edges", tmp_path / "x.png", "--components", "-", "--direction", tmp_path / "d.fits")
    parts = components(x)
    assert error(np.load(io.BytesIO(outcome.stdout)), np.stack(parts)) < 1e-4
    np.testing.assert_allclose(fits.getdata(tmp_path / "d.fits"), np.arctan2(*parts), atol=1e-6)


def test_a_cameras_data_stay_with_the_picture(tmp_path: Path) -> None:
    picture = PIL.Image.fromarray(pixels(20, 31, 3))
    exif = picture.getexif()
    exif[271] = "maker"
    picture.save(tmp_path / "x.jpg", exif=exif, dpi=(72, 72))
    outcome = succeed(
        "edges", tmp_path / "x.jpg", "--components", tmp_path / "c.tif", "--direction", tmp_path / "d.npy"
    )
    assert notes(outcome) == []
    with PIL.Image.open(tmp_path / "x.edges.png") as written:
        assert written.getexif()[271] == "maker"


def test_signed_numbers_need_a_format_that_has_them(tmp_path: Path) -> None:
    png(tmp_path / "x.png", 20, 31)
    for option, name in (("--direction", "y.png"), ("--components", "y.JPG")):
        line = refused(tmp_path, "edges", tmp_path / "x.png", option, tmp_path / name)
        assert line == f"{option} has signed numbers, which {tmp_path / name} cannot hold: name a .tif or .npy file"
    assert "cannot tell the format" in refused(tmp_path, "edges", tmp_path / "x.png", "--direction", tmp_path / "y")
    assert "empty" in refused(tmp_path, "edges", tmp_path / "x.png", "--components", "")


def test_all_results_or_none(tmp_path: Path) -> None:
    x = RNG.random((4, 5, 6))
    np.save(tmp_path / "x.npy", x)
    common = ("edges", tmp_path / "x.npy", "--axes", "ZYX")
    line = refused(tmp_path, *common, "--components", tmp_path / "c.npy", "--direction", tmp_path / "d.npy")
    assert "axes are ZYX" in line
    line = refused(tmp_path, *common, "-o", tmp_path / "y.npy", "--components", tmp_path / "y.npy")
    assert "two results would go to" in line
    assert "is the input" in refused(tmp_path, *common, "--components", tmp_path / "x.npy")
    (tmp_path / "c.npy").write_bytes(b"old")
    assert "--no-clobber" in refused(tmp_path, *common, "--components", tmp_path / "c.npy", "--no-clobber")
    line = refused(tmp_path, *common, "-o", tmp_path / "y.png", "--components", tmp_path / "c.npy")
    assert "PNG" in line


# The report and streams -------------------------------------------------------------------------------------------


def test_every_setting_is_in_the_report(tmp_path: Path) -> None:
    x = png(tmp_path / "x.png", 20, 25)
    given = {"operator": "scharr", "boundary": "edge", "precision": "single", "nan": "zero", "threads": 1}
    words = [word for name, text in given.items() for word in (f"--{name}", str(text))]
    succeed("edges", tmp_path / "x.png", *words, "--report", tmp_path / "r.json")
    found = report(tmp_path / "r.json")
    assert {name: value(found, name) for name in given} == given
    assert {found["settings"][name]["source"] for name in given} == {"chosen"}
    assert value(found, "axes") == "YX"
    assert found["settings"]["linear"] == {"value": False, "default": False, "source": "assumed"}
    exact = gradients.edges(x, operator="scharr", boundary="edge")
    expected = {"min": exact.min(), "max": exact.max(), "mean": exact.mean()}
    assert {name: pytest.approx(number, rel=1e-5) for name, number in expected.items()} == found["result"]
    assert set(found["seconds"]) == {"reading", "computing", "writing"}


def test_standard_input_and_output(tmp_path: Path) -> None:
    raw = imagecodecs.png_encode(x := pixels(30, 41))
    outcome = succeed("edges", "-", "-o", "-", "--format", "png", stdin=raw)
    assert error(seen(outcome.stdout), magnitude(components(x))) <= ROUNDED
    assert "-o" in refused(tmp_path, "edges", "-", stdin=raw)
