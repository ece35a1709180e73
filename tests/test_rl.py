"""Richardson-Lucy: against the iteration with dense matrices, its limit against an optimiser, and what it promises."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import oracles
import pytest
import scipy.ndimage
import scipy.optimize
import skimage.data
import skimage.restoration
from hypothesis import given, settings
from hypothesis import strategies as st

import convtool
from convtool import model
from convtool.deconvolution import rl
from convtool.deconvolution.solvers import scene as scene_module
from convtool.deconvolution.solvers.poisson_stopping import Risk
from convtool.deconvolution.solvers.richardson_lucy import RichardsonLucy
from convtool.errors import ConvtoolError
from convtool.observation import observe

ODD = np.array([[0.0, 1, 2], [1, 5, 3], [0, 2, 1]]) * 0.11
EVEN = np.array([[1.0, 2, 0.5, 0], [0.5, 4, 3, 1]]) * 0.2
CUBE = np.random.default_rng(1).random((2, 3, 3)) * [[[1]], [[3]]]
FAINT = 0.01  # share of a full view below which a sample keeps its first value


def solved(y: np.ndarray, kernel: np.ndarray, boundary: str = "periodic", **how: Any) -> Any:
    names = rl.Options.__dataclass_fields__
    options = rl.Options(**{name: value for name, value in how.items() if name in names})
    rest = {name: value for name, value in how.items() if name not in names}
    return convtool.deconvolve(y, kernel, method=options, boundary=boundary, **rest)


def divergence(y: np.ndarray, mean: np.ndarray, weights: np.ndarray | float = 1.0) -> float:
    """sum M (y ln(y / mean) - y + mean)."""
    logs = np.where(y > 0, y * np.log(np.where(y > 0, y, 1) / mean), 0)
    return float((weights * (logs - y + mean)).sum())


def counted(seed: int, shape: tuple[int, ...], level: float = 40.0) -> np.ndarray:
    """Photon counts of a lumpy scene."""
    rng = np.random.default_rng(seed)
    scene = scipy.ndimage.gaussian_filter(rng.exponential(level, shape), 0.7)
    return rng.poisson(scene).astype(np.float64)


def dense(kernel: np.ndarray, shape: tuple[int, ...], boundary: str) -> tuple[np.ndarray, tuple[int, ...]]:
    """The matrix of the model for data of a shape, and the grid it acts on."""
    taps = kernel[None, None]
    if boundary != "unknown":
        return oracles.matrix(taps, (1, *shape), boundary=boundary), shape
    grid = tuple(n + k - 1 for n, k in zip(shape, kernel.shape, strict=True))
    return oracles.matrix(taps, (1, *grid), padding="valid"), grid


def iterated(
    A: np.ndarray, y: np.ndarray, n: int, weights: np.ndarray | None = None, background: float = 0.0, norm: float = 1.0
) -> np.ndarray:
    """n iterations by their definition, from the constant that a constant image would be recovered by."""
    M = np.ones_like(y) if weights is None else weights
    seen = A.T @ M
    x = np.full(A.shape[1], (A.T @ (M * (y - background))).sum() / (A.T @ (M * A.sum(1))).sum())
    for _ in range(n):
        ratio = A.T @ (M * y / (A @ x + background))
        x = np.where(seen < FAINT * norm, x, x * ratio / np.maximum(seen, 1e-300))
    return x if background else x * (M * y).sum() / (seen @ x)


# The iteration, by its definition -------------------------------------------------------------------------------------


@pytest.mark.parametrize("boundary", ["unknown", *oracles.BOUNDARIES])
@pytest.mark.parametrize("kernel", [ODD, EVEN], ids=["odd", "even"])
@pytest.mark.parametrize("background", [0.0, 3.0])
@pytest.mark.parametrize("is_masked", [False, True])
def test_an_iteration_is_its_definition(boundary: str, kernel: np.ndarray, background: float, is_masked: bool) -> None:
    shape = (9, 8)
    y = counted(2, shape)
    mask = np.random.default_rng(3).random(shape) > 0.2 if is_masked else None
    A, grid = dense(kernel, shape, boundary)
    weights = None if mask is None else mask.astype(float).ravel()
    for n in (1, 7):
        expected = iterated(A, y.ravel(), n, weights, background, kernel.sum()).reshape(grid)
        how = {"acceleration": "none", "background": background, "mask": mask, "keep_extension": True}
        found = solved(y, kernel, boundary, iterations=n, **how).x
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("boundary", ["unknown", "periodic", "symmetric"])
def test_an_iteration_on_a_stack_is_its_definition(boundary: str) -> None:
    y = counted(4, (4, 5, 6))
    A, grid = dense(CUBE, y.shape, boundary)
    expected = iterated(A, y.ravel(), 5, None, 0.0, CUBE.sum()).reshape(grid)
    found = solved(y, CUBE, boundary, iterations=5, acceleration="none", axes="ZYX", keep_extension=True).x
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_an_iteration_where_channels_mix_is_its_definition() -> None:
    taps = np.random.default_rng(5).random((3, 2, 2, 3))
    y = np.random.default_rng(6).random((3, 6, 7)) + 0.2
    A = oracles.matrix(taps, (2, 6, 7))
    seen, light, full = A.T @ np.ones(y.size), A.T @ y.ravel(), A.T @ A.sum(1)
    x = np.repeat(light.reshape(2, -1).sum(1) / full.reshape(2, -1).sum(1), 42)
    for _ in range(6):
        x = x * (A.T @ (y.ravel() / (A @ x))) / seen
    found = solved(y, taps, iterations=6, acceleration="none", axes="CYX")
    np.testing.assert_allclose(found.x.ravel(), x, rtol=1e-9)


def test_a_stride_is_taken() -> None:
    y = counted(7, (5, 4))
    A = oracles.matrix(ODD[None, None], (1, 9, 8), boundary="edge", stride=2)
    found = solved(y, ODD, "edge", iterations=4, acceleration="none", stride=2, shape=(9, 8)).x
    np.testing.assert_allclose(found.ravel(), iterated(A, y.ravel(), 4, None, 0.0, ODD.sum()), rtol=1e-9)


def accelerated(A: np.ndarray, y: np.ndarray, n: int, acceleration: str) -> tuple[np.ndarray, list[float]]:
    """n accelerated iterations by their definition, and the momentum of each."""
    seen = A.T @ np.ones_like(y)
    x = last = np.full(A.shape[1], (A.T @ y).sum() / (A.T @ A.sum(1)).sum())
    g, a, m, momenta = np.zeros_like(x), 0.0, 0, []
    for _ in range(n):
        p = x + a * (x - last) * np.minimum(1, x / last)
        r = A.T @ (y / (A @ p)) / seen
        last, x = x, np.maximum(p * np.maximum(1.25 * r - 0.25, 0.25 * r), 1e-40)
        m = m + 1 if (seen * (r - 1)) @ (x - last) >= 0 else 0
        angle, g = ((x - p) / np.sqrt(p)) @ g / max((g / np.sqrt(p)) @ g, 1e-300), x - p
        a = m / (m + 3) if acceleration == "heavy-ball" else max(m / (m + 3), angle)
        a = min(a, 0.99) if m else 0.0
        momenta.append(a)
    return x * y.sum() / (seen @ x), momenta


@pytest.mark.parametrize("acceleration", ["biggs-andrews", "heavy-ball"])
def test_an_accelerated_iteration_is_its_definition(acceleration: str) -> None:
    """Through what it chooses among: momentum by age and by angle, at its most, and from anew."""
    kernel = scipy.ndimage.gaussian_filter(np.pad([[1.0]], 2), 1.2)
    y = counted(31, (9, 10), 2000.0)
    A, _ = dense(kernel, y.shape, "symmetric")
    momenta = accelerated(A, y.ravel(), 400, acceleration)[1]
    assert 0.0 in momenta
    assert max(momenta) == 0.99
    by_angle = [a for m, a in enumerate(momenta, 1) if m < momenta.index(0.0) and a > m / (m + 3) + 1e-9]
    assert bool(by_angle) == (acceleration == "biggs-andrews")
    for n in (1, 2, 3, 12, momenta.index(0.0) + 3):
        found = solved(y, kernel, "symmetric", iterations=n, acceleration=acceleration).x
        np.testing.assert_allclose(found.ravel(), accelerated(A, y.ravel(), n, acceleration)[0], rtol=1e-6, atol=1e-20)


# Where it leads -------------------------------------------------------------------------------------------------------


def likeliest(A: np.ndarray, y: np.ndarray, background: float, penalty: Any = None) -> float:
    """The least objective over x >= 0, by SciPy."""

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        mean = A @ x + background
        value, slope = divergence(y, mean), A.T @ (1 - y / mean)
        if penalty is not None:
            more, slope_more = penalty(x)
            value, slope = value + more, slope + slope_more
        return value, slope

    start, bounds = np.full(A.shape[1], y.mean() / A.sum(1).mean()), [(0, None)] * A.shape[1]
    options = {"maxiter": 20000, "maxfun": 100000, "ftol": 1e-15, "gtol": 1e-9}
    return float(scipy.optimize.minimize(objective, start, jac=True, bounds=bounds, options=options).fun)


@pytest.mark.parametrize("acceleration", ["none", "biggs-andrews", "heavy-ball"])
def test_the_limit_is_the_likeliest_image(acceleration: str) -> None:
    y, background = counted(8, (7, 8), 6.0), 1.5
    A, _ = dense(EVEN, y.shape, "symmetric")
    best = likeliest(A, y.ravel(), background)
    how = {"iterations": 2000, "acceleration": acceleration, "background": background}
    solution = solved(y, EVEN, "symmetric", **how)
    reached = divergence(y.ravel(), A @ solution.x.ravel() + background)
    assert best - 1e-9 <= reached <= best * 1.0005
    assert solution.metrics["i_divergence"] == pytest.approx(reached, rel=1e-9)


@pytest.mark.parametrize("acceleration", ["none", "biggs-andrews", "heavy-ball"])
def test_the_limit_with_total_variation_is_the_least_of_both(acceleration: str) -> None:
    y, weight = counted(9, (6, 7)), 0.03
    A, _ = dense(ODD, y.shape, "symmetric")
    unit = np.ptp(np.percentile(y, (0.1, 99.9))) / 255
    flat = 0.25 * unit / ODD.sum()  # the differences that count as none

    def penalty(x: np.ndarray) -> tuple[float, np.ndarray]:
        image = x.reshape(y.shape)
        d = np.zeros((2, *y.shape))
        d[0, :-1], d[1, :, :-1] = np.diff(image, axis=0), np.diff(image, axis=1)
        size = np.sqrt((d**2).sum(0) + flat**2)
        g, slope = d / size, np.zeros(y.shape)
        slope[:-1] -= g[0, :-1]
        slope[1:] += g[0, :-1]
        slope[:, :-1] -= g[1, :, :-1]
        slope[:, 1:] += g[1, :, :-1]
        return weight * size.sum(), weight * slope.ravel()

    best = likeliest(A, y.ravel(), 0.0, penalty)

    def objective(iterations: int, tv: float) -> float:
        x = solved(y, ODD, "symmetric", iterations=iterations, tv=tv, acceleration=acceleration).x.ravel()
        return divergence(y.ravel(), A @ x) + penalty(x)[0]

    assert best - 1e-9 <= objective(1500, weight) <= best * 1.002
    assert objective(1500, 0.0) > 1.05 * best
    if acceleration == "none":
        assert (np.diff([objective(n, weight) for n in (1, 2, 3, 5, 10, 40, 200)]) < 0).all()


@pytest.mark.parametrize("boundary", ["unknown", "zero", "periodic"])
def test_the_i_divergence_never_rises(boundary: str) -> None:
    solution = solved(counted(10, (20, 23)), EVEN, boundary, iterations=60, acceleration="none")
    values = [row["i_divergence"] for row in solution.metrics["log"]] + [solution.metrics["i_divergence"]]
    assert len(values) == 17
    assert (np.diff(values) < 0).all()


# Flux and sign --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("boundary", ["unknown", *oracles.BOUNDARIES])
@pytest.mark.parametrize("acceleration", ["none", "biggs-andrews", "heavy-ball"])
def test_flux_is_kept(boundary: str, acceleration: str) -> None:
    for dtype in ("float32", "float64"):
        y = counted(11, (31, 26)).astype(dtype)
        mask = np.random.default_rng(12).random(y.shape) > 0.1
        how: dict[str, Any] = {"iterations": 12, "acceleration": acceleration, "mask": mask, "keep_extension": True}
        x = solved(y, EVEN, boundary, **how).x.astype(np.float64)
        padding = "valid" if boundary == "unknown" else "same"
        mode = "zero" if boundary == "unknown" else boundary
        seen = convtool.convolve(x, EVEN, boundary=mode, padding=padding)
        assert seen[mask].sum() == pytest.approx(y[mask].sum(dtype=np.float64), rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_nothing_is_negative_or_no_number(data: st.DataObject) -> None:
    shape = data.draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    values = st.floats(-2.0, 1e6, width=32) | st.just(0.0)
    y = np.array(data.draw(st.lists(values, min_size=shape[0] * shape[1], max_size=shape[0] * shape[1])))
    kernel = np.array(data.draw(st.lists(st.floats(0, 5), min_size=6, max_size=6))).reshape(2, 3)
    kernel[0, 1] += 1e-3
    how: dict[str, Any] = {
        "boundary": data.draw(st.sampled_from(["unknown", *oracles.BOUNDARIES])),
        "acceleration": data.draw(st.sampled_from(["none", "biggs-andrews", "heavy-ball"])),
        "background": data.draw(st.sampled_from([0.0, 1.0, None])),
        "iterations": data.draw(st.sampled_from([None, 15])),
        "limit": 40,
        "tv": data.draw(st.sampled_from([0.0, 1e-5])),
    }
    x = solved(y.reshape(shape).astype(data.draw(st.sampled_from(["float32", "float64"]))), kernel, **how).x
    assert np.isfinite(x).all()
    assert (x >= 0).all()


def test_negative_data_count_as_none_and_are_told() -> None:
    y = counted(13, (12, 14))
    y[2, 3], y[5, 5] = -4.0, -0.5
    solution = solved(y, ODD, iterations=5)
    assert any("2 of 168 data are negative, down to -4" in note for note in solution.notes)
    np.testing.assert_allclose(solution.x, solved(np.maximum(y, 0), ODD, iterations=5).x, rtol=1e-12)
    assert not solved(np.maximum(y, 0), ODD, iterations=5).notes


def test_what_the_mask_leaves_out_has_no_say() -> None:
    y = counted(14, (15, 16))
    mask = np.ones(y.shape)
    mask[4:7, 5:9] = 0
    spoilt = np.where(mask, y, 1e5)
    first, second = (solved(each, ODD, "unknown", mask=mask, iterations=9).x for each in (y, spoilt))
    np.testing.assert_allclose(first, second, rtol=1e-9)


def test_an_even_kernel_does_not_drift() -> None:
    """A spot stays where it is; scikit-image's moves, since it flips an even kernel about another centre."""
    x = np.zeros((48, 48))
    x[20, 27] = 100
    kernel = np.outer([1.0, 3, 3, 1], [1.0, 3, 3, 1]) / 64
    y = convtool.convolve(x, kernel, boundary="zero") + 0.01

    def centre(image: np.ndarray) -> np.ndarray:
        rows, columns = np.indices(image.shape)
        return np.array([(rows * image).sum(), (columns * image).sum()]) / image.sum()

    found = solved(y, kernel, "unknown", iterations=50, acceleration="none", background=0.01).x
    np.testing.assert_allclose(centre(found), (20, 27), atol=0.02)
    theirs = skimage.restoration.richardson_lucy(y, kernel, num_iter=50, clip=False)
    assert np.abs(centre(theirs) - (20, 27)).max() > 0.2


