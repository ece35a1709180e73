"""Inverses of kernels that mix channels: their matrices by frequency, cutoffs, factors that are kept, and solving once.

The oracle is NumPy's SVD of the matrices of `np.fft`'s spectrum, or of the dense matrix.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import oracles
import pytest

import convtool
from convtool import fft, process
from convtool.deconvolution.solvers import gram_schmidt, inverses, norms, periodic, single_use
from convtool.deconvolution.solvers.symbol import Symbol
from convtool.errors import DataError, SettingError
from convtool.kernel import Kernel
from convtool.operators import Convolution


def operator(taps: np.ndarray, grid: tuple[int, ...], groups: int = 1, **settings: Any) -> Convolution:
    """Taps [g, o, i, *extent] with an origin off the middle."""
    return Convolution.build(Kernel(taps, tuple(n // 3 for n in taps.shape[3:])), grid, groups, **settings)


def random_taps(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def matrices(built: Convolution) -> np.ndarray:
    """H [kernel * frequency, o, i] of the operator's own spectrum."""
    H = np.moveaxis(built.spectrum, (1, 2), (-2, -1))
    return H.reshape(-1, *H.shape[-2:])


def with_values(count: int, c: int, values: np.ndarray, seed: int = 0) -> np.ndarray:
    """Complex matrices with these singular values."""
    rng = np.random.default_rng(seed)
    u, _, vh = np.linalg.svd(rng.standard_normal((count, c, c)) + 1j * rng.standard_normal((count, c, c)))
    return (u * values[..., None, :]) @ vh


# The symbol -----------------------------------------------------------------------------------------------------------

SYMBOLS = [
    ((1, 2, 3, 3), (8,), 1),
    ((2, 2, 2, 3, 4), (7, 10), (2, 1)),
    ((1, 3, 3, 3, 2, 4), (4, 5, 6), 1),
    ((1, 2, 2, 5, 9), (4, 6), 1),  # a kernel larger than the grid
    ((1, 40, 40, 3, 2), (12, 100), 1),  # rows in parts
    ((3, 60, 5, 2, 2), (150, 4), 1),  # several rows together
]


@pytest.mark.parametrize("operation", ["convolve", "correlate"])
@pytest.mark.parametrize(("shape", "grid", "dilation"), SYMBOLS, ids=str)
def test_the_symbol_is_the_spectrum(
    shape: tuple[int, ...], grid: tuple[int, ...], dilation: Any, operation: str
) -> None:
    built = operator(random_taps(*shape), grid, shape[0], dilation=dilation, operation=operation)
    symbol, H = Symbol(built), matrices(built)
    assert np.concatenate([np.arange(part.start, part.stop) for part in symbol.blocks]).tolist() == list(range(len(H)))
    found = np.concatenate([symbol.at(part) for part in symbol.blocks]) * symbol.unit
    np.testing.assert_allclose(found, H, atol=1e-13)
    some = np.random.default_rng(1).permutation(len(H))[:50]
    np.testing.assert_allclose(symbol.at(some) * symbol.unit, H[some], atol=1e-13)
    assert symbol.multiplicity.sum() == shape[0] * np.prod(grid)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_the_symbol_follows_any_scale(scale: float) -> None:
    taps = random_taps(1, 2, 2, 3, 3)
    symbol = Symbol(operator(scale * taps, (5, 6)))
    assert 0.1 < np.abs(symbol.at(symbol.blocks[0])).max() < 100
    inverse, plain = (periodic.inverse(operator(a * taps, (5, 6))) for a in (scale, 1.0))
    assert inverse.norm == pytest.approx(scale * plain.norm, rel=1e-12)
    assert inverse.noise_gain == pytest.approx(plain.noise_gain / scale, rel=1e-9)


# The largest singular value -------------------------------------------------------------------------------------------


