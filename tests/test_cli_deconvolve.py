"""`convtool deconvolve` on files: round trips, and every number of its report computed again from the files."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import tifffile
from command import PROGRAM, environment, notes, refused, report, succeed, value
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

import convtool

RNG = np.random.default_rng(12)
EPS = float(np.finfo(np.float32).eps)
PERIODIC = ("--method", "tikhonov", "--boundary", "periodic")  # what these tests compute again


def scene(*shape: int) -> np.ndarray:
    """A smooth picture of 8 bits with edges, so that there is something to restore."""
    y, x = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    values = 128 + 60 * np.sin(y / 5) * np.cos(x / 7) + 50 * ((y // 12 + x // 9) % 2) - 25
    return np.rint(values).astype(np.uint8)


def picture(file: Path) -> np.ndarray:
    with PIL.Image.open(file) as opened:
        return np.asarray(opened)


def transfer(taps: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The kernel's full spectrum on a grid, its centre tap at the origin."""
    padded = np.zeros(shape)
    padded[tuple(slice(n) for n in taps.shape)] = taps
    return np.fft.fft2(np.roll(padded, [-(n // 2) for n in taps.shape], axis=(0, 1)))


def blurred(x: np.ndarray, H: np.ndarray) -> np.ndarray:
    return np.fft.ifft2(np.fft.fft2(x) * H).real


def norm(values: np.ndarray) -> float:
    return float(np.linalg.norm(values.astype(np.float64)))


# What the report says, computed again -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method",
    [
        ["tikhonov"],
        ["tikhonov", "weight=0.002", "penalty=gradient"],
        ["tikhonov", "weight=0.01", "penalty=identity"],
        ["wiener"],
        ["wiener", "noise-to-signal=0.004"],
        ["pinv"],
        ["pinv", "rcond=0.05"],
    ],
    ids=" ".join,
)
def test_report_through_8_bit_files(tmp_path: Path, method: list[str]) -> None:
    x, taps = scene(60, 75), np.full((5, 5), 1 / 25)  # destroys frequencies of this grid
    PIL.Image.fromarray(x).save(tmp_path / "x.png")
    np.save(tmp_path / "k.npy", taps)
    kernel = ("-k", tmp_path / "k.npy")
    succeed("convolve", tmp_path / "x.png", *kernel)
    y, H = picture(tmp_path / "x.convolved.png"), transfer(taps, x.shape)
    assert np.abs(y - blurred(x, H)).max() <= 0.501
    sets = [word for setting in method[1:] for word in ("--set", setting)]
    common: list[str | Path] = ["deconvolve", tmp_path / "x.convolved.png", *kernel, "--method", method[0], *sets]
    outcome = succeed(*common, "--reference", tmp_path / "x.png", "--report", tmp_path / "r.json")
    succeed(*common, "-o", tmp_path / "raw.npy")
    raw, restored = np.load(tmp_path / "raw.npy"), picture(tmp_path / "x.convolved.deconvolved.png")
    assert raw.dtype == np.float32
    written = report(tmp_path / "r.json")
    assert value(written, "method") == method[0]
    assert written["notes"] == notes(outcome)
    _check_result(written["result"], raw, y, H)
    _check_destroyed(written, x, H, outcome.stderr)
    _check_reference(written["reference"], raw, restored, x)
    _check_output(written["output"], raw, restored)
    for setting in method[1:]:
        name, _, text = setting.partition("=")
        got = written["result"]["options"][name.replace("-", "_")]
        assert str(got) == text


def _check_result(result: dict[str, Any], raw: np.ndarray, y: np.ndarray, H: np.ndarray) -> None:
    residual = blurred(raw, H) - y
    assert result["relative_residual"] == pytest.approx(norm(residual) / norm(y), rel=1e-2, abs=1e-6)
    assert result["max_residual"] == pytest.approx(np.abs(residual).max(), rel=1e-2, abs=1e-3)
    assert result["stop"] == "solved in one step, frequency by frequency"


def _check_destroyed(written: dict[str, Any], x: np.ndarray, H: np.ndarray, said: str) -> None:
    gone = np.abs(H) <= 1000 * EPS * np.abs(H).max()
    energy = np.abs(np.fft.fft2(x)) ** 2
    share = energy[gone].sum() / energy.sum()
    assert written["kernel"]["frequencies_destroyed"] == gone.sum() > 0
    assert written["kernel"]["frequencies_total"] == x.size
    assert written["kernel"]["operator_norm"] == pytest.approx(np.abs(H).max(), rel=1e-5)
    assert written["kernel"]["condition"] is None
    assert written["reference"]["energy_destroyed"] == pytest.approx(share, rel=1e-3)
    sentence = f"the kernel wipes out {gone.sum()} of {x.size} frequencies"
    assert f"{sentence}; of the reference's energy {100 * share:.2g} % lay there and cannot come back" in said


def _check_reference(found: dict[str, Any], raw: np.ndarray, restored: np.ndarray, x: np.ndarray) -> None:
    for measured, image in ((found, raw), (found["as_written"], restored)):
        difference = image.astype(np.float64) - x
        ssim = structural_similarity(
            x.astype(np.float64), image.astype(np.float64), data_range=255, gaussian_weights=True, sigma=1.5,
            use_sample_covariance=False, win_size=11,
        )  # fmt: skip
        assert measured["relative"] == pytest.approx(norm(difference) / norm(x), rel=1e-5)
        assert measured["max_abs"] == pytest.approx(np.abs(difference).max(), rel=1e-5)
        assert measured["mean_abs"] == pytest.approx(np.abs(difference).mean(), rel=1e-5)
        exact = x.astype(np.float64)
        psnr = peak_signal_noise_ratio(exact, image.astype(np.float64), data_range=255)
        assert measured["psnr"] == pytest.approx(psnr, abs=1e-4)
        assert measured["ssim"] == pytest.approx(ssim, abs=1e-4)
        assert np.abs(difference)[tuple(measured["where"])] == pytest.approx(measured["max_abs"])


def _check_output(output: dict[str, Any], raw: np.ndarray, restored: np.ndarray) -> None:
    whole = np.rint(raw)
    np.testing.assert_array_equal(restored, np.clip(whole, 0, 255))
    assert (output["clipped_low"], output["clipped_high"]) == ((whole < 0).sum(), (whole > 255).sum())
    inside = (whole >= 0) & (whole <= 255)
    assert output["rounded"] == ((whole != raw) & inside).sum()
    error = np.sqrt(np.mean(np.square((whole - raw)[inside], dtype=np.float64)))
    assert output["rounding_error"] == pytest.approx(error, rel=1e-4)


def test_pinv_says_when_it_returns_amplified_rounding(tmp_path: Path) -> None:
    PIL.Image.fromarray(scene(64, 80)).save(tmp_path / "x.png")
    kernel = ("-k", "gaussian:sigma=1.5")
    succeed("convolve", tmp_path / "x.png", *kernel, "-o", tmp_path / "y.png")
    outcome = succeed(
        "deconvolve", tmp_path / "y.png", *kernel, "--method", "pinv", "--report", tmp_path / "r.json",
        "--reference", tmp_path / "x.png",
    )  # fmt: skip
    written = report(tmp_path / "r.json")
    taps = np.load(_kernel_file(tmp_path, kernel[1]))
    H = transfer(taps, (64, 80))
    kept = np.abs(H) > 1000 * EPS * np.abs(H).max()
    gain = np.sqrt(np.mean(np.square(1 / np.abs(H[kept])).sum() / H.size))
    assert written["result"]["noise_gain"] == pytest.approx(gain, rel=1e-2)
    expected = gain * np.sqrt(1 / 12 / np.square(scene(64, 80), dtype=np.float64).mean())
    assert written["result"]["rounding_error"] == pytest.approx(expected, rel=0.1)
    assert written["reference"]["relative"] == pytest.approx(expected, rel=0.25)  # what did happen
    percent = f"{100 * written['result']['rounding_error']:.3g}"
    sentence = f"rounding to 8 bits alone explains an error of {percent} %; try --method tikhonov"
    assert sentence in notes(outcome)


def _kernel_file(folder: Path, words: str) -> Path:
    succeed("make-kernel", words, "-o", folder / "made.npy")
    return folder / "made.npy"


def test_without_a_reference_the_data_cannot_tell(tmp_path: Path) -> None:
    np.save(tmp_path / "y.npy", RNG.random((20, 25)))
    outcome = succeed("deconvolve", tmp_path / "y.npy", "-k", "box:size=5", *PERIODIC, "--report", tmp_path / "r.json")
    assert any(note.endswith("how much of the image lay there, the data cannot tell") for note in notes(outcome))
    written = report(tmp_path / "r.json")
    assert "reference" not in written
    assert written["result"]["weight_source"] == "chosen by generalised cross-validation"
    assert written["result"]["weight"] >= 0
    for section in ("input", "kernel", "result", "output", "seconds", "settings"):
        assert written[section]


def test_identity_penalty_warns_unless_its_weight_is_given(tmp_path: Path) -> None:
    np.save(tmp_path / "y.npy", RNG.random((20, 25)))
    common = (
        "deconvolve",
        tmp_path / "y.npy",
        "-k",
        "random",
        *PERIODIC,
        "-o",
        tmp_path / "x.npy",
        "--set",
        "penalty=identity",
    )
    assert "identity" in succeed(*common).stderr
    assert "identity" not in succeed(*common, "--set", "weight=0.1").stderr


# Round trips ------------------------------------------------------------------------------------------------------


def _round_trip(folder: Path, x: np.ndarray, taps: np.ndarray, *options: str) -> float:
    np.save(folder / "x.npy", x)
    np.save(folder / "k.npy", taps)
    kernel = ("-k", folder / "k.npy")
    succeed("convolve", folder / "x.npy", *kernel, "-o", folder / "y.npy", *options)
    assert np.abs(np.load(folder / "y.npy") - x).max() > 1e-3
    succeed(
        "deconvolve", folder / "y.npy", *kernel, "--method", "pinv", "-o", folder / "z.npy",
        "--reference", folder / "x.npy", "--peak", "1", "--report", folder / "r.json", *options,
    )  # fmt: skip
    z = np.load(folder / "z.npy")
    assert (z.dtype, z.shape) == (x.dtype, x.shape)
    found = report(folder / "r.json")
    assert found["reference"]["relative"] == pytest.approx(norm(z - x) / norm(x), rel=1e-6)
    assert found["kernel"]["frequencies_destroyed"] == 0
    return norm(z - x) / norm(x)


def _invertible(*shape: int) -> np.ndarray:
    """Taps of which one outweighs all others."""
    taps = RNG.random(shape)
    taps[tuple(n // 3 for n in shape)] += taps.size
    return taps / taps.sum()


def test_grey_comes_back(tmp_path: Path) -> None:
    assert _round_trip(tmp_path, RNG.random((30, 41)), _invertible(4, 5)) < 1e-10


def test_colour_comes_back_from_a_kernel_that_mixes(tmp_path: Path) -> None:
    taps = RNG.random((3, 3, 3, 3)) / 27 + 2 * np.einsum("oi,yx->oiyx", np.eye(3), np.pad([[1.0]], 1))
    assert _round_trip(tmp_path, RNG.random((30, 41, 3)), taps, "--axes", "YXC") < 1e-10


def test_a_stack_comes_back(tmp_path: Path) -> None:
    assert _round_trip(tmp_path, RNG.random((7, 20, 33)), _invertible(3, 2, 5), "--axes", "ZYX") < 1e-10


def test_a_tiff_stack_of_floats_comes_back(tmp_path: Path) -> None:
    x = RNG.random((6, 20, 33)).astype(np.float32)
    tifffile.imwrite(tmp_path / "x.tif", x, imagej=True, metadata={"axes": "ZYX"})
    np.save(tmp_path / "k.npy", _invertible(3, 3, 3))
    kernel = ("-k", tmp_path / "k.npy")
    succeed("convolve", tmp_path / "x.tif", *kernel)
    succeed("deconvolve", tmp_path / "x.convolved.tif", *kernel, "--method", "pinv")
    z = tifffile.imread(tmp_path / "x.convolved.deconvolved.tif")
    assert z.dtype == np.float32
    assert norm(z - x) / norm(x) < 1e-5


def test_operation_and_origin_must_be_those_that_made_the_data(tmp_path: Path) -> None:
    x = RNG.random((24, 31))
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "k.npy", _invertible(4, 5))
    shared = ("-k", tmp_path / "k.npy", "--origin", "0,4")
    succeed("correlate", tmp_path / "x.npy", *shared, "-o", tmp_path / "y.npy")
    back = ("deconvolve", tmp_path / "y.npy", "--method", "pinv", "-o", tmp_path / "z.npy")
    succeed(*back, *shared, "--operation", "correlate")
    assert norm(np.load(tmp_path / "z.npy") - x) < 1e-10
    succeed(*back, *shared)
    assert norm(np.load(tmp_path / "z.npy") - x) > 0.1


def test_colour_is_undone_channel_by_channel_with_alpha_untouched(tmp_path: Path) -> None:
    x = np.dstack([scene(40, 51), scene(40, 51)[::-1], scene(51, 40).T, RNG.integers(0, 256, (40, 51))])
    PIL.Image.fromarray(x.astype(np.uint8), "RGBA").save(tmp_path / "x.png")
    kernel = ("-k", "gaussian:sigma=0.6")
    succeed("convolve", tmp_path / "x.png", *kernel, "-o", tmp_path / "y.png")
    succeed("deconvolve", tmp_path / "y.png", *kernel, *PERIODIC)
    z = picture(tmp_path / "y.deconvolved.png")
    np.testing.assert_array_equal(z[..., 3], x[..., 3])
    before, after = (norm(a[..., :3].astype(float) - x[..., :3]) for a in (picture(tmp_path / "y.png"), z))
    assert after < before / 3


# Pipelines --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(30, 41), (30, 41, 3), (30, 41, 4)], ids=["grey", "rgb", "rgb-alpha"])
def test_a_pipeline_blurs_and_restores(tmp_path: Path, shape: tuple[int, ...]) -> None:
    x = np.resize(scene(30, 41)[..., None], (30, 41, 1)) if len(shape) == 3 else scene(30, 41)
    x = np.broadcast_to(x, shape).astype(np.uint8)
    PIL.Image.fromarray(np.ascontiguousarray(x)).save(tmp_path / "a.png")
    np.save(tmp_path / "k.npy", _invertible(3, 4))
    first = [*PROGRAM, "convolve", "a.png", "-k", "k.npy", "-o", "-"]
    second = [*PROGRAM, "deconvolve", "-", "-k", "k.npy", *PERIODIC, "-o", "b.png"]
    settings: dict[str, Any] = {"cwd": tmp_path, "env": environment(), "stderr": subprocess.PIPE}
    with subprocess.Popen(first, stdout=subprocess.PIPE, **settings) as blur:
        undo = subprocess.run(second, stdin=blur.stdout, stdout=subprocess.PIPE, timeout=60, **settings)
        assert (blur.wait(), undo.returncode) == (0, 0), undo.stderr.decode()
    assert undo.stdout == b""
    z = picture(tmp_path / "b.png")
    assert z.dtype == np.uint8
    assert np.abs(z[..., :3].astype(int) - x[..., :3]).max() <= 1


def test_nothing_but_the_result_on_standard_output(tmp_path: Path) -> None:
    x = scene(30, 41)
    PIL.Image.fromarray(x).save(tmp_path / "x.png")
    outcome = succeed("deconvolve", tmp_path / "x.png", "-k", "box", "-o", "-", "--format", "png", "--verbose")
    assert outcome.stdout.startswith(b"\x89PNG\r\n")
    assert outcome.stdout.endswith(b"IEND\xaeB`\x82")
    assert "relative residual" in outcome.stderr
    assert "\x1b" not in outcome.stderr
    quiet = succeed("deconvolve", tmp_path / "x.png", "-k", "box", "-o", "-", "--quiet", "--format", "png")
    assert (quiet.stdout, quiet.stderr) == (outcome.stdout, "")


# Refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--method magic", "pinv"),
        ("--method tikhonov --set weigth=1", "weight"),
        ("--set weight", "name=value"),
        ("--method tikhonov --set weight=-1", "weight"),
        ("--method tikhonov --set weight=lots", "number"),
        ("--set weight=1 --set weight=2", "twice"),
        ("--method tikhonov --set penalty=tv", "laplacian, gradient or identity"),
        ("--method pinv --set rcond=1", "rcond"),
        ("--method wiener --set noise_to_signal=inf", "noise_to_signal"),
        ("--method pinv --boundary zero", "boundary periodic"),
        ("--reference other.npy", "20x25"),
        ("--reference x.npy --peak 0", "peak"),
        ("--reference gone.npy", "gone.npy"),
        ("-k oiyx.npy", "channels"),
    ],
)
def test_settings_that_do_not_fit(tmp_path: Path, options: str, says: str) -> None:
    np.save(tmp_path / "x.npy", RNG.random((20, 25)))
    np.save(tmp_path / "other.npy", RNG.random((20, 24)))
    np.save(tmp_path / "oiyx.npy", RNG.random((3, 3, 2, 2)))
    kernel = () if options.startswith("-k") else ("-k", "box")
    assert says in refused(tmp_path, "deconvolve", "x.npy", *kernel, *options.split(), cwd=tmp_path)


# Found by review ---------------------------------------------------------------------------------------------------


def test_rounding_is_told_in_linear_light_too(tmp_path: Path) -> None:
    """The noise that rounding leaves is that of code values, stretched by the slope of the decoding."""
    x = np.stack([scene(48, 60)] * 3, axis=-1)
    PIL.Image.fromarray(x).save(tmp_path / "x.png")
    succeed("convolve", tmp_path / "x.png", "-k", "gaussian:sigma=1.5", "--linear", "-o", tmp_path / "y.png")
    words = ("deconvolve", tmp_path / "y.png", "-k", "gaussian:sigma=1.5", "--linear", "--method", "pinv")
    outcome = succeed(*words, "-o", tmp_path / "z.npy", "--report", tmp_path / "r.json")
    assert any("rounding to 8 bits alone" in note for note in notes(outcome))
    found, z = report(tmp_path / "r.json")["result"], np.load(tmp_path / "z.npy")
    y = picture(tmp_path / "y.png") / 255
    slope = np.where(y <= 0.04045, 1 / 12.92, 2.4 / 1.055 * ((y + 0.055) / 1.055) ** 1.4)
    light = 255 * np.where(y <= 0.04045, y / 12.92, ((y + 0.055) / 1.055) ** 2.4)
    level = np.sqrt(np.square(slope).mean() / 12)
    expected = found["noise_gain"] * level * np.sqrt(y.size) / norm(light)
    assert found["rounding_error"] == pytest.approx(expected, rel=0.01)
    assert (found["min"], found["max"]) == pytest.approx((z.min(), z.max()))  # in the units of the file


def test_sixteen_bits_stay_sixteen_through_a_pipe(tmp_path: Path) -> None:
    PIL.Image.fromarray(scene(30, 41).astype(np.uint16) * 257).save(tmp_path / "x.png")
    blur = succeed("convolve", tmp_path / "x.png", "-k", "box", "-o", "-")
    succeed("deconvolve", "-", "-k", "box", "-o", tmp_path / "z.png", stdin=blur.stdout)
    z = picture(tmp_path / "z.png")
    assert z.dtype == np.uint16
    assert peak_signal_noise_ratio(scene(30, 41).astype(np.uint16) * 257, z) > 45


def test_axes_are_those_of_the_array_not_of_the_reference_image(tmp_path: Path) -> None:
    x = np.stack([scene(30, 41), scene(41, 30).T, scene(30, 41) // 2], axis=-1)
    PIL.Image.fromarray(x).save(tmp_path / "x.png")
    np.save(tmp_path / "x.npy", np.moveaxis(x, -1, 0))
    words = (
        "deconvolve",
        tmp_path / "x.npy",
        "-k",
        "delta",
        "--axes",
        "CYX",
        "--reference",
        tmp_path / "x.png",
        *PERIODIC,
    )
    succeed(*words, "-o", tmp_path / "z.npy", "--report", tmp_path / "r.json")
    assert report(tmp_path / "r.json")["reference"]["relative"] < 1e-5


def test_what_nobody_reads_changes_no_pixel(tmp_path: Path) -> None:
    """Residuals, tests of the data and facts of the kernel are left out where neither table, notes nor report come."""
    words = (
        "deconvolve",
        Path(__file__).parents[1] / "sample_images/camera.png",
        "-k",
        "gaussian:sigma=2",
        "--method",
        "tikhonov",
    )
    words = (*words, "--set", "weight=0.01", "--boundary", "periodic")
    notes = succeed(*words, "-o", tmp_path / "a.png").stderr
    succeed(*words, "-o", tmp_path / "b.png", "--quiet")
    quiet = succeed(*words, "-o", tmp_path / "c.png", "--quiet", "--report", tmp_path / "r.json")
    assert len({(tmp_path / f"{name}.png").read_bytes() for name in "abc"}) == 1
    found = report(tmp_path / "r.json")
    assert quiet.stderr == ""
    assert f"convtool: note: {found['notes'][0]}" == notes.splitlines()[0]
    assert found["result"]["relative_residual"] > 0
    assert found["settings"]["engine"]["value"] != "auto"


def test_numbers_are_not_poured_onto_a_terminal(tmp_path: Path) -> None:
    pty = pytest.importorskip("pty")
    np.save(tmp_path / "x.npy", np.ones((4, 5)))
    _, terminal = pty.openpty()
    command = [*PROGRAM, "deconvolve", str(tmp_path / "x.npy"), "-k", "delta", "-o", "-"]
    done = subprocess.run(command, stdout=terminal, stderr=subprocess.PIPE, env=environment())
    assert (done.returncode, b"redirect" in done.stderr) == (2, True)


@pytest.mark.parametrize("method", ["auto", "non-local", "tv", "tikhonov", "wiener", "rl"])
def test_what_a_jpeg_has_lost_is_not_taken_for_detail(tmp_path: Path, method: str) -> None:
    """Taken for noise of rounding alone, a result was up to 21 dB further from the truth than the file."""
    truth = np.asarray(PIL.Image.open(Path(__file__).parent.parent / "sample_images" / "chelsea.png"))
    line = np.exp(-(np.arange(-8, 9) ** 2) / 8)
    kernel = np.outer(line, line) / line.sum() ** 2
    np.save(tmp_path / "k.npy", kernel)
    soft = convtool.convolve(truth.astype(float), kernel, axes="YXC", boundary="reflect")
    crop = (slice(40, 200), slice(100, 290))
    noisy = soft[crop] + np.random.default_rng(0).standard_normal(soft[crop].shape)
    PIL.Image.fromarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8)).save(tmp_path / "y.jpg", quality=95)
    outcome = succeed("deconvolve", "y.jpg", "-k", "k.npy", "--method", method, "-o", "x.png", cwd=tmp_path)
    assert "y.jpg is a JPEG: what its compression changed counts as noise of 1.4 grey levels" in outcome.stderr
    before, after = (
        peak_signal_noise_ratio(truth[crop], np.asarray(PIL.Image.open(tmp_path / name))) for name in ("y.jpg", "x.png")
    )
    assert after > before + 1.2