# Acceleration ---------------------------------------------------------------------------------------------------------


@functools.cache
def scenes() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(scene, kernel): a photograph, stars on a sky, beads in a stack."""
    rng = np.random.default_rng(15)
    stars = np.full((120, 128), 20.0)
    stars[rng.integers(0, 120, 60), rng.integers(0, 128, 60)] += rng.pareto(1.5, 60) * 400
    beads = np.full((20, 40, 44), 4.0)
    beads[rng.integers(0, 20, 50), rng.integers(0, 40, 50), rng.integers(0, 44, 50)] += 4000
    beads = scipy.ndimage.gaussian_filter(beads, 0.8)
    line = np.eye(9) + np.eye(9, k=1)
    ball = scipy.ndimage.gaussian_filter(np.pad([[[1.0]]], ((3, 4), (4, 4), (4, 4))), (1.2, 1.6, 1.6))
    spot = scipy.ndimage.gaussian_filter(np.pad([[1.0]], ((6, 7), (7, 7))), (1.6, 1.9))
    photograph = skimage.data.camera()[60:220, 150:300].astype(float)
    ring = np.exp(-0.5 * ((np.hypot(*(np.mgrid[:13, :12] - 6)) - 3) / 0.7) ** 2)
    return {
        "photograph": (photograph, line / line.sum()),
        "stars": (stars, spot),
        "bright stars": (1e4 * np.maximum(stars - 20, 0), ring / ring.sum()),
        "few photons": (np.maximum(stars - 20, 0) / 50, line / line.sum()),
        "beads": (beads, ball),
    }


@functools.cache
def plain(name: str, boundary: str) -> tuple[np.ndarray, float]:
    """Counts, and the I-divergence of plain Richardson-Lucy after 100 iterations."""
    scene, kernel = scenes()[name]
    mean = convtool.convolve(
        scene, kernel, axes="ZYX"[-scene.ndim :], padding="valid" if boundary == "unknown" else "same"
    )
    y = np.random.default_rng(16).poisson(np.maximum(mean, 0)).astype(np.float32)
    y.setflags(write=False)
    how = {"iterations": 100, "acceleration": "none", "axes": "ZYX"[-scene.ndim :]}
    return y, solved(y, kernel, boundary, **how).metrics["i_divergence"]


@pytest.mark.parametrize("acceleration", ["biggs-andrews", "heavy-ball"])
@pytest.mark.parametrize("boundary", ["unknown", "periodic"])
@pytest.mark.parametrize("name", ["photograph", "stars", "bright stars", "few photons", "beads"])
def test_25_accelerated_iterations_do_the_work_of_100(name: str, boundary: str, acceleration: str) -> None:
    y, aim = plain(name, boundary)
    how = {"acceleration": acceleration, "axes": "ZYX"[-y.ndim :]}
    found = solved(y, scenes()[name][1], boundary, iterations=25, **how).metrics["i_divergence"]
    assert found <= aim
    how["acceleration"] = "none"
    assert solved(y, scenes()[name][1], boundary, iterations=25, **how).metrics["i_divergence"] > 1.005 * aim


# Where it stops -------------------------------------------------------------------------------------------------------


def noisy(sigma: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(8-bit frame of a photograph, truth, kernel)."""
    scene = skimage.data.camera()[60:260, 150:350].astype(float)
    kernel = np.outer(np.ones(7), np.ones(6)) / 42
    y = convtool.convolve(scene, kernel, padding="valid")
    y = np.clip(np.round(y + np.random.default_rng(17).normal(0, sigma, y.shape)), 0, 255).astype(np.uint8)
    return y, scene[3 : 3 + y.shape[0], 2 : 2 + y.shape[1]], kernel  # output t lies on t + n - 1 - n // 2


