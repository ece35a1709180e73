"""The non-local method: its rounds against other solvers, what it gains, and the scenes, colours, volumes it takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import scipy.optimize
import skimage.data

import convtool
from convtool import deconvolution, model
from convtool.deconvolution import non_local
from convtool.deconvolution.solvers import patch_splitting
from convtool.deconvolution.solvers import scene as scenes
from convtool.deconvolution.solvers.progress import Step, watched
from convtool.errors import ConvtoolError
from convtool.observation import Rounding

BLUR = np.array([[0.0, 1, 2, 0], [1, 5, 3, 1], [0, 2, 1, 4]]) / 20
QUICK: dict[str, Any] = {"method": non_local.Options(rounds=8)}


def psnr(x: np.ndarray, reference: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((x.astype(float) - reference) ** 2)))


def photograph(rows: int = 90, columns: int = 104, top: int = 60, left: int = 180) -> np.ndarray:
    """A piece of a photograph, 0..255."""
    return skimage.data.camera()[top : top + rows, left : left + columns].astype(float)


def box(n: int) -> np.ndarray:
    return np.full((n, n), 1 / n**2)


def noisy(y: np.ndarray, sigma: float) -> np.ndarray:
    return y + sigma * np.random.default_rng(7).normal(size=y.shape)


def scene_of(shape: tuple[int, ...], how: dict[str, Any], mask: np.ndarray | None = None) -> scenes.Scene:
    y = 255 * np.random.default_rng(3).random(shape)
    built = model.build(y, BLUR, is_data=True, **how)
    return scenes.of(deconvolution.observe(built, y, how["boundary"], mask, Rounding.to(np.dtype(np.uint8))))


@pytest.mark.parametrize("boundary", ["periodic", "unknown", "zero", "symmetric"])
@pytest.mark.parametrize("is_masked", [False, True])
def test_the_fit_to_the_data_is_the_least_squares_one(boundary: str, is_masked: bool) -> None:
    mask = np.random.default_rng(4).random((9, 8)) < 0.7 if is_masked else None
    scene = scene_of((9, 8), {"boundary": boundary}, mask)
    v = 255 * np.random.default_rng(5).random(scene.shape)
    seen = np.ones(scene.data.size) if scene.weights is None else scene.weights.ravel()
    n = int(np.prod(scene.shape))
    A = np.stack([scene.forward(e.reshape(scene.shape)).ravel() for e in np.eye(n)], 1)

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        residual, off = seen * (A @ x - scene.data.ravel()), x - v.ravel()
        return 0.5 * residual @ residual + 0.2 * off @ off, A.T @ residual + 0.4 * off

    expected = scipy.optimize.minimize(objective, v.ravel(), jac=True, method="L-BFGS-B", options={"gtol": 1e-8}).x
    x = v
    for _ in range(5):
        x = patch_splitting.fitted(scene, v, 0.4, x)
    np.testing.assert_allclose(x.ravel(), expected, atol=0.2)  # of 255: conjugate gradients stop at 1e-4


def test_it_gains_more_than_total_variation() -> None:
    x = photograph()
    y = noisy(scipy.ndimage.convolve(x, box(5), mode="wrap"), 2.0)
    found = convtool.deconvolve(y, box(5), method="non-local", boundary="periodic")
    tv = convtool.deconvolve(y, box(5), method="tv", boundary="periodic")
    assert psnr(found.x, x) > psnr(tv.x, x) + 0.5
    assert psnr(found.x, x) > psnr(y, x) + 5
    assert found.metrics["noise"] == pytest.approx(2.0, rel=0.3)
    assert "14 rounds" in found.stop


def test_light_from_outside_the_frame_does_no_harm() -> None:
    x = photograph(100, 110)
    y = np.clip(np.round(noisy(scipy.ndimage.convolve(x, box(7))[8:-8, 8:-8], 1.0)), 0, 255).astype(np.uint8)
    inside = x[8:-8, 8:-8]
    unknown = convtool.deconvolve(y, box(7), boundary="unknown", **QUICK).x
    wrong = convtool.deconvolve(y, box(7), boundary="periodic", **QUICK).x
    assert unknown.shape == y.shape
    assert psnr(unknown, inside) > psnr(y, inside) + 4
    assert psnr(unknown, inside) > psnr(wrong, inside) + 4


def test_pixels_that_do_not_count_are_filled() -> None:
    x = photograph()
    y = noisy(scipy.ndimage.convolve(x, box(3), mode="wrap"), 1.0)
    mask = np.random.default_rng(1).random(y.shape) > 0.1
    spoilt = np.where(mask, y, np.nan)
    found = convtool.deconvolve(spoilt, box(3), boundary="periodic", mask=mask, **QUICK).x
    assert psnr(found, x) > psnr(y, x) + 2
    again = convtool.deconvolve(np.where(mask, y, 1e3), box(3), boundary="periodic", mask=mask, **QUICK).x
    np.testing.assert_allclose(again, found, atol=0.5)


@pytest.mark.parametrize("boundary", ["zero", "edge", "reflect", "symmetric"])
def test_every_boundary_is_taken(boundary: str) -> None:
    x = photograph(50, 56)
    y = noisy(convtool.convolve(x, box(5), boundary=boundary), 1.0)
    found = convtool.deconvolve(y, box(5), boundary=boundary, **QUICK).x
    assert psnr(found, x) > psnr(y, x) + (3 if boundary != "zero" else 6)


def test_channels_help_each_other() -> None:
    x = skimage.data.astronaut()[20:110, 180:270].transpose(2, 0, 1).astype(float)
    y = noisy(convtool.convolve(x, box(5)), 6.0)
    how: dict[str, Any] = {"boundary": "periodic", "method": non_local.Options(rounds=8, noise=6.0)}
    joint = convtool.deconvolve(y, box(5), **how).x
    apart = np.stack([convtool.deconvolve(channel, box(5), **how).x for channel in y])
    assert psnr(joint, x) > psnr(apart, x) + 0.2


def test_a_volume_is_grouped_plane_by_plane() -> None:
    x = np.stack([photograph(40, 44, left=180 + 2 * z) for z in range(4)])
    kernel = np.full((2, 3, 3), 1 / 18)
    y = noisy(convtool.convolve(x, kernel, axes="ZYX"), 2.0)
    found = convtool.deconvolve(y, kernel, axes="ZYX", boundary="periodic", **QUICK).x
    assert found.shape == x.shape
    assert psnr(found, x) > psnr(y, x) + 2


def test_rows_are_taken() -> None:
    x = photograph(3, 200, top=170, left=150)
    y = noisy(scipy.ndimage.convolve1d(x, np.full(5, 0.2), mode="wrap"), 1.0)
    found = convtool.deconvolve(y, np.full(5, 0.2), axes="YX", kernel_axes="X", boundary="periodic", **QUICK).x
    assert psnr(found, x) > psnr(y, x)


def test_effort_buys_rounds_and_is_reported() -> None:
    y = noisy(photograph(30, 34), 3.0)
    rounds = [
        convtool.deconvolve(y, box(3), method="non-local", boundary="periodic", effort=effort).metrics["rounds"]
        for effort in ("low", "normal", "high")
    ]
    assert rounds == sorted(set(rounds))
    steps: list[Step | str] = []
    with watched(steps.append):
        convtool.deconvolve(np.stack([y, y]), box(3), axes="NYX", boundary="periodic", **QUICK)
    told = [step for step in steps if isinstance(step, Step)]
    assert [(step.iteration, step.limit, step.image, step.images) for step in told] == [
        (k, 8, n, 2) for n in (1, 2) for k in range(1, 9)
    ]


def test_more_weight_on_the_prior_is_smoother() -> None:
    y = noisy(scipy.ndimage.convolve(photograph(), box(3), mode="wrap"), 4.0)
    rough = [
        np.abs(np.diff(convtool.deconvolve(y, box(3), boundary="periodic", method=options).x)).mean()
        for options in (non_local.Options(strength=t, rounds=8) for t in (0.15, 0.25, 0.8))
    ]
    assert rough == sorted(rough, reverse=True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"noise": 0.0}, "noise must be above 0"),
        ({"noise": np.inf}, "noise must be above 0"),
        ({"strength": -1.0}, "strength must be above 0"),
        ({"rounds": 0}, "rounds must be at least 1"),
        ({"patch": 1}, "patch must be at least 2"),
        ({"count": 1}, "count must be at least 2"),
        ({"reach": 0}, "reach must be at least 1"),
    ],
)
def test_senseless_settings_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConvtoolError, match=f"non-local: {said}"):
        convtool.deconvolve(photograph(9, 8), BLUR, method=non_local.Options(**options))


def test_data_with_next_to_no_noise_are_not_spoilt() -> None:
    """Where the data step is hard: frequencies are lost, the surroundings unknown, and only rounding is noise."""
    x = photograph(110, 120)
    y = np.round(scipy.ndimage.convolve(x, box(9))[8:-8, 8:-8]).astype(np.uint8)
    inside = x[8:-8, 8:-8]
    found = convtool.deconvolve(y, box(9), method="non-local", boundary="unknown").x
    assert psnr(found, inside) > psnr(convtool.deconvolve(y, box(9), method="tv", boundary="unknown").x, inside) + 0.5
    floats = convtool.deconvolve(y / 1e3, box(9), method="non-local", boundary="unknown").x
    assert psnr(1e3 * floats, inside) > psnr(y, inside) + 6
