"""Tikhonov and Wiener at every boundary, with masks and strides, against dense least squares from the definition."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np
import oracles
import pytest
import scipy.fft
import skimage.data

import convtool
from convtool import deconvolution
from convtool.deconvolution import tikhonov, wiener
from convtool.deconvolution.solvers import conjugate_gradient, filters, periodicity, progress
from convtool.errors import ConvtoolError
from convtool.fft import fast_length

KERNEL = np.array([[0.05, 0.10, 0.00], [0.10, 1.00, 0.30], [0.00, 0.05, 0.02]])
BLUR = np.array([[0.0, 1, 2, 1], [1, 5, 3, 0], [0, 2, 1, 0]]) * 0.2  # even along X, a sum of 3.2
MIXING = np.random.default_rng(2).normal(size=(2, 2, 3, 2)) + 2 * np.eye(2)[:, :, None, None]
FRAMED = ("zero", "edge", "reflect", "symmetric")
METHODS = ("tikhonov", "wiener")


def relative(x: np.ndarray, reference: np.ndarray) -> float:
    return float(np.linalg.norm(x - reference) / np.linalg.norm(reference))


def differences(n: int, is_periodic: bool) -> np.ndarray:
    """Forward differences along n samples, wrapping round or ending at the frame."""
    rows = np.zeros((n, n))
    for i in range(n if is_periodic else n - 1):
        rows[i, i] -= 1
        rows[i, (i + 1) % n] += 1
    return rows


def along(line: np.ndarray, axis: int, grid: tuple[int, ...]) -> np.ndarray:
    """A matrix [n, n] of one axis as one of all pixels."""
    before, after = (int(np.prod(part)) for part in (grid[:axis], grid[axis + 1 :]))
    return np.kron(np.kron(np.eye(before), line), np.eye(after))


def penalty_matrix(name: str, channels: int, grid: tuple[int, ...], is_periodic: bool, steps: Any = None) -> np.ndarray:
    blocks = [
        along(differences(n, is_periodic), axis, grid) / (1 if steps is None else steps[axis])
        for axis, n in enumerate(grid)
    ]
    pixels = np.eye(int(np.prod(grid)))
    laplacian = sum((block.T @ block for block in blocks), 0 * pixels)
    found = {"laplacian": laplacian, "gradient": np.vstack(blocks), "identity": pixels}[name]
    return np.kron(np.eye(channels), found)


def canonical(y: np.ndarray, kernel: np.ndarray, ndim: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Data [c, *outputs], and taps [o, i, *k] of the operator on all channels."""
    data = y if y.ndim > ndim else y[None]
    if kernel.ndim > ndim:
        return data, kernel
    taps = np.zeros((len(data), len(data), *kernel.shape))
    taps[np.arange(len(data)), np.arange(len(data))] = kernel
    return data, taps


def framed_matrix(taps: np.ndarray, grid: tuple[int, ...], how: dict[str, Any]) -> np.ndarray:
    settings = {key: how[key] for key in ("boundary", "padding", "stride", "operation") if key in how}
    return oracles.matrix(taps, (taps.shape[1], *grid), **settings)


def torus_matrix(taps: np.ndarray, outputs: tuple[int, ...], how: dict[str, Any]) -> tuple[np.ndarray, tuple[int, ...]]:
    """The windows that lie inside a scene, on the fast torus around it; and that torus."""
    scene = [n + k - 1 for n, k in zip(outputs, taps.shape[2:], strict=True)]
    torus = tuple(map(fast_length, scene))
    whole = oracles.matrix(
        taps, (taps.shape[1], *torus), boundary="zero", padding="valid", operation=how.get("operation", "convolve")
    )
    rows = np.arange(len(whole)).reshape(len(taps), *(t - k + 1 for t, k in zip(torus, taps.shape[2:], strict=True)))
    return whole[rows[(slice(None), *map(slice, outputs))].ravel()], torus


