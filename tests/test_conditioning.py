"""What a kernel does to frequencies: norm, condition, destroyed counts and lost energy, against dense matrices.

The dense oracle takes the whole spectrum: a matrix written entry by entry and its singular values, or numpy's full FFT.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import oracles
import pytest

from convtool import conditioning
from convtool.kernel import Kernel
from convtool.operators import Convolution

GRIDS = [(4, 6), (5, 7), (4, 5), (3, 8)]


def operator(taps: np.ndarray, grid: tuple[int, ...], groups: int | None = None, **how: Any) -> Convolution:
    """Of taps [g, o, i, *extent], with the origin in the middle."""
    kernel = Kernel(taps, tuple(n // 2 for n in taps.shape[3:]))
    return Convolution.build(kernel, grid, len(taps) if groups is None else groups, **how)


def dense(built: Convolution, dilation: int = 1) -> np.ndarray:
    """The periodic operator of the kernel on the grid, as the oracle writes it."""
    taps, g = built.kernel.taps, built.groups
    flat = np.concatenate([taps[i % len(taps)] for i in range(g)])
    shape = (g * taps.shape[2], *built.geometry.grid)
    return oracles.matrix(flat, shape, operation=built.operation, groups=g, dilation=dilation)


def taps(g: int, o: int, i: int, extent: tuple[int, ...] = (3, 2), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(g, o, i, *extent))


def box(*extent: int) -> np.ndarray:
    return np.ones((1, 1, 1, *extent)) / math.prod(extent)


def deficient(o: int, i: int) -> np.ndarray:
    """Channels mixed by a matrix of rank one, after a difference along X that destroys the mean of every row."""
    mix = np.outer(np.arange(1.0, o + 1), np.arange(2.0, i + 2))
    return mix[None, :, :, None, None] * np.array([[1.0, -1.0]])


CASES: dict[str, tuple[np.ndarray, int | None]] = {
    "scalar": (taps(1, 1, 1), None),
    "box 2x2": (box(2, 2), None),
    "box 1x5": (box(1, 5), None),
    "box 3x2, all channels": (box(3, 2), 3),
    "one a channel": (np.concatenate([taps(1, 1, 1), 3 * box(3, 2)]), None),
    "mixing": (taps(1, 2, 2), None),
    "more outputs": (taps(1, 3, 2), None),
    "fewer outputs": (taps(1, 2, 3), None),
    "one output": (taps(1, 1, 3), None),
    "grouped": (taps(2, 1, 2), None),
    "grouped, square": (taps(2, 2, 2), None),
    "rank one": (deficient(2, 2), None),
    "rank one, wide": (deficient(2, 3), None),
    "rank one, tall": (deficient(3, 2), None),
}


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("name", CASES)
def test_figures_are_those_of_the_dense_matrix(name: str, grid: tuple[int, ...]) -> None:
    kernel, groups = CASES[name]
    built = operator(kernel, grid, groups)
    facts, a = conditioning.of(built), dense(built)
    s = np.linalg.svd(a, compute_uv=False)
    kept = s[s > 1e3 * np.finfo(float).eps * s[0]]
    repeats = built.groups // len(kernel)  # one kernel for all channels: frequencies are counted once
    assert facts.norm == pytest.approx(s[0], rel=1e-12)
    assert facts.components * repeats == a.shape[1]
    assert facts.destroyed * repeats == a.shape[1] - len(kept)
    assert facts.condition_kept == pytest.approx(s[0] / kept[-1], rel=1e-9)
    if facts.destroyed:
        assert facts.condition is None
    else:
        assert facts.condition == facts.condition_kept
    assert facts.is_scalar == (kernel.shape[1:3] == (1, 1))


@pytest.mark.parametrize("grid", [(8, 12), (9, 15), (8, 15), (9, 12), (3, 4, 6), (5, 6, 9)])
def test_a_box_destroys_what_numpys_full_spectrum_says(grid: tuple[int, ...]) -> None:
    kernel = np.zeros(grid)
    extent = (1, 2, 3)[-len(grid) :]
    kernel[tuple(slice(n) for n in extent)] = 1 / 6
    H = np.abs(np.fft.fftn(kernel))
    expected = int((H < 1e-12).sum())
    assert expected > 0
    facts = conditioning.of(operator(box(*extent), grid))
    assert (facts.destroyed, facts.components) == (expected, math.prod(grid))
    assert facts.condition_kept == pytest.approx(1 / H[H > 1e-12].min(), rel=1e-10)
    assert facts.sentence() == f"the kernel wipes out {expected} of {math.prod(grid)} frequencies"


@pytest.mark.parametrize("operation", ["convolve", "correlate"])
def test_dilation_counts_and_how_outputs_are_taken_does_not(operation: str) -> None:
    a_box, grid = box(1, 3), (4, 12)
    counts = {d: conditioning.of(operator(a_box, grid, dilation=d, operation=operation)).destroyed for d in (1, 2, 4)}
    for dilation, destroyed in counts.items():
        s = np.linalg.svd(dense(operator(a_box, grid), dilation), compute_uv=False)
        assert destroyed == (s < 1e-12).sum()
    assert len(set(counts.values())) > 1  # the dilation was not lost on the way
    plain = conditioning.of(operator(taps(1, 1, 1), (6, 7), operation=operation))
    others: list[dict[str, Any]] = [
        {"boundary": "zero"},
        {"padding": "valid"},
        {"padding": "full"},
        {"stride": 2},
        {"boundary": "edge"},
    ]
    for how in others:
        facts = conditioning.of(operator(taps(1, 1, 1), (6, 7), operation=operation, **how))
        assert (facts.norm, facts.condition, facts.destroyed) == (plain.norm, plain.condition, plain.destroyed)


def test_single_precision_destroys_what_it_cannot_tell_from_zero() -> None:
    """Singular values down to 1e-5 of the largest: below 1000 eps in float32, well above in float64."""
    kernel = np.array([1.0, 1.0 - 1e-5]).reshape(1, 1, 1, 1, 2)
    double, single = (conditioning.of(operator(kernel, (3, 8), dtype=dtype)) for dtype in (np.float64, np.float32))
    assert (double.destroyed, single.destroyed) == (0, 3)
    assert double.condition == pytest.approx((2 - 1e-5) / 1e-5, rel=1e-6)
    assert single.condition is None
    assert single.norm == pytest.approx(2, rel=1e-5)


@pytest.mark.parametrize("scale", [1e-200, 1e-12, 1e12, 1e200])
def test_the_scale_of_a_kernel_changes_the_norm_alone(scale: float) -> None:
    one, other = (conditioning.of(operator(a * taps(1, 2, 2), (5, 6))) for a in (1.0, scale))
    assert other.norm == pytest.approx(scale * one.norm, rel=1e-12)
    assert other.condition == pytest.approx(one.condition, rel=1e-9)
    assert other.destroyed == one.destroyed == 0


def test_a_kernel_that_mixes_counts_components() -> None:
    facts = conditioning.of(operator(deficient(2, 3), (5, 6)))
    assert facts.components == 3 * 30
    assert facts.destroyed == 2 * 30 + 5  # rank one everywhere, and nothing of a row's mean
    what = "components (frequencies x channels)"
    assert facts.sentence() == f"the kernel wipes out 65 of 90 {what}"


# Energy ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("name", CASES)
def test_lost_energy_is_that_of_the_projection_on_the_null_space(name: str, grid: tuple[int, ...]) -> None:
    kernel, groups = CASES[name]
    built = operator(kernel, grid, groups)
    a = dense(built)
    x = np.random.default_rng(2).normal(1.0, 1.0, (2, *built.in_shape))
    flat = x.reshape(2, -1)
    lost = flat - flat @ (np.linalg.pinv(a, rcond=1e-11) @ a).T
    expected = float((lost**2).sum() / (flat**2).sum())
    assert conditioning.of(built).lost_energy(x) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_lost_energy_of_what_lies_wholly_there_or_nowhere() -> None:
    facts = conditioning.of(operator(box(1, 2), (5, 6)))
    alternating = np.tile([1.0, -1.0], (5, 3))[None, None]
    assert facts.lost_energy(alternating) == pytest.approx(1.0, rel=1e-12)
    assert facts.lost_energy(np.ones((1, 1, 5, 6))) == pytest.approx(0.0, abs=1e-15)
    assert facts.lost_energy(alternating + 2) == pytest.approx(1 / 5, rel=1e-12)
    assert facts.lost_energy(np.zeros((1, 1, 5, 6))) == 0.0


def test_lost_energy_in_single_precision_and_of_integers() -> None:
    built = operator(box(2, 2), (6, 10), dtype=np.float32)
    x = np.random.default_rng(3).integers(0, 255, (3, 1, 6, 10), np.uint8)
    double = conditioning.of(operator(box(2, 2), (6, 10))).lost_energy(x.astype(np.float64))
    assert 0 < double < 1
    assert conditioning.of(built).lost_energy(x) == pytest.approx(double, rel=1e-4)


def test_what_is_affordable() -> None:
    def kernel(g: int, o: int, i: int) -> Kernel:
        return Kernel(np.ones((g, o, i, 1, 1)), (0, 0))

    assert conditioning.is_affordable(kernel(1, 1, 1), (10**5, 10**5))
    assert conditioning.is_affordable(kernel(64, 1, 1), (4096, 4096))
    assert conditioning.is_affordable(kernel(1, 8, 8), (128, 128))
    assert not conditioning.is_affordable(kernel(1, 64, 64), (128, 128))
    assert not conditioning.is_affordable(kernel(64, 1, 2), (1024, 1024))
