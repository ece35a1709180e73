"""The bench's cases are what they say: the data are loop convolutions of the scene at the frame, plus the noise."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from oracles import convolve_loop
from quality import blurs, tables
from quality.baselines import BASELINES
from quality.bench import Task, climbed, measured
from quality.case import Case
from quality.exposures import exposed, periodic_blur, valid_blur
from quality.scenarios import GROUPS

pytest.importorskip("skimage", reason="scikit-image, whose pictures the bench uses, is not installed")


@pytest.fixture(scope="module")
def cases() -> dict[str, list[Case]]:
    return {name: make() for name, make in GROUPS.items()}


def channel(case: Case, image: np.ndarray) -> np.ndarray:
    """An image's first channel."""
    return image[..., 0] if case.axes == "YXC" else image


KERNEL_SIZES = [(3, 5), (4, 3), (2, 6), (1, 4)]


def asymmetric(size: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return blurs.normalised(np.random.default_rng(seed).random(size))


@pytest.mark.parametrize("size", KERNEL_SIZES)
def test_a_periodic_blur_is_the_loop_convolution(size: tuple[int, int]) -> None:
    scene, kernel = np.random.default_rng(1).random((9, 7)), asymmetric(size)
    expected = convolve_loop(scene[None, None], kernel[None, None], boundary="periodic")[0, 0]
    np.testing.assert_allclose(periodic_blur(scene, kernel), expected, atol=1e-12)


@pytest.mark.parametrize("size", [*KERNEL_SIZES, (2, 3, 4)])
def test_a_valid_blur_is_the_loop_convolution_of_the_larger_scene_at_the_frame(size: tuple[int, ...]) -> None:
    scene, kernel = np.random.default_rng(2).random((11, 10, 9)[: len(size)]), asymmetric(size)
    blurred, truth = valid_blur(scene, kernel)
    # Zeros outside the scene reach the borders alone; the frame is where no output reads them.
    everywhere = convolve_loop(scene[None, None], kernel[None, None], boundary="zero")[0, 0]
    frame = tuple(slice(n - 1 - n // 2, s - n // 2) for n, s in zip(size, scene.shape, strict=True))
    np.testing.assert_allclose(blurred, everywhere[frame], atol=1e-12)
    np.testing.assert_array_equal(truth, scene[frame])


@pytest.mark.parametrize("size", KERNEL_SIZES)
def test_mostly_seen_is_where_half_of_the_light_reached_the_frame(size: tuple[int, int]) -> None:
    kernel, frame = asymmetric(size, seed=5) ** 3, (8, 7)
    kernel /= kernel.sum()
    sent = np.zeros(frame)  # of a point at each pixel, by the loop convolution of the frame with nothing outside
    for at in np.ndindex(frame):
        point = np.zeros((1, 1, *frame))
        point[0, 0, *at] = 1
        sent[at] = convolve_loop(point, kernel[None, None], boundary="zero").sum()
    case = Case("", "", "", np.zeros(frame), np.zeros(frame), kernel, "unknown", 1.0, 0.0)
    np.testing.assert_array_equal(case.mostly_seen(), sent >= 0.5)
    assert 0 < case.mostly_seen().sum() <= sent.size


def test_a_frame_is_the_middle_of_its_surroundings_with_the_same_noise() -> None:
    scene = np.random.default_rng(3).random((140, 120, 3))
    rng = np.random.default_rng(4)
    parts = exposed(scene, asymmetric((4, 3)), (20, 30), lambda y: y + rng.standard_normal(y.shape))
    around = parts["surroundings"]
    assert parts["data"].shape == parts["truth"].shape == (20, 30, 3)
    assert around.data.shape == (100, 110, 3)
    np.testing.assert_array_equal(parts["data"], around.data[around.inside])
    np.testing.assert_array_equal(parts["truth"], around.truth[around.inside])


def test_every_kernel_is_a_blur(cases: dict[str, list[Case]]) -> None:
    sizes = set()
    for case in itertools.chain(*cases.values()):
        assert case.kernel.sum() == pytest.approx(1, abs=1e-12)
        assert case.kernel.min() >= 0
        sizes |= {n % 2 for n in case.kernel.shape}
    assert sizes == {0, 1}


def test_data_are_the_blurred_truth_and_noise_of_the_level_named(cases: dict[str, list[Case]]) -> None:
    """Two pixels beyond the reach of the kernel, where the truth within the frame decides the data."""
    for case in itertools.chain(*cases.values()):
        truth, data = channel(case, case.truth), channel(case, case.data)
        inside = tuple(slice(n // 2 + 2, s - n // 2 - 2) for n, s in zip(case.kernel.shape, truth.shape, strict=True))
        error = (data - periodic_blur(truth, case.kernel))[inside]
        # Clipping takes some noise of dark pixels away; rounding adds a twelfth.
        expected = np.sqrt(case.noise**2 + (case.data.dtype == np.uint8) / 12)
        assert abs(error.mean()) < 6 * expected / np.sqrt(error.size) + 0.02, case.name
        assert 0.8 < error.std() / expected < 1.15, case.name


def test_periodic_cases_are_periodic_and_the_others_are_not(cases: dict[str, list[Case]]) -> None:
    for case in itertools.chain(*cases.values()):
        error = channel(case, case.data) - periodic_blur(channel(case, case.truth), case.kernel)
        rims = [error[(slice(None),) * axis + (side,)] for axis in range(error.ndim) for side in (0, -1)]
        excess = max(np.std(rim) for rim in rims) / case.noise
        if case.boundary == "periodic":
            assert excess < 1.3, case.name
        elif case.peak == 255 and case.noise < 3:  # the sky around stars is nearly the same on all sides
            assert excess > 1.8, case.name


def test_what_a_group_says_of_itself(cases: dict[str, list[Case]]) -> None:
    assert {name: len(group) for name, group in cases.items()} == {
        "classical": 24,
        "realistic": 25,
        "levin-like": 48,
        "poisson": 4,
        "beads": 2,
        "colour": 3,
    }
    for name, group in cases.items():
        assert len({case.name for case in group}) == len(group)
        for case in group:
            assert case.group == name
            assert case.data.shape == case.truth.shape
            assert len(case.axes) == case.data.ndim
            assert case.boundary == ("periodic" if name == "classical" else "unknown")
            kind = {"classical": "f8", "levin-like": "f8", "poisson": "u2", "beads": "u2"}.get(name, "u1")
            assert case.data.dtype == np.dtype(kind)


def test_the_same_cases_come_out_every_time(cases: dict[str, list[Case]]) -> None:
    for name, group in cases.items():
        for first, again in zip(group, GROUPS[name](), strict=True):
            np.testing.assert_array_equal(first.data, again.data)
            np.testing.assert_array_equal(first.kernel, again.kernel)


def test_scores(cases: dict[str, list[Case]]) -> None:
    realistic, shaken, stars = cases["realistic"][0], cases["levin-like"][0], cases["poisson"][0]
    assert realistic.gain(realistic.data) == 0
    assert realistic.psnr(realistic.truth + 1) == pytest.approx(20 * np.log10(255), abs=0.3)  # 0.3: rounding, clipping
    spoilt = shaken.truth.copy()
    spoilt[:30], spoilt[:, -30:] = 0, 0
    assert shaken.psnr(spoilt) > 55  # rounded to integers: the truth is not one
    stray = shaken.truth.copy()
    stray[30, 30:40] = 0
    assert shaken.psnr(stray) < 53
    assert stars.psnr(stars.truth - stars.background) > 150


def test_the_oracle_weight_is_found_on_either_side() -> None:
    for start in (0.001, 0.9, 1.1, 400.0):
        weight, quality = climbed(lambda w: -(np.log(w) ** 2), start)
        assert abs(np.log2(weight)) <= 0.25 + 1e-9
        assert quality == -(np.log(weight) ** 2)


def test_a_contender_that_fails_is_a_result_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("not yet")

    monkeypatch.setattr("quality.contenders.answer", broken)
    result = measured(Task("beads", 0, "tikhonov"))
    assert result.error == "RuntimeError: not yet"
    assert "tikhonov failed in 1 of 1" in tables.summary([result], {result.case: 20.0})


@pytest.mark.parametrize("name", sorted({*BASELINES} - {"skimage-rl"}))  # it drifts where a size is even
def test_baselines_know_the_origin(name: str) -> None:
    """A spot stays where it is, under kernels of odd and even sizes."""
    truth = np.zeros((32, 40))
    truth[15:17, 20:23] = 200
    for size in [(5, 3), (4, 6)]:
        data = periodic_blur(truth, blurs.gaussian(1.0, size))
        x = BASELINES[name].restore(data, blurs.gaussian(1.0, size), 1e-3)
        centre = [float((np.arange(n) * x.sum(axis=1 - axis)).sum() / x.sum()) for axis, n in enumerate(x.shape)]
        np.testing.assert_allclose(centre, [15.5, 21], atol=0.1)
