"""Total variation: minima against SciPy's optimiser on the objective's definition, choices of the weight, doubts."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import scipy.optimize
import skimage.data

import convtool
from convtool import model
from convtool.deconvolution import tv
from convtool.deconvolution.solvers import crops, folded, tiles, total_variation, tv_weight
from convtool.deconvolution.solvers import scene as scenes
from convtool.deconvolution.solvers.whiteness import whiteness
from convtool.errors import ConvtoolError
from convtool.observation import Rounding, observe

UNCHANGED = Rounding.to(np.dtype(np.uint8))  # 8-bit data: their unit is 1
KERNEL = np.array([[0.05, 0.10, 0.00], [0.10, 0.40, 0.30], [0.00, 0.05, 0.02]])
VOLUME = KERNEL[None] * np.array([0.3, 1.0, 0.2])[:, None, None]
MIXING = np.random.default_rng(2).normal(size=(2, 3, 3, 2))

PROBLEMS: list[tuple[str, tuple[int, ...], np.ndarray, dict[str, Any]]] = [
    ("periodic", (7, 8), KERNEL, {"boundary": "periodic"}),
    ("unknown", (6, 7), KERNEL, {"boundary": "unknown"}),
    *((mode, (6, 7), KERNEL, {"boundary": mode}) for mode in ("zero", "edge", "reflect", "symmetric")),
    ("colour", (3, 5, 6), KERNEL, {"boundary": "unknown"}),
    ("mixed colours", (2, 5, 6), MIXING, {"boundary": "periodic"}),
    ("stack", (3, 4, 5), VOLUME, {"boundary": "periodic", "axes": "ZYX", "kernel_axes": "ZYX"}),
    ("mirrored stack", (3, 4, 5), VOLUME, {"boundary": "symmetric", "axes": "ZYX", "kernel_axes": "ZYX"}),
    ("stride", (4, 5), KERNEL, {"boundary": "periodic", "stride": (2, 1), "shape": (8, 5)}),
    ("mirrored stride", (4, 5), KERNEL, {"boundary": "symmetric", "stride": 2, "shape": (8, 9)}),
]


def observed(
    shape: tuple[int, ...], kernel: np.ndarray, how: dict[str, Any], mask: Any = None, spacing: Any = None
) -> scenes.Scene:
    """The scene of a few bright blocks and noise."""
    rng = np.random.default_rng(3)
    y = 40 * (rng.random(shape) > 0.6) + rng.normal(10, 4, shape)
    built = model.build(y, kernel, is_data=True, **how)
    return scenes.of(observe(built, y, how["boundary"], mask, UNCHANGED, spacing))


def dense(scene: scenes.Scene) -> tuple[np.ndarray, np.ndarray]:
    """The matrices of M A' and of D; what they are is tested in test_scene."""
    units = np.eye(int(np.prod(scene.shape))).reshape(-1, *scene.shape)
    A = np.stack([scene.masked(scene.forward(e)).ravel() for e in units], 1)
    return A, np.stack([scene.gradient(e).ravel() for e in units], 1)


def objective(
    x: np.ndarray, A: np.ndarray, D: np.ndarray, y: np.ndarray, weight: float, groups: int, smoothing: float = 0.0
) -> tuple[float, np.ndarray]:
    """1/2 ||A x - y||^2 + weight sum_pixels (|D x|^2 + smoothing^2)^1/2 and its slope; groups: axes times channels."""
    d = (D @ x).reshape(groups, -1)
    norms = np.sqrt((d**2).sum(axis=0) + smoothing**2)
    slope = A.T @ (A @ x - y) + weight * (D.T @ (d / np.maximum(norms, 1e-30)).ravel())
    return float(0.5 * np.sum((A @ x - y) ** 2) + weight * norms.sum()), slope


