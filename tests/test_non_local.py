"""The non-local method: its rounds against other solvers, what it gains, and the scenes, colours, volumes it takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import scipy.optimize
import skimage.data

import convtool
from convtool import model
from convtool.deconvolution import non_local
from convtool.deconvolution.solvers import patch_splitting
from convtool.deconvolution.solvers import scene as scenes
from convtool.deconvolution.solvers.progress import Step, watched
from convtool.errors import ConvtoolError
from convtool.observation import Rounding, observe

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
    return scenes.of(observe(built, y, how["boundary"], mask, Rounding.to(np.dtype(np.uint8))))


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


def test_the_strength_follows_noise_and_kernel() -> None:
    """A wide kernel leaves x less of the noise, which can be told from patches with less smoothing."""
    y = photograph()
    found = {}
    for side, noise in ((15, 4.0), (5, 4.0), (2, 4.0), (3, 0.25), (3, 2.0)):
        built = model.build(y, box(side), boundary="periodic", is_data=True)
        scene = scenes.of(observe(built, y, "periodic"))
        found[side, noise] = patch_splitting.chosen_strength(scene, noise / scene.unit)
        options = non_local.Options(rounds=1, noise=noise)
        metrics = convtool.deconvolve(y, box(side), method=options, boundary="periodic").metrics
        assert metrics["strength"] == pytest.approx(found[side, noise], rel=0.02)
        assert metrics["strength_source"] == "chosen by noise and kernel"
    assert found[15, 4.0] == pytest.approx(0.13)
    assert found[2, 4.0] == pytest.approx(0.25)
    assert 0.15 < found[5, 4.0] < 0.2
    assert found[3, 0.25] < 0.8 * found[3, 2.0]


def test_patches_of_colours_are_smaller_and_groups_at_low_effort() -> None:
    y = noisy(photograph(30, 34), 3.0)

    def layout(data: np.ndarray, **how: Any) -> tuple[int, int]:
        metrics = convtool.deconvolve(
            data, box(3), boundary="periodic", method=non_local.Options(rounds=1), **how
        ).metrics
        return metrics["patch"], metrics["count"]

    assert layout(y) == (5, 24)
    assert layout(np.stack([y] * 3), axes="CYX") == (4, 24)
    assert layout(y, effort="low") == (5, 16)


def test_a_wrong_kernel_is_doubted_and_the_right_one_is_not() -> None:
    def gaussian(sigma: float) -> np.ndarray:
        row = np.exp(-(np.arange(-6, 7) ** 2) / 2 / sigma**2)
        return np.outer(row, row) / row.sum() ** 2

    x = photograph(130, 130, 150, 150)
    y = np.rint(noisy(scipy.ndimage.convolve(x, gaussian(1.5))[8:-8, 8:-8], 1.0)).clip(0, 255).astype(np.uint8)

    def is_doubted(sigma: float) -> bool:
        notes = convtool.deconvolve(y, gaussian(sigma), boundary="unknown", **QUICK).notes
        return any("hardly the one that made the data" in note for note in notes)

    assert [is_doubted(sigma) for sigma in (1.5, 2.6)] == [False, True]  # a narrower one: of a softer scene, the right


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


def test_a_large_image_is_solved_tile_by_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    x = photograph(100, 280, 100, 120)
    y = np.round(noisy(scipy.ndimage.convolve(x, BLUR), 1.0))
    how: dict[str, Any] = {"method": non_local.Options(rounds=4), "boundary": "unknown"}
    whole = convtool.deconvolve(y, BLUR, **how)
    assert "tiles" not in whole.metrics
    monkeypatch.setattr(non_local, "_TILE", y.size * 7 // 10)
    steps: list[Step | str] = []
    with watched(steps.append):
        tiled = convtool.deconvolve(y, BLUR, **how)
    assert tiled.metrics["tiles"] == 2
    assert tiled.metrics["strength"] == pytest.approx(whole.metrics["strength"], rel=0.05)
    assert tiled.metrics["whiteness"] == pytest.approx(whole.metrics["whiteness"], abs=0.02)
    assert tiled.metrics["discrepancy"] == pytest.approx(whole.metrics["discrepancy"], rel=0.02)
    assert np.sqrt(np.mean((tiled.x - whole.x) ** 2)) < 0.5
    assert psnr(tiled.x, x) > psnr(whole.x, x) - 0.05
    told = [(step.image, step.images) for step in steps if isinstance(step, Step)]
    assert told == [(1, 2)] * 4 + [(2, 2)] * 4
    assert "tiles" not in convtool.deconvolve(y, BLUR, **(how | {"boundary": "periodic"})).metrics


def test_what_is_left_of_the_data_is_measured() -> None:
    x = photograph(60, 70)
    y = noisy(scipy.ndimage.convolve(x, box(3), mode="wrap"), 2.0)
    mask = np.random.default_rng(1).random(y.shape) > 0.2
    for unit in (1.0, 1e-3):
        found = convtool.deconvolve(
            unit * y, box(3), method=non_local.Options(noise=2 * unit, rounds=6), boundary="periodic", mask=mask
        )
        left = (scipy.ndimage.convolve(found.x, box(3), mode="wrap") - unit * y)[mask]
        assert found.metrics["discrepancy"] == pytest.approx(np.sqrt(np.mean(left**2)) / (2 * unit), rel=1e-3)


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
