"""Small files that unpack to a great many pixels are refused from their headers alone."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile
from command import refused, succeed

from convtool import images, process
from convtool.errors import DataError
from convtool.images import guard

SIDE = 5_000
LIMIT = PIL.Image.MAX_IMAGE_PIXELS


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(side: int) -> bytes:
    """A PNG of zeros, written by hand so that making it takes no memory."""
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(side + 1)) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def tiff(pixels: np.ndarray, **how: object) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, pixels, **how)
    return out.getvalue()


def gif(side: int) -> bytes:
    """The header of a GIF, whose one frame is as large as it says."""
    frame = b"," + struct.pack("<HHHHB", 0, 0, side, side, 0) + b"\x02\x02\x4c\x01\x00"
    return b"GIF89a" + struct.pack("<HHBBB", side, side, 0x80, 0, 0) + bytes(6) + frame + b";"


def read(folder: Path, raw: bytes) -> images.Image:
    (folder / "it").write_bytes(raw)
    return images.read(str(folder / "it"))


@pytest.mark.parametrize("make", [png, gif])
def test_a_bomb_is_refused_before_it_is_unpacked(make: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process.policy, "max_pixels", SIDE * SIDE - 1)
    raw = make(SIDE)  # type: ignore[operator]
    assert len(raw) < SIDE * SIDE / 500
    tracemalloc.start()
    with pytest.raises(DataError, match=rf"it would unpack from {len(raw)} bytes to {SIDE**2} pixels, .* --max-pixels"):
        read(tmp_path, raw)
    assert tracemalloc.get_traced_memory()[1] < 20 * len(raw) + 2_000_000
    tracemalloc.stop()


def test_the_limit_is_for_pixels_of_compressed_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process.policy, "max_pixels", 10_000)
    assert read(tmp_path, png(100)).data.shape == (100, 100)
    with pytest.raises(DataError, match="to 10201 pixels, and more than 10000"):
        read(tmp_path, png(101))
    colour = np.zeros((100, 100, 3), np.uint8)  # three samples, one pixel
    assert read(tmp_path, tiff(colour, compression="zlib", photometric="rgb")).data.shape == (100, 100, 3)
    stack = np.zeros((3, 100, 100), np.uint8)
    with pytest.raises(DataError, match="to 30000 pixels"):
        read(tmp_path, tiff(stack, compression="zlib", photometric="minisblack"))
    assert read(tmp_path, tiff(stack, photometric="minisblack")).data.shape == (3, 100, 100)  # as large as it says
    np.save(tmp_path / "large.npy", stack)
    assert images.read(str(tmp_path / "large.npy")).data.size == 30_000


@pytest.mark.parametrize(("side", "padding", "limit"), [(8193, 0, 2**26), (20_000, 30_000, 75_087_500)])
def test_very_few_bytes_unpack_to_even_less(tmp_path: Path, side: int, padding: int, limit: int) -> None:
    """10,000 bytes a byte, unless the user has said how many pixels it may be; pixels of a GIF may become 4 bytes."""
    raw = gif(side) + bytes(padding)
    assert len(raw) == padding + 35
    with pytest.raises(
        DataError, match=f"to {side**2} pixels, and more than {limit} are taken .* --max-pixels {side**2}"
    ):
        read(tmp_path, raw)
    for size in (1, 4, 24):
        guard.check_unpacked("it", 4 * limit // size, size, len(raw))
        with pytest.raises(DataError, match=f"more than {4 * limit // size} "):
            guard.check_unpacked("it", 4 * limit // size + 1, size, len(raw))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process.policy, "max_pixels", side**2)
        guard.check_unpacked("it", side**2, 24, len(raw))
        with pytest.raises(DataError, match=f"more than {side**2} "):
            guard.check_unpacked("it", side**2 + 1, 1, len(raw))


def test_a_gif_whose_frames_are_made_room_for_before_its_size_is_known(tmp_path: Path) -> None:
    """A frame that is disposed of, larger than the picture: Pillow makes it as it opens the file."""
    frame = b"!\xf9\x04\x08\0\0\0\0" + b"," + struct.pack("<HHHHB", 0, 0, 60_000, 60_000, 0) + b"\x02\x02\x4c\x01\0"
    raw = b"GIF89a" + struct.pack("<HHBBB", 5, 5, 0x80, 0, 0) + bytes(6) + frame + b";"
    with pytest.raises(DataError, match=r"to 3600000000 pixels, and more than 67108864 .* --max-pixels 3600000000"):
        read(tmp_path, raw)
    assert PIL.Image.MAX_IMAGE_PIXELS == LIMIT


def test_the_user_has_the_last_word(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(png(120))
    words = ("convolve", "x.png", "-k", "box:size=3", "-o", "y.png", "--max-pixels")
    assert "say --max-pixels 14400" in refused(tmp_path, *words, "14399", cwd=tmp_path)
    succeed(*words, "14400", cwd=tmp_path)