def quasi_newton(
    A: np.ndarray, D: np.ndarray, y: np.ndarray, weight: float, groups: int, is_nonnegative: bool
) -> np.ndarray:
    """The minimiser of the objective by SciPy's L-BFGS-B, as the smoothing goes to nothing."""
    x = np.full(A.shape[1], 20.0)
    bounds = [(0, None)] * len(x) if is_nonnegative else None
    for smoothing in (10, 1, 0.1, 0.01, 1e-3, 1e-4):
        args = (A, D, y, weight, groups, smoothing)
        settings = {"maxiter": 2000, "maxfun": 4000, "maxcor": 30, "ftol": 1e-13, "gtol": 1e-9}
        x = scipy.optimize.minimize(
            objective, x, args=args, jac=True, method="L-BFGS-B", bounds=bounds, options=settings
        ).x
    return x


# The minimum ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def exact_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a fit is an iteration of its own, it goes on to the end, since minima are compared to the fourth digit."""
    monkeypatch.setattr(folded, "_TOL", 1e-9)
    monkeypatch.setattr(folded, "_LIMIT", 60)


@pytest.mark.parametrize(("name", "shape", "kernel", "how"), PROBLEMS, ids=[case[0] for case in PROBLEMS])
@pytest.mark.usefixtures("exact_fits")
def test_the_minimum_is_that_of_a_quasi_newton_solver(
    name: str, shape: tuple[int, ...], kernel: np.ndarray, how: dict[str, Any]
) -> None:
    check_minimum(observed(shape, kernel, how), 3.0, False)


@pytest.mark.parametrize("name", ["periodic", "unknown", "zero", "colour", "stack", "stride"])
@pytest.mark.usefixtures("exact_fits")
def test_the_nonnegative_minimum_is_that_of_a_quasi_newton_solver(name: str) -> None:
    (_, shape, kernel, how), *_ = (problem for problem in PROBLEMS if problem[0] == name)
    scene = observed(shape, kernel, how)
    scene.data -= scene.masked(np.full_like(scene.data, 20))
    check_minimum(scene, 3.0, True)


@pytest.mark.parametrize("boundary", ["periodic", "unknown", "symmetric"])
@pytest.mark.parametrize("weight", [1e-3, 0.3, 100.0])
@pytest.mark.usefixtures("exact_fits")
def test_the_minimum_holds_under_a_mask_and_for_any_weight(boundary: str, weight: float) -> None:
    mask = np.random.default_rng(4).random((6, 7)) > 0.3
    check_minimum(observed((6, 7), KERNEL, {"boundary": boundary}, mask), weight, False)


@pytest.mark.parametrize("boundary", ["periodic", "symmetric"])
@pytest.mark.usefixtures("exact_fits")
def test_the_minimum_holds_for_voxels_of_any_spacing(boundary: str) -> None:
    how = {"boundary": boundary, "axes": "ZYX", "kernel_axes": "ZYX"}
    check_minimum(observed((3, 4, 5), VOLUME, how, None, (3.0, 1.0, 1.5)), 3.0, False)


def check_minimum(scene: scenes.Scene, weight: float, is_nonnegative: bool) -> None:
    A, D = dense(scene)
    problem = (A, D, scene.data.ravel(), weight, len(scene.steps) * scene.shape[0])
    is_exact = scene.wraps  # otherwise each fit is an iteration of its own, and ends at a tolerance
    found = total_variation.TotalVariation(scene, is_nonnegative).minimise(weight, 1e-6 if is_exact else 1e-3, 20000)
    assert found.is_converged
    value = objective(found.x.ravel(), *problem)[0]
    assert found.misfit + weight * found.variation == pytest.approx(value, rel=1e-6)
    least = objective(quasi_newton(*problem, is_nonnegative), *problem)[0]
    allowed = 1e-5 if is_exact else 5e-4
    assert value < least * (1 + allowed) + 1e-4  # as good as SciPy finds,
    assert value > least * (1 - 2e-2)  # and that is near enough to mean something
    np.testing.assert_allclose(found.blurred, scene.forward(found.x), atol=1e-9)
    assert objective(scene.start().ravel(), *problem)[0] > 1.001 * least  # there was something to do
    if is_nonnegative:
        assert found.x.min() >= 0
        free = total_variation.TotalVariation(scene).minimise(weight, 1e-4, 8000)
        assert free.x.min() < -0.5
        assert free.misfit + weight * free.variation < value


