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
from convtool.deconvolution.solvers import periodic, tiles
from convtool.observation import Observation, Rounding, observe

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


def observed(
    y: np.ndarray,
    kernel: np.ndarray,
    boundary: str = "unknown",
    effort: str = "normal",
    mask: np.ndarray | None = None,
    **how: Any,
) -> Observation:
    built = model.build(y, kernel, boundary=boundary, is_data=True, **how)
    return observe(built, y, boundary, mask, Rounding.to(y.dtype), None, effort)


def choice(*args: Any, **how: Any) -> auto.Choice:
    return auto.choose(observed(*args, **how))


def photons(peak: float, background: float, rng: np.random.Generator = RNG) -> np.ndarray:
    stars = np.zeros((128, 160))
    stars[rng.integers(8, 120, 40), rng.integers(8, 150, 40)] = rng.pareto(1.2, 40) * 400
    return rng.poisson(peak * np.clip(fftconvolve(stars, gaussian(), mode="same"), 0, None) / 50 + background)


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


def test_exact_data_are_not_inverted_where_some_are_missing_or_it_would_take_too_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    y = scipy.ndimage.convolve(photograph(), gaussian(1.0), mode="wrap")
    mask = np.ones(y.shape)
    mask[40, 50] = 0
    assert choice(y, gaussian(1.0), "periodic", mask=mask).method != "pinv"
    assert choice(y, gaussian(1.0), "periodic").method == "pinv"
    monkeypatch.setattr(periodic, "_MOST_ENTRIES", y.size // 4)
    assert choice(y, gaussian(1.0), "periodic").method != "pinv"


def test_fine_texture_is_no_noise_where_the_kernel_tells() -> None:
    texture = skimage.data.gravel()[:128, :128].astype(float)
    y = scipy.ndimage.convolve(texture, gaussian(1.0), mode="wrap")
    assert choice(y, gaussian(1.0), "periodic").method == "pinv"
    assert choice(texture, gaussian(1.0), "periodic").method != "pinv"  # a kernel that the data have not seen


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


def test_counts_that_are_clipped_negative_or_of_a_bright_scene_are_not_for_richardson_lucy() -> None:
    frame = photons(60, 20, np.random.default_rng(2)).astype(np.uint16)
    assert choice(frame, gaussian()).method == "rl"
    clipped = np.minimum(frame, np.uint16(np.percentile(frame, 99.5)))
    assert choice(clipped, gaussian()).method != "rl"
    bright = photons(3000, 20, np.random.default_rng(3)).astype(float)
    assert choice(bright, gaussian()).method == "rl"
    assert choice(bright - 10, gaussian()).method != "rl"
    dim = photons(20, 20, np.random.default_rng(3))
    assert dim.max() < 255
    assert choice(dim.astype(np.uint16), gaussian()).method == "rl"
    assert choice(dim.astype(np.uint8), gaussian()).method != "rl"
    daylight = np.random.default_rng(6).poisson(3 * scipy.ndimage.convolve(photograph(128), gaussian()))
    assert choice(daylight.astype(np.uint16), gaussian()).method != "rl"
    batch = np.stack([frame[:, :128], daylight.astype(np.uint16)])
    assert choice(batch, gaussian(), axes="NYX").method != "rl"


def test_images_of_a_batch_take_their_time_together() -> None:
    y = np.rint(photograph() + RNG.normal(0, 2, photograph().shape)).clip(0, 255).astype("u1")
    assert choice(np.stack([y] * 4), gaussian(), axes="NYX").method == "non-local"
    assert choice(np.stack([y] * 60), gaussian(), axes="NYX").method == "tv"


# What the methods choose ----------------------------------------------------------------------------------------------


def told(y: np.ndarray, kernel: np.ndarray, method: str = "tv", **how: Any) -> tuple[str, tuple[str, ...]]:
    settings: dict[str, Any] = {"padding": "same", "stride": 1, "boundary": "auto", "axes": None} | how
    return deconvolution.settled_boundary(y, kernel, method, settings)


def test_the_boundary_is_that_of_the_data() -> None:
    around = scipy.ndimage.convolve(photograph(160), gaussian(), mode="wrap")
    crop = fftconvolve(photograph(160), gaussian(), mode="valid")
    assert told(around, gaussian())[0] == "periodic"
    mode, (sentence,) = told(crop, gaussian())
    assert mode == "unknown"
    assert "a part of a larger scene" in sentence
    assert told(np.stack([around, around[::-1]]), gaussian(), axes="NYX")[0] == "periodic"


def test_a_crop_in_a_batch_of_periodic_images_decides() -> None:
    around = scipy.ndimage.convolve(photograph(160), gaussian(), mode="wrap")
    crop = fftconvolve(photograph(172), gaussian(), mode="valid")
    for batch in ([around, crop], [crop, around]):
        assert told(np.stack(batch), gaussian(), axes="NYX")[0] == "unknown"


def test_the_boundary_of_methods_and_windows_that_have_one() -> None:
    crop = fftconvolve(photograph(160), gaussian(), mode="valid")
    assert told(crop, gaussian(), "pinv") == ("periodic", ())
    assert told(crop, gaussian(), "tv", padding="valid") == ("zero", ())
    assert told(crop, gaussian(), "tv", boundary="zero") == ("zero", ())
    mode, notes = told(crop, gaussian(), "tv", boundary="periodic")
    assert mode == "periodic"
    assert "it will ring" in notes[0]
    around = scipy.ndimage.convolve(photograph(160), gaussian(), mode="wrap")
    assert told(around, gaussian(), "tv", boundary="periodic") == ("periodic", ())


def test_tiles_are_for_large_images_in_unknown_surroundings() -> None:
    y = RNG.random((90, 300))
    assert len(tiles.tiles(observed(y, WEAK), 12000)) > 1
    assert len(tiles.tiles(observed(y, WEAK), y.size)) == 1
    for boundary in ("periodic", "symmetric", "zero"):
        assert len(tiles.tiles(observed(y, WEAK, boundary), 12000)) == 1


def test_the_weight_of_total_variation_follows_next_to_no_noise_and_is_searched_for_more() -> None:
    y = fftconvolve(photograph(), gaussian(), mode="valid")
    found = [
        convtool.deconvolve(y + RNG.normal(0, sigma, y.shape), gaussian(), method="tv", boundary="unknown").metrics
        for sigma in (0.004, 2.0)
    ]
    assert ["next to none" in each["weight_source"] for each in found] == [True, False]
    assert found[1]["weight"] > 1e3 * found[0]["weight"]


def test_effort_buys_precision_of_total_variation() -> None:
    y = np.rint(fftconvolve(photograph(), gaussian(), mode="valid")).astype("u1")
    counts = [
        convtool.deconvolve(y, gaussian(), method=tv, boundary="unknown", effort=effort).metrics["iterations"]
        for tv in [deconvolution.tv.Options(weight=0.05)]
        for effort in ("low", "normal", "high")
    ]
    assert counts == sorted(set(counts))


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
