"""`convtool make-kernel` and the same kernels as --kernel; `convtool plan` and the wisdom that it keeps."""

from __future__ import annotations

import dataclasses
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
import tifffile
from command import contents, environment, refused, report, run, succeed, value

from convtool.costs import Costs, as_bytes, from_bytes

RNG = np.random.default_rng(14)
FAMILIES = {
    "gaussian": "sigma=1.6",
    "box": "size=3,4",
    "disk": "radius=2.5",
    "motion": "length=7,angle=30",
    "airy": "radius=2,size=9",
    "moffat": "fwhm=3,size=15",
    "sobel-x": "",
    "sobel-y": "",
    "laplacian": "neighbours=8",
    "delta": "shift=1,-2",
    "random": "size=3,4,seed=5",
}


def loaded(raw: bytes) -> np.ndarray:
    return np.load(io.BytesIO(raw), allow_pickle=False)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_makes_the_kernel_that_the_same_words_are(tmp_path: Path, family: str) -> None:
    words = f"{family}:{FAMILIES[family]}" if FAMILIES[family] else family
    succeed("make-kernel", words, cwd=tmp_path, env=environment())
    taps = np.load(tmp_path / f"{family}.npy")
    assert taps.dtype == np.float64
    assert taps.ndim == 2
    total = 0 if family in ("sobel-x", "sobel-y", "laplacian") else 1
    assert taps.sum() == pytest.approx(total, abs=1e-12)
    x = RNG.random((24, 31))
    np.save(tmp_path / "x.npy", x)
    outcome = succeed("convolve", tmp_path / "x.npy", "-k", words, "-o", "-")
    exact = scipy.ndimage.convolve(x, taps, mode="wrap")
    np.testing.assert_allclose(loaded(outcome.stdout), exact, atol=1e-12)


def test_settings_may_be_given_apart(tmp_path: Path) -> None:
    joined = succeed("make-kernel", "gaussian:sigma=1,2,size=9", "-o", "-").stdout
    assert succeed("make-kernel", "gaussian", "--set", "sigma=1,2", "--set", "size=9", "-o", "-").stdout == joined
    assert succeed("make-kernel", "gaussian:sigma=1,2", "--set", "size=9", "-o", "-").stdout == joined
    y, x = np.mgrid[-4:5, -4:5]
    exact = np.exp(-0.5 * (y**2 + (x / 2) ** 2))
    np.testing.assert_allclose(loaded(joined), exact / exact.sum(), atol=1e-12)
    one_by_one = succeed("make-kernel", "gaussian:sigma=1,2,3", "-o", "-")
    assert loaded(one_by_one.stdout).shape == (9, 17, 25)


def test_outputs_of_make_kernel(tmp_path: Path) -> None:
    succeed("make-kernel", "disk:radius=2", "-o", tmp_path / "k.tif", "--report", tmp_path / "r.json")
    taps = loaded(succeed("make-kernel", "disk:radius=2", "-o", "-").stdout)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "k.tif"), taps)
    written = report(tmp_path / "r.json")
    assert written["command"] == "make-kernel"
    assert written["kernel"]["shape"] == list(taps.shape)
    assert written["kernel"]["origin"] == [n // 2 for n in taps.shape]
    single = succeed("make-kernel", "disk:radius=2", "-o", "-", "--dtype", "float32", "--verbose")
    assert loaded(single.stdout).dtype == np.float32
    assert "disk" in single.stderr
    assert "--no-clobber" in refused(tmp_path, "make-kernel", "box", "-o", tmp_path / "k.tif", "--no-clobber")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("", "FAMILY"),
        ("cube", "gaussian"),
        ("cube:side=3", "gaussian"),
        ("x.npy", "gaussian"),  # a file is no family
        ("gaussian", "sigma"),
        ("gaussian:sigma", "name=value"),
        ("gaussian:sigma=wide", "sigma"),
        ("gaussian:sigma=-1", "sigma"),
        ("gaussian:sigma=nan", "sigma"),
        ("gaussian:sigma=1e9", "taps"),
        ("gaussian:sigma=1,size=0", "size"),
        ("gaussian:sigma=1 --set sigma=2", "twice"),
        ("box --dtype uint8 -o k.npy", "taps are fractions, which uint8 cannot hold"),
        ("gaussian:width=3", "sigma"),
        ("laplacian:neighbours=5", "4, 8, 6 or 26"),
        ("delta:shift=5,size=3", "shift"),
        ("box -o gone/k.npy", "gone"),
        ("box -o k.png", ".npy"),
        ("box -o k", ".npy"),
        ("random:size=100000,100000", "taps"),
    ],
)
def test_what_make_kernel_refuses(tmp_path: Path, arguments: str, says: str) -> None:
    np.save(tmp_path / "x.npy", np.ones((3, 3)))
    assert says in refused(tmp_path, "make-kernel", *arguments.split(), cwd=tmp_path)


def test_an_unknown_family_as_kernel_lists_those_there_are(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((3, 3)))
    assert "gaussian" in refused(tmp_path, "convolve", "x.npy", "-k", "gausian:sigma=1", cwd=tmp_path)


# plan -------------------------------------------------------------------------------------------------------------