def minimiser(
    y: np.ndarray, kernel: np.ndarray, weight: float, penalty: str, how: dict[str, Any], mask: np.ndarray | None = None
) -> np.ndarray:
    """min ||M (A x - y)||^2 + weight ||L x||^2 by dense least squares, [c, *grid]; of unknown surroundings all."""
    ndim = 3 if how.get("axes") == "ZYX" else 2
    data, taps = canonical(y, kernel, ndim)
    grid = how.get("shape", data.shape[1:])
    if how["boundary"] == "unknown":
        a, torus = torus_matrix(taps, data.shape[1:], how)
        kept = tuple(slice(n + k - 1) for n, k in zip(data.shape[1:], taps.shape[2:], strict=True))
    else:
        a, torus, kept = framed_matrix(taps, grid, how), tuple(grid), (slice(None),) * ndim
    steps = np.array(how["spacing"]) / min(how["spacing"]) if "spacing" in how else None
    rough = penalty_matrix(penalty, taps.shape[1], torus, how["boundary"] in ("unknown", "periodic"), steps)
    seen = np.ones(data.size, bool) if mask is None else np.broadcast_to(mask, data.shape).ravel()
    x = oracles.tikhonov_solution(a[seen], rough, data.ravel()[seen], weight)
    return x.reshape(taps.shape[1], *torus)[(slice(None), *kept)]


def solved(y: np.ndarray, kernel: np.ndarray, options: Any, how: dict[str, Any], **more: Any) -> np.ndarray:
    keep = how["boundary"] == "unknown"
    x = convtool.deconvolve(y, kernel, method=options, effort="high", keep_extension=keep, **how, **more).x
    return x if x.ndim > (3 if how.get("axes") == "ZYX" else 2) or how.get("axes") == "CYX" else x[None]


PROBLEMS: dict[str, tuple[tuple[int, ...], np.ndarray, dict[str, Any]]] = {
    **{boundary: ((9, 11), BLUR, {"boundary": boundary}) for boundary in (*FRAMED, "unknown")},
    "unknown, correlate": ((9, 8), BLUR, {"boundary": "unknown", "operation": "correlate"}),
    "unknown, spaced": ((9, 8), BLUR, {"boundary": "unknown", "spacing": (3, 2)}),
    "unknown, colour": ((2, 7, 8), BLUR, {"boundary": "unknown", "axes": "CYX"}),
    "unknown, mixing": ((2, 7, 8), MIXING, {"boundary": "unknown", "axes": "CYX"}),
    "unknown, volume": ((3, 4, 5), BLUR[:2, None, 1:3], {"boundary": "unknown", "axes": "ZYX", "kernel_axes": "ZYX"}),
    "reflect, correlate": ((9, 8), BLUR, {"boundary": "reflect", "operation": "correlate"}),
    "symmetric, spaced": ((9, 8), BLUR, {"boundary": "symmetric", "spacing": (2, 3)}),
    "zero, mixing": ((2, 7, 8), MIXING, {"boundary": "zero", "axes": "CYX"}),
    "zero, full": ((11, 11), BLUR, {"boundary": "zero", "padding": "full", "shape": (9, 8)}),
    "edge, stride": ((5, 4), BLUR, {"boundary": "edge", "stride": 2, "shape": (9, 8)}),
    "periodic, stride": ((5, 4), BLUR, {"boundary": "periodic", "stride": 2, "shape": (10, 8)}),
}


