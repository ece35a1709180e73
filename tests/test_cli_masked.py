"""`convtool convolve --nan mask` and `correlate`: pixels that were not observed; and who refuses them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from command import refused, report, run, succeed

import convtool

RNG = np.random.default_rng(41)
KERNEL = RNG.random((3, 4))


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """holes.npy and holes.tif, with a hole as wide as the kernel, one NaN and one infinity; k.npy."""
    x = RNG.uniform(10, 20, (21, 30)).astype("f4")
    x[3:9, 4:12] = np.nan
    x[15, 20], x[16, 3] = np.inf, np.nan
    np.save(tmp_path / "holes.npy", x)
    tifffile.imwrite(tmp_path / "holes.tif", x)
    np.save(tmp_path / "k.npy", KERNEL)
    return tmp_path


@pytest.mark.parametrize("operation", ["convolve", "correlate"])
@pytest.mark.parametrize("name", ["holes.npy", "holes.tif"])
def test_holes_are_bridged_as_by_the_library(here: Path, name: str, operation: str) -> None:
    how = ["--boundary", "zero", "--nan", "mask", "-o", "y" + name[5:], "--report", "r.json"]
    outcome = succeed(operation, name, "-k", "k.npy", *how, cwd=here)
    x = np.load(here / "holes.npy")
    expected = getattr(convtool, operation)(x, KERNEL, boundary="zero", mask=np.isfinite(x))
    y = np.load(here / "y.npy") if name.endswith("npy") else tifffile.imread(here / "y.tif")
    np.testing.assert_array_equal(y, expected)
    holes = int(np.isnan(expected).sum())
    assert holes == 4 * 5
    assert f"50 of 630 values of {name}" in outcome.stderr
    assert f"{holes} of 630 results have no observed pixel under the kernel" in outcome.stderr
    found = report(here / "r.json")
    assert found["input"]["not_counted"] == 50
    assert found["input"]["max"] == pytest.approx(x[np.isfinite(x)].max())
    assert found["result"]["min"] == pytest.approx(np.nanmin(expected))
    assert found["output"]["nonfinite"] == holes


def test_an_image_without_holes_gives_the_same_bytes(here: Path) -> None:
    np.save(here / "whole.npy", RNG.random((21, 30)))
    np.save(here / "s.npy", KERNEL - 0.5)
    for kernel in ("k.npy", "s.npy"):
        for target, how in (("a.npy", "refuse"), ("b.npy", "mask")):
            assert not succeed("convolve", "whole.npy", "-k", kernel, "-o", target, "--nan", how, cwd=here).stderr
        assert (here / "a.npy").read_bytes() == (here / "b.npy").read_bytes()


def test_what_cannot_be_done_is_refused(here: Path) -> None:
    np.save(here / "s.npy", KERNEL - 0.5)
    np.save(here / "lost.npy", np.full((4, 5), np.nan))
    words = ("convolve", "holes.tif", "-k", "k.npy", "-o")
    assert "or --nan mask to leave them out" in refused(here, *words, "y.tif", cwd=here)
    line = refused(here, *words, "y.png", "--nan", "mask", cwd=here)
    assert "uint8 cannot hold: use --dtype float32, .tif or .npy" in line
    assert "finite values" in refused(here, *words, "y.tif", "--nan", "mask", "--scale", "fit", cwd=here)
    line = refused(here, "convolve", "holes.npy", "-k", "s.npy", "-o", "y.npy", "--nan", "mask", cwd=here)
    assert "taps of both signs" in line
    line = refused(here, "convolve", "lost.npy", "-k", "k.npy", "-o", "y.npy", "--nan", "mask", cwd=here)
    assert "no finite value at all" in line


def test_small_holes_fit_into_integers(here: Path) -> None:
    x = np.load(here / "holes.npy")
    x[3:9, 4:12] = 15
    np.save(here / "few.npy", x)
    succeed("convolve", "few.npy", "-k", "box:size=3", "--nan", "mask", "-o", "y.tif", "--dtype", "uint8", cwd=here)
    expected = convtool.convolve(x, np.ones((3, 3)) / 9, mask=np.isfinite(x))
    np.testing.assert_array_equal(tifffile.imread(here / "y.tif"), np.rint(expected))


def test_results_that_rest_on_nothing_at_all(here: Path) -> None:
    x = np.full((6, 8), np.nan)
    x[1, 1] = 1
    np.save(here / "one.npy", x)
    words = ("one.npy", "-k", "delta", "--stride", "2", "--nan", "mask", "-o", "y.npy", "--report", "r.json")
    told = succeed("convolve", *words, cwd=here).stderr
    assert "12 of 12 results" in told
    assert "inverted" not in told  # there is no mask that could be
    assert report(here / "r.json")["result"]["min"] is None
    assert np.isnan(np.load(here / "y.npy")).all()


@pytest.mark.parametrize(
    "words",
    [
        ("local", "holes.npy", "-k", "k.npy"),
        ("edges", "holes.npy"),
        ("maxpool", "holes.npy", "-w", "2"),
        ("estimate-kernel", "holes.npy", "--sharp", "holes.npy", "--size", "3"),
    ],
)
def test_other_commands_say_which_have_it(here: Path, words: tuple[str, ...]) -> None:
    line = refused(here, *words, "-o", "y.npy", "--nan", "mask", cwd=here)
    assert "only convolve, correlate and deconvolve can leave pixels out" in line
    assert "'refuse'" in line
    other = refused(here, *words, "-o", "y.npy", "--nan", "fill", cwd=here)
    assert "'fill' is not one of" in other
    assert "only convolve" not in other
    assert "50 NaN or infinite values of holes.npy were filled" in run(*words, "--nan", "mean", cwd=here).stderr