@functools.cache
def blocks() -> np.ndarray:
    """A scene of a few bright blocks with a slope, 0..255."""
    x = np.zeros((60, 52))
    x[8:30, 10:24], x[20:50, 30:44] = 180, 90
    return x + np.linspace(10, 60, 52)


def data(kernel: np.ndarray = KERNEL, noise: float = 2.0, scene: np.ndarray | None = None, **how: Any) -> np.ndarray:
    scene = blocks() if scene is None else scene
    blurred = convtool.convolve(scene, kernel, **how)
    return blurred + np.random.default_rng(1).normal(0, noise, blurred.shape)


def relative(x: np.ndarray, reference: np.ndarray) -> float:
    return float(np.linalg.norm(x - reference) / np.linalg.norm(reference))


def test_the_objective_is_in_the_users_units() -> None:
    kernel, y = 3 * KERNEL, 0.01 * data()
    found = convtool.deconvolve(y, kernel, method=tv.Options(weight=0.02, tol=1e-5), boundary="periodic")
    steps = np.stack([np.roll(found.x, -1, axis) - found.x for axis in (0, 1)])
    misfit = scipy.ndimage.convolve(found.x, kernel, mode="wrap") - y
    expected = 0.5 * np.sum(misfit**2) + 0.02 * np.sqrt((steps**2).sum(axis=0)).sum()
    assert found.metrics["objective"] == pytest.approx(expected, rel=1e-9)
    assert found.metrics["weight"] == 0.02
    assert found.metrics["weight_source"] == "given"
    scaled = convtool.deconvolve(50 * y, kernel, method=tv.Options(weight=1.0, tol=1e-5), boundary="periodic")
    assert relative(scaled.x, 50 * found.x) < 1e-6


def test_a_turned_or_shifted_problem_has_a_turned_or_shifted_solution() -> None:
    y, options = data(boundary="periodic"), tv.Options(weight=0.5, tol=1e-4)
    x = convtool.deconvolve(y, KERNEL, method=options, boundary="periodic").x
    turned = convtool.deconvolve(y.T, KERNEL.T, method=options, boundary="periodic").x
    assert relative(turned.T, x) < 1e-4
    shifted = convtool.deconvolve(np.roll(y, (5, -7), (0, 1)), KERNEL, method=options, boundary="periodic").x
    assert relative(np.roll(shifted, (-5, 7), (0, 1)), x) < 1e-6


def test_channels_share_their_edges() -> None:
    """Three equal channels are one image whose variation counts sqrt(3) times, its misfit 3 times."""
    y = data()
    grey, apart = (
        convtool.deconvolve(y, KERNEL, method=tv.Options(weight=weight, tol=1e-4), boundary="unknown").x
        for weight in (1 / 3**0.5, 1.0)
    )
    options = tv.Options(weight=1.0, tol=1e-4)
    colour = convtool.deconvolve(np.stack([y] * 3), KERNEL, method=options, axes="CYX", boundary="unknown")
    for channel in colour.x:
        assert relative(channel, grey) < 1e-3
    assert relative(apart, grey) > 5e-3


def test_spacing_weighs_the_axes() -> None:
    """Layers far apart from one another may differ: with spacing, steps across them cost less."""
    stack = np.stack([blocks()[:30, :28], blocks()[25:55, 20:48], blocks()[10:40, 5:33]])
    y = stack + np.random.default_rng(2).normal(0, 8, stack.shape)
    kernel = np.zeros((1, 1, 3))
    kernel[0, 0] = 0.2, 0.7, 0.1
    options = tv.Options(weight=20.0, tol=1e-4)
    equal, spaced = (
        convtool.deconvolve(y, kernel, method=options, axes="ZYX", boundary="unknown", spacing=spacing).x
        for spacing in (None, (30.0, 1.0, 1.0))
    )
    assert np.abs(np.diff(spaced, axis=0)).mean() > 1.05 * np.abs(np.diff(equal, axis=0)).mean()


