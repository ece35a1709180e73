"""Filters in passes over rows and columns: the same as whole transforms, whatever the blocks, threads and libraries."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import convtool
from convtool import boundary, fft, passes, process, spectral
from convtool.deconvolution import tikhonov, wiener
from convtool.deconvolution.solvers import columns, filters
from convtool.kernel import Kernel
from convtool.operators import Convolution

GRIDS = [(8, 9), (7, 10), (1, 6), (6, 1), (23, 17), (4, 5, 6), (5, 3, 7)]


@pytest.fixture(autouse=True)
def tiny_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few rows and columns, on two threads, also for tiny grids."""
    monkeypatch.setattr(fft, "_SMALL_GRID", 0)
    monkeypatch.setattr(passes, "_BLOCK", 300)
    monkeypatch.setattr(passes, "_NARROWEST", 2)
    monkeypatch.setattr(process.policy, "threads", 2)


def noise(shape: tuple[int, ...], seed: int = 0, dtype: Any = np.float64) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.3, 1.0, shape).astype(dtype)


def operator(grid: tuple[int, ...], groups: int = 1, dtype: Any = np.float64, **how: Any) -> Convolution:
    extent = tuple(min(n, k) for n, k in zip(grid, (3, 4, 2), strict=False))
    taps = noise((how.pop("kernels", groups), 1, 1, *extent), 5)
    taps[(..., *(n // 2 for n in extent))] += how.pop("peak", 0.0)
    return Convolution.build(Kernel(taps, tuple(n // 2 for n in extent)), grid, groups, dtype=dtype, **how)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_a_filter_is_that_of_whole_transforms(grid: tuple[int, ...], dtype: Any) -> None:
    """Any response, and signals and results that fill a part of the grid."""
    x, R = noise(grid, 1, dtype), noise(fft.half(grid), 2) + 1j * noise(fft.half(grid), 3)
    flat = R.reshape(grid[0], -1).astype(np.result_type(dtype, np.complex64))
    part, out = tuple(max(1, n - 2) for n in grid), np.full(grid, np.nan, dtype)

    def write(rows: slice, found: np.ndarray) -> None:
        out[2 * rows.start : 2 * rows.stop : 2] = found

    count = -(-grid[0] // 2)
    cut = x[tuple(map(slice, part))]
    source, target = passes.Source(part[0], cut.__getitem__), passes.Target(count, write, step=2)
    passes.filtered(source, lambda w: flat[:, w], target, grid, np.dtype(dtype))
    padded = np.zeros(grid)
    padded[tuple(map(slice, part))] = cut
    expected = np.fft.irfftn(R * np.fft.rfftn(padded), grid, axes=tuple(range(len(grid))))[::2]
    np.testing.assert_allclose(out[::2], expected, atol=1e-12 if dtype is np.float64 else 2e-5)
    assert np.isnan(out[1::2]).all()


@pytest.mark.parametrize("is_padded", [False, True])
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_columns_of_a_kernel_are_those_of_its_whole_spectrum(grid: tuple[int, ...], is_padded: bool) -> None:
    """Also of kernels larger than the grid, whose taps meet."""
    extent = tuple(n + 2 for n in grid)
    taps = noise((1, 1, 1, *extent), 4)
    built = Convolution.build(Kernel(taps, tuple(n // 3 for n in extent)), grid, 1)
    spectrum = passes.KernelSpectrum(taps[0, 0, 0], built.geometry, grid, np.dtype(np.float64), is_padded)
    laid = spectral.laid(taps, built.geometry, grid, np.dtype(np.float64), is_padded)[0, 0, 0]
    expected = np.fft.rfftn(laid).reshape(grid[0], -1)
    for block in passes.column_blocks(grid, np.dtype(np.float64)):
        np.testing.assert_allclose(spectrum.columns(block), expected[:, block], atol=1e-12)
        np.testing.assert_allclose(spectrum.conjugate(block), expected[:, block].conj(), atol=1e-12)
        np.testing.assert_allclose(spectrum.scaled(3).columns(block), 3 * expected[:, block], atol=1e-11)
    np.testing.assert_allclose(spectrum.whole, expected, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    grid=st.sampled_from(GRIDS),
    mode=st.sampled_from(boundary.MODES),
    padding=st.sampled_from(["same", "valid", "full", 7]),
    stride=st.integers(1, 3),
    groups=st.sampled_from([(1, 1), (3, 1), (2, 2)]),
)
def test_planes_are_correlated_as_the_sparse_matrix_does(
    grid: tuple[int, ...], mode: str, padding: Any, stride: int, groups: tuple[int, int]
) -> None:
    count, kernels = groups
    padding = [(padding, 2)] * len(grid) if isinstance(padding, int) else padding
    built = operator(grid, count, kernels=kernels, boundary=mode, padding=padding, stride=stride)
    engine = spectral.engine(built.window.taps, built.geometry, built.dtype)
    assert isinstance(engine, spectral.PlaneEngine)
    S = built.to_sparse()
    for seed in range(2):  # the second time spectra are kept
        x, y = noise((2, *built.in_shape), seed), noise((2, *built.out_shape), seed + 9)
        found = engine.forward(x.reshape(2, count, 1, *grid)).reshape(2, -1)
        np.testing.assert_allclose(found.T, S @ x.reshape(2, -1).T, atol=1e-11)
        back = engine.adjoint(y.reshape(2, count, 1, *built.geometry.outputs)).reshape(2, -1)
        np.testing.assert_allclose(back.T, S.T @ y.reshape(2, -1).T, atol=1e-11)


def test_blocks_and_threads_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does whether a kernel's spectrum is kept."""
    x, k = noise((97, 66), 1, np.float32), noise((5, 4), 2, np.float32)
    found = convtool.convolve(x, k, engine="fft")
    y = convtool.deconvolve(x, k, method=tikhonov.Options(weight=0.1), boundary="periodic").x
    many = convtool.convolve(np.stack([x, x]), k, axes="NYX", engine="fft")
    for threads, block in [(1, 300), (1, 1 << 19), (2, 1000), (3, 777)]:
        monkeypatch.setattr(passes, "_BLOCK", block)
        monkeypatch.setattr(process.policy, "threads", threads)
        assert np.array_equal(found, convtool.convolve(x, k, engine="fft"))
        again = convtool.deconvolve(x, k, method=tikhonov.Options(weight=0.1), boundary="periodic").x
        assert np.array_equal(y, again)
    assert np.array_equal(many[0], found)
    assert np.array_equal(many[1], found)


@pytest.mark.parametrize("groups", [(1, 1), (3, 1), (2, 2)], ids=str)
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_inverse_filters_by_columns_are_those_of_the_decomposition(
    grid: tuple[int, ...], groups: tuple[int, int]
) -> None:
    """By `filters`, which test_solvers checks against dense matrices."""
    count, kernels = groups
    built = operator(grid, count, kernels=kernels)
    assert columns.fits(built)
    parts, found = filters.decompose(built), columns.Columns(built)
    assert found.norm == pytest.approx(parts.norm, rel=1e-12)
    y = noise((2, *built.out_shape), 8)

    def ratio(waves: Any) -> np.ndarray:
        return 0.01 * tikhonov.penalised("laplacian", waves, (1.0,) * len(grid))

    rules: list[tuple[Any, Any]] = [
        (columns.reciprocal(0.2), None),
        (columns.regularised(ratio, built.dtype), ratio(fft.angular_frequencies(grid))[..., None]),
    ]
    for rule, weight in rules:
        if weight is None:
            kept = parts.s > 0.2
            reciprocal = np.divide(1, parts.s, out=np.zeros_like(parts.s), where=kept)[..., 0]
            G = (reciprocal * parts.u[..., 0, 0].conj() / parts.norm)[:, None, None]
        else:
            G = parts.filter(weight)
        x, gain = found.solved(y, rule)
        np.testing.assert_allclose(x, filters.filtered(G, y, built), atol=1e-10 * np.abs(x).max())
        assert gain == pytest.approx(filters.noise_gain(G, built), rel=1e-10)


def test_the_norm_of_a_kernel_without_negative_taps_is_its_sum() -> None:
    taps = np.abs(noise((1, 1, 1, 3, 3), 1))
    built = Convolution.build(Kernel(taps, (1, 1)), (9, 8), 1)
    assert columns.Columns(built).norm == pytest.approx(np.abs(built.spectrum).max(), rel=1e-14)


def test_frequencies_that_a_kernel_destroys_stay_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A box of 4 on a grid of 8 has exact zeros; rounding there must not be amplified, whatever the weight."""
    x, box = noise((8, 12), 3), np.full((4, 3), 1 / 12)
    y = convtool.convolve(x, box)
    for method in ("pinv", tikhonov.Options(weight=1e-300), wiener.Options(noise_to_signal=0.0)):
        found = convtool.deconvolve(y, box, method=method, boundary="periodic")
        assert np.abs(found.x).max() < 10
        assert found.metrics["relative_residual"] < 1e-9


def test_the_decomposition_of_a_layer_is_not_by_columns() -> None:
    built = Convolution.build(Kernel(noise((1, 2, 3, 3, 3)), (1, 1)), (8, 9), 1)
    assert not columns.fits(built)
    assert not isinstance(spectral.engine(built.window.taps, built.geometry, built.dtype), spectral.PlaneEngine)


def test_work_is_stopped_by_an_error_and_may_be_nested() -> None:
    done: list[int] = []

    def work(n: int) -> int:
        if n == 3:
            raise ValueError("three")
        done.append(n)
        return sum(process.each(lambda m: m, range(n)))

    with pytest.raises(ValueError, match="three"):
        process.each(work, range(1000))
    assert len(done) < 1000
    assert process.each(lambda n: sum(process.each(lambda m: m * n, range(4))), range(50)) == [6 * n for n in range(50)]


@pytest.mark.parametrize("work", ["convolve", "pinv"])
def test_memory_is_a_few_images(monkeypatch: pytest.MonkeyPatch, work: str) -> None:
    """One spectrum and the result, at most three images beside the data; nothing as large as a kernel's spectrum."""
    monkeypatch.undo()
    x, k = noise((2048, 2048), 1, np.float32), np.ones((9, 9)) + 100 * noise((9, 9))
    tracemalloc.start()
    try:
        if work == "convolve":
            convtool.convolve(x, k, engine="fft")
        else:
            _ = convtool.deconvolve(x, k, method="pinv").metrics
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * x.nbytes
