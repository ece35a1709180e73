"""Resolution and spacing of results with fewer, or more, samples than the image, as others read them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from command import succeed
from PIL import Image

from convtool.images import Metadata, resampled
from convtool.images.image import TiffMetadata

PIXELS = np.random.default_rng(4).integers(0, 256, (5, 40, 60), dtype=np.uint8)
STRIDE_2_3 = ("correlate", "-k", "box:size=3", "--stride", "2,3")


def resolution(file: Path) -> tuple[Fraction, Fraction, int]:
    """X and Y resolution of a TIFF's first page, and their unit."""
    with tifffile.TiffFile(file) as tiff:
        tags = tiff.pages[0].tags
        return Fraction(*tags[282].value), Fraction(*tags[283].value), int(tags[296].value)


def test_a_stride_leaves_fewer_pixels_an_inch(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "x.tif", PIXELS[0], resolution=(300, 200), resolutionunit="INCH")
    Image.fromarray(PIXELS[0]).save(tmp_path / "x.png", dpi=(300, 200))
    for name in ("x.tif", "x.png"):
        succeed(*STRIDE_2_3, name, "-o", f"y{name}", cwd=tmp_path)
        succeed("maxpool", name, "--window", "4", "--stride", "window", "-o", f"z{name}", cwd=tmp_path)
        succeed("correlate", name, "-k", "box:size=3", "-o", f"same{name}", cwd=tmp_path)
    assert resolution(tmp_path / "yx.tif") == (100, 100, 2)
    assert resolution(tmp_path / "zx.tif") == (75, 50, 2)
    assert resolution(tmp_path / "samex.tif") == (300, 200, 2)
    for name, expected in (("yx.png", (100, 100)), ("zx.png", (75, 50)), ("samex.png", (300, 200))):
        with Image.open(tmp_path / name) as image:
            assert image.info["dpi"] == pytest.approx(expected, rel=1e-3)


def test_what_undoes_a_stride_gives_them_back(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "x.tif", PIXELS[0].astype(np.float32), resolution=(300, 200), resolutionunit="INCH")
    succeed(*STRIDE_2_3, "--boundary", "zero", "x.tif", "-o", "y.tif", cwd=tmp_path)
    undo = ["deconvolve", "y.tif", "--operation", *STRIDE_2_3, "--boundary", "zero", "--image-shape", "40,60"]
    succeed(*undo, "--method", "least-squares", "-o", "z.tif", "-q", cwd=tmp_path)
    assert resolution(tmp_path / "z.tif") == (300, 200, 2)


def test_planes_and_pixels_of_microscopes_are_as_far_apart_as_they_are(tmp_path: Path) -> None:
    plane: dict[str, Any] = {"axes": "ZYX", "spacing": 0.5, "unit": "um"}
    tifffile.imwrite(tmp_path / "x.tif", PIXELS, imagej=True, resolution=(10, 10), metadata=plane)
    sizes = {"PhysicalSizeX": 0.1, "PhysicalSizeY": 0.1, "PhysicalSizeZ": 0.5, "PhysicalSizeZUnit": "µm"}
    tifffile.imwrite(tmp_path / "x.ome.tif", PIXELS, ome=True, metadata={"axes": "ZYX", **sizes})
    for name in ("x.tif", "x.ome.tif"):
        succeed("maxpool", name, "--window", "2,3,4", "--stride", "window", "-o", f"y{name}", cwd=tmp_path)
    with tifffile.TiffFile(tmp_path / "yx.tif") as tiff:
        assert tiff.imagej_metadata is not None
        assert (tiff.imagej_metadata["spacing"], tiff.imagej_metadata["unit"]) == (1.0, "um")
    assert resolution(tmp_path / "yx.tif")[:2] == (Fraction(10, 4), Fraction(10, 3))
    with tifffile.TiffFile(tmp_path / "yx.ome.tif") as tiff:
        pixels = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]["Pixels"]
    found = [pixels[f"PhysicalSize{letter}"] for letter in "XYZ"]
    assert found == pytest.approx([0.4, 0.3, 1.0])
    assert pixels["PhysicalSizeZUnit"] == "µm"


def test_odd_resolutions_stay_within_their_fields() -> None:
    both = {"X": Fraction(1, 3), "Y": Fraction(7)}
    huge = TiffMetadata("plain", "YX", (2, 2), "YX", resolution=((2**32 - 1, 1), (1, 2**32 - 1)))
    found = resampled(Metadata(tiff=huge), both).tiff
    assert found is not None
    assert found.resolution is not None
    assert all(0 <= n < 2**32 and 0 < d < 2**32 for n, d in found.resolution)
    ratio = (b"pHYs", bytes([0, 0, 0, 1, 0, 0, 0, 1, 0]))  # square pixels, of no size
    assert resampled(Metadata(png=(ratio,)), {"X": Fraction(2)}).png == ((b"pHYs", bytes([0, 0, 0, 1, 0, 0, 0, 2, 0])),)
    metres = (b"pHYs", bytes([255] * 8 + [1]))
    assert resampled(Metadata(png=(metres,)), both).png[0][1][:4] == (2**31 - 1).to_bytes(4, "big")
    odd = (b"pHYs", b"short")
    assert resampled(Metadata(png=(odd,)), both).png == (odd,)
    named = TiffMetadata("imagej", "YX", (2, 2), "YX", fields={"spacing": "wide", "unit": "um"})
    assert resampled(Metadata(tiff=named), {"Z": Fraction(2)}).tiff == named


@pytest.mark.parametrize("per_inch", [2**32 - 1, Fraction(1, 200)])
def test_a_resolution_that_a_format_cannot_say_is_left_out_and_told(tmp_path: Path, per_inch: Fraction) -> None:
    """Pixels of 0.01 nm, or of 5 m."""
    ratio = Fraction(per_inch)
    both = ((ratio.numerator, ratio.denominator),) * 2
    tifffile.imwrite(tmp_path / "x.tif", PIXELS[0], resolution=both, resolutionunit="INCH")
    for name, format in (("y.png", "PNG"), ("y.jpg", "JPEG")):
        says = succeed("maxpool", "x.tif", "--window", "2", "-o", name, cwd=tmp_path).stderr
        assert f"note: not kept: the resolution, which no {format} can say" in says
        with Image.open(tmp_path / name) as image:
            assert "dpi" not in image.info
    succeed("maxpool", "x.tif", "--window", "2", "-o", "y.tif", cwd=tmp_path)
    assert resolution(tmp_path / "y.tif")[0] == ratio