def test_the_limit_is_said() -> None:
    found = convtool.deconvolve(data(), KERNEL, method=tv.Options(limit=3, tol=1e-9), boundary="unknown")
    assert "stopped at the limit of 3 iterations, before it had converged" in found.stop
    assert found.metrics["iterations"] == 3
    full = convtool.deconvolve(data(), KERNEL, method="tv", boundary="unknown")
    assert full.stop.startswith("converged after ")
    assert max(full.metrics["primal_residual"], full.metrics["dual_residual"]) <= 1e-2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (tv.Options(weight=0.0), "weight must be above 0"),
        (tv.Options(weight=float("nan")), "weight must be above 0"),
        (tv.Options(tol=0.0), "tol must be above 0 and below 1"),
        (tv.Options(limit=0), "limit must be at least 1"),
    ],
)
def test_bad_options_are_refused(options: tv.Options, said: str) -> None:
    with pytest.raises(ConvtoolError, match=f"method tv: {said}"):
        convtool.deconvolve(data(), KERNEL, method=options, boundary="periodic")


def test_nonnegative_data_may_be_kept_so() -> None:
    y = data(noise=4.0, scene=np.maximum(blocks() - 60, 0), boundary="periodic")
    free, kept = (
        convtool.deconvolve(y, KERNEL, method=tv.Options(weight=0.2, nonnegative=flag), boundary="periodic").x
        for flag in (False, True)
    )
    assert free.min() < -1
    assert kept.min() == 0
    assert relative(kept, np.maximum(blocks() - 60, 0)) < relative(free, np.maximum(blocks() - 60, 0))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("boundary", ["periodic", "unknown", "reflect"])
def test_data_without_noise_do_not_diverge(boundary: str, dtype: str) -> None:
    box = np.full((5, 4), 0.05)  # which loses frequencies
    y = convtool.convolve(blocks(), box, boundary="periodic" if boundary == "unknown" else boundary).astype(dtype)
    found = convtool.deconvolve(y, box, method="tv", boundary=boundary)
    assert found.metrics["weight"] > 0
    assert found.metrics["iterations"] < 500
    assert relative(found.x, blocks()) < 0.1


# Large images --------------------------------------------------------------------------------------------------------


@functools.cache
def camera() -> np.ndarray:
    return skimage.data.camera().astype(np.float64)


def blurred_camera(kernel: np.ndarray, noise: float, part: tuple[slice, slice]) -> tuple[np.ndarray, np.ndarray]:
    """8-bit data of a part of a photograph, and the truth."""
    y = scipy.ndimage.convolve(camera(), kernel)[part]
    y = y + np.random.default_rng(6).normal(0, noise, y.shape)
    return np.clip(np.round(y), 0, 255).astype(np.uint8), camera()[part]


