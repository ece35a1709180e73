"""Least squares for any operator: against dense pseudo-inverses of matrices written entry by entry, and what it says.

The oracle of every answer x is pinv(A) y with A from `oracles.matrix`; of every stated bound, the true distance to it.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from typing import Any

import numpy as np
import oracles
import pytest
import scipy.fft
import scipy.ndimage
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import convtool
from convtool.deconvolution.least_squares import Options
from convtool.deconvolution.solvers import golub_kahan, one_step, progress, singular_values, stopping
from convtool.errors import SettingError
from convtool.kernel import Kernel
from convtool.operators import Convolution
from convtool.solution import Solution

EPS = float(np.finfo(float).eps)
DOMINANT = np.array([[0.1, 0.2, 0.0], [0.1, 1.0, 0.3], [0.0, 0.1, 0.0]])  # well conditioned at every boundary
BLUR = np.outer([0.25, 0.5, 0.25], [0.1, 0.3, 0.4, 0.2])  # not at all


def solved(y: np.ndarray, taps: np.ndarray, options: Options | None = None, **how: Any) -> Solution:
    return convtool.deconvolve(y, taps, method=options or Options(), **how)


def distance(x: np.ndarray, expected: np.ndarray) -> float:
    """‖x − expected‖ / ‖expected‖."""
    return float(np.linalg.norm(x.ravel() - expected.ravel()) / np.linalg.norm(expected))


def pinv(a: np.ndarray, y: np.ndarray, rcond: float = 1e-11) -> np.ndarray:
    return oracles.pinv_solution(a, y.ravel(), rcond)


# Every operator there is ----------------------------------------------------------------------------------------------


@st.composite
def systems(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
    """(A, y, taps, settings of deconvolve) for any setting there is; integer taps are often deficient."""
    rank = draw(st.sampled_from([2, 2, 2, 3]))
    each = st.tuples(*[st.integers(1, 7 if rank == 2 else 4)] * rank)
    grid, extent = draw(each), draw(st.tuples(*[st.integers(1, 4 if rank == 2 else 3)] * rank))
    groups, o, i = draw(st.sampled_from([(1, 1, 1), (1, 2, 1), (1, 1, 2), (1, 3, 2), (2, 1, 1), (2, 2, 1), (2, 1, 2)]))
    how: dict[str, Any] = {
        "operation": draw(st.sampled_from(["convolve", "correlate"])),
        "boundary": draw(st.sampled_from(oracles.BOUNDARIES)),
        "groups": groups,
        "origin": [draw(st.integers(0, n - 1)) for n in extent],
        "padding": draw(
            st.sampled_from(["same", "same", "valid", "full"])
            | st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=rank, max_size=rank)
        ),
        "stride": [draw(st.sampled_from([1, 1, 1, 2, 3])) for _ in range(rank)],
        "dilation": [draw(st.sampled_from([1, 1, 2])) for _ in range(rank)],
    }
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    shape = (groups * o, i, *extent)
    kind = draw(st.sampled_from(["random", "whole", "box"]))
    taps = {"random": rng.normal(size=shape), "whole": rng.integers(-1, 2, shape).astype(float), "box": np.ones(shape)}
    try:
        lengths = [len(axis) for axis in oracles.reads(grid, extent, *_places(how))]
    except ValueError:
        assume(False)
    scale = 10.0 ** draw(st.sampled_from([-9, 0, 0, 7]))
    a = oracles.matrix(scale * taps[kind], (groups * i, *grid), **how)
    y = a @ rng.normal(size=a.shape[1]) if draw(st.booleans()) else rng.normal(size=a.shape[0])
    how |= {"shape": grid, "axes": "NCYX" if rank == 2 else "NCZYX"}
    return a, np.asarray(y).reshape(1, groups * o, *lengths), scale * taps[kind], how


def _places(how: dict[str, Any]) -> list[Any]:
    return [how[name] for name in ("operation", "origin", "padding", "stride", "dilation")]


@settings(max_examples=150, deadline=None)
@given(system=systems(), solver=st.sampled_from(["auto", "iterative"]))
def test_it_is_the_pseudo_inverse_of_every_operator(system: tuple[Any, ...], solver: Any) -> None:
    a, y, taps, how = system
    values = np.linalg.svd(a, compute_uv=False)
    assume(values[0] > 1e-10 * np.abs(taps).max() > 0)
    kept = values[values > 1e-11 * values[0]]
    expected = pinv(a, y)
    found = solved(y, taps, Options(solver=solver), **how)
    metrics, bound = found.metrics, found.metrics["error_bound"]
    assert metrics["operator_norm"] == pytest.approx(values[0], rel=1e-9)
    if np.linalg.norm(expected) < 1e-12 * np.linalg.norm(y) / values[0]:
        assert np.linalg.norm(found.x) < 1e-9 * np.linalg.norm(y) / values[0]
        return
    error = distance(found.x, expected)
    if kept[0] / kept[-1] < 1e4:
        assert error < 1e-8
        assert metrics["rank"] == len(kept)
        assert metrics["condition"] == pytest.approx(kept[0] / kept[-1], rel=1e-6)
        assert bound < 1e-6
    if not np.any((values > 1e-13 * values[0]) & (values < 1e-9 * values[0])):  # the oracle's rank is no guess
        assert bound is not None
        assert error <= bound


@pytest.mark.parametrize("boundary", oracles.BOUNDARIES)
@pytest.mark.parametrize(("padding", "stride"), [("same", 1), ("valid", 1), ("full", 1), ("same", 2), (1, (1, 3))])
@pytest.mark.parametrize("taps", [BLUR, np.ones((2, 4)), np.array([[1.0, -2.0, 1.0]])], ids=["blur", "box", "zero sum"])
def test_deficient_kernels_and_strides(taps: np.ndarray, padding: Any, stride: Any, boundary: str) -> None:
    how: dict[str, Any] = {"boundary": boundary, "padding": padding, "stride": stride}
    a = oracles.matrix(taps[None, None], (1, 8, 12), **how)
    x = np.random.default_rng(1).random((8, 12))
    y = convtool.convolve(x, taps, **how)
    values = np.linalg.svd(a, compute_uv=False)
    kept = values[values > 1e-10 * values[0]]
    for data in (y, y + np.random.default_rng(2).normal(0, 0.1, y.shape)):
        found = solved(data, taps, shape=(8, 12), **how)
        error = distance(found.x, pinv(a, data, 1e-10))
        assert error < max(1e-8, 1e-12 * kept[0] / kept[-1])
        assert error <= found.metrics["error_bound"]
    assert found.metrics["rank"] == len(kept)
    says = f"the data determine {len(kept)} of 96 unknowns: of all images that explain them alike, this is the one"
    assert any(note.startswith(says) for note in found.notes) == (len(kept) < 96)


@pytest.mark.parametrize("solver", ["auto", "iterative"])
@pytest.mark.parametrize("noise", [0.0, 1e-8, 1e-3])
@pytest.mark.parametrize("boundary", ["zero", "reflect", "edge", "periodic"])
def test_the_bound_holds_beyond_what_pinv_resolves(boundary: str, noise: float, solver: Any) -> None:
    """Condition numbers up to 1e10: the bound is no more than rounding and the residual allow, and it holds."""
    rng = np.random.default_rng(3)
    for sigma in (0.7, 1.0, 1.3):
        line = np.exp(-0.5 * (np.arange(-4, 5) / sigma) ** 2)
        taps = np.outer(line, line)
        a = oracles.matrix(taps[None, None], (1, 13, 14), boundary=boundary)
        y = (a @ rng.normal(size=182) + noise * rng.normal(size=182)).reshape(13, 14)
        found = solved(y, taps, Options(solver=solver), boundary=boundary)
        condition = np.linalg.cond(a)
        assert found.metrics["condition"] == pytest.approx(condition, rel=1e-3)
        bound = found.metrics["error_bound"]
        assert distance(found.x, np.linalg.solve(a, y.ravel())) <= bound
        assert bound < 1e-9 + 300 * EPS * condition


OUTSIDE: dict[
    str, tuple[np.ndarray, dict[str, Any]]
] = {  # operators of more unknowns than are decomposed: name: (kernel, settings)
    "full": (DOMINANT, {"boundary": "zero", "padding": "full"}),
    "same": (DOMINANT, {"boundary": "zero"}),
    "edge": (DOMINANT, {"boundary": "edge", "padding": 2}),
    "dilated": (DOMINANT, {"boundary": "reflect", "dilation": 3}),
    "correlated": (DOMINANT[:, :2], {"boundary": "symmetric", "operation": "correlate", "origin": "center"}),
    "periodic": (DOMINANT, {"boundary": "periodic", "padding": "full"}),
}


@pytest.mark.parametrize("solver", ["auto", "iterative"])
@pytest.mark.parametrize("name", OUTSIDE)
def test_large_images_come_back_within_the_stated_bound(name: str, solver: Any) -> None:
    taps, how = OUTSIDE[name]
    forward = {key: value for key, value in how.items() if key != "operation"}
    x = scipy.ndimage.gaussian_filter(np.random.default_rng(4).normal(size=(60, 71)), 1.0)
    y = (convtool.correlate if "operation" in how else convtool.convolve)(x, taps, **forward)
    found = solved(y, taps, Options(solver=solver), **how)
    error = distance(found.x, x)
    assert error <= found.metrics["error_bound"]
    assert found.metrics["error_bound"] < 3e-9
    assert "rank" not in found.metrics or found.metrics["rank"] == x.size
    assert (found.metrics["solved"] == "by LSQR") == ("iterations" in found.metrics)


def test_the_bound_holds_where_large_data_determine_little() -> None:
    """A row kernel with stride: every row is a small system of its own, whose pseudo-inverse is known."""
    taps = np.array([[0.5, 1.0, 0.2]])
    how: dict[str, Any] = {"boundary": "zero", "stride": (1, 2)}
    y = np.random.default_rng(5).normal(size=(80, 40))
    a = oracles.matrix(taps[None, None], (1, 1, 80), **how)
    found = solved(y, taps, shape=(80, 80), **how)
    assert found.metrics["condition_source"].startswith("estimated")
    assert distance(found.x, y @ np.linalg.pinv(a).T) <= found.metrics["error_bound"] < 1e-9
    assert "the data determine at most 3200 of 6400 unknowns" in "; ".join(found.notes)


def test_nothing_comes_of_nothing() -> None:
    vanishing = np.array([[1.0, -1.0]])  # on one periodic column
    for y in (np.ones((4, 1)), np.zeros((4, 1))):
        found = solved(y, vanishing)
        np.testing.assert_array_equal(found.x, np.zeros((4, 1)))
    outside = np.array([[0.0, 0.0, 0.0, 0.0, 1.0]])  # all taps read zeros outside the frame
    found = solved(np.ones((3, 2)), outside, boundary="zero")
    np.testing.assert_array_equal(found.x, np.zeros((3, 2)))
    assert found.stop == "nothing of the data can come from the operator: the image of least norm is zero"


# Data of any kind -----------------------------------------------------------------------------------------------------


def test_images_of_a_batch_are_systems_of_their_own() -> None:
    rng = np.random.default_rng(6)
    x = rng.normal(size=(3, 2, 9, 8)) * np.array([1.0, 1e-7, 1e6])[:, None, None, None]
    taps = rng.normal(size=(4, 2, 3, 3))
    y = convtool.correlate(x, taps, boundary="zero", padding=1, stride=2)
    found = solved(y, taps, operation="correlate", boundary="zero", padding=1, stride=2, shape=(9, 8))
    for n in range(3):
        how: dict[str, Any] = {"operation": "correlate", "boundary": "zero", "padding": 1, "stride": 2}
        alone = solved(y[n : n + 1], taps, shape=(9, 8), **how)
        np.testing.assert_array_equal(found.x[n], alone.x[0])
        assert distance(alone.x, pinv(oracles.matrix(taps, (2, 9, 8), **how), y[n])) < 1e-8


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_single_precision_at_any_scale(scale: float) -> None:
    x = np.random.default_rng(7).random((20, 17))
    y = (scale * convtool.convolve(x, DOMINANT, boundary="edge")).astype(np.float32)
    found = solved(y, DOMINANT, boundary="edge")
    assert found.x.dtype == np.float32
    assert distance(found.x.astype(float), scale * x) < 1e-5
    exact = convtool.deconvolve(y, DOMINANT, boundary="edge", method="least-squares", precision="double").x
    assert distance(found.x.astype(float), exact) <= found.metrics["error_bound"] < 1e-5


def test_norms_and_residuals_are_those_of_the_result() -> None:
    rng = np.random.default_rng(8)
    a = oracles.matrix(BLUR[None, None], (1, 7, 9), boundary="edge", stride=2)
    y = 5e4 * rng.normal(size=(4, 5))
    found = solved(y, BLUR, boundary="edge", stride=2, shape=(7, 9))
    residual = a @ found.x.ravel() - y.ravel()
    assert found.metrics["norm"] == pytest.approx(np.linalg.norm(found.x), rel=1e-12)
    assert found.metrics["relative_residual"] == pytest.approx(np.linalg.norm(residual) / np.linalg.norm(y), abs=1e-14)
    assert found.metrics["noise_gain"] == pytest.approx(np.linalg.norm(np.linalg.pinv(a)) / np.sqrt(20), rel=1e-9)


# Damping --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damping", [1e-6, 0.03, 2.0])
@pytest.mark.parametrize("stride", [1, 2])
def test_damping_is_the_stacked_problem(damping: float, stride: int) -> None:
    how: dict[str, Any] = {"boundary": "zero", "stride": stride, "padding": "full"}
    a = oracles.matrix(7 * BLUR[None, None], (1, 9, 8), **how)
    reads = oracles.reads((9, 8), BLUR.shape, "convolve", "center", "full", stride, 1)
    y = np.random.default_rng(9).normal(size=tuple(map(len, reads)))
    found = solved(y, 7 * BLUR, Options(damping=damping), shape=(9, 8), **how)
    expected = oracles.tikhonov_solution(a, np.eye(72), y.ravel(), damping**2)
    assert distance(found.x, expected) <= max(found.metrics["error_bound"], 1e-12)
    assert found.metrics["error_bound"] < 1e-6


@pytest.mark.parametrize("damping", [0.01, 0.3])
def test_damping_of_large_images(damping: float) -> None:
    """Boundary reflect of a symmetric kernel: the cosine transform diagonalises A, and the answer is known."""
    half = np.array([0.2, 0.5, 0.2])
    y = np.random.default_rng(10).normal(size=(64, 70))
    found = solved(y, np.outer(half, half), Options(damping=damping), boundary="symmetric")
    values = [0.5 + 0.4 * np.cos(np.pi * np.arange(n) / n) for n in y.shape]
    H = np.multiply.outer(*values)
    Y = scipy.fft.dctn(y, norm="ortho")
    expected = scipy.fft.idctn(H * Y / (H**2 + damping**2), norm="ortho")
    assert distance(found.x, expected) <= found.metrics["error_bound"] < 1e-9
    assert found.metrics["iterations"] > 3
    noise = float(np.sqrt(np.square(H / (H**2 + damping**2)).mean()))
    assert found.metrics.get("noise_gain", noise) == pytest.approx(noise)


def test_damping_bounds_an_iteration_that_was_cut_short() -> None:
    """Whatever the smallest singular value: ‖x − x⁺‖ ≤ ‖Aᵀr + d² x‖ / d²."""
    half = np.array([0.25, 0.5, 0.25])
    y = np.random.default_rng(10).normal(size=(64, 70))
    found = solved(y, np.outer(half, half), Options(damping=0.05, limit=25), boundary="symmetric")
    H = np.multiply.outer(*[0.5 + 0.5 * np.cos(np.pi * np.arange(n) / n) for n in y.shape])
    expected = scipy.fft.idctn(H * scipy.fft.dctn(y, norm="ortho") / (H**2 + 0.05**2), norm="ortho")
    error, bound = distance(found.x, expected), found.metrics["error_bound"]
    assert 1e-6 < error <= bound < 100 * error
    assert 0.1 < found.metrics["expected_error"] / error < 10
    assert re.fullmatch(r"stopped at 25 .* expect an error of about \S+ or more, and at most \S+", found.notes[0])


# The unknown's shape --------------------------------------------------------------------------------------------------


def test_strides_leave_the_shape_open() -> None:
    y = np.ones((5, 4))
    with pytest.raises(SettingError) as caught:
        solved(y, DOMINANT, boundary="zero", stride=2)
    assert str(caught.value) == (
        "the data of 5x4 at stride 2 come from images of 9x7 to 10x8: say --image-shape 10,8"
        " (shape= in Python), or what it was, and a method for strides (least-squares, tv, rl)"
    )
    for shape in itertools.product((9, 10), (7, 8)):
        assert solved(y, DOMINANT, boundary="zero", stride=2, shape=shape).x.shape == shape
    with pytest.raises(SettingError, match=r"an image of 11x8 gives data of 6x4, and these are 5x4, .* 9x7 to 10x8"):
        solved(y, DOMINANT, boundary="zero", stride=2, shape=(11, 8))
    for bad in ((9,), (9, 7, 1), (0, 7), (9.0, 7), "97", 9):
        with pytest.raises(SettingError, match="shape must be whole numbers of at least 1, 2 of them"):
            solved(y, DOMINANT, boundary="zero", stride=2, shape=bad)


def test_without_strides_the_shape_is_known() -> None:
    for padding, shape in (("same", (6, 7)), ("valid", (8, 9)), ("full", (4, 5)), (((2, 0), (0, 1)), (6, 8))):
        assert solved(np.ones((6, 7)), DOMINANT, boundary="zero", padding=padding).x.shape == shape
        assert solved(np.ones((6, 7)), DOMINANT, boundary="zero", padding=padding, shape=shape).x.shape == shape
        with pytest.raises(SettingError, match="which come from images of"):
            solved(np.ones((6, 7)), DOMINANT, boundary="zero", padding=padding, shape=(5, 5))
    assert solved(np.ones((1, 7)), DOMINANT[:1], boundary="zero", stride=(2, 1), shape=(1, 7)).x.shape == (1, 7)


# Torch ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch", reason="the extra 'references' is not installed")


def test_conv2d_is_undone(torch: Any) -> None:
    rng = np.random.default_rng(11)
    x, taps = rng.normal(size=(2, 3, 12, 15)), rng.normal(size=(3, 3, 3, 3))
    taps[[0, 1, 2], [0, 1, 2], 1, 1] += 12.0  # invertible, as a random one need not be
    y = torch.nn.functional.conv2d(torch.tensor(x), torch.tensor(taps), padding=1).numpy()
    how: dict[str, Any] = {"operation": "correlate", "boundary": "zero", "axes": "NCYX"}
    found = convtool.deconvolve(y, taps, method="least-squares", padding=1, **how)
    np.testing.assert_allclose(found.x, x, atol=1e-8)
    wide = rng.normal(size=(16, 3, 3, 3))  # enough channels to make up for the stride
    y = torch.nn.functional.conv2d(torch.tensor(x), torch.tensor(wide), padding=1, stride=2).numpy()
    found = convtool.deconvolve(y, wide, method="least-squares", padding=1, stride=2, shape=(12, 15), **how)
    np.testing.assert_allclose(found.x, x, atol=1e-8)


def test_conv2d_with_stride_gives_the_least_norm(torch: Any) -> None:
    rng = np.random.default_rng(12)
    x, taps = rng.normal(size=(1, 2, 9, 10)), rng.normal(size=(3, 2, 3, 3))
    layer = torch.nn.Conv2d(2, 3, 3, stride=2, padding=1, bias=False, dtype=torch.float64)
    layer.weight.data = torch.tensor(taps)
    y = layer(torch.tensor(x)).detach().numpy()
    units = torch.eye(180, dtype=torch.float64).reshape(180, 2, 9, 10)
    a = layer(units).detach().numpy().reshape(180, -1).T
    how: dict[str, Any] = {"operation": "correlate", "boundary": "zero", "padding": 1, "stride": 2}
    found = convtool.deconvolve(y, taps, method="least-squares", shape=(9, 10), **how)
    assert distance(found.x, np.linalg.pinv(a) @ y.ravel()) < 1e-8


# How it stops ---------------------------------------------------------------------------------------------------------


def test_the_residual_that_is_told_is_the_one_there_is() -> None:
    x = np.random.default_rng(13).normal(size=(60, 71))
    y = convtool.convolve(x, DOMINANT, boundary="zero", padding="full")
    for tol in (1e-3, 1e-6, None):
        found = solved(y, DOMINANT, Options(tol=tol), boundary="zero", padding="full")
        parts = re.fullmatch(r"residual reached (?:its minimum within )?(\S+) after (\d+) iterations", found.stop)
        assert parts
        assert int(parts[2]) == found.metrics["iterations"]
        assert distance(found.x, x) < 1.2 * (tol or 1e-10)
        if tol is None:
            assert float(parts[1]) == pytest.approx(found.metrics["relative_residual"], rel=0.5)
    assert solved(y, DOMINANT, Options(tol=1e-3), boundary="zero", padding="full").metrics["iterations"] < 20


def test_a_limit_is_told_with_what_to_expect() -> None:
    x = np.random.default_rng(14).normal(size=(60, 71))
    y = convtool.convolve(x, BLUR, boundary="zero", padding="full")
    found = solved(y, BLUR, Options(limit=40), boundary="zero", padding="full")
    said = (
        r"stopped at 40 iterations: the operator's condition number is at least (\S+), expect an error of about (\S+)"
    )
    parts = re.fullmatch(rf"{said} or more", found.stop)
    assert parts
    assert found.stop in found.notes
    assert found.metrics["error_bound"] is None  # of the smallest singular value nothing is known
    assert found.metrics["iterations"] == 40
    assert 0.2 < found.metrics["expected_error"] / distance(found.x, x) < 5
    assert float(parts[2]) == pytest.approx(found.metrics["expected_error"], rel=0.5)
    assert not [note for note in found.notes if "in one step" in note]  # there are more data than unknowns
    more = solved(y, BLUR, Options(limit=400), boundary="zero", padding="full")
    assert distance(more.x, x) < distance(found.x, x)


def test_a_limit_that_the_data_outdo_keeps_its_bound_where_all_values_are_known() -> None:
    a = oracles.matrix(BLUR[None, None], (1, 9, 8), boundary="zero")
    y = np.random.default_rng(15).normal(size=(9, 8))
    found = solved(y, BLUR, Options(limit=60, solver="iterative"), boundary="zero")
    bound, error = found.metrics["error_bound"], distance(found.x, np.linalg.solve(a, y.ravel()))
    assert bound is None or error <= bound
    assert f"condition number is {np.linalg.cond(a):.0e}".replace("e+0", "e") in found.stop


@pytest.mark.parametrize("options", [{"tol": -1.0}, {"tol": math.inf}, {"damping": -0.1}, {"damping": math.nan}])
def test_senseless_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=f"{next(iter(options))} must be at least 0 and finite"):
        solved(np.ones((3, 4)), DOMINANT, Options(**options))
    for limit in (0, -3):
        with pytest.raises(SettingError, match="limit must be at least 1"):
            solved(np.ones((3, 4)), DOMINANT, Options(limit=limit))
    with pytest.raises(SettingError, match="memory must be at least 0"):
        solved(np.ones((3, 4)), DOMINANT, Options(memory=-1.0))


# In one step ----------------------------------------------------------------------------------------------------------


def test_the_direct_solver_and_why_there_may_be_none() -> None:
    x = np.random.default_rng(16).normal(size=(34, 31))
    y = convtool.convolve(x, BLUR, boundary="zero")
    found = solved(y, BLUR, Options(solver="direct"), boundary="zero")
    assert re.fullmatch(r"solved in one step, by its capacitance matrix, to a residual of \S+", found.stop)
    condition = np.linalg.cond(oracles.matrix(BLUR[None, None], (1, 34, 31), boundary="zero"))
    assert found.metrics["condition"] == pytest.approx(condition, rel=0.1)
    assert found.metrics["condition_source"] == "estimated by power iteration"
    assert distance(found.x, x) <= found.metrics["error_bound"]
    refusals: list[tuple[dict[str, Any], dict[str, Any], str]] = [
        ({"damping": 0.1}, {"boundary": "zero"}, "it knows no damping"),
        ({}, {"boundary": "zero", "padding": "full"}, "as many outputs as inputs"),
        ({}, {"boundary": "zero", "stride": 2, "shape": (68, 62)}, "that takes stride 1"),
        ({"memory": 0.0001}, {"boundary": "zero"}, "it takes 3 MiB and may take 1 MiB: say memory=1"),
    ]
    for options, how, says in refusals:
        with pytest.raises(SettingError, match=f"no solution in one step: .*{says}.* or leave solver out|{says}"):
            solved(y, BLUR, Options(solver="direct", **options), **how)
    with pytest.raises(SettingError, match="the operator cannot be inverted"):
        solved(np.ones((9, 8)), np.array([[1.0, 0.0, 1.0]]), Options(solver="direct"), boundary="symmetric")


def test_what_is_hopeless_is_solved_in_one_step_unasked() -> None:
    x = np.random.default_rng(17).normal(size=(60, 50))
    y = convtool.convolve(x, BLUR, boundary="zero")
    found = solved(y, BLUR, boundary="zero")
    assert found.metrics["solved"] == "by its capacitance matrix"
    assert "iterations" not in found.metrics
    assert distance(found.x, x) <= found.metrics["error_bound"] < 1e-3
    tight = solved(y, BLUR, Options(memory=0.0, limit=30), boundary="zero")
    assert tight.metrics["iterations"] == 30
    assert re.search(r"solved in one step, here with \d+ MiB of memory: --set solver=direct --set memory=1", str(tight))
    asked = solved(y, BLUR, Options(solver="iterative", limit=30), boundary="zero")
    assert re.search(r"of memory: --set solver=direct'", str(asked.notes))


def test_what_no_iteration_is_hopeless_about_is_iterated() -> None:
    y = np.random.default_rng(18).normal(size=(60, 50))
    found = solved(y, DOMINANT, Options(tol=1e-3), boundary="zero")
    assert found.metrics["solved"] == "by LSQR"
    again = solved(y, DOMINANT, Options(solver="direct"), boundary="zero")
    assert distance(found.x, again.x) < found.metrics["error_bound"] + again.metrics["error_bound"]


def test_singular_operators_are_iterated() -> None:
    """Boundary symmetric and an even difference: constant images vanish, and no matrix could be factored."""
    taps = np.array([[1.0, -1.0]])
    how: dict[str, Any] = {"boundary": "symmetric"}
    y = np.random.default_rng(19).normal(size=(70, 80))
    found = solved(y, taps, **how)
    a = oracles.matrix(taps[None, None], (1, 1, 80), **how)
    assert distance(found.x, y @ np.linalg.pinv(a).T) <= (found.metrics["error_bound"] or 1e-6)
    assert found.metrics["solved"] == "by LSQR"


def test_spelled_bytes() -> None:
    assert [one_step.spelled_bytes(size) for size in (1, 3 << 20, 5 << 29, 77 << 30)] == [
        "1 MiB",
        "3 MiB",
        "2.5 GiB",
        "77 GiB",
    ]


# The periodic inverse beside it ---------------------------------------------------------------------------------------


def test_the_periodic_inverse_stands_beside_it() -> None:
    x = scipy.ndimage.gaussian_filter(np.random.default_rng(20).normal(3.0, 1.0, (3, 30, 41)), (0, 1, 1))
    y = convtool.convolve(x, DOMINANT, boundary="zero")
    found = solved(y, DOMINANT, boundary="zero")
    expected = convtool.deconvolve(y, DOMINANT, method="pinv").x
    assert found.others.keys() == {"periodic"}
    np.testing.assert_allclose(found.others["periodic"], expected, atol=1e-12)
    told = found.metrics["periodic"]
    residual = convtool.convolve(expected, DOMINANT, boundary="zero") - y
    assert told["relative_residual"] == pytest.approx(np.linalg.norm(residual) / np.linalg.norm(y))
    assert told["norm"] == pytest.approx(np.linalg.norm(expected))
    percent = f"{100 * told['relative_residual']:.2g} %"
    assert found.notes[-1].endswith(f"would have left a residual of {percent} of the data")
    assert distance(found.x, x) < 1e-9 < distance(expected, x)


@pytest.mark.parametrize("how", [{}, {"boundary": "zero", "padding": "full"}, {"stride": 2, "shape": (30, 41)}])
def test_there_is_no_periodic_inverse_of_other_sizes(how: dict[str, Any]) -> None:
    y = np.ones((15, 21) if "stride" in how else (30, 41))
    found = solved(y, DOMINANT, **how)
    assert found.others == {}
    assert "periodic" not in found.metrics


# Progress -------------------------------------------------------------------------------------------------------------


def test_every_step_is_told() -> None:
    told: list[progress.Step | str] = []
    y = np.random.default_rng(21).normal(size=(2, 40, 44))
    with progress.watched(told.append):
        found = solved(y, DOMINANT, Options(solver="iterative", limit=77), boundary="edge", axes="NYX")
    steps = [step for step in told if isinstance(step, progress.Step)]
    assert steps == told
    for image in (1, 2):
        own = [step for step in steps if step.image == image]
        assert [step.iteration for step in own] == list(range(len(own)))
        assert all(a.residual >= b.residual for a, b in itertools.pairwise(own))
        assert {(step.limit, step.images) for step in own} == {(77, 2)}
    assert max(step.iteration for step in steps) == found.metrics["iterations"]
    count = len(told)
    solved(y, DOMINANT, boundary="edge", axes="NYX")
    assert len(told) == count  # nobody watches any more


def test_factorising_is_announced_with_its_memory() -> None:
    told: list[progress.Step | str] = []
    with progress.watched(told.append):
        solved(np.ones((20, 30)), BLUR, Options(solver="direct"), boundary="zero")
    rows = 22 * 33 - 20 * 30
    assert re.fullmatch(rf"factoring a {rows}x{rows} matrix, in \d+ MiB of memory", str(told[0]))


# The parts ------------------------------------------------------------------------------------------------------------


def operator(taps: np.ndarray, grid: tuple[int, ...], groups: int = 1, **how: Any) -> Convolution:
    """The operator of taps [g, o, i, *extent], their origin in the middle."""
    return Convolution.build(Kernel(taps, tuple(n // 2 for n in taps.shape[3:])), grid, groups, **how)


def test_bidiagonalisation_that_is_kept_orthogonal_is_exact() -> None:
    """After as many steps as there are distinct singular values, whatever the condition."""
    A = operator(BLUR[None, None, None], (6, 7), boundary="zero", stride=2)
    a = A.to_sparse().toarray()
    y = np.random.default_rng(22).normal(size=A.out_shape)
    last = None
    for at in golub_kahan.lsqr(A, y, 0.0, True):
        last = dataclasses.replace(at, x=at.x.copy())
        assert at.residual == pytest.approx(np.linalg.norm(a @ at.x.ravel() - y.ravel()), abs=1e-12)
        normal = a.T @ (a @ at.x.ravel() - y.ravel())
        assert at.normal == pytest.approx(np.linalg.norm(normal), abs=1e-12)
        assert at.count <= 12
    assert last is not None
    assert distance(last.x, np.linalg.pinv(a) @ y.ravel()) < 1e-12
    values = np.linalg.svd(a, compute_uv=False)
    assert golub_kahan.extreme_values(last) == pytest.approx((values[0], values[-1]), rel=1e-9)
    assert golub_kahan.largest_value(A) == pytest.approx(values[0], rel=1e-6)


def test_the_error_that_is_left_is_extrapolated() -> None:
    x = np.random.default_rng(23).normal(size=(1, 50, 40))
    for taps in (BLUR, DOMINANT):
        A = operator(taps[None, None, None], (50, 40), boundary="zero", padding="full")
        for at in itertools.islice(golub_kahan.lsqr(A, A.forward(x), 0.0, False), 301):
            if at.count in (10, 30, 100, 300):
                error = float(np.linalg.norm(at.x - x))
                if error > 1e-9:
                    assert 0.1 < golub_kahan.expected_error(at) / error < 10


def test_basis_fits() -> None:
    A = operator(np.ones((1, 1, 1, 3, 3)), (10, 10), padding="valid")
    needed = 8 * (100 + 64) * 65
    assert golub_kahan.fits(A, needed)
    assert not golub_kahan.fits(A, needed - 1)


@pytest.mark.parametrize(("g", "groups", "o", "i"), [(1, 1, 1, 1), (1, 3, 1, 1), (2, 2, 2, 1), (1, 1, 2, 3)])
@pytest.mark.parametrize("damping", [0.0, 0.2])
def test_the_spread_is_that_of_the_dense_matrix(g: int, groups: int, o: int, i: int, damping: float) -> None:
    taps = np.random.default_rng(24).integers(-1, 2, (g, o, i, 2, 3)).astype(float)
    taps[..., 0, 0] += 1
    A = operator(taps, (5, 6), groups, boundary="reflect")
    values = np.linalg.svd(A.to_sparse().toarray(), compute_uv=False)
    kept = values[values > 1e-12 * values[0]]
    spread = singular_values.exact(A, damping)
    assert spread is not None
    assert (spread.norm, spread.least) == pytest.approx((values[0], kept[-1]), rel=1e-9)
    assert (spread.rank, spread.is_exact, spread.source) == (len(kept), True, "exact")
    gain = np.sqrt(np.square(kept / (kept**2 + damping**2)).sum() / A.to_sparse().shape[0])
    assert spread.noise_gain == pytest.approx(gain, rel=1e-9)
    assert spread.condition(damping) == pytest.approx(math.hypot(values[0], damping) / math.hypot(kept[-1], damping))


def test_the_gap_is_the_least_of_what_is_known() -> None:
    assert stopping.gap(1.0, 0.0, 0.5, 0.0) == 0.0
    assert stopping.gap(1.0, 0.01, 0.5, 0.0) == pytest.approx(0.04)
    assert stopping.gap(0.001, 0.01, 0.5, 0.0) == pytest.approx(0.002)
    assert stopping.gap(0.001, 0.01, 0.5, 1.0) == pytest.approx(0.008)
    assert stopping.gap(0.001, 0.01, 0.0, 0.1) == pytest.approx(1.0)
    assert stopping.gap(1.0, 0.01, 0.0, 0.0) == math.inf
