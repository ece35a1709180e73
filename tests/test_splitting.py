"""Splitting kernels: the parts merge back to the kernel, and the error at each rank is Eckart and Young's.

The references are numpy's singular value decomposition of the unfolded kernel and sums of outer products; what the
parts do to an image is compared with the loops of oracles.py.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convtool import Layer, merge_kernels, split_kernel
from convtool.errors import DataError, SettingError

REFUSED = (SettingError, DataError)
EXACT = 1e-13


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.2, 1.0, shape)


def of_rank(shape: tuple[int, int], rank: int, seed: int = 0) -> np.ndarray:
    """A matrix of that rank: a sum of outer products."""
    return noise((shape[0], rank), seed) @ noise((rank, shape[1]), seed + 1)


def dense(layer: Any) -> np.ndarray:
    """A layer's taps [o, c, *k] with the zeros between its groups; those of spatial axes alone as [1, 1, *k]."""
    taps = np.asarray(layer.kernel)
    lead = layer.kernel_axes.rstrip("XYZ") if layer.kernel_axes else {2: "", 3: "C", 4: "OI", 5: "OI"}[taps.ndim]
    if lead != "OI":
        taps, groups = (taps[:, None], len(taps)) if lead else (taps[None, None], 1)
    else:
        groups = layer.groups
    outputs, inner = taps.shape[:2]
    out = np.zeros((outputs, inner * groups, *taps.shape[2:]))
    for o in range(outputs):
        first = o // (outputs // groups) * inner
        out[o, first : first + inner] = taps[o]
    return out


def product(layers: Any) -> np.ndarray:
    """The kernel [o, c, *k] of layers in a row, from the definition: one pair of taps at a time."""
    total = dense(layers[0])
    for layer in layers[1:]:
        second = dense(layer)
        sizes = [n + m - 1 for n, m in zip(total.shape[2:], second.shape[2:], strict=True)]
        out = np.zeros((second.shape[0], total.shape[1], *sizes))
        for m1 in np.ndindex(total.shape[2:]):
            for m2 in np.ndindex(second.shape[2:]):
                out[(..., *(a + b for a, b in zip(m1, m2, strict=True)))] += second[(..., *m2)] @ total[(..., *m1)]
        total = out
    return total


def wanted(kernel: np.ndarray, axes: str, groups: int = 1) -> np.ndarray:
    """The kernel itself as [o, c, *k]."""
    return dense(Layer(kernel, kernel_axes=axes, groups=groups))


def relative(found: np.ndarray, kernel: np.ndarray) -> float:
    return float(np.linalg.norm(found - kernel) / np.linalg.norm(kernel))


def check(split: Any, kernel: np.ndarray, axes: str, groups: int = 1, error: float = 0.0) -> None:
    """The parts, multiplied out here and merged by convtool, are the kernel to the error that is said."""
    whole = wanted(kernel, axes, groups)
    assert isinstance(split.layers, tuple)
    spatial = axes.lstrip("OIC")
    assert len(split.layers) == len(spatial)
    for i, layer in enumerate(split.layers):
        sizes = np.shape(layer.kernel)[-len(spatial) :]
        ends = kernel.shape[-len(spatial) :]
        assert sizes == tuple(n if a == i else 1 for a, n in enumerate(ends))
    assert relative(product(split.layers), whole) == pytest.approx(error, abs=EXACT)
    assert split.error == pytest.approx(error, abs=EXACT)
    if len(split.layers) > 1:
        for operation in ("convolve", "correlate"):
            merged = merge_kernels(split.layers, operation=operation).layer
            assert relative(dense(merged), whole) == pytest.approx(error, abs=EXACT)
            assert tuple(merged.origin) == tuple(n // 2 for n in kernel.shape[-len(spatial) :])


def tails(singular: np.ndarray) -> np.ndarray:
    """Eckart and Young: the relative error at rank 0, 1, ... from singular values [..., n] of blocks cut together."""
    squares = (singular**2).reshape(-1, singular.shape[-1]).sum(0)
    return np.sqrt(np.array([squares[r:].sum() for r in range(len(squares) + 1)]) / squares.sum())


def unfolded(kernel: np.ndarray, axes: str, groups: int = 1) -> np.ndarray:
    """[blocks, rows, columns]: (I, Y) against (O, X) for each group, Y against X for each channel."""
    if axes == "YX":
        return kernel[None]
    if axes == "CYX":
        return kernel
    outputs, inner, ny, nx = kernel.shape
    blocks = kernel.reshape(groups, outputs // groups, inner, ny, nx)
    return blocks.transpose(0, 2, 3, 1, 4).reshape(groups, inner * ny, -1)


# Plain kernels --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 5), (4, 2), (1, 6), (5, 1), (1, 1)])
def test_a_separable_kernel_is_a_column_and_a_row(shape: tuple[int, int]) -> None:
    kernel = np.outer(noise((shape[0],), 1), noise((shape[1],), 2))
    split = split_kernel(kernel)
    assert split.ranks == (1,)
    assert [layer.kernel.shape for layer in split.layers] == [(shape[0], 1), (1, shape[1])]
    assert [layer.kernel_axes or "YX" for layer in split.layers] == ["YX", "YX"]
    np.testing.assert_allclose(split.layers[0].kernel @ split.layers[1].kernel, kernel, atol=1e-14)
    check(split, kernel, "YX")


def test_sobel_is_a_difference_and_a_mean() -> None:
    sobel = np.outer([1, 2, 1], [1, 0, -1])
    split = split_kernel(sobel)
    column, row = (np.ravel(layer.kernel) for layer in split.layers)
    np.testing.assert_allclose(column / column[0], [1, 2, 1], atol=1e-14)
    np.testing.assert_allclose(row / row[0], [1, 0, -1], atol=1e-14)


def test_the_laplacian_has_rank_2() -> None:
    laplacian = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])
    split = split_kernel(laplacian)
    assert split.ranks == (2,)
    assert [layer.kernel.shape for layer in split.layers] == [(2, 1, 3, 1), (1, 2, 1, 3)]
    check(split, laplacian, "YX")
    np.testing.assert_allclose(
        np.ravel(split.singular_values[0]), np.linalg.svd(laplacian, compute_uv=False), atol=1e-14
    )


