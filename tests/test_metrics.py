"""Error measures against scikit-image, their formulas in NumPy, and values known by hand."""

from __future__ import annotations

import doctest
import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from convtool import metrics
from convtool.errors import DataError, SettingError
from convtool.metrics import compare, max_abs, peak_of, psnr, relative, ssim


def pair(shape: tuple[int, ...], dtype: Any = np.float64, seed: int = 0, peak: float = 1.0) -> tuple[Any, Any]:
    """An image with structure, and the same with noise, within 0 ... peak."""
    rng = np.random.default_rng(seed)
    wave = np.sin(np.arange(math.prod(shape)) / 7).reshape(shape)
    b = 0.5 + 0.3 * wave + 0.1 * rng.random(shape)
    a = np.clip(b + 0.1 * rng.normal(size=shape), 0, 1)
    return (a * peak).astype(dtype), (b * peak).astype(dtype)


def reference_ssim(a: np.ndarray, b: np.ndarray, peak: float, **axis: Any) -> float:
    return structural_similarity(
        a.astype(float),
        b.astype(float),
        data_range=peak,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        **axis,
    )


@given(
    shape=st.lists(st.integers(1, 9), min_size=0, max_size=4).map(tuple),
    kinds=st.tuples(*[st.sampled_from([np.uint8, np.int16, np.uint32, np.float32, np.float64])] * 2),
    seed=st.integers(0, 99),
    order=st.sampled_from(["C", "F", "flipped"]),
)
def test_measures_are_their_formulas(shape: tuple[int, ...], kinds: Any, seed: int, order: str) -> None:
    a, b = pair(shape, seed=seed, peak=100)
    a, b = np.asarray(a, kinds[0]), np.asarray(b, kinds[1])
    if order == "F":
        a = np.asarray(a, order="F")
    if order == "flipped":
        b = np.asarray(b[(slice(None, None, -1),) * b.ndim])
    d = a.astype(float) - b.astype(float)
    axes = "NCYX"[4 - len(shape) :]
    if len(shape) >= 2:
        found = compare(a, b, axes, peak=100)
        assert found.where == np.unravel_index(np.argmax(np.abs(d)), shape)
        assert all(type(i) is int for i in found.where)
        assert found.max_abs == np.abs(d).max()
        assert found.mean_abs == pytest.approx(np.abs(d).mean(), rel=1e-12)
        assert found.ssim is None
    assert max_abs(a, b) == np.abs(d).max()
    assert relative(a, b) == pytest.approx(
        np.linalg.norm(d.ravel()) / np.linalg.norm(b.astype(float).ravel()), rel=1e-12
    )
    if np.any(d):
        assert psnr(a, b, 100) == pytest.approx(10 * np.log10(100**2 / np.mean(d**2)), rel=1e-12)


def test_the_place_of_the_largest_difference_lies_in_any_block_of_a_large_image() -> None:
    shape = (3, 301, 407)  # several blocks, none of whose borders is a row's
    b = np.random.default_rng(0).random(shape).astype(np.float32)
    for where in [(0, 0, 0), (1, 150, 203), (2, 300, 406), (0, 161, 9), (2, 4, 77)]:
        a = b.copy()
        a[where] += 5
        for x, y in ((a, b), (a.astype(np.float64), b), (np.asfortranarray(a), b), (a[:, ::-1], b[:, ::-1])):
            flipped = (where[0], 300 - where[1], where[2]) if x.base is a else where
            assert compare(x, y, "CYX").where == flipped


def test_a_nan_is_the_largest_difference_wherever_it_is() -> None:
    a, b = pair((400, 500))
    a[7, 5] = np.nan
    found = compare(a, b, "YX")
    assert math.isnan(found.max_abs)
    assert found.where == (7, 5)
    assert math.isnan(found.relative)


def test_integers_do_not_wrap_around() -> None:
    a, b = np.array([[0, 200]], np.uint8), np.array([[255, 100]], np.uint8)
    assert max_abs(a, b) == 255
    found = compare(np.array([[0, 65535]], np.uint16), np.array([[-32768, -1]], np.int16), "YX")
    assert (found.max_abs, found.where) == (65536, (0, 1))
    assert found.mean_abs == (32768 + 65536) / 2


def test_float32_is_summed_in_float64() -> None:
    b = np.full((1500, 2000), 0.1, np.float32)
    a = b + np.float32(1e-3)
    expected = float(a[0, 0]) - float(b[0, 0])
    assert compare(a, b, "YX", peak=1).mean_abs == pytest.approx(expected, rel=1e-12)
    assert relative(a, b) == pytest.approx(expected / float(b[0, 0]), rel=1e-12)


