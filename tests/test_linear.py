"""`convolve` and `correlate` against the loops of `oracles`, scipy.ndimage and scipy.signal, and what they refuse."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import oracles
import pytest
import scipy.ndimage
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

import convtool
from convtool.errors import ConvtoolError

ENGINES = ("fft", "direct", "blocks")
OPERATIONS = ("convolve", "correlate")
VERBS: dict[str, Callable[..., np.ndarray]] = {"convolve": convtool.convolve, "correlate": convtool.correlate}
NDIMAGE_MODES = {"periodic": "wrap", "zero": "constant", "edge": "nearest", "reflect": "mirror", "symmetric": "reflect"}
COMPUTED = {
    np.dtype(given): np.dtype(working)
    for working, names in {
        "float32": ("float32", "float16", "bool", "uint8", "int8", "uint16", "int16"),
        "float64": ("float64", "uint32", "int32", "uint64", "int64"),
    }.items()
    for given in names
}


def tolerance(x: np.ndarray, taps: np.ndarray, reached: int, dtype: np.dtype) -> float:
    """What rounding can explain in one output.

    A direct sum of T products errs by at most about (T + 2) eps Σ|w| max|x| (the taps are rounded too); an FFT over P
    points by a few eps log2(P) ‖w‖ ‖x‖, where P, at most `reached`, also bounds ‖x‖ on the extended frame.
    """
    taps = taps.reshape(taps.shape[0], -1).astype(float)
    peak = float(np.abs(x.astype(float)).max())
    direct = (taps.shape[1] + 2) * np.abs(taps).sum(1).max() * peak
    fft = 4 * np.log2(2 + reached) * np.sqrt((taps**2).sum(1).max() * reached) * peak
    return float(np.finfo(dtype).eps * (direct + fft))


def reach(frame: tuple[int, ...], sizes: tuple[int, ...], padding: int = 0, dilation: int = 1) -> int:
    """A bound on the points of a padded transform, twice over for the rounding up to a fast size."""
    return int(np.prod([2 * (n + 2 * padding + 2 * dilation * k) for n, k in zip(frame, sizes, strict=True)]))


def sample(shape: tuple[int, ...], seed: int, dtype: str = "float64") -> np.ndarray:
    """Asymmetric test data that fills the range of a small integer dtype."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind in "ui":
        bounds = np.iinfo(dtype)
        return rng.integers(max(bounds.min, -(2**20)), min(bounds.max, 2**20), shape, dtype=dtype, endpoint=True)
    if dtype == "bool":
        return rng.random(shape) < 0.4
    return rng.normal(0.5, 1.0, shape).astype(dtype)


