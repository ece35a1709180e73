"""FITS in and out, with astropy itself as the oracle."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from image_files import again, pixels, put
from numpy.testing import assert_array_equal

from convtool import images
from convtool.errors import DataError, FileError, MissingExtraError
from convtool.images import guard


@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "float32", "float64"]
)
@pytest.mark.parametrize("shape", [(5, 7), (3, 5, 7)])
def test_fits(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    data = pixels(shape).astype(dtype)
    header = fits.Header({"OBJECT": "M 31", "CRPIX1": 3.5, "EXPTIME": 30.0})
    fits.PrimaryHDU(data, header).writeto(tmp_path / "in.fits", checksum=True)
    image = images.read(str(tmp_path / "in.fits"))
    assert image.axes == "ZYX"[-len(shape) :]
    assert image.data.dtype == np.dtype(dtype)
    assert image.data.dtype.isnative
    assert_array_equal(image.data, data)
    written = again(image, tmp_path / "out.fits")
    assert written.dropped == ()
    with fits.open(tmp_path / "out.fits", checksum=True) as units:
        units.verify("exception")
        assert_array_equal(units[0].data, data)
        assert units[0].data.dtype.newbyteorder("=") == np.dtype(dtype)
        assert (units[0].header["OBJECT"], units[0].header["CRPIX1"]) == ("M 31", 3.5)
    assert images.default_target(image, "x") == str(tmp_path / "in.x.fits")


@pytest.mark.parametrize("unit", [fits.ImageHDU, fits.CompImageHDU])
def test_the_first_image_with_data(tmp_path: Path, unit: Any) -> None:
    data = pixels((40, 50), "uint16").astype(np.int16) // 8
    table = fits.BinTableHDU.from_columns([fits.Column("a", "J", array=np.arange(3))])
    image_unit = unit(data, fits.Header({"OBJECT": "here"}))
    fits.HDUList([fits.PrimaryHDU(), table, image_unit, fits.ImageHDU(data[::2])]).writeto(tmp_path / "in.fits")
    image = images.read(str(tmp_path / "in.fits"))
    assert_array_equal(image.data, data)
    again(image, tmp_path / "out.fits")
    with fits.open(tmp_path / "out.fits") as units:
        units.verify("exception")
        assert_array_equal(units[0].data, data)
        assert units[0].header["OBJECT"] == "here"


def test_scaled_values_and_blanks(tmp_path: Path) -> None:
    raw = fits.PrimaryHDU(np.array([[1, 2, 3], [4, -9, 6]], np.int16))
    raw.header["BSCALE"], raw.header["BZERO"], raw.header["BLANK"] = 0.5, 10.0, -9
    raw.writeto(tmp_path / "in.fits")
    with pytest.raises(DataError, match=r"in.fits has 1 NaN or infinite values, first at Y=1, X=1"):
        images.read(str(tmp_path / "in.fits"))
    image = images.read(str(tmp_path / "in.fits"), nan="zero")
    assert_array_equal(image.data, [[10.5, 11, 11.5], [12, 0, 13]])
    again(image, tmp_path / "out.fits")
    with fits.open(tmp_path / "out.fits") as units:
        assert_array_equal(units[0].data, image.data)
        assert "BLANK" not in units[0].header


def test_a_changed_shape_is_said(tmp_path: Path) -> None:
    fits.PrimaryHDU(pixels((5, 7)), fits.Header({"CRPIX1": 3.5})).writeto(tmp_path / "in.fits")
    image = images.read(str(tmp_path / "in.fits"))
    written = put(np.ones((3, 5)), "YX", tmp_path / "out.fits", image)
    assert any("CRPIX" in words for words in written.dropped)
    alike = put(np.ones((5, 7)), "YX", tmp_path / "out.fits", None, alpha=np.ones((5, 7)))
    assert alike.dropped == ("alpha, which a FITS file cannot hold",)


def test_what_the_header_says_of_other_values_goes(tmp_path: Path) -> None:
    header = fits.Header({"DATAMAX": 254.0, "DATAMIN": 1.0})
    fits.PrimaryHDU(pixels((5, 7)), header).writeto(tmp_path / "in.fits", checksum=True)
    put(np.ones((5, 7)), "YX", tmp_path / "out.fits", images.read(str(tmp_path / "in.fits")))
    with fits.open(tmp_path / "out.fits") as units:
        assert not {"CHECKSUM", "DATASUM", "DATAMIN", "DATAMAX"} & set(units[0].header)


def test_output_is_the_same_every_time(tmp_path: Path) -> None:
    for name in ("a.fits", "b.fits"):
        put(np.arange(12.0).reshape(2, 3, 2), "YXC", tmp_path / name)
    assert (tmp_path / "a.fits").read_bytes() == (tmp_path / "b.fits").read_bytes()
    assert fits.getdata(tmp_path / "a.fits").shape == (2, 2, 3)


def test_without_astropy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fits.PrimaryHDU(pixels((5, 7))).writeto(tmp_path / "in.fits")
    monkeypatch.setitem(sys.modules, "astropy.io.fits", None)
    with pytest.raises(MissingExtraError, match=r"in.fits is a FITS file, .*pip install 'convtool\[fits\]'"):
        images.read(str(tmp_path / "in.fits"))
    with pytest.raises(MissingExtraError, match="fits"):
        put(np.ones((5, 7)), "YX", tmp_path / "out.fits")
    assert not (tmp_path / "out.fits").exists()


def test_files_without_a_usable_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fits.PrimaryHDU().writeto(tmp_path / "in.fits")
    with pytest.raises(DataError, match="holds no image of 2 or more axes"):
        images.read(str(tmp_path / "in.fits"))
    fits.PrimaryHDU(np.ones((1, 2, 3, 4, 5), np.uint8)).writeto(tmp_path / "five.fits")
    with pytest.raises(DataError, match="has 5 axes"):
        images.read(str(tmp_path / "five.fits"))
    fits.PrimaryHDU(np.ones((60, 70), np.float32)).writeto(tmp_path / "cut.fits")
    (tmp_path / "cut.fits").write_bytes((tmp_path / "cut.fits").read_bytes()[:-3000])
    with pytest.raises(FileError, match="its header promises"):
        images.read(str(tmp_path / "cut.fits"))
    fits.PrimaryHDU(np.ones((60, 70), np.float32)).writeto(tmp_path / "big.fits")
    monkeypatch.setattr(guard, "available_memory", lambda: 60 * 70 * 8 - 1)
    with pytest.raises(DataError, match=r"float32\) needs 33600 bytes"):
        images.read(str(tmp_path / "big.fits"))


@pytest.mark.parametrize("keyword", [b"OR?GIN  ", b"ORIGIN\x80 ", b"\0RIGIN  "])
def test_a_card_that_breaks_the_standard_is_left_out(tmp_path: Path, keyword: bytes) -> None:
    values = pixels((4, 5))
    header = fits.Header([("OBJECT", "M 31"), ("ORIGIN", "here"), ("EXPTIME", 2.5)])
    stream = io.BytesIO()
    fits.PrimaryHDU(values, header).writeto(stream)
    assert stream.getvalue().count(b"ORIGIN  =") == 1
    (tmp_path / "in.fits").write_bytes(stream.getvalue().replace(b"ORIGIN  =", keyword + b"="))
    image = images.read(str(tmp_path / "in.fits"))
    written = again(image, tmp_path / "out.fits")
    assert "cards of the FITS header that break the standard" in written.dropped
    with fits.open(tmp_path / "out.fits") as units:
        assert_array_equal(units[0].data, values)
        assert (units[0].header["OBJECT"], units[0].header["EXPTIME"]) == ("M 31", 2.5)
        assert not any("?" in card.keyword for card in units[0].header.cards)
