"""The deconvolution methods: a battery that every one must pass, and each of the direct ones against dense algebra."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import oracles
import pytest
import scipy.ndimage
import skimage.data

import convtool
from convtool import deconvolution
from convtool.deconvolution import pinv, tikhonov, wiener
from convtool.errors import ConvtoolError
from convtool.solution import Solution

METHODS = deconvolution.methods.names()

# Asymmetric, its sum is not 1, and invertible on every grid: the middle tap outweighs the others, so |H| >= 0.38.
KERNEL = np.array([[0.05, 0.10, 0.00], [0.10, 1.00, 0.30], [0.00, 0.05, 0.02]])

# How well a method recovers a smooth picture from noise-free float64 data. The pseudo-inverse is exact. Tikhonov and
# Wiener choose for themselves how much noise there is, and find only rounding: their error is that of the smallest
# weight that rounding allows. (A photograph would not do: its texture cannot be told from noise. The dense score of
# cross-validation itself prefers a weight of 0.003 to none, and loses 3 %.) Iterative methods may stop early: 2 %.
RECOVERS = {"pinv": 1e-12, "tikhonov": 1e-3, "wiener": 1e-3, "least-squares": 1e-9}


@functools.cache
def picture() -> np.ndarray:
    """Six smooth blobs on a background, 0..1."""
    rng = np.random.default_rng(8)
    spots = np.zeros((36, 45))
    spots[rng.integers(0, 36, 6), rng.integers(0, 45, 6)] = rng.uniform(2.0, 8.0, 6)
    return 0.05 + scipy.ndimage.gaussian_filter(spots, 1.2, mode="wrap", truncate=8)


@functools.cache
def camera(rows: int = 36, columns: int = 45, top: int = 80, left: int = 190) -> np.ndarray:
    """A piece of a real photograph, 0..1."""
    return skimage.data.camera()[top : top + rows, left : left + columns] / 255.0


def blurred(x: np.ndarray, kernel: np.ndarray, operation: str = "convolve", origin: Any = "center") -> np.ndarray:
    """The noise-free data for a canonical image [c, *spatial] and canonical taps, by the definition."""
    return oracles.apply_loop(operation, x[None], kernel, origin=origin)[0]


def periodic(y: np.ndarray, kernel: np.ndarray, **how: Any) -> Solution:
    """The solution for data that are periodic; small or white ones do not tell that of themselves."""
    return convtool.deconvolve(y, kernel, boundary="periodic", **how)


def relative(x: np.ndarray, reference: np.ndarray) -> float:
    """‖x − reference‖ / ‖reference‖."""
    return float(np.linalg.norm(x - reference) / np.linalg.norm(reference))


def psnr(x: np.ndarray, reference: np.ndarray, peak: float = 255.0) -> float:
    """Peak signal-to-noise ratio in dB."""
    return float(10 * np.log10(peak**2 / np.mean((x - reference) ** 2)))


# The battery: every method, unasked --------------------------------------------------------------------------------


@functools.cache
def clean_data() -> np.ndarray:
    """The picture convolved with KERNEL, free of noise."""
    y = scipy.ndimage.convolve(picture(), KERNEL, mode="wrap")
    y.setflags(write=False)
    return y


@pytest.mark.parametrize("method", METHODS)
def test_every_method_recovers_a_known_answer(method: str) -> None:
    solution = periodic(clean_data(), KERNEL, method=method)
    assert solution.x.shape == picture().shape
    assert relative(solution.x, picture()) < RECOVERS.get(method, 0.02)
    assert relative(clean_data() / KERNEL.sum(), picture()) > 0.05  # the data are not the answer already


@pytest.mark.parametrize("method", METHODS)
def test_every_method_divides_a_constant_by_the_kernels_sum(method: str) -> None:
    for dtype, allowed in [("float64", 1e-9), ("float32", 2e-5)]:
        x = convtool.deconvolve(np.full((14, 9), 3.0, dtype), KERNEL, method=method).x
        np.testing.assert_allclose(x, 3.0 / KERNEL.sum(), rtol=allowed)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_scales_with_the_data(method: str) -> None:
    y = clean_data() + np.random.default_rng(5).normal(0, 0.01, clean_data().shape)
    once = convtool.deconvolve(y, KERNEL, method=method).x
    for a in (1e-6, 1e-3, 7.0, 1e6):
        assert relative(convtool.deconvolve(a * y, KERNEL, method=method).x, a * once) < 1e-6
        single = convtool.deconvolve((a * y).astype(np.float32), KERNEL, method=method).x
        assert relative(single, a * once) < 1e-3


@pytest.mark.parametrize("method", METHODS)
def test_every_method_keeps_the_dtype(method: str) -> None:
    y = clean_data()
    for dtype, computed in [("float32", "float32"), ("float64", "float64"), ("uint8", "float32"), ("int32", "float64")]:
        x = convtool.deconvolve((200 * y).astype(dtype), KERNEL, method=method).x
        assert x.dtype == computed
        assert np.isfinite(x).all()
    assert convtool.deconvolve(y, KERNEL, method=method, precision="single").x.dtype == np.float32
    assert convtool.deconvolve(y.astype("f4"), KERNEL, method=method, precision="double").x.dtype == np.float64


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_every_method_refuses_what_is_not_a_number(method: str, bad: float) -> None:
    y, kernel = clean_data().copy(), KERNEL.copy()
    y[3, 4] = kernel[0, 0] = bad
    with pytest.raises(ConvtoolError, match=r"NaN|inf"):
        convtool.deconvolve(y, KERNEL, method=method)
    with pytest.raises(ConvtoolError, match="kernel"):
        convtool.deconvolve(clean_data(), kernel, method=method)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_refuses_a_kernel_of_zeros(method: str) -> None:
    for y in (clean_data(), np.zeros((6, 5))):
        with pytest.raises(ConvtoolError, match="kernel"):
            convtool.deconvolve(y, np.zeros((3, 3)), method=method)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_says_why_it_stopped_and_repeats_itself(method: str) -> None:
    y = clean_data()  # read-only: nobody may write into it
    first, second = (convtool.deconvolve(y, KERNEL, method=method) for _ in range(2))
    assert isinstance(first.stop, str)
    assert first.stop.strip()
    assert isinstance(first.metrics, dict)
    assert first.metrics.keys() == second.metrics.keys()
    np.testing.assert_array_equal(first.x, second.x)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_takes_its_options_and_batches(method: str) -> None:
    y = clean_data()
    expected = convtool.deconvolve(y, KERNEL, method=method).x
    options = deconvolution.methods.load(method).Options()
    np.testing.assert_array_equal(convtool.deconvolve(y, KERNEL, method=options).x, expected)
    batch = convtool.deconvolve(np.stack([y, y]), KERNEL, method=method, axes="NYX").x
    for x in batch:
        assert relative(x, expected) < 1e-6


@pytest.mark.parametrize("method", METHODS)
def test_every_method_survives_a_single_pixel_and_data_of_zeros(method: str) -> None:
    np.testing.assert_allclose(convtool.deconvolve(np.full((1, 1), 2.0), KERNEL, method=method).x, 2 / KERNEL.sum())
    np.testing.assert_array_equal(convtool.deconvolve(np.zeros((6, 5)), KERNEL, method=method).x, np.zeros((6, 5)))


def test_an_unknown_method_is_refused_with_the_names() -> None:
    with pytest.raises(ConvtoolError, match=r"pinv.*tikhonov.*wiener"):
        convtool.deconvolve(clean_data(), KERNEL, method="magic")
    for method in (3, None, tikhonov.Options, tikhonov):
        with pytest.raises(ConvtoolError, match="method"):
            convtool.deconvolve(clean_data(), KERNEL, method=method)


def test_an_unknown_operation_is_refused() -> None:
    with pytest.raises(ConvtoolError, match="convolve or correlate"):
        convtool.deconvolve(clean_data(), KERNEL, operation="multiply")


def test_pinv_needs_the_periodic_boundary() -> None:
    for boundary in set(oracles.BOUNDARIES) - {"periodic"}:
        with pytest.raises(
            ConvtoolError, match=rf"boundary periodic, .* got boundary {boundary}: use .* least-squares"
        ):
            convtool.deconvolve(clean_data(), KERNEL, method="pinv", boundary=boundary)
    rest: list[tuple[dict[str, Any], str]] = [
        ({"padding": "valid"}, "outputs of 36x45 for an image of 38x47"),
        ({"padding": "full"}, "outputs of 36x45 for an image of 34x43"),
        ({"stride": (1, 2), "shape": (36, 90)}, "stride 1,2"),
    ]
    for how, got in rest:
        with pytest.raises(ConvtoolError, match=f"got {got}: use --method least-squares"):
            convtool.deconvolve(clean_data(), KERNEL, method="pinv", **how)


@pytest.mark.parametrize("boundary", sorted(set(oracles.BOUNDARIES) - {"periodic"}))
def test_least_squares_passes_the_battery_at_every_boundary(boundary: str) -> None:
    """What the battery asks of methods with the periodic boundary; the picture recovered, constants, scales, zeros."""
    how: dict[str, Any] = {"method": "least-squares", "boundary": boundary}
    y = convtool.convolve(picture(), KERNEL, boundary=boundary)
    x = convtool.deconvolve(y, KERNEL, **how).x
    assert relative(x, picture()) < RECOVERS["least-squares"]
    for dtype, allowed in [("float64", 1e-9), ("float32", 2e-5)]:
        constant = np.full((14, 9), 3.0, dtype)
        found = convtool.deconvolve(convtool.convolve(constant, KERNEL, boundary=boundary), KERNEL, **how).x
        np.testing.assert_allclose(found, 3.0, rtol=allowed)
    if boundary != "zero":
        found = convtool.deconvolve(np.full((14, 9), 3.0), KERNEL, **how).x
        np.testing.assert_allclose(found, 3.0 / KERNEL.sum(), rtol=1e-9)
    for a in (1e-6, 7.0, 1e6):
        assert relative(convtool.deconvolve(a * y, KERNEL, **how).x, a * x) < 1e-6
    np.testing.assert_array_equal(convtool.deconvolve(0 * y, KERNEL, **how).x, 0 * x)
    assert relative(convtool.deconvolve(np.stack([y, y]), KERNEL, axes="NYX", **how).x[1], x) < 1e-9


# The pseudo-inverse --------------------------------------------------------------------------------------------------


def mixing(outputs: int, inputs: int, sizes: tuple[int, ...], seed: int = 7) -> np.ndarray:
    """Channel-mixing taps around the identity: invertible when outputs = inputs."""
    taps = 0.3 * np.random.default_rng(seed).normal(0, 1 / (inputs * np.prod(sizes)), (outputs, inputs, *sizes))
    for c in range(min(outputs, inputs)):
        taps[(c, c, *(size // 2 for size in sizes))] += 1.0
    return taps


def test_pinv_is_exact_for_grey() -> None:
    y = scipy.ndimage.convolve(camera(), KERNEL, mode="wrap")
    assert relative(convtool.deconvolve(y, KERNEL, method="pinv").x, camera()) < 1e-12


@pytest.mark.parametrize("operation", ["convolve", "correlate"])
@pytest.mark.parametrize("origin", ["center", "first", "last", (2, 0)])
@pytest.mark.parametrize("sizes", [(3, 3), (4, 2)])
def test_pinv_undoes_either_operation_from_any_origin(operation: str, origin: Any, sizes: tuple[int, int]) -> None:
    taps = mixing(1, 1, sizes)[0, 0]
    y = blurred(camera(13, 18)[None], taps[None, None], operation, origin)[0]
    x = convtool.deconvolve(y, taps, method="pinv", operation=operation, origin=origin).x
    assert relative(x, camera(13, 18)) < 1e-12
    if origin != "center":
        assert relative(convtool.deconvolve(y, taps, method="pinv", operation=operation).x, camera(13, 18)) > 0.1


def test_pinv_is_exact_for_colour_that_the_kernel_mixes() -> None:
    x = np.stack([camera(15, 22, left=left) for left in (100, 190, 300)])
    taps = mixing(3, 3, (3, 3))
    y = blurred(x, taps)
    assert relative(convtool.deconvolve(y, taps, method="pinv").x, x) < 1e-12
    last = convtool.deconvolve(y.transpose(1, 2, 0), taps, method="pinv", axes="YXC").x
    assert relative(last, x.transpose(1, 2, 0)) < 1e-12


def test_pinv_is_exact_for_a_stack() -> None:
    x = np.random.default_rng(1).random((5, 8, 9))
    taps = mixing(1, 1, (2, 3, 4))
    y = blurred(x[None], taps)[0]
    assert relative(convtool.deconvolve(y, taps[0, 0], method="pinv", axes="ZYX").x, x) < 1e-12
    colour = np.random.default_rng(2).random((2, 4, 5, 6))
    taps = mixing(2, 2, (2, 3, 2))
    solution = convtool.deconvolve(blurred(colour, taps), taps, method="pinv", axes="CZYX")
    assert relative(solution.x, colour) < 1e-12


def test_pinv_is_exact_for_batches_of_feature_maps() -> None:
    x = np.random.default_rng(1).random((3, 8, 32, 27))
    taps = mixing(8, 8, (3, 3))
    y = convtool.convolve(x, taps, engine="direct")
    assert relative(convtool.deconvolve(y, taps, method="pinv").x, x) < 1e-12
    single = convtool.deconvolve(y.astype(np.float32), taps, method="pinv").x
    assert single.dtype == np.float32
    assert relative(single, x) < 1e-5


def test_pinv_takes_one_kernel_a_channel() -> None:
    x = np.stack([camera(15, 22), camera(15, 22, left=300)])
    taps = np.stack([mixing(1, 1, (3, 4), seed)[0, 0] for seed in (1, 2)])
    y = np.stack([blurred(x[c : c + 1], taps[c][None, None])[0] for c in range(2)])
    assert relative(convtool.deconvolve(y, taps, method="pinv").x, x) < 1e-12


def test_pinv_takes_groups() -> None:
    x = np.random.default_rng(1).random((2, 4, 7, 8))
    taps = np.concatenate([mixing(2, 2, (3, 2), seed) for seed in (1, 2)])
    y = oracles.convolve_loop(x, taps, groups=2)
    assert relative(convtool.deconvolve(y, taps, method="pinv", groups=2).x, x) < 1e-12


def test_pinv_of_a_box_has_the_least_norm() -> None:
    """5×5 divides 20×25: whole rows and columns of frequencies are lost, and their rounding must not come back."""
    box, rng = np.full((5, 5), 0.04), np.random.default_rng(3)
    a = oracles.matrix(box[None, None], (1, 20, 25))
    inverse = np.linalg.pinv(a, rcond=1e3 * np.finfo(float).eps)
    y = a @ rng.random(500)
    for data in (y, rng.random(500)):  # in the range of A, and not
        solution = convtool.deconvolve(data.reshape(20, 25), box, method="pinv").x
        assert relative(solution.ravel(), inverse @ data) < 1e-10
    single = convtool.deconvolve(y.reshape(20, 25).astype("f4"), box, method="pinv").x
    assert relative(single.ravel(), inverse @ y) < 1e-4


def deficient(outputs: int, inputs: int) -> np.ndarray:
    """Taps whose channel matrix loses rank at some frequencies only: a box and a mild blur, mixed."""
    rng = np.random.default_rng(outputs * 10 + inputs)
    box, mild = np.full((3, 5), 1 / 15), np.zeros((3, 5))
    mild[0, 1:4] = 0.2, 1.0, 0.3
    split = rng.normal(size=(outputs, inputs))
    lost = np.outer(rng.normal(size=outputs), rng.normal(size=inputs))
    return split[:, :, None, None] * box + lost[:, :, None, None] * mild


@pytest.mark.parametrize(("outputs", "inputs"), [(1, 1), (2, 2), (3, 3), (2, 3), (3, 2), (1, 3), (4, 1)])
@pytest.mark.parametrize("operation", ["convolve", "correlate"])
def test_pinv_is_the_pinv_of_the_matrix(operation: str, outputs: int, inputs: int) -> None:
    taps = deficient(outputs, inputs)
    a = oracles.matrix(taps, (inputs, 6, 10), operation=operation)
    if min(outputs, inputs) > 1:
        assert np.linalg.matrix_rank(a, tol=1e-9) < min(a.shape)  # a check that the kernel is what the name says
    y = np.random.default_rng(4).random((outputs, 6, 10))
    x = convtool.deconvolve(y, taps, method="pinv", operation=operation, axes="CYX").x
    assert x.shape == (inputs, 6, 10)
    expected = oracles.pinv_solution(a, y.ravel(), 1e3 * np.finfo(float).eps)
    assert relative(x.ravel(), expected) < 1e-9


@pytest.mark.parametrize("rcond", [None, 0.02, 0.05, 0.3])
@pytest.mark.parametrize("channels", [1, 2])
def test_pinv_cuts_relative_to_the_largest_singular_value_of_all(channels: int, rcond: float | None) -> None:
    """A blur that mixes channels: whole frequencies are small, or lost, where a cutoff a matrix would drop none."""
    split = np.array([[1.0, 0.3], [-0.2, 0.8]])[:channels, :channels]
    taps = split[:, :, None, None] * np.outer(np.full(5, 0.2), [0.3, 0.9, 0.7, 0.1])  # 4 of 10 rows are lost
    a = oracles.matrix(taps, (channels, 10, 7))
    values, cutoff = np.linalg.svd(a, compute_uv=False), 1e3 * np.finfo(float).eps if rcond is None else rcond
    assert np.sum(values <= cutoff * values[0]) >= 4 * 7 * channels
    assert np.abs(np.log(values[values > 1e-14] / (cutoff * values[0]))).min() > 1e-6  # rounding does not decide
    y = np.random.default_rng(4).random((channels, 10, 7))
    x = convtool.deconvolve(y, taps, method=pinv.Options(rcond)).x
    assert relative(x.ravel(), oracles.pinv_solution(a, y.ravel(), cutoff)) < 1e-10


@pytest.mark.parametrize("rcond", [-0.1, 1.0, 1.5, np.nan])
def test_pinv_refuses_a_senseless_cutoff(rcond: float) -> None:
    with pytest.raises(ConvtoolError, match="rcond"):
        convtool.deconvolve(clean_data(), KERNEL, method=pinv.Options(rcond=rcond))


# Tikhonov ------------------------------------------------------------------------------------------------------------

PENALTIES: dict[str, Callable[[tuple[int, ...]], np.ndarray]] = {
    "laplacian": oracles.laplacian_matrix,
    "gradient": oracles.gradient_matrix,
    "identity": lambda shape: np.eye(int(np.prod(shape))),
}


@pytest.mark.parametrize("weight", [1e-6, 0.01, 30.0])
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize(("outputs", "inputs"), [(1, 1), (3, 3), (2, 3), (3, 2)])
def test_tikhonov_is_the_dense_minimiser(outputs: int, inputs: int, penalty: str, weight: float) -> None:
    taps, frame = deficient(outputs, inputs), (6, 10)
    a = oracles.matrix(taps, (inputs, *frame))
    dense = np.kron(np.eye(inputs), PENALTIES[penalty](frame))
    y = np.random.default_rng(4).random((outputs, *frame))
    x = periodic(y, taps, method=tikhonov.Options(weight=weight, penalty=penalty), axes="CYX").x
    assert relative(x.ravel(), oracles.tikhonov_solution(a, dense, y.ravel(), weight)) < 1e-7


@pytest.mark.parametrize("penalty", PENALTIES)
def test_tikhonov_on_a_stack_penalises_all_three_axes(penalty: str) -> None:
    frame, taps = (3, 4, 5), mixing(1, 1, (2, 3, 2))
    y = np.random.default_rng(4).random(frame)
    options = tikhonov.Options(weight=0.2, penalty=penalty)
    x = periodic(y, taps[0, 0], method=options, axes="ZYX").x
    a = oracles.matrix(taps, (1, *frame))
    assert relative(x.ravel(), oracles.tikhonov_solution(a, PENALTIES[penalty](frame), y.ravel(), 0.2)) < 1e-10


@pytest.mark.parametrize("operation", ["convolve", "correlate"])
def test_tikhonov_on_a_flat_kernel_works_slice_by_slice(operation: str) -> None:
    y, options = np.random.default_rng(4).random((3, 7, 8)), tikhonov.Options(weight=0.1)
    taps = mixing(1, 1, (3, 2))[0, 0]
    whole = periodic(y, taps, method=options, axes="ZYX", operation=operation, origin="first").x
    for one, data in zip(whole, y, strict=True):
        slice_ = periodic(data, taps, method=options, operation=operation, origin="first").x
        np.testing.assert_allclose(one, slice_, atol=1e-12)


def block_diagonal(blocks: list[np.ndarray]) -> np.ndarray:
    """Taps [o, i, *k] of an operator whose channel groups [o', i', *k] do not mix."""
    outputs, inputs = sum(len(block) for block in blocks), sum(block.shape[1] for block in blocks)
    taps, o, i = np.zeros((outputs, inputs, *blocks[0].shape[2:])), 0, 0
    for block in blocks:
        taps[o : o + len(block), i : i + block.shape[1]] = block
        o, i = o + len(block), i + block.shape[1]
    return taps


def blurring(outputs: int, inputs: int, seed: int = 3) -> np.ndarray:
    """Channel-mixing taps that attenuate the high frequencies, but destroy none."""
    return mixing(outputs, inputs, (3, 4), seed) + 0.1 * np.eye(outputs, inputs)[:, :, None, None]


# Name: the kernel as it is given, and the same as taps [o, i, *k].
LAYERS: dict[str, tuple[np.ndarray, np.ndarray]] = {
    "grey": (blurring(1, 1)[0, 0], blurring(1, 1)),
    "one for all channels": (blurring(1, 1)[0, 0], block_diagonal([blurring(1, 1)] * 2)),
    "one a channel": (
        np.concatenate([blurring(1, 1)[0], 0.5 * blurring(1, 1, 5)[0]]),
        block_diagonal([blurring(1, 1), 0.5 * blurring(1, 1, 5)]),
    ),
    "mixing": (blurring(2, 2), blurring(2, 2)),
    "more data": (blurring(3, 2), blurring(3, 2)),
    "fewer data": (blurring(1, 2), blurring(1, 2)),
}


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("layer", LAYERS)
def test_the_chosen_weight_minimises_the_dense_score(layer: str, penalty: str) -> None:
    (given, taps), frame, rng = LAYERS[layer], (11, 12), np.random.default_rng(6)
    x = np.stack([camera(*frame, left=left) for left in (190, 300)])[: taps.shape[1]]
    if penalty == "identity":  # its prior is a white image; with a smooth one the score falls towards no weight at all
        x = rng.normal(0, 0.2, x.shape)
    y = blurred(x, taps) + rng.normal(0, 0.05, (len(taps), *frame))
    options = tikhonov.Options(penalty=penalty)  # type: ignore[arg-type]
    solution = periodic(y, given, method=options, axes="CYX")
    a, dense = oracles.matrix(taps, x.shape), np.kron(np.eye(len(x)), PENALTIES[penalty](frame))
    scores = {w: oracles.gcv_score(a, dense, y.ravel(), w) for w in np.geomspace(1e-5, 1e3, 25)}
    best = min(scores, key=lambda w: scores[w])
    assert 1e-5 < best < 1e3  # a minimum inside the grid, or the comparison says nothing
    chosen = solution.metrics["weight"]
    assert best / 2.2 < chosen < best * 2.2  # neighbours on the grid
    assert oracles.gcv_score(a, dense, y.ravel(), chosen) <= scores[best] * (1 + 1e-6)
    same = periodic(y, given, method=tikhonov.Options(chosen, penalty), axes="CYX")  # type: ignore[arg-type]
    np.testing.assert_allclose(solution.x, same.x, rtol=1e-9, atol=1e-12)


def test_tikhonov_without_weight_is_the_pseudo_inverse() -> None:
    for outputs, inputs in [(1, 1), (2, 3), (3, 2)]:
        taps, y = deficient(outputs, inputs), np.random.default_rng(4).random((outputs, 6, 10))
        none = periodic(y, taps, method=tikhonov.Options(weight=0.0), axes="CYX").x
        assert relative(none, periodic(y, taps, method="pinv", axes="CYX").x) < 1e-9


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_method_scales_with_the_kernel(dtype: str, method: str) -> None:
    y = (clean_data() + np.random.default_rng(5).normal(0, 0.01, clean_data().shape)).astype(dtype)
    once = periodic(y, KERNEL, method=method).x
    for a in (1e-6, 1e6):
        scaled = periodic(y, a * KERNEL, method=method).x
        assert relative(scaled, once / a) < 1e-3  # a weight is searched for, from another end


@pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf])
def test_tikhonov_refuses_a_senseless_weight(weight: float) -> None:
    with pytest.raises(ConvtoolError, match="weight"):
        periodic(clean_data(), KERNEL, method=tikhonov.Options(weight=weight))


def test_tikhonov_refuses_an_unknown_penalty() -> None:
    with pytest.raises(ConvtoolError, match="laplacian"):
        periodic(clean_data(), KERNEL, method=tikhonov.Options(penalty="tv"))  # type: ignore[arg-type]


# Wiener --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [1e-4, 0.01, 2.0])
def test_wiener_is_its_formula_with_the_mean_restored(ratio: float) -> None:
    frame = (7, 10)
    y = np.random.default_rng(4).random(frame)
    padded = np.zeros(frame)
    padded[:3, :3] = KERNEL
    H, Y = np.fft.fft2(np.roll(padded, (-1, -1), (0, 1))), np.fft.fft2(y)
    X = H.conj() * Y / (np.abs(H) ** 2 + ratio)
    X[0, 0] = Y[0, 0] / H[0, 0]
    x = periodic(y, KERNEL, method=wiener.Options(noise_to_signal=ratio)).x
    np.testing.assert_allclose(x, np.fft.ifft2(X).real, rtol=0, atol=1e-12)
    flipped = periodic(y, KERNEL[::-1, ::-1], method=wiener.Options(noise_to_signal=ratio), operation="correlate")
    np.testing.assert_allclose(flipped.x, x, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("outputs", "inputs"), [(2, 2), (2, 3), (3, 2)])
def test_wiener_with_channels_is_its_formula(outputs: int, inputs: int) -> None:
    ratio, frame, taps = 0.05, (6, 10), deficient(outputs, inputs)
    y = np.random.default_rng(4).random((outputs, *frame))
    padded = np.zeros((outputs, inputs, *frame))
    padded[:, :, :3, :5] = taps
    H = np.moveaxis(np.fft.fft2(np.roll(padded, (-1, -2), (2, 3))), (0, 1), (-2, -1))
    Y = np.moveaxis(np.fft.fft2(y), 0, -1)[..., None]
    adjoint = np.swapaxes(H.conj(), -1, -2)
    X = np.linalg.solve(adjoint @ H + ratio * np.eye(inputs), adjoint @ Y)
    X[0, 0] = np.linalg.pinv(H[0, 0]) @ Y[0, 0]
    expected = np.fft.ifft2(np.moveaxis(X[..., 0], -1, 0)).real
    x = periodic(y, taps, method=wiener.Options(noise_to_signal=ratio), axes="CYX").x
    np.testing.assert_allclose(x, expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("ratio", [-1.0, np.nan, np.inf])
def test_wiener_refuses_a_senseless_ratio(ratio: float) -> None:
    with pytest.raises(ConvtoolError, match="noise_to_signal"):
        periodic(clean_data(), KERNEL, method=wiener.Options(noise_to_signal=ratio))


# A real photograph ---------------------------------------------------------------------------------------------------


@functools.cache
def noisy_photograph() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(photograph, kernel, data): 0..255, a Gaussian of sigma 2 pixels, noise of sigma 2."""
    x = 255.0 * camera(216, 240, 60, 120)
    line = np.exp(-0.5 * (np.arange(-8, 9) / 2.0) ** 2)
    kernel = np.outer(line, line) / line.sum() ** 2
    y = scipy.ndimage.gaussian_filter(x, 2.0, mode="wrap", radius=8)
    return x, kernel, y + np.random.default_rng(11).normal(0, 2.0, x.shape)


