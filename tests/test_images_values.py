"""Rounding, clipping, scaling and linear light against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_files import RNG
from numpy.testing import assert_allclose, assert_array_equal

from convtool import images, process
from convtool.errors import DataError, SettingError
from convtool.images.colour import decode_srgb, encode_srgb
from convtool.images.quantise import NAMES, quantise


def test_rounding_and_clipping_are_counted() -> None:
    values = np.array([[-3.2, -0.4, 0.5, 1.5], [254.5, 255.4, 255.6, 900.0]])
    result = quantise(values, np.dtype("uint8"), None)
    assert result.data.tolist() == [[0, 0, 0, 2], [254, 255, 255, 255]]
    assert (result.clipped_low, result.clipped_high, result.rounded) == (1, 2, 5)
    assert_allclose(result.rounding_error, np.sqrt((0.4**2 + 3 * 0.5**2 + 0.4**2) / 5))


@pytest.mark.parametrize("computed", [np.float32, np.float64])
@pytest.mark.parametrize("name", [name for name in NAMES if "int" in name])
def test_every_integer_range_is_clipped_exactly(computed: type, name: str) -> None:
    limits = np.iinfo(name)
    values = np.array([-1e30, float(limits.min), 0, 7, float(limits.max) * 2, 1e30], dtype=computed)
    result = quantise(values, np.dtype(name), None)
    assert result.data.tolist() == [limits.min, limits.min, 0, 7, limits.max, limits.max]
    assert (result.clipped_low, result.clipped_high) == (1, 2)
    top = quantise(np.array([float(limits.max)], dtype=computed), np.dtype(name), None)  # may be one more than the top
    assert top.data.tolist() == [limits.max]


@given(st.lists(st.floats(-1e5, 1e5, width=32), min_size=1, max_size=40), st.sampled_from(["uint8", "int16", "uint16"]))
def test_counts_agree_with_the_definition(numbers: list[float], name: str) -> None:
    limits, rounded = np.iinfo(name), [round(number) for number in numbers]
    inside = [(r, v) for r, v in zip(rounded, numbers, strict=True) if limits.min <= r <= limits.max]
    result = quantise(np.array(numbers), np.dtype(name), None)
    assert result.data.tolist() == [min(max(r, limits.min), limits.max) for r in rounded]
    assert result.clipped_low == sum(r < limits.min for r in rounded)
    assert result.clipped_high == sum(r > limits.max for r in rounded)
    assert result.rounded == sum(r != v for r, v in inside)
    error = np.sqrt(np.mean([(r - v) ** 2 for r, v in inside])) if inside else 0.0
    assert_allclose(result.rounding_error, error, rtol=1e-6)


def test_blocks_do_not_show() -> None:
    values = RNG.normal(100, 100, (300, 700))
    result = quantise(values, np.dtype("uint8"), "0.5,3")
    expected = np.clip(np.rint(0.5 * values + 3), 0, 255)
    assert_array_equal(result.data, expected)
    assert result.clipped_low == np.count_nonzero(np.rint(0.5 * values + 3) < 0)


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
def test_neither_layout_nor_threads_show(order: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    planes = RNG.normal(128, 90, (3, 700, 900)).astype(np.float32)
    found = []
    for threads, values in ((1, planes), (3, planes), (2, planes.transpose(order)), (2, planes[:, ::-1])):
        monkeypatch.setattr(process.policy, "threads", threads)
        found.append(quantise(values, np.dtype("uint8"), None))
        assert_array_equal(found[-1].data, np.clip(np.rint(values), 0, 255))
    whole = np.rint(planes)
    low, high, changed = whole < 0, whole > 255, whole != planes
    counts = tuple(map(np.count_nonzero, (low, high, changed & ~low & ~high)))
    assert [(each.clipped_low, each.clipped_high, each.rounded) for each in found] == [counts] * len(found)
    assert found[0].rounding_error == found[1].rounding_error
    assert_allclose([each.rounding_error for each in found], found[0].rounding_error, rtol=1e-12)
    assert found[2].data.strides == planes.astype(np.uint8).transpose(order).strides  # laid out as the values are


def test_a_bad_value_is_found_on_any_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process.policy, "threads", 3)
    for bad in (np.nan, np.inf, -np.inf):
        values = np.zeros((2000, 2000), np.float32)
        values[1999, 1998] = bad
        with pytest.raises(DataError, match="NaN or infinite values, which uint16"):
            quantise(values, np.dtype("uint16"), None)


def test_floats_are_clipped_only_where_they_must() -> None:
    values = np.array([1e300, -1e300, np.inf, np.nan, 0.1])
    result = quantise(values, np.dtype("float32"), None)
    top = np.finfo(np.float32).max
    assert_array_equal(result.data, np.array([top, -top, np.inf, np.nan, 0.1], np.float32))
    assert (result.clipped_low, result.clipped_high, result.nonfinite, result.rounded) == (1, 1, 2, 0)
    with pytest.raises(DataError, match="uint8 cannot hold: use --dtype float32"):
        quantise(values, np.dtype("uint8"), None)


def test_bool_is_the_integers_0_and_1() -> None:
    values = np.array([-0.2, 0.4, 0.6, 1.0, 7.0, -3.0])
    result = quantise(values, np.dtype(bool), None)
    assert result.data.tolist() == [False, False, True, True, True, False]
    assert (result.clipped_low, result.clipped_high, result.rounded) == (1, 1, 3)
    assert quantise(np.array([2.0, 5.0]), np.dtype(bool), "fit").data.tolist() == [False, True]
    exact = quantise(np.array([True, False]), np.dtype(bool), None)
    assert (exact.data.dtype, exact.data.tolist(), exact.rounded) == (np.bool_, [True, False], 0)


def test_scale() -> None:
    values = np.array([[-1.0, 0.0, 3.0]])
    fit = quantise(values, np.dtype("uint16"), "fit")
    assert fit.data.tolist() == [[0, 16384, 65535]]
    assert_allclose((fit.scale, fit.offset), (65535 / 4, 65535 / 4))
    floats = quantise(values, np.dtype("float32"), "fit")
    assert_allclose(floats.data, [[0, 0.25, 1]])
    assert (fit.clipped_low, fit.clipped_high) == (0, 0)
    assert quantise(np.full((2, 2), 7.0), np.dtype("uint8"), "fit").data.max() == 0
    given_one = quantise(values, np.dtype("int16"), "10,2")
    assert given_one.data.tolist() == [[-8, 2, 32]]
    assert (given_one.scale, given_one.offset) == (10.0, 2.0)
    for wrong in ("x", "1,2,3", "0", "nan", "inf,1", ""):
        with pytest.raises(SettingError, match="FACTOR"):
            quantise(values, np.dtype("uint8"), wrong)
    with pytest.raises(DataError, match="finite"):
        quantise(np.array([np.nan, 1.0]), np.dtype("float32"), "fit")


def test_srgb_against_values_of_the_standard() -> None:
    codes = np.array([0.0, 0.04045, 0.2, 0.5, 0.8, 1.0])
    expected = [0.0, 0.0031308, 0.0331047666, 0.2140411405, 0.6038273389, 1.0]
    assert_allclose(decode_srgb(codes), expected, atol=1e-7)
    assert_allclose(decode_srgb(-codes), -np.array(expected), atol=1e-7)
    wide = np.linspace(-2, 2, 401)
    assert_allclose(encode_srgb(decode_srgb(wide)), wide, atol=1e-12)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_every_code_value_comes_back_from_linear_light(dtype: str) -> None:
    codes = np.arange(np.iinfo(dtype).max + 1, dtype=dtype)
    light = images.to_linear(codes, codes.dtype)
    assert light.dtype == np.float32
    assert_allclose(light[[0, -1]], [0, np.iinfo(dtype).max])
    assert (np.diff(light) > 0).all()
    assert_array_equal(np.rint(images.from_linear(light, codes.dtype)), codes)
    assert images.to_linear(codes.astype(np.float64), codes.dtype).dtype == np.float64


def test_linear_light_needs_code_values() -> None:
    with pytest.raises(SettingError, match="--linear needs 8- or 16-bit sRGB code values, got float32"):
        images.to_linear(np.zeros((2, 2), np.float32), np.dtype(np.float32))
