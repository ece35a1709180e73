"""`convtool maxpool` on files of every kind, and through pipes, pixels checked by NumPy, SciPy and torch."""

from __future__ import annotations

import io
import resource
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import scipy.ndimage
import tifffile
from astropy.io import fits
from command import Outcome, notes, refused, report, succeed, value

from convtool import cli, gradients, pooling

RNG = np.random.default_rng(23)
MODES = {"periodic": "wrap", "zero": "constant", "reflect": "mirror"}


def pixels(*shape: int, dtype: str = "uint8") -> np.ndarray:
    return RNG.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def png(file: Path, *shape: int, dtype: str = "uint8") -> np.ndarray:
    x = pixels(*shape, dtype=dtype)
    file.write_bytes(imagecodecs.png_encode(x))
    return x


def npy(file: Path, x: np.ndarray) -> np.ndarray:
    np.save(file, x)
    return x


def seen(file: Path) -> np.ndarray:
    """A PNG's samples, all bits of them."""
    return imagecodecs.png_decode(file.read_bytes())


def out(outcome: Outcome) -> np.ndarray:
    """The array that a command sent to standard output."""
    return np.load(io.BytesIO(outcome.stdout), allow_pickle=False)


def windows(x: np.ndarray, *sides: int) -> np.ndarray:
    """What each window of the leading axes holds, in two trailing axes."""
    return np.lib.stride_tricks.sliding_window_view(x, sides, axis=tuple(range(len(sides))))


def assert_same(found: np.ndarray, exact: np.ndarray) -> None:
    assert found.dtype == exact.dtype
    np.testing.assert_array_equal(found, exact)


# Results --------------------------------------------------------------------------------------------------------------


def test_a_photo_beside_its_input(tmp_path: Path) -> None:
    x = png(tmp_path / "photo.png", 30, 41, 3)
    outcome = succeed("maxpool", tmp_path / "photo.png", "--window", "4,3")
    assert (outcome.stdout, outcome.stderr) == (b"", "")
    assert_same(seen(tmp_path / "photo.pooled.png"), windows(x, 4, 3).max((-1, -2)))


@pytest.mark.parametrize(("shape", "dtype"), [((21, 30, 4), "uint8"), ((21, 30, 2), "uint16")])
def test_alpha_is_not_pooled(tmp_path: Path, shape: tuple[int, ...], dtype: str) -> None:
    """The alpha of an output is that of the pixel in the middle of its window."""
    x = png(tmp_path / "x.png", *shape, dtype=dtype)
    succeed("maxpool", tmp_path / "x.png", "-w", "4,3", "--padding", "2:1,1:0", "--stride", "2,3")
    y = seen(tmp_path / "x.pooled.png")
    assert_same(y[..., :-1], scipy.ndimage.maximum_filter(x[..., :-1], (4, 3, 1), mode="constant")[::2, ::3])
    assert_same(y[..., -1], x[::2, ::3, -1])


def test_sixteen_bits(tmp_path: Path) -> None:
    x = png(tmp_path / "x.png", 30, 41, dtype="uint16")
    tifffile.imwrite(tmp_path / "x.tif", x)
    for name, read in (("x.png", seen), ("x.tif", tifffile.imread)):
        succeed("maxpool", tmp_path / name, "-w", "9", "--op", "min", "--padding", "same")
        y = read(tmp_path / name.replace(".", ".pooled."))
        assert_same(y, scipy.ndimage.minimum_filter(x, 9, mode="constant", cval=65535))


@pytest.mark.parametrize("dtype", ["int8", "uint64", "float16"])
def test_dtypes_are_kept(tmp_path: Path, dtype: str) -> None:
    limits = np.iinfo(dtype) if dtype[0] in "ui" else np.finfo(dtype)
    x = RNG.integers(0, 100, (9, 12)).astype(dtype)
    x[3, 4], x[3, 6], x[6:, 9:] = limits.max, limits.max - 1, limits.min
    npy(tmp_path / "x.npy", x)
    succeed("maxpool", tmp_path / "x.npy", "-w", "3,2")
    assert_same(np.load(tmp_path / "x.pooled.npy"), windows(x, 3, 2).max((-1, -2)))


