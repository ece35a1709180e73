"""`convtool deconvolve` on pixels that are no data: masks, NaN, saturation; and the extension that is kept."""

from __future__ import annotations

import shlex
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import skimage.data
from command import refused, report, succeed, value
from scipy.signal import convolve2d

KERNEL = np.array([[0.05, 0.10, 0.00], [0.10, 0.50, 0.10], [0.00, 0.10, 0.05]])
FLAT = ["--method", "tv", "--set", "weight=0.05", "--boundary", "unknown"]


def scene() -> np.ndarray:
    y, x = np.mgrid[:42, :54]
    return 90 + 50.0 * ((y // 9 + x // 7) % 2) + y


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A blurred crop as 8 bits, k.npy, and the truth."""
    y = convolve2d(scene(), KERNEL, mode="valid")
    iio.imwrite(tmp_path / "y.png", np.rint(y).astype("u1"))
    iio.imwrite(tmp_path / "truth.png", np.rint(scene()[1:-1, 1:-1]).astype("u1"))
    np.save(tmp_path / "k.npy", KERNEL)
    return tmp_path


def solve(folder: Path, image: str, *more: str) -> tuple[np.ndarray, dict]:
    arguments = ["deconvolve", folder / image, "-k", folder / "k.npy", *FLAT, "-o", folder / "x.npy"]
    succeed(*arguments, "--report", folder / "r.json", *more)
    return np.load(folder / "x.npy"), report(folder / "r.json")


def distance(x: np.ndarray) -> float:
    truth = scene()[1:-1, 1:-1]
    return float(np.linalg.norm(x - truth) / np.linalg.norm(truth))


def test_a_mask_leaves_pixels_out(folder: Path) -> None:
    y = iio.imread(folder / "y.png")
    y[20, 10:30] = 255  # a dead line
    iio.imwrite(folder / "dead.png", y)
    mask = np.full(y.shape, 255, np.uint8)
    mask[20, 10:30] = 0
    iio.imwrite(folder / "mask.png", mask)
    spoilt, _ = solve(folder, "dead.png")
    x, found = solve(folder, "dead.png", "--mask", str(folder / "mask.png"))
    clean, _ = solve(folder, "y.png")
    assert distance(clean) < 0.02
    assert distance(x) < 1.5 * distance(clean)
    assert distance(spoilt) > 4 * distance(x)
    assert found["input"]["not_counted"] == 20
    assert any("20 of 2080 values" in note and "do not count" in note for note in found["notes"])


def test_nan_and_saturated_pixels_can_be_left_out(folder: Path) -> None:
    y = iio.imread(folder / "y.png").astype("f4")
    y[5:7, 8:10] = np.nan
    y[30, 40] = np.inf
    np.save(folder / "holes.npy", y)
    line = refused(folder, "deconvolve", folder / "holes.npy", "-k", folder / "k.npy", "-o", folder / "x.npy")
    assert "--nan" in line
    x, found = solve(folder, "holes.npy", "--nan", "mask")
    assert np.isfinite(x).all()
    assert distance(x) < 0.03
    assert found["input"]["not_counted"] == 5
    clipped = np.minimum(iio.imread(folder / "y.png"), 160)
    iio.imwrite(folder / "clipped.png", clipped)
    _, found = solve(folder, "clipped.png", "--saturation", str(160 / 255))
    assert found["input"]["not_counted"] == int((clipped == 160).sum()) > 0


def test_a_mask_and_nan_are_both_left_out(folder: Path) -> None:
    y = iio.imread(folder / "y.png").astype("f4")
    y[5, 8] = np.nan
    np.save(folder / "holes.npy", y)
    mask = np.ones(y.shape, bool)
    mask[20, 20] = False
    np.save(folder / "mask.npy", mask)
    _, found = solve(folder, "holes.npy", "--nan", "mask", "--mask", str(folder / "mask.npy"))
    assert found["input"]["not_counted"] == 2


def test_the_extension_is_kept(folder: Path) -> None:
    x, _ = solve(folder, "y.png")
    kept, found = solve(folder, "y.png", "--keep-extension")
    assert kept.shape == (42, 54)
    np.testing.assert_array_equal(kept[1:-1, 1:-1], x)
    assert value(found, "boundary") == "unknown"
    assert value(found, "image_shape") == [42, 54]


def test_what_does_not_fit_is_refused(folder: Path) -> None:
    arguments = ["deconvolve", folder / "y.png", "-k", folder / "k.npy", "-o", folder / "x.png", *FLAT]
    assert "give a mask of the data's shape" in refused(folder, *arguments, "--mask", folder / "k.npy")
    assert "no such file" in refused(folder, *arguments, "--mask", folder / "nothing.png")
    assert "saturation must be a share" in refused(folder, *arguments, "--saturation", "99")
    assert "--spacing must be numbers" in refused(folder, *arguments, "--spacing", "wide")
    assert "spacing must be 2 numbers" in refused(folder, *arguments, "--spacing", "1,1,1")
    assert "pinv inverts periodic data" in refused(folder, *arguments[:-6], "--method", "pinv", "--boundary", "unknown")


def test_a_spacing_that_plays_no_part_is_told_of(folder: Path) -> None:
    files = [
        "deconvolve",
        folder / "y.png",
        "-k",
        folder / "k.npy",
        "-o",
        folder / "x.npy",
        "--report",
        folder / "r.json",
    ]
    for method in ("pinv", "rl", "non-local", "tv"):
        boundary = "periodic" if method == "pinv" else "unknown"
        succeed(*files, "--method", method, "--boundary", boundary, "--spacing", "2,1")
        notes = report(folder / "r.json")["notes"]
        assert any(f"spacing plays no part in method {method}" in note for note in notes) == (method != "tv")


def test_clipped_highlights_are_told_of(folder: Path) -> None:
    y = iio.imread(folder / "y.png")
    y[10:14, 10:20] = 255
    iio.imwrite(folder / "bright.png", y)
    _, found = solve(folder, "bright.png")
    assert any("--linear" in note and "--saturation" in note for note in found["notes"])
    for more in (["--saturation", "0.99"], ["--linear"]):
        _, found = solve(folder, "bright.png", *more)
        assert not any("--saturation 0.99 (clipped" in note for note in found["notes"])
    _, found = solve(folder, "y.png")
    assert not any("--linear" in note for note in found["notes"])


def lights() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A scene with bright lamps, moved in light and clipped, as 8-bit code values; the truth and the kernel."""
    rng = np.random.default_rng(3)
    light = decode(skimage.data.camera()[100:260, 150:330] / 255.0)
    y, x = np.mgrid[:160, :180]
    for top, left in zip(rng.integers(20, 140, 12), rng.integers(20, 160, 12), strict=True):
        light[(y - top) ** 2 + (x - left) ** 2 < 9] = 8.0
    kernel = np.zeros((9, 9))
    kernel[4], kernel[3, 5:] = 1, 0.5
    kernel /= kernel.sum()
    seen = encode(convolve2d(light, kernel, mode="valid").clip(0, 1)) * 255
    seen += rng.normal(0, 0.7, seen.shape)
    return np.rint(seen.clip(0, 255)).astype("u1"), encode(light.clip(0, 1))[4:-4, 4:-4] * 255, kernel


def decode(code: np.ndarray) -> np.ndarray:
    """sRGB of 0..1 to light, IEC 61966-2-1."""
    return np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)


def encode(light: np.ndarray) -> np.ndarray:
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def test_saturated_lights_are_restored_in_light(tmp_path: Path) -> None:
    """What the note on clipped highlights promises: in light, without the clipped pixels, several dB are won."""
    seen, truth, kernel = lights()
    iio.imwrite(tmp_path / "y.png", seen)
    np.save(tmp_path / "k.npy", kernel)

    def psnr(*more: str) -> float:
        arguments = [
            "deconvolve",
            tmp_path / "y.png",
            "-k",
            tmp_path / "k.npy",
            "--method",
            "tv",
            "--boundary",
            "unknown",
        ]
        succeed(*arguments, "-o", tmp_path / "x.png", *more)
        return float(10 * np.log10(255**2 / np.mean((iio.imread(tmp_path / "x.png") - truth) ** 2)))

    plain, masked = psnr(), psnr("--saturation", "0.99")
    both = psnr("--saturation", "0.99", "--linear")
    assert both > masked + 1.5
    assert both > plain + 5


@pytest.mark.parametrize("effort", ["low", "normal", "high"])
def test_the_reported_command_does_the_same_again(folder: Path, effort: str) -> None:
    """`result.command` of an automatic run, run as it stands."""
    words = ["deconvolve", "y.png", "-k", "k.npy", "-o", "x.npy", "--effort", effort]
    succeed(*words, "--report", "r.json", cwd=folder)
    first = np.load(folder / "x.npy")
    command = shlex.split(report(folder / "r.json")["result"]["command"])
    assert command[0] == "convtool"
    assert "auto" not in command
    (folder / "x.npy").unlink()
    succeed(*command[1:], cwd=folder)
    np.testing.assert_allclose(np.load(folder / "x.npy"), first, rtol=0, atol=1e-6 * np.abs(first).max())


def test_doubtful_settings_are_told_of(folder: Path) -> None:
    flat = ["--method", "tv", "--set", "weight=0.05", "-o", folder / "x.npy"]

    def said(*more: str | Path) -> str:
        return succeed("deconvolve", folder / "y.png", *flat, *more).stderr

    np.save(folder / "ones.npy", np.ones((3, 3)))
    assert "--normalize divides by it" in said("-k", folder / "ones.npy")
    assert "is larger than the image" in said("-k", "box:size=60")
    assert "--keep-extension kept nothing" in said("-k", folder / "k.npy", "--boundary", "edge", "--keep-extension")
    quiet = said("-k", folder / "k.npy", "--boundary", "unknown")
    assert not any(text in quiet for text in ("--normalize", "larger", "kept nothing"))
    mask = np.zeros((40, 52), np.uint8)
    mask[4, 5] = 1
    iio.imwrite(folder / "few.png", mask)
    assert "is the mask inverted?" in said(
        "-k", folder / "k.npy", "--boundary", "unknown", "--mask", folder / "few.png"
    )
    line = refused(folder, "deconvolve", folder / "y.png", "-k", folder / "k.npy", "--set", "weight=1")
    assert "--method tikhonov or tv" in line
    reference = [
        "-k",
        folder / "k.npy",
        "--boundary",
        "unknown",
        "--keep-extension",
        "--reference",
        folder / "truth.png",
    ]
    assert "leave --keep-extension out" in refused(folder, "deconvolve", folder / "y.png", *flat, *reference)
