"""Local operations and receptive fields against loops, SciPy and torch; gradients against finite differences."""

from __future__ import annotations

import functools
import itertools
import math
import statistics
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import oracles
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st

import convtool
from convtool import model, windows
from convtool.errors import ConvtoolError, DataError, SettingError
from convtool.windows import engine, functions

COMBINE: dict[str, Callable[[float, float], float]] = {
    "mul": lambda x, w: x * w,
    "add": lambda x, w: x + w,
    "sub": lambda x, w: x - w,
    "absdiff": lambda x, w: abs(x - w),
    "max": max,
    "min": min,
    "tan-add": lambda x, w: math.tan(x + w),
}
REDUCE: dict[str, Callable[[list[float]], float]] = {
    "sum": math.fsum,
    "prod": math.prod,
    "max": max,
    "min": min,
    "mean": statistics.fmean,
}
PAIRS = list(itertools.product(COMBINE, REDUCE))
NDIMAGE_MODES = {"periodic": "wrap", "zero": "constant", "edge": "nearest", "reflect": "mirror", "symmetric": "reflect"}
LAYOUTS = ("shared", "each", "mixing", "grouped")
SPATIAL = {1: "X", 2: "YX", 3: "ZYX"}


def uniform(*shape: int, seed: int = 0) -> np.ndarray:
    """Numbers whose sums of two stay away from the poles of tan."""
    return np.random.default_rng([seed, *shape]).uniform(-0.7, 0.7, shape)


