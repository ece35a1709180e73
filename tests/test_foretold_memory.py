"""What a batch foretells of the memory that an image takes, beside what it takes.

Here for a few commands; `make faults` measures all of them (FAULT_COMMANDS=all).
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest
from command import contents, peak, refused, run

from convtool import process
from convtool.cli.batches import room
from convtool.errors import DataError

MIB = 1 << 20
RNG = np.random.default_rng(31)
SHAPES = {"grey.png": (1500, 1800), "rgb.png": (900, 1100, 3), "f4.npy": (1500, 1600), "f8.npy": (1500, 1600)}
SHAPES |= {"c1.npy": (1, 1500, 1600), "c4.npy": (4, 500, 600), "c16.npy": (16, 500, 600)}
DTYPES = {"f8.npy": np.float64}
SMALL = 64
KERNELS = {"k1_16.npy": (16, 1, 5, 5), "k4_4.npy": (4, 4, 5, 5), "k16_4.npy": (4, 16, 5, 5), "wide.npy": (4, 4, 31, 31)}
SMOOTH, WIDE = "-k gaussian:sigma=1", "-k random:size=31"
WHOLE = "--boundary zero --stride 2 --image-shape 2999,3200"
FEW = (
    f"convolve grey.png {WIDE} --padding 600",
    "convolve c1.npy -k k1_16.npy",
    "convolve c4.npy -k wide.npy",
    "edges grey.png --components {stem}_c.npy",
    "maxpool grey.png -w 3 --indices {stem}_i.npy",
    f"deconvolve rgb.png {SMOOTH} --method pinv",
    f"deconvolve grey.png {SMOOTH} --method tikhonov",
    f"deconvolve grey.png {SMOOTH} --method rl --set iterations=6 --set snapshots=1",
    f"deconvolve f4.npy {SMOOTH} --method rl --set iterations=2 {WHOLE}",
)
MANY = (
    *(
        f"convolve {image} {kernel}"
        for image in ("rgb.png", "grey.png", "f4.npy", "f8.npy")
        for kernel in (SMOOTH, WIDE)
    ),
    *(
        f"convolve grey.png {WIDE} {more}"
        for more in ("--padding full", "--reproducible", "--linear", "--report r.jsonl")
    ),
    "convolve grey.png -k random:size=5 --padding 600",
    "convolve grey.png -k random:size=5 --dilation 100 --padding full",
    "convolve grey.png -k random:size=5 --stride 4",
    "convolve f8.npy -k random:size=31 --precision single",
    "convolve c1.npy -k k1_16.npy --dtype float32",
    "convolve c16.npy -k k16_4.npy",
    "convolve c4.npy -k k4_4.npy",
    *(f"edges {image}" for image in ("rgb.png", "grey.png", "f8.npy")),
    "edges rgb.png --direction {stem}_d.npy --components {stem}_c.npy",
    *(f"maxpool {image} -w 3" for image in ("rgb.png", "grey.png", "f8.npy")),
    "maxpool grey.png -w 3 --op mean",
    "maxpool grey.png -w 3 --padding 600",
    *(f"local {image} -k random:size=3" for image in ("rgb.png", "grey.png")),
    "local grey.png -k random:size=3 --padding 600",
    *(f"deconvolve grey.png {SMOOTH} --method {name}" for name in ("pinv", "wiener", "tv", "non-local", "auto")),
    *(f"deconvolve rgb.png {SMOOTH} --method {name}" for name in ("wiener", "tikhonov", "tv", "non-local", "auto")),
    f"deconvolve grey.png {SMOOTH} --method rl --set iterations=3 --boundary periodic",
    f"deconvolve grey.png {SMOOTH} --method wiener --boundary periodic",
    "deconvolve grey.png -k random:size=61 --method tikhonov",
    *(f"deconvolve c4.npy -k k4_4.npy --method {name}" for name in ("pinv", "tikhonov", "rl --set iterations=3")),
    f"deconvolve f4.npy {SMOOTH} --method tv {WHOLE}",
    f"deconvolve grey.png {SMOOTH} --method least-squares --boundary zero --set solver=iterative --set limit=5",
)
COMMANDS = FEW + MANY if os.environ.get("FAULT_COMMANDS") == "all" else FEW


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `large` and `small` of images, of which each command takes one, and kernels."""
    here = tmp_path_factory.mktemp("foretold")
    for folder in ("large", "small"):
        (here / folder).mkdir()
        for name, shape in SHAPES.items():
            lengths = shape if folder == "large" else tuple(SMALL if n >= SMALL else n for n in shape)
            x = np.clip(np.cumsum(RNG.normal(size=lengths), axis=-2) * 2 + 128, 0, 255)
            if name.endswith(".png"):
                PIL.Image.fromarray(x.astype(np.uint8)).save(here / folder / name)
            else:
                np.save(here / folder / name, x.astype(DTYPES.get(name, np.float32)))
    for name, lengths in KERNELS.items():
        taps = RNG.random(lengths) / (10 * np.prod(lengths[1:]))
        centre = [n // 2 for n in lengths[2:]]
        for channel in range(min(lengths[:2])):
            taps[(channel, channel, *centre)] += 1
        np.save(here / name, taps)
    return here


def words_for(words: str, folder: str) -> list[str]:
    command, image, *more = words.split()
    if folder == "small" and "--image-shape" in more:
        more[more.index("--image-shape") + 1] = f"{2 * SMALL},{2 * SMALL}"
    return [command, f"{folder}/{image}", *more, "--output-dir", "out"]


@pytest.mark.parametrize("words", COMMANDS)
def test_the_memory_that_an_image_is_foretold_to_take_is_what_it_takes(scene: Path, words: str) -> None:
    """Else a batch would hold fewer images than it could, or more than the machine can."""
    small, large = (peak(scene, *words_for(words, folder)) for folder in ("small", "large"))
    limit = ("--memory-limit", "1M")
    outcome = run(*words_for(words, "large"), *limit, cwd=scene)
    (told,) = re.findall(r"it would take about (\d+) bytes of memory, and the limit is \d+: raise", outcome.stderr)
    assert outcome.status == 1
    taken = large - small
    print(f"foretold {int(told) / taken:.2f} times of {taken >> 20} MiB: {words}")
    assert taken < int(told) < 3 * taken + (32 * MIB)


@pytest.mark.parametrize(
    ("words", "more"),
    [
        (f"convolve grey.png {SMOOTH}", "--padding 2000"),
        ("convolve c1.npy -k delta", "-k k1_16.npy"),
        ("edges grey.png", "--components {stem}_c.npy"),
        ("maxpool grey.png -w 3", "--indices {stem}_i.npy"),
        (f"deconvolve grey.png {SMOOTH} --method rl", "--set iterations=90 --set snapshots=1"),
        (f"deconvolve f4.npy {SMOOTH} --method tv --boundary zero", "--stride 2 --image-shape 2999,3200"),
    ],
)
def test_what_makes_more_is_refused_where_less_would_fit(scene: Path, words: str, more: str) -> None:
    """One image by itself, too; nothing is begun, and nothing written."""
    command, image, *rest = words.split()
    plain = refused(scene, command, f"large/{image}", *rest, "--memory-limit", "1M", "-o", "y.npy", cwd=scene)
    (told,) = re.findall(r"about (\d+) bytes", plain)
    limit = ("--memory-limit", str(3 * int(told) // 2))
    before = contents(scene)
    single = refused(
        scene, command, f"large/{image}", *rest, *more.replace("{stem}", "s").split(), *limit, "-o", "y.npy", cwd=scene
    )
    assert "it would take about" in single
    batch = run(command, f"large/{image}", *rest, *more.split(), *limit, "--output-dir", "never", cwd=scene)
    assert batch.status == 1
    assert "it would take about" in batch.stderr
    assert contents(scene) == before


# Least squares in one step --------------------------------------------------------------------------------------------


def left(monkeypatch: pytest.MonkeyPatch, said: str | None, limit: int, reproducible: bool, *set_: str) -> list[int]:
    """[the bytes left for images, those that a solution in one step may take]."""
    monkeypatch.setattr(process.policy, "memory", 2 << 30 if reproducible else process.MEMORY)
    monkeypatch.setattr(process.policy, "reproducible", reproducible)
    asked = SimpleNamespace(method="least-squares", memory_limit=said, set_=list(set_))
    return [room.leave_for_factors(limit, asked), process.policy.memory]


def test_a_limit_that_was_said_decides_how_much_one_step_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    for reproducible in (False, True):
        assert left(monkeypatch, "8G", 8 << 30, reproducible) == [6 << 30, 1 << 30]
    assert left(monkeypatch, None, 8 << 30, False) == [6 << 30, 1 << 30]


def test_reproducible_results_do_not_depend_on_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one step may take is set aside as a whole, for the two shapes whose factors are kept."""
    for free in (5 << 30, 100 << 30):
        assert left(monkeypatch, None, free, True) == [free - (4 << 30), 2 << 30]
    with pytest.raises(DataError, match="may take 4294967296 bytes of memory, and the limit is 3221225472: say --mem"):
        left(monkeypatch, None, 3 << 30, True)


def test_what_the_method_is_told_counts_first(monkeypatch: pytest.MonkeyPatch) -> None:
    assert left(monkeypatch, None, 3 << 30, True, "memory=0.5")[0] == 2 << 30
    assert left(monkeypatch, None, 3 << 30, True, "solver=iterative")[0] == 3 << 30
    with pytest.raises(DataError, match="a smaller --set memory"):
        left(monkeypatch, "3G", 3 << 30, False, "memory=4")