@given(ny=st.integers(1, 6), nx=st.integers(1, 6), data=st.data())
@settings(max_examples=60)
def test_any_plain_kernel_comes_back_at_its_rank(ny: int, nx: int, data: st.DataObject) -> None:
    rank = data.draw(st.integers(1, min(ny, nx)))
    kernel = of_rank((ny, nx), rank, data.draw(st.integers(0, 20)))
    split = split_kernel(kernel)
    assert split.ranks == (rank,)
    check(split, kernel, "YX")
    np.testing.assert_allclose(split.errors, tails(np.linalg.svd(kernel, compute_uv=False)), atol=1e-14)


@given(values=st.lists(st.integers(-2, 2), min_size=12, max_size=12).filter(any))
@settings(max_examples=60)
def test_whole_numbers_come_back(values: list[int]) -> None:
    kernel = np.array(values).reshape(3, 4)
    split = split_kernel(kernel)
    assert split.ranks == (np.linalg.matrix_rank(kernel),)
    np.testing.assert_array_equal(np.rint(product(split.layers)[0, 0]), kernel)
    check(split, kernel, "YX")


@pytest.mark.parametrize("scale", [1e-200, 1e-30, 1e30, 1e200])
def test_the_scale_of_the_taps_does_not_matter(scale: float) -> None:
    kernel = of_rank((5, 4), 2)
    split = split_kernel(kernel * scale)
    assert split.ranks == (2,)
    assert split.error < EXACT
    np.testing.assert_allclose(split.errors, split_kernel(kernel).errors, atol=1e-14)
    np.testing.assert_allclose(product(split.layers)[0, 0] / scale, kernel, atol=1e-13)


# Errors at each rank --------------------------------------------------------------------------------------------------

