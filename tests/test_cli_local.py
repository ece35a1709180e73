"""`convtool local` on sample images and arrays, its results checked by SciPy and by the library."""

from __future__ import annotations

import io
import itertools
from pathlib import Path
from typing import get_args

import imagecodecs
import numpy as np
import pytest
import scipy.ndimage
from command import contents, notes, refused, report, succeed, value

import convtool
from convtool.cli.commands import local
from convtool.windows import functions

SAMPLES = Path(__file__).parents[1] / "sample_images"
BUMP = np.array([[0.0, 3.0, 1.0, 0.0], [2.0, 7.0, 4.0, 1.0], [0.0, 5.0, 2.0, 0.0]])  # lopsided
RNG = np.random.default_rng(5)


def seen(file: Path) -> np.ndarray:
    return imagecodecs.png_decode(file.read_bytes())


@pytest.fixture
def bump(tmp_path: Path) -> Path:
    np.save(tmp_path / "bump.npy", BUMP)
    return tmp_path / "bump.npy"


def test_the_names_are_the_library_s() -> None:
    assert get_args(local.Combine) == tuple(functions.COMBINATIONS)
    assert get_args(local.Reduce) == tuple(functions.REDUCTIONS)


@pytest.mark.parametrize("picture", ["camera.png", "chelsea.png"])
def test_erosion_and_dilation_of_photographs(tmp_path: Path, bump: Path, picture: str) -> None:
    x = seen(SAMPLES / picture).astype(np.int64)
    element = BUMP if x.ndim == 2 else BUMP[..., np.newaxis]
    common = ("local", SAMPLES / picture, "-k", bump, "--boundary", "symmetric", "-o", tmp_path / "y.png")
    succeed(*common, "--combine", "sub", "--reduce", "min")
    eroded = scipy.ndimage.grey_erosion(x, structure=element.astype(np.int64), mode="reflect")
    np.testing.assert_array_equal(seen(tmp_path / "y.png"), eroded.clip(0))
    outcome = succeed(*common, "--combine", "add", "--reduce", "max")
    flipped = np.flip(element).astype(np.int64)
    # The origin stays on tap (1, 2), which SciPy's reflection of an even extent moves by one.
    dilated = scipy.ndimage.grey_dilation(x, structure=flipped, mode="reflect", origin=(0, -1, 0)[: x.ndim])
    np.testing.assert_array_equal(seen(tmp_path / "y.png"), dilated.clip(0, 255))
    assert seen(tmp_path / "y.png").mean() > x.mean() > eroded.mean()
    clipped = int((dilated > 255).sum())
    assert [note.split(" of ")[0] for note in notes(outcome)] == ([str(clipped)] if clipped else [])
    assert "--normalize" not in outcome.stderr


def test_a_template_is_found_where_it_was_cut(tmp_path: Path) -> None:
    x = seen(SAMPLES / "camera.png")
    np.save(tmp_path / "eye.npy", x[131:160, 210:246])
    common = ("local", SAMPLES / "camera.png", "-k", tmp_path / "eye.npy", "--combine", "absdiff", "-o")
    succeed(*common, tmp_path / "sum.npy", "--reduce", "sum", "--padding", "valid")
    sums = np.load(tmp_path / "sum.npy")
    assert sums.shape == (512 - 28, 512 - 35)
    assert np.argwhere(sums == 0).tolist() == [[131, 210]]
    succeed(*common, tmp_path / "mean.png", "--reduce", "mean")
    found = np.unravel_index(seen(tmp_path / "mean.png").argmin(), x.shape)
    assert found == (131 + 14, 210 + 18)  # under the template's centre


def test_a_picture_is_a_template_as_it_is(tmp_path: Path) -> None:
    x = seen(SAMPLES / "camera.png")
    (tmp_path / "eye.png").write_bytes(imagecodecs.png_encode(x[131:160, 210:246]))
    given = ("-k", tmp_path / "eye.png", "--combine", "absdiff", "--padding", "valid", "-o", tmp_path / "y.npy")
    assert not notes(succeed("local", SAMPLES / "camera.png", *given))
    assert np.argwhere(np.load(tmp_path / "y.npy") == 0).tolist() == [[131, 210]]


