"""Where windows lie: counts and reads against brute force and the oracle's definition; words, numbers and refusals."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import oracles
import pytest

from convtool.errors import DataError, SettingError
from convtool.geometry import Geometry, inputs, resolve


def resolved(grid: Sequence[int], extent: Sequence[int], **settings: Any) -> Geometry:
    """The geometry of a correlation with the origin in the middle, unless something else is said."""
    defaults: dict[str, Any] = {"boundary_mode": "periodic", "padding": "same", "stride": 1, "dilation": 1}
    origin = settings.pop("origin", [n // 2 for n in extent])
    return resolve(grid, extent, origin, **(defaults | settings))


ONE_AXIS = list(itertools.product([1, 2, 5, 8], [1, 2, 3, 4, 6], [1, 2, 3], [1, 2, 3]))  # n, taps, stride, dilation


def starts(n: int, taps: int, stride: int, dilation: int, before: int, after: int) -> list[int]:
    """First position of every window that lies inside the padded line, one by one."""
    inside = range(-before, n + after)
    return [start for start in inside[::stride] if start + dilation * (taps - 1) in inside]


@pytest.mark.parametrize("pair", [(0, 0), (1, 0), (0, 3), (4, 2)])
def test_windows_with_padding_in_numbers_are_counted_one_by_one(pair: tuple[int, int]) -> None:
    for n, taps, stride, dilation in ONE_AXIS:
        expected = starts(n, taps, stride, dilation, *pair)
        how = {"padding": [pair], "stride": stride, "dilation": dilation}
        if not expected:
            with pytest.raises(DataError, match="no output"):
                resolved([n], [taps], **how)
            continue
        found = resolved([n], [taps], **how)
        assert found.outputs == (len(expected),)
        assert found.extended == (n + sum(pair),)
        assert found.span == (dilation * (taps - 1),)
        for origin in range(taps):
            assert found.positions([origin])[0].tolist() == [start + origin * dilation for start in expected]


def test_valid_counts_the_windows_inside_the_frame() -> None:
    for n, taps, stride, dilation in ONE_AXIS:
        expected = [start for start in range(0, n, stride) if start + dilation * (taps - 1) < n]
        if expected:
            found = resolved([n], [taps], padding="valid", stride=stride, dilation=dilation)
            assert found.positions([0])[0].tolist() == expected
            assert found.padding == ((0, 0),)


def test_full_counts_the_windows_that_reach_into_the_frame() -> None:
    """Every window whose span meets the frame: its taps may straddle it, where they are spread out."""
    for n, taps, _, dilation in ONE_AXIS:
        span = dilation * (taps - 1)
        expected = [start for start in range(-3 * span - 3, 2 * n + 3) if start <= n - 1 and start + span >= 0]
        assert resolved([n], [taps], padding="full", dilation=dilation).positions([0])[0].tolist() == expected


def test_same_puts_the_origin_on_every_stride_th_pixel() -> None:
    for n, taps, stride, dilation in ONE_AXIS:
        for origin in range(taps):
            found = resolved([n], [taps], origin=[origin], stride=stride, dilation=dilation)
            assert found.positions([origin])[0].tolist() == list(range(0, n, stride))
            assert found.outputs == (math.ceil(n / stride),)


@pytest.mark.parametrize("mode", oracles.BOUNDARIES)
@pytest.mark.parametrize("padding", ["same", "valid", "full", 2, [1, 3], [(0, 2), (3, 1)]])
def test_sources_are_what_the_definition_reads(padding: Any, mode: str) -> None:
    cases: Any = itertools.product([(4, 7), (6, 5)], [(3, 2), (1, 4)], [1, (2, 3)], [1, (1, 2)])
    for grid, extent, stride, dilation in cases:
        try:
            axes = oracles.reads(grid, extent, "correlate", "center", padding, stride, dilation)
        except ValueError:
            continue
        how = {"padding": padding, "stride": stride, "dilation": dilation, "boundary_mode": mode}
        geometry = resolved(grid, extent, **how)
        assert geometry.outputs == tuple(len(axis) for axis in axes)
        for found, axis, n in zip(geometry.sources(), axes, grid, strict=True):
            expected = [[oracles.source(p, n, mode) for p in window] for window in axis]
            assert found.tolist() == [[-1 if p is None else p for p in window] for window in expected]


@pytest.mark.parametrize(
    ("padding", "pairs"),
    [
        (2, ((2, 2), (2, 2))),
        (np.int64(2), ((2, 2), (2, 2))),
        ([1, 0], ((1, 1), (0, 0))),
        (np.array([1, 0]), ((1, 1), (0, 0))),
        ((1, (0, 3)), ((1, 1), (0, 3))),
        ([(1, 2), (0, 3)], ((1, 2), (0, 3))),
        ("full", ((4, 4), (3, 3))),
        ("valid", ((0, 0), (0, 0))),
        ("same", ((2, 2), (2, 1))),
    ],
)
def test_padding_in_its_forms(padding: Any, pairs: tuple[tuple[int, int], ...]) -> None:
    assert resolved([9, 8], [3, 4], padding=padding, dilation=(2, 1)).padding == pairs
    plain = resolved([9, 8], [3, 4], padding=padding, dilation=[2, 1])
    assert all(type(value) is int for pair in plain.padding for value in pair)


@pytest.mark.parametrize(
    "padding", [-1, 1.5, [1], [1, 2, 3], [(1, 2)], [(1, -2), (0, 0)], [(1, 2, 3), (0, 0)], None, [("a", 1), (0, 0)]]
)
def test_padding_that_does_not_fit_is_refused(padding: Any) -> None:
    with pytest.raises(SettingError) as caught:
        resolved([9, 8], [3, 4], padding=padding)
    assert str(caught.value) == (
        f"padding {padding} does not fit: give same, valid, full, or whole numbers of at least 0, one for all, one per"
        " axis or a (before, after) pair per axis, for 2 axes"
    )


@pytest.mark.parametrize("word", ["", "Same", "reflect", "12"])
def test_an_unknown_word_is_refused(word: str) -> None:
    with pytest.raises(SettingError) as caught:
        resolved([9, 8], [3, 4], padding=word)
    text = f"unknown padding '{word}': use same, valid, full, numbers, or before:after pairs"
    assert str(caught.value) == text


@pytest.mark.parametrize("name", ["stride", "dilation"])
@pytest.mark.parametrize("value", [0, -1, 1.5, (1,), (1, 2, 3), (1, 0), "2", None])
def test_steps_that_are_none_are_refused(name: str, value: Any) -> None:
    with pytest.raises(SettingError) as caught:
        resolved([9, 8], [3, 4], **{name: value})
    text = f"{name} must be whole numbers of at least 1, one or 2 (one per axis of the kernel), got {value}"
    assert str(caught.value) == text


def test_an_unknown_boundary_is_refused() -> None:
    with pytest.raises(SettingError, match="unknown boundary 'wrap'"):
        resolved([9, 8], [3, 4], boundary_mode="wrap")


def test_no_window_is_said_with_both_sizes() -> None:
    with pytest.raises(DataError) as caught:
        resolved([3, 9], [4, 2], padding=[(0, 2), (1, 1)], dilation=(2, 1))
    assert str(caught.value) == (
        "no output: the kernel spans 7x2 pixels, the padded image only 5x11: use padding same or full, or a smaller"
        " kernel"
    )


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({}, True),
        ({"dilation": 3}, True),
        ({"padding": [(2, 0), (0, 3)]}, True),  # as many outputs, all shifted
        ({"padding": [(0, 3), (2, 0)]}, False),
        ({"padding": "valid"}, False),
        ({"padding": "full"}, False),
        ({"stride": (1, 2)}, False),
        ({"boundary_mode": "zero"}, False),
        ({"boundary_mode": "reflect"}, False),
    ],
)
def test_what_is_circulant(how: dict[str, Any], expected: bool) -> None:
    assert resolved([9, 8], [3, 4], **how).is_circulant == expected


# From counts back to lengths ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", ["same", "valid", "full", 1, [(0, 3)], [(4, 2)]])
def test_every_length_that_gives_a_count_is_found_and_no_other(padding: Any) -> None:
    for taps, stride, dilation, origin in itertools.product([1, 2, 3, 4], [1, 2, 3], [1, 2], [0, -1]):
        how: dict[str, Any] = {"padding": padding, "stride": stride, "dilation": dilation}
        at = [range(taps)[origin]]
        counts: dict[int, list[int]] = {}
        for n in range(1, 40):
            try:
                counts.setdefault(resolved([n], [taps], origin=at, **how).outputs[0], []).append(n)
            except DataError:
                assert n <= dilation * (taps - 1)
        for count in range(1, 6):
            if count in counts:
                assert inputs([count], [taps], at, **how) == ((counts[count][0], counts[count][-1]),)
                assert counts[count] == list(range(counts[count][0], counts[count][-1] + 1))
                continue
            with pytest.raises(DataError) as caught:
                inputs([count], [taps], at, **how)
            assert str(caught.value) == (
                f"data of {count} come from no image: with this kernel, padding and stride the smallest image gives"
                f" {min(counts)}"
            )


def test_lengths_of_several_axes() -> None:
    how: dict[str, Any] = {"padding": [(1, 0), (2, 2)], "stride": (2, 1), "dilation": (1, 2)}
    assert inputs([5, 7], [3, 4], [1, 1], **how) == ((10, 11), (9, 9))
    with pytest.raises(SettingError, match="stride must be whole numbers"):
        inputs([5, 7], [3, 4], [1, 1], padding="same", stride=0, dilation=1)
    with pytest.raises(SettingError, match="unknown padding"):
        inputs([5, 7], [3, 4], [1, 1], padding="some", stride=1, dilation=1)
