"""`convtool convolve` and `convtool correlate` on files of every kind, and through pipes, pixels checked by SciPy."""

from __future__ import annotations

import io
import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import oracles
import PIL.Image
import PIL.TiffImagePlugin
import pytest
import scipy.ndimage
import tifffile
from astropy.io import fits
from command import PROGRAM, contents, environment, notes, refused, report, run, succeed, value

RNG = np.random.default_rng(11)
TAPS = np.array([[0.02, 0.31, 0.11, 0.04], [0.07, 0.05, 0.2, 0.01], [0.03, 0.1, 0.02, 0.04]])  # sum 1, lopsided
EIGHT = 0.5 + 1e-3  # rounding to integers, after computing in single precision
SIXTEEN = 0.5 + 0.1
BOUNDARY_MODES = {
    "periodic": "wrap",
    "zero": "constant",
    "edge": "nearest",
    "reflect": "mirror",
    "symmetric": "reflect",
}


def pixels(*shape: int, dtype: str = "uint8") -> np.ndarray:
    return RNG.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


@pytest.fixture
def taps(tmp_path: Path) -> Path:
    np.save(tmp_path / "k.npy", TAPS)
    return tmp_path / "k.npy"


def planes(x: np.ndarray, boundary: str = "periodic", taps: np.ndarray = TAPS) -> np.ndarray:
    """The convolution of [Y, X] or of every channel of [Y, X, C], by SciPy in float64."""
    if x.ndim == 3:
        return np.stack([planes(x[..., c], boundary, taps) for c in range(x.shape[-1])], axis=-1)
    return scipy.ndimage.convolve(x.astype(np.float64), taps, mode=BOUNDARY_MODES[boundary])


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


def npy(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


def loaded(raw: bytes) -> np.ndarray:
    return np.load(io.BytesIO(raw), allow_pickle=False)


# Every kind of picture --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "dtype", "slack"),
    [
        ((30, 41), "uint8", EIGHT),
        ((31, 40), "uint16", SIXTEEN),
        ((30, 41, 3), "uint8", EIGHT),
        ((30, 41, 3), "uint16", SIXTEEN),
        ((30, 41, 2), "uint8", EIGHT),
        ((30, 41, 4), "uint8", EIGHT),
        ((30, 41, 4), "uint16", SIXTEEN),
    ],
    ids=["grey", "grey16", "rgb", "rgb16", "grey-alpha", "rgb-alpha", "rgb-alpha16"],
)
def test_png_goes_beside_its_source_with_its_dtype(
    tmp_path: Path, taps: Path, shape: tuple[int, ...], dtype: str, slack: float
) -> None:
    x = pixels(*shape, dtype=dtype)
    source = tmp_path / "photo.one.png"
    source.write_bytes(imagecodecs.png_encode(x))
    original = source.read_bytes()
    outcome = succeed("convolve", source, "-k", taps)
    assert (outcome.stdout, outcome.stderr) == (b"", "")
    y = seen(tmp_path / "photo.one.convolved.png")
    assert y.dtype == dtype
    opaque = y.ndim == 2 or y.shape[-1] == 3
    assert error(*(a if opaque else a[..., :-1].squeeze() for a in (y, planes(x)))) <= slack
    if not opaque:
        np.testing.assert_array_equal(y[..., -1], x[..., -1])
    assert source.read_bytes() == original
    assert set(contents(tmp_path)) == {"k.npy", "photo.one.png", "photo.one.convolved.png"}


