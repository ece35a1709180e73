"""`convtool matrix` as a command: what it writes, what it says, and what it refuses."""

from __future__ import annotations

import io
import resource
from pathlib import Path
from typing import Any

import numpy as np
import oracles
import pytest
import scipy.sparse
from command import contents, environment, notes, refused, report, run, succeed, value

RNG = np.random.default_rng(31)


def saved(folder: Path, *shape: int) -> np.ndarray:
    """Taps, in `k.npy`."""
    taps = RNG.normal(size=shape)
    np.save(folder / "k.npy", taps)
    return taps


def convolved(folder: Path, x: np.ndarray, *options: str, operation: str = "convolve") -> np.ndarray:
    """What convolve or correlate makes of x with `k.npy`."""
    np.save(folder / "x.npy", x)
    raw = succeed(operation, folder / "x.npy", "-k", folder / "k.npy", *options, "-o", "-").stdout
    return np.load(io.BytesIO(raw), allow_pickle=False)


# What it writes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "shape", "image", "options"),
    [
        ("convolve", (3, 4), (7, 6), ""),
        ("correlate", (2, 3), (7, 6), "--boundary reflect --padding 0:1,2:2 --stride 2,1 --dilation 1,2"),
        ("convolve", (3, 2), (2, 7, 6), "--boundary zero --origin last --stride 2"),  # every channel by itself
        ("correlate", (2, 3, 2), (2, 7, 6), "--boundary edge --padding full --kernel-axes CYX"),
        ("correlate", (4, 3, 3, 2), (6, 5, 7), "--boundary zero --padding 1 --groups 2"),
        ("convolve", (4, 3, 3, 2), (3, 7, 6), "--boundary symmetric --padding valid"),
        ("convolve", (2, 1, 2, 3, 2), (1, 4, 5, 6), "--axes CZYX --stride 1,2,1"),
    ],
)
def test_the_matrix_times_an_image_is_what_the_command_of_that_name_makes(
    tmp_path: Path, operation: str, shape: tuple[int, ...], image: tuple[int, ...], options: str
) -> None:
    saved(tmp_path, *shape)
    x = RNG.normal(size=image)
    y = convolved(tmp_path, x, *options.split(), operation=operation)
    size = ",".join(map(str, image))
    common = ("-k", "k.npy", "--image-shape", size, "--operation", operation, *options.split())
    succeed("matrix", *common, "-o", "m.npz", cwd=tmp_path)
    M = scipy.sparse.load_npz(tmp_path / "m.npz")
    assert M.format == "csr"
    assert M.dtype == np.float64
    np.testing.assert_allclose(M @ x.ravel(), y.ravel(), atol=1e-12)