@pytest.fixture
def quick_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every stack counts as large."""
    monkeypatch.setattr(norms, "_EXACT_SECONDS", 0.0)


@pytest.mark.usefixtures("quick_is_nothing")
@pytest.mark.parametrize(
    ("taps", "grid"),
    [
        (random_taps(1, 8, 8, 3, 3), (100, 96)),
        (random_taps(2, 6, 8, 3, 5, seed=1), (90, 201)),
        (random_taps(1, 3, 3, 3, 2, 3, seed=6), (24, 20, 33)),
        (random_taps(1, 4, 4, 9, 9, seed=2), (16, 16)),  # no lattice: the kernel takes half of the grid
        (random_taps(1, 6, 6, 1, 1, seed=3), (16, 16)),
        (random_taps(1, 5, 4, 7, seed=4), (200,)),
        (0.1 * random_taps(1, 8, 8, 3, 3, seed=5) + np.eye(8)[:, :, None, None], (40, 36)),
    ],
)
def test_the_norm_is_found_without_decomposing_all(taps: np.ndarray, grid: tuple[int, ...]) -> None:
    built = operator(taps, grid, len(taps))
    symbol = Symbol(built)
    found = symbol.largest()
    assert found.value * symbol.unit == pytest.approx(np.linalg.svd(matrices(built), compute_uv=False).max(), rel=1e-9)
    assert found.bound >= found.value
    assert norms.largest(symbol).value == pytest.approx(found.value, rel=1e-9)


def test_the_lattice_has_a_point_near_every_frequency(monkeypatch: pytest.MonkeyPatch) -> None:
    """No further than 0.2 radians of the kernel's turning, so that Riesz' bound holds; or a mirrored frequency has."""
    monkeypatch.setattr(norms, "_EXACT_SECONDS", 0.0)
    for extent, grid in [((3, 3), (64, 70)), ((5, 3), (130, 67)), ((1, 2, 1), (11, 33, 20)), ((1, 4), (9, 90))]:
        symbol = Symbol(operator(random_taps(1, 2, 2, *extent), grid))
        seen: list[np.ndarray] = []
        monkeypatch.setattr(norms, "ranked", lambda stack, chosen, seen=seen: (seen.append(chosen), chosen)[1])
        symbol.largest()
        assert 3 * len(seen[0]) < symbol.count
        points = np.stack(np.unravel_index(seen[0], fft.half(grid)))
        points = np.concatenate([points, -points], axis=1)
        everywhere = np.indices(fft.half(grid)).reshape(len(grid), -1)
        turns = np.zeros((everywhere.shape[1], points.shape[1]))
        for axis, n in enumerate(grid):
            away = (everywhere[axis][:, None] - points[axis]) % n
            turns += (extent[axis] - 1) / 2 * np.minimum(away, n - away) * 2 * np.pi / n
        assert turns.min(axis=1).max() <= 0.2


def test_the_lattice_bounds_the_norm() -> None:
    taps = random_taps(1, 6, 6, 3, 3)
    values = np.linalg.svd(matrices(operator(taps, (64, 80))), compute_uv=False)[:, 0].reshape(64, 41)
    offsets = 0.5 * (2 * np.pi / 64) * 4 + 0.5 * (2 * np.pi / 80) * 4
    assert values[::4, ::4].max() >= np.cos(offsets) * values.max()
    assert values.min() < np.cos(offsets) * values.max()


def test_ritz_values_are_lower_bounds() -> None:
    a = with_values(50, 12, np.random.default_rng(1).uniform(0.1, 1, (50, 12)))
    exact = np.linalg.svd(a, compute_uv=False)[:, 0]
    before = np.zeros(50)
    for steps in (1, 2, 4, 8, 12):
        found = norms.ritz(a, steps)
        assert (found <= exact * (1 + 1e-12)).all()
        assert (found >= before * (1 - 1e-12)).all()
        before = found
    np.testing.assert_allclose(before, exact, rtol=1e-8)
    np.testing.assert_array_equal(norms.ritz(np.zeros((2, 3, 4)), 3), 0)


@pytest.mark.usefixtures("quick_is_nothing")
def test_one_large_matrix_among_many_is_found() -> None:
    """Frobenius norms rank it below all others: those are unitary."""
    values = np.ones((3000, 6))
    values[1234] = [2.2, 0, 0, 0, 0, 0]
    assert norms.largest_singular_value(with_values(3000, 6, values)) == pytest.approx(2.2, rel=1e-9)


# Gram-Schmidt ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize(("m", "n"), [(1, 1), (2, 2), (3, 3), (5, 5), (2, 4), (1, 6), (7, 3)])
@pytest.mark.parametrize("condition", [1e1, 1e6])
def test_gram_schmidt_is_as_good_as_lapack(m: int, n: int, dtype: str, condition: float) -> None:
    """The condition is not squared: at 1e6 a Gram matrix would leave 1e-4."""
    rng = np.random.default_rng(m * 10 + n)
    a = rng.standard_normal((200, m, n)) + (1j * rng.standard_normal((200, m, n)) if dtype.startswith("c") else 0)
    u, _, vh = np.linalg.svd(a, full_matrices=False)
    a = ((u * np.geomspace(1, 1 / condition, min(m, n))) @ vh).astype(dtype)
    found = gram_schmidt.inverted(a)
    expected = np.linalg.pinv(a.astype(found.dtype), rcond=1e-14)
    error = np.linalg.norm(found - expected, axis=(1, 2)) / np.linalg.norm(expected, axis=(1, 2))
    eps = np.finfo(np.float64).eps
    assert error.max() < 30 * eps * condition
    identity = found @ a if m >= n else a @ found
    assert np.abs(identity - np.eye(min(m, n))).max() < 1000 * eps * condition  # once alone: eps condition^2
    assert found.dtype == np.result_type(dtype, np.float64)


@pytest.mark.parametrize("shape", [(2, 4), (3, 3), (12, 12), (9, 6)])
def test_batched_pinv_does_not_depend_on_threads_or_blocks(
    shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    a = random_taps(5000, *shape)
    a[::97] *= 1e-20
    a[::101, 1] = a[::101, 0]
    found = convtool.batched_pinv(a)
    monkeypatch.setattr(process.policy, "threads", 1)
    np.testing.assert_array_equal(convtool.batched_pinv(a), found)
    monkeypatch.setattr(norms, "_BLOCK", 1000)
    np.testing.assert_allclose(convtool.batched_pinv(a), found, rtol=1e-10, atol=1e-10 * np.abs(found).max())
    few = np.unique(np.r_[0:300, 0:5000:97, 0:5000:101])
    scales = np.linalg.norm(found[few], axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(found[few] / scales, np.linalg.pinv(a[few], rcond=1e-12) / scales, atol=1e-9)


def test_small_matrices_whose_squares_underflow_are_decomposed() -> None:
    for scale in (1e-158, 1e-170):
        a = np.stack([np.diag([1.0, 1.0]), scale * np.array([[2.0, 1.0], [0.0, 1.0]])])
        np.testing.assert_allclose(convtool.batched_pinv(a)[1] * scale, [[0.5, -0.5], [0, 1]], atol=1e-12)


# Cutoffs --------------------------------------------------------------------------------------------------------------


def ring(values: np.ndarray) -> Convolution:
    """A 1-D operator on an even number of samples, n, whose matrices have these singular values [n / 2 + 1, c]."""
    rng = np.random.default_rng(0)
    n, c = 2 * (len(values) - 1), values.shape[1]
    a = rng.standard_normal((len(values), c, c)) + 1j * rng.standard_normal((len(values), c, c))
    a[[0, -1]] = a[[0, -1]].real
    u, _, vh = np.linalg.svd(a)
    taps = np.fft.irfft((u * values[:, None, :]) @ vh, n, axis=0).transpose(1, 2, 0)
    return Convolution.build(Kernel(taps[None], (0,)), (n,), 1)


@pytest.mark.parametrize("c", [3, 8])
@pytest.mark.parametrize("share", [0.5, 0.999, 1.001, 1.5, 2.5])
@pytest.mark.parametrize("rcond", [1e-3, 0.1])
def test_the_cutoff_is_relative_to_the_norm_of_all(c: int, share: float, rcond: float) -> None:
    """Far below, just below, just above and far above: only those above are inverted; the norm is another matrix'."""
    values = np.linspace(1, 0.6, c)[None].repeat(3, 0) * np.array([[1], [4], [1]])
    values[0, -1] = share * rcond * 4
    values[2, -1] = 0
    built = ring(values)
    found = periodic.inverse(built, rcond)
    assert found.norm == pytest.approx(4, rel=1e-12)
    assert found.destroyed == (1 if share > 1 else 2)
    assert found.components == 4 * c
    assert found.least == pytest.approx(min(values[values > rcond * 4]), rel=1e-9)
    dense = built.to_sparse().toarray()
    expected = oracles.pinv_solution(dense, np.arange(4.0 * c), rcond)
    np.testing.assert_allclose(found.applied(np.arange(4.0 * c).reshape(1, c, 4)).ravel(), expected, rtol=1e-8)
    gain = np.sqrt(np.sum(np.linalg.pinv(dense, rcond=rcond) ** 2) / (4 * c))
    assert found.noise_gain == pytest.approx(gain, rel=1e-9)


