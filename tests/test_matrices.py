"""Matrices of operators: their entries against the definition's, their size foretold, and their singular values."""

from __future__ import annotations

import math
import time
import tracemalloc
from typing import Any

import numpy as np
import oracles
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from convtool import entries, matrices
from convtool.errors import ConvtoolError, DataError, SettingError
from convtool.kernel import Kernel
from convtool.matrices import Route
from convtool.operators import Convolution

Drawn = tuple[np.ndarray, tuple[int, ...], dict[str, Any]]


def whole(shape: tuple[int, ...], seed: int, zeros: float = 0.0) -> np.ndarray:
    """Whole numbers, whose sums are exact, a share of them 0."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(shape) < zeros, 0, rng.integers(1, 1 << 20, shape)).astype(float)


def built(
    taps: np.ndarray, grid: tuple[int, ...], groups: int = 1, origin: oracles.Origin = "center", **how: Any
) -> Convolution:
    """The operator of canonical taps [o, i, *k]."""
    blocks = taps.reshape(groups, -1, *taps.shape[1:])
    return Convolution.build(Kernel(blocks, tuple(oracles.origins(origin, taps.shape[2:]))), grid, groups, **how)


@st.composite
def operators(draw: st.DrawFn) -> Drawn:
    """(taps, in_shape, settings) of any operator, kernels larger than the frame and taps of zero among them."""
    rank = draw(st.sampled_from([1, 2, 2, 3]))
    frame = tuple(draw(st.integers(1, 7 if rank < 3 else 4)) for _ in range(rank))
    sizes = tuple(draw(st.integers(1, 6 if rank < 3 else 3)) for _ in range(rank))
    groups, outer, inner = draw(st.sampled_from([(1, 1, 1), (1, 2, 3), (1, 3, 2), (2, 1, 2), (2, 2, 1), (3, 1, 1)]))
    number = st.integers(0, 5)
    each = st.tuples(*[st.integers(1, 3)] * rank)
    how = {
        "groups": groups,
        "origin": draw(st.tuples(*[st.integers(0, size - 1) for size in sizes])),
        "boundary": draw(st.sampled_from(oracles.BOUNDARIES)),
        "padding": draw(st.sampled_from(["same", "valid", "full"]) | st.tuples(*[st.tuples(number, number)] * rank)),
        "stride": draw(each),
        "dilation": draw(each),
        "operation": draw(st.sampled_from(["convolve", "correlate"])),
    }
    zeros = draw(st.sampled_from([0.0, 0.3, 0.9]))
    return whole((groups * outer, inner, *sizes), draw(st.integers(0, 9)), zeros), (groups * inner, *frame), how


def matrix_of(drawn: Drawn) -> tuple[Convolution, np.ndarray] | None:
    """The operator and its matrix, as the oracle writes it; None where no window fits."""
    taps, in_shape, how = drawn
    try:
        return built(taps, in_shape[1:], **how), oracles.matrix(taps, in_shape, **how)
    except (ConvtoolError, ValueError):
        return None


# Entries --------------------------------------------------------------------------------------------------------------


def check_entries(found: csr_matrix, exact: np.ndarray) -> None:
    """The matrix, entry by entry, and that nothing is stored twice, in disorder, or for nothing."""
    np.testing.assert_array_equal(found.toarray(), exact)
    assert found.nnz == np.count_nonzero(exact)
    assert (found.dtype, found.indices.dtype, found.indptr.dtype) == (np.float64, np.int32, np.int32)
    apart = csr_matrix((found.data, found.indices, found.indptr), shape=found.shape)  # looks for itself
    assert apart.has_sorted_indices
    assert apart.has_canonical_format


@given(drawn=operators(), block=st.sampled_from([1, 20, 1 << 18]))
@settings(max_examples=250)
def test_entries_are_the_definitions(drawn: Drawn, block: int) -> None:
    pair = matrix_of(drawn)
    if pair is None:
        return
    A, exact = pair
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(entries, "_BLOCK", block)
        found = A.to_sparse()
    check_entries(found, exact)
    x = np.random.default_rng(1).normal(size=A.in_shape)
    scale = np.abs(exact).sum(axis=1).max() * np.abs(x).max()
    np.testing.assert_allclose(found @ x.ravel(), A.forward(x).ravel(), rtol=0, atol=1e-13 * scale)
    size = matrices.size(A)
    assert (size.rows, size.columns, size.dense_bytes) == (*exact.shape, exact.nbytes)
    assert found.nnz <= size.stored
    assert size.sparse_bytes == 12 * size.stored + 4 * (size.rows + 1)


def test_one_kernel_for_all_channels_fills_blocks() -> None:
    taps = whole((1, 1, 3, 2), 7)
    A = Convolution.build(Kernel(taps[None], (1, 1)), (5, 6), 3, boundary="symmetric")
    exact = scipy.linalg.block_diag(*[oracles.matrix(taps, (1, 5, 6), boundary="symmetric")] * 3)
    check_entries(A.to_sparse(), exact)


@pytest.mark.parametrize("boundary", oracles.BOUNDARIES)
def test_a_kernel_of_zeros_stores_nothing(boundary: str) -> None:
    A = built(np.zeros((2, 3, 3, 2)), (5, 4), boundary=boundary, stride=2)
    assert A.to_sparse().nnz == matrices.size(A).stored == 0
    assert A.to_sparse().shape == (2 * 3 * 2, 3 * 20)
    np.testing.assert_array_equal(matrices.singular_values(A), np.zeros(12))
    found = matrices.condition(matrices.singular_values(A))
    assert (found.rank, found.condition, found.condition_kept) == (0, math.inf, math.inf)


@pytest.mark.parametrize(
    ("how", "exact"),
    [
        ({"boundary": "periodic"}, 9 * 7 * 6),
        ({"boundary": "zero"}, (5 * 3 + 2 * 2) * (4 * 3 + 2 * 2)),
        ({"boundary": "zero", "padding": "full"}, 7 * 3 * 6 * 3),  # each sample is read by each tap
        ({"boundary": "zero", "stride": (3, 2)}, (3 * 3 - 2) * (3 * 3 - 1)),
        ({"boundary": "reflect", "padding": "valid", "dilation": 2}, 3 * 2 * 9),
        ({"boundary": "zero", "padding": ((9, 0), (0, 9))}, 7 * 3 * 6 * 3 - 7 * 3 * 3 - (6 * 3 - 3) * 3),
    ],
)
def test_the_number_of_entries_is_foretold_where_no_two_taps_meet(how: dict[str, Any], exact: int) -> None:
    A = built(whole((1, 1, 3, 3), 7), (7, 6), **how)
    assert matrices.size(A).stored == A.to_sparse().nnz == exact


def test_no_more_entries_are_foretold_than_a_dense_matrix_has() -> None:
    A = built(whole((1, 2, 31, 31), 7), (6, 5), boundary="reflect")
    assert matrices.size(A).stored == A.to_sparse().nnz == 30 * 60


def test_sizes_are_foretold_without_building() -> None:
    A = built(np.ones((1, 1, 3, 5)), (100_000, 100_000), boundary="zero")
    tracemalloc.start()
    size = matrices.size(A)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    stored = (3 * 10**5 - 2) * (5 * 10**5 - 6)
    assert size.stored == stored
    assert size.sparse_bytes == 16 * stored + 8 * (10**10 + 1)
    assert 0 < size.building_bytes < 1e8
    assert (size.rows, size.columns, size.dense_bytes) == (10**10, 10**10, 8 * 10**20)
    assert peak < 1 << 16


def test_indices_grow_where_they_must() -> None:
    assert entries.index_dtype(2**31 - 1, 5) == entries.index_dtype(5, 2**31 - 1) == np.int32
    assert entries.index_dtype(2**31, 5) == entries.index_dtype(5, 2**31) == np.int64


@pytest.mark.parametrize("wide", [False, True])
def test_wide_indices_hold_the_same_entries(monkeypatch: pytest.MonkeyPatch, wide: bool) -> None:
    monkeypatch.setattr(entries, "_LARGEST", 10 if wide else 1 << 20)
    taps = whole((2, 3, 3, 2), 7)
    A = built(taps, (6, 7), boundary="reflect")
    found = A.to_sparse()
    np.testing.assert_array_equal(found.toarray(), oracles.matrix(taps, (3, 6, 7), boundary="reflect"))


CASES: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "mixing": ((16, 16, 3, 3), (40, 41), {"boundary": "zero"}),
    "one channel": ((1, 1, 5, 5), (300, 301), {"boundary": "zero"}),
    "a line": ((1, 1, 9), (90_000,), {}),
    "folded": ((1, 1, 63, 63), (40, 36), {"boundary": "reflect"}),
}


@pytest.mark.parametrize("case", CASES)
def test_building_takes_little_more_than_the_matrix(case: str) -> None:
    shape, grid, how = CASES[case]
    A = built(whole(shape, 7), grid, **how)
    A.to_sparse()  # imports
    tracemalloc.start()
    found = A.to_sparse()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    final = found.data.nbytes + found.indices.nbytes + found.indptr.nbytes
    assert final > 10e6
    assert peak < 2.5 * final


DELTA = np.zeros((3, 3))
DELTA[1, 1] = 1
BUILDING: dict[str, tuple[np.ndarray, tuple[int, ...], dict[str, Any]]] = {
    "one entry a row": (DELTA[None, None], (1000, 1000), {}),
    "one entry a row, zeros outside": (DELTA[None, None], (1000, 1000), {"boundary": "zero"}),
    "a box": (np.ones((1, 1, 3, 3)), (700, 300), {"boundary": "reflect"}),
    "a window with holes": (whole((1, 1, 3, 3), 7, 0.5), (700, 300), {"boundary": "reflect"}),
    "channels that hardly mix": (whole((8, 8, 3, 3), 7, 0.7), (60, 40), {}),
    "a line": (whole((1, 1, 9), 7), (200_000,), {}),
    "folded": (whole((1, 1, 63, 63), 7), (40, 36), {"boundary": "reflect"}),
    "rows that read nothing": (whole((1, 1, 3, 3), 7), (40, 36), {"boundary": "zero", "padding": 600}),
    "a window larger than the image": (whole((1, 1, 201, 201), 7), (40, 36), {"boundary": "zero"}),
}


@pytest.mark.parametrize("case", BUILDING)
def test_memory_of_building_is_foretold(case: str) -> None:
    taps, grid, how = BUILDING[case]
    A = built(taps, grid, **how)
    A.to_sparse()  # imports
    tracemalloc.start()
    A.to_sparse()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    size = matrices.size(A)
    assert peak < size.sparse_bytes + size.building_bytes < 2.5 * peak


def test_channels_cost_no_loop() -> None:
    """64 x 64 pairs of channels in little more time than as many entries of one pair."""
    mixing = built(whole((64, 64, 3, 3), 7), (6, 6))
    single = built(whole((1, 1, 3, 3), 7), (6 * 64, 6 * 64))
    assert mixing.to_sparse().nnz == single.to_sparse().nnz
    assert fastest(mixing) < 10 * fastest(single)  # a loop over pairs takes a hundred times as long


def fastest(A: Convolution) -> float:
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        A.to_sparse()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


# The tensor -----------------------------------------------------------------------------------------------------------


@given(drawn=operators(), block=st.sampled_from([1, 50, 1 << 20]))
@settings(max_examples=80)
def test_tensordot_with_the_tensor_is_the_operator(drawn: Drawn, block: int) -> None:
    pair = matrix_of(drawn)
    if pair is None:
        return
    A, exact = pair
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matrices, "_BLOCK", block)
        W = matrices.tensor(A)
    (f, *outputs), (c, *grid) = A.out_shape, A.in_shape
    assert W.shape == (*outputs, f, *grid, c)
    assert W.dtype == np.float64
    x = np.random.default_rng(1).integers(-9, 9, A.in_shape).astype(float)
    B = np.tensordot(W, np.moveaxis(x, 0, -1), len(x.shape))
    np.testing.assert_array_equal(np.moveaxis(B, -1, 0).ravel(), exact @ x.ravel())


def test_the_dense_matrix_is_the_oracles() -> None:
    taps = whole((2, 3, 3, 2), 7)
    A = built(taps, (6, 7), boundary="edge", stride=2)
    np.testing.assert_array_equal(matrices.dense(A), oracles.matrix(taps, (3, 6, 7), boundary="edge", stride=2))


# Singular values ------------------------------------------------------------------------------------------------------


def normal(*shape: int, seed: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def check_values(A: Convolution, exact: np.ndarray, route: Route) -> None:
    """All singular values, against those of the matrix that the oracle wrote."""
    assert matrices.work(A).route is route
    found = matrices.singular_values(A)
    expected = np.linalg.svd(exact, compute_uv=False)
    assert found.shape == expected.shape
    assert (np.diff(found) <= 0).all()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13 * len(found) ** 0.5 * expected[0])


@pytest.mark.parametrize("stride", [1, 2, (1, 3), (3, 2), (6, 8)])
@pytest.mark.parametrize(("groups", "outputs", "inputs"), [(1, 1, 1), (1, 2, 3), (1, 3, 2), (2, 1, 2), (3, 2, 1)])
def test_periodic_operators_by_fft(groups: int, outputs: int, inputs: int, stride: Any) -> None:
    taps = normal(groups * outputs, inputs, 3, 4)
    grid = (6, 9 if stride == (1, 3) else 8)
    for operation in ("convolve", "correlate"):
        how = {"operation": operation, "stride": stride, "groups": groups}
        exact = oracles.matrix(taps, (groups * inputs, *grid), origin=(0, 2), **how)
        check_values(built(taps, grid, origin=(0, 2), **how), exact, Route.FFT)


@pytest.mark.parametrize(
    ("sizes", "grid", "how"),
    [
        ((7, 9), (5, 6), {"dilation": 2}),  # larger than the grid
        ((3, 2), (5, 9), {"padding": ((2, 0), (0, 1))}),  # shifts only
        ((3, 2), (6, 9), {"padding": ((1, 1), (1, 0)), "stride": (2, 3)}),
        ((2, 3, 2), (4, 3, 6), {"stride": (2, 1, 3)}),
        ((5,), (15,), {"stride": 3}),
    ],
)
def test_any_periodic_window_by_fft(sizes: tuple[int, ...], grid: tuple[int, ...], how: dict[str, Any]) -> None:
    taps = normal(2, 2, *sizes)
    check_values(built(taps, grid, **how), oracles.matrix(taps, (2, *grid), **how), Route.FFT)


@pytest.mark.parametrize(
    "how",
    [
        *({"boundary": boundary} for boundary in oracles.BOUNDARIES[1:]),
        *({"boundary": boundary, "stride": (3, 2), "dilation": 2} for boundary in oracles.BOUNDARIES),
        {"stride": 4},  # does not divide the size
        {"padding": "full"},  # more outputs than samples
        {"padding": "valid"},
        {"boundary": "zero", "padding": ((9, 0), (0, 9))},
    ],
)
@pytest.mark.parametrize("separable", [False, True])
def test_other_operators_from_their_matrix_or_axis_by_axis(how: dict[str, Any], separable: bool) -> None:
    taps = np.einsum("oi,y,x->oiyx", normal(3, 2), normal(3), normal(4)) if separable else normal(3, 2, 3, 4)
    exact = oracles.matrix(taps, (2, 6, 7), **how)
    check_values(built(taps, (6, 7), **how), exact, Route.AXES if separable else Route.DENSE)


def test_groups_one_by_one() -> None:
    taps = normal(4, 2, 3, 3)
    exact = oracles.matrix(taps, (4, 5, 6), groups=2, boundary="reflect")
    check_values(built(taps, (5, 6), 2, boundary="reflect"), exact, Route.DENSE)
    products = np.einsum("goi,gy,gx->goiyx", normal(2, 2, 2), normal(2, 3), normal(2, 3, seed=8)).reshape(4, 2, 3, 3)
    exact = oracles.matrix(products, (4, 5, 6), groups=2, boundary="reflect")
    check_values(built(products, (5, 6), 2, boundary="reflect"), exact, Route.AXES)
    products[3] = taps[3]  # one group that is no product
    exact = oracles.matrix(products, (4, 5, 6), groups=2, boundary="reflect")
    check_values(built(products, (5, 6), 2, boundary="reflect"), exact, Route.DENSE)


@pytest.mark.parametrize(("boundary", "route"), [("periodic", Route.FFT), ("zero", Route.DENSE)])
def test_values_of_a_shared_kernel_count_for_every_channel(boundary: str, route: Route) -> None:
    taps = normal(1, 1, 3, 2)
    A = Convolution.build(Kernel(taps[None], (1, 1)), (5, 6), 3, boundary=boundary)
    exact = scipy.linalg.block_diag(*[oracles.matrix(taps, (1, 5, 6), boundary=boundary)] * 3)
    check_values(A, exact, route)


def test_separable_operators_with_fewer_values_than_their_shape() -> None:
    """Tall along one axis, wide along the other: some singular values of the product are 0."""
    taps = np.multiply.outer(normal(3), normal(3, seed=8))[None, None]
    how = {"boundary": "edge", "padding": ((4, 4), (0, 0))}
    A, exact = built(taps, (5, 7), **how), oracles.matrix(taps, (1, 5, 7), **how)
    check_values(A, exact, Route.AXES)
    found = matrices.condition(matrices.singular_values(A))
    assert found.rank == np.linalg.matrix_rank(exact) == 5 * 5
    assert len(matrices.singular_values(A)) == 35


@pytest.mark.parametrize("scale", [1e-150, 1.0, 1e150])
@pytest.mark.parametrize("boundary", ["periodic", "zero"])
def test_singular_values_scale_with_the_kernel(scale: float, boundary: str) -> None:
    for taps in (normal(1, 1, 3, 3), np.ones((1, 1, 3, 3))):
        plain = matrices.singular_values(built(taps, (6, 8), boundary=boundary, stride=2))
        scaled = matrices.singular_values(built(scale * taps, (6, 8), boundary=boundary, stride=2))
        np.testing.assert_allclose(scaled / scale, plain, rtol=0, atol=1e-13 * plain[0])
        assert matrices.condition(scaled).rank == matrices.condition(plain).rank


def test_no_singular_values_have_no_condition() -> None:
    with pytest.raises(DataError, match="there are no singular values"):
        matrices.condition(np.zeros(0))


def test_condition_numbers() -> None:
    regular = matrices.condition(np.array([8.0, 2.0, 0.5]))
    assert regular == matrices.Condition(8.0, 0.5, 16.0, 16.0, 3)
    edge = 8 * 1000 * float(np.finfo(float).eps)
    assert matrices.condition(np.array([8.0, 2.0, edge])) == matrices.Condition(8.0, edge, math.inf, 4.0, 2)
    above = np.nextafter(edge, 1)
    assert matrices.condition(np.array([8.0, 2.0, above])).rank == 3
    # The mean of two neighbours destroys the alternating image, and with an even length that one alone.
    values = matrices.singular_values(built(np.ones((1, 1, 1, 2)), (1, 8)))
    found = matrices.condition(values)
    assert (found.rank, found.condition) == (7, math.inf)
    assert found.condition_kept == pytest.approx(1 / math.cos(3 * math.pi / 8))


def test_decompositions_that_take_too_long_are_refused_at_once() -> None:
    A = built(normal(1, 1, 5, 5), (300, 200), boundary="zero")
    assert matrices.work(A).seconds > matrices.LONGEST
    assert matrices.work(A).bytes > 8 * 60_000**2
    with pytest.raises(SettingError, match=r"minutes.*periodic"):
        matrices.singular_values(A)
    assert matrices.singular_values(built(normal(1, 1, 5, 5), (300, 200))).shape == (60_000,)


def test_predicted_memory_of_decompositions_is_enough() -> None:
    cases = [
        built(normal(8, 8, 3, 3), (32, 30), stride=2),
        built(normal(1, 1, 3, 3), (20, 24), boundary="zero"),
        built(np.ones((1, 1, 3, 3)), (200, 300), boundary="zero"),
    ]
    for A in cases:
        matrices.singular_values(A)
        tracemalloc.start()
        matrices.singular_values(A)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert 0.2 * matrices.work(A).bytes < peak < 1.2 * matrices.work(A).bytes