@pytest.mark.parametrize("shape", [(200, 90), (3, 110, 120)])
def test_tiles_are_as_good_as_the_whole(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    axes = "YX" if len(shape) == 2 else "CYX"
    part = camera()[100:300, 150:300][: shape[-2], : shape[-1]]
    y = data(scene=np.broadcast_to(part, shape), axes=axes)
    options = tv.Options(weight=0.3, tol=1e-3)
    whole = convtool.deconvolve(y, KERNEL, method=options, boundary="unknown", axes=axes)
    monkeypatch.setattr(tv, "_TILE", int(0.8 * y.size))
    tiled = convtool.deconvolve(y, KERNEL, method=options, boundary="unknown", axes=axes)
    assert tiled.metrics["tiles"] >= 2
    assert tiled.x.shape == whole.x.shape
    inside = (..., slice(8, -8), slice(8, -8))  # at the frame, both are far from what they would be in the end
    assert relative(tiled.x[inside], whole.x[inside]) < 3e-3
    assert "objective" not in tiled.metrics


def test_a_stack_is_tiled_too() -> None:
    built = model.build(np.zeros((9, 150, 90)), VOLUME, boundary="unknown", is_data=True, axes="ZYX")
    observation = observe(built, np.random.default_rng(0).random((9, 150, 90)), "unknown")
    parts = tiles.tiles(observation, 60000)
    assert len(parts) > 1
    truth = np.random.default_rng(1).random(built.operator.in_shape)
    answers = iter(parts)

    def solve(each: Any) -> np.ndarray:
        tile = next(answers)
        where = tuple(slice(a, a + n) for a, n in zip(tile.start, each.operator.geometry.grid, strict=True))
        part = truth[(slice(None), *where)]
        full = built.operator.forward(truth)[(slice(None), *(slice(a, None) for a in tile.start))]
        inside = tuple(slice(n) for n in each.y.shape[2:])
        np.testing.assert_allclose(each.operator.forward(part), full[(slice(None), *inside)])
        return part.copy()

    np.testing.assert_allclose(tiles.blended(parts, built.operator.in_shape, np.dtype(float), solve), truth)


# The weight ----------------------------------------------------------------------------------------------------------

PART = (slice(150, 270), slice(150, 260))


def psnr(x: np.ndarray, truth: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((x - truth) ** 2)))


@pytest.mark.parametrize(("sigma", "noise"), [(0.6, 6.0), (2.0, 1.0), (1.2, 3.0)])
def test_the_weight_is_near_the_best(sigma: float, noise: float) -> None:
    """Its share of the variance differs more than twice between these, and each one's would be wrong for the others."""
    kernel = gaussian(sigma)
    y, truth = blurred_camera(kernel, noise, PART)
    found = convtool.deconvolve(y, kernel, method="tv", boundary="unknown")
    weights = found.metrics["weight"] * 2.0 ** np.arange(-3, 4)
    tried = [
        psnr(convtool.deconvolve(y, kernel, method=tv.Options(weight=w), boundary="unknown").x, truth) for w in weights
    ]
    assert psnr(found.x, truth) > max(tried) - 0.25
    assert min(tried[0], tried[-1]) < max(tried) - 0.3


def gaussian(sigma: float) -> np.ndarray:
    axis = np.exp(-0.5 * (np.arange(-8, 9) / sigma) ** 2)
    return np.outer(axis, axis) / axis.sum() ** 2


@pytest.mark.parametrize(("noise", "least"), [(0.0, 35.0), (0.01, 33.5), (0.1, 31.5)])
def test_floats_with_next_to_no_noise_are_restored_too(noise: float, least: float) -> None:
    """The weight is tiny then, and the minimum far from the data: tikhonov has 37.0, 33.7 and 31.5 dB there."""
    kernel = gaussian(1.5)
    part = np.s_[40:240, 60:260]
    y, truth = scipy.ndimage.convolve(camera(), kernel)[part], camera()[part]
    y += np.random.default_rng(6).normal(0, noise, y.shape)
    found = convtool.deconvolve(y, kernel, method="tv", boundary="unknown")
    assert psnr(found.x, truth) > least
    assert not found.notes


def test_the_weight_is_not_a_share_of_the_noise_alone() -> None:
    shares = []
    for sigma, noise in ((0.6, 6.0), (2.0, 1.0)):
        y, _ = blurred_camera(gaussian(sigma), noise, PART)
        metrics = convtool.deconvolve(y, gaussian(sigma), method="tv", boundary="unknown").metrics
        assert metrics["noise_level"] == pytest.approx(noise, rel=0.15)
        shares.append(metrics["weight"] / metrics["noise_level"] ** 2)
    assert shares[0] > 1.7 * shares[1]


def test_crops_choose_about_what_the_whole_would() -> None:
    kernel = gaussian(1.2)
    y, _ = blurred_camera(kernel, 3.0, (slice(100, 340), slice(80, 400)))
    weights = []
    for effort in ("low", "high"):
        metrics = convtool.deconvolve(y, kernel, method="tv", boundary="unknown", effort=effort).metrics
        weights.append(metrics["weight"])
        assert ("crops" in metrics["weight_source"]) == (effort == "low")
    assert 0.5 < weights[0] / weights[1] < 2