@pytest.mark.parametrize("share", [0.99, 1.01])
def test_a_norm_that_was_missed_is_sought_where_it_decides(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the search had found 0.98 of it: the value between both cutoffs must be decided by the true one."""
    values = np.linspace(1, 0.6, 7)[None].repeat(3, 0) * np.array([[1], [4], [1]])
    values[0, -1] = share * 0.01 * 4
    built = ring(values)
    monkeypatch.setattr(Symbol, "largest", lambda self: norms.Largest(0.98 * 4 / self.unit, False))
    found = periodic.inverse(built, 0.01)
    expected = oracles.pinv_solution(built.to_sparse().toarray(), np.arange(28.0), 0.01)
    np.testing.assert_allclose(found.applied(np.arange(28.0).reshape(1, 7, 4)).ravel(), expected, rtol=1e-8)
    assert found.destroyed == (0 if share > 1 else 1)
    if share < 1:
        assert found.norm == pytest.approx(4, rel=1e-12)


def test_a_norm_that_was_missed_and_met_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The matrix that has it is decomposed for another value's sake."""
    values = np.linspace(1, 0.6, 7)[None].repeat(3, 0) * np.array([[1], [4], [1]])
    values[1, -1] = 0
    monkeypatch.setattr(Symbol, "largest", lambda self: norms.Largest(0.98 * 4 / self.unit, False))
    assert periodic.inverse(ring(values), 0.01).norm == pytest.approx(4, rel=1e-12)


# Solving once ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def solving(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every square kernel is solved with, however small the work."""
    monkeypatch.setattr(single_use, "_LEAST_WORK", 0)


@pytest.mark.usefixtures("solving")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", ["near identity", "random", "blur", "rank", "groups", "shared", "zero"])
def test_solving_is_the_inverse(case: str, dtype: str) -> None:
    taps, groups = random_taps(1, 8, 8, 3, 3), 1
    if case == "near identity":
        taps = 0.05 * taps + np.eye(8)[:, :, None, None] * np.eye(3)[1][:, None]
    elif case == "blur":  # frequencies of zeros, and near them
        taps = taps[:, :, :, :1, :1] * np.outer([0.25, 0.5, 0.25], [0.25, 0.5, 0.25])
    elif case == "rank":
        taps[:, 3] = taps[:, 5]
    elif case == "zero":  # exactly singular at one frequency
        taps = taps - taps.mean(axis=(3, 4), keepdims=True)
    elif case in ("groups", "shared"):
        taps, groups = random_taps(3 if case == "groups" else 1, 6, 6, 2, 3), 3
    built = operator(taps, (24, 26), groups, dtype=np.dtype(dtype))
    y = np.random.default_rng(2).standard_normal((2, *built.out_shape)).astype(dtype)
    assert single_use._is_shorter(built, 2)
    found, inverse = single_use.solution(built, y), periodic.inverse(built)
    expected = inverse.applied(y)
    assert found.x.dtype == np.dtype(dtype)
    eps = np.finfo(dtype).eps
    condition = inverse.norm / inverse.least
    assert np.linalg.norm(found.x - expected) < 20 * eps * condition * np.linalg.norm(expected)
    assert found.norm == pytest.approx(inverse.norm, rel=1e-5)
    assert found.noise_gain == pytest.approx(inverse.noise_gain, rel=0.03)
    assert found.rcond == inverse.rcond == 1000 * eps


@pytest.mark.usefixtures("solving")
@pytest.mark.parametrize("share", [0.5, 0.999, 1.001, 1.5, 30.0])
def test_solving_cuts_where_the_inverse_does(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """One value near the cutoff, at a frequency that is not looked at for its noise."""
    monkeypatch.setattr(single_use, "_LARGEST", 1)
    values = np.linspace(1, 0.6, 8)[None].repeat(33, 0)
    values[7] *= 4
    values[12, -1] = share * 0.01 * 4
    values[16:20] *= 0.1  # all of them small: these frequencies are looked at
    built, y = ring(values), np.random.default_rng(1).random((1, 8, 64))
    found = single_use.solution(built, y, 0.01)
    expected = oracles.pinv_solution(built.to_sparse().toarray(), y.ravel(), 0.01)
    np.testing.assert_allclose(found.x.ravel(), expected, atol=1e-8 * np.abs(expected).max())


def test_the_noise_gain_of_solving_is_known_to_a_per_cent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any frequency where it is computed: neighbouring frequencies share the probes of one basis."""
    monkeypatch.setattr(single_use, "_LEAST_WORK", 0)
    taps = 0.1 * random_taps(1, 12, 12, 3, 3) + 2 * np.eye(12)[:, :, None, None] * np.eye(3)[1][:, None]
    built = operator(taps, (40, 48))
    y = np.ones((1, *built.out_shape))
    exact = periodic.inverse(built).noise_gain
    for largest in (1, 256):
        monkeypatch.setattr(single_use, "_LARGEST", largest)
        assert single_use.solution(built, y).noise_gain == pytest.approx(exact, rel=0.01)


# Kept factors ---------------------------------------------------------------------------------------------------------

LAYOUTS: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((3, 3), (10, 12), {}),
    ((3, 2), (4, 10, 12), {}),
    ((2, 3, 2), (2, 10, 12), {"kernel_axes": "CYX"}),
    ((4, 3, 3, 3), (4, 10, 12), {}),
    ((3, 4, 3, 2), (2, 3, 10, 12), {}),
    ((6, 3, 3, 3), (6, 10, 12), {"groups": 2}),
    ((4, 4, 3, 3), (10, 12, 4), {"axes": "YXC"}),
    ((2, 2, 2, 3, 3), (2, 5, 6, 7), {"axes": "CZYX"}),
    ((2, 2, 3, 3), (2, 3, 6, 7), {"axes": "CZYX", "kernel_axes": "OIYX"}),
    ((7, 7, 3, 3), (7, 10, 12), {"dilation": 2, "origin": "first", "operation": "correlate"}),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("kernel_shape", "shape", "settings"), LAYOUTS, ids=str)
def test_a_kept_inverse_gives_what_pinv_gives(
    kernel_shape: tuple[int, ...], shape: tuple[int, ...], settings: dict[str, Any], dtype: str
) -> None:
    rng = np.random.default_rng(1)
    kernel = rng.random(kernel_shape)
    undo = convtool.inverse(kernel, shape, dtype=dtype, **settings)
    for _ in range(2):
        y = rng.random(shape).astype(dtype)
        expected = convtool.deconvolve(y, kernel, method="pinv", **settings)
        x = undo.apply(y)
        assert x.dtype == np.dtype(dtype)
        assert x.shape == expected.x.shape
        atol = 1e-9 if dtype == "float64" else 2e-3
        np.testing.assert_allclose(x, expected.x, rtol=0, atol=atol * np.abs(expected.x).max())
        assert undo.noise_gain == pytest.approx(expected.metrics["noise_gain"], rel=1e-3)
        assert undo.norm == pytest.approx(expected.metrics["operator_norm"], rel=1e-5)
        assert undo.rcond == expected.metrics["rcond"]


def test_a_kept_inverse_takes_batches_of_any_length() -> None:
    kernel = np.random.default_rng(1).random((3, 3, 3, 3))
    undo = convtool.inverse(kernel, (3, 8, 9))
    several = convtool.inverse(kernel, (2, 3, 8, 9))
    x = np.random.default_rng(2).random((11, 3, 8, 9))
    y = convtool.convolve(x, kernel)
    for images in (several.apply(y), np.stack([undo.apply(one) for one in y])):
        np.testing.assert_allclose(images, x, atol=1e-9)
    one = y.copy()
    undo.apply(one[0])
    np.testing.assert_array_equal(one, y)  # data are left alone


def test_an_inverse_says_what_it_is() -> None:
    kernel = np.outer([0.25, 0.5, 0.25], [0.5, 0.5])  # wipes out a row and a column of the frequencies of 8 x 6
    undo = convtool.inverse(kernel, (8, 6))
    assert (undo.destroyed, undo.components) == (6 + 8 - 1, 48)
    mixed = kernel * np.array([[1.0, 0.2], [0.1, 1.0]])[:, :, None, None]
    undo = convtool.inverse(mixed, (2, 8, 6))
    a = oracles.matrix(mixed, (2, 8, 6), operation="convolve")
    values = np.linalg.svd(a, compute_uv=False)
    kept = values[values > undo.rcond * values[0]]
    assert (undo.destroyed, undo.components) == (96 - len(kept), 96)
    assert undo.norm == pytest.approx(values[0], rel=1e-9)
    assert undo.condition == pytest.approx(values[0] / kept[-1], rel=1e-6)
    wide = convtool.inverse(np.random.default_rng(0).random((2, 3, 3, 3)), (2, 8, 6))
    assert (wide.destroyed, wide.components) == (48, 144)


def test_the_dtype_of_an_inverse() -> None:
    kernel = np.random.default_rng(1).random((2, 2, 3, 3))
    for given, asked, expected in itertools.product(("float32", "float64", "int64"), (None, "float32"), ("",)):
        taps = (10 * kernel).astype(given)
        expected = asked or ("float64" if given == "int64" else given)
        undo = convtool.inverse(taps, (2, 6, 7), dtype=asked)
        assert undo.apply(np.ones((2, 6, 7), np.uint8)).dtype == np.dtype(expected)


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        ((np.ones((3, 3)), (8, 0)), {}, "whole numbers of at least 1"),
        ((np.ones((3, 3)), (8, 9)), {"rcond": 1.0}, "rcond must be at least 0 and below 1"),
        ((np.ones((3, 3)), (8, 9)), {"dtype": "int32"}, "dtype must be float32 or float64"),
        ((np.zeros((3, 3)), (8, 9)), {}, "all zeros"),
        ((np.ones((2, 2, 3, 3)), (3, 8, 9)), {}, "3"),
        ((np.ones((3, 3)), (200, 300, 3)), {}, "YXC or CYX"),
    ],
)
def test_an_inverse_refuses(arguments: tuple, settings: dict[str, Any], message: str) -> None:
    with pytest.raises((SettingError, DataError), match=message):
        convtool.inverse(*arguments, **settings)


def test_an_inverse_refuses_other_data() -> None:
    undo = convtool.inverse(np.random.default_rng(0).random((2, 2, 3, 3)), (2, 8, 9))
    for bad in (np.ones((2, 9, 8)), np.ones((3, 8, 9)), np.ones((8, 9)), np.ones((1, 2, 8, 9))):
        with pytest.raises(DataError, match="the inverse is for data of 2x8x9"):
            undo.apply(bad)
    with pytest.raises(DataError, match="NaN"):
        undo.apply(np.full((2, 8, 9), np.nan))


def test_regular_inverses_bound_the_least_singular_value() -> None:
    for c in (3, 9):
        a = with_values(40, c, np.geomspace(1, 1e-6, c)[None].repeat(40, 0))
        out, least = inverses.regular_inverses(a)
        np.testing.assert_allclose(least * np.linalg.norm(out, axis=(1, 2)), 1, rtol=1e-9)
        assert ((least <= 1.001e-6) & (least * np.sqrt(c) >= 0.999e-6)).all()
        a[3] = 0
        assert inverses.regular_inverses(a)[1][3] == 0