@pytest.mark.parametrize("rank", [2, 3])
def test_the_tensor_is_for_channels_last(tmp_path: Path, rank: int) -> None:
    taps = saved(tmp_path, 4, 3, 3, 2, 2)[..., 0] if rank == 2 else saved(tmp_path, 4, 3, 3, 2, 2)
    np.save(tmp_path / "k.npy", taps)
    grid = (5, 6, 4)[:rank]
    axes = "CYX" if rank == 2 else "CZYX"
    how = ("--boundary", "zero", "--stride", "2", "--axes", axes)
    shape = "x".join(map(str, (3, *grid)))
    outcome = succeed("matrix", "-k", "k.npy", "--image-shape", shape, *how, "--tensor", cwd=tmp_path)
    W = np.load(tmp_path / "matrix.npy")
    assert W.shape == (*(-(-n // 2) for n in grid), 4, *grid, 3)
    A = RNG.normal(size=(*grid, 3))
    y = convolved(tmp_path, np.moveaxis(A, -1, 0), *how)
    np.testing.assert_allclose(np.tensordot(W, A, rank + 1), np.moveaxis(y, 0, -1), atol=1e-12)
    (note,) = notes(outcome)
    order = "[oh, ow, f, h, w, c]" if rank == 2 else "[od, oh, ow, f, d, h, w, c]"
    assert order in note
    assert f"tensordot(W, A, {rank + 1})" in note


def test_names_and_notes_where_none_are_given(tmp_path: Path) -> None:
    taps = saved(tmp_path, 2, 3)
    outcome = succeed("matrix", "-k", "k.npy", "--image-shape", "2,5,4", cwd=tmp_path)
    assert set(contents(tmp_path)) == {"k.npy", "matrix.npz"}
    (note,) = notes(outcome)
    assert "[c, h, w] = 2x5x4" in note
    assert "y.ravel() = M @ x.ravel()" in note
    dense = np.kron(np.eye(2), oracles.matrix(taps[None, None], (1, 5, 4)))
    np.testing.assert_array_equal(scipy.sparse.load_npz(tmp_path / "matrix.npz").toarray(), dense)
    succeed("matrix", "-k", "k.npy", "--image-shape", "2,5,4", "--dense", "-q", cwd=tmp_path)
    np.testing.assert_array_equal(np.load(tmp_path / "matrix.npy"), dense)


def test_images_in_other_orders_of_axes_are_the_same_matrix(tmp_path: Path) -> None:
    saved(tmp_path, 2, 3, 3, 2)
    succeed("matrix", "-k", "k.npy", "--image-shape", "3,6,5", "-o", "a.npz", cwd=tmp_path)
    outcome = succeed("matrix", "-k", "k.npy", "--image-shape", "6,5,3", "--axes", "YXC", "-o", "b.npz", cwd=tmp_path)
    assert "[c, h, w] = 2x6x5" in notes(outcome)[0]
    assert "[c, h, w] = 3x6x5" in notes(outcome)[0]
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize(
    ("kernel", "shape", "axes", "transposes"),
    [
        ((3, 2), (6, 5, 3), "YXC", 2),
        ((2, 3, 3, 2), (6, 5, 3), "YXC", 2),
        ((2, 3), (6, 5), "XY", 2),
        ((2, 1, 2, 3), (6, 5), "XY", 2),
        ((2, 1, 2, 3), (6, 5), "YX", 0),
        ((2, 3), (3, 6, 5), "CYX", 0),
        ((2, 2, 2), (3, 6, 5), "YZX", 2),
    ],
)
def test_the_note_is_the_formula_of_the_command(
    tmp_path: Path, kernel: tuple[int, ...], shape: tuple[int, ...], axes: str, transposes: int
) -> None:
    saved(tmp_path, *kernel)
    np.save(tmp_path / "x.npy", RNG.normal(size=shape))
    text = ",".join(map(str, shape))
    outcome = succeed("matrix", "-k", "k.npy", "--image-shape", text, "--axes", axes, "-o", "m.npz", cwd=tmp_path)
    succeed("convolve", "x.npy", "-k", "k.npy", "--axes", axes, "-o", "y.npy", cwd=tmp_path)
    left, right = notes(outcome)[0].rpartition(": ")[2].split(" = ")
    assert (left + right).count("transpose") == transposes
    names = {name: np.load(tmp_path / f"{name}.npy") for name in "xy"}
    names["M"] = scipy.sparse.load_npz(tmp_path / "m.npz")
    np.testing.assert_allclose(eval(left, {}, names), eval(right, {}, names), rtol=0, atol=1e-12)


def test_standard_output_and_generated_kernels(tmp_path: Path) -> None:
    common = ("matrix", "-k", "gaussian:sigma=0.8,size=5", "--image-shape", "9x8", "--boundary", "symmetric")
    succeed(*common, "-o", tmp_path / "m.npz")
    piped = succeed(*common, "-o", "-").stdout
    assert piped == (tmp_path / "m.npz").read_bytes()
    rows = scipy.sparse.load_npz(io.BytesIO(piped)).sum(axis=1)
    np.testing.assert_allclose(rows, 1.0, atol=1e-12)
    dense = np.load(io.BytesIO(succeed(*common, "--dense", "-o", "-").stdout), allow_pickle=False)
    np.testing.assert_array_equal(dense, scipy.sparse.load_npz(tmp_path / "m.npz").toarray())
    np.save(tmp_path / "k.npy", 3 * np.ones((2, 3)))
    succeed("matrix", "-k", tmp_path / "k.npy", "--normalize", "--image-shape", "5,5", "-o", tmp_path / "n.npz")
    np.testing.assert_allclose(scipy.sparse.load_npz(tmp_path / "n.npz").sum(axis=1), 1.0, atol=1e-12)


def test_the_report(tmp_path: Path) -> None:
    saved(tmp_path, 4, 3, 3, 2)
    common = ("-k", "k.npy", "--image-shape", "3,7,6", "--stride", "2,3", "--padding", "0:1,2:2")
    succeed("matrix", *common, "-o", "m.npz", "--spectrum", "s.npy", "--report", "r.json", cwd=tmp_path)
    found, M = report(tmp_path / "r.json"), scipy.sparse.load_npz(tmp_path / "m.npz")
    assert (found["result"]["rows"], found["result"]["columns"]) == M.shape
    assert found["output"]["name"] == "m.npz"
    assert found["output"]["shape"] == list(M.shape)
    assert found["output"]["stored"] == M.nnz
    assert found["output"]["spectrum"] == "s.npy"
    assert found["kernel"]["axes"] == "OIYX"
    assert value(found, "image_shape") == [3, 7, 6]
    assert value(found, "axes") == "CYX"
    assert value(found, "stride") == [2, 3]
    assert value(found, "padding") == [[0, 1], [2, 2]]
    assert value(found, "origin") == [1, 1]
    assert found["settings"]["boundary"]["source"] == "assumed"
    assert found["settings"]["stride"]["source"] == "chosen"
    outcome = succeed("matrix", *common, "-o", "m.npz", "--verbose", cwd=tmp_path)
    assert f"{M.shape[0]}x{M.shape[1]}" in outcome.stderr


# The spectrum ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "how"),
    [
        ("--stride 2,3", "FFT"),
        ("--stride 2 --boundary reflect --dilation 2", "dense"),
    ],
)
def test_singular_values_are_those_of_the_matrix(tmp_path: Path, options: str, how: str) -> None:
    saved(tmp_path, 2, 3, 3, 3)
    common = ("-k", "k.npy", "--image-shape", "3,8,6", *options.split())
    outcome = succeed("matrix", *common, "--spectrum", "s.npy", "--report", "r.json", cwd=tmp_path)
    assert set(contents(tmp_path)) == {"k.npy", "s.npy", "r.json"}  # no matrix: nobody asked for it
    assert notes(outcome) == []
    succeed("matrix", *common, "--dense", "-o", "m.npy", cwd=tmp_path)
    exact = np.linalg.svd(np.load(tmp_path / "m.npy"), compute_uv=False)
    values = np.load(tmp_path / "s.npy")
    np.testing.assert_allclose(values, exact, rtol=0, atol=1e-12 * exact[0])
    found = report(tmp_path / "r.json")
    assert found["result"]["largest"] == pytest.approx(exact[0])
    assert found["result"]["smallest"] == pytest.approx(exact[-1])
    assert found["result"]["condition"] == found["result"]["condition_kept"] == pytest.approx(exact[0] / exact[-1])
    assert found["result"]["rank"] == len(exact)
    assert how in found["result"]["decomposed"]
    assert found["output"]["name"] == "s.npy"


def test_a_kernel_that_loses_something(tmp_path: Path) -> None:
    common = ("-k", "box:size=1,2", "--image-shape", "4,8", "--spectrum", "s.npy")
    outcome = succeed("matrix", *common, "--report", "r.json", "-v", cwd=tmp_path)
    found = report(tmp_path / "r.json")["result"]
    assert (found["rank"], found["condition"]) == (28, None)  # infinite, which JSON cannot say
    kept = 1 / np.cos(3 * np.pi / 8)
    assert found["condition_kept"] == pytest.approx(kept)
    (note,) = notes(outcome)
    assert "rank 28 of 32" in note
    assert f"{kept:.4g}" in note
    assert "condition inf" in outcome.stderr


def test_a_spectrum_beside_a_matrix_and_on_standard_output(tmp_path: Path) -> None:
    saved(tmp_path, 3, 3)
    common = ("matrix", "-k", "k.npy", "--image-shape", "6,5")
    succeed(*common, "--spectrum", "s.npy", "--tensor", cwd=tmp_path)
    assert set(contents(tmp_path)) == {"k.npy", "s.npy", "matrix.npy"}
    piped = succeed(*common, "--spectrum", "-", cwd=tmp_path).stdout
    np.testing.assert_array_equal(np.load(io.BytesIO(piped)), np.load(tmp_path / "s.npy"))


# Merged kernels -------------------------------------------------------------------------------------------------------


def test_a_merged_kernel_brings_its_settings(tmp_path: Path) -> None:
    for name in "ab":
        np.save(tmp_path / f"{name}.npy", RNG.normal(size=(3, 3)))
    succeed("merge-kernels", "a.npy", "b.npy", "--stride", "2,1", "--padding", "0", "-o", "k.npy", cwd=tmp_path)
    outcome = succeed("matrix", "-k", "k.npy", "--image-shape", "8,10", "-o", "m.npz", cwd=tmp_path)
    assert any("k.npy.json" in note for note in notes(outcome))
    M = scipy.sparse.load_npz(tmp_path / "m.npz")
    x = RNG.normal(size=(8, 10))
    np.testing.assert_allclose(M @ x.ravel(), convolved(tmp_path, x).ravel(), atol=1e-12)
    assert M.shape[0] < M.shape[1]
    line = refused(tmp_path, "matrix", "-k", "k.npy", "--image-shape", "8,10", "--stride", "3", cwd=tmp_path)
    assert "k.npy.json" in line


# What it refuses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("", ["--image-shape"]),
        ("--image-shape 8,-8", ["--image-shape", "8,-8"]),
        ("--image-shape 8,8,3", ["YXC or CYX"]),
        ("--image-shape 5,3,8,8", ["axis N", "one image"]),
        ("--image-shape 5,8,8 --axes ZYX --kernel-axes YX", ["axis Z", "one image"]),
        ("--image-shape 2,2 --padding valid", ["no output"]),
        ("--image-shape 8,8 --padding wide", ["--padding"]),
        ("--image-shape 8,8 -o m.npy", [".npz", "--dense"]),
        ("--image-shape 8,8 --tensor -o m.npz", [".npy"]),
        ("--image-shape 8,8 --spectrum s.npz", [".npy"]),
        ("--image-shape 8,8 -o gone/m.npz", ["gone"]),
        ("--image-shape 8,8 --dense -o k.npy", ["input"]),
        ("--image-shape 8,8 -o old.npz --no-clobber", ["--no-clobber"]),
        ("--image-shape 8,8 --spectrum - -o -", ["its own name"]),
    ],
)
def test_mistakes(tmp_path: Path, arguments: str, says: list[str]) -> None:
    saved(tmp_path, 3, 3)
    (tmp_path / "old.npz").write_bytes(b"")
    line = refused(tmp_path, "matrix", "-k", "k.npy", *arguments.split(), cwd=tmp_path)
    for words in says:
        assert words in line


