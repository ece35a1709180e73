"""Whether images continue periodically, on images that do and images that do not.

Periodic data are made by numpy's FFT; others by scipy: crops of a blurred scene, and scenes mirrored, repeated at their
edge, or dark outside their frame.
"""

from __future__ import annotations

import doctest
import functools
from typing import Any

import numpy as np
import pytest
from scipy import ndimage, signal
from skimage import data

from convtool.deconvolution.solvers import surroundings
from convtool.deconvolution.solvers.surroundings import Surroundings, found

KERNELS = ("gaussian", "box", "motion", "oblong")


@functools.cache
def photograph(name: str) -> np.ndarray:
    x = getattr(data, name)().astype(float)
    x = x.mean(axis=2) if x.ndim == 3 else x
    return x[40:240, 90:310]


@functools.cache
def kernel(kind: str) -> np.ndarray:
    if kind == "gaussian":
        row = np.exp(-(np.arange(-4, 5) ** 2) / 2)
        taps = np.multiply.outer(row, row)
    elif kind == "wide":
        row = np.exp(-(np.arange(-8, 9) ** 2) / 2 / 4)
        taps = np.multiply.outer(row, row)
    elif kind == "box":
        taps = np.ones((3, 3))
    elif kind == "motion":
        taps = np.eye(11) + np.eye(11, k=1)
    else:
        taps = np.ones((9, 3)) * [[1, 2, 1]]
    return taps / taps.sum()