@pytest.mark.parametrize("transparent", [False, True])
def test_palette_becomes_colour(tmp_path: Path, taps: Path, transparent: bool) -> None:
    indices, colours = pixels(20, 33) % 7, pixels(7, 3)
    picture = PIL.Image.frombytes("P", (33, 20), indices.tobytes())
    picture.putpalette(colours.tobytes())
    settings: dict[str, Any] = {"transparency": 3} if transparent else {}
    picture.save(tmp_path / "p.png", **settings)
    outcome = succeed("correlate", tmp_path / "p.png", "-k", taps)
    assert any("palette" in note for note in notes(outcome))
    y = seen(tmp_path / "p.correlated.png")
    exact = planes(colours[indices], taps=TAPS[::-1, ::-1])  # right for odd sizes; TAPS has 4 columns
    exact = np.roll(exact, 1, axis=1)  # flipping four taps moves their origin by one
    assert error(y[..., :3], exact) <= EIGHT
    assert y.shape[-1] == 3 + transparent
    if transparent:
        np.testing.assert_array_equal(y[..., 3], np.where(indices == 3, 0, 255))


def test_jpeg_becomes_png_and_keeps_what_it_carried(tmp_path: Path, taps: Path) -> None:
    exif, profile = PIL.Image.Exif(), b"\0" * 16 + b"RGB " + b"\0" * 300
    exif[271] = "Maker"
    settings: dict[str, Any] = {"exif": exif.tobytes(), "icc_profile": profile, "dpi": (300, 300), "quality": 95}
    PIL.Image.fromarray(pixels(30, 41, 3)).save(tmp_path / "photo.jpg", **settings)
    succeed("convolve", tmp_path / "photo.jpg", "-k", taps)
    with PIL.Image.open(tmp_path / "photo.jpg") as picture:
        x = np.asarray(picture)
    with PIL.Image.open(tmp_path / "photo.convolved.png") as picture:
        assert error(np.asarray(picture), planes(x)) <= EIGHT
        assert picture.getexif()[271] == "Maker"
        assert picture.info["icc_profile"] == profile
        assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.02)
    succeed("convolve", tmp_path / "photo.convolved.png", "-k", taps, "-o", tmp_path / "again.png")
    with PIL.Image.open(tmp_path / "again.png") as picture:
        assert picture.info["icc_profile"] == profile
        assert picture.getexif()[271] == "Maker"


def test_tiff_stacks(tmp_path: Path) -> None:
    x = pixels(5, 20, 33, dtype="uint16")
    source, cube = tmp_path / "stack.tif", RNG.random((2, 3, 3)) / 9
    tifffile.imwrite(source, x, imagej=True, metadata={"axes": "ZYX", "spacing": 0.5, "unit": "um"})
    np.save(tmp_path / "cube.npy", cube)
    np.save(tmp_path / "k.npy", TAPS)
    succeed("convolve", source, "-k", tmp_path / "cube.npy", "--boundary", "edge")
    exact = scipy.ndimage.convolve(x.astype(np.float64), cube, mode="nearest")
    with tifffile.TiffFile(tmp_path / "stack.convolved.tif") as written:
        assert written.series[0].axes == "ZYX"
        assert written.series[0].dtype == np.uint16
        assert (written.imagej_metadata or {})["spacing"] == 0.5
        assert error(written.asarray(), exact) <= SIXTEEN
    succeed("convolve", source, "-k", tmp_path / "k.npy", "-o", tmp_path / "slices.tif", "--dtype", "float32")
    slices = tifffile.imread(tmp_path / "slices.tif")
    assert slices.dtype == np.float32
    assert error(slices, np.stack([planes(page) for page in x])) < 0.05


def test_npy_and_fits_keep_their_precision(tmp_path: Path, taps: Path) -> None:
    x = RNG.random((30, 41))
    np.save(tmp_path / "x.npy", x)
    fits.writeto(tmp_path / "sky.fits", x.astype(">f4"), fits.Header({"OBJECT": "M 31"}))
    succeed("convolve", tmp_path / "x.npy", "-k", taps)
    succeed("convolve", tmp_path / "sky.fits", "-k", taps)
    y = np.load(tmp_path / "x.convolved.npy")
    assert y.dtype == np.float64
    assert error(y, planes(x)) < 1e-14
    with fits.open(tmp_path / "sky.convolved.fits") as frames:
        assert frames[0].header["BITPIX"] == -32
        assert frames[0].header["OBJECT"] == "M 31"
        assert error(frames[0].data, planes(x)) < 1e-6