def test_tikhonov_chooses_well_on_a_photograph() -> None:
    x, kernel, y = noisy_photograph()
    chosen = psnr(periodic(y, kernel, method="tikhonov").x, x)
    weights = np.geomspace(1e-6, 1.0, 19)
    best = max(psnr(periodic(y, kernel, method=tikhonov.Options(weight=w)).x, x) for w in weights)
    assert chosen > best - 0.3
    assert chosen > psnr(y, x) + 0.5


def test_wiener_chooses_well_on_a_photograph() -> None:
    x, kernel, y = noisy_photograph()
    chosen = psnr(periodic(y, kernel, method="wiener").x, x)
    ratios = np.geomspace(1e-6, 1.0, 19)
    best = max(psnr(periodic(y, kernel, method=wiener.Options(noise_to_signal=r)).x, x) for r in ratios)
    assert chosen > best - 1.0
    assert chosen > psnr(y, x)


def test_the_identity_penalty_warns_that_it_chooses_badly() -> None:
    _, kernel, y = noisy_photograph()
    chosen = periodic(y, kernel, method=tikhonov.Options(penalty="identity"))
    assert any("identity" in note and "laplacian" in note for note in chosen.notes)
    assert not periodic(y, kernel, method=tikhonov.Options(penalty="identity", weight=0.01)).notes
    assert not periodic(y, kernel, method="tikhonov").notes


