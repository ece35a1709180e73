"""How a signal continues outside its frame: against numpy.pad and the oracle's definition; fold is extend's adjoint."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import oracles
import pytest

from convtool import boundary
from convtool.errors import SettingError

NUMPY = {"periodic": "wrap", "zero": "constant", "edge": "edge", "reflect": "reflect", "symmetric": "symmetric"}
MODES = list(NUMPY)
LENGTHS = [1, 2, 3, 4, 7]
MARGINS = [(0, 0), (1, 0), (0, 1), (2, 3), (5, 1), (9, 16), (23, 8)]  # shorter than the frame, and several times it


def test_the_modes_are_those_of_the_definition() -> None:
    assert set(boundary.MODES) == set(NUMPY) == set(oracles.BOUNDARIES)
    for mode in MODES:
        assert boundary.checked(mode) == mode


@pytest.mark.parametrize("mode", ["wrap", "", "Periodic", "constant"])
def test_an_unknown_mode_is_refused_with_the_names(mode: str) -> None:
    with pytest.raises(SettingError) as caught:
        boundary.checked(mode)
    assert str(caught.value) == f"unknown boundary '{mode}': use periodic, zero, edge, reflect or symmetric"


@pytest.mark.parametrize("mode", MODES)
def test_source_is_the_definition(mode: str) -> None:
    for n in LENGTHS:
        positions = np.arange(-5 * n - 3, 6 * n + 4)
        expected = [oracles.source(int(p), n, mode) for p in positions]
        found = boundary.source(positions, n, mode)
        assert found.tolist() == [-1 if p is None else p for p in expected]
        table = positions[: len(positions) // 2 * 2].reshape(2, -1)
        assert boundary.source(table, n, mode).ravel().tolist() == found[: table.size].tolist()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("margin", MARGINS)
def test_extend_is_numpys_pad_on_one_axis(margin: tuple[int, int], n: int, mode: str) -> None:
    x = np.random.default_rng(n).normal(size=n)
    expected = np.pad(x, [margin], mode=NUMPY[mode])  # type: ignore[call-overload]
    np.testing.assert_array_equal(boundary.extend(x, [margin], mode), expected)


MARGINS_3D = [[(0, 0)] * 3, [(1, 2), (0, 3), (2, 0)], [(7, 1), (2, 12), (3, 3)], [(0, 0), (4, 0), (0, 5)]]
FRAMES_3D = [(2, 3, 4), (1, 5, 2), (3, 1, 1)]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_extend_is_numpys_pad_on_every_trailing_axis(mode: str, dtype: str) -> None:
    for frame, margins, lead in itertools.product(FRAMES_3D, MARGINS_3D, [(), (2,), (2, 3)]):
        x = np.random.default_rng(1).integers(-9, 9, (*lead, *frame)).astype(dtype)
        x.setflags(write=False)
        expected = np.pad(x, [(0, 0)] * len(lead) + margins, mode=NUMPY[mode])  # type: ignore[call-overload]
        found = boundary.extend(x, margins, mode)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("mode", MODES)
def test_extend_gives_a_new_array_always(mode: str) -> None:
    x = np.arange(12.0).reshape(3, 4)
    for margins in ([(0, 0), (0, 0)], [(1, 1), (0, 2)]):
        out = boundary.extend(x, margins, mode)
        assert not np.shares_memory(out, x)
        out[...] = 7
    np.testing.assert_array_equal(x, np.arange(12.0).reshape(3, 4))
    turned = boundary.extend(x.T, [(2, 1), (0, 3)], mode)
    np.testing.assert_array_equal(turned, boundary.extend(x, [(0, 3), (2, 1)], mode).T)


def matrix(frame: tuple[int, ...], margins: Any, mode: str) -> np.ndarray:
    """The extension as a dense matrix, from the definition of each position."""
    grown = [n + before + after for n, (before, after) in zip(frame, margins, strict=True)]
    entries = np.zeros((*grown, *frame), np.int64)
    for target in itertools.product(*(range(n) for n in grown)):
        places = [oracles.source(t - before, n, mode) for t, n, (before, _) in zip(target, frame, margins, strict=True)]
        if None not in places:
            entries[(*target, *places)] = 1
    return entries.reshape(int(np.prod(grown)), -1)


@pytest.mark.parametrize("mode", MODES)
def test_fold_is_the_transpose_of_extend(mode: str) -> None:
    """In integers, so that it is exact and not nearly so."""
    for frame, margins in itertools.product(FRAMES_3D, MARGINS_3D):
        dense = matrix(frame, margins, mode)
        grown = boundary.extend(np.zeros(frame), margins, mode).shape
        y = np.random.default_rng(2).integers(-9, 9, (2, *grown))
        expected = [(dense.T @ one.ravel()).reshape(frame) for one in y]
        np.testing.assert_array_equal(boundary.fold(y.copy(), margins, mode), expected)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n", LENGTHS)
def test_fold_and_extend_pass_the_dot_test(n: int, mode: str) -> None:
    rng = np.random.default_rng(n)
    for margin in MARGINS:
        x, y = rng.integers(-99, 99, n), rng.integers(-99, 99, n + sum(margin))
        left = boundary.extend(x, [margin], mode) @ y
        assert left == x @ boundary.fold(y.copy(), [margin], mode)


def test_fold_gives_the_frame_of_its_argument() -> None:
    y = np.ones((2, 5, 6))
    found = boundary.fold(y, [(1, 1), (0, 2)], "periodic")
    assert found.shape == (2, 3, 4)
    assert np.shares_memory(found, y)


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "zero"])
@pytest.mark.parametrize("n", LENGTHS)
def test_runs_cover_the_margins_exactly(n: int, mode: str) -> None:
    for margin in MARGINS:
        covered: list[tuple[int, int]] = []
        for run in boundary.runs(n, margin, mode):
            assert run.length >= 1
            assert run.step in (-1, 0, 1)
            covered += [(run.start + i, run.origin + i * run.step) for i in range(run.length)]
        positions = [*range(-margin[0], 0), *range(n, n + margin[1])]
        assert sorted(covered) == [(p, oracles.source(p, n, mode)) for p in positions]


def test_runs_are_few() -> None:
    assert boundary.runs(10, (30, 30), "zero") == []
    assert len(boundary.runs(10, (30, 30), "edge")) == 2
    assert len(boundary.runs(10, (30, 30), "periodic")) == 6
    assert len(boundary.runs(10, (30, 30), "symmetric")) <= 6
    assert len(boundary.runs(10, (9, 9), "reflect")) == 2
