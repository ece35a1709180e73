"""Groups of similar patches: the denoiser against slow loops and eigenvectors, and what it must keep."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st

from convtool import process
from convtool.deconvolution.solvers import patch_groups
from convtool.deconvolution.solvers.patch_groups import Layout, Shrinkage

PAD = {"periodic": "wrap", "symmetric": "symmetric"}


def picture(rows: int, columns: int) -> np.ndarray:
    """A piece of a photograph, [1, Y, X], 0..255."""
    return skimage.data.camera()[None, 80 : 80 + rows, 190 : 190 + columns].astype(np.float32)


def noisy(x: np.ndarray, sigma: float, seed: int = 1) -> np.ndarray:
    return (x + sigma * np.random.default_rng(seed).normal(size=x.shape)).astype(np.float32)


def denoised(x: np.ndarray, sigma: float, layout: Layout, how: Shrinkage, mode: str = "periodic") -> np.ndarray:
    return patch_groups.find(x, layout, mode).denoise(x, sigma, how)


def by_loops(
    x: np.ndarray, sigma: float, layout: Layout, how: Shrinkage, mode: str, offset: tuple[int, int]
) -> np.ndarray:
    """The definition, group by group in double precision, with the singular values of every group."""
    c, rows, columns = x.shape
    p, pad = layout.size, 3 * layout.size + layout.reach
    grown = np.pad(x.astype(float), [(0, 0), (pad, pad), (pad, pad)], mode=PAD[mode])  # type: ignore[call-overload]
    at = np.pad(np.arange(rows * columns).reshape(rows, columns), pad, mode=PAD[mode])  # type: ignore[call-overload]
    taper = np.outer(np.kaiser(p, 2), np.kaiser(p, 2))
    total, weight = np.zeros((c, rows * columns)), np.zeros(rows * columns)
    for i in range(pad - offset[0], pad + rows, layout.step):
        for j in range(pad - offset[1], pad + columns, layout.step):
            corners = [
                (i + a, j + b)
                for a in range(-layout.reach, layout.reach + 1)
                for b in range(-layout.reach, layout.reach + 1)
            ]
            own = grown[:, i : i + p, j : j + p].mean(0)
            unlike = [((grown[:, k : k + p, m : m + p].mean(0) - own) ** 2).sum() for k, m in corners]
            members = [corners[n] for n in np.argsort(unlike, kind="stable")[: layout.count]]
            group = np.stack([grown[:, k : k + p, m : m + p].ravel() for k, m in members])
            mean = group.mean(0)
            u, s, vt = np.linalg.svd(group - mean, full_matrices=False)
            ratio = s**2 / (how.threshold * sigma**2 * (group.shape[0] ** 0.5 + group.shape[1] ** 0.5) ** 2)
            keep = ratio / (1 + ratio)
            for _ in range(how.smoothsteps):
                keep = 3 * keep**2 - 2 * keep**3
            w = 1 / (1 + keep.sum())
            for (k, m), patch in zip(members, u @ np.diag(keep * s) @ vt + mean, strict=True):
                places = at[k : k + p, m : m + p].ravel()
                np.add.at(weight, places, w * taper.ravel())
                for channel, values in enumerate(patch.reshape(c, -1)):
                    np.add.at(total[channel], places, w * taper.ravel() * values)
    return (total / weight).reshape(x.shape)


@pytest.mark.parametrize("mode", ["periodic", "symmetric"])
@pytest.mark.parametrize("channels", [1, 3])
def test_denoising_is_what_its_definition_says(mode: str, channels: int) -> None:
    rng = np.random.default_rng(2)
    x = noisy(np.concatenate([picture(15, 19) * rng.uniform(0.5, 1, size=(channels, 1, 1))]), 6.0)
    layout, how = Layout(size=4, count=7, step=3, reach=3), Shrinkage(4.0, 2)
    groups = patch_groups.find(x, layout, mode, (1, 2))
    np.testing.assert_allclose(groups.denoise(x, 6.0, how), by_loops(x, 6.0, layout, how, mode, (1, 2)), atol=0.02)


def test_groups_of_a_pilot_serve_another_image() -> None:
    x, pilot = noisy(picture(14, 20), 8.0), picture(14, 20)
    layout, how = Layout(4, 6, 2, 3), Shrinkage(4.0, 1)
    by_pilot = patch_groups.find(pilot, layout, "periodic").denoise(x, 8.0, how)
    assert np.abs(by_pilot - denoised(x, 8.0, layout, how)).max() > 1
    np.testing.assert_array_equal(
        patch_groups.find(x, layout, "periodic").denoise(x, 8.0, how), denoised(x, 8.0, layout, how)
    )


@settings(max_examples=25)
@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 40),
    size=st.integers(1, 7),
    count=st.integers(1, 18),
    step=st.integers(1, 5),
    reach=st.integers(0, 6),
    offset=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    mode=st.sampled_from(["periodic", "symmetric"]),
)
def test_every_pixel_of_every_image_is_covered(
    rows: int, columns: int, size: int, count: int, step: int, reach: int, offset: tuple[int, int], mode: str
) -> None:
    """A constant comes back, and without shrinking so does everything."""
    x = np.random.default_rng(3).normal(0, 50, (2, rows, columns)).astype(np.float32)
    groups = patch_groups.find(x, Layout(size, count, step, reach), mode, offset)
    np.testing.assert_array_equal(groups.denoise(np.full_like(x, 7.0), 3.0, Shrinkage()), 7.0)
    np.testing.assert_allclose(groups.denoise(x, 1e-3, Shrinkage()), x, atol=1.0)


def test_a_level_far_above_the_image_leaves_the_means_of_groups() -> None:
    x = noisy(picture(18, 18), 5.0)
    smooth = denoised(x, 1e4, Layout(4, 8, 3, 4), Shrinkage())
    assert smooth.std() < x.std()
    assert np.abs(np.diff(smooth)).mean() < 0.5 * np.abs(np.diff(x)).mean()


def test_denoising_shifts_and_scales_with_the_image() -> None:
    x, layout, how = noisy(picture(24, 30), 7.0), Layout(step=3), Shrinkage()
    once = denoised(x, 7.0, layout, how)
    np.testing.assert_allclose(denoised(4 * x, 28.0, layout, how), 4 * once, rtol=1e-3)
    np.testing.assert_allclose(denoised(x + 64, 7.0, layout, how), once + 64, atol=0.05)
    rolled = np.roll(x, (3, -6), (1, 2))
    np.testing.assert_allclose(denoised(rolled, 7.0, layout, how), np.roll(once, (3, -6), (1, 2)), atol=0.05)


def test_three_equal_channels_are_one() -> None:
    """But for the threshold, since noise is taken to be independent: e is less than three times as large."""
    x = noisy(picture(20, 26), 7.0)
    edge, joint = ((c * 36) ** 0.5 + 16**0.5 for c in (1, 3))
    expected = denoised(x, 7.0, Layout(6, 16), Shrinkage(2.0))
    for channel in denoised(x.repeat(3, axis=0), 7.0, Layout(6, 16), Shrinkage(2.0 * 3 * (edge / joint) ** 2)):
        np.testing.assert_allclose(channel, expected[0], atol=0.02)


def test_noise_is_removed_and_edges_stay() -> None:
    x = picture(96, 110)
    y = noisy(x, 15.0)
    found = denoised(y, 15.0, Layout(), Shrinkage(1.4, 2), "symmetric")
    assert np.mean((found - x) ** 2) < 0.25 * np.mean((y - x) ** 2)
    colour = np.concatenate([x, 0.8 * x + 20, 255 - x])
    y = noisy(colour, 15.0)
    joint = denoised(y, 15.0, Layout(), Shrinkage(1.4, 2), "symmetric")
    apart = np.concatenate([denoised(c[None], 15.0, Layout(), Shrinkage(1.4, 2), "symmetric") for c in y])
    assert np.mean((joint - colour) ** 2) < np.mean((apart - colour) ** 2)


def test_threads_and_tiles_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x = noisy(picture(70, 120), 9.0)
    monkeypatch.setattr(process.policy, "threads", 1)
    expected = denoised(x, 9.0, Layout(), Shrinkage())
    monkeypatch.setattr(process.policy, "threads", 3)
    np.testing.assert_array_equal(denoised(x, 9.0, Layout(), Shrinkage()), expected)
    monkeypatch.setattr(patch_groups, "_TILE", (5, 7))
    np.testing.assert_allclose(denoised(x, 9.0, Layout(), Shrinkage()), expected, atol=0.05)


def test_double_precision_stays() -> None:
    x = noisy(picture(20, 21), 5.0)
    found = denoised(x.astype(np.float64), 5.0, Layout(), Shrinkage())
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, denoised(x, 5.0, Layout(), Shrinkage()), atol=0.02)