def test_plan_keeps_wisdom_that_later_runs_use(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "inner"
    env = environment(CONVTOOL_CACHE_DIR=str(folder))
    outcome = succeed(
        "plan", "48x64", "--kernel-shape", "5x5", "--precision", "both", "--report", tmp_path / "r.json", env=env
    )
    assert outcome.stdout == b""
    costs, libraries, wisdom = sorted(folder.iterdir(), key=lambda file: (file.name[7:12] == "pyfft", file.name))
    written = report(tmp_path / "r.json")
    assert written["output"]["name"] == [str(costs), str(libraries), str(wisdom)]
    assert "48x64" in written["result"]["planned"]
    assert len(written["result"]["planned"]) == 2
    assert set(written["seconds"]) == {"planning"}
    first = wisdom.read_bytes()
    assert first.count(b"fftw") >= 2
    succeed("plan", "50x60", "--precision", "single", env=env)
    assert {*folder.iterdir()} == {costs, libraries, wisdom}
    again = wisdom
    assert len(again.read_bytes()) > len(first)  # what was learned before is kept


def test_plan_measures_what_engines_cost_and_later_runs_choose_by_it(tmp_path: Path) -> None:
    """By costs that make sums dear, a small kernel goes by transforms."""
    env = environment(CONVTOOL_CACHE_DIR=str(tmp_path / "cache"), CONVTOOL_THREADS="1")
    succeed("plan", "--report", tmp_path / "r.json", env=env)
    found = report(tmp_path / "r.json")["result"]["nanoseconds"]
    assert {*found} == {field.name for field in dataclasses.fields(Costs)}
    assert all(0 < value < 1e8 for value in found.values())
    assert found["multiply_add"] < 100 * found["transform"]
    np.save(tmp_path / "x.npy", RNG.random((300, 300)))
    np.save(tmp_path / "k.npy", RNG.random((3, 3)))
    convolve = ("convolve", tmp_path / "x.npy", "-k", tmp_path / "k.npy", "-o", tmp_path / "y.npy", "--report")
    engine = []
    for multiply_add in (1e-3, 1e6):
        costs = as_bytes(Costs(multiply_add=multiply_add))
        code = "import sys; from convtool import costs, wisdom; wisdom.write(costs.name(1), sys.stdin.buffer.read())"
        subprocess.run([sys.executable, "-c", code], input=costs, env=env, check=True)
        succeed(*convolve, tmp_path / "r.json", env=env)
        engine.append(value(report(tmp_path / "r.json"), "engine"))
    assert engine[0] == "direct"
    assert engine[1] in ("blocks", "fft")


@pytest.mark.parametrize("blob", [b"", b"{}", b"[1]", b'{"call": 1}', b"\xff", as_bytes(Costs(call=-1.0))])
def test_costs_that_are_none_are_those_of_the_code(blob: bytes) -> None:
    assert from_bytes(blob) is None
    assert from_bytes(as_bytes(Costs(call=3.0))) == Costs(call=3.0)


@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty", "folder", "closed"])
def test_damaged_wisdom_counts_as_none(tmp_path: Path, damage: str) -> None:
    if damage == "closed" and os.geteuid() == 0:
        pytest.skip("root reads everything")
    env = environment(CONVTOOL_CACHE_DIR=str(tmp_path / "cache"))
    succeed("plan", "64x64", "--precision", "double", env=env)
    (wisdom,) = (tmp_path / "cache").glob("wisdom-pyfftw*")
    for other in {*(tmp_path / "cache").iterdir()} - {wisdom}:
        other.write_bytes(other.read_bytes()[:-9])
    blob = wisdom.read_bytes()
    wisdom.unlink()
    if damage == "folder":
        wisdom.mkdir()
    else:
        changed = {"truncated": blob[:-40], "garbage": RNG.bytes(3000), "empty": b"", "closed": blob}[damage]
        wisdom.write_bytes(changed)
        os.chmod(wisdom, 0o200 if damage == "closed" else 0o600)
    x = RNG.random((1500, 1500))  # enough work for FFTW
    np.save(tmp_path / "x.npy", x)
    taps = RNG.random((3, 4))
    np.save(tmp_path / "k.npy", taps)
    outcome = succeed("convolve", tmp_path / "x.npy", "-k", tmp_path / "k.npy", "--engine", "fft", "-o", "-", env=env)
    np.testing.assert_allclose(loaded(outcome.stdout), scipy.ndimage.convolve(x, taps, mode="wrap"), atol=1e-10)
    if damage not in ("folder", "closed"):
        succeed("plan", "64x64", "--precision", "double", env=env)
        assert b"fftw_wisdom" in wisdom.read_bytes()


def test_plan_says_in_one_line_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    env = environment(CONVTOOL_CACHE_DIR=str(tmp_path / "file" / "cache"))
    line = refused(tmp_path, "plan", "16x16", "--precision", "single", env=env)
    assert "CONVTOOL_CACHE_DIR" in line
    for arguments in ("0x16", "wide", "2x2x2x2", "-4x4", "16x16 --kernel-shape 3", "16x16 --threads 0"):
        refused(tmp_path, "plan", *arguments.split(), env=env)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_plan_in_a_closed_folder(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir(mode=0o500)
    env = environment(CONVTOOL_CACHE_DIR=str(tmp_path / "cache"))
    assert "not writable" in refused(tmp_path, "plan", "16x16", env=env)


def test_threads_of_the_environment(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", RNG.random((20, 31)))
    common = ("convolve", tmp_path / "x.npy", "-k", "box", "-o", tmp_path / "y.npy")
    succeed(*common, "--report", tmp_path / "r.json", env=environment(CONVTOOL_THREADS="3"))
    assert report(tmp_path / "r.json")["settings"]["threads"]["value"] == 3
    succeed(*common, "--report", tmp_path / "r.json", "--threads", "1", env=environment(CONVTOOL_THREADS="3"))
    assert report(tmp_path / "r.json")["settings"]["threads"] == {"value": 1, "default": None, "source": "chosen"}
    files = contents(tmp_path)
    outcome = run(*common, env=environment(CONVTOOL_THREADS="many"))
    assert outcome.status in (0, 2)  # ignored, or refused, but no bug
    assert outcome.status == 0 or contents(tmp_path) == files