# Options ----------------------------------------------------------------------------------------------------------

CASES: list[tuple[str, dict[str, Any]]] = [
    ("--boundary zero", {"boundary": "zero"}),
    ("--boundary edge --origin 0,3", {"boundary": "edge", "origin": (0, 3)}),
    ("--boundary reflect --origin first", {"boundary": "reflect", "origin": "first"}),
    (
        "--boundary symmetric --origin last --dilation 2,1",
        {"boundary": "symmetric", "origin": "last", "dilation": (2, 1)},
    ),
    ("--padding valid --stride 2", {"padding": "valid", "stride": 2}),
    ("--padding full --boundary zero", {"padding": "full", "boundary": "zero"}),
    ("--padding 2", {"padding": 2}),
    ("--padding 2,0 --boundary edge", {"padding": (2, 0), "boundary": "edge"}),
    ("--padding 0:3,1:0 --stride 1,3", {"padding": ((0, 3), (1, 0)), "stride": (1, 3)}),
    ("--dilation 3 --engine direct", {"dilation": 3}),
    ("--stride 3,2 --engine fft", {"stride": (3, 2)}),
]


@pytest.mark.parametrize(("options", "settings"), CASES, ids=[options for options, _ in CASES])
def test_geometry_is_that_of_the_definition(tmp_path: Path, options: str, settings: dict[str, Any]) -> None:
    operation = ("convolve", "correlate")[len(options) % 2]
    x = RNG.random((11, 14))
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "k.npy", TAPS)
    outcome = succeed(
        operation, tmp_path / "x.npy", "-k", tmp_path / "k.npy", *options.split(), "-o", "-",
        "--report", tmp_path / "r.json",
    )  # fmt: skip
    exact = oracles.apply_loop(operation, x[None, None], TAPS[None, None], **settings)[0, 0]
    y = loaded(outcome.stdout)
    assert y.dtype == np.float64
    assert error(y, exact) < 1e-13
    written = report(tmp_path / "r.json")
    chosen = {name for name, entry in written["settings"].items() if entry["source"] == "chosen"}
    assert chosen == {word[2:] for word in options.split() if word.startswith("--")}
    if "engine" in chosen:
        assert value(written, "engine") == options.split()[-1]


def test_channels_groups_bias_and_named_axes(tmp_path: Path) -> None:
    x, taps, bias = RNG.random((4, 9, 12)), RNG.random((6, 2, 3, 2)), RNG.random(6)
    exact = oracles.apply_loop("correlate", x[None], taps, groups=2, bias=bias.tolist())[0]
    np.save(tmp_path / "x.npy", np.moveaxis(x, 0, -1))
    np.save(tmp_path / "k.npy", taps.transpose(2, 3, 1, 0))
    np.save(tmp_path / "b.npy", bias)
    succeed(
        "correlate", tmp_path / "x.npy", "-k", tmp_path / "k.npy", "--axes", "YXC", "--kernel-axes", "YXIO",
        "--groups", "2", "--bias", tmp_path / "b.npy", "-o", tmp_path / "y.npy", "--report", tmp_path / "r.json",
    )  # fmt: skip
    written = report(tmp_path / "r.json")
    axes = written["output"]["axes"]
    y = np.load(tmp_path / "y.npy")
    assert error(y.transpose([axes.index(letter) for letter in "CYX"]), exact) < 1e-13
    assert (value(written, "axes"), value(written, "kernel_axes"), value(written, "groups")) == ("YXC", "YXIO", 2)


def test_feature_maps(tmp_path: Path) -> None:
    x, taps = RNG.random((2, 3, 9, 12)), RNG.random((3, 2, 3))  # NCYX with one kernel a channel
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "k.npy", taps)
    outcome = succeed("convolve", tmp_path / "x.npy", "-k", tmp_path / "k.npy", "--boundary", "zero", "-o", "-")
    assert (
        error(loaded(outcome.stdout), oracles.apply_loop("convolve", x, taps[:, None], groups=3, boundary="zero"))
        < 1e-13
    )
    assert "NCYX" in outcome.stderr