@pytest.mark.parametrize("op", ["max", "min"])
def test_bool_stays_bool(tmp_path: Path, op: str) -> None:
    x = npy(tmp_path / "x.npy", RNG.random((9, 12)) < 0.6)
    exact = getattr(windows(x, 3, 2), {"max": "any", "min": "all"}[op])((-1, -2))
    common = ("maxpool", tmp_path / "x.npy", "-w", "3,2", "--op", op)
    succeed(*common, "--report", tmp_path / "r.json")
    assert_same(np.load(tmp_path / "x.pooled.npy"), exact)
    assert report(tmp_path / "r.json")["output"]["dtype"] == "bool"
    assert_same(out(succeed(*common, "-o", "-")), exact)
    assert_same(out(succeed(*common, "-o", "-", "--dtype", "bool")), exact)
    succeed(*common, "-o", tmp_path / "y.png")
    assert_same(seen(tmp_path / "y.png"), exact.astype(np.uint8))


def test_the_mean_of_bool_is_no_bool(tmp_path: Path) -> None:
    x = npy(tmp_path / "x.npy", RNG.random((9, 12)) < 0.6)
    common = ("maxpool", tmp_path / "x.npy", "-w", "3", "--op", "mean", "-o")
    mean = windows(x, 3, 3).mean((-1, -2), dtype=np.float32)
    assert notes(succeed(*common, tmp_path / "y.npy")) == []
    found = np.load(tmp_path / "y.npy")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, mean, rtol=1e-6)
    (note,) = notes(succeed(*common, tmp_path / "y.png"))
    assert "the input holds bool" in note
    assert "was rounded to uint8" in note
    assert_same(seen(tmp_path / "y.png"), np.rint(mean).astype(np.uint8))
    succeed(*common, tmp_path / "b.npy", "--dtype", "bool")
    assert_same(np.load(tmp_path / "b.npy"), np.rint(mean).astype(bool))
    line = refused(tmp_path, *common, tmp_path / "b.tif", "--dtype", "bool")
    assert line == "--dtype bool is for .npy files: use --dtype uint8, or write .npy"


def test_fits_and_stacks(tmp_path: Path) -> None:
    x = RNG.normal(size=(5, 12, 15)).astype(np.float32)
    tifffile.imwrite(tmp_path / "x.tif", x, imagej=True, metadata={"axes": "ZYX", "spacing": 0.5})
    fits.writeto(tmp_path / "x.fits", x[0].astype(">f4"), fits.Header({"OBJECT": "M 31"}))
    exact = np.lib.stride_tricks.sliding_window_view(x, (2, 3, 4)).max((-1, -2, -3))
    succeed("maxpool", tmp_path / "x.tif", "-w", "2,3,4")
    with tifffile.TiffFile(tmp_path / "x.pooled.tif") as written:
        assert written.series[0].axes == "ZYX"
        assert_same(written.asarray(), exact)
    succeed("maxpool", tmp_path / "x.tif", "-w", "3,4", "-o", tmp_path / "slices.tif")
    exact = np.lib.stride_tricks.sliding_window_view(x, (3, 4), axis=(1, 2)).max((-1, -2))
    assert_same(tifffile.imread(tmp_path / "slices.tif"), exact)
    succeed("maxpool", tmp_path / "x.fits", "-w", "3,4")
    with fits.open(tmp_path / "x.pooled.fits") as frames:
        assert frames[0].header["OBJECT"] == "M 31"
        np.testing.assert_array_equal(frames[0].data, exact[0])


def test_named_axes_and_streams(tmp_path: Path) -> None:
    x = npy(tmp_path / "x.npy", RNG.normal(size=(9, 2, 12)).astype(np.float32))
    exact = np.lib.stride_tricks.sliding_window_view(x, (4, 3), axis=(0, 2)).max((-1, -2))
    outcome = succeed("maxpool", "-", "-w", "4,3", "--axes", "YCX", "-o", "-", stdin=(tmp_path / "x.npy").read_bytes())
    assert_same(out(outcome), exact)
    assert set(tmp_path.iterdir()) == {tmp_path / "x.npy"}


# Settings -------------------------------------------------------------------------------------------------------------