# What the solution says ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_every_method_measures_its_residual(method: str) -> None:
    y = clean_data() + np.random.default_rng(5).normal(0, 0.01, clean_data().shape)
    solution = periodic(y, KERNEL, method=method)
    difference = scipy.ndimage.convolve(solution.x, KERNEL, mode="wrap") - y
    assert solution.metrics["relative_residual"] == pytest.approx(relative(difference + y, y), rel=1e-6, abs=1e-14)
    assert solution.metrics["max_residual"] == pytest.approx(np.abs(difference).max(), rel=1e-6, abs=1e-14)
    assert solution.metrics["method"] == method


@pytest.mark.parametrize(("outputs", "inputs"), [(1, 1), (2, 3), (3, 2)])
def test_the_noise_gain_is_the_norm_of_the_inverse(outputs: int, inputs: int) -> None:
    """Root mean square of ‖A⁺ n‖ / ‖n‖ over white noise n: ‖A⁺‖_F / √(number of data)."""
    taps = deficient(outputs, inputs)
    a = oracles.matrix(taps, (inputs, 6, 10))
    y = np.random.default_rng(4).random((outputs, 6, 10))
    expected = np.linalg.norm(np.linalg.pinv(a, rcond=1e-12)) / np.sqrt(y.size)
    gain = convtool.deconvolve(y, taps, method="pinv", axes="CYX").metrics["noise_gain"]
    assert gain == pytest.approx(expected, rel=1e-6)