def test_a_flat_element_may_be_all_zeros(tmp_path: Path) -> None:
    (tmp_path / "flat.txt").write_text("0 0 0\n" * 5)
    given = ("-k", tmp_path / "flat.txt", "--combine", "add", "--reduce", "max", "-o", tmp_path / "y.png")
    succeed("local", SAMPLES / "chelsea.png", *given)
    largest = scipy.ndimage.maximum_filter(seen(SAMPLES / "chelsea.png"), (5, 3, 1), mode="wrap")
    np.testing.assert_array_equal(seen(tmp_path / "y.png"), largest)


def test_a_product_of_tangents(tmp_path: Path) -> None:
    x, w = RNG.uniform(-0.7, 0.7, (2, 9, 12)), np.array([[0.1, -0.2, 0.3]])
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "w.npy", w)
    succeed("local", tmp_path / "x.npy", "-k", tmp_path / "w.npy", "--combine", "tan-add", "--reduce", "prod")
    expected = np.prod([np.tan(np.roll(x, 1 - m, axis=-1) + w[0, m]) for m in range(3)], axis=0)
    np.testing.assert_allclose(np.load(tmp_path / "x.local.npy"), expected, rtol=1e-13)


def test_every_pair_is_the_library_s(tmp_path: Path, bump: Path) -> None:
    x = RNG.uniform(-0.7, 0.7, (10, 11)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    for combine, reduce in itertools.islice(
        itertools.product(get_args(local.Combine), get_args(local.Reduce)), 0, 35, 4
    ):
        succeed("local", tmp_path / "x.npy", "-k", bump, "--combine", combine, "--reduce", reduce)
        y = np.load(tmp_path / "x.local.npy")
        assert y.dtype == np.float32
        np.testing.assert_array_equal(y, convtool.local(x, BUMP, combine, reduce))


SETTINGS = ("--boundary", "reflect", "--padding", "2:1,0:3", "--stride", "2,1", "--dilation", "1,2", "--origin", "0,1")


def test_without_pair_it_is_correlate_with_all_settings(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", RNG.random((4, 13, 15)))
    np.save(tmp_path / "k.npy", RNG.random((3, 2, 6, 2)))
    given = (tmp_path / "x.npy", "-k", tmp_path / "k.npy", *SETTINGS, "--kernel-axes", "YXOI", "--groups", "2")
    succeed("local", *given)
    succeed("correlate", *given)
    y, expected = (np.load(tmp_path / f"x.{word}.npy") for word in ("local", "correlated"))
    assert y.shape == (6, 7, 16)
    np.testing.assert_allclose(y, expected, rtol=1e-12)


def test_bool_gives_floats(tmp_path: Path, bump: Path) -> None:
    x = RNG.random((8, 9)) < 0.5
    np.save(tmp_path / "x.npy", x)
    for command, y in (("local", "local"), ("convolve", "convolved")):
        succeed(command, tmp_path / "x.npy", "-k", bump)
        found = np.load(tmp_path / f"x.{y}.npy")
        assert found.dtype == np.float32
        exact = convtool.local(x, BUMP) if command == "local" else convtool.convolve(x, BUMP)
        np.testing.assert_allclose(found, exact, rtol=1e-6)  # a command may have another engine than Python


def test_alpha_is_cropped_and_light_is_linear(tmp_path: Path, bump: Path) -> None:
    x = RNG.integers(0, 256, (21, 30, 4), dtype=np.uint8)
    (tmp_path / "x.png").write_bytes(imagecodecs.png_encode(x))
    flat = tmp_path / "flat.txt"
    flat.write_text("1 1 1\n1 1 1\n1 1 1\n")
    common = ("local", tmp_path / "x.png", "--padding", "valid", "--stride", "2")
    succeed(*common, "-k", flat, "--combine", "mul", "--reduce", "max", "--linear")
    y = seen(tmp_path / "x.local.png")
    # Light is a rising function of the codes, so that the largest of both is one.
    largest = scipy.ndimage.maximum_filter(x[..., :3], (3, 3, 1))[1:-1:2, 1:-1:2]
    np.testing.assert_array_equal(y[..., :3], largest)
    np.testing.assert_array_equal(y[..., 3], x[1:-1:2, 1:-1:2, 3])
    succeed(*common, "-k", flat, "--combine", "mul", "--reduce", "mean", "--linear", "-o", tmp_path / "linear.png")
    succeed(*common, "-k", flat, "--combine", "mul", "--reduce", "mean", "-o", tmp_path / "codes.png")
    assert seen(tmp_path / "linear.png").mean() > seen(tmp_path / "codes.png").mean() + 5


def test_through_pipes(bump: Path) -> None:
    stream = io.BytesIO()
    np.save(stream, RNG.random((8, 9)))
    outcome = succeed("local", "-", "-k", bump, "--reduce", "max", "-o", "-", stdin=stream.getvalue())
    y = np.load(io.BytesIO(outcome.stdout))
    np.testing.assert_array_equal(y, convtool.local(np.load(io.BytesIO(stream.getvalue())), BUMP, "mul", "max"))


def test_report(tmp_path: Path, bump: Path) -> None:
    np.save(tmp_path / "x.npy", RNG.random((8, 9)))
    given = ("local", tmp_path / "x.npy", "-k", bump, "--combine", "sub", "--reduce", "prod")
    succeed(*given, "--report", tmp_path / "r.json")
    written = report(tmp_path / "r.json")
    y = np.load(tmp_path / "x.local.npy")
    assert written["command"] == "local"
    assert written["settings"]["combine"] == {"value": "sub", "default": "mul", "source": "chosen"}
    assert (value(written, "reduce"), value(written, "origin"), value(written, "stride")) == ("prod", [1, 2], 1)
    assert written["kernel"] == {
        "name": str(bump),
        "shape": [3, 4],
        "norm": pytest.approx(np.linalg.norm(BUMP)),
        "axes": "YX",
    }
    assert written["result"] == {k: pytest.approx(getattr(y, k)()) for k in ("min", "max", "mean")}
    assert written["notes"] == []


def test_what_overflows_is_counted(tmp_path: Path, bump: Path) -> None:
    x = np.full((6, 7), 1e5, np.float32)
    x[:, 3:] = 1
    np.save(tmp_path / "x.npy", x)
    given = ("local", tmp_path / "x.npy", "-k", bump, "--combine", "add", "--reduce", "prod")
    exact = convtool.local(x.astype(np.float64), BUMP, "add", "prod")
    lost = int((exact > np.finfo(np.float32).max).sum())
    assert 0 < lost < x.size
    [note] = notes(succeed(*given))
    assert note.startswith(f"{lost} of 42 results are too large for float32: use --precision double")
    assert not notes(succeed(*given, "--precision", "double", "--dtype", "float64"))


@pytest.mark.parametrize(
    ("arguments", "least", "says"),
    [
        ("--padding 500000", 3 * 8 * 1_000_000**2, "use a smaller --padding or image"),
        ("--dilation 100000", 8 * 300_008 * 200_009, "use a smaller --dilation or image"),
        ("--dilation 100000 --precision single", 4 * 300_008 * 200_009, "use a smaller --dilation or image"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_bytes(
    tmp_path: Path, bump: Path, arguments: str, least: int, says: str
) -> None:
    np.save(tmp_path / "x.npy", RNG.random((8, 9)))
    line = refused(tmp_path, "local", "x.npy", "-k", bump, *arguments.split(), cwd=tmp_path)
    assert "bytes of memory" in line
    assert says in line
    assert int(line.split(" bytes")[0].split()[-1]) >= least


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--combine", "multiply"), "'multiply' is not one of 'mul', 'add'"),
        (("--reduce", "median"), "'median' is not one of 'sum', 'prod'"),
        (("-k", "nan.npy"), "kernel nan.npy has 1 NaN or infinite taps"),
        (("-k", "mixing.npy"), "the kernel has 2 input channels"),
        (("--stride", "0"), "stride must be whole numbers of at least 1"),
        (("--padding", "valid"), "no output"),
        (("--combine", "tan-add", "--dtype", "uint3"), "unknown --dtype 'uint3'"),
        (("-o", "x.npy"), "x.npy"),
    ],
)
def test_refusals(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    np.save(tmp_path / "x.npy", RNG.random((2, 5)))
    np.save(tmp_path / "k.npy", BUMP)
    np.save(tmp_path / "nan.npy", np.array([[1.0, np.nan]]))
    np.save(tmp_path / "mixing.npy", np.ones((1, 2, 1, 1)))
    kernel = () if "-k" in arguments else ("-k", "k.npy")
    assert words in refused(tmp_path, "local", "x.npy", *kernel, *arguments, cwd=tmp_path)
    assert set(contents(tmp_path)) == {"x.npy", "k.npy", "nan.npy", "mixing.npy"}
