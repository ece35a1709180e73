"""Kernels estimated from images, against explicit design matrices, SciPy's optimisers and known truths."""

from __future__ import annotations

import doctest
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view
from scipy.optimize import lsq_linear, minimize, nnls

import convtool.kernels
from convtool.errors import DataError, SettingError
from convtool.estimation import constrained, evidence, from_pair, from_stars, registration, smoothness, sources
from convtool.estimation.estimate import centroid, rim_share, widths
from convtool.estimation.moments import data_products, window_products, window_sums
from convtool.estimation.stars import _projected

SAMPLES = Path(__file__).parents[1] / "sample_images"
TAPS = np.array([[0.02, 0.1, 0.05, 0.0], [0.0, 0.4, 0.2, 0.03], [0.07, 0.0, 0.1, 0.03]])  # asymmetric, 3 x 4


def design(x: np.ndarray, taps: tuple[int, ...]) -> np.ndarray:
    """[windows, taps]: what each tap of a correlation meets in each window inside the frame."""
    return sliding_window_view(x, taps).reshape(-1, int(np.prod(taps)))


def relative(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.linalg.norm(found - truth) / np.linalg.norm(truth))


# The normal equations ----------------------------------------------------------------------------------------------


@st.composite
def frames(draw: st.DrawFn) -> tuple[np.ndarray, tuple[int, ...]]:
    axes = draw(st.integers(1, 3))
    taps = tuple(draw(st.integers(1, 5 if axes < 3 else 3)) for _ in range(axes))
    shape = tuple(n + draw(st.integers(0, 9 if axes < 3 else 4)) for n in taps)
    return np.random.default_rng(draw(st.integers(0, 99))).normal(size=shape), taps


@settings(max_examples=60, deadline=None)
@given(frames())
def test_sums_over_windows_are_those_of_the_explicit_matrix(frame: tuple[np.ndarray, tuple[int, ...]]) -> None:
    x, taps = frame
    matrix = design(x, taps)
    y = np.random.default_rng(1).normal(size=[n - m + 1 for n, m in zip(x.shape, taps, strict=True)])
    expected = (matrix.T @ matrix).reshape(*taps, *taps)
    np.testing.assert_allclose(window_products(x, taps), expected, atol=1e-12 * x.size)
    np.testing.assert_allclose(data_products(x, y, taps), (matrix.T @ y.ravel()).reshape(taps), atol=1e-12 * x.size)
    np.testing.assert_allclose(window_sums(x, taps), matrix.sum(axis=0).reshape(taps), atol=1e-12 * x.size)


@pytest.mark.parametrize("sum_one", [True, False])
def test_evidence_is_the_mean_squared_residual(sum_one: bool) -> None:
    rng = np.random.default_rng(2)
    planes = [(rng.normal(5 + 3 * i, 1, (12, 15)), rng.normal(2, 1, (10, 12))) for i in range(2)]
    sums = evidence.collected(planes, (3, 4))
    w = rng.normal(size=12)
    w = w / w.sum() if sum_one else w
    left = [y.ravel() - design(x, (3, 4)) @ w for x, y in planes]
    same = np.mean(np.square(left))
    assert evidence.same(sums, sum_one).residual(w) == pytest.approx(same, rel=1e-9)
    apart = np.mean([np.square(r - r.mean()) for r in left])
    assert evidence.fitted(sums).residual(w) == pytest.approx(apart, rel=1e-9)
    assert evidence.fitted(sums).count == 240


# Least squares with constraints ------------------------------------------------------------------------------------


def check_optimality(a: np.ndarray, c: np.ndarray, w: np.ndarray, total: float | None) -> None:
    """The conditions of Karush, Kuhn and Tucker."""
    gradient = a @ w - c
    scale = abs(c).max() + abs(a @ w).max()
    nu = 0.0 if total is None else float(gradient[w > 0].mean())
    assert (w >= 0).all()
    assert (gradient - nu >= -1e-8 * scale).all()
    assert abs((gradient - nu)[w > 0]).max(initial=0) <= 1e-8 * scale
    if total is not None:
        assert w.sum() == pytest.approx(total)


@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 25),
    st.integers(0, 999),
    st.sampled_from([None, 1.0, 0.01, 30.0]),
    st.sampled_from([0.1, 1e-3, 1e-6]),
    st.booleans(),
)
def test_constrained_least_squares_is_optimal(
    n: int, seed: int, total: float | None, ridge: float, correlated: bool
) -> None:
    rng = np.random.default_rng(seed)
    b = rng.normal(size=(2 * n, n)) + (2 if correlated else 0)
    a, c = b.T @ b / n + ridge * np.eye(n), rng.normal(size=n)
    w = constrained.minimiser(a, c, total, start=rng.random(n) > 0.5)
    check_optimality(a, c, w, total)
    slow = constrained._descended(a, c, total)
    check_optimality(a, c, slow, total)
    np.testing.assert_allclose(slow, w, atol=1e-6 * (abs(w).max() + 1e-3))
    if total is None:
        root = np.linalg.cholesky(a).T
        np.testing.assert_allclose(w, nnls(root, np.linalg.solve(root.T, c))[0], atol=1e-6 * (abs(w).max() + 1e-3))
    signed = constrained.minimiser(a, c, total, signed=True)
    value = [0.5 * v @ a @ v - c @ v for v in (signed, w)]
    assert value[0] <= value[1] + 1e-9


