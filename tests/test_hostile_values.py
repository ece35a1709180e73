"""Numerically hostile arrays: every verb is right by an oracle, or refuses in one line.

It never warns, never fails in another way, and never touches what it was given.

What must not be refused is said by `is_tame`: finite numbers and taps that are far from the ends of their dtype.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hostile
import imageio.v3 as iio
import numpy as np
import oracles
import pytest
import tifffile
from hypothesis import example, given, settings
from hypothesis import strategies as st

import convtool
from convtool import cli, images, process
from convtool.deconvolution import methods, tikhonov, wiener
from convtool.errors import ConvtoolError

VERBS: dict[str, Callable[..., np.ndarray]] = {"convolve": convtool.convolve, "correlate": convtool.correlate}
TAME = {np.dtype("f4"): (1e-20, 1e20), np.dtype("f8"): (1e-100, 1e100)}


def attempt(verb: Callable[..., Any], *given: Any, **settings: Any) -> Any:
    """What a verb gives, or the text of its refusal; it may not change its arrays."""
    arrays = [array for array in given if isinstance(array, np.ndarray)]
    before = [(array.tobytes(), array.flags.writeable) for array in arrays]
    try:
        found = verb(*given, **settings)
    except ConvtoolError as error:
        found = str(error)
        assert found.strip()
        assert found.isprintable()  # one line
    assert [(array.tobytes(), array.flags.writeable) for array in arrays] == before
    return found


def computed(dtype: np.dtype) -> np.dtype:
    """The dtype that an image is computed in."""
    narrow = dtype.itemsize <= (4 if dtype.kind == "f" else 2)
    return np.dtype("f4" if narrow else "f8")


def exact(values: np.ndarray) -> tuple[np.ndarray, int]:
    """Finite values as float64 up to 1 in size, and the power of two that they were divided by."""
    wide = values.astype("f8")
    power = int(np.frexp(np.abs(wide).max(initial=0))[1])
    return np.ldexp(wide, -power), power


def is_tame(values: np.ndarray, dtype: np.dtype) -> bool:
    """Whether there are only numbers, and none of a size that anything could go wrong with."""
    sizes, (least, most) = np.abs(values.astype("g")), TAME[dtype]
    return values.size > 0 and bool((sizes < most).all()) and sizes.max() > least


def assert_scaled(y: np.ndarray, expected: np.ndarray, powers: tuple[int, int], allowed: float, floor: int) -> None:
    """y is 2^(a + b) times what is expected, to `allowed` and to `floor` of the smallest numbers of its dtype.

    Those are the result's, or the image's (of 2^a), which the kernel (of 2^b) amplifies.
    """
    power = min(powers[0], sum(powers))
    with np.errstate(over="ignore"):
        smallest = float(np.ldexp(float(np.finfo(y.dtype).smallest_subnormal), min(-power, 3000)))
        scaled = np.ldexp(y.astype("f8"), -sum(powers))
    np.testing.assert_allclose(scaled, expected, rtol=0, atol=min(allowed + floor * smallest, 1e300))


# Convolution ----------------------------------------------------------------------------------------------------------


@st.composite
def windows(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "boundary": draw(st.sampled_from(oracles.BOUNDARIES)),
        "padding": draw(st.sampled_from(["same", "same", "full", 2])),
        "stride": draw(st.integers(1, 2)),
        "origin": draw(st.sampled_from(["center", "first"])),
    }


IMAGES = hostile.arrays(hostile.shapes() | hostile.shapes(3, 0))
KERNELS = hostile.arrays(hostile.shapes(5) | hostile.shapes(9) | hostile.shapes(2, 0))
PLAIN_KERNELS = hostile.arrays(hostile.shapes(9), ("f8", "f4", "i2"), ("noise", "constant"))


@given(
    IMAGES,
    KERNELS | PLAIN_KERNELS,
    windows(),
    st.sampled_from(list(VERBS)),
    st.sampled_from(["auto", "fft", "blocks", "direct", "separable"]),
)
@settings(max_examples=300)
@example(np.full((4, 5), 3e38, "f4"), np.ones((3, 3)), {}, "convolve", "auto")  # gave infinities
@example(np.full((4, 5), 1e308), np.ones((3, 3)), {}, "convolve", "fft")  # warned
@example(np.full((4, 5), 3e38, "f4"), np.ones((3, 3)), {}, "correlate", "blocks")  # gave NaN
@example(np.ones((4, 5)), np.full((2, 2), np.finfo("g").max), {}, "convolve", "auto")  # warned
@example(np.zeros((1, 1)), np.full((1, 2), 1.7e308), {}, "convolve", "fft")  # warned
@example(np.full((1, 14), 3.4e38, "f4"), np.zeros((1, 1)), {}, "convolve", "fft")  # warned
@example(np.full((2, 2), np.finfo("g").max), np.ones((1, 1)), {}, "convolve", "auto")
def test_convolutions(x: np.ndarray, kernel: np.ndarray, how: dict[str, Any], operation: str, engine: str) -> None:
    y = attempt(VERBS[operation], x, kernel, engine=engine, **how)
    if isinstance(y, str):
        dtype = computed(x.dtype)
        is_lost = is_tame(x, dtype) and is_tame(kernel, np.dtype("f4"))
        assert not is_lost or "no output" in y or "engine separable" in y, y
        return
    assert y.dtype == computed(x.dtype)
    assert np.isfinite(x).all()
    (image, lifted), (taps, more) = exact(x), exact(kernel)
    expected = oracles.apply_loop(operation, image[None, None], taps[None, None], **how)[0, 0]
    points = int(np.prod([2 * (n + 2 * k + 4) for n, k in zip(x.shape, kernel.shape, strict=True)]))
    sums = (kernel.size + 2) * np.abs(taps).sum() + 4 * np.log2(2 + points) * np.sqrt(points) * np.linalg.norm(taps)
    assert_scaled(y, expected, (lifted, more), float(np.finfo(y.dtype).eps * sums), 8 * points)


@given(IMAGES, PLAIN_KERNELS, windows(), st.sampled_from(["auto", "fft", "direct"]))
@settings(max_examples=120)
@example(np.where(np.eye(4) > 0, np.nan, 1e308), np.ones((1, 1)), {}, "auto")  # the mean of the others overflowed
def test_convolutions_of_what_was_observed(x: np.ndarray, kernel: np.ndarray, how: dict[str, Any], engine: str) -> None:
    with np.errstate(invalid="ignore"):
        observed = np.isfinite(x.astype("f8")) & (np.arange(x.size).reshape(x.shape) % 5 != 3)
        kernel = np.abs(kernel)
    y = attempt(convtool.convolve, x, kernel, mask=observed, engine=engine, **how)
    if isinstance(y, str):
        known = x[observed]
        assert not known.size or not is_tame(known, computed(x.dtype)) or "no output" in y, y
        return
    assert y.dtype == computed(x.dtype)
    (image, lifted), (taps, more) = exact(np.where(observed, x, x.dtype.type(0))), exact(kernel)
    expected = oracles.masked_loop("convolve", image[None, None], observed[None, None], taps[None, None], **how)[0, 0]
    assert_scaled(y, expected, (lifted, more), 1e-5 if y.dtype == "f4" else 1e-11, 8 * x.size * kernel.size)


def test_kernels_may_be_lists() -> None:
    x, kernel = np.eye(3, 4), [[1.0, 2.0]]
    np.testing.assert_array_equal(convtool.convolve(x, kernel), convtool.convolve(x, np.array(kernel)))
    found = convtool.deconvolve(x, kernel, method="pinv")
    np.testing.assert_array_equal(found.x, convtool.deconvolve(x, np.array(kernel), method="pinv").x)


# Windows --------------------------------------------------------------------------------------------------------------


@given(IMAGES, PLAIN_KERNELS | KERNELS, st.sampled_from(oracles.BOUNDARIES), st.sampled_from(["mul", "add"]))
@settings(max_examples=150)
def test_local_windows(x: np.ndarray, weights: np.ndarray, boundary: str, combine: str) -> None:
    """Sums of products, and maxima of sums; what is too large is infinite, as it says."""
    y = attempt(convtool.local, x, weights, combine, "sum" if combine == "mul" else "max", boundary=boundary)
    if isinstance(y, str):
        assert not (is_tame(x, computed(x.dtype)) and is_tame(weights, np.dtype("f4"))), y
        return
    assert y.dtype == computed(x.dtype)
    assert np.isfinite(x).all()
    with np.errstate(over="ignore", invalid="ignore"):
        dtype = y.dtype.type
        windows = windowed(x.astype(dtype), weights.shape, boundary)
        terms = windows * weights.astype(dtype) if combine == "mul" else windows + weights.astype(dtype)
        expected = terms.sum((2, 3), dtype="f8") if combine == "mul" else terms.max((2, 3))
        size = np.abs(terms.astype("f8")).sum((2, 3))
        is_held = (size < 0.99 * float(np.finfo(dtype).max)) & np.isfinite(expected)
    rounding = 4 * weights.size * float(np.finfo(dtype).eps) * size + weights.size * float(np.finfo(dtype).tiny)
    assert (np.abs(y[is_held] - expected[is_held]) <= rounding[is_held]).all()


def windowed(x: np.ndarray, sizes: tuple[int, ...], boundary: str) -> np.ndarray:
    """The pixels under every tap of a correlation [*x.shape, *sizes], of padding "same"."""
    lines = oracles.reads(x.shape, sizes, "correlate", "center", "same", 1, 1)
    sources = [
        [[oracles.source(p, n, boundary) for p in reads] for reads in line]
        for line, n in zip(lines, x.shape, strict=True)
    ]
    found = np.zeros((*x.shape, *sizes), x.dtype)
    for i, j, a, b in np.ndindex(found.shape):
        at = sources[0][i][a], sources[1][j][b]
        if None not in at:
            found[i, j, a, b] = x[at]
    return found


@given(IMAGES, st.sampled_from([1, 2, 3, (1, 4), (20, 9)]), st.sampled_from(["valid", "same"]))
@settings(max_examples=150)
def test_maxima(x: np.ndarray, window: Any, padding: str) -> None:
    """They keep dtype and values; nothing but a window without pixels is refused."""
    y = attempt(convtool.max_pool, x, window, padding=padding)
    sides = (window, window) if isinstance(window, int) else window
    reach = [side // 2 if padding == "same" else 0 for side in sides]
    if isinstance(y, str):
        assert x.size == 0 or any(side > n for side, n in zip(sides, x.shape, strict=True)), y
        return
    assert y.dtype == x.dtype.newbyteorder("=")
    for place in np.ndindex(y.shape):
        inside = tuple(slice(max(j - r, 0), j - r + side) for j, r, side in zip(place, reach, sides, strict=True))
        with np.errstate(invalid="ignore"):
            np.testing.assert_array_equal(y[place], x[inside].max())


@given(IMAGES, st.sampled_from(oracles.BOUNDARIES))
@settings(max_examples=150)
def test_gradients(x: np.ndarray, boundary: str) -> None:
    y = attempt(convtool.edges, x, boundary=boundary)
    if isinstance(y, str):
        assert not is_tame(x, computed(x.dtype)), y
        return
    assert y.dtype == computed(x.dtype)
    assert np.isfinite(x).all()
    image, lifted = exact(x)
    around = windowed(image, (3, 3), boundary)
    expected = np.hypot(around[:, :, 2, 1] - around[:, :, 0, 1], around[:, :, 1, 2] - around[:, :, 1, 0]) / 2
    is_held = np.ldexp(expected, lifted - 1) < 0.24 * float(np.finfo(y.dtype).max)
    assert_scaled(
        np.where(is_held, y, 0), np.where(is_held, expected, 0), (lifted, 0), 8 * float(np.finfo(y.dtype).eps), 4
    )


# Deconvolution --------------------------------------------------------------------------------------------------------

SLOW = ("auto", "tv", "non-local", "rl")
TYPICAL = ("noise", "noise", "constant", "zeros", "spike")  # what is rarely refused
DATA = hostile.arrays(hostile.shapes(8), kinds=TYPICAL) | hostile.arrays(hostile.shapes(8) | hostile.shapes(3, 0))
BLURS = (
    hostile.arrays(hostile.shapes(4) | hostile.shapes(12), ("f8", ">f4", "u1"), ("noise", "constant", "spike"))
    | KERNELS
)


@pytest.mark.parametrize("method", methods.names())
def test_deconvolutions(method: str) -> None:
    @given(DATA, BLURS, st.sampled_from(["auto", "periodic"]))
    @settings(max_examples=30 if method in SLOW else 80)
    def solves_or_refuses(y: np.ndarray, kernel: np.ndarray, boundary: str) -> None:
        solution = attempt(convtool.deconvolve, y, kernel, method=method, boundary=boundary)
        if isinstance(solution, str):
            is_ruled_out = method == "rl" and (kernel < 0).any()
            assert is_ruled_out or not (is_tame(y, computed(y.dtype)) and is_tame(kernel, np.dtype("f4"))), solution
            return
        assert solution.x.shape == y.shape
        assert solution.x.dtype == computed(y.dtype)
        assert np.isfinite(solution.x).all()
        is_fitting = method != "rl" or y.min() >= 0  # light cannot be negative
        assert 0 <= solution.metrics["relative_residual"] < (1.01 if is_fitting else np.inf)
        if not y.any():
            assert not solution.x.any()

    solves_or_refuses()


@pytest.mark.parametrize(
    ("method", "y", "kernel"),
    [
        ("tv", np.eye(7, 9) * 1e-300, np.ones((1, 3))),  # ZeroDivisionError
        ("tv", np.eye(7, 9) * 1e-200, np.ones((1, 3))),  # the same
        ("tv", np.full((7, 9), 1e306), np.ones((1, 3))),  # OverflowError
        ("rl", np.full((7, 9), 1e306), np.full((2, 3), 1e-200)),  # infinities
        ("least-squares", np.eye(7, 9) * 1e300, np.full((2, 3), 1e-200)),  # infinities
        ("least-squares", np.zeros((1, 1)), np.full((1, 1), np.finfo("f8").max)),  # OverflowError
        ("pinv", np.array([[7, 9]]), np.full((1, 2), np.finfo("f8").max)),  # warned, as all below
        ("pinv", np.full((7, 9), 1e37, "f4"), np.array([[0.1, 0.5, 0.1]])),
        ("wiener", np.full((7, 9), 1e300), np.ones((1, 3))),
        ("tikhonov", np.eye(7, 9) * 1e155, np.ones((1, 3))),
        ("tikhonov", np.full((7, 9), 3.4e38, "f4"), np.ones((1, 1))),
        ("pinv", np.full((2000, 2000), 9e31, "f4"), np.full((1, 1), 1e6)),
        ("pinv", np.full((7, 9), 1e31, "f4"), np.full((1, 1), 1e-9)),
        ("pinv", np.full((7, 9), 1e-31, "f4"), np.full((1, 1), 1e8)),  # few bits were left
    ],
)
def test_deconvolutions_that_went_wrong(method: str, y: np.ndarray, kernel: np.ndarray) -> None:
    with pytest.raises(ConvtoolError, match=r"can be computed with: |too large"):
        convtool.deconvolve(y, kernel, method=method)


@pytest.mark.parametrize(
    "method", [*methods.names(), tikhonov.Options(weight=0.1), wiener.Options(noise_to_signal=0.1)]
)
def test_kernels_that_wipe_out_all_of_an_image(method: Any) -> None:
    """A difference of rows is nothing where there is one row, which is its own neighbour."""
    for y in (np.array([[0.6, 0.3, 0.5]]), np.zeros((1, 3), "f4")):
        found = attempt(convtool.deconvolve, y, np.array([[-1.0], [1.0]]), method=method, boundary="periodic")
        if method == "rl":
            assert "negative taps" in found
            continue
        assert not found.x.any()
        assert found.metrics["relative_residual"] == y.any()


def test_gaps_beyond_counting_are_no_steps() -> None:
    """Noise is measured of data over hundreds of decades: the number of their least gaps overflowed."""
    y = np.array([[-8e-287, -1e-306, -3.7e84, -2.2e-282, 6.7e-215, 1.5e-184]])
    assert np.isfinite(convtool.deconvolve(y, np.array([[1.4]]), method="non-local").x).all()


def test_patches_that_lead_away_from_few_data_are_not_followed() -> None:
    """Two samples under a kernel of 24: the rounds diverged, to a residual of 1661 times the data."""
    column = [
        193,
        88,
        107,
        214,
        72,
        3,
        249,
        66,
        100,
        113,
        251,
        27,
        99,
        234,
        105,
        76,
        30,
        177,
        239,
        105,
        31,
        25,
        113,
        208,
    ]
    y, kernel = np.array([[0.6257302], [0.36789513]], "f4"), np.array(column, "u1")[:, None]
    solution = convtool.deconvolve(y, kernel, method="non-local", boundary="unknown")
    assert solution.metrics["relative_residual"] < 0.01
    assert solution.metrics["pilot_kept"]
    assert any("total variation" in note for note in solution.notes)
    wide = np.tile(np.random.default_rng(1).normal(0.5, 1, 8), (8, 1))  # they diverged until squares of them overflowed
    solution = convtool.deconvolve(np.array([[0.6255, 0.368]], "f2"), wide, method="non-local")
    assert solution.metrics["relative_residual"] < 1
    plain = convtool.deconvolve(np.kron(np.eye(6), np.ones((4, 4))), np.ones((3, 3)) / 9, method="non-local")
    assert not plain.metrics["pilot_kept"]


@pytest.mark.parametrize("method", methods.names())
def test_solutions_scale_over_what_is_computed_with(method: str) -> None:
    """What is accepted is right: powers of two change nothing but the scale, to the ends of the range."""
    rng = np.random.default_rng(3)
    y, kernel = rng.uniform(1, 2, (13, 16)), np.array([[0.05, 0.1, 0.0], [0.1, 1.0, 0.3], [0.0, 0.05, 0.02]])
    for dtype, exponents, allowed in (("f4", (-100, 80), 1e-5), ("f8", (-400, 400), 1e-9)):
        once = convtool.deconvolve(y.astype(dtype), kernel, method=method, boundary="periodic").x
        for k in exponents:
            lifted = convtool.deconvolve(np.ldexp(y, k).astype(dtype), kernel, method=method, boundary="periodic").x
            difference = np.ldexp(lifted.astype("f8"), -k) - once
            assert np.linalg.norm(difference) <= allowed * np.linalg.norm(once)


# Files ----------------------------------------------------------------------------------------------------------------


@st.composite
def files(draw: st.DrawFn) -> tuple[str, np.ndarray]:
    """A file's name, and what it holds."""
    ending = draw(st.sampled_from([".npy", ".npy", ".tif", ".png"]))
    dtypes = {".npy": (*hostile.FLOATS, *hostile.INTEGERS), ".tif": ("f4", "f8", "u1", ">u2", "i2"), ".png": ("u1",)}
    return f"x{ending}", draw(hostile.arrays(hostile.shapes(6, 0 if ending == ".npy" else 1), dtypes[ending]))


