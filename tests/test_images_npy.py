"""The .npy format and its abuse, standard streams, NaN."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from image_files import RNG, again, pixels, put, saved
from numpy.testing import assert_allclose, assert_array_equal

from convtool import images
from convtool.errors import DataError, FileError, SettingError
from convtool.images import guard


@pytest.mark.parametrize("dtype", ["<f4", ">f8", ">i2", "u1", "?", "<f2", "<i8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy(tmp_path: Path, dtype: str, order: str) -> None:
    data = np.asarray(RNG.integers(0, 100, (2, 3, 4, 5)), dtype=dtype, order=order)  # type: ignore[call-overload]
    np.save(tmp_path / "in.npy", data)
    image = images.read(str(tmp_path / "in.npy"))
    assert image.axes == "NCYX"
    assert image.data.dtype.isnative
    assert image.data.flags.c_contiguous
    assert image.data.flags.aligned
    assert_array_equal(image.data, data)
    assert any("NCYX" in words for words in image.assumed)
    if dtype == "?":  # which no floats stay
        again(image, tmp_path / "out.npy")
        assert np.load(tmp_path / "out.npy").dtype == np.float64
        written = put(image.data, image.axes, tmp_path / "out.npy", image)
    else:
        written = again(image, tmp_path / "out.npy")
    result = np.load(tmp_path / "out.npy")
    assert result.dtype == data.dtype.newbyteorder("=")
    assert_array_equal(result, data)
    assert written.axes == "NCYX"


def test_npy_axes(tmp_path: Path) -> None:
    source = str(tmp_path / "in.npy")
    np.save(source, np.zeros((6, 5, 3)))
    with pytest.raises(SettingError, match="say --axes YXC or CYX"):
        images.read(source)
    assert images.read(source, axes="YXC").axes == "YXC"
    assert images.read(source, axes="YXC").assumed == ()
    assert images.read(source, axes="TYX").axes == "NYX"
    with pytest.raises(SettingError, match="6x5x3"):
        images.read(source, axes="YX")
    with pytest.raises(SettingError, match="axes"):
        images.read(source, axes="YXQ")


class Explosive:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("exploded",)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (saved(np.array([1j])), "complex numbers: save its real part"),
        (saved(np.zeros(3, [("a", "f4"), ("b", "i2")])), "records"),
        (saved(np.zeros(3, [("ä漢", "f4")])), "records"),
        (saved(np.array(["text"])), "text"),
        (saved(np.array([b"text"])), "text"),
        (saved(np.zeros(2, "M8[s]")), "dates"),
        (saved(np.zeros(2, np.longdouble)), "too wide: save it as float64"),
        (saved(np.zeros((0, 4))), "no values"),
        (saved(np.float64(3)), "0 axes"),
        (saved(np.zeros((4, 5)))[:-8], r"promises 160 bytes \(shape 4x5, float64\), but the file holds 152"),
        (saved(np.zeros((4, 5)))[:90], "truncated or damaged"),
        (saved(np.zeros((4, 5)))[:7], "truncated or damaged"),
        (saved(np.zeros((4, 5))).replace(b"(4, 5)", b"(4,-5)"), "truncated or damaged"),
        (saved(np.zeros((4, 5))).replace(b"(4, 5)", b"9**9,)"), "truncated or damaged"),
        (saved(np.zeros((4, 5))).replace(b"(4, 5), ", b"(9999999999,9"[:7] + b","), "promises|damaged"),
        (saved(np.zeros((4, 5))).replace(b"descr", b"xxxxx"), "truncated or damaged"),
        (saved(np.zeros((4, 5))).replace(b"NUMPY\x01", b"NUMPY\x09"), "truncated or damaged"),
    ],
)
def test_npy_that_cannot_be_used(tmp_path: Path, raw: bytes, words: str) -> None:
    (tmp_path / "in.npy").write_bytes(raw)
    with pytest.raises((DataError, FileError, SettingError), match=words) as caught:
        images.read(str(tmp_path / "in.npy"))
    assert "\n" not in str(caught.value)
    assert "in.npy" in str(caught.value)


def test_pickles_are_never_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.npy").write_bytes(saved(np.array([Explosive()], dtype=object), allow_pickle=True))
    with pytest.raises(FileError, match=r"Python objects \(a pickle\), which convtool never loads"):
        images.read("in.npy")
    assert os.listdir(tmp_path) == ["in.npy"]


def test_npy_larger_than_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "in.npy", np.zeros((10, 20), np.float32))
    monkeypatch.setattr(guard, "available_memory", lambda: 1599)
    with pytest.raises(DataError, match="needs 1600 bytes"):
        images.read(str(tmp_path / "in.npy"))


def test_standard_input_and_output(monkeypatch: pytest.MonkeyPatch) -> None:
    class Standard:
        def __init__(self, content: bytes) -> None:
            self.buffer = io.BytesIO(content)

    data = pixels((5, 4)).astype(np.float32)
    monkeypatch.setattr(sys, "stdin", Standard(saved(data)))
    monkeypatch.setattr(sys, "stdout", output := Standard(b""))
    image = images.read("-")
    assert image.name == "-"
    put(image.data, image.axes, Path("-"), image)
    assert_array_equal(np.load(io.BytesIO(output.buffer.getvalue())), data)
    put(image.data, image.axes, Path("-"), image, format="png", dtype="uint8")
    assert output.buffer.getvalue()[-8:-4] == b"IEND"


def test_nan(tmp_path: Path) -> None:
    data = RNG.random((4, 6, 7)).astype(np.float32)
    data[1, 3, 5], data[1, 3, 6], data[2, 0, 0] = np.nan, np.inf, -np.inf
    source = str(tmp_path / "in.npy")
    np.save(source, data)
    with pytest.raises(DataError, match=r"has 3 NaN or infinite values, first at C=1, Y=3, X=5: use --nan zero, mean"):
        images.read(source)
    good = np.isfinite(data)
    for choice, expected in (("zero", 0.0), ("mean", data[good].mean(dtype=np.float64))):
        image = images.read(source, nan=choice)
        assert image.data.dtype == np.float32
        assert_array_equal(image.data[good], data[good])
        assert_allclose(image.data[~good], expected, rtol=1e-6)
        assert any("3 NaN or infinite" in words for words in image.assumed)
    nearest = images.read(source, nan="nearest").data
    assert nearest[1, 3, 5] in (data[1, 3, 4], data[1, 2, 5], data[1, 4, 5])
    assert nearest[1, 3, 6] in (data[1, 2, 6], data[1, 4, 6])
    assert nearest[2, 0, 0] in (data[2, 1, 0], data[2, 0, 1])
    with pytest.raises(SettingError, match="refuse, keep, zero, mean or nearest"):
        images.read(source, nan="median")


def test_nothing_but_nan(tmp_path: Path) -> None:
    data = np.full((2, 3, 5), np.nan)
    np.save(tmp_path / "in.npy", data)
    with pytest.raises(DataError, match="no finite value"):
        images.read(str(tmp_path / "in.npy"), nan="mean")
    data[0] = 1
    np.save(tmp_path / "in.npy", data)
    with pytest.raises(DataError, match="plane without a finite value"):
        images.read(str(tmp_path / "in.npy"), nan="nearest")
