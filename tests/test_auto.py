"""The automatic method: every choice is made where it should be, and another one where it should not."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import skimage.data
from scipy.signal import fftconvolve

import convtool
from convtool import deconvolution, model
from convtool.deconvolution import auto
from convtool.observation import Rounding

RNG = np.random.default_rng(50)
WEAK = np.array([[0.05, 0.10, 0.00], [0.10, 1.00, 0.30], [0.00, 0.05, 0.02]])


@functools.cache
def photograph(size: int = 96) -> np.ndarray:
    return skimage.data.camera()[80 : 80 + size, 190 : 190 + size].astype(float)


@functools.cache
def gaussian(sigma: float = 1.6) -> np.ndarray:
    spot = np.zeros((13, 13))
    spot[6, 6] = 1
    return scipy.ndimage.gaussian_filter(spot, sigma)


def choice(
    y: np.ndarray, kernel: np.ndarray, boundary: str = "unknown", effort: str = "normal", **how: Any
) -> auto.Choice:
    built = model.build(y, kernel, boundary=boundary, is_data=True, **how)
    return auto.choose(deconvolution.observe(built, y, boundary, None, Rounding.to(y.dtype), None, effort))


def photons(peak: float, background: float) -> np.ndarray:
    stars = np.zeros((128, 160))
    stars[RNG.integers(8, 120, 40), RNG.integers(8, 150, 40)] = RNG.pareto(1.2, 40) * 400
    return RNG.poisson(peak * np.clip(fftconvolve(stars, gaussian(), mode="same"), 0, None) / 50 + background)


def test_exact_data_are_inverted_exactly() -> None:
    x = photograph()
    y = scipy.ndimage.convolve(x, gaussian(1.0), mode="wrap")
    assert choice(y, gaussian(1.0), "periodic").method == "pinv"
    solution = convtool.deconvolve(y, gaussian(1.0), method="auto", boundary="periodic")
    assert np.linalg.norm(solution.x - x) < 1e-9 * np.linalg.norm(x)
    assert solution.metrics["chosen"]["method"] == "pinv"


def test_data_that_are_not_exact_or_not_periodic_are_not() -> None:
    y = scipy.ndimage.convolve(photograph(), WEAK, mode="wrap")
    assert choice(y, WEAK, "unknown").method != "pinv"
    assert choice(y + RNG.normal(0, 2, y.shape), WEAK, "periodic").method != "pinv"
    soft = scipy.ndimage.convolve(photograph(), gaussian(1.0), mode="wrap")
    assert choice(soft, gaussian(1.0), "unknown").method != "pinv"
    assert choice(soft + RNG.normal(0, 0.1, y.shape), gaussian(1.0), "periodic").method != "pinv"
    strong = scipy.ndimage.convolve(photograph(), gaussian(), mode="wrap")
    assert choice(np.rint(strong).astype("u1"), gaussian(), "periodic").method != "pinv"


def test_one_image_that_is_not_exact_decides_for_its_batch() -> None:
    soft = scipy.ndimage.convolve(photograph(), gaussian(1.0), mode="wrap")
    noisy = soft + RNG.normal(0, 3, soft.shape)
    for batch in ([soft, noisy], [noisy, soft]):
        assert choice(np.stack(batch), gaussian(1.0), "periodic", axes="NYX").method != "pinv"
    assert choice(np.stack([soft, 0.3 * soft]), gaussian(1.0), "periodic", axes="NYX").method == "pinv"


def test_a_loud_channel_is_not_overlooked() -> None:
    soft = fftconvolve(photograph(), gaussian(1.0), mode="valid")
    y = np.stack([soft, soft + np.random.default_rng(4).normal(0, 3, soft.shape)])
    x = convtool.deconvolve(y, gaussian(1.0), method="tv", boundary="unknown", axes="CYX").x
    alone = convtool.deconvolve(y[1], gaussian(1.0), method="tv", boundary="unknown").x
    truth = photograph()[6:-6, 6:-6]
    assert np.std(x[1] - truth) < 1.2 * np.std(alone - truth)


def test_photons_on_a_background_are_counted() -> None:
    frame = photons(60, 20).astype(np.uint16)
    found = choice(frame, gaussian())
    assert found.method == "rl"
    assert "photon" in found.reasons[0]
    assert choice(frame, gaussian() - 0.001).method != "rl"  # negative taps count nothing
    assert choice(photons(3, 4).clip(0, 255).astype(np.uint8), gaussian()).method != "rl"  # clipped, as a photograph is
    solution = convtool.deconvolve(frame, gaussian(), method="auto", boundary="unknown")
    assert solution.metrics["chosen"]["options"]["background"] == pytest.approx(20, rel=0.1)


def test_gaussian_noise_and_photographs_are_not_counted() -> None:
    frame = photons(60, 20).astype(float)
    quiet = scipy.ndimage.gaussian_filter(frame, 2) + RNG.normal(0, 5, frame.shape)
    assert choice(quiet, gaussian()).method != "rl"
    noisy = photograph() + RNG.normal(0, 3, photograph().shape)
    assert choice(noisy.clip(0, 255).astype("u1"), gaussian()).method != "rl"


def test_effort_and_size_decide_between_the_priors() -> None:
    y = np.rint(photograph() + RNG.normal(0, 2, photograph().shape)).clip(0, 255).astype("u1")
    assert choice(y, gaussian()).method == "non-local"
    assert choice(y, gaussian(), effort="low").method == "tv"
    large = np.tile(y, (12, 12))
    told = choice(large, gaussian())
    assert told.method == "tv"
    assert "--effort high" in told.reasons[0]
    assert choice(large, gaussian(), effort="high").method == "non-local"
    huge = np.tile(y, (36, 36))
    assert choice(huge, gaussian(), effort="high").method == "tv"


def test_stacks_and_mixing_kernels_go_to_total_variation() -> None:
    volume = RNG.normal(100, 5, (8, 20, 20))
    assert choice(volume, np.ones((2, 3, 3)) / 18, axes="ZYX", kernel_axes="ZYX").method == "tv"
    mixing = RNG.random((3, 3, 3, 3))
    assert choice(RNG.normal(100, 5, (3, 30, 30)), mixing).method == "tv"


@pytest.mark.parametrize("sigma", [1.0, 4.0])
def test_the_reasons_and_the_choice_can_be_repeated(sigma: float) -> None:
    z = fftconvolve(photograph(), gaussian(), mode="valid")
    y = np.rint(z + np.random.default_rng(1).normal(0, sigma, z.shape)).clip(0, 255).astype("u1")
    solution = convtool.deconvolve(y, gaussian(), method="auto", boundary="unknown", effort="low")
    chosen = solution.metrics["chosen"]
    assert solution.metrics["reasons"][0] in solution.notes
    options = deconvolution.methods.load(chosen["method"]).Options(**chosen["options"])
    again = convtool.deconvolve(y, gaussian(), method=options, boundary="unknown", effort="low")
    assert np.linalg.norm(again.x - solution.x) < 1e-3 * np.linalg.norm(solution.x)
