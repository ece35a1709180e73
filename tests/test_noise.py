"""The noise found in images whose noise is known, and the unit of data."""

from __future__ import annotations

import doctest
import functools
import math
from typing import Any

import numpy as np
import pytest
import scipy.fft
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage import data

from convtool import cosine_patches, noise
from convtool.errors import DataError
from convtool.noise import Noise, estimate, unit

ROUNDING = 12**-0.5  # of a value that is anywhere between two whole numbers
PHOTOGRAPHS = ("camera", "coins", "chelsea", "moon", "clock")


@functools.cache
def photograph(name: str) -> np.ndarray:
    """The middle of a photograph of scikit-image's, grey, in 0 ... 255."""
    x = getattr(data, name)().astype(float)
    x = x.mean(axis=2) if x.ndim == 3 else x
    first = [(n - 256) // 2 for n in x.shape]
    return x[first[0] : first[0] + 256, first[1] : first[1] + 256]


def blurred(name: str, kind: str) -> np.ndarray:
    x = photograph(name)
    if kind == "gaussian":
        return ndimage.gaussian_filter(x, 1.6)
    if kind == "box":
        return ndimage.uniform_filter(x, 9)
    return ndimage.convolve(x, (np.eye(11) + np.eye(11, k=1)) / 21)  # motion, along a diagonal


def noisy(x: np.ndarray, sigma: float, seed: int = 0) -> np.ndarray:
    return x + sigma * np.random.default_rng(seed).normal(size=x.shape)


def eight_bits(x: np.ndarray) -> np.ndarray:
    return np.clip(np.round(x), 0, 255)


def found(x: np.ndarray, **settings: Any) -> Noise:
    return estimate(x[None], **settings)


# The level ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["gaussian", "box", "motion"])
@pytest.mark.parametrize(("sigma", "tolerance"), [(0.5, 0.08), (1, 0.04), (2.5, 0.03), (8, 0.03)])
def test_the_level_of_blurred_photographs_of_8_bits(kind: str, sigma: float, tolerance: float) -> None:
    """The motion leaves one diagonal of frequencies as it was, where something of some scenes remains."""
    found_over_true = []
    for name in PHOTOGRAPHS:
        y = eight_bits(noisy(blurred(name, kind), sigma))
        result = found(y.astype(np.float32), rounding=ROUNDING)
        found_over_true.append(result.level / math.hypot(sigma, ROUNDING))
        assert result.sensor == pytest.approx(math.sqrt(result.level**2 - 1 / 12)), name
        assert not result.is_signal_dependent, name
    assert np.median(found_over_true) == pytest.approx(1, abs=tolerance)
    assert min(found_over_true) > 0.95
    assert max(found_over_true) < (1.2 if kind == "motion" else 1.06)


@pytest.mark.parametrize(("sigma", "worst"), [(5, 1.2), (12, 1.08)])
def test_the_level_of_sharp_photographs(sigma: float, worst: float) -> None:
    """The mixed second difference alone takes more of the scene for noise."""
    bends = np.multiply.outer([1, -2, 1], [1, -2, 1])
    for name in PHOTOGRAPHS:
        y = noisy(photograph(name), sigma)
        result = found(y)
        assert 0.97 * sigma < result.level < worst * sigma, name
        alone = np.median(np.abs(ndimage.convolve(y, bends))) / 0.6745 / 6
        assert abs(result.level - sigma) < max(abs(alone - sigma), 0.04 * sigma), name


@pytest.mark.parametrize("shape", [(1, 4000), (1, 120, 90), (3, 64, 70), (1, 24, 40, 44), (1, 1, 500), (2, 5, 300)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_level_of_white_noise_of_any_shape(shape: tuple[int, ...], dtype: Any) -> None:
    y = (100 + 3 * np.random.default_rng(1).normal(size=shape)).astype(dtype)
    result = estimate(y)
    assert result.level == pytest.approx(3, rel=0.12)
    assert (result.is_white, result.is_signal_dependent, result.saturated) == (True, False, 0.0)
    assert result.offset == pytest.approx(result.level**2)


@settings(deadline=None, max_examples=15)
@given(factor=st.floats(1e-6, 1e6), seed=st.integers(0, 9), kind=st.sampled_from(["normal", "poisson", "rounded"]))
def test_the_unit_does_not_matter(factor: float, seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    x = ndimage.gaussian_filter(rng.random((96, 80)), 3, mode="wrap") * 200
    y = rng.poisson(x).astype(float) if kind == "poisson" else noisy(x, 2, seed)
    y = np.round(y) if kind == "rounded" else y
    rounding = ROUNDING if kind == "rounded" else 0.0
    one, other = found(y, rounding=rounding), found(factor * y, rounding=factor * rounding)
    assert other.level == pytest.approx(factor * one.level, rel=1e-6)
    assert other.sensor == pytest.approx(factor * one.sensor, rel=1e-6)
    assert other.gain == pytest.approx(factor * one.gain, rel=1e-6)
    assert other.offset == pytest.approx(factor**2 * one.offset, rel=1e-5, abs=1e-9 * (factor * one.level) ** 2)
    flags = [(n.is_signal_dependent, n.is_photon_count, n.is_white, n.saturated, n.method) for n in (one, other)]
    assert flags[0] == flags[1]
    assert unit(factor * y, np.float64) == pytest.approx(factor * unit(y, np.float64))


def test_rounding_alone_is_not_noise_of_the_sensor() -> None:
    for name in PHOTOGRAPHS:
        result = found(eight_bits(blurred(name, "gaussian")), rounding=ROUNDING)
        assert ROUNDING <= result.level < 1.1 * ROUNDING
        assert result.sensor < 0.15
        assert found(blurred(name, "gaussian")).level < 0.1, "without rounding there is nothing"


@pytest.mark.parametrize("value", [0.0, 7.0, -3e5])
def test_constants_have_no_noise(value: float) -> None:
    y = np.full((1, 40, 50), value)
    assert estimate(y).level == estimate(y).sensor == 0
    assert (estimate(y, ROUNDING).level, estimate(y, ROUNDING).sensor) == (ROUNDING, 0)
    assert "constant" in estimate(y).method


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (1, 1, 1), (1, 2, 3), (1, 3, 2, 2)])
def test_tiny_images_are_no_error(shape: tuple[int, ...]) -> None:
    assert 0 <= estimate(np.random.default_rng(0).random(shape)).level < 2


def test_what_weighs_nothing_is_not_seen() -> None:
    y = noisy(blurred("camera", "gaussian"), 2)
    mask = np.ones(y.shape)
    mask[:, 128:] = 0
    loud = y.copy()
    loud[:, 128:] += 50 * np.random.default_rng(3).normal(size=(256, 128))
    assert found(loud, weights=1 - mask).level > 40
    assert found(loud, weights=mask).level == pytest.approx(2, rel=0.06)
    assert found(loud, weights=mask[:1]).level == pytest.approx(2, rel=0.06), "broadcast"
    loud[:, 128:] = np.nan
    loud[:, :3] = np.clip(loud[:, :3], 90, 95)
    masked = found(loud, weights=mask)
    assert masked.level == pytest.approx(2, rel=0.06)
    loud[:, 128:] = 7.0
    assert masked == found(loud, weights=mask)
    with pytest.raises(DataError, match="no pixel of the image counts"):
        found(y, weights=np.zeros(y.shape))


def test_clipped_pixels_do_not_lower_the_level() -> None:
    """Half of the image is nearly black, where most of the noise is cut off."""
    x = np.where(np.arange(256)[:, None] < 150, -4.0, 120.0) + np.zeros((256, 256))
    y = np.clip(noisy(x, 8), 0, 255)
    assert found(y).level == pytest.approx(8, rel=0.05)
    assert found(y).saturated == 0
    bright = np.clip(noisy(260 - x, 8), 0, 255)
    assert found(bright).saturated == pytest.approx(np.mean(bright == 255))
    assert found(bright).level == pytest.approx(8, rel=0.05)


def test_noise_that_is_not_white_is_told() -> None:
    rng = np.random.default_rng(0)
    y = blurred("camera", "gaussian") + 4 * ndimage.gaussian_filter(rng.normal(size=(256, 256)), 0.8)
    assert not found(y).is_white
    assert found(noisy(blurred("camera", "gaussian"), 2)).is_white


def test_the_blurs_spectrum_helps_where_the_scene_is_everywhere() -> None:
    """A small image without a quiet patch, blurred along its rows: too few patches for eigenvalues."""
    rng = np.random.default_rng(0)
    scene, white = 80 * rng.normal(size=(64, 64)), rng.normal(size=(64, 64))
    H = np.exp(-np.square(np.arange(33) / 9)) * np.ones((64, 1))
    y = np.fft.irfft(np.fft.rfft(scene) * H, 64) + white
    assert found(y).level > 1.2
    assert not found(y).is_white
    assert found(y, attenuation=H).level == pytest.approx(1, rel=0.08)
    assert "blur leaves nothing" in found(y, attenuation=H).method
    assert found(y, attenuation=np.ones_like(H)) == found(y)


# Signal dependence ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("peak", [30, 300, 2000])
@pytest.mark.parametrize("background", [0, 10, 100])
def test_photon_counts_are_told(peak: int, background: int) -> None:
    rng = np.random.default_rng(peak + background)
    for name in PHOTOGRAPHS:
        x = blurred(name, "gaussian")
        mean = x / x.max() * peak + background
        result = found(rng.poisson(mean).astype(np.float32))
        assert result.is_signal_dependent, name
        assert result.is_photon_count, name
        assert result.level == pytest.approx(math.sqrt(mean.mean()), rel=0.05), name


def test_counts_behind_a_gain_and_an_offset_are_told() -> None:
    x = blurred("camera", "gaussian")
    rng = np.random.default_rng(0)
    y = 2.5 * rng.poisson(x * 3) + 100 + 4 * rng.normal(size=x.shape)
    result = found(y)
    assert result.is_photon_count
    assert result.gain == pytest.approx(2.5, rel=0.1)
    expected = math.sqrt(2.5**2 * 3 * x.mean() + 16)
    assert result.level == pytest.approx(expected, rel=0.05)
    assert result.offset + result.gain * y.mean() == pytest.approx(expected**2, rel=0.1)


def test_stars_on_a_dark_sky_are_counts() -> None:
    rng = np.random.default_rng(1)
    x = np.zeros((200, 220))
    x[rng.integers(0, 200, 40), rng.integers(0, 220, 40)] = 3e4 * rng.random(40)
    x = ndimage.gaussian_filter(x, 1.8, mode="wrap") + 20
    assert found(rng.poisson(x).astype(float)).is_photon_count
    assert not found(noisy(x, math.sqrt(20))).is_signal_dependent


def test_a_stack_of_beads_is_counts() -> None:
    rng = np.random.default_rng(2)
    x = np.zeros((24, 64, 72))
    x[tuple(rng.integers(0, n, 40) for n in x.shape)] = 4e4 * rng.random(40)
    x = ndimage.gaussian_filter(x, (3, 1.7, 1.7), mode="wrap") + 5
    assert found(rng.poisson(x).astype(np.float32)).is_photon_count


@pytest.mark.parametrize("sigma", [2, 5, 12])
def test_texture_is_not_signal_dependent_noise(sigma: float) -> None:
    for name in ("camera", "coins", "chelsea", "grass", "gravel", "astronaut", "coffee"):
        for y in (noisy(photograph(name), sigma), eight_bits(noisy(photograph(name), sigma))):
            result = found(y)
            assert not result.is_signal_dependent, name
            assert not result.is_photon_count
            assert result.gain == 0


# Parts ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sides", [(16,), (8, 8), (4, 4, 4), (1, 8), (3, 5)])
def test_components_are_cosine_transforms_without_mean_and_slopes(sides: tuple[int, ...]) -> None:
    rows, groups = cosine_patches._basis(sides)
    assert sum(groups) == len(rows) == math.prod(sides) - 1 - sum(n > 1 for n in sides)
    np.testing.assert_allclose(rows @ rows.T, np.eye(len(rows)), atol=1e-12)
    x = np.random.default_rng(0).random(sides)
    expected = np.sort(np.abs(scipy.fft.dctn(x, norm="ortho")).ravel())
    got = np.abs(rows @ x.ravel())
    assert all(np.abs(expected - value).min() < 1e-12 for value in got)
    slope = sum(np.cos(np.pi * (grid + 0.5) / n) for grid, n in zip(np.indices(sides), sides, strict=True))
    np.testing.assert_allclose(rows @ np.ravel(slope + 7), 0, atol=1e-12)


# The unit -------------------------------------------------------------------------------------------------------------


def test_the_unit_of_whole_numbers_is_their_dtypes() -> None:
    y = np.arange(9.0)
    assert [unit(y, kind) for kind in (np.uint8, "uint16", np.int16)] == [1, 257, 32767 / 255]


def test_the_unit_of_floats_is_their_range() -> None:
    y = np.random.default_rng(0).normal(size=(1, 50, 60))
    low, high = np.percentile(y, [0.1, 99.9])
    assert unit(y, np.float64) == pytest.approx((high - low) / 255)
    with_holes = np.concatenate([y.ravel(), [np.nan, np.inf, -np.inf]])
    assert unit(with_holes, np.float64) == pytest.approx((high - low) / 255)


def test_the_unit_is_never_zero() -> None:
    stars = np.zeros((100, 100), np.float32)
    stars[3, 4] = 510
    assert unit(stars, np.float32) == 2
    assert unit(np.full(5, -51.0), np.float64) == pytest.approx(0.2)
    assert unit(np.zeros(5), np.float64) == unit(np.array([np.nan]), np.float64) == 1


def test_examples() -> None:
    assert doctest.testmod(noise, extraglobs={"np": np}).failed == 0
