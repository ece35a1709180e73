"""`convtool compare`: its numbers against scikit-image's, its limits and its exit statuses."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from command import contents, refused, report, run, succeed
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

RNG = np.random.default_rng(13)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Two grey pictures, a.png and b.png, up to 12 levels apart; a has values below b's, where uint8 would wrap."""
    b = RNG.integers(0, 244, (30, 41), dtype=np.uint8)
    a = np.clip(b + RNG.integers(-11, 12, b.shape), 0, 255).astype(np.uint8)
    a[17, 5], b[17, 5] = 3, 15
    for name, values in (("a", a), ("b", b)):
        PIL.Image.fromarray(values).save(tmp_path / f"{name}.png")
        np.save(tmp_path / f"{name}.npy", values)
    return a, b


def numbers(text: bytes) -> dict[str, float]:
    """The first number of each line."""
    rows = [line.split() for line in text.decode().splitlines()]
    return {row[0]: float(row[1]) for row in rows if len(row) > 1}


def test_numbers(tmp_path: Path, pair: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = (values.astype(np.float64) for values in pair)
    outcome = succeed("compare", tmp_path / "a.png", tmp_path / "b.png", "--report", tmp_path / "r.json")
    assert outcome.stderr == ""
    ssim = structural_similarity(
        b, a, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, win_size=11
    )
    exact = {
        "max-abs": np.abs(a - b).max(),
        "mean-abs": np.abs(a - b).mean(),
        "relative": np.linalg.norm(a - b) / np.linalg.norm(b),
        "psnr": peak_signal_noise_ratio(b, a, data_range=255),
        "ssim": ssim,
    }
    shown = numbers(outcome.stdout)
    assert shown == pytest.approx(exact, rel=1e-5)
    assert b"max-abs    12 at Y=17, X=5" in outcome.stdout
    result = report(tmp_path / "r.json")["result"]
    assert {name: result[name.replace("-", "_")] for name in exact} == pytest.approx(exact, rel=1e-6)
    assert result["where"] == [17, 5]
    as_json = succeed("compare", tmp_path / "a.png", tmp_path / "b.png", "--json")
    assert json.loads(as_json.stdout)["result"] == result
    reverse = numbers(succeed("compare", tmp_path / "b.png", tmp_path / "a.png").stdout)
    assert reverse["relative"] == pytest.approx(np.linalg.norm(a - b) / np.linalg.norm(a), rel=1e-5)


def test_equal_images_have_infinite_psnr(tmp_path: Path, pair: tuple[np.ndarray, np.ndarray]) -> None:
    twice = (tmp_path / "b.png", tmp_path / "b.npy")
    outcome = succeed("compare", *twice, "--max-abs", "0", "--max-rel", "0", "--min-psnr", "1000", "--json")
    result = json.loads(outcome.stdout, parse_constant=pytest.fail)["result"]
    assert (result["max_abs"], result["relative"], result["psnr"]) == (0, 0, None)
    assert result["ssim"] == pytest.approx(1)
    assert result["verdict"] == "holds"
    assert "psnr       inf" in succeed("compare", *twice).stdout.decode()


@pytest.mark.parametrize(
    ("limits", "status"),
    [
        ("--max-abs 12", 0),
        ("--max-abs 11.9", 1),
        ("--max-rel 0.06", 0),
        ("--max-rel 0.01", 1),
        ("--min-psnr 30", 0),
        ("--min-psnr 40", 1),
        ("--max-abs 12 --max-rel 0.06 --min-psnr 40", 1),
    ],
)
def test_limits(tmp_path: Path, pair: tuple[np.ndarray, np.ndarray], limits: str, status: int) -> None:
    outcome = run("compare", tmp_path / "a.png", tmp_path / "b.png", *limits.split())
    verdict = outcome.stdout.decode().splitlines()[-1]
    assert (outcome.status, outcome.stderr) == (status, "")
    assert verdict.startswith("differs: " if status else "holds")
    if status:
        assert limits.split()[-1] in verdict
    quiet = run("compare", tmp_path / "a.png", tmp_path / "b.png", *limits.split(), "--quiet")
    assert (quiet.status, quiet.stdout, quiet.stderr) == (status, b"", "")


def test_without_limits_there_is_no_verdict(tmp_path: Path, pair: tuple[np.ndarray, np.ndarray]) -> None:
    stream = io.BytesIO()
    np.save(stream, pair[0])
    outcome = succeed("compare", "-", tmp_path / "b.png", stdin=stream.getvalue())
    assert numbers(outcome.stdout)["max-abs"] == 12
    assert b"differs" not in outcome.stdout
    assert b"holds" not in outcome.stdout


def test_floats_have_no_peak(tmp_path: Path) -> None:
    b = RNG.random((20, 31))
    a = b + 0.01
    np.save(tmp_path / "a.npy", a)
    np.save(tmp_path / "b.npy", b)
    both = ("compare", tmp_path / "a.npy", tmp_path / "b.npy")
    assert set(numbers(succeed(*both).stdout)) == {"max-abs", "mean-abs", "relative"}
    assert numbers(succeed(*both, "--peak", "1").stdout)["psnr"] == pytest.approx(40)
    assert "--peak" in refused(tmp_path, *both, "--min-psnr", "10")
    assert "peak" in refused(tmp_path, *both, "--peak", "0")


def test_dtypes_may_differ(tmp_path: Path, pair: tuple[np.ndarray, np.ndarray]) -> None:
    np.save(tmp_path / "wide.npy", pair[0].astype(np.int64))
    np.save(tmp_path / "float.npy", pair[0] + 0.25)
    assert run("compare", tmp_path / "wide.npy", tmp_path / "a.png", "--max-abs", "0").status == 0
    assert run("compare", tmp_path / "float.npy", tmp_path / "a.png", "--max-abs", "0.25").status == 0
    assert run("compare", tmp_path / "float.npy", tmp_path / "a.png", "--max-abs", "0.24").status == 1


def test_axes_are_matched_by_name(tmp_path: Path) -> None:
    colour = RNG.integers(0, 256, (20, 31, 3), dtype=np.uint8)
    PIL.Image.fromarray(colour).save(tmp_path / "a.png")
    np.save(tmp_path / "cyx.npy", np.moveaxis(colour, -1, 0))
    note = "convtool: note: "
    outcome = succeed("compare", tmp_path / "cyx.npy", tmp_path / "a.png", "--max-abs", "0")
    assert "CYX" in outcome.stderr
    assert outcome.stderr.startswith(note)


def test_alpha_is_compared(tmp_path: Path) -> None:
    a = RNG.integers(0, 256, (20, 31, 4), dtype=np.uint8)
    b = a.copy()
    b[3, 4, 3] ^= 1
    for name, values in (("a", a), ("b", b), ("opaque", a[..., :3])):
        PIL.Image.fromarray(values).save(tmp_path / f"{name}.png")
    outcome = run("compare", tmp_path / "a.png", tmp_path / "b.png", "--max-abs", "0")
    assert outcome.status == 1
    assert b"alpha" in outcome.stdout
    for names in (("a.png", "opaque.png"), ("opaque.png", "a.png")):  # no alpha is opaque
        dropped = run("compare", *(tmp_path / name for name in names), "--max-abs", "0")
        assert (dropped.status, f"differs at {int((a[..., 3] != 255).sum())} pixels".encode() in dropped.stdout) == (
            1,
            True,
        )


def test_trouble_is_2(tmp_path: Path, pair: tuple[np.ndarray, np.ndarray]) -> None:
    a = tmp_path / "a.npy"
    np.save(tmp_path / "other.npy", pair[0].T)
    holed = pair[0].astype(float)
    holed[2, 3] = np.nan
    np.save(tmp_path / "nan.npy", holed)
    line = refused(tmp_path, "compare", a, tmp_path / "nan.npy", "--max-abs", "1")
    assert "Y=2, X=3" in line
    assert "--nan" in line
    assert run("compare", tmp_path / "nan.npy", tmp_path / "nan.npy", "--nan", "mean", "--max-abs", "0").status == 0
    assert "1 NaN" in refused(tmp_path, "compare", tmp_path / "nan.npy", tmp_path / "nan.npy")
    line = refused(tmp_path, "compare", tmp_path / "other.npy", a)
    assert all(shape in line for shape in ("41x30", "30x41"))
    assert "gone.npy" in refused(tmp_path, "compare", a, tmp_path / "gone.npy", "--max-abs", "1", "--quiet")
    assert "standard input" in refused(tmp_path, "compare", "-", "-")
    refused(tmp_path, "compare", a)
    refused(tmp_path, "compare", a, a, "--max-abs", "-1")
    refused(tmp_path, "compare", a, a, "--max-abs", "nan")
    refused(tmp_path, "compare", a, a, "--report", a)
    refused(tmp_path, "compare", a, a, "--quiet", "--verbose")


def test_inputs_stay_and_nothing_is_added(tmp_path: Path, pair: tuple[np.ndarray, np.ndarray]) -> None:
    files = contents(tmp_path)
    succeed("compare", tmp_path / "a.png", tmp_path / "b.npy")
    assert contents(tmp_path) == files


def test_one_channel_or_one_image_is_the_same_with_an_axis_for_it(tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((7, 9))
    for name, shape in (("yx", (7, 9)), ("cyx", (1, 7, 9)), ("ncyx", (1, 1, 7, 9)), ("colour", (3, 7, 9))):
        np.save(tmp_path / f"{name}.npy", np.broadcast_to(x, shape))
    for a, b in (("yx", "cyx"), ("cyx", "yx"), ("ncyx", "yx"), ("yx", "ncyx"), ("cyx", "ncyx")):
        succeed("compare", f"{a}.npy", f"{b}.npy", "--max-abs", "0", cwd=tmp_path)
    assert "shape 3x7x9" in refused(tmp_path, "compare", "colour.npy", "yx.npy", cwd=tmp_path)
    assert "expected axes CYX" in refused(tmp_path, "compare", "yx.npy", "colour.npy", cwd=tmp_path)
