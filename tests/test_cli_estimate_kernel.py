"""`convtool estimate-kernel`: from two images, and from the point sources in a frame."""

from __future__ import annotations

import io
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import scipy.ndimage
import tifffile
from command import notes, refused, report, run, succeed, value

SAMPLES = Path(__file__).parents[1] / "sample_images"
TAPS = np.array([[0.02, 0.1, 0.05, 0.0], [0.0, 0.4, 0.2, 0.03], [0.07, 0.0, 0.1, 0.03]])


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A blurred and a sharp image as 8-bit PNG."""
    sharp = iio.imread(SAMPLES / "camera.png")[:200, 100:320]
    iio.imwrite(tmp_path / "sharp.png", sharp)
    y = scipy.ndimage.convolve(sharp.astype(float), TAPS, mode="wrap")
    iio.imwrite(tmp_path / "blurred.png", np.rint(y).astype(np.uint8))
    return tmp_path / "blurred.png", tmp_path / "sharp.png"


def starfield(shape: tuple[int, int] = (160, 200)) -> np.ndarray:
    """Gaussian stars of sigma 1.6 on a level of 40 counts."""
    rng = np.random.default_rng(40)
    y, x = np.ogrid[: shape[0], : shape[1]]
    frame = np.full(shape, 40.0)
    for cy in range(25, shape[0] - 20, 36):
        for cx in range(25, shape[1] - 20, 37):
            dy, dx = y - cy - rng.uniform(-0.5, 0.5), x - cx - rng.uniform(-0.5, 0.5)
            frame += rng.uniform(300, 3000) * np.exp(-0.5 * (dy**2 + dx**2) / 1.6**2)
    return rng.poisson(frame)


def test_a_kernel_from_two_images(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    blurred, sharp = pair
    outcome = succeed("estimate-kernel", blurred, "--sharp", sharp, "--size", "3,4", "--report", tmp_path / "r.json")
    assert outcome.stdout == b""
    taps = np.load(tmp_path / "blurred.kernel.npy")
    assert (taps.dtype, taps.shape) == (np.float64, (3, 4))
    assert np.linalg.norm(taps - TAPS) < 0.01 * np.linalg.norm(TAPS)
    written = report(tmp_path / "r.json")
    assert written["command"] == "estimate-kernel"
    assert written["kernel"]["origin"] == [1, 2]
    assert written["kernel"]["sum"] == pytest.approx(1)
    result = written["result"]
    assert result["brightness"] == "same"
    assert result["windows"] == 198 * 217
    assert 0 < result["standard_error_median"] <= result["standard_error_max"] < 0.01
    assert result["noise_level"] == pytest.approx(0.29, abs=0.02)
    assert result["relative_error"] < 0.01
    assert result["determined"] > 0.9
    assert value(written, "size") == [3, 4]
    assert value(written, "total") == "one"
    assert set(written["seconds"]) == {"reading", "computing", "writing"}


def test_deconvolve_takes_the_kernel_as_it_is(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    blurred, sharp = pair
    succeed("estimate-kernel", blurred, "--sharp", sharp, "--size", "5", "-o", tmp_path / "k.npy", "-q")
    succeed(
        "deconvolve",
        blurred,
        "-k",
        tmp_path / "k.npy",
        "--method",
        "tikhonov",
        "--boundary",
        "periodic",
        "-o",
        tmp_path / "x.png",
        "-q",
    )
    truth = iio.imread(sharp).astype(float)
    inner = (slice(20, -20), slice(20, -20))
    error = [np.square(iio.imread(name).astype(float) - truth)[inner].mean() for name in (tmp_path / "x.png", blurred)]
    assert error[0] < 0.3 * error[1]


def test_outputs(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    words = ("estimate-kernel", pair[0], "--sharp", pair[1], "--size", "5", "-q")
    taps = np.load(io.BytesIO(succeed(*words, "-o", "-").stdout))
    succeed(*words, "-o", tmp_path / "k.tif")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "k.tif"), taps)
    succeed(*words, "-o", tmp_path / "k.npy", "--dtype", "float32")
    assert np.load(tmp_path / "k.npy").dtype == np.float32
    assert "no-clobber" in refused(tmp_path, *words, "-o", tmp_path / "k.npy", "--no-clobber")


def test_how_the_kernel_is_to_be_used_is_said(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    words = ("estimate-kernel", pair[0], "--sharp", pair[1], "--size", "3,4", "-o", tmp_path / "k.npy")
    outcome = succeed(*words, "--operation", "correlate", "--origin", "1,1")
    assert notes(outcome)[-1] == "use this kernel with --operation correlate --origin 1,1"
    np.testing.assert_allclose(np.load(tmp_path / "k.npy"), TAPS[::-1, ::-1], atol=0.01)


def test_brightness_and_sum(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    blurred, sharp = pair
    darker = (0.5 * iio.imread(blurred) + 20).astype(np.uint8)
    iio.imwrite(blurred, darker)
    words = ("estimate-kernel", blurred, "--sharp", sharp, "--size", "5", "-o", tmp_path / "k.npy")
    assert any("0.5" in note and "brightness" in note for note in notes(succeed(*words)))
    assert np.load(tmp_path / "k.npy").sum() == pytest.approx(1)
    succeed(*words, "--sum", "free", "-q")
    assert np.load(tmp_path / "k.npy").sum() == pytest.approx(0.5, abs=0.01)
    succeed(*words, "--signed", "-q", "--weight", "1e-6")
    assert np.load(tmp_path / "k.npy").min() < 0


def test_linear_light(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    sharp = pair[1]
    succeed("convolve", sharp, "-k", "motion:length=5,angle=20", "--linear", "-o", tmp_path / "b.png", "-q")
    succeed("make-kernel", "motion:length=5,angle=20", "-o", tmp_path / "truth.npy", "-q")
    truth, errors = np.load(tmp_path / "truth.npy"), []
    size = ",".join(map(str, truth.shape))
    for words in ((), ("--linear",)):
        succeed("estimate-kernel", tmp_path / "b.png", "--sharp", sharp, "--size", size, "-q", *words)
        errors.append(float(np.linalg.norm(np.load(tmp_path / "b.kernel.npy") - truth)))
    assert errors[1] < 0.3 * errors[0]


def test_a_kernel_from_stars(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "stars.tif", starfield().astype(np.uint16))
    words = ("estimate-kernel", tmp_path / "stars.tif", "--stars", "--size", "15")
    succeed(*words, "--report", tmp_path / "r.json")
    taps = np.load(tmp_path / "stars.kernel.npy")
    y, x = np.ogrid[-7:8, -7:8]
    truth = np.exp(-0.5 * (y**2 + x**2) / 1.6**2)
    truth /= truth.sum()
    assert np.linalg.norm(taps - truth) < 0.03 * np.linalg.norm(truth)
    written = report(tmp_path / "r.json")
    result = written["result"]
    assert (result["found"], result["used"]) == (20, 20)
    assert len(result["positions"]) == 20
    np.testing.assert_allclose(result["fwhm"], 1.6 * 2.3548, rtol=0.03)
    assert written["kernel"]["origin"] == [7, 7]
    picked = succeed(*words, "--threshold", "300", "--report", tmp_path / "r.json", "-o", "-")
    assert np.load(io.BytesIO(picked.stdout)).shape == (15, 15)
    assert report(tmp_path / "r.json")["result"]["used"] < 20


def test_saturated_stars_of_a_photograph_are_left_out(tmp_path: Path) -> None:
    codes = (starfield() / 6).clip(0, 255).astype(np.uint8)
    assert (codes == 255).any()
    iio.imwrite(tmp_path / "stars.png", codes)
    for words in ((), ("--linear",)):
        succeed(
            "estimate-kernel",
            tmp_path / "stars.png",
            "--stars",
            "--size",
            "15",
            "--report",
            tmp_path / "r.json",
            *words,
        )
        assert report(tmp_path / "r.json")["result"]["rejected"]["saturated"] >= 3


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("b.png --size 5", "--sharp FILE"),
        ("b.png --size 5 --stars --sharp s.png", "not both"),
        ("b.png --sharp s.png", "--size"),
        ("b.png --sharp s.png --size five", "--size"),
        ("b.png --sharp s.png --size 500", "does not fit"),
        ("b.png --sharp s.png --size 5 -o k.png", ".npy"),
        ("b.png --sharp s.png --size 5 --dtype uint8", "float"),
        ("b.png --sharp s.png --size 5 --threshold 3", "--threshold is for --stars"),
        ("b.png --sharp s.png --size 5 --weight 0", "weight"),
        ("b.png --sharp small.png --size 5", "small.png"),
        ("b.png --sharp gone.png --size 5", "gone.png"),
        ("b.png --sharp flat.png --size 5", "everywhere"),
        ("nan.npy --sharp nan.npy --size 5", "--nan"),
        ("b.png --stars --size 6", "odd"),
        ("b.png --stars --size 5 --signed", "--signed is for --sharp"),
        ("b.png --stars --size 5 --sum free", "--sum is for --sharp"),
        ("colour.png --stars --size 5", "3 channels"),
        ("nan.npy --stars --size 5", "--nan"),
    ],
)
def test_what_is_refused(tmp_path: Path, pair: tuple[Path, Path], arguments: str, says: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    pair[0].rename(folder / "b.png")
    pair[1].rename(folder / "s.png")
    iio.imwrite(folder / "small.png", np.eye(40, 50, dtype=np.uint8))
    iio.imwrite(folder / "flat.png", np.full((200, 220), 9, np.uint8))
    iio.imwrite(folder / "colour.png", np.random.default_rng(1).integers(0, 99, (40, 50, 3), np.uint8))
    np.save(folder / "nan.npy", np.full((40, 50), np.nan))
    assert says in refused(folder, "estimate-kernel", *arguments.split(), cwd=folder)


def test_help_names_both_ways() -> None:
    outcome = run("estimate-kernel", "--help")
    assert outcome.status == 0
    assert b"--sharp" in outcome.stdout
    assert b"--stars" in outcome.stdout
