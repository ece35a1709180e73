"""`edges`, `gradient` and `direction` against the loops of `oracles`, SciPy, scikit-image and NumPy's own gradient."""

from __future__ import annotations

import itertools
import math
import tracemalloc
from unittest import mock

import numpy as np
import oracles
import pytest
import scipy.ndimage
import skimage.filters
from hypothesis import given, settings
from hypothesis import strategies as st

import convtool
from convtool import gradients, process
from convtool.errors import DataError, SettingError
from convtool.gradients import engine

# Derivative taps, and smoothing taps along the other axes, as the field defines them.
OPERATORS = {
    "central": ([-0.5, 0.0, 0.5], [0.0, 1.0, 0.0]),
    "sobel": ([-0.5, 0.0, 0.5], [1 / 4, 2 / 4, 1 / 4]),
    "scharr": ([-0.5, 0.0, 0.5], [3 / 16, 10 / 16, 3 / 16]),
    "prewitt": ([-0.5, 0.0, 0.5], [1 / 3, 1 / 3, 1 / 3]),
    "forward": ([0.0, -1.0, 1.0], [0.0, 1.0, 0.0]),
}
NDIMAGE_MODES = {"periodic": "wrap", "zero": "constant", "edge": "nearest", "reflect": "mirror", "symmetric": "reflect"}
WORKING = {
    "float32": ("float32", "float16", "bool", "uint8", "int8", "uint16", "int16"),
    "float64": ("float64", "uint32", "int32", "uint64", "int64"),
}
COMPUTED = [(name, working) for working, names in WORKING.items() for name in names]


def taps(operator: str, axis: int, ndim: int) -> np.ndarray:
    """The kernel of one component, 3 taps an axis."""
    derivative, smoothing = OPERATORS[operator]
    lines = [derivative if other == axis else smoothing for other in range(ndim)]
    kernel = np.ones(())
    for line in lines:
        kernel = np.multiply.outer(kernel, line)
    return kernel


def by_loop(x: np.ndarray, axes: str, operator: str, boundary: str) -> list[np.ndarray]:
    """The components by the definition, in float64, in x's order of axes."""
    spatial = [letter for letter in "ZYX" if letter in axes]
    batch = [letter for letter in axes if letter not in spatial]
    order = [axes.index(letter) for letter in (*batch, *spatial)]
    moved = x.astype(np.float64).transpose(order)
    lines = moved.reshape(-1, 1, *moved.shape[len(batch) :])
    found = []
    for axis in range(len(spatial)):
        kernel = taps(operator, axis, len(spatial))[None, None]
        y = oracles.correlate_loop(lines, kernel, boundary=boundary)
        found.append(y.reshape(moved.shape).transpose(np.argsort(order)))
    return found


def magnitude(components: list[np.ndarray]) -> np.ndarray:
    return np.sqrt(sum(g**2 for g in components))


