"""Pooling against a loop over the definition, torch, ONNX's reference and SciPy; and what it may cost."""

from __future__ import annotations

import itertools
import math
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
import oracles
import pytest
import scipy.ndimage
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import convtool
from convtool import pooling
from convtool.errors import DataError, SettingError
from convtool.pooling import geometry, reductions, running

RNG = np.random.default_rng(5)
FLOATS = ("float16", "float32", "float64")
DTYPES = ("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", *FLOATS)
TORCH_DTYPES = ("float32", "float64", "float16", "uint8", "int8", "int16", "int32", "int64")
NDIMAGE_MODES = {"periodic": "wrap", "zero": "constant", "edge": "nearest", "reflect": "mirror", "symmetric": "reflect"}


@pytest.fixture(scope="module")
def torch() -> ModuleType:
    return pytest.importorskip("torch", reason="the extra 'references' is not installed")


def values(shape: tuple[int, ...], dtype: str, seed: int, special: bool = False) -> np.ndarray:
    """Few different values, so that many are equal; with NaN and infinities where asked for and possible."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0 if dtype[0] in "ub" else -2, 3, shape).astype(dtype)
    if special and x.dtype.kind == "f":
        x[rng.random(shape) < 0.15] = np.nan
        x[rng.random(shape) < 0.3] = -np.inf
        x[rng.random(shape) < 0.05] = np.inf
    return x


def lowest(dtype: np.dtype, highest: bool = False) -> Any:
    """What the lowest (or highest) value of a dtype is."""
    if dtype.kind == "f":
        return np.inf if highest else -np.inf
    if dtype.kind == "b":
        return highest
    return np.iinfo(dtype).max if highest else np.iinfo(dtype).min


def pool_loop(
    x: np.ndarray,
    axes: str,
    window: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
    boundary: str,
    dilation: tuple[int, ...],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Maxima, their indices, minima and means (NaN where there is none), sample by sample, from the definition."""
    spatial = [letter for letter in "ZYX" if letter in axes][-len(window) :]
    where = [axes.index(letter) for letter in spatial]
    last = range(-len(where), 0)
    moved = np.moveaxis(x, where, last)
    lead, grid = moved.shape[: moved.ndim - len(where)], moved.shape[moved.ndim - len(where) :]
    rows = zip(grid, padding, window, stride, dilation, strict=True)
    counts = [(n + p + q - d * (w - 1) - 1) // s + 1 for n, (p, q), w, s, d in rows]
    shape = (*lead, *counts)
    found = (np.empty(shape, x.dtype), np.empty(shape, np.int64), np.empty(shape, x.dtype), np.empty(shape))
    for j in itertools.product(*map(range, counts)):
        reads: list[tuple[int, ...] | None] = []
        for m in itertools.product(*map(range, window)):
            at = [a * s - p + b * d for a, s, (p, _), b, d in zip(j, stride, padding, m, dilation, strict=True)]
            inside = "zero" if boundary == "lowest" else boundary
            pixel = tuple(oracles.source(p, n, inside) for p, n in zip(at, grid, strict=True))
            if None not in pixel:
                reads.append(pixel)  # type: ignore[arg-type]
            elif boundary == "zero":
                reads.append(None)
        for index in np.ndindex(lead):
            results = window_loop(moved[index], reads)
            for plane, result in zip(found, results, strict=True):
                plane[(*index, *j)] = result
    best, places, least, mean = (np.moveaxis(plane, last, where) for plane in found)
    return best, places, least, mean


def window_loop(plane: np.ndarray, reads: list[tuple[int, ...] | None]) -> tuple[Any, int, Any, float]:
    """Maximum, index, minimum and mean of what one window reads, in order; None is a zero outside."""
    best, place, read = None, -1, []
    for pixel in reads:
        value = plane.dtype.type(0) if pixel is None else plane[pixel]
        here = -1 if pixel is None else int(np.ravel_multi_index(pixel, plane.shape))
        read.append(value)
        if best is None or value > best or value != value or (value == best and place < 0):
            best, place = value, here
    if best is None:
        return lowest(plane.dtype), -1, lowest(plane.dtype, highest=True), np.nan
    with np.errstate(invalid="ignore"):
        return best, place, np.min(read), float(np.mean(np.array(read, np.float64)))


def equal(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether dtype and values are the same; the bytes of bool too, since a True of 255 is none."""
    if a.dtype == np.bool_ and b.dtype == np.bool_:
        a, b = a.view(np.uint8), b.view(np.uint8)
    return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


# The definition -------------------------------------------------------------------------------------------------------


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, tuple[int, ...], dict[str, Any]]:
    axes = draw(st.sampled_from(["NYXC", "CYX", "ZYX", "YX", "XY", "X", "CZYX", "YNX"]))
    shape = tuple(draw(st.lists(st.integers(1, 6), min_size=len(axes), max_size=len(axes))))
    rank = draw(st.integers(1, len(set(axes) & set("ZYX"))))
    largest = draw(st.sampled_from([4, 4, 25]))

    def each(least: int, most: int) -> tuple[int, ...]:
        return tuple(draw(st.lists(st.integers(least, most), min_size=rank, max_size=rank)))

    window, dilation = each(1, largest if rank < 3 else 4), each(1, 3)
    padding = tuple(zip(each(0, 8), each(0, 8), strict=True))
    grid = [shape[axes.index(letter)] for letter in "ZYX" if letter in axes][-rank:]
    assume(all(n + sum(p) > d * (w - 1) for n, p, d, w in zip(grid, padding, dilation, window, strict=True)))
    given_settings = {
        "axes": axes,
        "stride": each(1, 4),
        "padding": padding,
        "boundary": draw(st.sampled_from(["lowest", *oracles.BOUNDARIES])),
        "dilation": dilation,
    }
    x = values(shape, draw(st.sampled_from(DTYPES)), draw(st.integers(0, 9999)), draw(st.booleans()))
    return x, window, given_settings


@settings(max_examples=200, deadline=None)
@given(cases(), st.sampled_from([1 << 6, 1 << 9, running._BLOCK]), st.sampled_from([1, running._LONG]))
def test_everything_is_what_the_definition_says(
    case: tuple[np.ndarray, tuple[int, ...], dict[str, Any]], block: int, long: int
) -> None:
    x, window, given_settings = case
    # Small blocks, so that small arrays are cut as large ones are.
    with mock.patch.multiple(running, _BLOCK=block, _LONG=long, _NARROWEST=1):
        y, places = convtool.max_pool_indices(x, window, **given_settings)
        exact = pool_loop(x, window=window, **given_settings)
        assert equal(y, exact[0])
        assert equal(places, exact[1])
        assert equal(convtool.max_pool(x, window, **given_settings), exact[0])
        assert equal(convtool.min_pool(x, window, **given_settings), exact[2])
        has_means = given_settings["boundary"] != "lowest" or (places >= 0).all()
        if not has_means:
            with pytest.raises(DataError, match="reads no pixel"):
                convtool.mean_pool(x, window, **given_settings)
            return
        mean = convtool.mean_pool(x, window, **given_settings)
    assert mean.dtype == (np.float32 if x.dtype.itemsize <= 2 or x.dtype == np.float32 else np.float64)
    np.testing.assert_allclose(mean, exact[3], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("taps", [*range(1, 70), 100, 127, 128, 129, 1000])
def test_passes_cover_each_tap(taps: int) -> None:
    """A sum's passes cover each tap once, a maximum's at least once, and there are about log2 of them."""
    for is_idempotent in (False, True):
        covered = Counter([0])
        passes = running.chain(taps, is_idempotent)
        for shift, is_source in passes:
            later = Counter([0]) if is_source else covered
            covered = covered + Counter({tap + shift: n for tap, n in later.items()})
        assert set(covered) == set(range(taps))
        assert is_idempotent or set(covered.values()) == {1}
        assert len(passes) <= math.ceil(math.log2(taps)) * (1 if is_idempotent else 2)


def test_indices_where_a_boundary_repeats_samples() -> None:
    """The first of equal ones and the last NaN, in the order of the window, also when it goes round several times."""
    around: dict[str, Any] = {"boundary": "periodic", "padding": ((0, 8),)}
    assert convtool.max_pool_indices(np.array([1.0, 2, 2]), 11, **around)[1].tolist() == [1]
    assert convtool.max_pool_indices(np.array([np.nan, 2, np.nan]), 11, **around)[1].tolist() == [0]
    assert convtool.max_pool_indices(np.array([2.0, np.nan, np.nan]), 11, **around)[1].tolist() == [1]
    outside = convtool.max_pool_indices(np.array([-1.0, 0, -2]), 2, boundary="zero", padding=1)
    assert [found.tolist() for found in outside] == [[0, 0, 0, 0], [-1, 1, 1, -1]]


# Others' results ------------------------------------------------------------------------------------------------------


@st.composite
def torch_cases(draw: st.DrawFn) -> tuple[np.ndarray, dict[str, Any]]:
    rank = draw(st.sampled_from([2, 2, 3]))

    def each(least: int, most: int) -> tuple[int, ...]:
        return tuple(draw(st.lists(st.integers(least, most), min_size=rank, max_size=rank)))

    kernel = each(1, 6)
    x = values((2, 2, *each(1, 12)), draw(st.sampled_from(TORCH_DTYPES)), draw(st.integers(0, 9999)))
    if x.dtype.kind == "f":
        rng = np.random.default_rng(draw(st.integers(0, 9999)))
        x[rng.random(x.shape) < draw(st.sampled_from([0, 0.1, 0.5]))] = np.nan
        x[rng.random(x.shape) < draw(st.sampled_from([0, 0.5, 1]))] = -np.inf
    return x, {
        "kernel_size": kernel,
        "stride": each(1, 4),
        "padding": tuple(draw(st.integers(0, n // 2)) for n in kernel),
        "dilation": each(1, 3),
        "ceil_mode": draw(st.booleans()),
    }


def ours(given_settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of torch as ours."""
    return {"window" if name == "kernel_size" else name: value for name, value in given_settings.items()}


@settings(max_examples=200, deadline=None)
@given(case=torch_cases())
def test_torch_max_pool(torch: ModuleType, case: tuple[np.ndarray, dict[str, Any]]) -> None:
    x, given_settings = case
    pool = torch.nn.functional.max_pool2d if x.ndim == 4 else torch.nn.functional.max_pool3d
    try:
        y, places = (t.numpy() for t in pool(torch.from_numpy(x), return_indices=True, **given_settings))
    except RuntimeError:
        with pytest.raises(DataError, match="no output"):
            convtool.max_pool(x, **ours(given_settings))
        return
    found, indices = convtool.max_pool_indices(x, **ours(given_settings))
    reads = indices >= 0  # a dilated window may miss a small image, of which torch gives pixels that there are not
    assert equal(found, y)
    assert equal(indices[reads], places[reads])
    assert (y[~reads] == lowest(y.dtype)).all()
    assert equal(convtool.max_pool(x, **ours(given_settings)), y)
    if x.dtype.kind == "f":
        negated = pool(torch.from_numpy(-x), **given_settings).numpy()
        assert equal(convtool.min_pool(x, **ours(given_settings)), -negated)


@settings(max_examples=100, deadline=None)
@given(case=torch_cases())
def test_torch_avg_pool(torch: ModuleType, case: tuple[np.ndarray, dict[str, Any]]) -> None:
    x, given_settings = case
    x = x.astype(np.float64)
    given_settings.pop("dilation")
    pool = torch.nn.functional.avg_pool2d if x.ndim == 4 else torch.nn.functional.avg_pool3d
    try:
        y = pool(torch.from_numpy(x), count_include_pad=False, **given_settings).numpy()
    except RuntimeError:
        assume(False)
    np.testing.assert_allclose(convtool.mean_pool(x, **ours(given_settings)), y, rtol=1e-12)


def test_torch_on_an_image_of_many_blocks(torch: ModuleType) -> None:
    x = RNG.integers(-9, 9, (3, 300, 241, 3)).astype(np.float32)
    x[RNG.random(x.shape) < 1e-3] = np.nan
    channels_first = torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
    cases: list[Any] = [(11, 1, 5), ((3, 8), 2, (1, 3)), (4, 4, 0), (2, 3, 1), ((1, 40), (1, 7), 0)]
    for window, stride, padding in cases:
        pooled = torch.nn.functional.max_pool2d(channels_first, window, stride, padding, return_indices=True)
        y, places = (t.numpy().transpose(0, 2, 3, 1) for t in pooled)
        found, indices = convtool.max_pool_indices(x, window, axes="NYXC", stride=stride, padding=padding)
        assert equal(found, y)
        assert equal(indices, places)
        assert equal(convtool.max_pool(x, window, axes="NYXC", stride=stride, padding=padding), y)


ONNX_CASES: list[tuple[tuple[int, ...], dict[str, Any]]] = [
    ((7, 9), {"kernel_shape": [3, 2]}),
    ((7, 9), {"kernel_shape": [3, 3], "strides": [2, 3], "pads": [1, 0, 1, 1]}),
    ((7, 9), {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    ((8, 9), {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1, "pads": [1, 1, 1, 1]}),
    ((9, 8), {"kernel_shape": [3, 2], "dilations": [2, 3]}),
    ((9, 8), {"kernel_shape": [3, 3], "dilations": [2, 1], "strides": [1, 2], "pads": [1, 1, 1, 1]}),
    ((7, 8), {"kernel_shape": [3, 2], "auto_pad": "SAME_UPPER"}),
    ((7, 8), {"kernel_shape": [4, 2], "auto_pad": "SAME_LOWER"}),
    ((7, 8), {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    ((7, 8), {"kernel_shape": [3, 3], "strides": [2, 3], "auto_pad": "VALID"}),
    ((4, 5, 6), {"kernel_shape": [2, 3, 2], "strides": [1, 2, 1], "pads": [0, 1, 1, 1, 1, 0]}),
    ((12,), {"kernel_shape": [3], "strides": [2]}),
    ((7,), {"kernel_shape": [3], "strides": [2], "ceil_mode": 1, "pads": [1, 1]}),
    ((8,), {"kernel_shape": [3], "strides": [3], "ceil_mode": 1, "pads": [0, 1]}),
    ((7, 8), {"kernel_shape": [3, 2], "strides": [2, 3], "ceil_mode": 1, "pads": [1, 0, 0, 1]}),
]


@pytest.mark.parametrize(("grid", "attributes"), ONNX_CASES, ids=[str(attributes) for _, attributes in ONNX_CASES])
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
def test_onnx_max_pool(grid: tuple[int, ...], attributes: dict[str, Any], dtype: str) -> None:
    onnx = pytest.importorskip("onnx", reason="the extra 'references' is not installed")
    reference = pytest.importorskip("onnx.reference", reason="the extra 'references' is not installed")
    x = np.random.default_rng(3).integers(0, 200, (2, 3, *grid)).astype(dtype)
    kind = onnx.helper.np_dtype_to_tensor_dtype(x.dtype)
    node = onnx.helper.make_node("MaxPool", ["x"], ["y"], **attributes)
    ends = [onnx.helper.make_tensor_value_info(name, kind, None) for name in "xy"]
    model = onnx.helper.make_model(
        onnx.helper.make_graph([node], "pool", ends[:1], ends[1:]), opset_imports=[onnx.helper.make_opsetid("", 22)]
    )
    with np.errstate(invalid="ignore"):  # it writes NaN into integers
        (y,) = reference.ReferenceEvaluator(model).run(None, {"x": x})
    axes = "NC" + "ZYX"[-len(grid) :]
    assert equal(convtool.max_pool(x, axes=axes, **from_onnx(grid, attributes)), y)


@pytest.mark.parametrize(
    ("samples", "attributes", "exact"),
    [
        (7, {"kernel_shape": [3], "pads": [1, 1], "ceil_mode": 1}, [2, 3, 4, 5, 6, 7, 7]),  # it: 3 4 5 6 7 7
        (5, {"kernel_shape": [3], "pads": [0, 1]}, [3, 4, 5, 5]),  # it: 3 4 5
        (5, {"kernel_shape": [2], "pads": [1, 0], "ceil_mode": 1}, [1, 2, 3, 4, 5]),  # it: 2 3 4 5 5
        (5, {"kernel_shape": [3], "pads": [1, 1]}, [2, 3, 4, 5, 5]),  # it raises
    ],
)
def test_where_onnx_s_reference_is_left_out(
    torch: ModuleType, samples: int, attributes: dict[str, Any], exact: list[int]
) -> None:
    """With strides and dilations of 1, ONNX's evaluator (in 1.23) misplaces paddings: along one axis all of
    them, along several those that are not alike on both sides, or come with ceil_mode. The operator's formula,
    floor (or ceil) of (n + pads - window) / stride, plus 1, is torch's; with other strides the evaluator follows it.
    """
    x = np.arange(1.0, samples + 1)
    before, after = attributes["pads"]
    window, ceil_mode = attributes["kernel_shape"][0], bool(attributes.get("ceil_mode"))
    assert len(exact) == samples + before + after - window + 1
    padded = torch.nn.functional.pad(torch.from_numpy(x)[None], (before, after), value=-np.inf)
    assert torch.nn.functional.max_pool1d(padded, window, 1, ceil_mode=ceil_mode)[0].tolist() == exact
    assert convtool.max_pool(x, axes="X", **from_onnx((samples,), attributes)).tolist() == exact


def from_onnx(grid: tuple[int, ...], attributes: dict[str, Any]) -> dict[str, Any]:
    """The settings that a node's attributes stand for, by the operator's specification."""
    window, pads = attributes["kernel_shape"], attributes.get("pads", [0] * 2 * len(grid))
    stride, dilation = attributes.get("strides", [1] * len(grid)), attributes.get("dilations", [1] * len(grid))
    padding = list(zip(pads[: len(grid)], pads[len(grid) :], strict=True))
    word = attributes.get("auto_pad", "NOTSET")
    if word.startswith("SAME"):
        missing = [max((math.ceil(n / s) - 1) * s + w - n, 0) for n, s, w in zip(grid, stride, window, strict=True)]
        halves = [(m // 2, m - m // 2) for m in missing]
        padding = halves if word == "SAME_UPPER" else [half[::-1] for half in halves]
    ceil_mode = bool(attributes.get("ceil_mode", 0))
    return {"window": window, "padding": padding, "stride": stride, "dilation": dilation, "ceil_mode": ceil_mode}


@pytest.mark.parametrize("boundary", oracles.BOUNDARIES)
@pytest.mark.parametrize("window", [(3, 5), (4, 2), (1, 6), (9, 1), (31, 40)])
def test_ndimage_filters(boundary: str, window: tuple[int, int]) -> None:
    x = RNG.normal(size=(23, 30))
    mode = {"mode": NDIMAGE_MODES[boundary]}
    asked: dict[str, Any] = {"padding": "same", "boundary": boundary}
    assert equal(convtool.max_pool(x, window, **asked), scipy.ndimage.maximum_filter(x, window, **mode))
    assert equal(convtool.min_pool(x, window, **asked), scipy.ndimage.minimum_filter(x, window, **mode))
    mean = scipy.ndimage.uniform_filter(x, window, **mode)
    np.testing.assert_allclose(convtool.mean_pool(x, window, **asked), mean, atol=1e-13)


# Dtypes and layouts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [*DTYPES, "longdouble"])
def test_dtypes_are_kept(dtype: str) -> None:
    x = RNG.integers(0, 100, (40, 50)).astype(dtype)
    windows = np.lib.stride_tricks.sliding_window_view(x, (4, 3))
    assert equal(convtool.max_pool(x, (4, 3)), windows.max((2, 3)))
    assert equal(convtool.min_pool(x, (4, 3)), windows.min((2, 3)))
    mean = convtool.mean_pool(x, (4, 3))
    assert mean.dtype == (np.float32 if x.dtype.itemsize <= 2 or dtype == "float32" else np.float64)
    np.testing.assert_allclose(mean, windows.mean((2, 3), dtype=np.float64), rtol=1e-5)


@pytest.mark.parametrize("dtype", ["int64", "uint64", "int8"])
def test_the_extremes_of_integers(dtype: str) -> None:
    """No float holds them, and the lowest one is what padding is made of."""
    limits = np.iinfo(dtype)
    x = np.array([[limits.max, limits.max - 1, limits.min, limits.min + 1, limits.min]], dtype)
    y, places = convtool.max_pool_indices(x, (1, 2), padding=((0, 0), (2, 2)))
    low, high = limits.min, limits.max
    np.testing.assert_array_equal(y, np.array([[low, high, high, high - 1, low + 1, low + 1, low, low]], dtype))
    np.testing.assert_array_equal(places, [[-1, 0, 0, 1, 3, 3, 4, -1]])
    found = convtool.min_pool(x, (1, 2), padding=((0, 0), (2, 2)))
    np.testing.assert_array_equal(found, np.array([[high, high, high - 1, low, low, low, low, high]], dtype))


def test_no_matter_how_an_array_lies_in_memory() -> None:
    x = RNG.normal(size=(9, 20, 31, 3)).astype(np.float32)
    exact = convtool.max_pool(x, (5, 4), axes="NYXC", padding="same")
    laid = [np.asfortranarray(x), x[::-1, ::-1][::-1, ::-1], np.repeat(x, 2, axis=2)[:, :, ::2], x.astype(">f4")]
    laid.append(np.ascontiguousarray(x.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1))
    for view in laid:
        kept = view.copy()
        view.setflags(write=False)
        assert equal(convtool.max_pool(view, (5, 4), axes="NYXC", padding="same"), exact)
        np.testing.assert_array_equal(view, kept)
    turned = convtool.max_pool(x.transpose(3, 2, 0, 1), (5, 4), axes="CXNY", padding="same")
    np.testing.assert_array_equal(turned, exact.transpose(3, 2, 0, 1))
    assert equal(convtool.max_pool(x.tolist(), (5, 4), axes="NYXC", padding="same"), exact.astype(np.float64))


def test_the_result_is_a_new_array() -> None:
    x = RNG.normal(size=(6, 7))
    for pool in (convtool.max_pool, convtool.min_pool, convtool.mean_pool):
        y = pool(x, 1)
        assert equal(y, x)
        assert not np.shares_memory(x, y)


def test_nothing_that_is_not_read_spreads() -> None:
    """NaN and infinities reach the windows that hold them, and no other."""
    x = RNG.normal(size=(40, 50)).astype(np.float32)
    x[20, 30], x[5, 5], x[6, 5] = np.nan, np.inf, -np.inf
    windows = np.lib.stride_tricks.sliding_window_view(x, (7, 6))
    assert equal(convtool.max_pool(x, (7, 6)), windows.max((2, 3)))
    assert equal(convtool.min_pool(x, (7, 6)), windows.min((2, 3)))
    with np.errstate(invalid="ignore"):
        exact = windows.mean((2, 3))
    np.testing.assert_allclose(convtool.mean_pool(x, (7, 6)), exact, rtol=1e-4, atol=1e-6)


def test_means_do_not_cancel() -> None:
    """One huge pixel costs the windows beside it nothing."""
    x = RNG.random((1, 1000)).astype(np.float32)
    x[0, 100] = 1e30
    found = convtool.mean_pool(x, (1, 33))[0, 101:]
    exact = np.lib.stride_tricks.sliding_window_view(x[0], 33).mean(1, dtype=np.float64)[101:]
    np.testing.assert_allclose(found, exact, rtol=1e-6)


# Settings -------------------------------------------------------------------------------------------------------------


def test_windows_and_strides_as_they_may_be_given() -> None:
    x = RNG.normal(size=(4, 12, 15))
    volume: dict[str, Any] = {"axes": "ZYX"}
    assert equal(convtool.max_pool(x, 3, **volume), convtool.max_pool(x, (3, 3, 3), **volume))
    assert equal(convtool.max_pool(x, (3, 2), **volume), convtool.max_pool(x, (1, 3, 2), **volume))
    assert equal(convtool.max_pool(x, (3,), **volume), convtool.max_pool(x, [1, 1, 3], **volume))
    sides: Any = np.array([3, 3])
    assert equal(convtool.max_pool(x, 3), convtool.max_pool(x, sides))
    blocks = x.reshape(4, 4, 3, 3, 5).max((2, 4))
    assert equal(convtool.max_pool(x, (3, 5), stride="window"), blocks)
    assert equal(convtool.max_pool(x, (3, 5), stride=(3, 5)), blocks)
    indices = convtool.max_pool_indices(x, (3, 2), **volume)[1]
    assert equal(np.take_along_axis(x.reshape(4, -1), indices.reshape(4, -1), 1).reshape(indices.shape), x_max(x))


def x_max(x: np.ndarray) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(x, (3, 2), axis=(1, 2)).max((3, 4))


def test_padding_words() -> None:
    x = RNG.normal(size=(8, 9))
    padded = np.pad(x, ((2, 1), (1, 0)), constant_values=-np.inf)  # the origin of a window is n // 2
    exact = np.lib.stride_tricks.sliding_window_view(padded, (4, 2)).max((2, 3))
    assert equal(convtool.max_pool(x, (4, 2), padding="same"), exact)
    assert convtool.max_pool(x, (4, 2), padding="valid").shape == (5, 8)
    assert convtool.max_pool(x, (4, 2), padding="full").shape == (11, 10)
    assert convtool.max_pool(x, (4, 2), padding=3).shape == (11, 14)


def test_ceil_mode_keeps_what_starts_inside() -> None:
    x = np.arange(7.0)
    assert convtool.max_pool(x, 2, stride=2).tolist() == [1, 3, 5]
    assert convtool.max_pool(x, 2, stride=2, ceil_mode=True).tolist() == [1, 3, 5, 6]
    assert convtool.max_pool(x, 3, stride=4, padding=1, ceil_mode=True).tolist() == [1, 5]
    assert convtool.max_pool(x, 9, stride=3, ceil_mode=True).tolist() == [6]
    assert convtool.mean_pool(x, 2, stride=2, ceil_mode=True).tolist() == [0.5, 2.5, 4.5, 6]
    assert convtool.max_pool(x, 2, stride=2, ceil_mode=True, boundary="periodic").tolist() == [1, 3, 5, 6]
    assert convtool.min_pool(x, 2, stride=2, ceil_mode=True, boundary="periodic").tolist() == [0, 2, 4, 0]


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"window": 0}, "window must be whole numbers"),
        ({"window": 2.0}, "window must be whole numbers"),
        ({"window": (2, 2, 2)}, r"the image \(YX\)"),
        ({"window": ()}, "window must be whole numbers"),
        ({"window": 2, "stride": 0}, "stride must be"),
        ({"window": 2, "stride": "windows"}, "the word window"),
        ({"window": (2,), "stride": (1, 1)}, "stride must be"),
        ({"window": 2, "dilation": -1}, "dilation must be"),
        ({"window": 2, "padding": -1}, "padding"),
        ({"window": 2, "padding": "some"}, "unknown padding"),
        ({"window": 2, "boundary": "wrap"}, "lowest, periodic"),
        ({"window": 2, "axes": "NC"}, "no spatial axis"),
        ({"window": 2, "axes": "YXC"}, "name 3 axes"),
    ],
)
def test_settings_that_are_refused(asked: dict[str, Any], text: str) -> None:
    with pytest.raises(SettingError, match=text):
        convtool.max_pool(np.zeros((5, 6)), **asked)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_means_of_the_largest_numbers_there_are(dtype: str) -> None:
    top = np.finfo(dtype).max
    for value in (top, -top, dtype_of(0.9 * top, dtype)):
        x = np.full((9, 12), value)
        for how in ({"window": 2}, {"window": 3, "padding": "same"}, {"window": (4, 8), "boundary": "edge"}):
            np.testing.assert_allclose(convtool.mean_pool(x, **how), value, rtol=8 * np.finfo(dtype).eps)
    x = RNG.uniform(-1, 1, (40, 50)).astype(dtype) * top
    x[:, 25:] *= dtype_of(2.0**-30, dtype)
    tiny = np.finfo(dtype).smallest_subnormal
    x[:9, :9] = tiny
    mean = convtool.mean_pool(x, (5, 4))
    exact = np.lib.stride_tricks.sliding_window_view(x.astype(np.longdouble), (5, 4)).mean((-1, -2))
    scale = np.lib.stride_tricks.sliding_window_view(np.abs(x).astype(np.longdouble), (5, 4)).mean((-1, -2))
    assert (np.abs(mean - exact) <= 8 * np.finfo(dtype).eps * scale + tiny).all()
    assert (mean[:5, :6] == tiny).all()


def dtype_of(value: float, dtype: str) -> Any:
    return np.dtype(dtype).type(value)


def test_means_of_large_numbers_beside_infinities() -> None:
    top = np.finfo(np.float32).max
    x = np.array([[top, top, top, 1, np.inf, -top, -top, 0, np.nan, top]], np.float32)
    found = convtool.mean_pool(x, (1, 3), stride=(1, 1))
    assert equal(
        found, np.array([[top, top / 3 * 2, np.inf, np.inf, np.inf, -top / 3 * 2, np.nan, np.nan]], np.float32)
    )


def test_data_that_are_refused() -> None:
    with pytest.raises(DataError, match="complex"):
        convtool.max_pool(np.zeros((5, 6), complex), 2)
    with pytest.raises(DataError, match="empty"):
        convtool.mean_pool(np.zeros((0, 6)), 2)
    with pytest.raises(DataError, match=r"no output: the window spans 7x7 .* or a smaller window"):
        convtool.max_pool(np.zeros((5, 6)), 7)
    with pytest.raises(DataError, match=r"the window spans 7x7 pixels, the padded image only 5x6: use"):
        convtool.max_pool(np.zeros((5, 6)), 7, stride=2, ceil_mode=True, padding=((0, 0), (0, 0)), dilation=1)
    with pytest.raises(DataError, match=r"the window spans 9x9 pixels, the padded image only 6x8: use"):
        convtool.max_pool(np.zeros((5, 6)), 9, stride=3, ceil_mode=True, padding=((0, 1), (1, 1)))
    with pytest.raises(DataError, match="output Y=0 reads no pixel"):
        convtool.mean_pool(np.zeros((5, 6)), (2, 1), padding=((2, 0), (0, 0)))
    assert np.isneginf(convtool.max_pool(np.zeros((5, 6)), (2, 1), padding=((2, 0), (0, 0)))[0]).all()


# What it may cost -----------------------------------------------------------------------------------------------------


@pytest.fixture
def passes() -> Iterator[list[int]]:
    """Counts the samples that every joining of windows goes through."""
    samples: list[int] = []
    combine = reductions.maximum

    def counting(earlier: reductions.Planes, later: reductions.Planes, out: reductions.Planes) -> None:
        samples.append(out[0].size)
        combine(earlier, later, out)

    with mock.patch.object(reductions, "maximum", counting):
        yield samples


@pytest.mark.parametrize(
    ("window", "stride", "most"), [(2, 1, 2.1), (11, 1, 8.5), (64, 1, 13), (3, 3, 1.4), (16, 16, 1.3), (300, 1, 16)]
)
def test_passes_grow_with_the_logarithm(passes: list[int], window: int, stride: int, most: float) -> None:
    x = RNG.random((1000, 700)).astype(np.float32)
    convtool.max_pool(x, window, stride=stride)
    assert sum(passes) < most * x.size


@pytest.mark.parametrize("mode", ["lowest", "periodic", "edge"])
def test_a_window_larger_than_the_image_costs_no_more_than_the_image(mode: str) -> None:
    x = RNG.random((30, 41))
    found = convtool.max_pool(x, 300_001, padding="same", boundary=mode)
    assert equal(found, np.full_like(x, x.max()))
    if mode == "lowest":
        np.testing.assert_allclose(convtool.mean_pool(x, 300_001, padding="same"), x.mean())


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_temporary_memory_is_a_fraction_of_the_image(padding: str) -> None:
    x = RNG.random((3000, 1500)).astype(np.float32)
    convtool.max_pool(x[:50, :50], 21, padding=padding)
    tracemalloc.start()
    try:
        y = convtool.max_pool(x, 21, padding=padding)
        peak = tracemalloc.get_traced_memory()[1] - y.nbytes
    finally:
        tracemalloc.stop()
    assert peak < x.nbytes / 3


@pytest.mark.parametrize(
    ("shape", "window", "how"),
    [
        ((64, 64), 2, {"padding": 1000}),
        ((3, 64, 64), (3, 2), {"padding": 300, "boundary": "reflect"}),
        ((1, 10), (1, 2), {"padding": ((0, 0), (100_000, 300_000))}),
        ((64, 64), (5, 3), {"padding": "same", "dilation": 10_000}),
        ((4, 64, 90), (3, 3, 3), {"axes": "ZYX", "padding": "same", "dilation": (1, 10_000, 1)}),
        ((700, 900), (300, 3), {"padding": "same", "boundary": "edge"}),
        ((700, 900), 7, {"axes": "XY", "stride": "window"}),
    ],
)
@pytest.mark.parametrize("operation", ["max", "mean", "indices"])
def test_memory_is_foretold(shape: tuple[int, ...], window: Any, how: dict[str, Any], operation: str) -> None:
    x = RNG.random(shape).astype(np.float32)
    how = how | ({"boundary": "edge"} if operation == "mean" else {})
    built = geometry.build(shape, window, **how)
    tracemalloc.start()
    try:
        if operation == "indices":
            pooling.apply_indices(built, x)
        else:
            pooling.apply(built, x, operation)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    needed = pooling.needed_bytes(built, x.dtype, operation.replace("indices", "max"), operation == "indices")
    assert peak < needed < 10 * peak + (32 << 20)