KINDS: dict[str, tuple[tuple[int, ...], str, int]] = {
    "plain": ((5, 7), "YX", 1),
    "tall": ((6, 3), "YX", 1),
    "channels": ((3, 4, 5), "CYX", 1),
    "mixing": ((4, 3, 3, 5), "OIYX", 1),
    "one output": ((1, 3, 3, 4), "OIYX", 1),
    "groups": ((4, 3, 2, 3), "OIYX", 2),
    "depthwise": ((6, 1, 3, 4), "OIYX", 3),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_error_at_each_rank_is_eckart_and_youngs(kind: str) -> None:
    """errors[r] is what the singular values beyond r say, and what the layers of rank r measure."""
    shape, axes, groups = KINDS[kind]
    kernel = noise(shape, 3)
    expected = tails(np.linalg.svd(unfolded(kernel, axes, groups), compute_uv=False))
    split = split_kernel(kernel, groups=groups)
    np.testing.assert_allclose(split.errors, expected, atol=1e-14)
    assert split.errors[0] == pytest.approx(1.0)
    assert split.ranks == (len(expected) - 1,)
    check(split, kernel, axes, groups)
    for rank in range(1, len(expected)):
        cut = split_kernel(kernel, groups=groups, rank=rank)
        assert cut.ranks == (rank,)
        np.testing.assert_allclose(cut.errors, expected, atol=1e-14)
        check(cut, kernel, axes, groups, error=expected[rank])


@pytest.mark.parametrize("kind", KINDS)
def test_the_shapes_of_the_layers(kind: str) -> None:
    """Rank r: [g r, I, ny, 1] and [O, r, 1, nx], for g groups; a channel of its own is a group of one."""
    shape, axes, groups = KINDS[kind]
    split = split_kernel(noise(shape, 3), groups=groups, rank=2)
    blocks = shape[0] if axes == "CYX" else groups
    inputs, outputs = (1, blocks) if axes != "OIYX" else (shape[1], shape[0])
    assert split.layers[0].kernel.shape == (blocks * 2, inputs, shape[-2], 1)
    assert split.layers[1].kernel.shape == (outputs, 2, 1, shape[-1])
    assert [layer.groups for layer in split.layers] == [blocks, blocks]


@pytest.mark.parametrize("kind", KINDS)
def test_the_tolerance_picks_the_smallest_rank(kind: str) -> None:
    shape, axes, groups = KINDS[kind]
    kernel = noise(shape, 5)
    expected = tails(np.linalg.svd(unfolded(kernel, axes, groups), compute_uv=False))
    for tol in (0.9, 0.5, 0.2, 0.05, 1e-3):
        rank = max(1, next(r for r, error in enumerate(expected) if error <= tol))
        split = split_kernel(kernel, groups=groups, tol=tol)
        assert split.ranks == (rank,)
        assert split.error <= tol
        check(split, kernel, axes, groups, error=expected[rank])


def test_the_tolerance_is_not_missed_by_rounding_at_a_known_error() -> None:
    """Singular values 4, 2, 1: relative errors √5/√21 and 1/√21."""
    kernel = np.diag([4.0, 2.0, 1.0])
    for tol, rank in ((0.489, 1), (0.487, 2), (0.219, 2), (0.218, 3)):
        assert split_kernel(kernel, tol=tol).ranks == (rank,)
    np.testing.assert_allclose(split_kernel(kernel).errors, [1, math.sqrt(5 / 21), math.sqrt(1 / 21), 0], atol=1e-15)


def test_channels_of_rank_1_are_columns_and_rows_of_their_own() -> None:
    kernel = np.stack([of_rank((3, 4), 1, seed) for seed in (1, 5, 9)])
    split = split_kernel(kernel)
    assert split.ranks == (1,)
    check(split, kernel, "CYX")


def test_channels_of_several_ranks_take_the_largest() -> None:
    kernel = np.stack([of_rank((3, 4), 1, 1), of_rank((3, 4), 3, 5), np.zeros((3, 4))])
    split = split_kernel(kernel)
    assert split.ranks == (3,)
    check(split, kernel, "CYX")


def test_a_mixing_kernel_of_low_rank_is_found() -> None:
    """A chain of a column layer and a row layer with 2 channels between is split into just such a chain."""
    columns, rows = noise((2, 3, 4, 1), 1), noise((5, 2, 1, 3), 2)
    kernel = np.einsum("rciz,orzj->ocij", columns, rows)
    split = split_kernel(kernel)
    assert split.ranks == (2,)
    check(split, kernel, "OIYX")


def test_axes_in_another_order_are_the_same_kernel() -> None:
    kernel = noise((4, 3, 2, 5), 1)
    plain, other = split_kernel(kernel), split_kernel(kernel.transpose(2, 3, 1, 0), kernel_axes="YXIO")
    np.testing.assert_allclose(product(plain.layers), product(other.layers), atol=1e-13)
    np.testing.assert_allclose(
        split_kernel(kernel[0, 0].T, kernel_axes="XY").errors, tails_of(kernel[0, 0]), atol=1e-14
    )


def tails_of(kernel: np.ndarray) -> np.ndarray:
    return tails(np.linalg.svd(kernel, compute_uv=False))


# Three dimensions -----------------------------------------------------------------------------------------------------


def test_a_separable_volume_is_three_lines() -> None:
    kernel = np.einsum("z,y,x->zyx", noise((3,), 1), noise((4,), 2), noise((5,), 3))
    split = split_kernel(kernel, kernel_axes="ZYX")
    assert split.ranks == (1, 1)
    assert [layer.kernel.shape for layer in split.layers] == [(3, 1, 1), (1, 4, 1), (1, 1, 5)]
    assert [layer.kernel_axes for layer in split.layers] == ["ZYX"] * 3
    check(split, kernel, "ZYX")


@pytest.mark.parametrize(
    ("shape", "axes", "groups"),
    [((3, 2, 4), "ZYX", 1), ((2, 2, 3, 2), "CZYX", 1), ((3, 2, 2, 3, 2), "OIZYX", 1), ((4, 2, 2, 2, 3), "OIZYX", 2)],
)
def test_volumes_come_back(shape: tuple[int, ...], axes: str, groups: int) -> None:
    kernel = noise(shape, 2)
    split = split_kernel(kernel, kernel_axes=axes, groups=groups)
    assert len(split.ranks) == len(split.singular_values) == 2
    check(split, kernel, axes, groups)


@pytest.mark.parametrize("tol", [0.8, 0.4, 0.1, 1e-6])
def test_the_tolerance_holds_for_volumes(tol: float) -> None:
    kernel = noise((4, 5, 3), 7)
    split = split_kernel(kernel, kernel_axes="ZYX", tol=tol)
    measured = relative(product(split.layers), kernel[None, None])
    assert measured <= tol
    assert split.error == pytest.approx(measured, abs=EXACT)


@pytest.mark.parametrize("shape", [(3, 4, 5), (5, 2, 4), (4, 4, 4)])
def test_the_errors_of_a_volume_are_measured_and_bounded(shape: tuple[int, ...]) -> None:
    """errors[r] is what the layers of rank r miss: at least what either cut drops, at most what both drop together.

    The bound is Oseledets'; a train whose second cut weighs the singular values of the first wrongly breaks it.
    """
    decaying = np.exp(-np.add.outer(np.arange(shape[0]), np.add.outer(2 * np.arange(shape[1]), np.arange(shape[2]))))
    kernel = noise(shape, 7) * decaying
    cuts = (shape[0], shape[0] * shape[1])
    dropped = [tails(np.linalg.svd(kernel.reshape(rows, -1), compute_uv=False)) for rows in cuts]
    errors = split_kernel(kernel, kernel_axes="ZYX").errors
    for rank in range(1, len(errors)):
        cut = split_kernel(kernel, kernel_axes="ZYX", rank=rank)
        assert cut.error == pytest.approx(errors[rank], abs=1e-14)
        each = [tail[min(rank, len(tail) - 1)] for tail in dropped]
        assert max(each) - 1e-14 <= cut.error <= math.hypot(*each) + 1e-14


@pytest.mark.parametrize("tol", [0.6, 0.3, 0.1, 0.01])
def test_no_cheaper_ranks_of_a_volume_would_do(tol: float) -> None:
    """The ranks that a tolerance picks, against all pairs of ranks: multiplied out here, the singular values halved."""
    kernel = np.random.default_rng(11).random((4, 5, 3))
    found = split_kernel(kernel, kernel_axes="ZYX", tol=tol)
    assert found.error <= tol
    assert found.cost == sum(np.count_nonzero(layer.kernel) for layer in found.layers)
    limit = next(rank for rank, error in enumerate(found.errors) if error <= tol)
    assert max(found.ranks) <= limit
    u, s, vh = np.linalg.svd(kernel.reshape(4, -1), full_matrices=False)
    for first, second in itertools.product(range(1, min(limit, 4) + 1), range(1, min(limit, 3) + 1)):
        rest = (s[:first, None] * vh[:first]).reshape(-1, 3)
        u2, s2, vh2 = np.linalg.svd(rest, full_matrices=False)
        again = u[:, :first] @ ((u2[:, :second] * s2[:second]) @ vh2[:second]).reshape(first, -1)
        if relative(again.reshape(kernel.shape), kernel) <= tol:
            assert found.cost <= 4 * first + first * 5 * second + second * 3


def test_the_ranks_of_a_volume_are_those_of_its_cuts() -> None:
    """A train of ranks 2 and 3: found, and no more is taken."""
    kernel = np.einsum("za,ayb,bx->zyx", noise((4, 2), 1), noise((2, 5, 3), 2), noise((3, 4), 3))
    split = split_kernel(kernel, kernel_axes="ZYX")
    assert split.ranks == (2, 3)
    check(split, kernel, "ZYX")


# What the parts do ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["convolve", "correlate"])
@pytest.mark.parametrize(
    ("shape", "axes", "groups", "frame"),
    [
        ((3, 4), "YX", 1, (1, 6, 7)),
        ((2, 3, 2), "CYX", 1, (2, 5, 6)),
        ((3, 2, 2, 3), "OIYX", 1, (2, 5, 6)),
        ((4, 1, 3, 2), "OIYX", 2, (2, 5, 6)),
        ((2, 3, 2), "ZYX", 1, (1, 4, 3, 5)),
    ],
)
def test_the_layers_in_a_row_do_what_the_kernel_does(
    shape: tuple[int, ...], axes: str, groups: int, frame: tuple[int, ...], operation: str
) -> None:
    """Periodic, where a chain of layers of the image's size is one layer exactly, even kernels too."""
    kernel, x = noise(shape, 1), noise(frame, 2)
    taps = wanted(kernel, axes, groups)
    expected = oracles.apply_loop(operation, x[None], taps)[0]
    merged = merge_kernels(split_kernel(kernel, kernel_axes=axes, groups=groups).layers, operation=operation)
    assert merged.is_exact()
    for y in (
        merged.apply_chain(x, axes="CZYX"[-x.ndim :] if x.ndim == 4 else "CYX"),
        merged.apply(x, axes="CZYX"[-x.ndim :] if x.ndim == 4 else "CYX"),
    ):
        np.testing.assert_allclose(y, expected, atol=1e-12)


def test_the_kernel_is_left_alone() -> None:
    kernel = noise((3, 4))
    kept = kernel.copy()
    split_kernel(kernel, tol=0.1)
    np.testing.assert_array_equal(kernel, kept)


# Refusals -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kernel", "how"),
    [
        (np.array([[1.0, np.nan]]), {}),
        (np.array([[1.0, np.inf]]), {}),
        (np.ones((2, 2), complex), {}),
        (np.ones((0, 3)), {}),
        (np.ones((3, 3)), {"rank": -1}),
        (np.ones((3, 3)), {"rank": 0}),
        (np.zeros((3, 3)), {}),
        (np.ones((3, 3)), {"tol": -0.1}),
        (np.ones((3, 3)), {"tol": np.nan}),
        (np.ones((3, 3)), {"rank": 1, "tol": 0.1}),
        (np.ones((3, 3)), {"groups": 2}),
        (np.ones((3, 2, 3, 3)), {"groups": 2}),
        (np.ones((3, 3)), {"kernel_axes": "QX"}),
        (np.ones((3, 3)), {"kernel_axes": "CYX"}),
    ],
)
def test_what_cannot_be_split_is_refused(kernel: np.ndarray, how: dict[str, Any]) -> None:
    with pytest.raises(REFUSED) as refusal:
        split_kernel(kernel, **how)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("how", [{"kernel_axes": "YX"}, {"groups": 2}, {"kernel_axes": "XY", "groups": 3}])