def wrapped(x: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """The periodic convolution, its centre at n // 2."""
    h = np.zeros(x.shape)
    h[tuple(slice(n) for n in taps.shape)] = taps
    h = np.roll(h, [-(n // 2) for n in taps.shape], range(x.ndim))
    return np.fft.irfftn(np.fft.rfftn(x) * np.fft.rfftn(h), s=x.shape, axes=range(x.ndim))


def eight_bits(y: np.ndarray, sigma: float, seed: int = 0) -> np.ndarray:
    return np.clip(np.round(y + sigma * np.random.default_rng(seed).normal(size=y.shape)), 0, 255)


def spreads(taps: np.ndarray) -> list[np.ndarray]:
    return [taps.sum(axis=tuple(j for j in range(taps.ndim) if j != i)) for i in range(taps.ndim)]


def judged(y: np.ndarray, taps: np.ndarray, with_spread: bool = True) -> Surroundings:
    return found(y[None].astype(np.float32), taps.shape, spreads(taps) if with_spread else None)


@pytest.mark.parametrize("sigma", [0, 1, 4])
@pytest.mark.parametrize("kind", KERNELS)
def test_photographs_blurred_periodically(kind: str, sigma: float) -> None:
    for name in ("camera", "astronaut", "chelsea", "coffee"):
        result = judged(eight_bits(wrapped(photograph(name), kernel(kind)), sigma), kernel(kind))
        assert (result.boundary, result.is_sure) == ("periodic", True), name
        assert result.sureness > 0.99
        assert "continues across its frame" in result.sentence


@pytest.mark.parametrize("with_spread", [True, False])
@pytest.mark.parametrize("sigma", [0, 1, 4, 12])
@pytest.mark.parametrize("kind", KERNELS)
def test_crops_of_blurred_photographs(kind: str, sigma: float, with_spread: bool) -> None:
    for name in ("camera", "astronaut", "chelsea", "coffee", "coins", "brick", "moon", "page"):
        y = eight_bits(signal.fftconvolve(photograph(name), kernel(kind), mode="valid"), sigma)
        result = judged(y, kernel(kind), with_spread)
        assert result.boundary == "unknown", name
        if sigma < 4 and name not in ("page", "moon"):
            assert result.is_sure, name
            assert result.sureness < 0.05
            assert "part of a larger scene" in result.sentence


@pytest.mark.parametrize("mode", ["mirror", "reflect", "nearest", "constant"])
@pytest.mark.parametrize("kind", KERNELS)
def test_other_boundaries_are_not_periodic(kind: str, mode: str) -> None:
    for name in ("camera", "astronaut", "chelsea", "coffee"):
        for sigma in (0, 2):
            y = eight_bits(ndimage.convolve(photograph(name), kernel(kind), mode=mode), sigma)
            assert judged(y, kernel(kind)).boundary == "unknown", name


def test_one_axis_that_jumps_is_enough() -> None:
    """A panorama goes round along X alone."""
    taps = kernel("wide")
    x = photograph("astronaut")
    around = wrapped(x, taps)
    panorama = wrapped(np.pad(x, ((20, 20), (0, 0)), "reflect"), taps)[20:-20]
    assert judged(around, taps).boundary == "periodic"
    assert judged(panorama, taps).boundary == judged(panorama.T, taps.T).boundary == "unknown"
    along_x = taps.sum(axis=0, keepdims=True)
    assert judged(wrapped(x, along_x), along_x).boundary == "periodic", "the other axis is not asked"
    assert judged(wrapped(x.T, along_x.T), along_x.T).boundary == "periodic"


@pytest.mark.parametrize("factor", [1e-6, 1e6])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_unit_and_the_zero_do_not_matter(factor: float, dtype: Any) -> None:
    taps = kernel("gaussian")
    x = photograph("coffee")
    for y in (wrapped(x, taps), signal.fftconvolve(x, taps, mode="valid")):
        y = eight_bits(y, 1)[None]
        one = found(y, taps.shape, spreads(taps))
        scaled, shifted = (found(z.astype(dtype), taps.shape, spreads(taps)) for z in (factor * y, y - 1000))
        assert one.boundary == scaled.boundary == shifted.boundary
        assert one.sureness == pytest.approx(scaled.sureness, abs=1e-3)


def test_colours_stacks_and_lines() -> None:
    taps = kernel("wide")
    x = np.moveaxis(data.astronaut()[:180, 100:300].astype(float), -1, 0)
    around = np.stack([wrapped(plane, taps) for plane in x])
    crop = np.stack([signal.fftconvolve(plane, taps, mode="valid") for plane in x])
    assert [found(y, taps.shape, spreads(taps)).boundary for y in (around, crop)] == ["periodic", "unknown"]

    rng = np.random.default_rng(0)
    volume = ndimage.gaussian_filter(rng.normal(size=(44, 84, 90)), 4)
    volume = np.maximum(volume / volume.std(), 0)
    row = np.exp(-(np.arange(-5, 6) ** 2) / 2 / 2.25)
    taps = functools.reduce(np.multiply.outer, [row / row.sum()] * 3)
    around, crop = wrapped(volume, taps), signal.fftconvolve(volume, taps, mode="valid")
    noise = 0.01 * rng.normal(size=volume.shape)
    verdicts = [judged(y + noise[tuple(slice(n) for n in y.shape)], taps).boundary for y in (around, crop)]
    assert verdicts == ["periodic", "unknown"]

    walk = rng.normal(size=1200).cumsum()
    row = np.exp(-(np.arange(-8, 9) ** 2) / 2 / 4)
    row /= row.sum()
    assert judged(wrapped(walk, row), row).boundary == "periodic"
    assert judged(np.convolve(walk, row, mode="valid"), row).boundary == "unknown"


@pytest.mark.parametrize("kind", ["flat", "noise", "framed", "tiny", "page", "sharp"])
def test_what_cannot_be_told_is_unknown_and_says_so(kind: str) -> None:
    """Each of these is periodic as much as it is a crop."""
    taps = kernel("gaussian")
    rng = np.random.default_rng(0)
    framed = np.zeros((160, 160))
    framed[40:120, 40:120] = ndimage.gaussian_filter(rng.random((80, 80)), 2) * 900
    y = {
        "flat": np.full((64, 64), 9.0),
        "noise": rng.normal(size=(128, 128)),
        "framed": wrapped(framed, taps) + 0.1 * rng.normal(size=framed.shape),
        "tiny": rng.random((6, 5)),
        "page": wrapped(np.pad(photograph("page")[:100, :200], 20, constant_values=250.0), taps),
        "sharp": photograph("camera"),
    }[kind]
    if kind == "sharp":
        taps = np.zeros((3, 3))
        taps[1, 1], taps[1, 0], taps[0, 1] = 1, 1e-6, 1e-6
    result = judged(y, taps)
    assert (result.boundary, result.is_sure) == ("unknown", False)
    assert 0.01 < result.sureness < 0.994
    assert "cannot be told" in result.sentence


@pytest.mark.parametrize("name", ["camera", "astronaut", "chelsea", "coffee", "coins", "brick"])
def test_a_blur_that_hardly_is_one_cannot_tell(name: str) -> None:
    """A Gaussian of 0.4 pixels leaves jumps as sharp as they were."""
    row = np.exp(-(np.arange(-2, 3) ** 2) / 2 / 0.16)
    taps = np.multiply.outer(row, row) / row.sum() ** 2
    for y in (wrapped(photograph(name), taps), signal.fftconvolve(photograph(name), taps, mode="valid")):
        for sigma in (0, 4, 12):
            result = judged(eight_bits(y, sigma), taps)
            assert (result.boundary, result.is_sure) == ("unknown", False)


def test_borders_alike_but_for_noise_decide_nothing() -> None:
    taps = kernel("gaussian")
    scene = np.zeros((160, 160))
    scene[30:130, 30:130] = photograph("astronaut")[:100, :100]
    for seed in range(8):
        y = wrapped(scene, taps) + 12 * np.random.default_rng(seed).normal(size=scene.shape)
        assert 0.2 < judged(y, taps).sureness < 0.8


@pytest.mark.parametrize(
    ("logs", "boundary", "is_sure"),
    [
        ([9.0, 8.0], "periodic", True),
        ([4.0, 4.0], "periodic", True),
        ([2.0, 2.0], "unknown", False),
        ([30.0, 0.0], "unknown", False),
        ([30.0, -1.0], "unknown", False),
        ([30.0, -9.0], "unknown", True),
        ([-9.0, -9.0], "unknown", True),
        ([6.0], "periodic", True),
        ([], "unknown", False),
    ],
)
def test_the_axes_must_agree(logs: list[float], boundary: str, is_sure: bool) -> None:
    verdict = surroundings._verdict(logs)
    assert (verdict.boundary, verdict.is_sure) == (boundary, is_sure)


def test_more_noise_hides_the_difference() -> None:
    taps = kernel("gaussian")
    y = wrapped(photograph("chelsea"), taps)
    verdicts = [judged(y + s * np.random.default_rng(0).normal(size=y.shape), taps) for s in (1, 300)]
    assert [v.boundary for v in verdicts] == ["periodic", "unknown"]
    assert not verdicts[1].is_sure


def test_a_shift_moves_the_seam_away() -> None:
    """Rolled, a periodic image is one still; a crop's jump then lies inside, and its new frame joins."""
    taps = kernel("wide")
    y = wrapped(photograph("coffee"), taps)
    assert judged(np.roll(y, (70, 33), (0, 1)), taps).boundary == "periodic"
    crop = signal.fftconvolve(photograph("coffee"), taps, mode="valid")
    assert judged(crop, taps).boundary == "unknown"
    assert judged(np.roll(crop, (70, 33), (0, 1)), taps).boundary == "periodic"


def test_kernels_that_reach_no_neighbour_need_no_boundary() -> None:
    result = found(np.random.default_rng(0).random((1, 30, 30)), (1, 1))
    assert (result.boundary, result.is_sure) == ("periodic", True)


@pytest.mark.parametrize("taps", [np.array([-1.0, 0, 1]), np.array([1.0, -2, 1]), np.array([-0.5, 2, -0.5])])
def test_kernels_that_sharpen_or_differentiate_are_no_error(taps: np.ndarray) -> None:
    y = wrapped(photograph("camera"), np.multiply.outer(taps, taps))
    assert judged(y, np.multiply.outer(taps, taps)).boundary in ("periodic", "unknown")


def gaussian(sigma: float) -> np.ndarray:
    reach = int(3 * sigma + 1)
    row = np.exp(-(np.arange(-reach, reach + 1) ** 2) / 2 / sigma**2)
    return np.multiply.outer(row, row) / row.sum() ** 2


@pytest.mark.parametrize("name", ["astronaut", "coffee"])
def test_a_small_blur_is_told_from_none_by_the_step_that_it_makes(name: str) -> None:
    """Inside photographs there are few steps as sharp as a seam: only the kernel says how they are blurred."""
    for kernel_of, sigma in ((gaussian(0.6), 0), (gaussian(0.6), 12)):
        y = eight_bits(wrapped(photograph(name), kernel_of), sigma)
        assert judged(y, kernel_of).boundary == "periodic"
        crop = eight_bits(signal.fftconvolve(photograph(name), kernel_of, mode="valid"), sigma)
        assert judged(crop, kernel_of).boundary == "unknown"


def test_the_sharpest_edge_to_expect_is_a_step_blurred_by_the_kernel() -> None:
    """By those inside, this periodic image could be anything."""
    y = eight_bits(wrapped(photograph("cell"), kernel("box")), 4)
    assert judged(y, kernel("box")).boundary == "periodic"


@pytest.mark.parametrize("name", ["camera", "coffee"])
def test_where_any_join_could_be_an_edge_nothing_is_said(name: str) -> None:
    """A sharpened step is as sharp as a crop's jump."""
    sharpen = np.array([[0, -1, 0], [-1, 5.0, -1], [0, -1, 0]])
    for sigma in (0, 4, 12):
        result = judged(eight_bits(wrapped(photograph(name), sharpen), sigma), sharpen)
        assert (result.boundary, result.is_sure) == ("unknown", False)
        assert result.sureness == 0.5


@pytest.mark.parametrize("step", [0, 3])
def test_noise_on_borders_that_are_alike_is_no_evidence(step: int) -> None:
    """A dark frame, a little brighter on one side, under noise: no crop of it is ever taken for periodic."""
    taps = kernel("gaussian")
    scene = np.full((230, 250), 60.0)
    scene[:, 125:] += step
    scene[70:160, 70:180] = photograph("astronaut")[:90, :110]
    for seed in range(6):
        y = eight_bits(signal.fftconvolve(scene[30:-30, 30:-30], taps, mode="valid"), 12, seed)
        assert judged(y, taps).boundary == "unknown"


def test_a_blurred_step_is_the_kernels_sum() -> None:
    spread = np.array([1.0, 4, 2])
    step = surroundings._blurred_step(spread, 4)
    assert step is not None
    scene = np.r_[np.zeros(10), np.ones(10)]
    np.testing.assert_allclose(step, ndimage.convolve1d(scene, spread / 7)[6:14])
    assert surroundings._blurred_step(np.array([1.0, -1]), 4) is None


def test_examples() -> None:
    assert doctest.testmod(surroundings, extraglobs={"np": np}).failed == 0
