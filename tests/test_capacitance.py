"""The exact inverse of square convolutions: against dense matrices written entry by entry, at every boundary."""

from __future__ import annotations

import dataclasses

import numpy as np
import oracles
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st

from convtool.deconvolution.solvers import capacitance, one_step, ring
from convtool.kernel import Kernel
from convtool.operators import Convolution

LAPLACIAN = np.array([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])


def peaked(
    g: int, c: int, extent: tuple[int, ...], at: tuple[int, ...], seed: int = 0, weight: float = 3
) -> np.ndarray:
    """Random taps [g, c, c, *extent] of which one dominates in every channel: far from singular if it is the origin."""
    taps = np.random.default_rng(seed).standard_normal((g, c, c, *extent))
    peak = np.zeros(extent)
    peak[at] = weight * np.sqrt(c * c * peak.size)
    return taps + np.multiply.outer(np.eye(c), peak)


def dominant(g: int, c: int, extent: tuple[int, ...], weight: float = 3) -> tuple[np.ndarray, tuple[int, ...]]:
    """(peaked taps, the origin at their peak): of even kernels it is no centre on one axis."""
    origin = tuple((n - 1) // 2 if axis % 2 else n // 2 for axis, n in enumerate(extent))
    return peaked(g, c, extent, origin, weight=weight), origin


def convolution(taps: np.ndarray, origin: tuple[int, ...], grid: tuple[int, ...], **settings: object) -> Convolution:
    return Convolution.build(Kernel(taps, origin), grid, settings.pop("groups", len(taps)), **settings)  # type: ignore[arg-type]


def dense(built: Convolution) -> np.ndarray:
    """The oracle's matrix of an operator."""
    taps = np.concatenate([built.kernel.taps[g % len(built.kernel.taps)] for g in range(built.groups)])
    windows = built.geometry
    return oracles.matrix(
        taps,
        built.in_shape,
        operation=built.operation,
        groups=built.groups,
        origin=built.kernel.origin,
        boundary=windows.boundary,
        padding="same",
        dilation=windows.dilation,
    )


def random_data(built: Convolution, images: int = 2) -> np.ndarray:
    return np.random.default_rng(5).standard_normal((images, *built.out_shape))


def assert_solves(built: Convolution, rtol: float = 1e-10) -> capacitance.Factors:
    """The solution is that of the dense system."""
    y = random_data(built)
    factors = capacitance.factor(built)
    assert factors is not None
    once = built.forward(factors.applied(y))
    assert np.linalg.norm(once - y) < rtol * np.linalg.norm(y)  # the refinement would hide much
    solved = capacitance.solve(factors, y)
    expected = np.linalg.solve(dense(built), y.reshape(len(y), -1).T).T.reshape(y.shape)
    np.testing.assert_allclose(solved.x, expected, rtol=0, atol=rtol * np.abs(expected).max())
    left = (y - built.forward(solved.x)).reshape(len(y), -1)
    expected = np.linalg.norm(left, axis=1) / np.linalg.norm(y.reshape(len(y), -1), axis=1)
    np.testing.assert_allclose(solved.residuals, expected, rtol=1e-3, atol=1e-15)
    return factors


CASES = {
    "line": ((9,), (4,), 1, 1, 1),
    "line, two channels": ((11,), (3,), 1, 2, 1),
    "image": ((7, 8), (3, 4), 1, 1, 1),
    "channels mix": ((6, 5), (3, 2), 1, 3, 1),
    "groups": ((6, 7), (2, 3), 2, 2, 1),
    "dilated": ((8, 7), (2, 3), 1, 1, (3, 2)),
    "row kernel": ((5, 6), (1, 4), 1, 2, 1),
    "kernel beyond the image": ((4, 5), (7, 6), 1, 1, 1),
    "volume": ((4, 5, 3), (2, 3, 2), 1, 1, 1),
    "volume, channels mix": ((3, 4, 3), (3, 2, 1), 1, 2, 1),
}


@pytest.mark.parametrize("boundary", oracles.BOUNDARIES)
@pytest.mark.parametrize("case", CASES)
def test_it_solves_the_dense_system(case: str, boundary: str) -> None:
    grid, extent, g, c, dilation = CASES[case]
    taps, origin = dominant(g, c, extent)
    built = convolution(taps, origin, grid, boundary=boundary, dilation=dilation)
    assert capacitance.applies(built)
    assert_solves(built)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_square_geometry(data: st.DataObject) -> None:
    grid = tuple(data.draw(st.lists(st.integers(1, 7), min_size=1, max_size=2), label="grid"))
    extent = tuple(data.draw(st.integers(1, 5), label="taps") for _ in grid)
    dilation = tuple(data.draw(st.integers(1, 2), label="dilation") for _ in grid)
    origin = tuple(data.draw(st.integers(0, n - 1), label="origin") for n in extent)
    c, g, groups = data.draw(st.sampled_from([(1, 1, 1), (2, 1, 1), (2, 1, 2), (1, 3, 3)]), label="channels")
    taps = peaked(g, c, extent, origin, seed=data.draw(st.integers(0, 99)))
    built = convolution(
        taps,
        origin,
        grid,
        groups=groups,
        dilation=dilation,
        boundary=data.draw(st.sampled_from(oracles.BOUNDARIES)),
        operation=data.draw(st.sampled_from(["convolve", "correlate"])),
    )
    # Kernels beyond the frame fold onto few samples, and may well give a singular operator.
    if np.linalg.cond(dense(built)) < 1e6:
        assert_solves(built, rtol=1e-8)


def test_padding_as_numbers() -> None:
    """Any padding that gives as many outputs as inputs will do, also one that no origin gives."""
    taps = peaked(1, 1, (3, 4), at=(2, 1))
    built = convolution(taps, (0, 0), (6, 7), boundary="edge", padding=((2, 0), (1, 2)), operation="correlate")
    y = random_data(built)
    factors = capacitance.factor(built)
    assert factors is not None
    expected = np.linalg.solve(built.to_sparse().toarray(), y.reshape(2, -1).T).T.reshape(y.shape)
    np.testing.assert_allclose(capacitance.solve(factors, y).x, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


def test_the_capacitance_matrix_is_small_and_its_determinant_is_right() -> None:
    """|det A| = |det C det S|: S is singular only where A is."""
    taps, origin = dominant(1, 2, (3, 4), weight=1.0)
    built = convolution(taps, origin, (6, 7), boundary="reflect")
    factors = capacitance.factor(built)
    assert factors is not None
    block = factors.blocks[0]
    assert len(block.lu) == capacitance.border_size(built) == 2 * (8 * 10 - 6 * 7)
    circulant = convolution(taps, origin, (8, 10))
    expected = np.linalg.slogdet(dense(built))[1] - np.linalg.slogdet(dense(circulant))[1]
    found = np.log(np.abs(np.diag(block.lu)) / block.peak).sum()
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_taps_shared_by_groups_are_factored_once() -> None:
    taps, origin = dominant(1, 1, (3, 3))
    factors = assert_solves(convolution(taps, origin, (6, 5), groups=3, boundary="zero"))
    assert len(factors.blocks) == 1


def test_float32_operators_are_solved_in_double() -> None:
    taps, origin = dominant(1, 2, (3, 3))
    built = convolution(taps, origin, (9, 8), boundary="zero", dtype=np.float32)
    y = random_data(built).astype(np.float32)
    factors = capacitance.factor(built)
    assert factors is not None
    solved = capacitance.solve(factors, y)
    assert solved.x.dtype == np.float64
    assert solved.residuals.max() < 1e-14


def test_it_applies_to_square_operators_alone() -> None:
    taps, origin = dominant(1, 2, (3, 3))
    assert capacitance.applies(convolution(taps, origin, (6, 7), boundary="zero"))
    assert not capacitance.applies(convolution(taps, origin, (6, 7), stride=2))
    assert not capacitance.applies(convolution(taps, origin, (6, 7), padding="valid"))
    assert not capacitance.applies(convolution(taps, origin, (6, 7), padding="full", boundary="zero"))
    assert not capacitance.applies(convolution(taps[:, :1], origin, (6, 7), boundary="zero"))


# Kernels with zeros ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("boundary", ["zero", "periodic"])
def test_a_zero_of_the_kernel_is_missed_by_another_ring(boundary: str) -> None:
    """The Laplacian destroys constants: no periodic ring can undo it, but with zeros outside it is regular."""
    built = convolution(LAPLACIAN[None, None, None], (1, 1), (7, 6), boundary=boundary)
    if boundary == "periodic":
        assert capacitance.factor(built) is None
    else:
        assert -1 in assert_solves(built).blocks[0].ring.signs


@pytest.mark.parametrize("signs", [(1, 1), (1, -1), (-1, 1), (-1, -1)])
def test_every_ring_gives_the_same_solution(signs: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    def chosen(taps: np.ndarray, geometry: object) -> tuple:
        built = ring.Ring(geometry.extended, signs)  # type: ignore[attr-defined]
        return built, *ring.inverted(taps, geometry, built)  # type: ignore[arg-type]

    monkeypatch.setattr(capacitance, "best_ring", chosen)
    taps, origin = dominant(1, 2, (3, 4))
    assert_solves(convolution(taps, origin, (6, 7), boundary="symmetric"))


def test_singular_operators_are_declined() -> None:
    """Difference with reflecting boundaries: constants give zero. Odd rows of [1, 0, -1]: A itself is singular."""
    for grid in [(7, 6), (40, 61)]:
        assert capacitance.factor(convolution(LAPLACIAN[None, None, None], (1, 1), grid, boundary="symmetric")) is None
    central = np.array([1.0, 0.0, -1.0]).reshape(1, 1, 1, 3)
    assert capacitance.factor(convolution(central, (1,), (9,), boundary="zero")) is None
    assert_solves(convolution(central, (1,), (8,), boundary="zero"))


def test_the_probe_tells_of_a_singular_operator() -> None:
    """Factors in single precision do not show that constants are lost; the data's residual does not either."""
    built = convolution(LAPLACIAN[None, None, None], (1, 1), (40, 61), boundary="symmetric")
    factors = capacitance.factor(built, np.dtype(np.float32))
    assert factors is not None
    solved = capacitance.solve(factors, built.forward(random_data(built)))
    assert solved.residuals.max() < 1e-10
    assert solved.probe_error > 1e-4


def test_zero_kernels_are_declined() -> None:
    assert capacitance.factor(convolution(np.zeros((1, 1, 1, 3, 3)), (1, 1), (6, 6), boundary="zero")) is None
    assert capacitance.factor(convolution(np.ones((1, 2, 2, 3, 3)), (1, 1), (6, 6), boundary="zero")) is None


# Precision ------------------------------------------------------------------------------------------------------------


def blur(sigma: float, grid: tuple[int, int]) -> Convolution:
    """A Gaussian blur; its condition number grows fast with sigma."""
    impulse = np.zeros((9, 9))
    impulse[4, 4] = 1
    return convolution(
        scipy.ndimage.gaussian_filter(impulse, sigma)[None, None, None], (4, 4), grid, boundary="reflect"
    )


@pytest.mark.parametrize("sigma", [0.6, 1.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_refinement_reaches_rounding(sigma: float, dtype: str) -> None:
    built = blur(sigma, (20, 23))
    truth = random_data(built)
    y = built.forward(truth)
    singular = np.linalg.svd(dense(built), compute_uv=False)
    assert singular[0] / singular[-1] < 1e6
    factors = capacitance.factor(built, np.dtype(dtype))
    assert factors is not None
    assert factors.blocks[0].lu.dtype == dtype
    once = factors.applied(y)
    solved = capacitance.solve(factors, y)
    assert solved.residuals.max() < 1e-14
    error = np.linalg.norm(solved.x - truth) / np.linalg.norm(truth)
    assert error < 1e-14 * singular[0] / singular[-1]
    assert error / 10 < solved.probe_error < error * 10
    if dtype == "float32":
        assert np.linalg.norm(y - built.forward(once)) > 1e-9 * np.linalg.norm(y)
        assert solved.refinements > 0


def test_where_single_precision_fails_double_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacitance, "_LARGE", 10)
    monkeypatch.setattr(capacitance, "_MOST_REFINEMENTS", 1)
    for sigma, budget, expected in [(0.4, 0, "float32"), (1.5, 1 << 30, "float64"), (1.5, 0, "float32")]:
        built = blur(sigma, (20, 23))
        y = built.forward(random_data(built))
        factors = capacitance.reliable(built, budget)
        assert factors is not None
        solved = capacitance.solve(factors, y)
        assert factors.blocks[0].lu.dtype == expected
        assert (solved.residuals.max() < 1e-12) == (sigma < 1 or budget > 0)
        step = one_step.by_capacitance(built, budget)  # what least-squares takes
        assert step is not None
        left = np.linalg.norm(built.forward(step.applied(y)) - y) / np.linalg.norm(y)
        assert (left < 1e-12) == (sigma < 1 or budget > 0)


def test_the_norm_of_the_inverse_bounds_the_error() -> None:
    taps, origin = dominant(2, 2, (3, 4), weight=1.0)
    built = convolution(taps, origin, (7, 6), boundary="edge")
    factors = capacitance.factor(built)
    assert factors is not None
    expected = 1 / np.linalg.svd(dense(built), compute_uv=False)[-1]
    found = capacitance.inverse_norm(factors, iterations=60)
    assert found <= expected * (1 + 1e-9)
    np.testing.assert_allclose(found, expected, rtol=0.02)


def test_the_adjoint_is_exact() -> None:
    taps, origin = dominant(2, 2, (3, 4))
    for boundary in oracles.BOUNDARIES:
        built = convolution(taps, origin, (7, 6), boundary=boundary)
        factors = capacitance.factor(built)
        assert factors is not None
        y, x = random_data(built), random_data(built)[::-1] + 1
        np.testing.assert_allclose(np.vdot(factors.applied(y), x), np.vdot(y, factors.adjoint(x)), rtol=1e-11)


def test_the_condition_number_is_that_of_the_capacitance_matrix() -> None:
    taps, origin = dominant(1, 1, (3, 3), weight=1.0)
    factors = capacitance.factor(convolution(taps, origin, (6, 7), boundary="zero"))
    assert factors is not None
    block = factors.blocks[0]
    S = ring.capacitance_matrix(block.ring, block.margin, block.inverse, ring.DOUBLE)
    exact = np.linalg.cond(S, 1)
    assert exact / 3 < factors.condition <= exact * 1.001


def test_zero_data_and_no_data() -> None:
    taps, origin = dominant(1, 1, (3, 3))
    factors = capacitance.factor(convolution(taps, origin, (6, 7), boundary="zero"))
    assert factors is not None
    solved = capacitance.solve(factors, np.zeros((2, 1, 6, 7)))
    assert not solved.x.any()
    assert not solved.residuals.any()
    assert capacitance.solve(factors, np.zeros((0, 1, 6, 7))).x.shape == (0, 1, 6, 7)


def test_solutions_scale_with_the_data() -> None:
    """Also where the factors have the narrow range of single precision."""
    taps, origin = dominant(1, 1, (3, 3))
    built = convolution(taps, origin, (6, 7), boundary="zero")
    factors = capacitance.factor(built, np.dtype(np.float32))
    assert factors is not None
    y = random_data(built)
    expected = capacitance.solve(factors, y).x
    for scale in (1e-60, 1e60):
        np.testing.assert_allclose(capacitance.solve(factors, scale * y).x, scale * expected, rtol=1e-9, atol=0)
    small = dataclasses.replace(built, kernel=Kernel(1e-30 * taps, origin))
    factors = capacitance.factor(small, np.dtype(np.float32))
    assert factors is not None
    np.testing.assert_allclose(capacitance.solve(factors, y).x, 1e30 * expected, rtol=1e-9, atol=0)


def test_the_cost_is_predicted() -> None:
    taps, origin = dominant(1, 4, (3, 3))
    built = convolution(taps, origin, (64, 64), boundary="zero")
    assert capacitance.border_size(built) == 4 * (66 * 66 - 64 * 64)
    single, double = (capacitance.bytes_needed(built, np.dtype(name)) for name in ("float32", "float64"))
    assert double - single == 4 * capacitance.border_size(built) ** 2
    assert capacitance.precision(built) == np.float64
    assert capacitance.precision(convolution(*dominant(1, 32, (3, 3)), (256, 256), boundary="zero")) == np.float32