def test_pinv_says_when_rounding_explains_its_error() -> None:
    x = 20 + 200 * camera(64, 60)
    line = np.exp(-0.5 * (np.arange(-4, 5) / 0.9) ** 2)
    kernel = np.outer(line, line) / line.sum() ** 2
    y = scipy.ndimage.convolve(x, kernel, mode="wrap")
    rounded = convtool.deconvolve(np.rint(y).astype(np.uint8), kernel, method="pinv")
    error = relative(rounded.x, x)
    assert error > 0.1
    assert rounded.metrics["rounding_error"] == pytest.approx(error, rel=0.2)
    assert any("rounding to 8 bits" in note and "tikhonov" in note for note in rounded.notes)
    floats = convtool.deconvolve(y, kernel, method="pinv")
    assert floats.metrics["rounding_error"] < 1e-12
    assert not floats.notes
    mild = convtool.deconvolve(np.rint(y).astype(np.uint8), KERNEL, method="pinv")
    assert not mild.notes


# batched_pinv --------------------------------------------------------------------------------------------------------


def matrices(rows: int, columns: int, dtype: str) -> np.ndarray:
    """[4, 5, rows, columns]: well-conditioned, with rank-deficient, badly conditioned and zero ones among them."""
    rng = np.random.default_rng(rows * 10 + columns)
    a = rng.normal(size=(4, 5, rows, columns)) + 0j
    if np.dtype(dtype).kind == "c":
        a += 1j * rng.normal(size=a.shape)
    a[1, 2, -1] = a[1, 2, 0] * (1.0 if rows > 1 else 0.0)
    a[2, 0, :, -1] = 2 * a[2, 0, :, 0] * (1.0 if columns > 1 else 0.0)
    u, s, v = np.linalg.svd(a[3, 3], full_matrices=False)
    a[3, 3] = (u * np.geomspace(1.0, 1e-5, len(s))) @ v
    a[0, 4] = 0
    return (a if np.dtype(dtype).kind == "c" else a.real).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 4), (4, 1), (2, 4), (4, 2), (3, 3), (8, 8)])
