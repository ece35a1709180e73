"""Whether a scene, blurred by a kernel, can have left the data: right kernels are not doubted, wrong ones mostly."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import scipy.ndimage
import skimage.data
from command import notes, succeed

import convtool
from convtool import kernels, model
from convtool.deconvolution import non_local, tv
from convtool.deconvolution.solvers import plausibility
from convtool.observation import Observation, Rounding, observe

WRONG = {
    "gaussian:sigma=1": ("gaussian:sigma=1.6", "disk:radius=2"),
    "gaussian:sigma=2": ("gaussian:sigma=3", "disk:radius=5", "box:size=8"),
    "disk:radius=2": ("disk:radius=2.7", "disk:radius=3", "gaussian:sigma=1.5"),
    "disk:radius=4": ("disk:radius=2.7", "disk:radius=5.3", "gaussian:sigma=3"),
    "motion:length=9,angle=20": ("motion:length=6,angle=20", "motion:length=9,angle=110", "disk:radius=4"),
    "box:size=5": ("box:size=3", "box:size=7", "gaussian:sigma=2"),
}


@functools.cache
def scene(name: str) -> np.ndarray:
    """[c, Y, X]."""
    rng = np.random.default_rng(0)
    if name == "stars":  # no less power at fine detail than elsewhere
        sky = np.zeros((1, 300, 320))
        sky[0, rng.integers(0, 300, 200), rng.integers(0, 320, 200)] = 300 * rng.pareto(1.2, 200).clip(0, 60)
        return sky + 10
    if name == "grains":
        return rng.normal(128, 30, (1, 300, 320))
    return np.atleast_3d(getattr(skimage.data, name)()[60:360, 100:420]).transpose(2, 0, 1).astype(float)


@functools.cache
def blurred(name: str, kernel: str, noise: float) -> np.ndarray:
    y = convtool.convolve(scene(name), kernels.make(kernel), axes="CYX")[:, 15:-15, 15:-15]
    return np.rint(y + np.random.default_rng(1).normal(0, noise, y.shape)).clip(0, 65535 if name == "stars" else 255)


def observed(y: np.ndarray, kernel: np.ndarray, mask: Any = None, **how: Any) -> Observation:
    built = model.build(y, kernel, **({"boundary": "unknown", "axes": "CYX", "is_data": True} | how))
    rounding = Rounding.to(np.dtype(np.uint8 if y.max() < 256 else np.uint16))
    return observe(built, y, how.get("boundary", "unknown"), mask, rounding)


def excess(y: np.ndarray, kernel: str, noise: float) -> float:
    return plausibility.excess(observed(y, kernels.make(kernel)), float(np.hypot(noise, 12**-0.5)))


@pytest.mark.parametrize("noise", [0, 1, 5, 20])
@pytest.mark.parametrize("kernel", WRONG)
@pytest.mark.parametrize("name", ["camera", "astronaut", "moon", "brick", "stars", "grains"])
def test_the_right_kernel_is_not_doubted(name: str, kernel: str, noise: float) -> None:
    assert excess(blurred(name, kernel, noise), kernel, noise) < 1.3


@pytest.mark.parametrize(("kernel", "wrong"), [(right, wrong) for right, each in WRONG.items() for wrong in each])
def test_a_wrong_kernel_is_doubted_where_the_data_tell(kernel: str, wrong: str) -> None:
    assert excess(blurred("camera", kernel, 0), wrong, 0) > 1.6


def test_what_no_spectrum_tells_is_not_said() -> None:
    """A narrower Gaussian is the right one of a softer scene; in noise of 20 grey levels, so is a wider one."""
    assert excess(blurred("camera", "gaussian:sigma=2", 0), "gaussian:sigma=1.3", 0) < 1.3
    assert excess(blurred("camera", "gaussian:sigma=2", 20), "gaussian:sigma=2.6", 20) < 1.3


def test_the_kernel_is_seen_as_the_window_resolves_it() -> None:
    """h is the mean of |H|^2 over the window's lobe, for kernels longer than an axis as well."""
    shape, taps = (16, 21), np.random.default_rng(2).random((19, 4))
    windows = [plausibility._window(n) for n in shape]
    W = np.square(np.abs(np.fft.fft2(np.outer(*windows), (64, 84))))
    H = np.square(np.abs(np.fft.fft2(taps, (64, 84)))) / taps.sum() ** 2
    smooth = np.fft.ifft2(np.fft.fft2(W) * np.fft.fft2(H)).real / (64 * 84)
    np.testing.assert_allclose(plausibility._passed(taps, windows), smooth[::4, ::4][:, :11], rtol=1e-9, atol=1e-12)


