"""`Convolution` as a linear map: its matrix is the definition's, its adjoint is exact, and products are products."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import oracles
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from convtool.errors import ConvtoolError
from convtool.kernel import Kernel
from convtool.operators import Convolution, LinearOperator

ENGINES = ("fft", "direct", "blocks")
PADDINGS: dict[str, Any] = {"same": "same", "valid": "valid", "full": "full", "number": 1, "pairs": ((2, 0), (1, 3))}


def data(shape: tuple[int, ...], seed: int, dtype: str = "float64") -> np.ndarray:
    """Noise with a mean, so that nothing is symmetric or cancels."""
    return np.random.default_rng(seed).normal(0.3, 1.0, shape).astype(dtype)


def built(
    taps: np.ndarray, grid: tuple[int, ...], groups: int = 1, origin: oracles.Origin = "center", **how: Any
) -> Convolution:
    """The operator of canonical taps [o, i, *k]."""
    blocks = taps.reshape(groups, -1, *taps.shape[1:]).astype(float)
    return Convolution.build(Kernel(blocks, tuple(oracles.origins(origin, taps.shape[2:]))), grid, groups, **how)


def check(A: LinearOperator, dense: np.ndarray, dtype: str = "float64") -> None:
    """Every face of one operator against its dense matrix: forward, adjoint, sparse matrix, dot test, linearity."""
    x, other, y = data(A.in_shape, 1, dtype), data(A.in_shape, 2, dtype), data(A.out_shape, 3, dtype)
    eps = 40 * float(np.finfo(dtype).eps)  # 40: the logarithm and the norms in the error of a small FFT
    norm = 1 + max(np.abs(dense).sum(0).max(), np.abs(dense).sum(1).max())  # 1: taps may all lie on outside zeros
    allowed = eps * norm * max(np.abs(x).max(), np.abs(y).max())
    forward, adjoint = A.forward(x), A.adjoint(y)
    assert forward.dtype == adjoint.dtype == dtype
    assert (forward.shape, adjoint.shape) == (A.out_shape, A.in_shape)
    np.testing.assert_allclose(A.to_sparse().toarray(), dense, rtol=0, atol=1e-14 * norm)
    np.testing.assert_allclose(forward.ravel(), dense @ x.ravel(), rtol=0, atol=allowed)
    np.testing.assert_allclose(adjoint.ravel(), dense.T @ y.ravel(), rtol=0, atol=allowed)
    there, back = np.vdot(forward.astype(float), y), np.vdot(x.astype(float), adjoint)
    assert abs(there - back) <= eps * norm * np.linalg.norm(x) * np.linalg.norm(y)
    combined = A.forward(2 * x - 3 * other)
    np.testing.assert_allclose(combined, 2 * forward - 3 * A.forward(other), rtol=0, atol=8 * allowed)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("boundary", oracles.BOUNDARIES)
def test_every_combination_of_settings_and_parities(boundary: str, padding: str, engine: str) -> None:
    """Boundary × padding × stride × dilation × operation × parity of kernel and frame × rank × dtype × engine."""
    shapes = [((1, 5, 6), (1, 1, 2, 3)), ((2, 6, 5), (3, 2, 3, 2)), ((1, 3, 4, 5), (2, 1, 2, 1, 2))]
    choices = itertools.product([1, 2], [1, 2], ["convolve", "correlate"], shapes)
    for stride, dilation, operation, (in_shape, taps_shape) in choices:
        amount = PADDINGS[padding]
        how: dict[str, Any] = {
            "operation": operation,
            "boundary": boundary,
            "padding": (*amount, (1, 2)) if padding == "pairs" and len(in_shape) == 4 else amount,
            "stride": stride,
            "dilation": dilation,
        }
        taps = data(taps_shape, 7)
        dense = oracles.matrix(taps, in_shape, **how)
        for dtype in ("float64", "float32"):
            check(built(taps, in_shape[1:], engine=engine, dtype=dtype, **how), dense, dtype)


@st.composite
def operators(draw: st.DrawFn) -> tuple[np.ndarray, tuple[int, ...], dict[str, Any]]:
    """(taps, in_shape, settings) of any operator, the frame as small as one pixel, the kernel larger than the frame."""
    rank = draw(st.sampled_from([1, 2, 2, 3]))
    frame = tuple(draw(st.integers(1, 7 if rank < 3 else 4)) for _ in range(rank))
    sizes = tuple(draw(st.integers(1, 6 if rank < 3 else 3)) for _ in range(rank))
    groups, outer, inner = draw(st.sampled_from([(1, 1, 1), (1, 2, 3), (1, 3, 2), (2, 1, 2), (2, 2, 1), (3, 1, 1)]))
    number = st.integers(0, 5)
    pairs = st.tuples(*[st.tuples(number, number)] * rank)
    each = st.tuples(*[st.integers(1, 3)] * rank)
    explicit = st.tuples(*[st.integers(0, size - 1) for size in sizes])
    how = {
        "groups": groups,
        "origin": draw(st.sampled_from(["center", "first", "last"]) | explicit),
        "boundary": draw(st.sampled_from(oracles.BOUNDARIES)),
        "padding": draw(st.sampled_from(["same", "same", "valid", "full"]) | number | pairs),
        "stride": draw(st.integers(1, 3) | each),
        "dilation": draw(st.integers(1, 3) | each),
        "operation": draw(st.sampled_from(["convolve", "correlate"])),
    }
    return data((groups * outer, inner, *sizes), draw(st.integers(0, 9))), (groups * inner, *frame), how


@given(drawn=operators(), dtype=st.sampled_from(["float64", "float32"]))
@settings(max_examples=150)
def test_any_operator_is_its_matrix(drawn: tuple[np.ndarray, tuple[int, ...], dict[str, Any]], dtype: str) -> None:
    taps, in_shape, how = drawn
    try:
        dense = oracles.matrix(taps, in_shape, **how)
    except ValueError:
        with pytest.raises(ConvtoolError, match="no output"):
            built(taps, in_shape[1:], **how)
        return
    for engine in (*ENGINES, "auto"):
        check(built(taps, in_shape[1:], engine=engine, dtype=dtype, **how), dense, dtype)


@pytest.mark.parametrize("engine", ENGINES)
def test_one_kernel_is_shared_by_all_channels(engine: str) -> None:
    taps = data((1, 1, 3, 2), 7)
    A = Convolution.build(Kernel(taps[None], (1, 1)), (5, 6), 3, boundary="symmetric", engine=engine)
    check(A, scipy.linalg.block_diag(*[oracles.matrix(taps, (1, 5, 6), boundary="symmetric")] * 3))


@pytest.mark.parametrize("engine", ENGINES)
def test_leading_axes_are_a_batch_and_inputs_are_left_alone(engine: str) -> None:
    A = built(data((3, 2, 3, 2), 7), (7, 6), stride=2, boundary="reflect", engine=engine)
    x, y = data((2, 5, *A.in_shape), 1), data((2, 5, *A.out_shape), 2)
    kept = x.copy(), y.copy()
    forward, adjoint = A.forward(x), A.adjoint(y)
    for n in np.ndindex(2, 5):
        np.testing.assert_allclose(forward[n], A.forward(x[n]), atol=1e-13)
        np.testing.assert_allclose(adjoint[n], A.adjoint(y[n]), atol=1e-13)
    np.testing.assert_array_equal(x, kept[0])
    np.testing.assert_array_equal(y, kept[1])


# The spectrum --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("groups", "outputs", "inputs"), [(1, 1, 1), (1, 2, 3), (2, 2, 1)])
@pytest.mark.parametrize("operation", ["convolve", "correlate"])
@pytest.mark.parametrize("grid", [(5, 6), (6, 7), (3, 4, 5), (2, 1)])
def test_the_spectrum_multiplies_each_frequency(
    grid: tuple[int, ...], operation: str, groups: int, outputs: int, inputs: int
) -> None:
    """(A x)^ = H x^ for kernels smaller and larger than the grid, any origin, and paddings that only shift."""
    axes = tuple(range(-len(grid), 0))
    for sizes, how in [
        ((2, 3, 2), {"origin": "center"}),
        ((4, 7, 3), {"origin": "first", "dilation": 2}),
        ((3, 2, 3), {"padding": ((2, 0), (0, 1), (1, 1))[: len(grid)]}),
    ]:
        taps = data((groups * outputs, inputs, *sizes[: len(grid)]), 7)
        A = built(taps, grid, groups, operation=operation, **how)
        x = data((groups, inputs, *grid), 1)
        X, H = np.fft.rfftn(x, axes=axes), A.spectrum
        assert H.shape == (groups, outputs, inputs, *X.shape[2:])
        y = np.fft.irfftn(np.einsum("goi...,gi...->go...", H, X), s=grid, axes=axes)
        dense = oracles.matrix(taps, A.in_shape, operation=operation, groups=groups, **how)
        np.testing.assert_allclose(y.ravel(), dense @ x.ravel(), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "how", [{"boundary": "zero"}, {"stride": 2}, {"padding": "valid"}, {"padding": "full"}, {"stride": (1, 2)}]
)
def test_other_operators_have_no_spectrum(how: dict[str, Any]) -> None:
    A = built(data((1, 1, 3, 2), 7), (7, 6), **how)
    with pytest.raises(ConvtoolError, match="periodic"):
        _ = A.spectrum


# Products ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_a_product_is_one_after_the_other(engine: str) -> None:
    first: dict[str, Any] = {"boundary": "reflect", "padding": "full", "dilation": 2}
    second: dict[str, Any] = {"boundary": "zero", "padding": 1, "stride": 2, "operation": "correlate"}
    third: dict[str, Any] = {"boundary": "edge"}
    one, two, three = data((3, 2, 2, 3), 7), data((2, 3, 3, 3), 8), data((1, 2, 1, 2), 9)
    A = built(one, (5, 6), engine=engine, **first)
    B = built(two, A.out_shape[1:], engine=engine, **second)
    C = built(three, B.out_shape[1:], engine=engine, **third)
    product = oracles.matrix(two, A.out_shape, **second) @ oracles.matrix(one, A.in_shape, **first)
    check(B @ A, product)
    x = data(A.in_shape, 1)
    np.testing.assert_array_equal((B @ A).forward(x), B.forward(A.forward(x)))
    product = oracles.matrix(three, B.out_shape, **third) @ product
    check(C @ B @ A, product)
    check(C @ (B @ A), product)


def test_a_product_needs_shapes_that_meet() -> None:
    A, B = built(data((3, 2, 2, 3), 7), (5, 6)), built(data((2, 2, 2, 3), 7), (5, 6))
    with pytest.raises(ConvtoolError, match="compose"):
        _ = B @ A


def test_arrays_of_another_shape_are_refused() -> None:
    A = built(data((3, 2, 2, 3), 7), (5, 6), padding="valid")
    with pytest.raises(ValueError, match="shape"):
        A.forward(data(A.out_shape, 1))
    with pytest.raises(ValueError, match="shape"):
        A.adjoint(data(A.in_shape, 1))


def test_line_spreads_are_the_images_of_lines() -> None:
    """A line along one axis, convolved, is the kernel's sums over the others; so for correlations, of the flipped."""
    taps = np.array([[1.0, 2, 0], [0, 3, 5]])
    for operation in ("convolve", "correlate"):
        kernel = Kernel(taps[None, None, None], (1, 1))
        built = Convolution.build(kernel, (9, 11), 1, operation=operation, dilation=(2, 1))
        for axis, line in enumerate(built.line_spreads()):
            x = np.zeros((1, 9, 11))
            x[:, *((slice(None), 5) if axis else (4, slice(None)))] = 1
            seen = built.forward(x)[0].max(axis=1 - axis)
            np.testing.assert_allclose(seen[seen > 0], line[line > 0])
            assert len(line) == ((2 - 1) * 2 + 1, 3)[axis]
