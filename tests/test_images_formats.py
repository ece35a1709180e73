"""What each format holds, how axes and alpha are laid out for it, and where results go by default."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import PIL.Image
import pytest
from image_files import PROFILE, again, exif, pixels, put, seen
from numpy.testing import assert_array_equal
from PIL.PngImagePlugin import PngInfo

from convtool import images
from convtool.errors import DataError, SettingError


@pytest.mark.parametrize(
    ("name", "axes", "shape", "settings", "words"),
    [
        ("a.png", "YX", (4, 5), {}, "a PNG holds 8- or 16-bit integers, got float64: use --dtype uint8 or uint16"),
        ("a.png", "YX", (4, 5), {"dtype": "int32"}, "got int32"),
        ("a.png", "YXC", (4, 5, 2), {"dtype": "uint8"}, "holds 1 or 3 channels, got 2: write .tif or .npy"),
        ("a.png", "NYX", (2, 4, 5), {"dtype": "uint8"}, "holds one picture, got axes NYX"),
        ("a.png", "X", (5,), {"dtype": "uint8"}, "holds one picture"),
        ("a.jpg", "YX", (4, 5), {"dtype": "uint16"}, "a JPEG holds 8-bit integers, got uint16"),
        ("a.jpg", "YX", (1, 70000), {"dtype": "uint8"}, "65535"),
        ("a.fits", "YX", (4, 5), {"dtype": "float16"}, "FITS"),
        ("a.tif", "CX", (4, 5), {}, "a TIFF holds pictures"),
        ("a.xyz", "YX", (4, 5), {}, "cannot tell the format of .*: use .png, .jpg"),
        ("a.png", "YX", (4, 5), {"format": "gif"}, "unknown format 'gif': use fits, jpeg, npy, png or tiff"),
        ("a.npy", "YX", (4, 5), {"dtype": "complex64"}, "unknown --dtype 'complex64'"),
        ("a.png", "YX", (4, 5), {"dtype": "uint8", "alpha": np.zeros((4, 4), np.uint8)}, "alpha has shape 4x4"),
    ],
)
def test_what_cannot_be_written(
    tmp_path: Path, name: str, axes: str, shape: tuple[int, ...], settings: dict[str, Any], words: str
) -> None:
    with pytest.raises((SettingError, DataError), match=words):
        put(np.zeros(shape), axes, tmp_path / name, **settings)
    assert os.listdir(tmp_path) == []


def test_axes_are_laid_out_for_pictures(tmp_path: Path) -> None:
    data = pixels((3, 4, 5))
    written = put(data.astype(float), "CYX", tmp_path / "a.png", dtype="uint8")
    assert_array_equal(seen(tmp_path / "a.png"), np.moveaxis(data, 0, -1))
    assert (written.axes, written.shape) == ("YXC", (4, 5, 3))
    put(data[None, :1].astype(float), "NCYX", tmp_path / "b.png", dtype="uint8")
    assert_array_equal(seen(tmp_path / "b.png"), data[0])
    put(data[0].T.astype(float), "XY", tmp_path / "c.png", dtype="uint8")
    assert_array_equal(seen(tmp_path / "c.png"), data[0])


def test_alpha_follows_the_depth_and_is_said_to_be_lost(tmp_path: Path) -> None:
    PIL.Image.fromarray(pixels((4, 5, 4))).save(tmp_path / "in.png", dpi=(10, 10))
    image = images.read(str(tmp_path / "in.png"))
    put(image.data * 1.0, "YXC", tmp_path / "out.png", image, alpha=image.alpha, dtype="uint16")
    deep = imagecodecs.png_decode((tmp_path / "out.png").read_bytes())
    assert_array_equal(deep[..., 3], image.alpha.astype(np.uint16) * 257)  # type: ignore[union-attr]
    written = put(image.data * 1.0, "YXC", tmp_path / "out.npy", image, alpha=image.alpha)
    assert written.dropped == ("alpha, resolution, which an .npy file cannot hold",)


def test_what_a_format_has_no_room_for_is_said(tmp_path: Path) -> None:
    entries = PIL.Image.Exif()
    entries[271] = "M" * 70000
    PIL.Image.fromarray(pixels((4, 5))).save(tmp_path / "in.png", exif=entries.tobytes())
    image = images.read(str(tmp_path / "in.png"))
    written = put(image.data * 1.0, "YX", tmp_path / "out.jpg", image, dtype="uint8")
    assert written.dropped == ("the EXIF data, which is too long for a JPEG",)
    with PIL.Image.open(tmp_path / "out.jpg") as shown:
        assert not shown.getexif()


def test_an_animation_is_its_first_frame_and_says_so(tmp_path: Path) -> None:
    frames = [PIL.Image.fromarray(each) for each in pixels((2, 4, 5))]
    frames[0].save(tmp_path / "in.png", save_all=True, append_images=frames[1:])
    image = images.read(str(tmp_path / "in.png"))
    assert_array_equal(image.data, np.asarray(frames[0]))
    assert any("animated: only its first frame is used" in note for note in image.assumed)


def test_alpha_and_axes_cannot_both_be_said(tmp_path: Path) -> None:
    PIL.Image.fromarray(pixels((4, 5, 4))).save(tmp_path / "in.png")
    assert images.read(str(tmp_path / "in.png"), axes="YXC").axes == "YXC"
    with pytest.raises(SettingError, match="has alpha, so its axes are YXC"):
        images.read(str(tmp_path / "in.png"), axes="CYX")


def test_resample_alpha() -> None:
    alpha = pixels((4, 6))
    padded = images.resample_alpha(alpha, np.arange(-2, 6), np.arange(-1, 7))  # type: ignore[arg-type]
    assert_array_equal(padded, np.pad(alpha, ((2, 2), (1, 1)), mode="edge"))
    assert_array_equal(images.resample_alpha(alpha, [0, 2], [1, 3, 5]), alpha[::2, 1::2])


def test_output_is_the_same_every_time(tmp_path: Path) -> None:
    PIL.Image.fromarray(pixels((4, 5, 3))).save(
        tmp_path / "in.png", icc_profile=PROFILE, exif=exif(6), pnginfo=PngInfo()
    )
    image = images.read(str(tmp_path / "in.png"))
    for name in ("a.png", "a.jpg", "a.npy", "a.tif"):
        again(image, tmp_path / name)
        first = (tmp_path / name).read_bytes()
        again(image, tmp_path / name)
        assert (tmp_path / name).read_bytes() == first


@pytest.mark.parametrize("quality", [50, 75, 95, 100])
def test_what_a_jpeg_has_lost_is_told_from_its_quantisation(tmp_path: Path, quality: int) -> None:
    """As large as the error of a picture with detail in it, within a factor of 6, and growing with the steps."""
    x = np.clip(128 + 25 * np.cumsum(np.random.default_rng(0).standard_normal((64, 96)), axis=1), 0, 255)
    PIL.Image.fromarray(x.astype(np.uint8)).save(tmp_path / "x.jpg", quality=quality)
    image = images.read(str(tmp_path / "x.jpg"))
    with PIL.Image.open(tmp_path / "x.jpg") as shown:
        steps = np.array(shown.quantization[0], float)  # type: ignore[attr-defined]
    assert image.loss == pytest.approx(0.7 * np.sqrt((steps**2).mean() / 12))
    error = float(np.sqrt(np.square(image.data - np.floor(x)).mean()))
    assert image.loss / 6 <= error <= 6 * image.loss
    PIL.Image.fromarray(x.astype(np.uint8)).save(tmp_path / "x.png")
    assert images.read(str(tmp_path / "x.png")).loss == 0