@pytest.mark.parametrize(
    ("arguments", "least", "says"),
    [
        ("--image-shape 100000,100000 --dense", 8 * 10**20, "--image-shape"),
        ("--image-shape 100000,100000 --tensor", 8 * 10**20, "--image-shape"),
        ("--image-shape 100000,100000", 12 * 9 * 10**10, "--image-shape"),
        (
            "--image-shape 1000,1000 --dense",
            8 * 10**12,
            "leave --dense and --tensor out: the sparse matrix takes 1",
        ),
        ("--image-shape 700000,700000 --spectrum s.npy", 8 * 49 * 10**10, "singular values"),
        ("--image-shape 2000,2000 --boundary zero --spectrum s.npy", 8 * 4**2 * 10**12, "--boundary periodic"),
        ("--image-shape 99999999999,99999999999", 8 * 99999999999**2, "--image-shape"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_bytes(tmp_path: Path, arguments: str, least: int, says: str) -> None:
    saved(tmp_path, 3, 3)
    line = refused(tmp_path, "matrix", "-k", "k.npy", *arguments.split(), cwd=tmp_path)
    assert says in line
    assert "bytes" in line
    numbers: list[Any] = [int(word) for word in line.split() if word.isdecimal()]
    assert max(numbers) >= least


@pytest.mark.parametrize("room", [180, 210, 230, 280])
def test_little_memory_is_enough_or_the_bytes_are_said(tmp_path: Path, room: int) -> None:
    """The matrix takes 64 MB, the program somewhat more than 100 MB."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (room << 20, room << 20))

    arguments = ("matrix", "-k", "delta", "--image-shape", "2000,2000", "-o", "m.npz")
    outcome = run(*arguments, cwd=tmp_path, before=limit, env=environment(OPENBLAS_NUM_THREADS="1"))
    if outcome.status == 0:
        return
    assert (outcome.status, room < 280) == (2, True)
    (line,) = outcome.stderr.splitlines()
    needed = int(line.split(" bytes")[0].split()[-1])
    assert 64e6 < needed < 120e6
    assert "use a smaller --image-shape" in line
    assert contents(tmp_path) == {}


def test_a_decomposition_that_takes_too_long_is_refused_before_it_starts(tmp_path: Path) -> None:
    """Its matrix fits, for a machine with 3 GB to spare; where it does not, the bytes are what is said."""
    saved(tmp_path, 3, 3)
    arguments = ("--image-shape", "128,128", "--boundary", "zero", "--spectrum", "s.npy")
    line = refused(tmp_path, "matrix", "-k", "k.npy", *arguments, cwd=tmp_path)
    assert "minutes" in line or "bytes" in line
    assert "periodic" in line