def sample(shape: tuple[int, ...], dtype: str = "float64", seed: int = 0) -> np.ndarray:
    """Data without symmetry that fill the range of a small integer dtype."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind in "ui":
        limits = np.iinfo(dtype)
        return rng.integers(max(limits.min, -(2**40)), min(limits.max, 2**40), shape, dtype=dtype, endpoint=True)
    return rng.random(shape) < 0.4 if dtype == "bool" else rng.normal(1.0, 2.0, shape).astype(dtype)


def close(found: np.ndarray, exact: np.ndarray, x: np.ndarray) -> None:
    """Equal up to rounding: every component is a sum of at most 18 products with taps of sum |taps| <= 2."""
    assert found.shape == exact.shape
    allowed = 16 * np.finfo(found.dtype).eps * np.abs(x.astype(np.float64)).max()
    assert np.abs(found - exact).max() <= allowed


# The definition ---------------------------------------------------------------------------------------------------


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, str, str, str, int]:
    """An image with axes in any order of names and of memory, an operator, a boundary, and the size of a block."""
    spatial = draw(st.sampled_from(["X", "Y", "YX", "ZX", "ZYX"]))
    others = draw(st.sampled_from(["", "N", "C", "NC"]))
    axes = "".join(draw(st.permutations(spatial + others)))
    shape = [draw(st.integers(1, 3 if letter in "NC" or len(axes) > 4 else 6)) for letter in axes]
    x = sample(tuple(shape), draw(st.sampled_from(["float32", "float64", "uint8"])), draw(st.integers(0, 99)))
    memory = draw(st.permutations(range(len(axes))))
    x = np.ascontiguousarray(x.transpose(memory)).transpose(np.argsort(memory))
    operator, boundary = draw(st.sampled_from(list(OPERATORS))), draw(st.sampled_from(oracles.BOUNDARIES))
    return x, axes, operator, boundary, draw(st.sampled_from([1, 30, 100, 1 << 17]))


@given(cases())
@settings(max_examples=150)
def test_every_axis_operator_and_boundary_as_defined(case: tuple[np.ndarray, str, str, str, int]) -> None:
    x, axes, operator, boundary, block = case
    exact = by_loop(x, axes, operator, boundary)
    with mock.patch.object(engine, "_BLOCK", block):
        found = convtool.gradient(x, axes=axes, operator=operator, boundary=boundary)
        length = convtool.edges(x, axes=axes, operator=operator, boundary=boundary)
    assert len(found) == len(exact)
    for g, truth in zip(found, exact, strict=True):
        close(g, truth, x)
    close(length, magnitude(exact), x)
    if "Y" in axes and "X" in axes and "Z" not in axes:
        angle = gradients.direction(x, axes=axes, operator=operator, boundary=boundary)
        close(length * np.cos(angle), exact[1], x)
        close(length * np.sin(angle), exact[0], x)


@pytest.mark.parametrize("boundary", oracles.BOUNDARIES)
@pytest.mark.parametrize("operator", OPERATORS)
def test_axes_of_one_pixel(operator: str, boundary: str) -> None:
    for shape in [(1, 1), (1, 5), (4, 1), (2, 1, 3), (1, 1, 1), (2, 2)]:
        x, axes = sample(shape), "ZYX"[-len(shape) :]
        exact = by_loop(x, axes, operator, boundary)
        for g, truth in zip(convtool.gradient(x, axes=axes, operator=operator, boundary=boundary), exact, strict=True):
            close(g, truth, x)
        close(convtool.edges(x, axes=axes, operator=operator, boundary=boundary), magnitude(exact), x)


# Other programs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("boundary", NDIMAGE_MODES)
@pytest.mark.parametrize(("operator", "plane", "volume"), [("sobel", 8, 32), ("prewitt", 6, 18), ("scharr", 32, 512)])
def test_scipys_kernels_are_so_many_times_larger(operator: str, plane: int, volume: int, boundary: str) -> None:
    def theirs(x: np.ndarray, axis: int) -> np.ndarray:
        if operator != "scharr":
            return getattr(scipy.ndimage, operator)(x, axis, mode=NDIMAGE_MODES[boundary])
        for other in range(x.ndim):
            line = [-1, 0, 1] if other == axis else [3, 10, 3]
            x = scipy.ndimage.correlate1d(x, line, other, mode=NDIMAGE_MODES[boundary])
        return x

    for shape, factor in (((13, 18), plane), ((7, 9, 6), volume)):
        x = sample(shape)
        exact = [theirs(x, axis) / factor for axis in range(x.ndim)]
        axes = "ZYX"[-x.ndim :]
        for g, truth in zip(convtool.gradient(x, axes=axes, operator=operator, boundary=boundary), exact, strict=True):
            close(g, truth, x)
        close(convtool.edges(x, axes=axes, operator=operator, boundary=boundary), magnitude(exact), x)


@pytest.mark.parametrize("operator", ["sobel", "scharr", "prewitt"])
def test_scikit_image(operator: str) -> None:
    """Its derivative is [-1, 0, 1], not halved; its magnitude is a mean over the axes, not a sum."""
    x = sample((14, 19))
    theirs = getattr(skimage.filters, operator)(x, mode="mirror")
    close(convtool.edges(x, operator=operator), theirs / math.sqrt(2), x)
    gy, gx = convtool.gradient(x, operator=operator)
    close(gy[1:-1, 1:-1], getattr(skimage.filters, f"{operator}_h")(x)[1:-1, 1:-1] / 2, x)
    close(gx[1:-1, 1:-1], getattr(skimage.filters, f"{operator}_v")(x)[1:-1, 1:-1] / 2, x)


def test_numpys_gradient_inside() -> None:
    x = sample((6, 9, 8))
    inside = (slice(1, -1),) * 3
    for ours, theirs in zip(convtool.gradient(x, axes="ZYX"), np.gradient(x), strict=True):
        close(ours[inside], theirs[inside], x)


def test_numpys_difference_is_forward() -> None:
    x = sample((6, 9))
    gy, gx = convtool.gradient(x, operator="forward", boundary="edge")
    np.testing.assert_array_equal(gy[:-1], np.diff(x, axis=0))
    np.testing.assert_array_equal(gx[:, :-1], np.diff(x, axis=1))
    assert not gy[-1].any()
    assert not gx[:, -1].any()


# What is exact ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "int64"])
@pytest.mark.parametrize("operator", OPERATORS)
def test_a_ramp_gives_its_slope(operator: str, dtype: str) -> None:
    for ndim, slopes in ((1, (7,)), (2, (3, -4)), (3, (2, -3, 6))):
        places = np.indices((6,) * ndim)
        x = sum(slope * place for slope, place in zip(slopes, places, strict=True)).astype(dtype)
        inside = (slice(1, -1),) * ndim
        components = convtool.gradient(x, axes="ZYX"[-ndim:], operator=operator)
        for g, slope in zip(components, slopes, strict=True):
            assert (g[inside] == slope).all()
        length = convtool.edges(x, axes="ZYX"[-ndim:], operator=operator)
        assert (length[inside] == {1: 7, 2: 5, 3: 7}[ndim]).all()


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_constant_has_no_gradient(operator: str) -> None:
    x = np.full((7, 8), -0.1, np.float32)
    for boundary in ("periodic", "edge", "reflect", "symmetric"):
        assert not convtool.edges(x, operator=operator, boundary=boundary).any()
        assert not gradients.direction(x, operator=operator, boundary=boundary).any()


@pytest.mark.parametrize(("dtype", "computed"), COMPUTED)
def test_dtypes(dtype: str, computed: str) -> None:
    x = sample((9, 11), dtype)
    exact = by_loop(x, "YX", "sobel", "reflect")
    y = convtool.edges(x, operator="sobel")
    assert y.dtype == computed
    close(y, magnitude(exact), x)
    assert {g.dtype for g in convtool.gradient(x)} == {np.dtype(computed)}
    assert gradients.direction(x).dtype == computed
    for precision, name in (("single", "float32"), ("double", "float64")):
        y = convtool.edges(x, operator="sobel", precision=precision)
        assert y.dtype == name
        close(y, magnitude(exact), x)


def test_unsigned_integers_do_not_wrap_around() -> None:
    x = np.array([[250, 250, 3, 3]], np.uint8)
    assert convtool.gradient(x, axes="YX")[1].tolist() == [[0, -123.5, -123.5, 0]]


def test_bytes_in_another_order() -> None:
    x = sample((6, 7), "float32")
    y = convtool.edges(x.astype(">f4"))
    assert y.dtype.isnative
    np.testing.assert_array_equal(y, convtool.edges(x))


def test_lists_and_data_that_must_not_be_written() -> None:
    x = sample((5, 6))
    frozen = x.copy()
    frozen.setflags(write=False)
    np.testing.assert_array_equal(convtool.edges(frozen), convtool.edges(x))
    np.testing.assert_array_equal(convtool.edges(x.tolist()), convtool.edges(x))
    np.testing.assert_array_equal(frozen, x)


# Direction --------------------------------------------------------------------------------------------------------


def test_the_direction_turns_from_x_towards_y() -> None:
    places = dict(zip("YX", np.indices((5, 5)).astype(np.float64), strict=True))
    eighths = [(0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1)]
    expected = np.pi / 4 * np.array([0, 1, 2, 3, 4, -3, -2, -1])
    for (down, right), angle in zip(eighths, expected, strict=True):
        x = down * places["Y"] + right * places["X"]
        assert gradients.direction(x)[2, 2] == pytest.approx(angle, abs=1e-15)
        assert gradients.direction(x.T, axes="XY")[2, 2] == pytest.approx(angle, abs=1e-15)


def test_no_gradient_has_the_direction_0() -> None:
    """Also where differences of zeros of both signs are negative zeros."""
    x = np.array([[-0.0, 0.0, -0.0], [0.0, -0.0, -0.0], [0.0, 0.0, 0.0]])
    for operator, boundary in itertools.product(OPERATORS, oracles.BOUNDARIES):
        angle = gradients.direction(x, operator=operator, boundary=boundary)
        assert not angle.any()
    x = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, -1.0], [0.0, -0.0, 0.0]])
    assert gradients.direction(x)[1, 1] == np.pi  # not -pi, the angle of a step of -0.0


# Blocks, threads and memory ---------------------------------------------------------------------------------------

LAYOUTS = {"NCYX": (5, 3, 9, 14), "YXC": (21, 34, 3), "ZYX": (9, 10, 33), "X": (400,), "YXN": (6, 7, 50)}


@pytest.mark.parametrize("axes", LAYOUTS)
@pytest.mark.parametrize("operator", ["central", "scharr"])
def test_results_do_not_depend_on_blocks_and_threads(axes: str, operator: str) -> None:
    x = sample(LAYOUTS[axes], "float32")
    x.reshape(-1)[::7] *= np.float32(1e-30)
    x.reshape(-1)[5::11] *= np.float32(1e30)
    whole = convtool.edges(x, axes=axes, operator=operator)
    parts = convtool.gradient(x, axes=axes, operator=operator)
    for block, threads in [(1, 1), (100, 1), (333, 3), (1000, 3)]:
        with (
            mock.patch.object(engine, "_BLOCK", block),
            mock.patch.object(engine, "_THREADED", 0),
            mock.patch.object(process.policy, "threads", threads),
        ):
            np.testing.assert_array_equal(convtool.edges(x, axes=axes, operator=operator), whole)
            np.testing.assert_array_equal(convtool.gradient(x, axes=axes, operator=operator), parts)


def test_blocks_hold_what_they_are_allowed() -> None:
    for shape, spatial in [
        ((1000, 128, 28, 28), (2, 3)),
        ((5000, 7000), (0, 1)),
        ((5000, 7000, 3), (0, 1)),
        ((300, 400, 500), (0, 1, 2)),
        ((3, 1 << 24), (1,)),
        ((64, 64, 1 << 20), (0, 1)),
        ((1 << 24, 2), (0,)),
    ]:
        lengths = engine._lengths(shape, spatial)
        margined = [n + 2 * (axis in spatial) for axis, n in enumerate(lengths)]
        assert all(1 <= n <= most for n, most in zip(lengths, shape, strict=True))
        assert engine._BLOCK / 16 < math.prod(margined) <= engine._BLOCK
        assert math.prod(margined) < 2 * math.prod(lengths)


@pytest.mark.parametrize("layout", ["plain", "transposed", "integers", "bytes", "sliced", "bands", "flat"])
def test_no_temporary_is_as_large_as_the_image(layout: str) -> None:
    x = np.random.default_rng(0).random((12, 20, 128, 128), dtype=np.float32)
    axes = "NCYX"
    if layout == "transposed":
        x, axes = x.transpose(0, 2, 3, 1), "NYXC"
    elif layout == "integers":
        x = (x * 1e4).astype(np.int16)
    elif layout == "bytes":
        x = x.astype(">f4")
    elif layout == "sliced":
        x = np.random.default_rng(0).random((12, 20, 128, 256), dtype=np.float32)[..., ::2]
    elif layout == "bands":
        x, axes = x.reshape(1536, 2560), "YX"
    elif layout == "flat":
        x[:] = 1e-30  # every pixel's sum of squares underflows
    for function, outputs in ((convtool.edges, 1), (convtool.gradient, 2)):
        with mock.patch.object(process.policy, "threads", 1):
            tracemalloc.start()
            function(x, axes=axes, operator="sobel")
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak - outputs * x.size * 4 < x.size, layout  # a quarter of float32 pixels


def test_memory_order_is_kept() -> None:
    x = sample((6, 7, 3), "float32")
    exact = convtool.edges(x, axes="YXC")
    for order in itertools.permutations(range(3)):
        view = np.ascontiguousarray(x.transpose(order)).transpose(np.argsort(order))
        assert gradients._field(view, "YXC", "central", "reflect", "auto").memory == order
        y = convtool.edges(view, axes="YXC")
        assert y.strides == view.strides
        np.testing.assert_array_equal(y, exact)
    np.testing.assert_array_equal(
        convtool.edges(x[::-1, ::2], axes="YXC"), convtool.edges(x[::-1, ::2].copy(), axes="YXC")
    )
    same = np.broadcast_to(x[..., :1], x.shape)
    np.testing.assert_array_equal(convtool.edges(same, axes="YXC"), convtool.edges(same.copy(), axes="YXC"))


# Range ------------------------------------------------------------------------------------------------------------


def relative(found: np.ndarray, exact: np.ndarray) -> float:
    assert np.isfinite(found).all()
    assert (found[exact == 0] == 0).all()
    kept = exact != 0
    return float(np.abs(found[kept].astype(np.longdouble) / exact[kept] - 1).max())


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("size", [1e-36, 1e-30, 1e-20, 1e-15, 1.0, 1e15, 1e18, 1e19, 1e25, 1e30, 1.1e38])
def test_sizes_beyond_the_squares_of_single_precision(size: float, operator: str) -> None:
    """Magnitudes follow the components, whatever their size; differences of integers times `size` do not cancel."""
    x = (np.random.default_rng(1).integers(-1, 2, (9, 11)) * size).astype(np.float32)
    components = convtool.gradient(x, operator=operator)
    exact = by_loop(x, "YX", operator, "reflect")
    for g, truth in zip(components, exact, strict=True):
        assert np.abs(g - truth).max() <= 4e-7 * size
    assert relative(convtool.edges(x, operator=operator), np.hypot(*(g.astype(np.float64) for g in components))) < 4e-7


def test_small_and_large_in_one_image() -> None:
    rng = np.random.default_rng(2)
    for dtype, decades in (("float32", 34), ("float64", 300)):
        x = (rng.integers(-3, 4, (40, 40)) * 10.0 ** rng.integers(-decades, decades, (40, 40))).astype(dtype)
        x[:20] = np.sort(np.abs(x[:20]), axis=None).reshape(20, 40)  # so that neighbours are of one size somewhere
        wide = [g.astype(np.longdouble) for g in convtool.gradient(x)]
        assert relative(convtool.edges(x), np.hypot(*wide)) < 4 * np.finfo(dtype).eps


def test_zeros_beside_tiny_values() -> None:
    """A tiny value among zeros and ones, which alone needs more than its square."""
    for tiny in (1e-25, 1e-42):
        x = np.zeros((30, 30), np.float32)
        x[:, 20:] = 1
        x[5, 5] = tiny
        y = convtool.edges(x)
        assert y[5, 4] == y[4, 5] == y[5, 6] == np.float32(tiny) / 2
        assert y[5, 20] == 0.5


def test_differences_in_the_last_bits_of_small_values() -> None:
    """The values' squares are all right; those of their differences underflow."""
    last = np.random.default_rng(3).integers(0, 3, (20, 20))
    for size, dtype in ((1e-16, "float32"), (1e-160, "float64")):
        x = (size * (1 + np.finfo(dtype).eps * last)).astype(dtype)
        wide = [g.astype(np.longdouble) for g in convtool.gradient(x)]
        assert relative(convtool.edges(x), np.hypot(*wide)) < 4 * np.finfo(dtype).eps


