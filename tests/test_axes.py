"""Axes by name: what is assumed, what is refused and in which words, and that every order comes back as it was."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from convtool.axes import Arrangement, contiguous, image_axes, kernel_axes, spatial_of, spelled, transposed
from convtool.errors import DataError, SettingError

# An image's axes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((9,), "X"),
        ((9, 8), "YX"),
        ((2, 9, 8), "CYX"),
        ((3, 9, 4), "CYX"),
        ((4, 9, 4), "CYX"),
        ((3, 9, 3), "CYX"),
        ((9, 8, 5), "CYX"),
        ((9, 8, 2), "CYX"),
        ((2, 3, 9, 3), "NCYX"),
        ((2, 3, 4, 9, 8), "NCZYX"),
    ],
)
def test_axes_by_rank(shape: tuple[int, ...], expected: str) -> None:
    assert image_axes(shape) == expected


@pytest.mark.parametrize("shape", [(9, 8, 3), (9, 8, 4), (5, 2, 4), (4, 9, 3)])
def test_a_shape_that_may_be_either_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(SettingError) as caught:
        image_axes(shape, what="photo.npy")
    assert str(caught.value) == f"photo.npy of shape {spelled(shape)} could be YXC or CYX: say --axes YXC or CYX"
    assert image_axes(shape, "YXC") == "YXC"
    assert image_axes(shape, "CYX") == "CYX"


@pytest.mark.parametrize(
    ("shape", "axes", "expected"),
    [
        ((9, 8, 3), "yxc", "YXC"),
        ((9, 8), "XY", "XY"),
        ((5, 9, 8), "TYX", "NYX"),
        ((5, 9, 8), "zyx", "ZYX"),
        ((2, 3, 4, 5, 6), "TCZYX", "NCZYX"),
        ((7,), "C", "C"),
    ],
)
def test_axes_that_are_given(shape: tuple[int, ...], axes: str, expected: str) -> None:
    assert image_axes(shape, axes) == expected


@pytest.mark.parametrize("axes", ["YXQ", "YYX", "NTYX", "Y,X", "YX ", "OIYX"])
def test_letters_that_are_unknown_or_repeated_are_refused(axes: str) -> None:
    with pytest.raises(SettingError) as caught:
        image_axes((1,) * len(axes), axes)
    text = f"axes '{axes}' are unknown: use each of N (or T), C, Z, Y and X at most once, such as YXC or CYX"
    assert str(caught.value) == text


@pytest.mark.parametrize(("shape", "axes"), [((9, 8), "YXC"), ((9, 8, 3), "YX"), ((9, 8, 3), "")])
def test_axes_that_do_not_fit_the_shape_are_refused(shape: tuple[int, ...], axes: str) -> None:
    with pytest.raises(SettingError) as caught:
        image_axes(shape, axes, "a.npy")
    count = f"axes {axes} name {len(axes)} axes"
    assert str(caught.value) == f"{count}, but a.npy has {len(shape)} (shape {spelled(shape)})"


@pytest.mark.parametrize("shape", [(), (1,) * 6])
def test_a_rank_without_default_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(SettingError) as caught:
        image_axes(shape)
    count = f"the image has {len(shape)} axes (shape {spelled(shape)})"
    assert str(caught.value) == f"{count}, expected 1 to 5: say --axes"


# A kernel's axes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rank", "image", "expected"),
    [
        (1, "YX", "X"),
        (2, "YXC", "YX"),
        (2, "ZYX", "YX"),
        (3, "CYX", "CYX"),
        (3, "YX", "CYX"),
        (3, "ZYX", "ZYX"),
        (3, "CZYX", "ZYX"),
        (4, "NCYX", "OIYX"),
        (4, "CZYX", "OIYX"),
        (5, "CZYX", "OIZYX"),
    ],
)
def test_kernel_axes_by_rank(rank: int, image: str, expected: str) -> None:
    assert kernel_axes((3,) * rank, image) == expected


@pytest.mark.parametrize(
    ("axes", "image", "expected"),
    [
        ("czyx", "NCZYX", "CZYX"),
        ("YXOI", "CYX", "YXOI"),
        ("XY", "YX", "XY"),
        ("ZX", "ZYX", "ZX"),
        ("IYXO", "YXC", "IYXO"),
    ],
)
def test_kernel_axes_that_are_given(axes: str, image: str, expected: str) -> None:
    assert kernel_axes((3,) * len(axes), image, axes) == expected


@pytest.mark.parametrize("axes", ["OYX", "IYX", "COIYX", "NYX", "YYX", "OI", "C", "TYX", ""])
def test_kernel_axes_that_are_none_are_refused(axes: str) -> None:
    with pytest.raises(SettingError) as caught:
        kernel_axes((3,) * len(axes), "NCZYX", axes)
    text = f"kernel axes '{axes}' are unknown: use YX, CYX, OIYX or the same with Z, in any order"
    assert str(caught.value) == text


def test_kernel_axes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(SettingError) as wrong_rank:
        kernel_axes((3, 5), "CYX", "CYX")
    assert str(wrong_rank.value) == "kernel axes CYX name 3 axes, but the kernel has shape 3x5"
    for shape in [(), (1,) * 6]:
        with pytest.raises(SettingError) as no_default:
            kernel_axes(shape, "NCZYX")
        count = f"the kernel has {len(shape)} axes (shape {spelled(shape)})"
        assert str(no_default.value) == f"{count}, expected 1 to 5"
    with pytest.raises(DataError) as no_depth:
        kernel_axes((2, 2, 3, 4, 5), "CYX")
    assert str(no_depth.value) == (
        "the kernel (axes OIZYX, shape 2x2x3x4x5) has a Z axis, but the image (axes CYX) has none:"
        " pass --kernel-axes, or an image with that axis (--axes)"
    )


def test_small_things() -> None:
    assert [spatial_of(axes) for axes in ("XCY", "OIZYX", "C", "YXZ")] == ["YX", "ZYX", "", "ZYX"]
    assert [spelled(shape) for shape in [(), (3,), (8, 3, 5)]] == ["()", "3", "8x3x5"]
    x = np.arange(24).reshape(2, 3, 4)
    turned = transposed(x, "CYX", "XCY")
    assert turned.shape == (4, 2, 3)
    assert turned[3, 1, 2] == x[1, 2, 3]
    assert np.shares_memory(turned, x)


# Arrangements ---------------------------------------------------------------------------------------------------------

LENGTHS = {"N": 2, "C": 3, "Z": 4, "Y": 5, "X": 6}


def labelled(axes: str) -> np.ndarray:
    """An array whose every entry spells its own index: digits of N, C, Z, Y, X, 0 for an axis that is not there."""
    index = np.indices([LENGTHS[letter] for letter in axes])
    place = {letter: 10 ** (4 - i) for i, letter in enumerate("NCZYX")}
    return sum(
        (place[letter] * i for letter, i in zip(axes, index, strict=True)),
        np.zeros([LENGTHS[letter] for letter in axes], int),
    )


ORDERS = [
    "".join(order) for axes in ("YX", "YXC", "ZYX", "NYX", "CZYX", "NCYX") for order in itertools.permutations(axes)
]
ORDERS += ["NCZYX", "NZYXC", "XYZCN", "ZNCXY", "CNYZX", "X", "CX"]
CASES = [(axes, spatial) for axes in ORDERS for spatial in ("X", "YX", "ZYX", "ZX", "Y") if set(spatial) <= set(axes)]


@pytest.mark.parametrize(("axes", "spatial"), CASES)
def test_every_order_becomes_canonical_and_comes_back(axes: str, spatial: str) -> None:
    x = labelled(axes)
    arrangement = Arrangement(axes, x.shape, spatial)
    batch = [letter for letter in axes if letter not in spatial and letter != "C"]
    canonical = arrangement.canonical(x)
    assert arrangement.channels == canonical.shape[1] == (LENGTHS["C"] if "C" in axes else 1)
    assert arrangement.grid == canonical.shape[2:] == tuple(LENGTHS[letter] for letter in spatial)
    assert arrangement.batch == "".join(batch)
    seen = []
    for index in np.ndindex(canonical.shape[1:]):
        where = dict(zip("C" + spatial, index, strict=True))
        expected = int("".join(str(where.get(letter, 0)) for letter in "NCZYX"))
        rest = canonical[(slice(None), *index)] - expected  # what is left is the place on the batch axes
        seen.append(rest.tolist())
    assert all(rest == seen[0] for rest in seen)
    assert sorted(seen[0]) == sorted(set(seen[0]))
    assert seen[0] == labelled_batch(batch)
    assert arrangement.result_axes(arrangement.channels) == axes
    np.testing.assert_array_equal(arrangement.restore(canonical), x)


def labelled_batch(batch: list[str]) -> list[int]:
    """The labels of the batch axes alone, in the image's order."""
    return labelled("".join(batch)).ravel().tolist() if batch else [0]


