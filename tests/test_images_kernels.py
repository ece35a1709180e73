"""Kernels from .npy, text and images."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from image_files import pixels, saved
from numpy.testing import assert_allclose, assert_array_equal

from convtool import images
from convtool.errors import DataError, FileError


def kernel_of(tmp_path: Path, name: str, content: bytes) -> tuple[np.ndarray, tuple[str, ...]]:
    (tmp_path / name).write_bytes(content)
    return images.read_kernel(str(tmp_path / name))


def test_kernel_npy(tmp_path: Path) -> None:
    for dtype, expected in (("f4", "f4"), ("f8", "f8"), ("i2", "f8"), ("?", "f8"), ("f2", "f8"), (">f4", "f4")):
        data = np.arange(24).reshape(2, 3, 4).astype(dtype)
        taps, notes = kernel_of(tmp_path, "k.npy", saved(data))
        assert taps.dtype == expected
        assert_array_equal(taps, data)
        assert notes == ()


@pytest.mark.parametrize(
    "text",
    ["1,2.5,-3\n4,5,6e0\n", "1;2.5;-3\n4;5;6\n", "1 2.5\t-3\n\n# a remark\n 4  5 6", "\ufeff1, 2.5, -3\r\n4, 5, 6\r\n"],
)
@pytest.mark.parametrize("name", ["k.csv", "k.txt", "k"])
def test_kernel_text(tmp_path: Path, text: str, name: str) -> None:
    taps, _ = kernel_of(tmp_path, name, text.encode())
    assert taps.dtype == np.float64
    assert_array_equal(taps, [[1, 2.5, -3], [4, 5, 6]])


def test_kernel_image_is_normalised_and_says_so(tmp_path: Path) -> None:
    data = pixels((3, 5))
    PIL.Image.fromarray(data).save(tmp_path / "k.png")
    taps, notes = images.read_kernel(str(tmp_path / "k.png"))
    assert_allclose(taps, data / data.sum(dtype=float))
    assert any(f"divided by their sum {data.sum(dtype=int)}" in note for note in notes)
    PIL.Image.fromarray(np.dstack([data] * 3)).save(tmp_path / "rgb.png")
    grey, notes = images.read_kernel(str(tmp_path / "rgb.png"))
    assert_array_equal(grey, taps)
    assert any("taken as grey" in note for note in notes)
    PIL.Image.fromarray(np.dstack([data, pixels((3, 5))])).save(tmp_path / "alpha.png")
    grey, notes = images.read_kernel(str(tmp_path / "alpha.png"))
    assert_array_equal(grey, taps)
    assert any("alpha.png was ignored" in note for note in notes)
    PIL.Image.fromarray(pixels((3, 5, 3))).save(tmp_path / "colour.png")
    with pytest.raises(DataError, match="is a colour image"):
        images.read_kernel(str(tmp_path / "colour.png"))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("k.npy", saved(np.zeros((3, 3))), "all zeros"),
        ("k.npy", saved(np.zeros((0, 3))), "no values"),
        ("k.npy", saved(np.array([[1.0, np.nan]])), "1 NaN or infinite taps"),
        ("k.npy", saved(np.ones((2, 2)) * 1j), "complex"),
        ("k.npy", saved(np.array([None]), allow_pickle=True), "never loads"),
        ("k.txt", b"", "is empty"),
        ("k.txt", b"1 2\n3\n", "line 2, has 1 numbers, but line 1 has 2"),
        ("k.txt", b"1 2\nx 3\n", "line 2: 'x' is not a number"),
        ("k.txt", b"1, 2; 3, 4\n", "mixes commas and semicolons"),
        ("k.txt", b"1,,2\n", "'' is not a number"),
        ("k.txt", b"nan 1\n", "NaN"),
        ("k.txt", b"\xff\xfe\x00\x80", "no .npy, image or text file"),
    ],
)
def test_kernels_that_cannot_be_used(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    with pytest.raises((DataError, FileError), match=words) as caught:
        kernel_of(tmp_path, name, content)
    assert "\n" not in str(caught.value)


def test_no_codec_is_imported_before_it_is_needed() -> None:
    import subprocess

    code = (
        "import sys, convtool.images\n"
        "assert not {'imageio', 'PIL', 'tifffile', 'astropy', 'imagecodecs', 'scipy'} & set(sys.modules), sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent.parent, check=True)