def test_large_values_in_double_precision() -> None:
    x = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 3e200], [0.0, 4e200, 0.0]])
    assert convtool.edges(x)[1, 1] == pytest.approx(2.5e200, rel=1e-15)
    assert convtool.edges(x * 1e-200 * 1e-200)[1, 1] == pytest.approx(2.5e-200, rel=1e-15)


def test_infinite_only_where_the_gradient_is() -> None:
    most = float(np.finfo(np.float32).max)
    x = np.array([[-most, most, most, 0, 0]], np.float32)
    central = convtool.edges(x, axes="YX", boundary="edge")
    assert central.tolist() == [[np.float32(most), np.float32(most), np.float32(most) / 2, np.float32(most) / 2, 0]]
    forward = convtool.edges(x, axes="YX", boundary="edge", operator="forward")
    assert forward.tolist() == [[np.inf, 0, np.float32(most), 0, 0]]


# What is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("boundary", oracles.BOUNDARIES)
@pytest.mark.parametrize("operator", ["central", "sobel"])
def test_what_is_not_finite(operator: str, boundary: str, bad: float) -> None:
    for shape in [(1, 1), (1, 2), (3, 3), (200, 900)]:
        for place in {(0, 0), (shape[0] // 2, shape[1] // 2), (shape[0] - 1, shape[1] - 1)}:
            x = sample(shape, "float32")
            x[place] = bad
            for function in (convtool.edges, convtool.gradient, gradients.direction):
                with pytest.raises(DataError, match=rf"1 NaN or infinite values, the first at index \({place[0]}, "):
                    function(x, operator=operator, boundary=boundary)


def test_messages() -> None:
    x = sample((4, 5))
    refusals = [
        (
            SettingError,
            "unknown operator 'canny': use central, sobel, scharr, prewitt or forward",
            {"operator": "canny"},
        ),
        (SettingError, "unknown boundary 'mirror'", {"boundary": "mirror"}),
        (SettingError, "unknown precision 'half'", {"precision": "half"}),
        (SettingError, "axes NC have none of Z, Y and X", {"axes": "NC"}),
        (SettingError, "axes YXC name 3 axes, but the image has 2", {"axes": "YXC"}),
    ]
    for kind, text, setting in refusals:
        for function in (convtool.edges, convtool.gradient, gradients.direction):
            with pytest.raises(kind, match=text):
                function(x, **setting)
    for axes in ("ZYX", "NZX", "NCX"):
        with pytest.raises(SettingError, match=f"the plane of Y and X, but the axes are {axes}"):
            gradients.direction(sample((3, 4, 5)), axes=axes)
    with pytest.raises(SettingError, match="could be YXC or CYX"):
        convtool.edges(sample((9, 9, 3)))
    with pytest.raises(DataError, match="empty"):
        convtool.edges(np.zeros((0, 3)))
    with pytest.raises(DataError, match="complex128"):
        convtool.edges(np.zeros((3, 3), complex))
    with pytest.raises(DataError, match="too large for float32: compute in double precision"):
        convtool.edges(np.array([[1e300, 0.0]]), precision="single")
    with pytest.raises(DataError, match="too large for float64: scale the image"):
        convtool.edges(np.array([[np.longdouble("1e4000"), 0]]))


def test_axes_by_rank() -> None:
    for shape, axes in (
        ((7,), "X"),
        ((5, 7), "YX"),
        ((2, 5, 7), "CYX"),
        ((2, 3, 5, 7), "NCYX"),
        ((2, 1, 3, 5, 7), "NCZYX"),
    ):
        x = sample(shape)
        np.testing.assert_array_equal(convtool.edges(x), convtool.edges(x, axes=axes))


def test_the_operators_there_are() -> None:
    assert set(gradients.OPERATORS) == set(OPERATORS)
