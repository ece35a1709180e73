"""A kernel turned by 180 degrees: called out on photographs, and a right one never."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import skimage.data
from quality.scenarios import colour, realistic
from scipy.signal import fftconvolve

import convtool
from convtool import model
from convtool.deconvolution import non_local
from convtool.deconvolution.solvers import orientation
from convtool.kernel import Kernel
from convtool.observation import Observation, Rounding, observe

COMET = np.exp(-np.arange(12) / 4)[None] * [[0.3], [1.0], [0.3]]
COMET /= COMET.sum()


@functools.cache
def photograph(name: str = "camera") -> np.ndarray:
    return getattr(skimage.data, name)()[60:250, 100:290].astype(float)


def blurred(x: np.ndarray, kernel: np.ndarray, noise: float) -> np.ndarray:
    """The crop of a blurred scene as 8 bits; for colours, YXC."""
    planes = [fftconvolve(plane, kernel, mode="valid") for plane in np.atleast_3d(x).transpose(2, 0, 1)]
    y = np.stack(planes, axis=-1)
    y += np.random.default_rng(3).normal(0, noise, y.shape)
    return np.rint(y.clip(0, 255)).astype(np.uint8).reshape(*y.shape[:2], *x.shape[2:])


def observed(y: np.ndarray, kernel: np.ndarray, boundary: str = "unknown", **how: Any) -> Observation:
    mask = how.pop("mask", None)
    built = model.build(y, kernel, boundary=boundary, is_data=True, **how)
    return observe(built, y, boundary, mask, Rounding.to(y.dtype))


@pytest.mark.parametrize("noise", [0.5, 2.0])
@pytest.mark.parametrize("name", ["camera", "astronaut", "brick"])
def test_a_turned_kernel_is_called_out_and_the_right_one_is_not(name: str, noise: float) -> None:
    y = blurred(photograph(name), COMET, noise)
    axes = "YXC"[: y.ndim]
    assert orientation.doubt(observed(y, COMET, axes=axes), noise) is None
    said = orientation.doubt(observed(y, COMET[::-1, ::-1], axes=axes), noise)
    assert said is not None
    assert "turned by 180 degrees" in said
    assert "--operation correlate" in said


def test_the_advice_is_right() -> None:
    y = blurred(photograph(), COMET, 1.0)
    correlated = observed(y, COMET, operation="correlate")
    said = orientation.doubt(correlated, 1.0)
    assert said is not None
    assert "--operation convolve" in said
    assert orientation.doubt(observed(y, COMET, operation="convolve"), 1.0) is None
    assert orientation.doubt(observed(y, COMET[::-1, ::-1], operation="correlate"), 1.0) is None


def test_it_is_the_reverse_of_turning_the_data() -> None:
    y = blurred(photograph(), COMET, 1.0)
    given, turned = observed(y, COMET), observed(y[::-1, ::-1], COMET)
    assert orientation.advantage(given, 1.0) < -0.03
    assert orientation.advantage(turned, 1.0) > 0.03


@pytest.mark.parametrize("unit", [1e-4, 1.0, 1e5])
def test_the_unit_does_not_matter(unit: float) -> None:
    y = unit * blurred(photograph(), COMET, 1.0)
    assert orientation.doubt(observed(y, 7 * COMET), unit) is None
    assert orientation.doubt(observed(y, 7 * COMET[::-1, ::-1]), unit) is not None


@pytest.mark.parametrize("boundary", ["periodic", "symmetric", "zero"])
def test_every_boundary_masks_and_colours_are_taken(boundary: str) -> None:
    x = skimage.data.astronaut()[250:400, 200:350].astype(float)
    y = convtool.convolve(x, COMET, axes="YXC", boundary=boundary)
    y += np.random.default_rng(1).normal(0, 1, y.shape)
    mask = np.random.default_rng(2).random(y.shape) > 0.05
    y[~mask] = 200
    how: dict[str, Any] = {"boundary": boundary, "axes": "YXC", "mask": mask}
    assert orientation.doubt(observed(y, COMET, **how), 1.0) is None
    assert orientation.doubt(observed(y, COMET[::-1, ::-1], **how), 1.0) is not None


def test_kernels_that_are_their_own_reverse_and_small_images_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Observation] = []
    monkeypatch.setattr(orientation, "advantage", lambda each, noise: float(asked.append(each) or 1))
    y = blurred(photograph(), COMET, 1.0)
    even = np.zeros((6, 9))
    even[1:3, 2:7] = 1  # a box that does not lie in the middle
    for kernel in (np.ones((8, 7)), even, scipy.ndimage.gaussian_filter(even[:5, :5], 1, mode="constant")):
        assert orientation.doubt(observed(y, kernel), 1.0) is None
    assert orientation.doubt(observed(y[:40, :50], COMET), 1.0) is None
    assert not asked
    assert orientation.doubt(observed(y, COMET), 1.0) is not None
    assert len(asked) == 1


@pytest.mark.parametrize("shape", [(1, 1, 1, 5, 4), (3, 1, 1, 6), (2, 2, 3, 3, 2, 4)])
def test_likeness_is_the_greatest_value_of_the_kernel_convolved_with_itself(shape: tuple[int, ...]) -> None:
    taps = np.random.default_rng(4).random(shape) - 0.3
    blocks = taps.reshape(-1, *shape[3:])
    expected = sum(fftconvolve(block, block) for block in blocks).max() / np.square(taps).sum()
    assert orientation.likeness(Kernel(taps, (0,) * (len(shape) - 3))) == pytest.approx(expected)
    even = taps + np.flip(taps, tuple(range(3, len(shape))))
    assert orientation.likeness(Kernel(even, (0,) * (len(shape) - 3))) == pytest.approx(1)


@pytest.mark.parametrize("name", ["arc, noise 2, astronaut", "arc, noise 0.5, chelsea", "arc, noise 1, astronaut"])
def test_realistic_cases(name: str) -> None:
    (case,) = [each for each in (*realistic(), *colour()) if each.name == name]
    right = observed(case.data, case.kernel, axes=case.axes)
    assert orientation.doubt(right, case.noise) is None
    turned = replace(right.operator, kernel=replace(right.operator.kernel, taps=np.flip(right.operator.kernel.taps)))
    assert orientation.doubt(replace(right, operator=turned), case.noise) is not None


def test_the_non_local_method_says_so() -> None:
    y = blurred(photograph()[:110, :120], COMET, 1.0)
    options = non_local.Options(rounds=2)
    right = convtool.deconvolve(y, COMET, method=options, boundary="unknown")
    turned = convtool.deconvolve(y, COMET[::-1, ::-1], method=options, boundary="unknown")
    assert not any("turned by 180" in note for note in right.notes)
    assert any("turned by 180" in note for note in turned.notes)