def psnr(x: np.ndarray, truth: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((x - truth) ** 2)))


@pytest.mark.parametrize("sigma", [0.7, 3.0])
def test_it_stops_where_the_noise_begins(sigma: float) -> None:
    y, truth, kernel = noisy(sigma)
    solution = solved(y, kernel, "unknown")
    assert "reached the noise" in solution.stop
    count = solution.metrics["iterations"]
    every = solved(y, kernel, "unknown", iterations=3 * count + 20, snapshots=1).snapshots
    best = max(psnr(x, truth) for x in every.values())
    assert psnr(solution.x, truth) > best - 0.35
    assert psnr(every[3 * count + 20], truth) < best - 0.8
    np.testing.assert_array_equal(every[count], solution.x)


def test_another_kernel_is_no_noise() -> None:
    """Data that are sharper than the kernel allows: the iterations end, and the residual is called what it is."""
    sharp = np.random.default_rng(24).poisson(scenes()["stars"][0]).astype(np.float64)
    stop = solved(sharp, scenes()["stars"][1], "unknown").stop
    assert "no more signal was found" in stop
    assert "times the noise measured in the data: is it another kernel?" in stop


@functools.cache
def photons(name: str, level: float, kernel_of: str = "") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(counts of a scene whose mean is level, their means, another scene's kernel or its own)."""
    scene, _ = scenes()[name]
    kernel = scenes()[kernel_of or name][1]
    mean = convtool.convolve(scene * (level / scene.mean()), kernel, padding="valid")
    return np.random.default_rng(32).poisson(mean).astype(np.float64), mean, kernel


@pytest.mark.parametrize(
    ("name", "level"), [("photograph", 300), ("photograph", 3000), ("stars", 100), ("stars", 1000)]
)
def test_it_stops_where_the_data_without_noise_are_nearest(name: str, level: float) -> None:
    """The risk that is estimated, beside the one that a known truth tells."""
    y, mean, kernel = photons(name, level)
    count = solved(y, kernel, "unknown").metrics["iterations"]
    how = {"iterations": 6 * count + 20, "snapshots": 1, "keep_extension": True}
    every = solved(y, kernel, "unknown", **how).snapshots
    risks = {n: np.square(convtool.convolve(x, kernel, padding="valid") - mean).sum() for n, x in every.items()}
    assert risks[count] < 1.05 * min(risks.values())
    assert risks[6 * count + 20] > 1.05 * risks[count]
    assert risks[count // 3] > 1.2 * risks[count]


def test_the_second_run_is_the_first_on_other_data() -> None:
    """On the same data it makes the same estimates, whatever the first chooses of its momentum."""
    y, _, kernel = photons("photograph", 1000, "stars")
    observation = observe(model.build(y, kernel, is_data=True, boundary="unknown"), y, "unknown", None, None)
    scene = scene_module.of(observation)
    twins: list[RichardsonLucy] = []

    def twin(data: np.ndarray) -> RichardsonLucy:
        twins.append(RichardsonLucy(scene, data, scene.weights, 0.0, "heavy-ball"))
        return twins[0]

    run = RichardsonLucy(scene, scene.data, scene.weights, 0.0, "biggs-andrews")
    risk = Risk(scene.data, scene.weights, (0.0, 0.0), twin)
    for n in range(25):
        risk.advance(run, is_measured=n == 0)
    np.testing.assert_array_equal(run.x, twins[0].x)


def test_more_photons_mean_more_iterations() -> None:
    counts = []
    for level in (30, 1000, 30000):
        y, _, kernel = photons("photograph", level, "stars")
        counts.append(solved(y, kernel, "unknown").metrics["iterations"])
    assert counts[2] > 1.5 * counts[1] > 2 * counts[0]


def test_a_kernel_of_one_tap_has_a_noise_to_stop_at() -> None:
    """Nothing can be gained: the data are the image, and no smoother one explains them."""
    y, _, _ = photons("photograph", 100)
    stop = solved(y, np.array([[0.05, 0.9, 0.05]]), "unknown").stop
    assert "reached the noise" in stop


def test_what_comes_after_the_stop_is_not_told() -> None:
    y, _, kernel = photons("photograph", 100)
    solution = solved(y, kernel, "unknown", snapshots=1)
    count = solution.metrics["iterations"]
    assert max(solution.snapshots) == count
    np.testing.assert_array_equal(solution.snapshots[count], solution.x)
    asked = solved(y, kernel, "unknown", iterations=count)
    np.testing.assert_array_equal(asked.x, solution.x)
    for name in ("log", "i_divergence", "relative_change", "residual_to_noise"):
        assert solution.metrics[name] == asked.metrics[name]


def test_more_noise_means_fewer_iterations() -> None:
    counts = [solved(noisy(sigma)[0], noisy(sigma)[2], "unknown").metrics["iterations"] for sigma in (0.5, 3.0, 12.0)]
    assert counts[0] > 1.5 * counts[1] > 2 * counts[2]


def test_without_noise_it_goes_on_until_nothing_changes() -> None:
    x = scipy.ndimage.gaussian_filter(np.random.default_rng(18).random((40, 44)), 2.0, mode="wrap")
    kernel = np.outer([1.0, 3, 3, 1], [1, 2.0, 1]) / 32
    solution = solved(scipy.ndimage.convolve(x, kernel, mode="wrap"), kernel)
    assert "reached the noise" not in solution.stop
    assert np.linalg.norm(solution.x - x) < 0.002 * np.linalg.norm(x)


def test_a_count_and_a_change_are_obeyed() -> None:
    y = counted(19, (30, 31))
    assert solved(y, ODD, iterations=7).stop == "made the 7 iterations that were asked for"
    by_change = solved(y, ODD, tol=0.01, acceleration="none")
    assert "changed by less than 0.01 of itself" in by_change.stop
    n = by_change.metrics["iterations"]
    before = solved(y, ODD, iterations=n - 1, acceleration="none")
    assert before.metrics["relative_change"] >= 0.01 > by_change.metrics["relative_change"]
    assert "gave up at the limit of 3" in solved(y, ODD, tol=1e-9, limit=3).stop
    assert solved(y, ODD, iterations=3, tol=1e-9).stop == "made the 3 iterations that were asked for"


def test_giving_up_at_the_limit_is_told() -> None:
    y = counted(19, (30, 31))

    def told(**options: Any) -> list[str]:
        return [note for note in solved(y, ODD, **options).notes if "gave up at the limit of 3" in note]

    (note,) = told(tol=1e-9, limit=3)
    assert "--set limit=12 to go on, or --set iterations=3" in note
    assert told(iterations=3) == told(tol=0.5, limit=3) == []
    y = np.stack([y, 0 * y])  # one of them is dark, and needs no iterations
    (note,) = [each for each in solved(y, ODD, tol=1e-9, limit=3, axes="NYX").notes if "gave up" in each]
    assert note.startswith("those of 1 of 2 images")


def test_snapshots_are_the_images_on_the_way() -> None:
    y = np.stack([counted(20, (12, 11)), counted(21, (12, 11))])
    solution = solved(y, ODD, iterations=10, snapshots=4, axes="NYX")
    assert list(solution.snapshots) == [4, 8]
    np.testing.assert_array_equal(solution.snapshots[8], solved(y, ODD, iterations=8, axes="NYX").x)


# Background and units -------------------------------------------------------------------------------------------------


def test_a_background_is_no_part_of_the_image() -> None:
    level = np.full((12, 13), 7.0)
    np.testing.assert_allclose(solved(level, ODD, "unknown", background=2.0).x, 5 / ODD.sum(), rtol=1e-9)
    dark = solved(level, ODD, "unknown", background=8.0)
    assert "nowhere above the background" in dark.stop
    np.testing.assert_array_equal(dark.x, 0)


def test_an_even_sky_is_found_between_stars_and_is_not_taken_from_a_photograph() -> None:
    y, _ = plain("stars", "unknown")
    found = solved(y, scenes()["stars"][1], "unknown", background=None, iterations=5)
    assert found.metrics["background"] == pytest.approx(20, abs=0.7)
    assert any("even background" in note for note in found.notes)
    bright, _, kernel = noisy(1.0)
    assert solved(bright, kernel, "unknown", background=None, iterations=5).metrics["background"] < np.percentile(
        bright, 8
    )


def test_options_are_in_the_users_units() -> None:
    y = counted(22, (14, 15))
    how = {"iterations": 8, "tv": 0.02}
    once = solved(y, ODD, "unknown", background=3.0, **how)
    thousand = solved(1e3 * y, ODD, "unknown", background=3e3, **how)
    np.testing.assert_allclose(thousand.x, 1e3 * once.x, rtol=1e-9)
    assert thousand.metrics["i_divergence"] == pytest.approx(1e3 * once.metrics["i_divergence"])
    gain = solved(y, 5 * ODD, "unknown", background=3.0, iterations=8, tv=0.1)
    np.testing.assert_allclose(gain.x, once.x / 5, rtol=1e-9)


# What is refused ------------------------------------------------------------------------------------------------------


def test_negative_taps_are_refused() -> None:
    kernel = ODD.copy()
    kernel[0, 0] = -0.1
    with pytest.raises(ConvtoolError, match=r"without negative taps .* got 1, the lowest -0.1"):
        solved(counted(23, (8, 9)), kernel)
    kernel[0, 0] = -1e-12  # rounding
    solved(counted(23, (8, 9)), kernel, iterations=2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"iterations": 0},
        {"limit": 0},
        {"snapshots": 0},
        {"tol": 0.0},
        {"tol": float("nan")},
        {"background": -1.0},
        {"tv": -0.1},
        {"tv": 10.0},
        {"tv": float("nan")},
    ],
)
def test_senseless_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConvtoolError, match=next(iter(wrong))):
        solved(counted(23, (8, 9)), ODD, **wrong)
