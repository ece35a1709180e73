"""`convtool deconvolve --method rl` on files: what it writes, reports and refuses."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
import tifffile
from command import notes, refused, report, succeed

METHOD = ("--method", "rl", "--boundary", "unknown")
KERNEL = np.outer([1.0, 3, 4, 2], [1, 2.0, 1]) / 40


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Counts of stars on a sky of 15, y.npy, and their kernel, k.npy."""
    rng = np.random.default_rng(41)
    scene = np.full((70, 80), 15.0)
    scene[rng.integers(5, 65, 25), rng.integers(5, 75, 25)] += rng.uniform(500, 5000, 25)
    np.save(tmp_path / "x.npy", (scene - 15).astype(np.float32))
    mean = scipy.ndimage.convolve(scene, KERNEL, mode="nearest")
    np.save(tmp_path / "y.npy", rng.poisson(mean).astype(np.uint16))
    np.save(tmp_path / "k.npy", KERNEL)
    return tmp_path


def test_stars_on_a_sky(folder: Path) -> None:
    words = ("deconvolve", "y.npy", "-k", "k.npy", *METHOD, "--set", "background=auto", "--dtype", "float32")
    outcome = succeed(*words, "-o", "z.npy", "--reference", "x.npy", "--report", "r.json", cwd=folder)
    z, y, found = np.load(folder / "z.npy"), np.load(folder / "y.npy"), report(folder / "r.json")
    assert (z.min() >= 0, z.dtype, z.shape) == (True, np.float32, y.shape)
    result = found["result"]
    assert result["background"] == pytest.approx(15, abs=1)
    assert any("even background of 1" in note for note in notes(outcome))
    assert "the residual has reached the noise after" in result["stop"]
    assert f"after {result['iterations']} iterations" in result["stop"]
    blurred = np.linalg.norm(y - 15.0 - np.load(folder / "x.npy"))
    assert found["reference"]["relative"] * np.linalg.norm(np.load(folder / "x.npy")) < 0.5 * blurred


def test_the_log_is_in_the_report(folder: Path) -> None:
    words = ("deconvolve", "y.npy", "-k", "k.npy", *METHOD, "--set", "iterations=130", "--set", "acceleration=none")
    succeed(*words, "-o", "z.npy", "--report", "r.json", cwd=folder)
    result = report(folder / "r.json")["result"]
    rows = result["log"]
    assert result["stop"] == "made the 130 iterations that were asked for"
    assert [row["iteration"] for row in rows[:8]] == [0, 1, 2, 3, 4, 5, 10, 15]
    assert len(rows) < 60
    assert rows[-1]["iteration"] >= 120
    falling = [row["i_divergence"] for row in rows] + [result["i_divergence"]]
    assert all(later < earlier for earlier, later in itertools.pairwise(falling))
    assert all(row["change"] > 0 for row in rows)


def test_what_it_cannot_take_is_refused_in_a_line(folder: Path) -> None:
    np.save(folder / "n.npy", KERNEL - 0.05)
    words = ("deconvolve", "y.npy", *METHOD, "-o", "z.npy")
    said = refused(folder, *words, "-k", "n.npy", cwd=folder)
    assert "method rl needs a kernel without negative taps" in said
    assert "use --method tv" in said
    assert "iterations must be at least 1" in refused(
        folder, *words, "-k", "k.npy", "--set", "iterations=0", cwd=folder
    )
    said = refused(folder, *words, "-k", "k.npy", "--set", "acceleration=fast", cwd=folder)
    assert "biggs-andrews, heavy-ball or none" in said


def test_negative_data_are_told(folder: Path) -> None:
    np.save(folder / "y.npy", np.load(folder / "y.npy").astype(np.float32) - 14)
    outcome = succeed("deconvolve", "y.npy", "-k", "k.npy", *METHOD, "-o", "z.npy", cwd=folder)
    assert any("data are negative" in note and "background=LEVEL" in note for note in notes(outcome))
    assert np.load(folder / "z.npy").min() >= 0


def test_snapshots_are_files_beside_the_result(tmp_path: Path) -> None:
    np.save(tmp_path / "y.npy", np.random.default_rng(2).poisson(30, (24, 31)).astype(float))
    words = ["deconvolve", "y.npy", "-k", "gaussian:sigma=1.5", "--method", "rl", "--boundary", "periodic"]
    counted = [*words, "--set", "iterations=7", "--set", "snapshots=3"]
    assert "name a file" in refused(tmp_path, *counted, "-o", "-", cwd=tmp_path)
    succeed(*counted, "-o", "x.tif", "--report", "r.json", cwd=tmp_path)
    assert sorted(file.name for file in tmp_path.glob("*.tif")) == ["x.it003.tif", "x.it006.tif", "x.tif"]
    assert report(tmp_path / "r.json")["output"]["snapshots"] == ["x.it003.tif", "x.it006.tif"]
    succeed(*words, "--set", "iterations=6", "-o", "six.tif", cwd=tmp_path)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "x.it006.tif"), tifffile.imread(tmp_path / "six.tif"))