def test_the_pooling_of_networks(tmp_path: Path) -> None:
    x = npy(tmp_path / "x.npy", RNG.normal(size=(3, 13, 20)).astype(np.float32))
    blocks = x[:, :12].reshape(3, 4, 3, 5, 4)
    common = ("maxpool", tmp_path / "x.npy", "-w", "3,4", "--stride", "window", "-o", "-")
    assert_same(out(succeed(*common)), blocks.max((2, 4)))
    np.testing.assert_allclose(out(succeed(*common, "--op", "mean")), blocks.mean((2, 4)), rtol=1e-5, atol=1e-7)
    last = out(succeed(*common, "--ceil-mode"))
    assert_same(last[:, :4], blocks.max((2, 4)))
    assert_same(last[:, 4], x[:, 12].reshape(3, 5, 4).max(2))


def test_torchs_settings_and_indices(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="the extra 'references' is not installed")
    x = npy(tmp_path / "x.npy", RNG.integers(-9, 9, (2, 3, 13, 16)).astype(np.float32))
    words = "--window 4,3 --stride 3,2 --padding 2,1 --dilation 1,2 --ceil-mode"
    pooled = torch.nn.functional.max_pool2d(
        torch.from_numpy(x), (4, 3), (3, 2), (2, 1), (1, 2), ceil_mode=True, return_indices=True
    )
    succeed("maxpool", tmp_path / "x.npy", *words.split(), "--indices", tmp_path / "i.npy")
    assert_same(np.load(tmp_path / "x.pooled.npy"), pooled[0].numpy())
    assert_same(np.load(tmp_path / "i.npy"), pooled[1].numpy())


@pytest.mark.parametrize("boundary", MODES)
def test_boundaries(tmp_path: Path, boundary: str) -> None:
    x = npy(tmp_path / "x.npy", RNG.normal(size=(12, 15)))
    common = ("maxpool", tmp_path / "x.npy", "-w", "5,8", "--padding", "same", "--boundary", boundary, "-o", "-")
    assert_same(out(succeed(*common)), scipy.ndimage.maximum_filter(x, (5, 8), mode=MODES[boundary]))
    if boundary == "zero":  # these zeros count, also in a mean
        mean = scipy.ndimage.uniform_filter(x, (5, 8), mode="constant")
        np.testing.assert_allclose(out(succeed(*common, "--op", "mean")), mean, atol=1e-14)


def test_padding_is_nothing(tmp_path: Path) -> None:
    """Lowest, the default, never wins, and is no part of a mean."""
    x = npy(tmp_path / "x.npy", -1 - RNG.random((4, 5)))
    common = ("maxpool", tmp_path / "x.npy", "-w", "9", "--padding", "4:4,4:4", "-o", "-")
    assert_same(out(succeed(*common)), np.full((4, 5), x.max()))
    np.testing.assert_allclose(out(succeed(*common, "--op", "mean")), np.full((4, 5), x.mean()))


def test_windows_that_read_nothing_are_told(tmp_path: Path) -> None:
    x = npy(tmp_path / "x.npy", RNG.random((4, 5)))
    common = ("maxpool", tmp_path / "x.npy", "-w", "2", "--padding", "2", "-o", tmp_path / "y.npy")
    outcome = succeed(*common, "--indices", tmp_path / "i.npy")
    y = np.load(tmp_path / "y.npy")
    assert y.shape == (7, 8)
    assert np.isneginf(y).sum() == 26
    assert_same(y[1:-1, 1:-1], windows(np.pad(x, 1, constant_values=-np.inf), 2, 2).max((-1, -2)))
    np.testing.assert_array_equal(np.load(tmp_path / "i.npy") == -1, np.isneginf(y))
    assert [note for note in notes(outcome) if "26 of 56 windows read no pixel" in note and "lowest" in note]
    assert "highest" in succeed(*common, "--op", "min").stderr
    assert "no mean" in refused(tmp_path, *common, "--op", "mean")
    assert notes(succeed(*common, "--boundary", "edge")) == []