@pytest.mark.parametrize("penalty", ["laplacian", "gradient", "identity"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_tikhonov_is_the_dense_minimiser(name: str, penalty: str) -> None:
    shape, kernel, how = PROBLEMS[name]
    y = np.random.default_rng(4).random(shape) + 1
    options = tikhonov.Options(weight=0.03, penalty=penalty)  # type: ignore[arg-type]
    found = solved(y, kernel, options, how)
    assert relative(found, minimiser(y, kernel, 0.03, penalty, how)) < 1e-5


@pytest.mark.parametrize("boundary", ["periodic", "unknown", *FRAMED])
@pytest.mark.parametrize("kind", ["plane", "one a channel", "mixing"])
def test_what_is_masked_has_no_part(boundary: str, kind: str) -> None:
    kernel = MIXING if kind == "mixing" else BLUR
    rng = np.random.default_rng(5)
    y, mask = rng.random((2, 9, 8)) + 1, np.ones((2, 9, 8), bool)
    mask[:, 2:5, 3:6] = mask[:, 7:, 0] = False
    if kind == "one a channel":
        mask[1, 6, 6] = False
    how: dict[str, Any] = {"boundary": boundary, "axes": "CYX"}
    found = [
        solved(np.where(mask, y, lost), kernel, tikhonov.Options(weight=0.03), how, mask=mask) for lost in (0.0, np.nan)
    ]
    expected = minimiser(y, kernel, 0.03, "laplacian", how, mask)
    for x in found:
        assert relative(x, expected) < 1e-5


@pytest.mark.parametrize("boundary", ["unknown", "symmetric"])
def test_wiener_with_a_given_ratio_is_the_dense_minimiser(boundary: str) -> None:
    """White signal and noise but for the mean, which costs nothing."""
    y, how = np.random.default_rng(4).random((9, 8)) + 1, {"boundary": boundary}
    data, taps = canonical(y, BLUR)
    a, torus = torus_matrix(taps, (9, 8), how) if boundary == "unknown" else (framed_matrix(taps, (9, 8), how), (9, 8))
    size = int(np.prod(torus))
    deviation = np.eye(size) - 1 / size
    expected = oracles.tikhonov_solution(a, deviation, data.ravel(), 0.3).reshape(torus)
    found = solved(y, BLUR, wiener.Options(noise_to_signal=0.3), how)[0]
    assert relative(found, expected[tuple(map(slice, found.shape))]) < 1e-5


def test_wiener_in_the_frame_has_the_power_law_of_its_cosines() -> None:
    rng = np.random.default_rng(6)
    y = np.asarray(scipy.fft.idctn(rng.normal(size=(24, 28)) / (1 + np.add.outer(np.arange(24), np.arange(28)))))
    y = convtool.convolve(100 * y, BLUR, boundary="symmetric") + rng.normal(0, 0.3, y.shape)
    solution = convtool.deconvolve(y, BLUR, method="wiener", boundary="symmetric", effort="high")
    p, power = solution.metrics["signal_exponent"], solution.metrics["noise_to_signal"]
    assert p > 0.5
    k = [np.arange(n) / n for n in y.shape]
    radius = np.hypot(k[0][:, None], k[1])
    # The mean of the signal's power over all frequencies but 0, on the grid where it was fitted, is what scales it.
    torus = [fast_length(n + m - 1) for n, m in zip(y.shape, BLUR.shape, strict=True)]
    r = np.hypot(2 * np.fft.fftfreq(torus[0])[:, None], 2 * np.fft.fftfreq(torus[1])).ravel()[1:]
    ratio = power * (r**-p).mean() * radius**p
    cosines = scipy.fft.dctn(np.eye(y.size).reshape(-1, *y.shape), axes=(1, 2), norm="ortho").reshape(y.size, -1).T
    a = framed_matrix(BLUR[None, None], y.shape, {"boundary": "symmetric"})
    expected = oracles.tikhonov_solution(a, np.sqrt(ratio).ravel()[:, None] * cosines, y.ravel(), 1.0)
    assert relative(solution.x.ravel(), expected) < 1e-4


# The battery, at every boundary ---------------------------------------------------------------------------------------


@functools.cache
def picture(rows: int = 36, columns: int = 45) -> np.ndarray:
    spots = [(7, 9, 3.0), (20, 30, 5.0), (33, 12, 4.0), (15, 44, 6.0), (5, 36, 2.5)]
    grid = np.mgrid[0:rows, 0:columns]
    x = sum(np.exp(-((grid[0] - i) ** 2 + (grid[1] - j) ** 2) / (2 * s * s)) for i, j, s in spots)
    return 0.05 + np.asarray(x)


@pytest.mark.parametrize("boundary", ["unknown", *FRAMED])
@pytest.mark.parametrize("method", METHODS)
def test_the_battery_at_every_boundary(method: str, boundary: str) -> None:
    how: dict[str, Any] = {"method": method, "boundary": boundary}
    made = "edge" if boundary == "unknown" else boundary  # the surroundings are no business of the method
    y = convtool.convolve(picture(), KERNEL, boundary=made) + np.random.default_rng(5).normal(0, 0.01, (36, 45))
    solution = convtool.deconvolve(y, KERNEL, **how)
    assert relative(solution.x, picture()) < 0.65 * relative(y / KERNEL.sum(), picture())
    assert "steps of conjugate gradients" in solution.stop
    for dtype in ("float32", "float64"):
        assert convtool.deconvolve(y.astype(dtype), KERNEL, **how).x.dtype == dtype
    for a in (1e-6, 7.0, 1e6):
        assert relative(convtool.deconvolve(a * y, KERNEL, **how).x, a * solution.x) < 1e-6
        single = convtool.deconvolve((a * y).astype(np.float32), KERNEL, **how).x
        assert relative(single, a * solution.x) < 3e-3
        assert relative(convtool.deconvolve(y, a * KERNEL, **how).x, solution.x / a) < 1e-3
    np.testing.assert_array_equal(convtool.deconvolve(0 * y, KERNEL, **how).x, 0 * solution.x)
    batch = convtool.deconvolve(np.stack([y, 2 * y[::-1]]), KERNEL, axes="NYX", **how).x
    for one, data in zip(batch, (y, 2 * y[::-1]), strict=True):
        np.testing.assert_array_equal(one, convtool.deconvolve(data, KERNEL, **how).x)


@pytest.mark.parametrize("boundary", ["unknown", *FRAMED])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kernel", [KERNEL, BLUR], ids=["sharp", "blur"])
def test_a_constant_is_divided_by_the_kernels_sum(kernel: np.ndarray, method: str, boundary: str) -> None:
    mask = np.ones((14, 9))
    mask[3:6, 4:8] = 0
    for dtype, allowed in [("float64", 1e-9), ("float32", 2e-5)]:
        for seen in (None, mask):
            how: dict[str, Any] = {"method": method, "boundary": boundary, "mask": seen}
            constant = np.full((14, 9), 3.0, dtype)
            if boundary != "zero":
                found = convtool.deconvolve(constant, kernel, **how).x
                np.testing.assert_allclose(found, 3.0 / kernel.sum(), rtol=allowed)
            else:
                found = convtool.deconvolve(convtool.convolve(constant, kernel, boundary="zero"), kernel, **how).x
                np.testing.assert_allclose(found, 3.0, rtol=allowed)


def test_what_does_not_count_may_be_anything() -> None:
    y, mask = convtool.convolve(picture(), BLUR, boundary="symmetric"), np.ones((36, 45), bool)
    mask[10:14, 20:23] = False
    for boundary, method in itertools.product(("periodic", "unknown", "symmetric"), METHODS):
        first, second = (
            convtool.deconvolve(np.where(mask, y, lost), BLUR, method=method, boundary=boundary, mask=mask).x
            for lost in (0.0, 50.0)
        )
        np.testing.assert_array_equal(first, second)


def test_the_steps_are_told_and_the_limit_is_said() -> None:
    y = convtool.convolve(picture(), np.eye(9) / 9, boundary="edge")
    seen: list[Any] = []
    with progress.watched(seen.append):
        solution = convtool.deconvolve(y, np.eye(9) / 9, method="tikhonov", boundary="edge", effort="low")
    steps = [each for each in seen if isinstance(each, progress.Step)]
    assert [each.iteration for each in steps] == list(range(len(steps)))
    assert f"{steps[-1].iteration} steps of conjugate gradients" in solution.stop
    hopeless = tikhonov.Options(weight=1e-12)
    stopped = convtool.deconvolve(y, np.eye(9) / 9, method=hopeless, boundary="edge", effort="low")
    assert "stopped at the limit of 50 steps" in stopped.stop


# Photographs ----------------------------------------------------------------------------------------------------------

MOTION = np.eye(9)[:, ::-1] / 9


@functools.cache
def exposure(noise: float) -> tuple[np.ndarray, np.ndarray]:
    """(truth, data): a frame of a larger scene, 0..255."""
    scene = skimage.data.camera()[60:300, 100:356].astype(np.float64)
    whole = convtool.convolve(scene, MOTION)
    inside = (slice(30, -30), slice(30, -30))
    return scene[inside], whole[inside] + np.random.default_rng(7).normal(0, noise, (180, 196))


def psnr(x: np.ndarray, truth: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((x - truth) ** 2)))


@pytest.mark.parametrize("noise", [0.5, 2.5])
def test_the_weight_chosen_on_a_crop_is_near_the_best(noise: float) -> None:
    truth, y = exposure(noise)
    chosen = psnr(convtool.deconvolve(y, MOTION, method="tikhonov", boundary="unknown").x, truth)
    best = max(
        psnr(convtool.deconvolve(y, MOTION, method=tikhonov.Options(weight=w), boundary="unknown").x, truth)
        for w in np.geomspace(1e-5, 1e-1, 13)
    )
    assert chosen > best - 0.3
    assert chosen > psnr(y, truth) + 4
    periodic = convtool.deconvolve(y, MOTION, method="tikhonov", boundary="periodic")
    assert psnr(periodic.x, truth) < chosen - 2
    assert psnr(convtool.deconvolve(y, MOTION, method="wiener", boundary="unknown").x, truth) > best - 0.5


def test_the_noise_of_an_even_texture_is_not_taken_for_coloured() -> None:
    """A strong blur leaves so little of it that white noise is amplified to as much."""
    scene = skimage.data.brick().reshape(256, 2, 256, 2).mean(axis=(1, 3))[:, 8:-8]
    turn = np.linspace(0, 2.5, 400)
    kernel = np.zeros((21, 23))
    np.add.at(
        kernel, (np.rint(10 + 10 * np.sin(2.2 * turn)).astype(int), np.rint(11 + 11 * np.cos(3 * turn)).astype(int)), 1
    )
    kernel /= kernel.sum()
    y = convtool.convolve(scene, kernel)[20:-20, 20:-20] + np.random.default_rng(9).normal(0, 8, (216, 200))
    truth = scene[20:-20, 20:-20]
    chosen = convtool.deconvolve(y, kernel, method="tikhonov", boundary="unknown")
    assert not chosen.notes
    best = max(
        psnr(convtool.deconvolve(y, kernel, method=tikhonov.Options(weight=w), boundary="unknown").x, truth)
        for w in np.geomspace(1e-4, 1, 9)
    )
    assert psnr(chosen.x, truth) > best - 0.2


def test_little_effort_is_enough_and_much_is_the_limit() -> None:
    truth, y = exposure(1.0)
    efforts = [
        convtool.deconvolve(y, MOTION, method=tikhonov.Options(weight=1e-3), boundary="unknown", effort=effort).x
        for effort in ("low", "normal", "high")
    ]
    reached = [psnr(x, truth) for x in efforts]
    assert reached[0] > reached[2] - 0.4
    assert reached[1] > reached[2] - 0.1
    assert relative(efforts[1], efforts[2]) < 0.02


def test_a_crop_said_to_be_periodic_is_told_of_unknown_surroundings() -> None:
    _, y = exposure(0.5)
    for method in METHODS:
        said = convtool.deconvolve(y, MOTION, method=method, boundary="periodic").notes
        assert any("does not continue periodically" in note and "--boundary unknown" in note for note in said)
        assert not convtool.deconvolve(y, MOTION, method=method, boundary="unknown").notes


def test_saturated_lights_ring_less_when_they_do_not_count() -> None:
    truth, _ = exposure(0.5)
    bright = truth + 800 * (truth > 215)
    lit = convtool.convolve(np.pad(bright, 30, mode="edge"), MOTION)[30:-30, 30:-30]
    clipped = np.clip(np.round(lit), 0, 255).astype(np.uint8)
    plain, masked = (
        convtool.deconvolve(clipped, MOTION, method="tikhonov", boundary="unknown", saturation=share).x
        for share in (None, 0.99)
    )
    near = truth < 200
    assert np.mean((masked - truth)[near] ** 2) < 0.5 * np.mean((plain - truth)[near] ** 2)
    assert periodicity.LIMIT == 2.0


def test_the_residual_filter_is_what_the_solution_leaves() -> None:
    for kernel in (BLUR[None, None, None], MIXING[None]):
        built = convtool.model.build(np.zeros((kernel.shape[1], 6, 7)), kernel[0], axes="CYX").operator
        parts, y = filters.decompose(built), np.random.default_rng(8).normal(size=(1, *built.out_shape))
        for weight in (0.0, 0.02):
            x = filters.filtered(parts.filter(weight), y, built)
            left = filters.filtered_data(parts.residual(weight), y[0], built)
            np.testing.assert_allclose(left, (y - built.forward(x))[0], atol=1e-9)


def test_least_squares_stays_the_way_for_other_operators() -> None:
    with pytest.raises(ConvtoolError, match="least-squares"):
        convtool.deconvolve(picture(), KERNEL, method="pinv", boundary="edge")
    assert deconvolution.methods.load("tikhonov").Options().weight is None


# Gaussian crops, whose surroundings hide what the kernel damps --------------------------------------------------------


def gaussian(sigma: float) -> np.ndarray:
    n = np.arange(-round(3 * sigma), round(3 * sigma) + 1)
    line = np.exp(-(n**2) / (2 * sigma**2))
    return np.outer(line, line) / line.sum() ** 2


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("sigma", [2, 5, 8])
def test_no_gaussian_crop_comes_out_worse_than_it_went_in(sigma: int, method: str) -> None:
    scene = skimage.data.camera()[40:360, 60:400].astype(np.float64)
    inside = np.s_[60:220, 40:220]
    truth, y = scene[inside], convtool.convolve(scene, gaussian(sigma))[inside]
    noisy = y + np.random.default_rng(0).normal(size=y.shape)
    for data in (
        y,
        y.astype(np.float32),
        np.rint(y).astype(np.uint8),
        np.clip(np.rint(noisy), 0, 255).astype(np.uint8),
    ):
        found = convtool.deconvolve(data, gaussian(sigma), method=method, boundary="unknown")
        assert psnr(found.x, truth) > psnr(y, truth) + 1.5
        assert "limit" not in found.stop


@pytest.mark.parametrize("weight", [0.0, 1e-16, 1e-14])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_weight_that_regularises_nothing_warns_of_nothing(weight: float, dtype: str) -> None:
    y = convtool.convolve(skimage.data.camera()[40:140, 60:170].astype(dtype), gaussian(8))[20:-20, 20:-20]
    found = convtool.deconvolve(
        y, gaussian(8), method=tikhonov.Options(weight=weight), boundary="unknown", effort="low"
    )
    assert np.isfinite(found.x).all()


def test_steps_that_only_rounding_takes_are_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    y = convtool.convolve(picture(), BLUR)[4:-4, 4:-4]
    expected = convtool.deconvolve(y, BLUR, method=tikhonov.Options(weight=0.01), boundary="unknown").x
    for wrong in (np.nan, np.inf, -1e3):
        monkeypatch.setattr(conjugate_gradient, "solve", lambda normal, right, *_, w=wrong: w * right)
        found = convtool.deconvolve(y, BLUR, method=tikhonov.Options(weight=0.01), boundary="unknown")
        assert "continued smoothly" in found.stop
        assert relative(found.x, expected) < 0.5


@pytest.mark.parametrize("boundary", ["unknown", "periodic", "edge"])
@pytest.mark.parametrize("method", METHODS)
def test_a_mask_that_leaves_one_pixel_gives_a_constant(method: str, boundary: str) -> None:
    y, mask = np.random.default_rng(1).random((2, 33, 47)) + 1, np.ones((2, 33, 47), bool)
    y[1, 0, 0], mask[1] = 1.3, False
    mask[1, 0, 0] = True
    for kernel in (np.ones((3, 3)) / 9, np.ones((5, 5)) / 25, np.ones((1, 9)) / 9):
        how: dict[str, Any] = {"method": method, "boundary": boundary}
        found = convtool.deconvolve(y, kernel, mask=mask, axes="NYX", **how).x
        np.testing.assert_allclose(found[1], 1.3, rtol=1e-6)
        np.testing.assert_array_equal(found[0], convtool.deconvolve(y[0], kernel, mask=mask[0], **how).x)


@pytest.mark.parametrize("method", METHODS)
def test_mixed_constants_are_unmixed_in_the_frame(method: str) -> None:
    kernel = np.zeros((2, 2, 3, 3))
    kernel[0, 0], kernel[1, 1], kernel[0, 1, 1, 1], kernel[1, 0, 0, 1] = 1 / 9, 2 / 9, 0.2, -0.1
    y = np.ones((2, 20, 22)) * np.array([5.0, 3.0])[:, None, None]
    expected = np.linalg.solve(kernel.sum((2, 3)), [5.0, 3.0])[:, None, None]
    for boundary in ("unknown", "periodic", "edge", "reflect", "symmetric"):
        found = convtool.deconvolve(y, kernel, method=method, boundary=boundary, axes="CYX").x
        np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), rtol=1e-6)