def test_noise_alone_is_no_excess_whatever_its_level_and_unit() -> None:
    noise = np.random.default_rng(3).normal(100, 4, (1, 200, 240))
    found = [plausibility.excess(observed(a * noise, kernels.make("disk:radius=4")), 4 * a) for a in (1, 1e-5, 1e5)]
    assert found[0] < 1.05
    assert found[1:] == pytest.approx([found[0]] * 2)
    loud = noise + (np.arange(240) > 120) * np.random.default_rng(4).normal(0, 12, noise.shape)
    assert plausibility.excess(observed(loud, kernels.make("disk:radius=4")), 4.0) < 1.3  # of the quiet half
    coloured = scipy.ndimage.gaussian_filter(noise, (0, 1, 1))
    assert plausibility.excess(observed(coloured, kernels.make("gaussian:sigma=3")), 1.2) > 1.6


@pytest.mark.parametrize(("wrong", "least"), [("gaussian:sigma=3", 2.0), ("gaussian:sigma=2", 0.0)])
@pytest.mark.parametrize("method", [tv.Options(tol=0.05), non_local.Options(rounds=1)])
def test_methods_say_so(method: Any, wrong: str, least: float) -> None:
    y = blurred("camera", "gaussian:sigma=2", 0).astype(np.uint8)[0]
    found = convtool.deconvolve(y, kernels.make(wrong), method=method, boundary="unknown")
    told = [note for note in found.notes if "hardly the one that made the data" in note]
    assert bool(told) == (least > 0)
    assert not told or "times the power that noise and a scene" in told[0]


def test_nothing_is_said_where_the_bound_does_not_hold() -> None:
    y, wide = blurred("camera", "gaussian:sigma=2", 0), kernels.make("gaussian:sigma=3")
    assert plausibility.excess(observed(y, wide), 0.29) > 2
    assert plausibility.excess(observed(y, wide, mask=np.ones(y.shape)), 0.29) > 2
    mask = np.ones(y.shape)
    mask[0, 100, 100] = 0
    assert plausibility.excess(observed(y, wide, mask), 0.29) == 0
    assert plausibility.excess(observed(np.minimum(y, 190), wide), 0.29) == 0
    assert plausibility.excess(observed(np.maximum(y - 30, 0), wide), 0.29) == 0
    assert plausibility.excess(observed(np.maximum(y, 30) + 1, wide), 0.29) > 0  # flat, but nothing is cut off at 31
    assert plausibility.excess(observed(y[:, :15], wide), 0.29) == 0
    sharp = wide.copy()
    sharp[0, 0] = -0.01
    assert plausibility.excess(observed(y, sharp), 0.29) == 0
    assert plausibility.excess(observed(np.repeat(y, 2, 0), np.tile(wide, (2, 2, 1, 1))), 0.29) == 0
    strided = observed(y, wide, stride=2, shape=(540, 580), boundary="periodic")
    assert plausibility.excess(strided, 0.29) == 0
    seen = observed(y, wide)
    assert seen.rounding is not None
    assert plausibility.excess(replace(seen, rounding=seen.rounding._replace(is_lossy=True)), 0.29) == 0


def test_one_channel_of_a_wrong_kernel_is_enough() -> None:
    y = blurred("astronaut", "gaussian:sigma=2", 0) + 5  # its black is then not taken for clipped
    taps = np.stack([np.pad(kernels.make("gaussian:sigma=2"), 4)] * 3)
    assert 0 < plausibility.excess(observed(y, taps, kernel_axes="CYX"), 0.29) < 1.3
    taps[1] = kernels.make("gaussian:sigma=3")
    assert plausibility.excess(observed(y, taps, kernel_axes="CYX"), 0.29) > 2


def test_the_command_tells_wrong_kernels_alone(tmp_path: Path) -> None:
    def told(name: str, kernel: str) -> bool:
        outcome = succeed(
            "deconvolve", name, "-k", kernel, "-o", "x.png", "--method", "tv", "--effort", "low", cwd=tmp_path
        )
        return any("hardly the one" in note for note in notes(outcome))

    y = blurred("camera", "disk:radius=4", 0)[0].astype(np.uint8)
    PIL.Image.fromarray(y).save(tmp_path / "y.png")
    PIL.Image.fromarray(y).save(tmp_path / "y.jpg", quality=90)
    assert not told("y.png", "disk:radius=4")
    assert told("y.png", "disk:radius=5.3")
    assert not told("y.jpg", "disk:radius=4")