def test_batched_pinv_is_numpys(rows: int, columns: int, dtype: str) -> None:
    a = matrices(rows, columns, dtype)
    precision = float(np.finfo(dtype).eps)
    rcond = 1e3 * precision
    mine = convtool.batched_pinv(a, rcond)
    assert mine.dtype == a.dtype
    assert mine.shape == (4, 5, columns, rows)
    for index in np.ndindex(4, 5):
        expected = np.linalg.pinv(a[index].astype(complex), rcond=rcond)
        condition = np.linalg.norm(expected, 2) * np.linalg.norm(a[index].astype(complex), 2)
        allowed = 200 * precision * max(condition, 1.0) * np.linalg.norm(expected, 2)
        np.testing.assert_allclose(mine[index], expected, rtol=0, atol=allowed, err_msg=str(index))


@pytest.mark.parametrize("dtype", ["float64", "complex64"])
def test_batched_pinv_cuts_where_it_is_told(dtype: str) -> None:
    """Relative to each matrix's largest singular value without a scale, to the scale with one."""
    tolerance = 1e3 * float(np.finfo(dtype).eps)
    u = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    diagonals = np.array([[1.0, 0.5, 0.2], [1.0, 0.09, 0.02], [0.05, 0.04, 0.03], [4.0, 3.0, 0.3]])
    a = ((u * diagonals[:, None, :]) @ u.T).astype(dtype)
    for scale, cutoffs in [(None, 0.1 * diagonals[:, 0]), (1.0, np.full(4, 0.1)), (4.0, np.full(4, 0.4))]:
        inverted = np.where(diagonals > cutoffs[:, None], 1 / diagonals, 0.0)
        expected = (u * inverted[:, None, :]) @ u.T
        np.testing.assert_allclose(convtool.batched_pinv(a, 0.1, scale), expected, rtol=0, atol=40 * tolerance)


