"""What a file's header says of the memory that the image will take, against the image as it is read."""

from __future__ import annotations

import os
import threading
import tracemalloc
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile

from convtool import files, images
from convtool.errors import DataError
from convtool.images.header import values_of


def pixels(shape: tuple[int, ...], dtype: str = "uint8") -> np.ndarray:
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


FILES = {
    "grey.png": (40, 30),
    "colour.png": (40, 30, 3),
    "alpha.png": (40, 30, 4),
    "x.jpg": (40, 30),
    "colour.jpg": (40, 30, 3),
    "x.bmp": (40, 30, 3),
    "x.gif": (40, 30),
    "x.webp": (40, 30, 3),
}


@pytest.mark.parametrize("name", FILES)
def test_pictures(tmp_path: Path, name: str) -> None:
    iio.imwrite(tmp_path / name, pixels(FILES[name]))
    found = images.read(str(tmp_path / name))
    held = found.data.size + (0 if found.alpha is None else found.alpha.size)
    values, width = values_of(str(tmp_path / name))
    assert held <= values <= 4 * held
    assert width == found.data.itemsize


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
@pytest.mark.parametrize("name", ["x.tif", "x.npy", "x.fits"])
def test_arrays(tmp_path: Path, name: str, dtype: str) -> None:
    shape, target = (3, 20, 30), str(tmp_path / name)
    if name == "x.tif":
        tifffile.imwrite(target, pixels(shape, dtype), photometric="minisblack", compression="zlib")
    elif name == "x.npy":
        np.save(target, pixels(shape, dtype))
    else:
        write_fits(target, pixels(shape, dtype))
    values, width = values_of(target)
    assert width == np.dtype(dtype).itemsize
    assert 1800 <= values <= (1800 if name != "x.fits" else 1800 + 2 * 2880)


def write_fits(target: str, x: np.ndarray) -> None:
    with files.Staging() as staging:
        bits = 8 * x.dtype.itemsize * (-1 if x.dtype.kind == "f" else 1)
        cards = ["SIMPLE  =                    T", f"BITPIX  = {bits:20d}", f"NAXIS   = {x.ndim:20d}"]
        cards += [f"NAXIS{i}  = {n:20d}" for i, n in enumerate(x.shape[::-1], 1)] + ["END"]
        data = x.astype(x.dtype.newbyteorder(">")).tobytes()
        staging.open(target).write("".join(f"{card:80}" for card in cards).ljust(2880).encode() + data)


@pytest.mark.parametrize("name", ["x.tif", "x.jpg", "x.npy"])
def test_no_more_of_a_file_is_read_than_its_header(tmp_path: Path, name: str) -> None:
    target = tmp_path / name
    if name == "x.tif":
        tifffile.imwrite(target, pixels((100, 100)))
    elif name == "x.npy":
        np.save(target, pixels((100, 100)))
    else:
        iio.imwrite(target, pixels((100, 100)))
    expected = values_of(str(target))
    with open(target, "r+b") as stream:
        stream.truncate(1 << 30)  # sparse
    tracemalloc.start()
    try:
        assert values_of(str(target)) == expected
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()


def test_other_files_that_a_file_names_are_not_opened(tmp_path: Path) -> None:
    """A named pipe would never answer, and a file elsewhere is none of its business."""
    other = tmp_path / "other.tif"
    os.mkfifo(other)
    image = '<Image><Pixels DimensionOrder="XYZCT" Type="uint8" SizeX="30" SizeY="20" SizeZ="2" SizeC="1" SizeT="1">'
    planes = [
        f'<TiffData FirstZ="{z}" PlaneCount="1"><UUID FileName="{f}">urn:{z}</UUID></TiffData>'
        for z, f in enumerate(["x.tif", "other.tif"])
    ]
    xml = f'<OME UUID="urn:0">{image}{"".join(planes)}</Pixels></Image></OME>'
    tifffile.imwrite(tmp_path / "x.tif", pixels((20, 30)), description=xml, metadata=None)
    found: list[tuple[int, int]] = []
    thread = threading.Thread(target=lambda: found.append(values_of(str(tmp_path / "x.tif"))), daemon=True)
    thread.start()
    thread.join(20)
    assert found
    with pytest.raises(DataError, match="lacks some of them"):
        images.read(str(tmp_path / "x.tif"))


@pytest.mark.parametrize(
    "content", [b"", b"II*\0", b"II*\0\xff\xff\xff\x7f", b"MM\0+\0\x08\0\0" + b"\xff" * 8, b"GIF89a"]
)
def test_what_is_damaged_is_left_for_reading_to_say(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    assert values_of(str(tmp_path / "x")) == (0, 1)