# The oracles themselves ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("boundary", oracles.BOUNDARIES)
@pytest.mark.parametrize("sizes", [(3, 3), (4, 2), (9, 12), (1, 5)])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_loops_are_scipy_ndimage(operation: str, sizes: tuple[int, int], boundary: str) -> None:
    x, taps = sample((7, 4), 1), sample(sizes, 2)
    ours = oracles.apply_loop(operation, x[None, None], taps[None, None], boundary=boundary)[0, 0]
    theirs = getattr(scipy.ndimage, operation)(x, taps, mode=NDIMAGE_MODES[boundary])
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize("padding", ["valid", "full"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_loops_are_scipy_signal(operation: str, padding: str) -> None:
    x, taps = sample((4, 5, 6), 1), sample((2, 3, 4), 2)
    loop = {"convolve": oracles.convolve_loop, "correlate": oracles.correlate_loop}[operation]
    ours = loop(x[None, None], taps[None, None], boundary="zero", padding=padding)[0, 0]
    theirs = getattr(scipy.signal, operation)(x, taps, mode=padding, method="direct")
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize("boundary", oracles.BOUNDARIES)
def test_the_matrix_is_the_loops(boundary: str) -> None:
    x, taps = sample((1, 4, 3, 5), 1), sample((2, 2, 2, 3), 2)
    how: dict[str, Any] = {"groups": 2, "boundary": boundary, "padding": ((2, 1), (0, 3)), "stride": (1, 2)}
    for operation in OPERATIONS:
        y = oracles.matrix(taps, x.shape[1:], operation=operation, **how) @ x.ravel()
        np.testing.assert_allclose(y, oracles.apply_loop(operation, x, taps, **how).ravel(), atol=1e-12)


def test_the_penalties_are_stencils() -> None:
    x = sample((5, 7), 3)
    laplacian = scipy.ndimage.correlate(x, [[0, 1, 0], [1, -4, 1], [0, 1, 0]], mode="wrap")
    np.testing.assert_allclose(oracles.laplacian_matrix((5, 7)) @ x.ravel(), laplacian.ravel(), atol=1e-12)
    gradient = oracles.gradient_matrix((5, 7))
    np.testing.assert_allclose(gradient.T @ gradient, -oracles.laplacian_matrix((5, 7)))
    assert (gradient @ x.ravel())[0] == x[1, 0] - x[0, 0]


def test_squares_that_overflow_are_no_infinities() -> None:
    x = np.full((3, 4), 1e30, np.float32)
    np.testing.assert_array_equal(convtool.convolve(x, np.ones((1, 1))), x)
    x[2, 1] = np.inf
    with pytest.raises(ConvtoolError, match=r"1 NaN or infinite values, the first at index \(2, 1\)"):
        convtool.convolve(x, np.ones((1, 1)))


# The property: every setting, both engines, against the loops -------------------------------------------------------


@st.composite
def paddings(draw: st.DrawFn, rank: int) -> Any:
    """A word, a number, a number an axis, or pairs."""
    number = st.integers(0, 6)
    return draw(
        st.sampled_from(["same", "same", "valid", "full"])
        | number
        | st.tuples(*[number] * rank)
        | st.tuples(*[st.tuples(number, number)] * rank)
    )


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    """One call: the shapes, and the keyword arguments that the library and the loops share."""
    rank = draw(st.sampled_from([2, 2, 3]))
    frame = tuple(draw(st.integers(1, 7 if rank == 2 else 5)) for _ in range(rank))
    sizes = tuple(draw(st.integers(1, 5 if rank == 2 else 3)) for _ in range(rank))
    per_axis = st.integers(1, 3) | st.tuples(*[st.integers(1, 3)] * rank)
    explicit = st.tuples(*[st.integers(0, size - 1) for size in sizes])
    groups, inner, outer = draw(st.sampled_from([(1, 1, 1), (1, 2, 3), (1, 3, 1), (2, 1, 1), (2, 2, 1), (3, 1, 2)]))
    return {
        "operation": draw(st.sampled_from(OPERATIONS)),
        "x": sample(
            (draw(st.integers(1, 2)), groups * inner, *frame),
            draw(st.integers(0, 9)),
            draw(st.sampled_from([str(dtype) for dtype in COMPUTED])),
        ),
        "taps": sample((groups * outer, inner, *sizes), draw(st.integers(10, 19))),
        "settings": {
            "origin": draw(st.sampled_from(["center", "first", "last"]) | explicit),
            "boundary": draw(st.sampled_from(oracles.BOUNDARIES)),
            "padding": draw(paddings(rank)),
            "stride": draw(per_axis),
            "dilation": draw(per_axis),
            "groups": groups,
            "bias": draw(st.none() | st.just(np.arange(1.0, groups * outer + 1))),
        },
    }


@given(case=cases())
@settings(max_examples=250)
def test_every_setting_agrees_with_the_loops(case: dict[str, Any]) -> None:
    x, taps, how, verb = case["x"], case["taps"], case["settings"], VERBS[case["operation"]]
    try:
        expected = oracles.apply_loop(case["operation"], x.astype(float), taps, **how)
    except ValueError:  # no output at all: the library must say so in its own words
        with pytest.raises(ConvtoolError, match="no output"):
            verb(x, taps, **how)
        return
    dtype = COMPUTED[x.dtype]
    allowed = tolerance(x, taps, reach(x.shape[2:], taps.shape[2:], padding=6, dilation=3), dtype)
    allowed += 0.0 if how["bias"] is None else float(np.finfo(dtype).eps * (how["bias"].max() + np.abs(expected).max()))
    for engine in (*ENGINES, "auto"):
        y = verb(x, taps, engine=engine, **how)
        assert y.dtype == dtype
        assert y.shape == expected.shape
        np.testing.assert_allclose(y, expected, rtol=0, atol=allowed, err_msg=f"engine {engine}")


@given(case=cases())
@settings(max_examples=60)
def test_correlation_is_convolution_with_the_flipped_kernel(case: dict[str, Any]) -> None:
    how, taps, x = dict(case["settings"]), case["taps"], case["x"].astype(float)
    flipped = np.flip(taps, range(2, taps.ndim))
    origin = oracles.origins(how["origin"], taps.shape[2:])
    how["origin"] = origin
    mirrored = how | {"origin": [size - 1 - o for size, o in zip(taps.shape[2:], origin, strict=True)]}
    try:
        expected = convtool.correlate(x, taps, **how)
    except ConvtoolError:
        return
    np.testing.assert_allclose(convtool.convolve(x, flipped, **mirrored), expected, rtol=0, atol=1e-7)


# Other people's convolutions -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("sizes", [(3, 3), (4, 6), (5, 2), (1, 7), (23, 40)])
@pytest.mark.parametrize("boundary", oracles.BOUNDARIES)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_same_as_scipy_ndimage(operation: str, boundary: str, sizes: tuple[int, int], engine: str) -> None:
    x, taps = sample((19, 26), 1), sample(sizes, 2)  # (23, 40) is larger than the image
    y = VERBS[operation](x, taps, boundary=boundary, engine=engine)
    expected = getattr(scipy.ndimage, operation)(x, taps, mode=NDIMAGE_MODES[boundary])
    np.testing.assert_allclose(y, expected, rtol=0, atol=tolerance(x, taps[None], reach(x.shape, sizes), y.dtype))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("sizes", [(3, 2, 4), (2, 5, 1)])
@pytest.mark.parametrize("boundary", oracles.BOUNDARIES)
def test_the_same_as_scipy_ndimage_on_stacks(boundary: str, sizes: tuple[int, ...], engine: str) -> None:
    x, taps = sample((4, 9, 12), 1), sample(sizes, 2)
    for operation in OPERATIONS:
        y = VERBS[operation](x, taps, axes="ZYX", boundary=boundary, engine=engine)
        expected = getattr(scipy.ndimage, operation)(x, taps, mode=NDIMAGE_MODES[boundary])
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("padding", ["full", "valid"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_same_as_scipy_signal(operation: str, padding: str, engine: str) -> None:
    for x, taps, axes in [
        (sample((17, 30), 1), sample((4, 7), 2), "YX"),
        (sample((5, 6, 8), 3), sample((2, 3, 4), 4), "ZYX"),
    ]:
        y = VERBS[operation](x, taps, axes=axes, padding=padding, boundary="zero", engine=engine)
        expected = getattr(scipy.signal, operation)(x, taps, mode=padding)
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_same_as_convolve2d_with_wrap(engine: str) -> None:
    x, taps = sample((11, 8), 1), sample((4, 3), 2)
    expected = scipy.signal.convolve2d(x, taps, mode="full", boundary="wrap")
    y = convtool.convolve(x, taps, padding="full", boundary="periodic", engine=engine)
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("engine", ["fft", "auto"])
def test_awkward_sizes_stay_exact(engine: str) -> None:
    """509 and 263 are primes, which an FFT meets with padding or with Bluestein's detour."""
    x, taps = sample((509, 263), 1), sample((9, 4), 2)
    y = convtool.convolve(x, taps, engine=engine)
    np.testing.assert_allclose(y, scipy.ndimage.convolve(x, taps, mode="wrap"), rtol=0, atol=1e-11)
    small, large = x[:63, :127].astype(np.float32), sample((70, 130), 3)
    expected = np.fft.ifft2(np.fft.fft2(_embedded(large, small.shape)) * np.fft.fft2(small.astype(float))).real
    allowed = tolerance(small, large[None], reach(small.shape, large.shape), np.dtype("float32"))
    assert allowed < 0.1 * np.abs(expected).max()
    np.testing.assert_allclose(convtool.convolve(small, large, engine=engine), expected, rtol=0, atol=allowed)


def _embedded(taps: np.ndarray, frame: tuple[int, ...]) -> np.ndarray:
    """The kernel on the image's grid, its centre at (0, 0), taps that wrap around added up."""
    grid = np.zeros(frame)
    for m in np.ndindex(taps.shape):
        grid[(m[0] - taps.shape[0] // 2) % frame[0], (m[1] - taps.shape[1] // 2) % frame[1]] += taps[m]
    return grid


def test_the_step_image() -> None:
    """Three ways to convolve a step agree to 1e-12; a zero-padded kernel with its origin in the corner does not."""
    x = np.zeros((10, 10))
    x[:, 5:] = 1.0
    taps = np.array([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]])
    tiled = scipy.ndimage.convolve(np.tile(x, (3, 3)), taps, mode="constant")[10:20, 10:20]
    assert np.abs(tiled).max() == 4.0
    padded = np.zeros((10, 10))
    padded[:3, :3] = taps
    rolled = np.roll(padded, (-1, -1), (0, 1))
    bare = np.fft.ifft2(np.fft.fft2(rolled) * np.fft.fft2(x)).real
    corner = np.fft.ifft2(np.fft.fft2(padded) * np.fft.fft2(x)).real
    ways = [convtool.convolve(x, taps, engine=engine) for engine in ENGINES]
    ways += [convtool.correlate(x, taps[::-1, ::-1], engine=engine) for engine in ENGINES]
    ways += [scipy.ndimage.correlate(x, taps[::-1, ::-1], mode="wrap"), bare]
    for way in ways:
        np.testing.assert_allclose(way, tiled, rtol=0, atol=1e-12)
    assert np.abs(corner - tiled).max() > 1.0
    np.testing.assert_allclose(convtool.convolve(x, taps, origin="first"), corner, rtol=0, atol=1e-12)


# Dtypes --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kernel_dtype", ["float32", "float64", "int64", "uint8"])
@pytest.mark.parametrize("dtype", COMPUTED, ids=str)
def test_the_image_decides_the_dtype(dtype: np.dtype, kernel_dtype: str, engine: str) -> None:
    x, taps = sample((6, 9), 1, str(dtype)), np.array([[1, 2], [4, 3]], kernel_dtype)
    expected = scipy.ndimage.convolve(x.astype(float), taps.astype(float), mode="wrap")
    for precision, computed in [("auto", COMPUTED[dtype]), ("single", np.float32), ("double", np.float64)]:
        y = convtool.convolve(x, taps, engine=engine, precision=precision)
        assert y.dtype == computed
        allowed = tolerance(x, taps[None], reach(x.shape, taps.shape), y.dtype)
        np.testing.assert_allclose(y, expected, rtol=0, atol=allowed)


@pytest.mark.parametrize("dtype", ["f4", "f8", "i2", "u4"])
def test_other_byte_orders_are_read(dtype: str) -> None:
    """FITS files are big-endian."""
    x, taps = sample((6, 9), 1, dtype), sample((3, 2), 2, "float32")
    y = convtool.convolve(x.astype(f">{dtype}"), taps.astype(">f4"))
    assert y.dtype == COMPUTED[np.dtype(dtype)]
    assert y.dtype.isnative
    np.testing.assert_array_equal(y, convtool.convolve(x, taps))


def test_large_finite_numbers_are_not_taken_for_infinite_ones() -> None:
    x = np.full((4, 5), 1e308)
    np.testing.assert_allclose(convtool.convolve(x, np.array([[0.25, 0.5]]), engine="direct"), 0.75e308)
    x = np.full((4, 5), 3e38, np.float32)
    np.testing.assert_allclose(convtool.convolve(x, np.array([[0.25, 0.5]]), engine="direct"), 2.25e38, rtol=1e-6)


# Axes ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_the_order_of_axes_does_not_matter(engine: str) -> None:
    x = sample((2, 3, 5, 6, 7), 1)
    taps = sample((4, 3, 2, 3, 2), 2)
    expected = convtool.convolve(x, taps, engine=engine)
    for order in itertools.permutations(range(5)):
        axes = "".join("NCZYX"[a] for a in order)
        y = convtool.convolve(x.transpose(order), taps, axes=axes, engine=engine)
        np.testing.assert_allclose(y, expected.transpose(order), rtol=0, atol=1e-12, err_msg=axes)


def test_the_order_of_kernel_axes_does_not_matter() -> None:
    x, taps = sample((3, 8, 9), 1), sample((2, 3, 4, 3), 2)
    expected = convtool.correlate(x, taps, stride=(1, 2), dilation=(2, 1), origin=(0, 2), padding=((1, 0), (2, 3)))
    for order in itertools.permutations(range(4)):
        axes = "".join("OIYX"[a] for a in order)
        y = convtool.correlate(
            x,
            taps.transpose(order),
            kernel_axes=axes,
            stride=(1, 2),
            dilation=(2, 1),
            origin=(0, 2),
            padding=((1, 0), (2, 3)),
        )
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-12, err_msg=axes)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_line_acts_along_one_axis(engine: str) -> None:
    x, line = sample((4, 8, 9), 1), sample((4,), 2)
    for letter, axis in [("Y", 1), ("X", 2)]:
        y = convtool.convolve(x, line, axes="CYX", kernel_axes=letter, boundary="edge", engine=engine)
        expected = scipy.ndimage.convolve1d(x, line, axis=axis, mode="nearest")
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-13)


def test_yxc_is_cyx_transposed() -> None:
    x, taps = sample((8, 9, 3), 1), sample((3, 4), 2)
    y = convtool.convolve(x, taps, axes="YXC")
    for c in range(3):
        np.testing.assert_allclose(y[..., c], scipy.ndimage.convolve(x[..., c], taps, mode="wrap"), atol=1e-13)
    np.testing.assert_allclose(convtool.convolve(x.transpose(2, 0, 1), taps), y.transpose(2, 0, 1), atol=1e-13)


def test_a_flat_kernel_acts_slice_by_slice() -> None:
    x, taps = sample((4, 8, 9), 1), sample((3, 4), 2)
    y = convtool.convolve(x, taps, axes="ZYX", boundary="reflect", stride=2)
    assert y.shape == (4, 4, 5)
    for z in range(4):
        np.testing.assert_allclose(y[z], convtool.convolve(x[z], taps, boundary="reflect", stride=2), atol=1e-13)


def test_a_rank_three_kernel_is_zyx_on_stacks_and_one_a_channel_elsewhere() -> None:
    x, taps = sample((2, 3, 6, 7), 1), sample((3, 2, 4), 2)
    y = convtool.convolve(x, taps)
    for n, c in np.ndindex(2, 3):
        np.testing.assert_allclose(y[n, c], scipy.ndimage.convolve(x[n, c], taps[c], mode="wrap"), atol=1e-13)
    z = convtool.convolve(x, taps, axes="CZYX")
    for c in range(2):
        np.testing.assert_allclose(z[c], scipy.ndimage.convolve(x[c], taps, mode="wrap"), atol=1e-13)


def test_several_output_channels_of_a_grey_image() -> None:
    x, taps = sample((6, 7), 1), sample((3, 1, 2, 3), 2)
    y = convtool.convolve(x, taps)
    assert y.shape == (3, 6, 7)
    for o in range(3):
        np.testing.assert_allclose(y[o], scipy.ndimage.convolve(x, taps[o, 0], mode="wrap"), atol=1e-13)
    one = convtool.convolve(x, taps[:1])
    assert one.shape == (6, 7)
    np.testing.assert_allclose(one, y[0], atol=1e-13)


def test_channels_that_become_one_keep_their_axis() -> None:
    x, taps = sample((6, 7, 3), 1), sample((1, 3, 2, 3), 2)
    y = convtool.convolve(x, taps, axes="YXC")
    assert y.shape == (6, 7, 1)
    expected = sum(scipy.ndimage.convolve(x[..., c], taps[0, c], mode="wrap") for c in range(3))
    np.testing.assert_allclose(y[..., 0], expected, atol=1e-12)


def test_bias_is_added_to_each_output_channel() -> None:
    x, taps, bias = sample((2, 3, 6, 7), 1), sample((4, 3, 3, 3), 2), np.array([1.0, -2.0, 0.5, 10.0])
    y = convtool.convolve(x, taps, bias=bias, padding=1, boundary="zero")
    plain = convtool.convolve(x, taps, padding=1, boundary="zero")
    np.testing.assert_allclose(y - plain, np.broadcast_to(bias[:, None, None], y.shape), atol=1e-12)
    with pytest.raises(ConvtoolError, match="bias"):
        convtool.convolve(x, taps, bias=bias[:3])
    with pytest.raises(ConvtoolError, match="bias"):
        convtool.convolve(x, taps, bias=[1.0, 2.0, np.nan, 3.0])


# Memory --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("boundary", oracles.BOUNDARIES)
def test_strides_of_memory_do_not_matter(boundary: str, engine: str) -> None:
    x, taps = sample((12, 14), 1), sample((4, 3), 2)
    views = [x[::-1, ::-2], x[::3, 1:], x.T, np.asfortranarray(x), np.broadcast_to(x[0], (5, 14))]
    for view in views:
        kernel = taps[::-1].T
        y = convtool.convolve(view, kernel, boundary=boundary, engine=engine)
        expected = convtool.convolve(view.copy(order="C"), kernel.copy(order="C"), boundary=boundary, engine=engine)
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("padding", ["same", "valid", "full", 0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sizes", [(3, 4), (1, 1)])
def test_inputs_are_left_alone(sizes: tuple[int, int], dtype: str, padding: str | int, engine: str) -> None:
    """Read-only inputs stay as they were, and the result is the caller's own: writing to it reaches neither of them."""
    x, taps = sample((8, 9), 1, dtype), sample(sizes, 2, dtype)
    before, kernel = x.copy(), taps.copy()
    x.setflags(write=False)
    taps.setflags(write=False)
    for verb in VERBS.values():
        y = verb(x, taps, padding=padding, engine=engine)
        assert y.flags.writeable
        assert not np.shares_memory(y, x)
        again = verb(x, taps, padding=padding, engine=engine)
        first = y.copy()
        y[...] = 7
        np.testing.assert_array_equal(again, first)
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(taps, kernel)


# Refusals ------------------------------------------------------------------------------------------------------------

GREY, RGB, BOX = np.ones((8, 9)), np.ones((3, 8, 9)), np.ones((3, 3))


def _with(a: np.ndarray, value: float) -> np.ndarray:
    """A copy with one bad value in it."""
    a = a.copy()
    a.flat[-1] = value
    return a


@pytest.mark.parametrize(
    ("x", "kernel", "how", "words"),
    [
        (RGB, np.ones((8, 2, 5, 5)), {}, "channel"),
        (GREY, np.ones((8, 3, 5, 5)), {}, "channel"),
        (RGB, np.ones((2, 3, 3)), {}, "channel"),
        (RGB, np.ones((4, 1, 3, 3)), {"groups": 3}, "groups"),
        (RGB, np.ones((3, 1, 3, 3)), {"groups": 0}, "groups"),
        (np.ones((8, 9, 3)), BOX, {}, "YXC or CYX"),
        (np.ones((8, 9, 4)), BOX, {}, "YXC or CYX"),
        (GREY, BOX, {"axes": "YQ"}, "Q"),
        (GREY, BOX, {"axes": "YY"}, "YY"),
        (GREY, BOX, {"axes": "YXC"}, "YXC"),
        (GREY, BOX, {"axes": ""}, "axes"),
        (GREY, BOX, {"kernel_axes": "YQ"}, "Q"),
        (GREY, BOX, {"kernel_axes": "ZYX"}, "ZYX"),
        (GREY, BOX, {"kernel_axes": "ZY"}, "Z"),
        (np.float64(3.0), BOX, {}, "rank|dimension|axes"),
        (np.ones((2,) * 6), BOX, {}, "rank|dimension|axes"),
        (np.ones((0, 9)), BOX, {}, "empty"),
        (GREY, np.ones((0, 3)), {}, "empty"),
        (_with(GREY, np.nan), BOX, {}, "NaN"),
        (_with(GREY, np.inf), BOX, {}, "inf"),
        (GREY, _with(BOX, np.nan), {}, "kernel"),
        (GREY, _with(BOX, -np.inf), {}, "kernel"),
        (GREY + 1j, BOX, {}, "complex"),
        (GREY, BOX + 1j, {}, "complex"),
        (GREY.astype(object), BOX, {}, "object"),
        (GREY, BOX.astype(object), {}, "object"),
        (np.full((3, 3), "a"), BOX, {}, "dtype|<U1|str"),
        (GREY, BOX, {"padding": -1}, "padding"),
        (GREY, BOX, {"padding": (1, -1)}, "padding"),
        (GREY, BOX, {"padding": ((1, 2), (0, -3))}, "padding"),
        (GREY, BOX, {"padding": (1, 2, 3)}, "padding"),
        (GREY, BOX, {"padding": "some"}, "same, valid"),
        (GREY, BOX, {"padding": 1.5}, "padding"),
        (GREY, BOX, {"stride": 0}, "stride"),
        (GREY, BOX, {"stride": -2}, "stride"),
        (GREY, BOX, {"stride": (1, 2, 3)}, "stride"),
        (GREY, BOX, {"stride": 1.5}, "stride"),
        (GREY, BOX, {"dilation": 0}, "dilation"),
        (GREY, BOX, {"dilation": (1, -1)}, "dilation"),
        (GREY, BOX, {"boundary": "wrap"}, "periodic"),
        (GREY, BOX, {"engine": "gpu"}, "direct"),
        (GREY, BOX, {"precision": "half"}, "single"),
        (GREY, BOX, {"origin": "corner"}, "center"),
        (GREY, BOX, {"origin": (0, 3)}, "origin"),
        (GREY, BOX, {"origin": (0, -1)}, "origin"),
        (GREY, BOX, {"origin": (0,)}, "origin"),
        (GREY, BOX, {"origin": (0.5, 1)}, "origin"),
        (GREY, BOX, {"origin": 1}, "origin"),
        (GREY, BOX, {"stride": "two"}, "stride"),
        (GREY, BOX, {"stride": (1, None)}, "stride"),
        (GREY, BOX, {"dilation": 2.5}, "dilation"),
        (GREY, BOX, {"padding": None}, "padding"),
        (GREY, BOX, {"padding": (1, "a")}, "padding"),
        (GREY, BOX, {"padding": ((1, 2, 3), (1, 2, 3))}, "padding"),
        (GREY, np.ones((9, 3)), {"padding": "valid"}, "no output"),
        (GREY, BOX, {"padding": "valid", "dilation": 4}, "no output"),
        (GREY, np.ones((13, 3)), {"padding": 2}, "no output"),
    ],
)
def test_a_mistake_gets_one_line_that_names_it(x: Any, kernel: np.ndarray, how: dict[str, Any], words: str) -> None:
    for verb in VERBS.values():
        with pytest.raises(ConvtoolError, match=words) as caught:
            verb(x, kernel, **how)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("where", [0, 5000, -1])
def test_values_that_are_no_numbers_are_counted_and_located(where: int, dtype: str, bad: float) -> None:
    x = np.ones((5, 300, 7), dtype)
    x.flat[where] = bad
    with pytest.raises(ConvtoolError, match=r"\b1\b.*NaN") as caught:
        convtool.convolve(x, BOX)
    assert str(tuple(int(i) for i in np.unravel_index(where % x.size, x.shape))) in str(caught.value)
    x.flat[where - 1] = -bad  # infinities of both signs, whose sum is not infinite
    with pytest.raises(ConvtoolError, match=r"\b2\b.*NaN"):
        convtool.convolve(x, BOX)