def test_one_case_written_out() -> None:
    """A YX kernel on a ZYXC stack runs slice by slice."""
    x = np.random.default_rng(0).random((4, 5, 6, 3))
    canonical = Arrangement("ZYXC", x.shape, "YX").canonical(x)
    assert canonical.shape == (4, 3, 5, 6)
    assert canonical[2, 1, 3, 5] == x[2, 3, 5, 1]


@pytest.mark.parametrize(
    ("axes", "spatial", "channels", "expected"),
    [
        ("YX", "YX", 1, "YX"),
        ("YX", "YX", 4, "CYX"),
        ("NYX", "YX", 4, "NCYX"),
        ("ZYX", "ZYX", 2, "CZYX"),
        ("ZYX", "YX", 2, "CZYX"),
        ("YXN", "YX", 2, "CYXN"),
        ("YNX", "YX", 2, "CYNX"),
        ("YXC", "YX", 5, "YXC"),
        ("YXC", "YX", 1, "YXC"),
        ("CYX", "YX", 1, "CYX"),
        ("X", "X", 2, "CX"),
    ],
)
def test_channels_appear_only_where_they_must(axes: str, spatial: str, channels: int, expected: str) -> None:
    arrangement = Arrangement(axes, tuple(LENGTHS[letter] for letter in axes), spatial)
    assert arrangement.result_axes(channels) == expected
    batch = int(np.prod([LENGTHS[letter] for letter in arrangement.batch]))
    shorter = {letter: LENGTHS[letter] - 1 for letter in spatial}  # as with padding valid
    y = np.arange(batch * channels * int(np.prod(list(shorter.values())))).reshape(batch, channels, *shorter.values())
    found = arrangement.restore(y)
    sizes = LENGTHS | shorter | {"C": channels}
    assert found.shape == tuple(sizes[letter] for letter in expected)
    inner = ("C" if "C" in expected else "") + spatial
    order = arrangement.batch + inner
    np.testing.assert_array_equal(transposed(found, expected, order).ravel(), y.ravel())


@pytest.mark.parametrize("shape", [(5,), (4, 6), (4, 6, 3), (2, 4, 6, 4), (4, 6, 5), (3, 0, 3)])
def test_a_contiguous_copy_has_the_same_values(shape: tuple[int, ...]) -> None:
    x = np.arange(np.prod(shape)).reshape(shape)
    assert contiguous(x) is x
    for view in (x.T, np.moveaxis(np.moveaxis(x, 0, -1).copy(), -1, 0), x[::-1], np.asfortranarray(x)):
        found = contiguous(view)
        assert found.flags.c_contiguous
        np.testing.assert_array_equal(found, view)