def test_nan(tmp_path: Path) -> None:
    x = RNG.normal(size=(9, 12))
    x[3, 4], x[7, 7], x[0, 0] = np.nan, np.inf, -np.inf
    npy(tmp_path / "x.npy", x)
    line = refused(tmp_path, "maxpool", tmp_path / "x.npy", "-w", "3")
    assert "3 NaN or infinite values" in line
    assert "--nan zero, mean or nearest to fill them, or --nan keep" in line
    common = ("maxpool", tmp_path / "x.npy", "-w", "3", "-o", "-")
    assert_same(out(succeed(*common, "--nan", "zero")), windows(np.where(np.isfinite(x), x, 0), 3, 3).max((-1, -2)))
    for op in ("max", "mean"):
        outcome = succeed(*common, "--nan", "keep", "--op", op, "--report", tmp_path / "r.json")
        with np.errstate(invalid="ignore"):
            exact = getattr(windows(x, 3, 3), op)((-1, -2))
        np.testing.assert_allclose(out(outcome), exact, rtol=1e-12, atol=1e-15)
        assert report(tmp_path / "r.json")["result"]["mean"] is None


@pytest.mark.parametrize(
    ("arguments", "least", "says"),
    [
        ("--padding 500000", 2 * 1_000_063**2, "use a smaller --padding or --window, or a smaller image"),
        ("--padding 500000 --indices i.npy", 10 * 1_000_063**2, "use a smaller --padding or --window"),
        ("--padding 500000 --op mean", 5 * 1_000_063**2, "use a smaller --padding or --window"),
        ("--padding same --dilation 1000000", 64 * 1_000_000, "use a smaller --padding, --dilation or --window"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_bytes(tmp_path: Path, arguments: str, least: int, says: str) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (300 << 20, 300 << 20))

    npy(tmp_path / "x.npy", pixels(64, 64))
    line = refused(tmp_path, "maxpool", "x.npy", "-w", "2", *arguments.split(), cwd=tmp_path, before=limit)
    assert "bytes of memory" in line
    assert says in line
    assert "--precision" not in line
    assert int(line.split(" bytes")[0].split()[-1]) >= least


def test_less_memory_than_foretold_is_no_advice_for_options_there_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def apply(*_: Any) -> np.ndarray:
        raise MemoryError

    npy(tmp_path / "x.npy", pixels(64, 64))
    monkeypatch.setattr(pooling, "apply", apply)
    monkeypatch.chdir(tmp_path)
    assert cli.run(["maxpool", "x.npy", "-w", "2"]) == 2
    needs = "convtool: not enough memory: use a smaller image, --padding or --dilation, or a machine with more\n"
    assert capsys.readouterr().err == needs
    monkeypatch.setattr(gradients, "edges", lambda x, **_: apply(x))
    assert cli.run(["edges", "x.npy"]) == 2
    needs = "convtool: not enough memory: use a smaller image, --precision single, or a machine with more\n"
    assert capsys.readouterr().err == needs


# The indices and the report -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(20, 31), (20, 31, 3), (20, 31, 4)])
def test_indices_count_the_pixels_of_a_plane(tmp_path: Path, shape: tuple[int, ...]) -> None:
    x = png(tmp_path / "x.png", *shape)
    words = ("-w", "3,2", "--padding", "same", "--indices", tmp_path / "i.npy", "--report", tmp_path / "r.json")
    succeed("maxpool", tmp_path / "x.png", *words)
    y, places = seen(tmp_path / "x.pooled.png"), np.load(tmp_path / "i.npy")
    colours = x[..., None] if x.ndim == 2 else x[..., :3]
    maxima = y[..., None] if y.ndim == 2 else y[..., :3]
    assert places.dtype == np.int64
    assert places.shape == (20, 31) if x.ndim == 2 else (3, 20, 31)
    for c, plane in enumerate(places.reshape(-1, 20, 31)):
        np.testing.assert_array_equal(colours[..., c].ravel()[plane], maxima[..., c])
        assert (np.abs(plane // 31 - np.arange(20)[:, None]) <= 1).all()
    told = report(tmp_path / "r.json")["output"]["indices"]
    assert told["name"] == str(tmp_path / "i.npy")
    assert (told["axes"], told["shape"], told["dtype"]) == ("CYX"[-places.ndim :], list(places.shape), "int64")


def test_either_result_through_a_pipe(tmp_path: Path) -> None:
    x = npy(tmp_path / "x.npy", RNG.normal(size=(9, 12)))
    outcome = succeed("maxpool", tmp_path / "x.npy", "-w", "3", "-o", tmp_path / "y.npy", "--indices", "-")
    assert_same(x.ravel()[out(outcome)], windows(x, 3, 3).max((-1, -2)))
    assert_same(np.load(tmp_path / "y.npy"), windows(x, 3, 3).max((-1, -2)))


def test_report(tmp_path: Path) -> None:
    x = png(tmp_path / "x.png", 20, 31)
    words = "--window 4,3 --op min --stride window --padding 1 --boundary edge --ceil-mode --dilation 1,2"
    outcome = succeed("maxpool", tmp_path / "x.png", *words.split(), "--report", tmp_path / "r.json")
    written = report(tmp_path / "r.json")
    y = seen(tmp_path / "x.pooled.png")
    assert (written["command"], written["notes"]) == ("maxpool", notes(outcome))
    assert written["input"]["mean"] == pytest.approx(x.mean())
    assert written["result"] == {"min": y.min(), "max": y.max(), "mean": pytest.approx(y.mean())}
    assert written["output"]["shape"] == list(y.shape)
    assert set(written["seconds"]) >= {"reading", "computing", "writing"}
    resolved = {"window": [4, 3], "op": "min", "stride": [4, 3], "padding": 1, "boundary": "edge"}
    resolved |= {"ceil_mode": True, "dilation": [1, 2], "axes": "YX", "nan": "refuse"}
    assert {name: value(written, name) for name in resolved} == resolved
    chosen = {name for name, entry in written["settings"].items() if entry["source"] == "chosen"}
    assert chosen == {"window", "op", "stride", "padding", "boundary", "ceil_mode", "dilation"}
    outcome = succeed("maxpool", tmp_path / "x.png", "-w", "3", "--verbose", "-o", "-")
    assert "boundary lowest" in outcome.stderr
    assert "stride 1,1" in outcome.stderr


# What is refused ------------------------------------------------------------------------------------------------------

REFUSED: list[tuple[str, str]] = [
    ("", "Missing option '-w' / '--window'"),
    ("-w 0", "window must be whole numbers of at least 1"),
    ("-w 2.5", "--window must be whole numbers such as 2 or 2,1, got '2.5'"),
    ("-w 2,2,2", "for all spatial axes of the image (YX)"),
    ("-w 5 --dilation 2", "the window spans 9x9 pixels, the padded image only 6x7"),
    (
        "-w 2 --stride windows",
        "--stride must be whole numbers of at least 1, such as 2 or 2,1, or the word window, got 'windows'",
    ),
    ("-w 2 --padding -1", "whole numbers of at least 0: N, N,M or A:B,C:D (before:after), got '-1'"),
    ("-w 2 --boundary wrap", "'lowest', 'periodic'"),
    ("-w 2 --op mean --indices i.npy", "--indices are those of maxima"),
    ("-w 2 --indices i.png", "--indices writes an .npy array: name it .npy, not i.png"),
    ("-w 2 --indices x.npy", "it is the input x.npy, which is never overwritten"),
    ("-w 2 -o x.npy", "it is the input x.npy, which is never overwritten"),
    ("-w 2 -o y.npy --indices y.npy", "two results would go to y.npy"),
    ("-w 2 -o y.npy --indices old.npy --no-clobber", "it exists and --no-clobber was given"),
    ("-w 2 --padding 4 -o y.npy --dtype uint8 --indices i.npy --report r.json", "which uint8 cannot hold"),
]


@pytest.mark.parametrize(("words", "text"), REFUSED, ids=[words or "nothing" for words, _ in REFUSED])
def test_refusals_leave_nothing_behind(tmp_path: Path, words: str, text: str) -> None:
    npy(tmp_path / "x.npy", RNG.random((6, 7)))
    npy(tmp_path / "old.npy", np.zeros(3))
    assert text in refused(tmp_path, "maxpool", "x.npy", *words.split(), cwd=tmp_path)


def test_indices_that_cannot_be_written_take_the_result_with_them(tmp_path: Path) -> None:
    npy(tmp_path / "x.npy", RNG.random((6, 7)))
    arguments: list[Any] = ["maxpool", "x.npy", "-w", "2", "-o", "y.npy", "--indices", "/dev/full"]
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    assert "disk is full" in refused(tmp_path, *arguments, cwd=tmp_path)