COMMANDS = (
    ("convolve", "-k", "k.npy"),
    ("correlate", "-k", "k.npy", "--boundary", "reflect", "--nan", "mask"),
    ("deconvolve", "-k", "k.npy", "--method", "tikhonov", "--nan", "mean"),
    ("deconvolve", "-k", "k.npy", "--method", "least-squares", "--boundary", "zero"),
    ("maxpool", "-w", "2", "--padding", "same", "--nan", "keep"),
    ("edges", "--nan", "zero"),
    ("local", "-k", "k.npy", "--nan", "nearest"),
)


@given(files(), KERNELS | PLAIN_KERNELS, st.sampled_from(COMMANDS), st.booleans())
@settings(max_examples=150)
@example(("x.npy", np.full((1, 2), 1.7e308)), np.array([[0.6]]), COMMANDS[0], True)  # a traceback: the report's mean
@example(("x.npy", np.array([[1.7e308, 1.7e308, np.nan]])), np.array([[0.6]]), COMMANDS[2], False)  # and that to fill
def test_files(given: tuple[str, np.ndarray], kernel: np.ndarray, words: tuple[str, ...], is_told: bool) -> None:
    """A command ends with 0 and a result that can be read, or with 2 and one line; there is no other end."""
    name, values = given
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(process, "policy", process.Policy())
        patch.setattr(warnings, "showwarning", warnings.showwarning)
        np.save("k.npy", kernel)
        write(name, values)
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors):
            status = cli.run([words[0], name, *words[1:], "-o", "y.npy", *(["--report", "r.json"] if is_told else [])])
        lines = errors.getvalue().splitlines()
        if status == 0:
            assert all(line.startswith("convtool: note: ") for line in lines), lines
            y = np.load("y.npy")
            assert y.size
            assert "--nan" in words or np.isfinite(y).all() or words[0] == "local"
            assert not is_told or Path("r.json").stat().st_size
        else:
            assert (status, len(lines)) == (2, 1), lines
            assert set(os.listdir()) == {name, "k.npy"}


def test_the_mean_of_numbers_that_add_up_to_none(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([[1.7e308, 1.7e308, np.nan]]))
    np.testing.assert_allclose(images.read(str(tmp_path / "x.npy"), nan="mean").data, 1.7e308)


def write(name: str, values: np.ndarray) -> None:
    if name.endswith("npy"):
        np.save(name, values)
    elif name.endswith("tif"):
        tifffile.imwrite(name, values, byteorder=">" if values.dtype.byteorder == ">" else "<")
    else:
        iio.imwrite(name, values)