def weights_for(layout: str, channels: int, sizes: tuple[int, ...], seed: int = 1) -> tuple[np.ndarray, str, int]:
    """Weights, their axes and the groups, for an image of an even number of channels."""
    letters = SPATIAL[len(sizes)]
    if layout == "shared":
        return uniform(*sizes, seed=seed), letters, 1
    if layout == "each":
        return uniform(channels, *sizes, seed=seed), f"C{letters}", 1
    if layout == "mixing":
        return uniform(3, channels, *sizes, seed=seed), f"OI{letters}", 1
    return uniform(4, channels // 2, *sizes, seed=seed), f"OI{letters}", 2


def canonical(weights: np.ndarray, letters: str, channels: int, groups: int) -> tuple[np.ndarray, int]:
    """The weights as the loops take them, [o, i, *k], and their groups."""
    if "O" in letters:
        return weights, groups
    each = weights if "C" in letters else np.broadcast_to(weights, (channels, *weights.shape))
    return each[:, None], channels


def local_loop(
    x: np.ndarray, taps: np.ndarray, combine: str, reduce: str, groups: int, boundary: str, **where: Any
) -> np.ndarray:
    """The definition, one output at a time: x [n, c, *grid], taps [o, i, *k]; ValueError where there is no output."""
    axes = oracles.reads(x.shape[2:], taps.shape[2:], "correlate", **where)
    out, inner = taps.shape[:2]
    y = np.zeros((len(x), out, *map(len, axes)))
    for n, o, *j in np.ndindex(y.shape):
        found = []
        for i, *m in np.ndindex(taps.shape[1:]):
            read = [axis[a][b] for axis, a, b in zip(axes, j, m, strict=True)]
            pixel = [oracles.source(p, length, boundary) for p, length in zip(read, x.shape[2:], strict=True)]
            channel = o // (out // groups) * inner + i
            value = 0.0 if None in pixel else float(x[(n, channel, *pixel)])
            found.append(COMBINE[combine](value, float(taps[(o, i, *m)])))
        y[(n, o, *j)] = REDUCE[reduce](found)
    return y


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    """An image [n, c, *grid], weights of any layout, and every setting that says where windows lie."""
    rank = draw(st.sampled_from((1, 2, 2, 2, 3)))
    longest = {1: 9, 2: 5, 3: 3}[rank]
    each = {n: st.tuples(*[st.integers(1, n)] * rank) for n in (longest, {1: 5, 2: 3, 3: 2}[rank], 2)}
    sizes = draw(each[{1: 5, 2: 3, 3: 2}[rank]])
    margin = st.integers(0, 4)
    paddings = [st.sampled_from(("same", "valid", "full")), margin, st.tuples(*[st.tuples(margin, margin)] * rank)]
    return {
        "shape": (draw(st.integers(1, 2)), 2, *draw(each[longest])),
        "layout": draw(st.sampled_from(LAYOUTS)),
        "sizes": sizes,
        "origin": draw(
            st.one_of(st.sampled_from(("center", "first", "last")), st.tuples(*[st.integers(0, n - 1) for n in sizes]))
        ),
        "padding": draw(st.one_of(*paddings)),
        "stride": draw(st.one_of(st.just(1), each[2])),
        "dilation": draw(st.one_of(st.just(1), each[2])),
        "boundary": draw(st.sampled_from(oracles.BOUNDARIES)),
    }


# Against the definition -------------------------------------------------------------------------------------------


def test_every_name_is_tested() -> None:
    assert set(COMBINE) == set(functions.COMBINATIONS)
    assert set(REDUCE) == set(functions.REDUCTIONS)


@pytest.mark.parametrize(("combine", "reduce"), PAIRS)
@settings(max_examples=15)
@given(case=cases())
def test_every_named_pair_is_its_definition(combine: str, reduce: str, case: dict[str, Any]) -> None:
    shape, layout, sizes = case.pop("shape"), case.pop("layout"), case.pop("sizes")
    x = uniform(*shape)
    weights, letters, groups = weights_for(layout, 2, sizes)
    taps, blocks = canonical(weights, letters, 2, groups)
    axes: dict[str, Any] = {"axes": "NC" + SPATIAL[len(sizes)], "kernel_axes": letters, "groups": groups}
    try:
        expected = local_loop(x, taps, combine, reduce, blocks, **case)
    except ValueError:
        with pytest.raises(DataError, match="no output"):
            convtool.local(x, weights, combine, reduce, **axes, **case)
        return
    y = convtool.local(x, weights, combine, reduce, **axes, **case)
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("boundary", oracles.BOUNDARIES)
def test_mul_and_sum_are_correlation(layout: str, boundary: str) -> None:
    x = uniform(2, 4, 11, 14)
    weights, letters, groups = weights_for(layout, 4, (4, 3))
    given: dict[str, Any] = {
        "kernel_axes": letters,
        "groups": groups,
        "boundary": boundary,
        "stride": (1, 2),
        "dilation": (2, 1),
    }
    expected = convtool.correlate(x, weights, **given)
    np.testing.assert_allclose(convtool.local(x, weights, **given), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("boundary", oracles.BOUNDARIES)
@pytest.mark.parametrize("sizes", [(3, 5), (4, 3), (2, 6)])
def test_scipy_has_three_of_the_pairs(boundary: str, sizes: tuple[int, int]) -> None:
    x, b = uniform(13, 16), uniform(*sizes)
    mode = NDIMAGE_MODES[boundary]
    mirrored = tuple(n - 1 - n // 2 for n in sizes)
    dilated = convtool.local(x, np.flip(b), "add", "max", boundary=boundary, origin=mirrored)
    np.testing.assert_array_equal(dilated, scipy.ndimage.grey_dilation(x, structure=b, mode=mode))
    eroded = convtool.local(x, b, "sub", "min", boundary=boundary)
    np.testing.assert_array_equal(eroded, scipy.ndimage.grey_erosion(x, structure=b, mode=mode))
    summed = convtool.local(x, b, boundary=boundary)
    np.testing.assert_allclose(summed, scipy.ndimage.correlate(x, b, mode=mode), atol=1e-13)


def test_an_opening_flips_between_its_halves() -> None:
    x, b = uniform(20, 23), uniform(3, 5)
    opened = convtool.local(convtool.local(x, b, "sub", "min"), np.flip(b), "add", "max")
    np.testing.assert_allclose(opened, scipy.ndimage.grey_opening(x, structure=b, mode="wrap"), atol=1e-15)
    assert (opened <= x + 1e-15).all()


def test_axes_stand_in_any_order() -> None:
    x, weights = uniform(2, 3, 7, 9), uniform(4, 3, 2, 3)
    y = convtool.local(x, weights, "absdiff", "mean")
    turned = convtool.local(x.transpose(2, 1, 3, 0), weights.transpose(2, 1, 3, 0), "absdiff", "mean", **TURNED)
    np.testing.assert_array_equal(turned, y.transpose(2, 1, 3, 0))


TURNED: dict[str, Any] = {"axes": "YCXN", "kernel_axes": "YIXO"}


def test_an_image_without_channels_gets_them() -> None:
    y = convtool.local(uniform(6, 7), uniform(2, 1, 3, 3), "add", "min")
    assert y.shape == (2, 6, 7)


def test_zeros_among_the_weights_count() -> None:
    x = np.array([[-3.0, -1.0, -2.0]])
    assert convtool.local(x, np.zeros((1, 3)), "mul", "max").tolist() == [[0, 0, 0]]
    assert convtool.local(x, np.zeros((1, 3)), "add", "max").tolist() == [[-1, -1, -1]]
    assert convtool.local(x, np.array([[0.0, 6.0, 0.0]]), "mul", "mean").tolist() == [[-6, -2, -4]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_means_of_the_largest_numbers_there_are(dtype: str) -> None:
    top = np.finfo(dtype).max
    for size in ((2, 2), (3, 5), (1, 16)):
        found = convtool.local(np.full((8, 9), top), np.ones(size), "mul", "mean")
        np.testing.assert_allclose(found, top, rtol=8 * np.finfo(dtype).eps)
    x = uniform(20, 30).astype(dtype) * top
    x[:9, :9] = np.finfo(dtype).smallest_subnormal
    found = convtool.local(x, np.zeros((3, 4)), "add", "mean", padding="valid")
    fields = np.lib.stride_tricks.sliding_window_view(x.astype(np.longdouble), (3, 4))
    error = np.abs(found - fields.mean((-1, -2))) / np.abs(fields).mean((-1, -2))
    assert error[found != x[0, 0]].max() < 4 * np.finfo(dtype).eps
    assert (found[:7, :6] == x[0, 0]).all()


def test_what_overflows_is_infinite_and_no_warning() -> None:
    x = np.full((4, 4), 3e38, np.float32)
    for reduce in ("sum", "prod"):
        assert np.isposinf(convtool.local(x, np.ones((2, 2)), "mul", reduce)).all()
    assert np.isposinf(convtool.local(x, np.full((2, 2), 2.0), "mul", "mean")).all()
    d_x, _ = convtool.local_gradients(x, np.ones((2, 2)), x, "mul", "prod")
    assert not np.isfinite(d_x).all()


def test_rounding_of_sums_grows_slowly_with_the_taps() -> None:
    x = np.random.default_rng(4).uniform(900, 1100, (130, 120)).astype(np.float32)
    for size in ((101, 101), (1, 101), (101, 1)):
        exact = convtool.local(x.astype(np.float64), np.ones(size), "mul", "mean")
        found = convtool.local(x, np.ones(size), "mul", "mean")
        assert np.abs(found - exact).max() < 8e-4


def test_a_pole_of_tan_is_huge_and_no_error() -> None:
    y = convtool.local(np.full((2, 2), math.pi / 2), np.zeros((1, 1)), "tan-add", "prod")
    assert (np.abs(y) > 1e15).all()


# What it costs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [1, 40, 1 << 40])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch, block: int, layout: str) -> None:
    x = uniform(3, 4, 9, 10)
    weights, letters, groups = weights_for(layout, 4, (3, 2))
    given: dict[str, Any] = {"kernel_axes": letters, "groups": groups, "stride": (2, 1), "boundary": "symmetric"}
    usual = convtool.local(x, weights, "tan-add", "sum", **given)
    slopes = [convtool.local_gradients(x, weights, usual, "tan-add", r, **given) for r in ("prod", "max")]
    monkeypatch.setattr(engine, "_BLOCK", block)
    monkeypatch.setattr(engine, "_MOST_VALUES", block)
    np.testing.assert_array_equal(convtool.local(x, weights, "tan-add", "sum", **given), usual)
    for reduce, expected in zip(("prod", "max"), slopes, strict=True):
        found = convtool.local_gradients(x, weights, usual, "tan-add", reduce, **given)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


def peak_of(work: Callable[[], object]) -> int:
    """The most bytes that the call held at once."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_no_temporary_is_as_large_as_image_times_taps() -> None:
    x, weights = uniform(600, 500), uniform(7, 7)
    assert peak_of(lambda: convtool.local(x, weights, "absdiff", "max")) < 3.5 * x.nbytes
    for reduce in ("sum", "max"):
        assert peak_of(functools.partial(convtool.local_gradients, x, weights, x, "add", reduce)) < 6 * x.nbytes
    x, weights = uniform(200, 200), uniform(15, 15)
    assert peak_of(lambda: convtool.local_gradients(x, weights, x, "add", "prod")) < 0.2 * weights.size * x.nbytes


@pytest.mark.parametrize(
    ("dtype", "computed"),
    [
        ("bool", "float32"),
        ("uint8", "float32"),
        ("int16", "float32"),
        ("int32", "float64"),
        ("uint64", "float64"),
        ("float16", "float32"),
        ("float32", "float32"),
        ("float64", "float64"),
    ],
)
def test_the_image_decides_the_dtype(dtype: str, computed: str) -> None:
    x = (100 * uniform(6, 7) ** 2).astype(dtype)
    weights = uniform(3, 2)
    functions: list[tuple[Any, Any]] = [*PAIRS, (np.hypot, np.logaddexp), (lambda a, w: a * np.float64(w), np.maximum)]
    for combine, reduce in functions:
        y = convtool.local(x, weights, combine, reduce)
        assert y.dtype == computed
        exact = convtool.local(x.astype(np.float64), weights.astype(computed), combine, reduce)
        if combine != "tan-add":
            np.testing.assert_allclose(y, exact, rtol=1e-4, atol=1e-4)
    assert convtool.local(x, weights, precision="double").dtype == np.float64
    assert {a.dtype for a in convtool.local_gradients(x, weights, y)} == {np.dtype(computed)}


@pytest.mark.parametrize(
    ("shape", "how"),
    [
        ((600, 500), {}),
        ((40, 30), {"padding": 500, "boundary": "reflect"}),
        ((40, 30), {"dilation": 300}),
        ((2, 300, 20), {"padding": 40, "stride": 3}),
        ((300, 20, 2), {"axes": "YXC", "padding": 100}),
    ],
)
@pytest.mark.parametrize("reduce", ["mean", "max"])
def test_memory_is_foretold(shape: tuple[int, ...], how: dict[str, Any], reduce: str) -> None:
    x, weights = uniform(*shape), uniform(3, 4)
    built = model.build(x, weights, operation="correlate", **how)
    needed = windows.needed_bytes(built)
    assert peak_of(lambda: windows.apply(built, x, "add", reduce)) < needed
    assert needed < 2.5 * peak_of(lambda: windows.apply(built, x, "add", reduce))


# Functions of the user's own --------------------------------------------------------------------------------------


def test_ufuncs_and_callables_are_as_good_as_names() -> None:
    x, weights = uniform(2, 9, 8), uniform(3, 2)
    named = convtool.local(x, weights, "sub", "max", boundary="reflect")
    pairs = (np.subtract, np.maximum), (lambda a, w: a - w, lambda a, b: np.where(a > b, a, b))
    for pair in (*pairs, (np.frompyfunc(lambda a, w: a - w, 2, 1), "max")):
        np.testing.assert_array_equal(convtool.local(x, weights, *pair, boundary="reflect"), named)


def test_logarithms_add_in_any_order_of_functions() -> None:
    x, weights = uniform(9, 8), uniform(3, 2)
    y = convtool.local(x, weights, "add", np.logaddexp)
    np.testing.assert_allclose(y, np.log(convtool.correlate(np.exp(x), np.exp(weights))), atol=1e-14)


def test_truth_values_are_counted() -> None:
    x, weights = uniform(9, 8), uniform(3, 2)
    fields = convtool.receptive_fields(x, (3, 2), padding="same")
    expected = (fields > weights).sum(axis=(-1, -2))
    np.testing.assert_array_equal(convtool.local(x, weights, np.greater, "sum"), expected)
    np.testing.assert_array_equal(convtool.local(x, weights, lambda a, w: a > w, "sum"), expected)


def test_taps_come_in_order() -> None:
    x, weights = uniform(2, 4, 5), uniform(1, 2, 2, 2)
    y = convtool.local(x, weights, "add", lambda so_far, value: 2 * so_far + value, padding="valid")
    values = (convtool.receptive_fields(x, 2)[..., :, :] + weights[0][:, None, None]).transpose(1, 2, 0, 3, 4)
    powers = 2.0 ** np.array([7, 6, 5, 4, 3, 2, 1, 0])
    np.testing.assert_allclose(y[0], values.reshape(3, 4, 8) @ powers, rtol=1e-13)


def test_a_function_may_reuse_what_it_accumulates_but_not_the_image() -> None:
    x, weights = uniform(9, 8), uniform(3, 2)
    before = x.copy()
    y = convtool.local(x, weights, lambda a, w: a, lambda a, b: np.add(a, b, out=a))
    np.testing.assert_allclose(y, convtool.correlate(x, np.ones((3, 2))), atol=1e-14)
    with pytest.raises(SettingError, match="read-only"):
        convtool.local(x, weights, lambda a, w: np.add(a, w, out=a), padding="valid")
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        (("multiply", "sum"), "unknown combine 'multiply': use mul, add, sub, absdiff, max, min, tan-add, a NumPy"),
        (("mul", "median"), "unknown reduce 'median': use sum, prod, max, min, mean, a NumPy ufunc or a function"),
        ((3, "sum"), "combine must be a name, a NumPy ufunc or a function of two arrays, got 3"),
        (("mul", None), "reduce must be a name, a NumPy ufunc or a function of two arrays, got None"),
        ((np.tan, "sum"), "combine tan does not make one number of two: use a ufunc such as np.maximum"),
        (("mul", np.divmod), "reduce divmod does not make one number of two"),
        (("mul", np.matmul), "reduce matmul does not make one number of two"),
        ((np.bitwise_and, "sum"), "combine bitwise_and does not take float64: use one that takes floats"),
        (("mul", np.max), r"reduce max failed on two arrays: .*integer"),
        (("mul", max), "reduce max failed on two arrays: The truth value of an array"),
        ((lambda a, w: 1 / 0, "sum"), "combine <lambda> failed on an array and a weight: division by zero"),
        (("mul", lambda a, b: {}[""]), "reduce <lambda> failed on two arrays: ''"),
        (("mul", lambda a, b: next(iter(()))), "reduce <lambda> failed on two arrays: StopIteration"),
        ((lambda a: a, "sum"), r"combine <lambda> failed on an array and a weight: .*positional argument"),
        ((lambda a, w: a.sum(), "sum"), r"one per element \(shape \(1, 6, 7\)\), got float64 of shape \(\)"),
        ((lambda a, w: a * 1j, "sum"), "got complex128 of shape"),
        ((lambda a, w: None, "sum"), "got object of shape"),
    ],
)
def test_what_is_no_function_is_refused(pair: tuple[Any, Any], words: str) -> None:
    with pytest.raises(SettingError, match=words) as caught:
        convtool.local(uniform(6, 7), uniform(3, 3), *pair)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("x", "weights", "words"),
    [
        (np.zeros((4, 4)), np.array([[1.0, np.nan], [-np.inf, 0]]), "2 of 4 weights are NaN or infinite: .* -1e9"),
        (np.full((4, 4), np.nan), np.zeros((2, 2)), "the image holds 16 NaN"),
        (np.zeros((4, 4)), np.zeros((0, 2)), "the kernel is empty"),
        (np.zeros((4, 4)), np.zeros((2, 2), complex), "the kernel has dtype complex128"),
        (np.zeros((4, 4)), np.zeros((1, 2, 2, 2)), "2 input channels"),
        (np.zeros((4, 4), np.float32), np.full((2, 2), 1e200), "too large for float32"),
    ],
)
def test_what_is_no_data_is_refused(x: np.ndarray, weights: np.ndarray, words: str) -> None:
    for call in (convtool.local, lambda x, w: convtool.local_gradients(x, w, np.zeros((4, 4)))):
        with pytest.raises(ConvtoolError, match=words) as caught:
            call(x, weights)
        assert "\n" not in str(caught.value)


# Gradients --------------------------------------------------------------------------------------------------------


def by_differences(f: Callable[[np.ndarray], float], at: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Central differences of f, element by element."""
    slopes = np.empty(at.shape)
    for index in np.ndindex(at.shape):
        nudge = np.zeros(at.shape)
        nudge[index] = step
        slopes[index] = (f(at + nudge) - f(at - nudge)) / (2 * step)
    return slopes


def check_by_differences(x: np.ndarray, weights: np.ndarray, combine: str, reduce: str, **given: Any) -> None:
    gradient = uniform(*convtool.local(x, weights, combine, reduce, **given).shape, seed=7)

    def loss(x: np.ndarray, weights: np.ndarray) -> float:
        return float((gradient * convtool.local(x, weights, combine, reduce, **given)).sum())

    d_x, d_weights = convtool.local_gradients(x, weights, gradient, combine, reduce, **given)
    assert (d_x.shape, d_weights.shape) == (x.shape, weights.shape)
    expected = by_differences(lambda a: loss(a, weights), x), by_differences(lambda a: loss(x, a), weights)
    for found, slopes in zip((d_x, d_weights), expected, strict=True):
        np.testing.assert_allclose(found, slopes, rtol=1e-6, atol=1e-6 * np.abs(slopes).max())
    assert d_x.any() or d_weights.any() or (reduce, given["boundary"]) == ("prod", "zero")


@pytest.mark.parametrize("boundary", oracles.BOUNDARIES)
@pytest.mark.parametrize(("combine", "reduce"), PAIRS)
def test_gradients_are_finite_differences(combine: str, reduce: str, boundary: str) -> None:
    """Through every boundary, layout of the weights and geometry, each met by several pairs."""
    turn = PAIRS.index((combine, reduce)) + oracles.BOUNDARIES.index(boundary)
    geometries: list[dict[str, Any]] = [
        {},
        {"stride": 2, "padding": ((3, 0), (1, 2))},
        {"dilation": (1, 2), "padding": "full", "stride": (1, 3)},
    ]
    weights, letters, groups = weights_for(LAYOUTS[turn % 4], 2, (2, 3))
    given: dict[str, Any] = {"kernel_axes": letters, "groups": groups, "boundary": boundary, **geometries[turn % 3]}
    check_by_differences(uniform(1, 2, 3, 4), weights, combine, reduce, **given)


@settings(max_examples=50)
@given(case=cases(), pair=st.sampled_from(PAIRS))
def test_gradients_are_finite_differences_anywhere(case: dict[str, Any], pair: tuple[str, str]) -> None:
    shape, layout, sizes = case.pop("shape"), case.pop("layout"), case.pop("sizes")
    weights, letters, groups = weights_for(layout, 2, sizes)
    given: dict[str, Any] = {"axes": "NC" + SPATIAL[len(sizes)], "kernel_axes": letters, "groups": groups, **case}
    x = uniform(*shape)
    try:
        convtool.local(x, weights, **given)
    except DataError:
        return
    if case["boundary"] != "zero":  # where a whole result may read zeros alone
        check_by_differences(x, weights, *pair, **given)


def test_gradients_come_in_the_axes_given() -> None:
    check_by_differences(
        uniform(4, 2, 3), uniform(2, 2, 3, 2), "tan-add", "prod", axes="YXC", kernel_axes="YOIX", **EDGE
    )
    check_by_differences(uniform(3, 4), uniform(2, 1, 2, 2), "absdiff", "max", **EDGE)
    check_by_differences(uniform(2, 3, 3, 4), uniform(2, 2, 3), "mul", "mean", axes="NZYX", **EDGE)


EDGE: dict[str, Any] = {"boundary": "edge"}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("boundary", oracles.BOUNDARIES)
def test_gradients_of_mul_and_sum_are_the_adjoints_of_correlation(layout: str, boundary: str) -> None:
    x = uniform(2, 4, 4, 5)
    weights, letters, groups = weights_for(layout, 4, (2, 2))
    where: dict[str, Any] = {"padding": ((1, 2), (0, 1)), "stride": (1, 2), "dilation": (2, 1)}
    given: dict[str, Any] = {"kernel_axes": letters, "groups": groups, "boundary": boundary, **where}
    gradient = uniform(*convtool.correlate(x, weights, **given).shape, seed=3)
    d_x, d_weights = convtool.local_gradients(x, weights, gradient, **given)
    adjoint = model.build(x, weights, operation="correlate", **given).operator.adjoint(gradient)
    np.testing.assert_allclose(d_x, adjoint, rtol=0, atol=1e-13)

    taps, blocks = canonical(weights, letters, 4, groups)
    expected = np.zeros(taps.shape)
    for index in np.ndindex(taps.shape):  # the correlation is linear in its weights: what one tap of 1 would give
        alone = np.zeros(taps.shape)
        alone[index] = 1
        y = oracles.correlate_loop(x, alone, groups=blocks, boundary=boundary, **where)
        expected[index] = (gradient * y).sum()
    per_array = {"shared": expected.sum(0)[0], "each": expected[:, 0]}.get(layout, expected)
    np.testing.assert_allclose(d_weights, per_array, rtol=0, atol=1e-12)


@pytest.mark.parametrize("zeros", [1, 2, 3])
def test_a_product_with_zero_factors_has_the_products_of_the_others(zeros: int) -> None:
    x = np.array([2.0, 3.0, 5.0, 7.0])
    x[:zeros] = 0
    d_x, d_weights = convtool.local_gradients(x, np.ones(4), np.ones(1), "mul", "prod", padding="valid")
    others = [math.prod(x[:k]) * math.prod(x[k + 1 :]) for k in range(4)]
    assert d_x.tolist() == others
    assert d_weights.tolist() == [v * o for v, o in zip(x, others, strict=True)]
    assert (zeros == 1) == any(others)


def test_the_first_of_equal_taps_takes_it() -> None:
    x, ones = np.full((3, 4), 2.0), np.ones((2, 2))
    for reduce in ("max", "min"):
        _, d_weights = convtool.local_gradients(x, ones, np.ones((3, 4)), "mul", reduce)
        assert d_weights.tolist() == [[24, 0], [0, 0]]
    d_x, d_weights = convtool.local_gradients(x, 2 * ones, np.ones((3, 4)), "max", "sum")
    assert (d_x == 4).all()
    assert not d_weights.any()
    assert not np.any(convtool.local_gradients(x, 2 * ones, np.ones((3, 4)), "absdiff", "sum")[0])


@pytest.fixture(scope="module")
def torch() -> Iterator[Any]:
    module = pytest.importorskip("torch", reason="the extra 'references' is not installed")
    threads = module.get_num_threads()
    module.set_num_threads(1)  # for arrays this small, more of them only wait for each other
    yield module
    module.set_num_threads(threads)


def torch_local(torch: Any, x: Any, w: Any, combine: str, reduce: str, mode: str) -> Any:
    """The operation on x [n, c, h, w] with w [o, c, 3, 2], padding 1 and stride (2, 1), in torch's own operations."""
    apply = {
        "mul": torch.mul,
        "add": torch.add,
        "sub": torch.sub,
        "absdiff": lambda a, b: (a - b).abs(),
        "max": torch.maximum,
        "min": torch.minimum,
        "tan-add": lambda a, b: torch.tan(a + b),
    }
    over = {"sum": torch.sum, "prod": torch.prod, "max": torch.amax, "min": torch.amin, "mean": torch.mean}
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1), mode=mode)
    columns = torch.nn.functional.unfold(padded, (3, 2), stride=(2, 1))
    y = over[reduce](apply[combine](columns[:, None], w.reshape(len(w), -1)[None, :, :, None]), dim=2)
    return y.reshape(len(x), len(w), (x.shape[2] - 1) // 2 + 1, x.shape[3] + 1)


TORCH_MODES = {"periodic": "circular", "zero": "constant", "edge": "replicate", "reflect": "reflect"}


@pytest.mark.parametrize("boundary", TORCH_MODES)
@pytest.mark.parametrize(("combine", "reduce"), PAIRS)
def test_torch_finds_the_same_values_and_gradients(torch: Any, combine: str, reduce: str, boundary: str) -> None:
    x, weights = uniform(2, 3, 5, 6), uniform(4, 3, 3, 2)
    leaves = [torch.tensor(a, requires_grad=True) for a in (x, weights)]
    y = torch_local(torch, *leaves, combine, reduce, TORCH_MODES[boundary])
    gradient = uniform(*y.shape, seed=5)
    y.backward(torch.tensor(gradient))
    given: dict[str, Any] = {"boundary": boundary, "padding": 1, "stride": (2, 1)}
    np.testing.assert_allclose(
        convtool.local(x, weights, combine, reduce, **given), y.detach().numpy(), rtol=1e-12, atol=1e-15
    )
    found = convtool.local_gradients(x, weights, gradient, combine, reduce, **given)
    for ours, theirs in zip(found, leaves, strict=True):
        np.testing.assert_allclose(ours, theirs.grad.numpy(), rtol=1e-10, atol=1e-12)


def test_gradients_refuse_what_they_cannot_differentiate() -> None:
    x, w = uniform(4, 5), uniform(3, 3)
    no_derivative = "has no known derivative: gradients need one of the names"
    for pair, words in {
        (np.multiply, "sum"): f"combine multiply {no_derivative} mul, add",
        ("mul", max): f"reduce max {no_derivative} sum, prod",
        ("mul", "median"): "unknown reduce 'median': use sum, prod, max, min or mean$",
    }.items():
        with pytest.raises(SettingError, match=words):
            convtool.local_gradients(x, w, x, *pair)  # type: ignore[arg-type]
    for gradient in (uniform(5, 4), x * 1j, np.where(x > 0, np.nan, x)):
        with pytest.raises(DataError, match="finite real numbers of the result's shape 4x5, got"):
            convtool.local_gradients(x, w, gradient)


# Receptive fields -------------------------------------------------------------------------------------------------


def test_receptive_fields_are_a_view_that_nobody_can_write() -> None:
    x = np.arange(3 * 7 * 9, dtype=np.uint16).reshape(3, 7, 9)
    fields = convtool.receptive_fields(x, (3, 2), stride=(2, 1), dilation=(1, 3))
    assert np.shares_memory(fields, x)
    assert (fields.shape, fields.dtype, fields.flags.writeable) == ((3, 3, 6, 3, 2), x.dtype, False)
    x[1, 4, 5] = 999
    assert fields[1, 2, 2, 0, 1] == fields[1, 1, 5, 2, 0] == 999
    assert not np.shares_memory(convtool.receptive_fields(x, (3, 2), padding="same"), x)


def orders(letters: str) -> Iterator[str]:
    return map("".join, itertools.permutations(letters))


@pytest.mark.parametrize("axes", [*orders("CYX"), *orders("NYX"), "XZY", "NCZYX"])
def test_receptive_fields_keep_the_order_of_axes(axes: str) -> None:
    lengths = {"N": 2, "C": 3, "Z": 4, "Y": 5, "X": 6}
    x = uniform(*(lengths[letter] for letter in axes))
    spatial = [letter for letter in "ZYX" if letter in axes]
    size = {"Z": 2, "Y": 3, "X": 2}
    fields = convtool.receptive_fields(x, [size[letter] for letter in spatial], axes=axes)
    for index in np.ndindex(fields.shape):
        read = list(index[: x.ndim])
        for letter, m in zip(spatial, index[x.ndim :], strict=True):
            read[axes.index(letter)] += m
        assert fields[index] == x[tuple(read)]
    counted = [lengths[letter] - (size[letter] - 1 if letter in size else 0) for letter in axes]
    assert fields.shape == (*counted, *(size[letter] for letter in spatial))


@settings(max_examples=60)
@given(case=cases())
def test_receptive_fields_times_weights_are_correlation(case: dict[str, Any]) -> None:
    shape, sizes = case.pop("shape"), case.pop("sizes")
    case.pop("layout")
    case["origin"] = "center"
    x, weights = uniform(*shape), uniform(*sizes)
    axes = "NC" + SPATIAL[len(sizes)]
    try:
        expected = convtool.correlate(x, weights, axes=axes, kernel_axes=axes[2:], **case)
    except DataError:
        expected = None
    case.pop("origin")
    if expected is None:
        with pytest.raises(DataError, match="no output"):
            convtool.receptive_fields(x, sizes, axes=axes, **case)
        return
    fields = convtool.receptive_fields(x, sizes, axes=axes, **case)
    np.testing.assert_allclose(np.tensordot(fields, weights, weights.ndim), expected, atol=1e-12)


def test_receptive_fields_make_any_filter() -> None:
    x = uniform(17, 20)
    fields = convtool.receptive_fields(x, 5, padding="same", boundary="reflect")
    np.testing.assert_array_equal(np.median(fields, axis=(-2, -1)), scipy.ndimage.median_filter(x, 5, mode="mirror"))


def test_a_window_runs_along_the_last_spatial_axes() -> None:
    x = uniform(4, 5, 6)
    assert convtool.receptive_fields(x, 2, axes="ZYX").shape == (3, 4, 5, 2, 2, 2)
    assert convtool.receptive_fields(x, (2, 3), axes="ZYX").shape == (4, 4, 4, 2, 3)
    assert convtool.receptive_fields(x, np.array([3]), axes="ZYX").shape == (4, 5, 4, 3)


@pytest.mark.parametrize(
    ("x", "given", "words"),
    [
        (np.zeros((4, 5)), {"window": 0}, "window must be whole numbers of at least 1, one for all spatial axes"),
        (np.zeros((4, 5)), {"window": (2, 2, 2)}, "window must be whole numbers"),
        (np.zeros((4, 5)), {"window": 2.5}, "got 2.5"),
        (np.zeros((4, 5)), {"window": ()}, "window must be whole numbers"),
        (np.zeros((4, 5)), {"window": 5}, "no output: the window spans 5x5 pixels.* or a smaller window$"),
        (np.zeros((4, 5)), {"window": 2, "stride": (1, 1, 1)}, "one per axis of the window"),
        (np.zeros((4, 5)), {"window": 2, "boundary": "wrap"}, "unknown boundary 'wrap'"),
        (np.zeros((40, 50, 3)), {"window": 2}, "say --axes YXC or CYX"),
        (np.zeros((0, 5)), {"window": 2}, "the image is empty"),
    ],
)
def test_what_is_no_window_is_refused(x: np.ndarray, given: dict[str, Any], words: str) -> None:
    with pytest.raises(ConvtoolError, match=words):
        convtool.receptive_fields(x, **given)
