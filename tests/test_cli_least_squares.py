"""`convtool deconvolve --method least-squares` on files: any padding, stride and boundary, and what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import oracles
import PIL.Image
import pytest
from command import PROGRAM, environment, notes, refused, report, run, succeed, value
from skimage.metrics import peak_signal_noise_ratio

RNG = np.random.default_rng(31)
METHOD = ("--method", "least-squares")
TAPS = np.array([[0.1, 0.2, 0.0], [0.1, 1.0, 0.3], [0.0, 0.1, 0.0]])
BLUR = np.outer([0.25, 0.5, 0.25], [0.1, 0.3, 0.4, 0.2])


def norm(values: np.ndarray) -> float:
    return float(np.linalg.norm(values.astype(np.float64)))


def saved(folder: Path, **arrays: np.ndarray) -> None:
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)


def scene(height: int, width: int) -> np.ndarray:
    y, x = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    return np.rint(128 + 60 * np.sin(y / 5) * np.cos(x / 7) + 25 * ((y // 12 + x // 9) % 2)).astype(np.uint8)


# Round trips ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("boundary", "words"),
    [
        ("zero", ""),
        ("edge", "--padding full"),
        ("reflect", "--padding 2:4,3:2 --dilation 2"),
        ("symmetric", "--origin 2,1"),
        ("periodic", "--padding 3"),
    ],
)
def test_convolve_and_back(tmp_path: Path, words: str, boundary: str) -> None:
    saved(tmp_path, x=RNG.random((19, 14)), k=TAPS if "origin" not in words else np.roll(TAPS, 1, 0))
    how = ("-k", "k.npy", "--boundary", boundary, *words.split())
    succeed("convolve", "x.npy", *how, "-o", "y.npy", cwd=tmp_path)
    shape = ("--image-shape", "19x14")
    more = ("--reference", "x.npy", "--report", "r.json", "--peak", "1")
    succeed("deconvolve", "y.npy", *how, *METHOD, *shape, "-o", "z.npy", *more, cwd=tmp_path)
    x, z = np.load(tmp_path / "x.npy"), np.load(tmp_path / "z.npy")
    found = report(tmp_path / "r.json")
    error = norm(z - x) / norm(x)
    assert found["reference"]["relative"] == pytest.approx(error, abs=1e-15)
    assert error <= found["result"]["error_bound"] < 1e-8
    assert value(found, "image_shape") == [19, 14]


def test_a_stride_gives_the_least_norm_and_the_report_says_so(tmp_path: Path) -> None:
    saved(tmp_path, x=RNG.random((9, 12)), k=BLUR)
    how = ("-k", "k.npy", "--boundary", "zero", "--stride", "2,3")
    succeed("convolve", "x.npy", *how, "-o", "y.npy", cwd=tmp_path)
    said = refused(tmp_path, "deconvolve", "y.npy", *how, *METHOD, "-o", "z.npy", cwd=tmp_path)
    assert said == (
        "the data of 5x4 at stride 2,3 come from images of 9x10 to 10x12: say --image-shape"
        " 10,12 (shape= in Python), or what it was, and a method for strides (least-squares, tv, rl)"
    )
    words = ("deconvolve", "y.npy", *how, *METHOD, "--image-shape", "9,12", "-o", "z.npy", "--report", "r.json")
    outcome = succeed(*words, cwd=tmp_path)
    a = oracles.matrix(BLUR[None, None], (1, 9, 12), boundary="zero", stride=(2, 3))
    expected = np.linalg.pinv(a) @ np.load(tmp_path / "y.npy").ravel()
    np.testing.assert_allclose(np.load(tmp_path / "z.npy").ravel(), expected, atol=1e-9)
    found = report(tmp_path / "r.json")
    values = np.linalg.svd(a, compute_uv=False)
    assert found["result"]["condition"] == pytest.approx(values[0] / values[-1], rel=1e-9)
    assert (found["result"]["condition_source"], found["result"]["rank"]) == ("exact", 20)
    assert found["result"]["solved"] == "by LSQR"
    assert re.fullmatch(r"residual reached \S+ after \d+ iterations", found["result"]["stop"])
    assert found["notes"] == notes(outcome)
    assert any("the data determine 20 of 108 unknowns" in note for note in notes(outcome))


@pytest.mark.parametrize("words", ["--padding 1", "--padding 1 --stride 2 --image-shape 14,11"])
def test_a_torch_layer_is_undone(tmp_path: Path, words: str) -> None:
    torch = pytest.importorskip("torch", reason="the extra 'references' is not installed")
    x, taps = RNG.normal(size=(2, 3, 14, 11)), RNG.normal(size=(14, 3, 3, 3))
    stride = 2 if "stride" in words else 1
    y = torch.nn.functional.conv2d(torch.tensor(x), torch.tensor(taps), padding=1, stride=stride).numpy()
    saved(tmp_path, y=y, k=taps)
    how = ("--operation", "correlate", "--boundary", "zero", *words.split(), "--axes", "NCYX")
    succeed("deconvolve", "y.npy", "-k", "k.npy", *METHOD, *how, "-o", "z.npy", cwd=tmp_path)
    np.testing.assert_allclose(np.load(tmp_path / "z.npy"), x, atol=1e-9)


def test_photographs_keep_type_and_metadata(tmp_path: Path) -> None:
    x = np.stack([scene(60, 75), scene(75, 60).T, 255 - scene(60, 75)], axis=-1)
    PIL.Image.fromarray(x).save(tmp_path / "x.png")
    saved(tmp_path, k=TAPS / TAPS.sum())
    how = ("-k", "k.npy", "--boundary", "zero")
    succeed("convolve", "x.png", *how, "-o", "y.png", cwd=tmp_path)
    succeed("deconvolve", "y.png", *how, *METHOD, cwd=tmp_path)
    with PIL.Image.open(tmp_path / "y.deconvolved.png") as opened:
        z = np.asarray(opened)
    assert (z.dtype, z.shape) == (x.dtype, x.shape)
    assert peak_signal_noise_ratio(x, z) > 45


def test_alpha_of_another_size_is_left_out_and_said(tmp_path: Path) -> None:
    image = np.dstack([scene(20, 24), np.full((20, 24), 200, np.uint8)])
    PIL.Image.fromarray(image, "LA").save(tmp_path / "y.png")
    words = ("deconvolve", "y.png", "-k", "box", *METHOD, "--boundary", "zero", "-o", "z.png")
    assert not [note for note in notes(succeed(*words, cwd=tmp_path)) if "alpha" in note]
    larger = succeed(*words, "--padding", "valid", cwd=tmp_path)
    assert "not kept: alpha, which is as large as the data, 20x24; the result is 22x26" in notes(larger)
    with PIL.Image.open(tmp_path / "z.png") as opened:
        assert (opened.mode, opened.size) == ("L", (26, 22))


def test_a_merged_kernel_brings_its_settings_and_its_bias(tmp_path: Path) -> None:
    first, second = RNG.normal(size=(4, 2, 3, 3)), RNG.normal(size=(5, 4, 1, 1))
    saved(tmp_path, a=first, b=second, bias=np.arange(4.0), x=RNG.normal(size=(1, 2, 8, 9)))
    how = ("--operation", "correlate", "--boundary", "zero")
    bias = ("--bias", "bias.npy", "--bias", "none")
    succeed(
        "merge-kernels", "a.npy", "b.npy", "-o", "k.npy", *how, *bias, "--padding", "1", "--padding", "0", cwd=tmp_path
    )
    succeed("correlate", "x.npy", "-k", "k.npy", "-o", "y.npy", cwd=tmp_path)
    succeed("deconvolve", "y.npy", "-k", "k.npy", *METHOD, "-o", "z.npy", cwd=tmp_path)
    np.testing.assert_allclose(np.load(tmp_path / "z.npy"), np.load(tmp_path / "x.npy"), atol=1e-8)


# What it says ---------------------------------------------------------------------------------------------------------


def test_the_periodic_inverse_is_measured_beside_it(tmp_path: Path) -> None:
    saved(tmp_path, x=RNG.random((30, 26)), k=TAPS)
    how = ("-k", "k.npy", "--boundary", "zero")
    succeed("convolve", "x.npy", *how, "-o", "y.npy", cwd=tmp_path)
    more = ("--reference", "x.npy", "--peak", "1", "--report", "r.json")
    outcome = succeed("deconvolve", "y.npy", *how, *METHOD, "-o", "z.npy", *more, cwd=tmp_path)
    succeed("deconvolve", "y.npy", "-k", "k.npy", "--method", "pinv", "-o", "p.npy", cwd=tmp_path)
    x, p = np.load(tmp_path / "x.npy"), np.load(tmp_path / "p.npy")
    found = report(tmp_path / "r.json")
    beside = found["reference"]["periodic"]
    assert beside["relative"] == pytest.approx(norm(p - x) / norm(x), rel=1e-9)
    assert beside["psnr"] == pytest.approx(peak_signal_noise_ratio(x, p, data_range=1.0), abs=1e-6)
    assert found["reference"]["relative"] < 1e-9 < 1e-2 < beside["relative"]
    assert found["result"]["periodic"]["norm"] == pytest.approx(norm(p))
    said = [note for note in notes(outcome) if "periodic inverse" in note]
    assert re.fullmatch(r"the periodic inverse .* would have left a residual of \S+ % of the data", said[0])
    assert re.fullmatch(r"from the reference the periodic inverse is \S+ % away, this result \S+ %", said[1])


def test_a_limit_is_announced_and_its_way_on(tmp_path: Path) -> None:
    saved(tmp_path, x=RNG.random((60, 50)), k=BLUR)
    how = ("-k", "k.npy", "--boundary", "zero")
    succeed("convolve", "x.npy", *how, "-o", "y.npy", cwd=tmp_path)
    words = ("deconvolve", "y.npy", *how, *METHOD, "-o", "z.npy", "--set", "limit=30")
    said = notes(succeed(*words, "--set", "solver=iterative", cwd=tmp_path))
    lead = r"stopped at 30 iterations: the operator's condition number is at least \S+, expect an error of about \S+"
    assert re.fullmatch(rf"{lead} or more", said[0])
    way = r"an invertible operator can be solved in one step, here with \d+ MiB of memory: --set solver=direct"
    assert re.fullmatch(way, said[1])
    said = notes(succeed(*words, "--set", "memory=0", "--report", "r.json", cwd=tmp_path))
    assert re.fullmatch(rf"{way} --set memory=1", said[1])
    assert report(tmp_path / "r.json")["result"]["error_bound"] is None
    succeed("deconvolve", "y.npy", *how, *METHOD, "-o", "z.npy", "--set", "solver=direct", cwd=tmp_path)
    assert norm(np.load(tmp_path / "z.npy") - np.load(tmp_path / "x.npy")) < 1e-6


def test_rounded_data_are_warned_of(tmp_path: Path) -> None:
    PIL.Image.fromarray(scene(50, 64)).save(tmp_path / "x.png")
    how = ("-k", "gaussian:sigma=1.2", "--boundary", "zero")
    succeed("convolve", "x.png", *how, "-o", "y.png", cwd=tmp_path)
    said = notes(succeed("deconvolve", "y.png", *how, *METHOD, "-o", "z.npy", cwd=tmp_path))
    (amplified,) = [note for note in said if note.startswith("the truth may be further away")]
    assert re.search(
        r"errors of the data are amplified up to \S+ times; where they are noise, --set damping=", amplified
    )
    assert any(re.search(r"rounding to 8 bits is \S+ % of the data", note) for note in said)
    damped = ("--set", "damping=0.02", "--reference", "x.png", "--report", "r.json")
    said = notes(succeed("deconvolve", "y.png", *how, *METHOD, *damped, "-o", "z.npy", cwd=tmp_path))
    assert not [note for note in said if "amplified" in note]
    assert report(tmp_path / "r.json")["reference"]["relative"] < 0.1


def test_rounding_of_floats_is_told_where_it_matters(tmp_path: Path) -> None:
    """A kernel of condition 1e7: float32 data carry an error of 3e-8, the answer one of some per cent."""
    x, how = RNG.random((30, 26)), ("-k", "gaussian:sigma=1.9", "--boundary", "zero")
    said = {}
    for dtype in ("float32", "float64"):
        np.save(tmp_path / "x.npy", x.astype(dtype))
        succeed("convolve", "x.npy", *how, "-o", "y.npy", cwd=tmp_path)
        said[dtype] = " ".join(notes(succeed("deconvolve", "y.npy", *how, *METHOD, "-o", "z.npy", cwd=tmp_path)))
    assert re.search(r"rounding to float32 alone explains an error of \S+ %", said["float32"])
    assert "rounding to float" not in said["float64"]


@pytest.mark.parametrize("wrong", [("--operation", "convolve"), ("--boundary", "periodic"), ("--bias", "none.npy"), ()])
def test_settings_that_do_not_explain_the_data_are_doubted(tmp_path: Path, wrong: tuple[str, ...]) -> None:
    taps = RNG.standard_normal((24, 3, 3, 3))
    saved(tmp_path, x=RNG.random((3, 14, 11)), k=taps, bias=np.linspace(1, 3, 24), none=np.zeros(24))
    layer = [
        "-k",
        "k.npy",
        "--boundary",
        "zero",
        "--padding",
        "1",
        "--stride",
        "2",
        "--bias",
        "bias.npy",
        "--axes",
        "CYX",
    ]
    succeed("correlate", "x.npy", *layer, "-o", "y.npy", cwd=tmp_path)
    layer += ["--operation", "correlate", "--image-shape", "14,11"]
    if wrong:
        place = layer.index(wrong[0])
        layer[place : place + 2] = wrong
    said = notes(succeed("deconvolve", "y.npy", *layer, *METHOD, "-o", "z.npy", cwd=tmp_path))
    doubted = [note for note in said if "of the data cannot come from any image through this kernel" in note]
    assert (said[:1] == doubted) if wrong else not doubted
    error = np.linalg.norm(np.load(tmp_path / "z.npy") - np.load(tmp_path / "x.npy"))
    assert (error < 1e-8) == (not wrong)


@pytest.mark.parametrize(
    ("method", "words", "got"),
    [
        ("pinv", "--boundary zero", "boundary zero"),
        ("pinv", "--padding valid", "outputs of 12x10 for an image of 14x12"),
        ("pinv", "--stride 2,1 --image-shape 23,10", "stride 2,1"),
        ("tikhonov", "--stride 2", "--image-shape 24,20"),
    ],
)
def test_what_other_methods_cannot_do_points_here(tmp_path: Path, method: str, words: str, got: str) -> None:
    saved(tmp_path, y=RNG.random((12, 10)))
    said = refused(
        tmp_path, "deconvolve", "y.npy", "-k", "box", "--method", method, *words.split(), "-o", "z.npy", cwd=tmp_path
    )
    assert got in said
    assert "least-squares" in said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--image-shape 12", "2 of them (one per axis of the kernel), got 12"),
        ("--image-shape 12,a", "--image-shape must be lengths such as 480,640, got '12,a'"),
        ("--image-shape 30,10", "gives data of 30x10, and these are 12x10, which come from images of 12x10"),
        ("--padding 9", "come from no image"),
        ("--set solver=fast", "auto, iterative or direct"),
        ("--set damping=-1", "damping must be at least 0"),
        ("--set solver=direct --padding valid", "no solution in one step: that takes stride 1"),
        ("--reference small.npy", "12x10"),
    ],
)
def test_settings_that_do_not_fit(tmp_path: Path, words: str, says: str) -> None:
    saved(tmp_path, y=RNG.random((12, 10)), small=RNG.random((5, 5)))
    common = ("deconvolve", "y.npy", "-k", "box", "--boundary", "zero", *METHOD, "-o", "z.npy")
    assert says in refused(tmp_path, *common, *words.split(), cwd=tmp_path)


# Progress -------------------------------------------------------------------------------------------------------------


def _on_a_terminal(folder: Path, *words: str) -> tuple[int, str]:
    """The exit status, and what a terminal on standard error got to see."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    done = subprocess.Popen([*PROGRAM, *words], cwd=folder, stderr=theirs, stdin=subprocess.DEVNULL, env=environment())
    os.close(theirs)
    seen = b""
    while True:
        try:
            chunk = os.read(ours, 4096)
        except OSError:  # how Linux says that nobody writes any more
            break
        if not chunk:
            break
        seen += chunk
    os.close(ours)
    return done.wait(), seen.decode()


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_progress_is_shown_to_people_only(tmp_path: Path) -> None:
    saved(tmp_path, y=RNG.random((900, 800)), k=BLUR)
    words = ("deconvolve", "y.npy", "-k", "k.npy", "--boundary", "edge", *METHOD, "-o", "z.npy")
    words = (*words, "--set", "solver=iterative")
    status, seen = _on_a_terminal(tmp_path, *words, "--set", "limit=150")
    assert status == 0
    line = r"\r\x1b\[2Kiteration (\d+) of at most 150, residual \d\.\de-?\+?\d+, \S+ a second"
    steps = [int(step) for step in re.findall(line, seen)]
    assert len(steps) > 1
    assert steps == sorted(steps)
    after = seen[seen.rindex(" a second") :]
    assert 0 < after.index("\x1b[1A\x1b[2K") < after.index("input")  # the bar is gone before the table comes
    short = (*words, "--set", "limit=9")
    assert "iteration" not in run(*short, cwd=tmp_path).stderr.replace("iterations", "")
    assert _on_a_terminal(tmp_path, *short, "--quiet") == (0, "")


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_factorising_is_announced_on_a_terminal(tmp_path: Path) -> None:
    saved(tmp_path, y=RNG.random((40, 30)), k=BLUR)
    words = ("deconvolve", "y.npy", "-k", "k.npy", "--boundary", "edge", *METHOD, "-o", "z.npy")
    _, seen = _on_a_terminal(tmp_path, *words, "--set", "solver=direct")
    rows = 42 * 33 - 40 * 30
    assert re.search(rf"factoring a {rows}x{rows} matrix, in \d+ MiB of memory|factored: solving", seen)


def settings_of(found: dict[str, Any]) -> dict[str, Any]:
    return {name: entry["value"] for name, entry in found["settings"].items()}


def test_every_setting_is_in_the_report(tmp_path: Path) -> None:
    saved(tmp_path, y=RNG.random((6, 5)))
    words = ("--padding", "1,2", "--stride", "1,2", "--dilation", "1", "--image-shape", "6,7", "--boundary", "edge")
    succeed(
        "deconvolve", "y.npy", "-k", "box", *METHOD, *words, "-o", "z.npy", "--report", "r.json", "--set", "tol=1e-4",
        cwd=tmp_path,
    )  # fmt: skip
    found = report(tmp_path / "r.json")
    expected = {"padding": [1, 2], "stride": [1, 2], "dilation": 1, "image_shape": [6, 7], "boundary": "edge"}
    assert settings_of(found).items() >= expected.items()
    assert found["result"]["options"]["tol"] == 1e-4
    assert found["output"]["shape"] == [6, 7]