def test_precision(tmp_path: Path, taps: Path) -> None:
    x = pixels(30, 41)
    (tmp_path / "x.png").write_bytes(imagecodecs.png_encode(x))
    np.save(tmp_path / "x.npy", x.astype(np.float64))
    double = succeed("convolve", tmp_path / "x.png", "-k", taps, "-o", "-", "--precision", "double")
    assert loaded(double.stdout).dtype == np.float64
    assert error(loaded(double.stdout), planes(x)) < 1e-12
    single = succeed("convolve", tmp_path / "x.npy", "-k", taps, "-o", "-", "--precision", "single")
    assert loaded(single.stdout).dtype == np.float32
    assert 1e-12 < error(loaded(single.stdout), planes(x)) < 1e-3


def test_dtype_and_scale(tmp_path: Path, taps: Path) -> None:
    x = pixels(30, 41)
    (tmp_path / "x.png").write_bytes(imagecodecs.png_encode(x))
    exact = planes(x)
    common = ("convolve", tmp_path / "x.png", "-k", taps)
    succeed(*common, "-o", tmp_path / "wide.png", "--dtype", "uint16", "--scale", "257")
    assert seen(tmp_path / "wide.png").dtype == np.uint16
    assert error(seen(tmp_path / "wide.png"), exact * 257) <= SIXTEEN
    succeed(*common, "-o", tmp_path / "fit.png", "--scale", "fit")
    fitted = (exact - exact.min()) / np.ptp(exact) * 255
    assert error(seen(tmp_path / "fit.png"), fitted) <= EIGHT
    outcome = succeed(*common, "-o", tmp_path / "hard.png", "--scale", "-4,500", "--report", tmp_path / "r.json")
    stretched = 500 - 4 * exact
    assert error(seen(tmp_path / "hard.png"), stretched) <= EIGHT
    output = report(tmp_path / "r.json")["output"]
    assert output["clipped_low"] == int((np.rint(stretched) < 0).sum()) > 0
    assert output["clipped_high"] == int((np.rint(stretched) > 255).sum()) > 0
    inside = (np.rint(stretched) >= 0) & (np.rint(stretched) <= 255)
    changed = inside & (np.abs(stretched - np.rint(stretched)) > 1e-3)
    assert changed.sum() <= output["rounded"] <= inside.sum()
    assert (output["scale"], output["offset"], output["dtype"]) == (-4, 500, "uint8")
    assert "clipped" in outcome.stderr


def test_clipping_by_a_kernel_of_another_sum_says_so(tmp_path: Path) -> None:
    PIL.Image.fromarray(np.full((9, 11), 200, np.uint8)).save(tmp_path / "x.png")
    (tmp_path / "k.csv").write_text("1,1,2\n")
    said = notes(succeed("convolve", tmp_path / "x.png", "-k", tmp_path / "k.csv", "-o", tmp_path / "y.png"))
    assert any(
        "99 of 99 values" in note and "the kernel sums to 4: --normalize divides by that" in note for note in said
    )
    normalized = succeed(
        "convolve", tmp_path / "x.png", "-k", tmp_path / "k.csv", "-o", tmp_path / "y.png", "--normalize"
    )
    assert not any("did not fit" in note for note in notes(normalized))


def test_linear_light(tmp_path: Path, taps: Path) -> None:
    x = pixels(30, 41, 3)
    (tmp_path / "x.png").write_bytes(imagecodecs.png_encode(x))
    succeed("convolve", tmp_path / "x.png", "-k", taps, "--linear")
    codes = x / 255
    light = planes(np.where(codes <= 0.04045, codes / 12.92, ((codes + 0.055) / 1.055) ** 2.4))
    exact = 255 * np.where(light <= 0.0031308, light * 12.92, 1.055 * np.clip(light, 0, 1) ** (1 / 2.4) - 0.055)
    assert error(seen(tmp_path / "x.convolved.png"), exact) <= EIGHT


