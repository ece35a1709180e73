"""Data continued over a margin, the smoothest there is, and systems on strips of a torus: against dense algebra."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from convtool.deconvolution.solvers.smooth_extension import extended
from convtool.deconvolution.solvers.strips import Strip, prediction_filter


def second_difference(n: int, is_periodic: bool) -> np.ndarray:
    """The second difference along n samples, wrapping round or ending at the frame."""
    rows = -2 * np.eye(n)
    for i, step in itertools.product(range(n), (-1, 1)):
        if is_periodic or 0 <= i + step < n:
            rows[i, (i + step) % n] += 1
        else:
            rows[i, i] += 1
    return rows


def smoothest(y: np.ndarray, axis: int, margin: int) -> np.ndarray:
    """y with the margin that minimises the squared sum of all second differences, by dense least squares."""
    grid = tuple(n + margin if a == axis else n for a, n in enumerate(y.shape))
    total = np.zeros((np.prod(grid), np.prod(grid)))
    for a in range(y.ndim):
        line = second_difference(grid[a], a <= axis)
        total += np.kron(np.kron(np.eye(int(np.prod(grid[:a]))), line), np.eye(int(np.prod(grid[a + 1 :]))))
    out, free = np.zeros(grid), np.ones(grid, bool)
    inside = tuple(slice(n) for n in y.shape)
    out[inside], free[inside] = y, False
    # Differences centred on the data's outermost lines count as well; those further inside hold no unknown.
    out[free] = np.linalg.lstsq(total[:, free.ravel()], -total[:, ~free.ravel()] @ out[~free], rcond=None)[0]
    return out


@pytest.mark.parametrize(
    ("shape", "grid"), [((7, 6), (11, 9)), ((4, 5), (5, 7)), ((2, 3), (6, 4)), ((3, 4, 3), (5, 6, 7)), ((5, 6), (5, 9))]
)
def test_the_margin_is_the_smoothest_there_is(shape: tuple[int, ...], grid: tuple[int, ...]) -> None:
    y = np.random.default_rng(1).normal(3, 1, shape)
    expected = y
    for axis, n in enumerate(grid):
        expected = smoothest(expected, axis, n - shape[axis])
    found = extended(np.stack([y, 2 * y]), grid)
    np.testing.assert_allclose(found, np.stack([expected, 2 * expected]), atol=1e-9)
    np.testing.assert_array_equal(found[0][tuple(slice(n) for n in shape)], y)


def test_the_repetition_has_no_jump_and_no_kink() -> None:
    rows, columns = np.mgrid[0:40, 0:50] / 50
    y = 100 * np.exp(rows + 0.5 * columns**2)  # nothing alike at opposite sides
    found = extended(y[None], (72, 80))[0]

    def roughest(x: np.ndarray, order: int) -> float:
        wrapped = (np.concatenate([x, x.take(range(order), axis)], axis) for axis in (0, 1))
        return max(float(np.abs(np.diff(w, order, axis=axis)).max()) for axis, w in enumerate(wrapped))

    assert roughest(y, 1) > 80
    assert roughest(found, 1) < 0.15 * roughest(y, 1)
    assert roughest(found, 2) < 0.05 * roughest(y, 2)


def test_noise_at_the_border_leaves_no_streaks() -> None:
    y = np.random.default_rng(2).normal(size=(1, 64, 64))
    detail = np.abs(np.diff(extended(y, (96, 64))[0], axis=1)).mean(axis=1)
    assert detail[72:88].max() < 0.15 * detail[:64].mean()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_constant_stays_what_it_is(dtype: str) -> None:
    for shape, grid in [((1, 1), (4, 6)), ((20, 30), (25, 36)), ((3, 4, 5), (6, 7, 8))]:
        y = np.full((2, *shape), 0.1, dtype)
        found = extended(y, grid)
        assert found.dtype == dtype
        np.testing.assert_allclose(found, y.flat[0], rtol=4 * float(np.finfo(dtype).eps))


@pytest.mark.parametrize("grid", [(12, 9), (11, 10), (6, 5, 4)])
@pytest.mark.parametrize("width", [1, 2, 4])
def test_a_strip_is_solved_exactly(grid: tuple[int, ...], width: int) -> None:
    rng = np.random.default_rng(3)
    taps = np.zeros(grid)
    taps[tuple(slice(3) for _ in grid)] = rng.normal(size=(3,) * len(grid))
    filter_ = np.fft.ifftn(np.abs(np.fft.fftn(taps)) ** 2 + 0.05).real
    pixels = np.arange(filter_.size).reshape(grid)
    for axis in range(len(grid)):
        chosen = pixels.take(range(grid[axis] - width, grid[axis]), axis)
        places = np.array(np.unravel_index(chosen.ravel(), grid)).T
        dense = np.array([[filter_[tuple((p - q) % grid)] for q in places] for p in places])
        r = rng.normal(size=chosen.shape)
        found = Strip(filter_, axis, width).solved(r)
        np.testing.assert_allclose(dense @ found.ravel(), r.ravel(), atol=1e-9)


def test_the_prediction_filter_is_the_inverses_first_column() -> None:
    first = np.array([2.0, 0.5 + 0.3j, -0.2j, 0.1])
    lags = np.arange(4)[:, None] - np.arange(4)
    dense = np.where(lags >= 0, first[np.abs(lags)], first[np.abs(lags)].conj())
    column = np.linalg.inv(dense)[:, 0]
    np.testing.assert_allclose(prediction_filter(first[:, None])[:, 0], column / np.sqrt(column[0].real), atol=1e-12)


@pytest.mark.parametrize(("sigma", "width", "weight"), [(8, 51, 1e-12), (8, 51, 1e-20), (12, 80, 1e-20)])
def test_a_strip_that_is_nearly_singular_is_solved_for_a_matrix_nearby(sigma: int, width: int, weight: float) -> None:
    """What a weak prior on the Laplacian leaves of data from a Gaussian: Q from 1 down to less than 1e-16."""
    wave = 2 * np.pi * np.hypot(np.fft.fftfreq(256)[:, None], np.fft.fftfreq(40))
    left = weight * wave**4
    Q = np.divide(left, np.exp(-((wave * sigma) ** 2)) + left, out=np.zeros_like(wave), where=wave > 0)
    r = np.random.default_rng(3).normal(size=(width, 40))
    found = Strip(np.fft.ifft2(Q).real, 0, width).solved(r)
    assert 0 < np.vdot(r, found) < 1e13 * np.vdot(r, r)