@pytest.mark.parametrize("how", [{"boundary": "zero"}, {"boundary": "symmetric", "stride": (2, 1)}])
def test_a_crop_is_the_problem_of_its_data(how: dict[str, Any]) -> None:
    x = np.random.default_rng(5).random((61, 48))
    y = convtool.convolve(x, KERNEL, **how)
    built = model.build(y, KERNEL, is_data=True, shape=x.shape, **how)
    found = crops.crops(observe(built, y, how["boundary"]), 400)
    assert len(found) > 1
    whole = np.pad(x, 1, mode="constant" if how["boundary"] == "zero" else "symmetric")
    for each in found:
        windows = np.lib.stride_tricks.sliding_window_view(y, each.y.shape[2:])
        (place,) = np.argwhere((windows == each.y[0, 0]).all((2, 3)))
        rows = zip(place, built.operator.geometry.stride, each.operator.geometry.grid, strict=True)
        part = whole[tuple(slice(a * s, a * s + n) for a, s, n in rows)]
        np.testing.assert_allclose(each.operator.forward(part[None])[0], each.y[0, 0], atol=1e-12)


# The kernel in doubt -------------------------------------------------------------------------------------------------


def doubts(y: np.ndarray, kernel: np.ndarray) -> list[str]:
    found = convtool.deconvolve(y, kernel, method="tv", boundary="unknown")
    return [note for note in found.notes if "hardly the one that made the data" in note]


def test_a_wrong_kernel_is_doubted_and_the_right_one_is_not() -> None:
    streak = np.zeros((9, 13))
    for t in np.linspace(0, 1, 200):
        streak[round(8 * t), round(12 * t)] += 1
    streak /= streak.sum()
    y, _ = blurred_camera(streak, 1.0, PART)
    assert not doubts(y, streak)
    assert doubts(y, streak[:, ::-1])
    y, _ = blurred_camera(gaussian(1.5), 1.0, PART)
    assert not doubts(y, gaussian(1.5))
    assert doubts(y, gaussian(2.2))


def test_whiteness_tells_noise_from_structure() -> None:
    white = np.random.default_rng(0).normal(size=(2, 60, 70))
    smooth = white + np.roll(white, 1, axis=2)
    assert abs(whiteness(white, None)) < 0.02
    assert whiteness(smooth, None) == pytest.approx(0.25, abs=0.03)  # one neighbour with correlation 1/2
    assert whiteness(7 + 1e-6 * smooth, None) == pytest.approx(whiteness(smooth, None))
    assert whiteness(np.zeros((1, 5, 6)), None) == 0
    weights = (np.random.default_rng(1).random(white.shape) > 0.4).astype(float)
    hidden = np.where(weights > 0, smooth, 1e6)
    assert whiteness(hidden, weights) == pytest.approx(0.25, abs=0.04)
    assert abs(whiteness(np.where(weights > 0, white, 0), weights)) < 0.02


def test_the_probe_is_as_strong_as_the_noise_where_it_is() -> None:
    built = model.build(np.zeros((40, 30)), KERNEL, boundary="unknown", is_data=True)
    y = np.tile(np.linspace(0, 200, 30), (40, 1))
    scene = scenes.of(observe(built, y, "unknown", None, UNCHANGED))
    plain = tv_weight._probe(scene, tv_weight.Level(2.0, 4.0, 0.0))
    assert set(np.unique(plain)) == {-1.0, 0.0, 1.0}
    assert np.abs(plain).sum() == y.size
    growing = tv_weight._probe(scene, tv_weight.Level(10.0, 25.0, 0.75))  # 10 at the mean signal of 100
    np.testing.assert_allclose(growing**2, scene.masked((25 + 0.75 * scene.data) / 100), rtol=1e-6)