def test_kernels_of_other_formats(tmp_path: Path) -> None:
    x, whole = RNG.random((20, 31)), pixels(3, 4)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "k.npy", whole.astype(np.float64))
    (tmp_path / "k.png").write_bytes(imagecodecs.png_encode(whole))
    np.savetxt(tmp_path / "k.csv", whole, delimiter=",", fmt="%d")
    exact = planes(x, taps=whole / whole.sum())
    picture = succeed("convolve", tmp_path / "x.npy", "-k", tmp_path / "k.png", "-o", "-")
    assert error(loaded(picture.stdout), exact) < 1e-13
    assert "divided by their sum" in picture.stderr
    for name in ("k.npy", "k.csv"):
        normal = succeed("convolve", tmp_path / "x.npy", "-k", tmp_path / name, "--normalize", "-o", "-")
        assert error(loaded(normal.stdout), exact) < 1e-13
    through = succeed("convolve", tmp_path / "x.npy", "-k", "-", "-o", "-", stdin=(tmp_path / "k.npy").read_bytes())
    assert error(loaded(through.stdout), planes(x, taps=whole.astype(np.float64))) < 1e-9


@pytest.mark.parametrize("choice", ["zero", "mean", "nearest"])
def test_nan_is_filled_as_asked(tmp_path: Path, taps: Path, choice: str) -> None:
    x = RNG.random((12, 15))
    broken, rest = x.copy(), x[1:]
    broken[0], broken[0, 7] = np.nan, -np.inf
    np.save(tmp_path / "x.npy", broken)
    outcome = succeed("convolve", tmp_path / "x.npy", "-k", taps, "--nan", choice, "-o", "-")
    assert "15 NaN or infinite values" in outcome.stderr
    fill = {"zero": 0.0, "mean": rest.mean(), "nearest": x[1]}[choice]
    assert error(loaded(outcome.stdout), planes(np.vstack([np.broadcast_to(fill, (1, 15)), rest]))) < 1e-14


def test_alpha_is_cropped_and_strided_alike(tmp_path: Path, taps: Path) -> None:
    x = pixels(21, 30, 4)
    (tmp_path / "x.png").write_bytes(imagecodecs.png_encode(x))
    succeed("convolve", tmp_path / "x.png", "-k", taps, "--padding", "valid", "--stride", "2")
    y = seen(tmp_path / "x.convolved.png")
    inside = planes(x[..., :3])[1:20:2, 1:28:2]  # windows inside: a tap below and two to the right of the origin's
    assert error(y[..., :3], inside) <= EIGHT
    np.testing.assert_array_equal(y[..., 3], x[1:20:2, 1:28:2, 3])


# The report -------------------------------------------------------------------------------------------------------


def test_report_of_a_blur(tmp_path: Path) -> None:
    x = pixels(20, 25)  # box 5 x 5 wipes out whole rows and columns of this grid's spectrum
    (tmp_path / "x.png").write_bytes(imagecodecs.png_encode(x))
    outcome = succeed("convolve", tmp_path / "x.png", "-k", "box:size=5", "--report", tmp_path / "r.json")
    written = report(tmp_path / "r.json")
    H = np.fft.fft2(np.pad(np.full((5, 5), 1 / 25), ((0, 15), (0, 20))))
    gone = np.abs(H) <= 1000 * np.finfo(np.float32).eps * np.abs(H).max()
    energy = np.abs(np.fft.fft2(x.astype(np.float64))) ** 2
    kernel, result = written["kernel"], written["result"]
    assert (kernel["frequencies_destroyed"], kernel["frequencies_total"]) == (int(gone.sum()), 500)
    assert kernel["condition"] is None  # infinite
    assert kernel["condition_kept"] == pytest.approx(np.abs(H).max() / np.abs(H)[~gone].min(), rel=1e-4)
    assert (kernel["shape"], kernel["sum"], kernel["norm"]) == ([5, 5], pytest.approx(1), pytest.approx(0.2))
    assert result["energy_destroyed"] == pytest.approx(energy[gone].sum() / energy.sum(), rel=1e-3)
    assert f"wipes out {gone.sum()} of 500 frequencies" in outcome.stderr
    assert (written["schema"], written["command"]) == (1, "convolve")
    assert written["convtool"]
    shown = {"name": str(tmp_path / "x.png"), "format": "png", "axes": "YX", "shape": [20, 25], "dtype": "uint8"}
    assert shown.items() <= written["input"].items()
    assert written["output"]["name"] == str(tmp_path / "x.convolved.png")
    assert set(written["seconds"]) >= {"reading", "computing", "writing"}
    assert all(seconds >= 0 for seconds in written["seconds"].values())
    names = {"axes", "kernel_axes", "origin", "boundary", "padding", "stride", "engine", "precision", "threads"}
    assert names <= set(written["settings"])
    assert written["settings"]["boundary"] == {"value": "periodic", "default": "periodic", "source": "assumed"}
    assert written["settings"]["origin"] == {"value": [2, 2], "default": "center", "source": "assumed"}
    assert written["notes"] == notes(outcome)