def test_constrained_least_squares_agrees_with_slsqp() -> None:
    rng = np.random.default_rng(5)
    b = rng.normal(size=(12, 8))
    a, c = b.T @ b, rng.normal(size=8) * 5
    held = {"type": "eq", "fun": lambda v: v.sum() - 1}
    found = minimize(
        lambda v: 0.5 * v @ a @ v - c @ v,
        np.full(8, 1 / 8),
        jac=lambda v: a @ v - c,
        bounds=[(0, None)] * 8,
        constraints=[held],
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    w = constrained.minimiser(a, c, 1.0)
    assert (w == 0).any()
    np.testing.assert_allclose(w, found.x, atol=1e-6)
    free = constrained.minimiser(a, c, 1.0, signed=True)
    assert free.min() < 0
    assert free.sum() == pytest.approx(1)


# The penalty and its weight ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("taps", [(7,), (4, 5), (3, 1, 4)])
def test_the_penalty_is_the_squared_laplacian(taps: tuple[int, ...]) -> None:
    w = np.random.default_rng(3).normal(size=taps)
    r = smoothness.penalty(taps)
    second = [np.pad(w, 1)] * 1
    padded = second[0]
    laplacian = sum(np.roll(padded, s, axis) for axis in range(w.ndim) for s in (1, -1)) - 2 * w.ndim * padded
    inner = laplacian[tuple(slice(1, -1) for _ in taps)]
    unit = 4 * w.ndim**2 + 2 * w.ndim
    assert w.ravel() @ r @ w.ravel() == pytest.approx(float((inner**2).sum()) / unit)


def test_the_weight_minimises_generalised_cross_validation() -> None:
    rng = np.random.default_rng(4)
    x = scipy.ndimage.gaussian_filter(rng.normal(size=(30, 40)), 1.5)
    matrix = design(x, (5, 5))
    matrix = matrix - matrix.mean(axis=0)
    k = np.outer(*[np.hanning(7)[1:-1]] * 2).ravel()
    y = matrix @ k + 0.05 * rng.normal(size=len(matrix))
    y -= y.mean()
    r = smoothness.penalty((5, 5))
    found = evidence.Evidence(matrix.T @ matrix / len(y), matrix.T @ y / len(y), float(y @ y) / len(y), len(y))

    def score(weight: float) -> float:
        hat = matrix @ np.linalg.solve(matrix.T @ matrix + len(y) * weight * r, matrix.T)
        return float(np.mean((y - hat @ y) ** 2) / (1 - np.trace(hat) / len(y)) ** 2)

    chosen = smoothness.chosen_weight(found, r)
    tried = chosen * 10.0 ** np.linspace(-3, 3, 25)
    assert score(chosen) <= min(map(score, tried)) * (1 + 1e-9)
    assert score(chosen) < 0.999 * score(tried[-1])


# From a pair -------------------------------------------------------------------------------------------------------


def blurred(x: np.ndarray, taps: np.ndarray, origin: tuple[int, ...], operation: str = "convolve") -> np.ndarray:
    """What the taps make of x by SciPy, with noise outside the windows that lie inside the frame."""
    shift = [o - n // 2 for o, n in zip(origin, taps.shape, strict=True)]
    if operation == "correlate":
        return scipy.ndimage.correlate(x, taps, mode="constant", cval=-77, origin=shift)
    return scipy.ndimage.convolve(x, taps, mode="constant", cval=-77, origin=shift)


@pytest.mark.parametrize("operation", ["convolve", "correlate"])
@pytest.mark.parametrize("origin", [(1, 2), (0, 0), (2, 3), (0, 2)])
def test_known_taps_come_back_exactly(operation: str, origin: tuple[int, int]) -> None:
    x = np.random.default_rng(6).random((30, 37)) * 200
    y = blurred(x, TAPS, origin, operation)
    found = from_pair(y, x, TAPS.shape, operation=operation, origin=origin)
    np.testing.assert_allclose(found.kernel, TAPS, atol=1e-7)
    assert found.metrics["brightness"] == "same"
    assert found.kernel.dtype == np.float64
    if origin == (1, 2):  # the default
        np.testing.assert_array_equal(from_pair(y, x, TAPS.shape, operation=operation).kernel, found.kernel)
    else:
        assert relative(from_pair(y, x, TAPS.shape, operation=operation).kernel, TAPS) > 0.1


def test_a_larger_support_changes_nothing() -> None:
    x = np.random.default_rng(7).random((50, 47))
    y = blurred(x, TAPS, (1, 2))
    found = from_pair(y, x, (8, 9)).kernel
    exact = np.zeros((8, 9))
    exact[3:6, 2:6] = TAPS
    np.testing.assert_allclose(found, exact, atol=1e-6)


@pytest.mark.parametrize(("signed", "offset"), [(False, False), (True, False), (False, True), (True, True)])
def test_taps_minimise_the_penalised_residual(signed: bool, offset: bool) -> None:
    rng = np.random.default_rng(8)
    x, taps, weight = rng.random((20, 23)) + 3, (3, 4), 0.02
    y = blurred(x, TAPS, (1, 2)) + 0.3 * rng.normal(size=x.shape)
    matrix = design(x, taps)
    data = y[1:-1, 1:-2].ravel()  # convolution: the window of origin (1, 2) has one column before and two after
    scene = matrix.var(axis=0).mean()
    second = np.linalg.cholesky(smoothness.penalty(taps)).T * np.sqrt(weight * scene * len(data))
    columns = np.hstack([matrix, np.ones((len(data), 1))]) if offset else matrix
    rows = np.vstack([columns, np.hstack([second, np.zeros((12, 1))]) if offset else second])
    least = np.append(np.full(12, -np.inf if signed else 0), [-np.inf] * offset)
    oracle = lsq_linear(rows, np.append(data, np.zeros(12)), (least, np.inf), tol=1e-14, lsmr_tol=1e-14).x
    found = from_pair(
        y, x, taps, signed=signed, sum_one=False, brightness="fitted" if offset else "same", weight=weight
    )
    np.testing.assert_allclose(np.flip(found.kernel).ravel(), oracle[:12], atol=2e-6)
    assert ((found.kernel < 0).any()) == signed
    if offset:
        assert found.metrics["offset"][0] == pytest.approx(oracle[12], abs=1e-4)
    one = from_pair(y, x, taps, signed=signed, brightness="fitted", weight=weight)
    if offset:
        np.testing.assert_allclose(one.kernel, found.kernel / found.kernel.sum(), atol=1e-12)
        assert one.metrics["gain"] == pytest.approx(found.kernel.sum())


def test_channels_images_and_slices_share_the_kernel() -> None:
    rng = np.random.default_rng(9)
    x = rng.random((20, 24, 3)) * [1, 20, 100] + [0, 50, 9]
    y = np.stack([blurred(x[..., i], TAPS, (1, 2)) for i in range(3)], axis=-1)
    np.testing.assert_allclose(from_pair(y, x, (3, 4), axes="YXC").kernel, TAPS, atol=1e-6)
    stacked = from_pair(y.transpose(2, 0, 1), x.transpose(2, 0, 1), (3, 4), axes="NYX")
    np.testing.assert_allclose(stacked.kernel, TAPS, atol=1e-6)
    by_slice = from_pair(y.transpose(2, 0, 1), x.transpose(2, 0, 1), (3, 4), axes="ZYX")
    np.testing.assert_array_equal(by_slice.kernel, stacked.kernel)
    # Every channel has an offset of its own, and all have one gain.
    changed = from_pair(0.5 * y + [3, -8, 100], x, (3, 4), axes="YXC")
    np.testing.assert_allclose(changed.kernel, TAPS, atol=1e-6)
    assert changed.metrics["gain"] == pytest.approx(0.5, abs=1e-6)
    np.testing.assert_allclose(changed.metrics["offset"], [3, -8, 100], atol=1e-3)


def test_a_stack_has_a_kernel_with_depth() -> None:
    rng = np.random.default_rng(10)
    taps = rng.random((2, 3, 4)) * (rng.random((2, 3, 4)) > 0.4)
    taps /= taps.sum()
    x = rng.random((11, 14, 15))
    found = from_pair(blurred(x, taps, (1, 1, 2)), x, (2, 3, 4), axes="ZYX")
    np.testing.assert_allclose(found.kernel, taps, atol=1e-6)
    assert from_pair(x, x, 3, axes="ZYX").kernel.shape == (3, 3, 3)


KERNELS = {
    "gaussian": "gaussian:sigma=1.6,size=13",
    "disk": "disk:radius=4",
    "motion": "motion:length=9,angle=30",
    "moffat": "moffat:fwhm=3,size=15",
}
# The relative errors reached in 8 bits with noise of 0, 1 and 5, and a fifth more.
REACHED = {
    ("camera.png", "gaussian"): (0.005, 0.012, 0.036),
    ("camera.png", "disk"): (0.006, 0.022, 0.085),
    ("camera.png", "motion"): (0.0011, 0.005, 0.026),
    ("camera.png", "moffat"): (0.009, 0.024, 0.06),
    ("chelsea.png", "gaussian"): (0.01, 0.02, 0.06),
    ("chelsea.png", "disk"): (0.012, 0.045, 0.15),
    ("chelsea.png", "motion"): (0.0026, 0.009, 0.05),
    ("chelsea.png", "moffat"): (0.018, 0.038, 0.09),
}


@pytest.mark.parametrize(("name", "family"), REACHED)
def test_kernels_from_photographs(name: str, family: str) -> None:
    rng = np.random.default_rng(11)
    image = iio.imread(SAMPLES / name)
    image = image[..., 1] if image.ndim == 3 else image
    taps = convtool.kernels.make(KERNELS[family])
    truth = np.pad(taps, [((15 - n) // 2,) * 2 for n in taps.shape])
    exact = scipy.ndimage.convolve(image.astype(np.float64), truth, mode="nearest")
    for noise, limit in zip((0, 1, 5), REACHED[name, family], strict=True):
        y = np.rint(exact + noise * rng.normal(size=exact.shape)).clip(0, 255).astype(np.uint8)
        found = from_pair(y, image, 15)
        assert relative(found.kernel, truth) < limit
        assert found.kernel.min() >= 0
        assert found.kernel.sum() == pytest.approx(1, abs=1e-12)
        assert found.metrics["brightness"] == "same"
        assert found.metrics["noise_level"] == pytest.approx(np.hypot(noise, 12**-0.5), rel=0.05)
        assert relative(found.kernel, truth) == pytest.approx(found.metrics["relative_error"], rel=0.6)


@pytest.mark.parametrize("mode", ["held", "scaled", "free"])
def test_standard_errors_are_those_of_repeated_noise(mode: str) -> None:
    rng = np.random.default_rng(12)
    x = rng.normal(size=(60, 70)) * 100
    x -= 0.8 * scipy.ndimage.uniform_filter(x, 3)  # little of the mean, so that the sum is worth knowing
    y = blurred(x, TAPS, (1, 2))
    settings_ = {
        "held": {"brightness": "same"},
        "scaled": {"brightness": "fitted"},
        "free": {"brightness": "same", "sum_one": False},
    }
    words: dict[str, Any] = {"signed": True, "weight": 1e-9, **settings_[mode]}
    runs = [from_pair(y + 2 * rng.normal(size=y.shape), x, (3, 4), **words) for _ in range(60)]
    spread = np.std([run.kernel for run in runs], axis=0)
    expected = np.mean([run.standard_error for run in runs], axis=0)
    np.testing.assert_allclose(np.sqrt((spread**2).mean()), np.sqrt((expected**2).mean()), rtol=0.1)
    np.testing.assert_allclose(spread, expected, rtol=0.35)
    np.testing.assert_allclose(np.mean([run.kernel for run in runs], axis=0), TAPS, atol=4 * spread.max() / 60**0.5)


def test_choices_follow_the_data() -> None:
    rng = np.random.default_rng(13)
    x = scipy.ndimage.gaussian_filter(rng.normal(size=(90, 80)), 1) * 50 + 100
    y = blurred(x, TAPS, (1, 2))
    quiet, loud = (from_pair(y + s * rng.normal(size=y.shape), x, 5) for s in (0.1, 5))
    assert loud.metrics["weight"] > 30 * quiet.metrics["weight"]
    assert loud.metrics["relative_error"] > 5 * quiet.metrics["relative_error"]
    assert quiet.metrics["brightness"] == "same"
    darker = from_pair(0.9 * y + 0.1 * rng.normal(size=y.shape), x, 5)
    assert darker.metrics["brightness"] == "fitted"
    assert darker.metrics["gain"] == pytest.approx(0.9, abs=0.002)
    assert any("0.9" in note for note in darker.notes)
    forced = from_pair(0.9 * y, x, 5, brightness="same")
    assert forced.kernel.sum() == pytest.approx(1)
    assert forced.metrics["explained"] < darker.metrics["explained"]
    free = from_pair(0.9 * y, x, 5, sum_one=False)
    assert free.kernel.sum() == pytest.approx(0.9, abs=1e-6)


def test_nothing_depends_on_the_unit() -> None:
    rng = np.random.default_rng(14)
    x = rng.random((40, 50)) * 200
    y = blurred(x, TAPS, (1, 2)) + rng.normal(size=x.shape)
    plain = from_pair(y, x, (3, 4))
    for unit in (1e-250, 1e-6, 1e6, 1e250):
        other = from_pair(unit * y, unit * x, (3, 4))
        np.testing.assert_allclose(other.kernel, plain.kernel, atol=1e-9)
        assert other.metrics["noise_level"] == pytest.approx(unit * plain.metrics["noise_level"])


def said(found: Any, words: str) -> bool:
    return any(words in note for note in found.notes)


def test_what_a_pair_is_warned_of() -> None:
    rng = np.random.default_rng(15)
    x = scipy.ndimage.gaussian_filter(rng.normal(size=(90, 80)), 1) * 50 + 100
    wide = np.outer(np.hanning(11)[1:-1], np.hanning(11)[1:-1])
    y = blurred(x, wide / wide.sum(), (4, 4)) + 0.1 * rng.normal(size=x.shape)
    fits = from_pair(y, x, 11)
    assert fits.notes == ()
    assert said(from_pair(y, x, 5), "try --size 7")
    assert not said(fits, "--size")
    moved = from_pair(np.roll(y, 2, axis=1), x, 13)
    assert said(moved, ", +2.00 pixels")
    np.testing.assert_allclose(moved.metrics["centroid"], [0, 2], atol=0.01)
    assert said(from_pair(y + 2 * y.std() * rng.normal(size=x.shape), x, 5), "same scene")
    assert said(from_pair(y[:16, :16], x[:16, :16], 11), "windows")
    vague = from_pair(blurred(x, TAPS, (1, 2)) + 4 * rng.normal(size=x.shape), x, 9)
    assert said(vague, "finer detail")
    exact = np.zeros((9, 9))
    exact[3:6, 2:6] = TAPS
    assert relative(vague.kernel, exact) > 2 * vague.metrics["relative_error"]  # which is why it is said
    assert said(from_pair(y + 20 * rng.normal(size=x.shape), x, 9), "poorly")
    ramp = np.add.outer(np.arange(50.0), 2 * np.arange(40.0))
    assert said(from_pair(ramp, ramp, 5), "too smooth to tell")
    assert vague.metrics["determined"] < 0.5 < fits.metrics["determined"]
    assert from_pair(ramp, ramp, 5).metrics["condition"] > 1e12 > fits.metrics["condition"]
    varying = np.where(np.arange(80) < 40, y, x)
    assert said(from_pair(varying, x, 11), "no white noise")
    codes = (4 * (x - 70)).clip(0, 255).astype(np.uint8)
    assert said(from_pair(codes, codes, 3), "saturated")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"blurred": np.ones((9, 12))}, "everywhere"),
        ({"sharp": np.zeros((9, 12))}, "everywhere"),
        ({"sharp": np.eye(9, 11)}, "9x11"),
        ({"blurred": np.full((9, 12), np.nan)}, "blurred image holds 108 NaN"),
        ({"size": 10}, "does not fit"),
        ({"size": (3, 13)}, "does not fit"),
        ({"size": 0}, "at least 1"),
        ({"size": 2.5}, "size"),
        ({"size": (3, 3, 3)}, "axes"),
        ({"size": (1, 2, 3, 4)}, "size"),
        ({"axes": "NC"}, "name one"),
        ({"origin": (3, 3)}, "origin"),
        ({"operation": "blur"}, "convolve or correlate"),
        ({"brightness": "none"}, "fitted"),
        ({"weight": -1.0}, "weight"),
        ({"weight": np.inf}, "weight"),
    ],
)
def test_what_a_pair_is_refused_for(change: dict[str, Any], says: str) -> None:
    rng = np.random.default_rng(16)
    given_ = {"blurred": rng.random((9, 12)), "sharp": rng.random((9, 12)), "size": 3, **change}
    with pytest.raises((DataError, SettingError), match=says):
        from_pair(**given_)


def test_a_negative_and_a_huge_kernel_are_refused() -> None:
    x = np.random.default_rng(17).random((80, 90))
    for unrelated in (-x, np.random.default_rng(18).random((80, 90))):
        with pytest.raises(DataError, match="does not follow"):
            from_pair(unrelated, x, 3)
    with pytest.raises(DataError, match="same everywhere"):
        from_pair(x[:5, :7], x[:5, :7], (5, 7))
    ramp = np.add.outer(np.arange(50.0), 2 * np.arange(40.0))
    with pytest.raises(DataError, match="larger --weight"):
        from_pair(ramp, ramp, 5, weight=1e-300)
    with pytest.raises(DataError, match="--sum free"):
        from_pair(scipy.ndimage.correlate1d(x, [-1.0, 0.0, 0.9]), x, (1, 3), signed=True)
    with pytest.raises(SettingError, match="5000"):
        from_pair(x, x, 80)


# From point sources ------------------------------------------------------------------------------------------------

Profile = Callable[..., np.ndarray]


def gaussian(*apart: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * sum(a**2 for a in apart) / 1.7**2)


def moffat(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    return (1 + (y**2 + x**2) / 4**2) ** -4.0


def comma(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """A round head and a fainter tail: asymmetric."""
    return gaussian(y, x) + 0.4 * np.exp(-0.5 * ((y - 2.5) ** 2 + (x + 3) ** 2) / 1.5**2)


def image_of(profile: Profile, at: np.ndarray, flux: float, shape: tuple[int, ...]) -> np.ndarray:
    grids = np.ogrid[tuple(slice(0, n) for n in shape)]
    total = profile(*np.ogrid[tuple(slice(-40, 41) for _ in shape)]).sum()
    return flux * profile(*(g - a for g, a in zip(grids, at, strict=True))) / total


def field(
    profile: Profile, shape: tuple[int, ...], fluxes: np.ndarray, seed: int, apart: float = 24
) -> tuple[np.ndarray, np.ndarray]:
    """A frame of sources that keep their distance on a level of 100 counts, and where they are."""
    rng = np.random.default_rng(seed)
    places: list[np.ndarray] = []
    while len(places) < len(fluxes):
        at = rng.uniform(14, np.array(shape) - 15)
        if all(abs(at - other).max() > apart for other in places):
            places.append(at)
    frame = 100 + sum(image_of(profile, at, flux, shape) for at, flux in zip(places, fluxes, strict=True))
    return rng.poisson(frame).astype(np.float64), np.array(places)


def taps_of(profile: Profile, at: np.ndarray, size: int) -> np.ndarray:
    half = size // 2
    grids = np.ogrid[tuple(slice(-half, half + 1) for _ in at)]
    taps = profile(*(g - a for g, a in zip(grids, at, strict=True)))
    return taps / taps.sum()


def best_match(profile: Profile, kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the profile has to lie to be nearest to a kernel, and its taps there."""
    size = len(kernel)
    found = minimize(
        lambda at: 1e4 * float(np.square(taps_of(profile, at, size) - kernel).sum()),
        np.zeros(kernel.ndim),
        method="Nelder-Mead",
        options={"xatol": 1e-5, "fatol": 1e-10},
    )
    return found.x, taps_of(profile, found.x, size)


@pytest.mark.parametrize("profile", [gaussian, moffat, comma])
def test_the_kernel_of_stars_reaches_the_photons_limit(profile: Profile) -> None:
    fluxes = np.geomspace(3e3, 2e5, 25)
    frame, places = field(profile, (300, 340), fluxes, seed=21)
    found = from_stars(frame, 21)
    assert found.metrics["used"] >= 22
    shift, truth = best_match(profile, found.kernel)
    positions = np.array(found.metrics["positions"]) + shift
    nearest = [int(np.argmin(abs(places - at).max(axis=1))) for at in positions]
    limit = np.sqrt((1 / sum(f**2 / (100 + f * truth) for f in fluxes[nearest])).sum()) / np.linalg.norm(truth)
    assert relative(found.kernel, truth) < (1.9 if profile is moffat else 1.25) * limit
    assert found.metrics["relative_error"] == pytest.approx(limit, rel=0.2)
    bright = fluxes[nearest] > 2e4
    assert abs(positions - places[nearest])[bright].max() < 0.05
    assert np.std((positions - places[nearest])[bright]) < 0.02
    np.testing.assert_allclose(np.array(found.metrics["fluxes"])[bright], fluxes[nearest][bright], rtol=0.04)
    assert found.metrics["noise_level"] == pytest.approx(10, rel=0.03)
    assert found.kernel.min() >= 0
    assert found.kernel.sum() == pytest.approx(1)
    assert found.notes == ()
    if profile is not comma:
        assert abs(shift).max() < 0.01
        np.testing.assert_allclose(found.metrics["fwhm"], np.repeat(_full_width(profile), 2), rtol=0.03)


def _full_width(profile: Profile) -> float:
    r = np.linspace(0, 8, 8001)
    values = profile(r, np.zeros_like(r))
    return 2 * float(r[np.argmin(abs(values - values[0] / 2))])


def test_what_is_no_star_is_left_out() -> None:
    rng = np.random.default_rng(22)
    frame, places = field(gaussian, (400, 420), np.geomspace(2e4, 2e5, 30), seed=23)
    at = [np.array(p) for p in ((50, 60), (200, 210), (320, 300), (100, 330), (350, 80), (250, 60))]
    free = [p for p in at if abs(places - p).max(axis=1).min() > 24]
    wide: Profile = lambda y, x: np.exp(-0.5 * (y**2 + x**2) / 3.5**2)  # noqa: E731
    frame += sum(image_of(wide, p, 8e4, frame.shape) for p in free[:2])
    for p in free[2:]:
        frame[tuple(p)] += 3000  # a cosmic ray
    assert len(free) >= 3
    clean = from_stars(frame, 21)
    _, truth = best_match(gaussian, clean.kernel)
    assert relative(clean.kernel, truth) < 0.006
    assert clean.metrics["rejected"].get("shape", 0) >= len(free)
    slope = np.linspace(0, 300, 420) + np.linspace(0, 100, 400)[:, None]
    assert relative(from_stars(frame + slope, 21).kernel, truth) < 0.012
    assert relative(from_stars(frame + rng.integers(0, 2, frame.shape), 21).kernel, truth) < 0.01


def test_neighbours_borders_and_saturation() -> None:
    shape = (200, 260)
    frame = np.full(shape, 50.0)
    for y, x, flux in [(50, 50, 4e4), (50, 62, 4e4), (120, 60, 4e4), (60, 150, 5e4), (8, 200, 4e4), (150, 200, 9e5)]:
        frame += image_of(gaussian, np.array([y + 0.3, x - 0.2]), flux, shape)
    frame += image_of(gaussian, np.array([120.0, 72.0]), 200.0, shape)  # too faint to disturb its neighbour
    frame = np.rint(np.random.default_rng(24).poisson(frame)).clip(0, 4095).astype(np.uint16)
    found = from_stars(frame, 21, saturation=4095)
    assert found.metrics["found"] == 6
    assert found.metrics["used"] == 2
    assert found.metrics["rejected"] == {"border": 1, "saturated": 1, "neighbours": 2}
    np.testing.assert_allclose(sorted(found.metrics["positions"]), [[60.3, 149.8], [120.3, 59.8]], atol=0.05)
    assert from_stars(frame, 9).metrics["used"] > 2  # the neighbours are 12 pixels apart
    eight = (frame // 10).clip(0, 255).astype(np.uint8)
    assert from_stars(eight, 21).metrics["rejected"]["saturated"] >= 1


def test_saturation_is_found() -> None:
    frame = np.random.default_rng(25).random((40, 50))
    assert not sources.saturated(frame, None).any()
    frame[10, 10:13] = frame[20, 30] = 2.0
    assert not sources.saturated(frame, None).any()  # two places may be equal by chance
    frame[30, 5] = 2.0
    assert sources.saturated(frame, None).sum() == 5
    assert sources.saturated(frame, 0.5).sum() > 500
    codes = np.array([[3, 255], [255, 9]], np.uint8)
    assert sources.saturated(codes, None).sum() == 2


def test_beads_in_a_stack() -> None:
    def bead(z: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        return np.exp(-0.5 * ((z / 2) ** 2 + (y / 1.3) ** 2 + ((x - 0.3 * z) / 1.5) ** 2))

    rng = np.random.default_rng(26)
    frame = np.full((40, 70, 80), 20.0)
    grid = [np.array([z, y, x]) for z in (12, 27) for y in (15, 35, 55) for x in (15, 40, 64)]
    places = [p + rng.uniform(-0.5, 0.5, 3) for p in grid]
    total = bead(*np.ogrid[-20:21, -20:21, -20:21]).sum()
    for at in places:
        frame += 3e4 * bead(*(g - a for g, a in zip(np.ogrid[:40, :70, :80], at, strict=True))) / total
    found = from_stars(rng.poisson(frame).astype(np.float32), (11, 9, 11), axes="ZYX")
    assert found.metrics["used"] == 18
    assert found.kernel.shape == (11, 9, 11)
    truth = bead(*np.ogrid[-5:6, -4:5, -5:6])
    assert relative(found.kernel, truth / truth.sum()) < 0.03
    for at in places:
        assert abs(np.array(found.metrics["positions"]) - at).max(axis=1).min() < 0.06


def test_few_sources_and_undersampled_ones_are_said() -> None:
    frame, _ = field(gaussian, (90, 100), np.array([3e4]), seed=27)
    one = from_stars(frame, 15)
    assert said(one, "one source alone")
    narrow: Profile = lambda y, x: np.exp(-0.5 * (y**2 + x**2) / 0.6**2)  # noqa: E731
    frame, _ = field(narrow, (200, 220), np.full(12, 3e4), seed=28)
    assert said(from_stars(frame, 11), "undersampled")
    frame, _ = field(moffat, (200, 220), np.full(12, 3e4), seed=29)
    assert said(from_stars(frame, 7), "try --size 9")


def test_windows_are_moved_as_their_profile_is() -> None:
    grids = np.ogrid[-12:13, -10:11]
    still = gaussian(*grids)
    at = np.array([[0.37, -1.6], [2.0, 3.0]])
    moved = registration.shifted(np.stack([still, still]), at)
    for values, place in zip(moved, at, strict=True):
        np.testing.assert_allclose(values, gaussian(*(g - p for g, p in zip(grids, place, strict=True))), atol=1e-4)
    box = (slice(2, -2), slice(2, -2))
    np.testing.assert_allclose(registration.centroids(registration.Windows(moved, box, 0.0)), at, atol=0.02)


def test_sources_are_laid_upon_each_other() -> None:
    rng = np.random.default_rng(33)
    places = rng.uniform(-0.5, 0.5, (40, 2))
    light = np.stack([image_of(gaussian, p + 15, 5e3, (31, 31)) for p in places])
    values = rng.poisson(100 + light) - 100.0
    windows = registration.Windows(values, (slice(5, -5), slice(5, -5)), 10.0)
    starts = registration.centroids(windows)
    stack = registration.stacked(windows, starts)
    assert np.std(stack.places - places) < 0.9 * np.std(starts - places)
    np.testing.assert_allclose(stack.fluxes, 5e3, rtol=0.15)
    # Where they are thought to lie at first makes no difference: the mean is centred anew.
    off = registration.stacked(windows, starts + np.array([0.3, -0.2]))
    assert abs(off.mean - stack.mean)[windows.box].max() < stack.error.max()
    # What hits single samples is clipped, and leaves no trace.
    struck = values.copy()
    struck[np.arange(0, 40, 4), 10, 18 + np.arange(10) % 3] += 400
    hit = registration.stacked(registration.Windows(struck, windows.box, 10.0), starts)
    assert abs(hit.mean - stack.mean)[windows.box].max() < 3 * stack.error.max()


def test_the_mean_becomes_the_nearest_kernel() -> None:
    mean = np.random.default_rng(30).normal(0.02, 0.05, (5, 6))
    kernel = _projected(mean)
    assert (kernel == 0).any()
    assert kernel.sum() == pytest.approx(1)
    check_optimality(np.eye(30), mean.ravel(), kernel.ravel(), 1.0)


def test_background_and_noise() -> None:
    rng = np.random.default_rng(31)
    slope = np.linspace(10, 50, 300) * np.ones((200, 1))
    frame = slope + rng.normal(0, 2, (200, 300))
    frame[50:55, 60:66] += 500
    level, noise = sources.background(frame, (9, 9))
    assert noise == pytest.approx(2, rel=0.1)
    assert abs(level - slope)[20:-20, 20:-20].max() < 2.5
    assert sources.clipped(np.append(rng.normal(3, 1, 5000), np.full(50, 99.0)))[0] == pytest.approx(3, abs=0.05)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"frame": np.zeros((40, 50))}, "stands out"),
        ({"frame": np.random.default_rng(1).normal(size=(40, 50))}, "lower --threshold"),
        ({"frame": np.random.default_rng(1).random((3, 40, 50))}, "3 channels"),
        ({"frame": np.random.default_rng(1).random((3, 40, 50)), "axes": "NYX"}, "3 images"),
        ({"frame": np.full((40, 50), np.inf)}, "infinite"),
        ({"size": 8}, "odd: use 9"),
        ({"size": 41}, "does not fit"),
        ({"size": 1}, "3 or more"),
        ({"size": (3, 5, 7)}, "axes"),
        ({"threshold": 0.0}, "above 0"),
        ({"threshold": np.nan}, "finite"),
        ({"saturation": np.inf}, "finite"),
        ({"saturation": 1.0}, "saturated"),
        ({"size": 39}, "border"),
    ],
)
def test_what_a_frame_is_refused_for(change: dict[str, Any], says: str) -> None:
    frame, _ = field(gaussian, (40, 50), np.array([3e4]), seed=32)
    with pytest.raises((DataError, SettingError), match=says):
        from_stars(**{"frame": frame, "size": 9, **change})


@pytest.mark.parametrize("name", ["constrained", "moments", "pair", "stars", "support"])
def test_examples(name: str) -> None:
    results = doctest.testmod(importlib.import_module(f"convtool.estimation.{name}"))
    assert results.attempted
    assert not results.failed


# Facts of a kernel -------------------------------------------------------------------------------------------------


def test_facts_of_a_kernel() -> None:
    kernel = np.zeros((5, 7))
    kernel[1, 2], kernel[1, 4] = 1, 3
    assert centroid(kernel, (2, 3)) == [-1.0, 0.5]
    assert centroid(kernel - kernel[::-1, ::-1], (2, 3)) is None
    assert rim_share(kernel) == 0
    kernel[0, 0] = 1
    assert rim_share(kernel) == pytest.approx(0.2)
    y, x = np.ogrid[-7:8, -9:10]
    wide = np.exp(-0.5 * ((y / 1.5) ** 2 + (x / 2.5) ** 2))
    np.testing.assert_allclose(widths(wide), [1.5 * 2.35482, 2.5 * 2.35482], rtol=0.005)
    assert widths(np.ones((3, 5))) == [None, None]