def test_a_layer_has_its_own_axes_and_groups(how: dict[str, Any]) -> None:
    layer = Layer(noise((3, 4)))
    with pytest.raises(SettingError, match="Layer"):
        split_kernel(layer, **how)
    np.testing.assert_array_equal(split_kernel(layer).errors, split_kernel(layer.kernel).errors)


@pytest.mark.parametrize(
    "how",
    [{"rank": 2.5}, {"rank": "2"}, {"tol": "a"}, {"tol": 1j}, {"channels": 1.5}, {"channels": "2"}, {"channels": 0}],
)
def test_settings_of_other_types_are_refused(how: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=next(iter(how))):
        split_kernel(noise((3, 4)), **how)


def test_settings_of_numpy_are_welcome() -> None:
    kernel, numbers = noise((3, 4)), [{"rank": np.int64(2)}, {"tol": np.float32(0.5), "channels": np.int8(2)}]
    wanted = (split_kernel(kernel, rank=2).ranks, split_kernel(kernel, tol=0.5).ranks)
    how: Any
    for how, ranks in zip(numbers, wanted, strict=True):
        assert split_kernel(kernel, **how).ranks == ranks


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_rounding_is_that_of_the_kernels_dtype(dtype: Any) -> None:
    """An outer product that was rounded to its dtype is one still; less than that rounding is kept where asked."""
    column, row = np.exp(-((np.arange(13) - 6) ** 2) / 8), np.exp(-((np.arange(11) - 4) ** 2) / 5)
    kernel = (np.outer(column, row) / column.sum() / row.sum()).astype(dtype)
    split = split_kernel(kernel)
    assert split.ranks == (1,)
    assert split.error <= 13 * np.finfo(dtype).eps
    other = kernel + 20 * kernel.max() * np.finfo(dtype).eps * noise((13, 11)).astype(dtype)
    assert split_kernel(other.astype(dtype)).ranks > (1,)
    if dtype != np.float64:
        assert split_kernel(kernel, tol=0.0).ranks > (1,)