def test_every_setting_is_in_the_report(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(imagecodecs.png_encode(pixels(20, 25)))
    common = ("convolve", tmp_path / "x.png", "-k", "random", "--report", tmp_path / "r.json")
    given = {"linear": "", "normalize": "", "nan": "zero", "dtype": "uint16", "scale": "2"}
    succeed(*common, *" ".join(f"--{name} {text}" for name, text in given.items()).split())
    settings = report(tmp_path / "r.json")["settings"]
    assert [name for name in given if settings.get(name, {}).get("source") != "chosen"] == []
    succeed(*common)
    settings = report(tmp_path / "r.json")["settings"]
    assert [name for name in given if settings.get(name, {}).get("source") != "assumed"] == []
    assert settings["dtype"]["value"] == "uint8"


# Streams ----------------------------------------------------------------------------------------------------------


def test_standard_input_and_output(tmp_path: Path, taps: Path) -> None:
    x = pixels(30, 41, 3)
    raw = imagecodecs.png_encode(x)
    array = succeed("convolve", "-", "-k", taps, "-o", "-", stdin=raw)
    y = loaded(array.stdout)
    assert y.dtype == np.float32
    assert y.shape in (x.shape, (3, 30, 41))
    channels_last = y if y.shape == x.shape else np.moveaxis(y, 0, -1)
    assert error(channels_last, planes(x)) < 1e-3
    picture = succeed("convolve", "-", "-k", taps, "-o", "-", "--format", "png", "--verbose", stdin=raw)
    assert error(seen(picture.stdout), planes(x)) <= EIGHT
    assert contents(tmp_path).keys() == {"k.npy"}
    line = refused(tmp_path, "convolve", "-", "-k", taps, stdin=raw)
    assert "-o" in line


@pytest.mark.skipif(not os.path.exists("/dev/stdout"), reason="no /dev/stdout here")
def test_dev_stdout_is_standard_output(tmp_path: Path, taps: Path) -> None:
    np.save(tmp_path / "x.npy", RNG.random((20, 31)))
    dash = succeed("convolve", tmp_path / "x.npy", "-k", taps, "-o", "-")
    assert succeed("convolve", tmp_path / "x.npy", "-k", taps, "-o", "/dev/stdout").stdout == dash.stdout


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_named_pipes(tmp_path: Path, taps: Path) -> None:
    x = pixels(30, 41)
    os.mkfifo(tmp_path / "in")
    os.mkfifo(tmp_path / "out.png")
    received: list[bytes] = []
    sender = threading.Thread(target=lambda: (tmp_path / "in").write_bytes(imagecodecs.png_encode(x)))
    reader = threading.Thread(target=lambda: received.append((tmp_path / "out.png").read_bytes()))
    sender.start()
    reader.start()
    succeed("convolve", tmp_path / "in", "-k", taps, "-o", tmp_path / "out.png")
    sender.join()
    reader.join()
    assert error(seen(received[0]), planes(x)) <= EIGHT
    assert (tmp_path / "out.png").is_fifo()


def test_a_reader_that_leaves_ends_the_command_quietly(tmp_path: Path, taps: Path) -> None:
    np.save(tmp_path / "x.npy", RNG.random((700, 500)))
    for changes in ({}, {"PYTHONUNBUFFERED": "1"}):
        process = subprocess.Popen(
            [*PROGRAM, "convolve", str(tmp_path / "x.npy"), "-k", str(taps), "-o", "-"],
            env=environment(**changes),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stdout.read(10) == npy(np.zeros(1))[:10]
        process.stdout.close()
        assert process.stderr is not None
        assert (process.stderr.read(), process.wait()) == (b"", 141)
        process.stderr.close()


# Names and existing files -----------------------------------------------------------------------------------------


def test_existing_outputs(tmp_path: Path, taps: Path) -> None:
    (tmp_path / "x.png").write_bytes(imagecodecs.png_encode(pixels(20, 31)))
    target, real = tmp_path / "x.convolved.png", tmp_path / "elsewhere.png"
    real.write_bytes(b"old")
    target.symlink_to(real)
    os.chmod(real, 0o640)
    assert "--no-clobber" in refused(tmp_path, "convolve", tmp_path / "x.png", "-k", taps, "--no-clobber")
    succeed("convolve", tmp_path / "x.png", "-k", taps)
    assert target.is_symlink()
    assert seen(real).shape == (20, 31)
    assert real.stat().st_mode & 0o777 == 0o640
    fresh = tmp_path / "fresh.png"
    succeed("convolve", tmp_path / "x.png", "-k", taps, "-o", fresh, "--no-clobber", before=lambda: os.umask(0o027))
    assert fresh.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("name", ["two words.png", "-dash.png", "new\nline.png", "\x1b[31mred.png", "naïve ☃.png"])
def test_any_name_of_a_file(tmp_path: Path, taps: Path, name: str) -> None:
    x = pixels(20, 31)
    (tmp_path / name).write_bytes(imagecodecs.png_encode(x))
    outcome = succeed("convolve", "-k", taps, "--report", "r.json", "--verbose", "--", name, cwd=tmp_path)
    target = name.replace(".png", ".convolved.png")
    assert error(seen(tmp_path / target), planes(x)) <= EIGHT
    assert report(tmp_path / "r.json")["input"]["name"] == name
    assert name.isprintable() == (name in outcome.stderr)
    assert outcome.stderr.replace("\n", "").isprintable()
    line = refused(tmp_path, "convolve", "-k", taps, "--no-clobber", "--", name, cwd=tmp_path)
    assert target.isprintable() == (target in line)


@pytest.mark.skipif(os.name != "posix" or os.uname().sysname == "Darwin", reason="names are Unicode here")
def test_a_name_that_is_no_text(tmp_path: Path, taps: Path) -> None:
    source = os.fsencode(tmp_path) + b"/caf\xe9.png"
    Path(os.fsdecode(source)).write_bytes(imagecodecs.png_encode(pixels(20, 31)))
    succeed("convolve", os.fsdecode(source), "-k", taps, "--report", tmp_path / "r.json")
    report(tmp_path / "r.json")
    assert os.path.exists(os.fsencode(tmp_path) + b"/caf\xe9.convolved.png")


def test_correlate_names_its_result(tmp_path: Path) -> None:
    x = pixels(20, 31)
    (tmp_path / "x.png").write_bytes(imagecodecs.png_encode(x))
    run(
        "correlate", tmp_path / "x.png", "-k", "sobel-x", "--dtype", "float32", "--format", "tiff", "-o", tmp_path / "e"
    )
    exact = scipy.ndimage.sobel(x.astype(np.float64), axis=1, mode="wrap")
    assert error(tifffile.imread(tmp_path / "e"), exact) < 1e-2