def test_no_copy_of_a_whole_image_is_made() -> None:
    b = np.random.default_rng(0).random((1500, 2000), dtype=np.float32)
    a = b + np.float32(0.01)
    compare(a[:20, :20], b[:20, :20], "YX", peak=1)  # imports what it needs
    tracemalloc.start()
    compare(a, b, "YX", peak=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < b.nbytes


# Relative error and PSNR


def test_relative_to_nothing() -> None:
    zero = np.zeros((2, 3))
    assert relative(zero, zero) == 0
    assert relative(zero + 1, zero) == math.inf
    assert relative(zero, zero + 2) == 1


def test_equal_images() -> None:
    b = np.arange(240, dtype=np.uint8).reshape(12, 20)
    found = compare(b.copy(), b, "YX")
    assert (found.max_abs, found.where, found.relative, found.mean_abs, found.psnr) == (0, (0, 0), 0, 0, math.inf)
    assert found.ssim == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(("dtype", "peak"), [(np.uint8, 255.0), (np.uint16, 65535.0), (np.float32, 1.0)])
def test_psnr_is_scikit_images(dtype: Any, peak: float) -> None:
    a, b = pair((13, 29, 3), dtype, peak=peak)
    assert psnr(a, b, peak) == pytest.approx(peak_signal_noise_ratio(b, a, data_range=peak), abs=1e-4)


def test_psnr_of_one_grey_level() -> None:
    assert psnr(np.full((4, 5), 7, np.uint8), np.full((4, 5), 8, np.uint8), 255) == pytest.approx(48.1308036)


# SSIM


@pytest.mark.parametrize("shape", [(11, 11), (11, 30), (64, 47), (75, 23), (160, 37)])
@pytest.mark.parametrize(("dtype", "peak"), [(np.float64, 1.0), (np.uint8, 255.0), (np.float32, 3.0)])
def test_ssim_is_scikit_images(shape: tuple[int, int], dtype: Any, peak: float) -> None:
    a, b = pair(shape, dtype, seed=3, peak=peak)
    expected = reference_ssim(a, b, peak)
    assert 0.1 < expected < 0.99
    assert ssim(a, b, peak, "YX") == pytest.approx(expected, abs=1e-10)


def test_ssim_of_colour_is_the_mean_of_the_channels() -> None:
    a, b = pair((23, 31, 3))
    assert ssim(a, b, 1.0, "YXC") == pytest.approx(reference_ssim(a, b, 1.0, channel_axis=2), abs=1e-10)
    moved, to = np.moveaxis(a, 2, 0), np.moveaxis(b, 2, 0)
    assert ssim(moved, to, 1.0, "CYX") == pytest.approx(reference_ssim(a, b, 1.0, channel_axis=2), abs=1e-10)


def test_ssim_of_a_stack_is_the_mean_of_its_planes() -> None:
    a, b = pair((2, 3, 19, 14))
    planes = [reference_ssim(a[i, j], b[i, j], 1.0) for i in range(2) for j in range(3)]
    assert ssim(a, b, 1.0, "NZYX") == pytest.approx(np.mean(planes), abs=1e-10)


def test_ssim_does_not_depend_on_the_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = pair((90, 25))
    whole = reference_ssim(a, b, 1.0)
    for rows in (1, 7, 80, 81, 1000):
        monkeypatch.setattr(metrics, "_ROWS", rows)
        assert ssim(a, b, 1.0, "YX") == pytest.approx(whole, abs=1e-12)


@pytest.mark.parametrize(("shape", "axes"), [((10, 40), "YX"), ((40, 10), "YX"), ((10, 40, 40), "YXC")])
def test_ssim_needs_a_window(shape: tuple[int, ...], axes: str) -> None:
    a, b = pair(shape)
    assert ssim(a, b, 1.0, axes) is None
    assert compare(a, b, axes, peak=1.0).psnr is not None


# What has no meaning, and what is refused


def test_peak_of_a_dtype() -> None:
    assert peak_of(np.dtype(np.uint8)) == 255
    assert peak_of(np.dtype(np.uint16)) == 65535
    assert peak_of(np.dtype(np.int16)) == 32767
    assert peak_of(np.dtype(np.float32)) is None


def test_the_peak_is_the_references() -> None:
    a, b = pair((12, 15), np.uint8, peak=255)
    assert compare(a.astype(np.float32), b, "YX").psnr == pytest.approx(psnr(a, b, 255))
    assert compare(a.astype(np.float32), b, "YX").ssim == ssim(a, b, 255, "YX")
    nothing = compare(a, b.astype(np.float32), "YX")
    assert (nothing.psnr, nothing.ssim) == (None, None)
    assert compare(a, b, "YX", peak=100).psnr == pytest.approx(psnr(a, b, 100))


def test_shapes_must_agree() -> None:
    a, b = np.zeros((12, 13)), np.zeros((13, 12))
    for measure in (max_abs, relative, lambda a, b: psnr(a, b, 1.0), lambda a, b: ssim(a, b, 1.0, "YX")):
        with pytest.raises(DataError, match=r"cannot compare shape \(12, 13\) with shape \(13, 12\)"):
            measure(a, b)
    with pytest.raises(DataError, match="crop or pad"):
        compare(np.zeros((3, 1)), np.zeros((3, 4)), "YX")  # no broadcasting
    with pytest.raises(DataError, match="empty"):
        max_abs(np.zeros((0, 3)), np.zeros((0, 3)))


@pytest.mark.parametrize("peak", [0, -1, math.nan, math.inf])
def test_the_peak_must_be_positive(peak: float) -> None:
    a, b = pair((12, 12))
    for measure in (lambda: psnr(a, b, peak), lambda: ssim(a, b, peak, "YX"), lambda: compare(a, b, "YX", peak=peak)):
        with pytest.raises(SettingError, match="peak must be"):
            measure()


@pytest.mark.parametrize("axes", ["Y", "YXC", "CZ", "NX"])
def test_the_axes_must_fit(axes: str) -> None:
    a, b = pair((12, 12))
    with pytest.raises(DataError, match="do not fit"):
        ssim(a, b, 1.0, axes)


def test_examples_of_the_docstrings() -> None:
    results = doctest.testmod(metrics)
    assert results.attempted > 3
    assert results.failed == 0


def test_integers_that_float64_cannot_tell_apart_differ() -> None:
    a = np.full((3, 4), 2**53, np.int64)
    b = a.copy()
    b[1, 2] += 1
    assert metrics.compare(b, a, "YX").max_abs == 1
    assert metrics.compare(a, b, "YX").max_abs == 1
    assert metrics.compare(a, a, "YX").max_abs == 0