def test_batched_pinv_without_a_cutoff_drops_what_is_rounding() -> None:
    a = np.random.default_rng(1).normal(size=(6, 4, 2)) @ np.random.default_rng(2).normal(size=(6, 2, 4))
    np.testing.assert_allclose(convtool.batched_pinv(a), np.linalg.pinv(a, rcond=1e-12), rtol=0, atol=1e-9)


def test_batched_pinv_of_an_empty_batch_and_of_one_matrix() -> None:
    assert convtool.batched_pinv(np.empty((0, 2, 3))).shape == (0, 3, 2)
    a = np.random.default_rng(1).normal(size=(2, 3))
    np.testing.assert_allclose(convtool.batched_pinv(a), np.linalg.pinv(a), atol=1e-13)


def test_batched_pinv_on_every_frequency_of_a_layer() -> None:
    """c = 32 with a few frequencies spoilt, so that the factorisation and the SVD both have work."""
    rng = np.random.default_rng(1)
    a = np.eye(32) + 0.05 * (rng.normal(size=(40, 32, 32)) + 1j * rng.normal(size=(40, 32, 32)))
    a[7, :, 3] = 0
    a[20, 5] = a[20, 6]
    a[33] *= 1e-9
    scale = float(np.linalg.svd(a, compute_uv=False).max())
    mine = convtool.batched_pinv(a, 1e-6, scale)
    for index in range(40):
        expected = np.linalg.pinv(a[index], rcond=1e-6) if index != 33 else np.zeros((32, 32))
        np.testing.assert_allclose(mine[index], expected, rtol=0, atol=1e-10)


def test_batched_pinv_leaves_its_input_alone() -> None:
    a = matrices(3, 3, "complex128")
    before = a.copy()
    a.setflags(write=False)
    convtool.batched_pinv(a)
    np.testing.assert_array_equal(a, before)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("factor", [1e-200, 1e-25, 1e25, 1e200])
def test_no_scale_of_the_kernel_over_or_underflows(method: str, factor: float) -> None:
    y = clean_data()
    once = convtool.deconvolve(y, KERNEL, method=method).x
    assert relative(factor * convtool.deconvolve(y, factor * KERNEL, method=method).x, once) < 1e-6
    if 1e-30 < factor < 1e30:
        single = convtool.deconvolve(y.astype(np.float32), factor * KERNEL, method=method).x
        assert relative(factor * single.astype(np.float64), once) < 1e-2
    else:
        with pytest.raises(ConvtoolError, match=r"too (small|large) for float32"):
            convtool.deconvolve(y.astype(np.float32), factor * KERNEL, method=method)
