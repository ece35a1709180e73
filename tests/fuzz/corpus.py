"""Small odd files of every format that is read, made by the project's own code and its codecs' writers."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import tifffile

from convtool import images
from convtool.files import Staging

_SHAPES = ((1, 1), (1, 9), (7, 1), (5, 6))


def image_files(folder: Path) -> list[bytes]:
    """PNGs, JPEGs and TIFFs by convtool; the other formats and layouts by the libraries that read them."""
    rng = np.random.default_rng(0)
    found = []
    for shape in _SHAPES:
        for dtype in ("uint8", "uint16"):
            values = rng.integers(0, np.iinfo(dtype).max, shape).astype(dtype)
            found += [_written(folder / f"it.{suffix}", values, dtype) for suffix in ("png", "tif")]
            found.append(_tiff(values, compression="zlib"))
        found.append(_written(folder / "it.jpg", rng.integers(0, 255, shape).astype(np.uint8), "uint8"))
        found.append(_written(folder / "it.tif", rng.random(shape).astype(np.float32), "float32"))
    return found + _colour_files(folder) + _stacks(folder)


def _colour_files(folder: Path) -> list[bytes]:
    """RGB, palettes, transparency, one bit a pixel."""
    rng = np.random.default_rng(2)
    colour = rng.integers(0, 255, (5, 6, 3)).astype(np.uint8)
    alpha = rng.integers(0, 255, (5, 6, 4)).astype(np.uint8)
    picture = PIL.Image.fromarray(colour)
    found = [_pillow(picture, kind) for kind in ("BMP", "GIF", "WEBP", "PNG", "JPEG")]
    found += [_pillow(PIL.Image.fromarray(alpha), kind) for kind in ("PNG", "WEBP", "TIFF")]
    found += [_pillow(picture.quantize(5), kind, transparency=1) for kind in ("PNG", "GIF")]
    found += [_pillow(picture.convert("1"), kind) for kind in ("PNG", "TIFF", "BMP")]
    found.append(_pillow(picture, "JPEG", progressive=True))
    found.append(_written(folder / "it.png", 257 * colour.astype(np.uint16), "uint16", "YXC"))
    return [*found, _tiff(colour, photometric="rgb"), _tiff(colour, photometric="rgb", compression="lzw")]


def _stacks(folder: Path) -> list[bytes]:
    """Pages, tiles, planes, predictors, and the axes of those who have their own."""
    values = np.random.default_rng(3).integers(0, 255, (3, 5, 6)).astype(np.uint8)
    settings: list[dict[str, Any]] = [
        {"imagej": True},
        {"ome": True},
        {"bigtiff": True},
        {"byteorder": ">", "metadata": None},
        {"tile": (16, 16), "compression": "deflate", "predictor": True},
        {"rowsperstrip": 2, "compression": "packbits"},
        {"photometric": "rgb", "planarconfig": "separate", "metadata": None},
    ]
    found = [_tiff(values, **{"photometric": "minisblack", **each}) for each in settings]
    found += [_written(folder / "it.fits", values[0], "uint8"), _written(folder / "it.fits", values, "int16", "ZYX")]
    return [*found, _written(folder / "it.npy", values, "uint8", "ZYX")]


def kernel_files() -> list[bytes]:
    """Arrays of every kind of number, order and rank, and texts."""
    rng = np.random.default_rng(1)
    arrays: list[np.ndarray] = [
        rng.random((3, 4)),
        rng.random(5).astype(">f4"),
        np.asfortranarray(rng.random((2, 3, 3))),
        rng.integers(-5, 5, (3, 3)).astype(np.int16),
        np.ones((1, 1), bool),
        rng.random((2, 2, 3, 3)).astype(np.float16),
        np.zeros((0, 3)),
        np.array([[1 + 2j]]),
        np.array([["a"]]),
        np.array([[{}]], dtype=object),
        np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
    ]
    texts = [
        "1 2 3\n4 5 6\n",
        "# a kernel\n1,2\n3,4",
        "1;2\n3;4\n",
        "1e400 0\n",
        "nan 1\n",
        "",
        "\n\n",
        "1 2\n3\n",
        "0x10 1\n",
    ]
    return [_saved(each) for each in arrays] + [text.encode() for text in texts]


def specs() -> list[str]:
    """Kernel expressions."""
    return [
        "gaussian:sigma=1.6",
        "gaussian:sigma=1,2,size=9,15",
        "disk:radius=4",
        "motion:length=9,angle=20",
        "box:size=3",
        "airy:radius=3",
        "moffat:alpha=2,beta=2.5",
        "random:size=3,5,seed=1",
        "sobel-x",
        "laplacian",
        "delta:at=1,2",
    ]


def axes() -> list[str]:
    """Axes strings."""
    return ["YX", "YXC", "CYX", "NCZYX", "ZYX", "TYX", "", "YY", "XY", "Q"]


def lists() -> list[bytes]:
    """Lists of files, as people and programs write them."""
    return [
        b"a.png\nb c.tif\n",
        b"a.png\r\n\r\nsub/b.npy",
        b"./a\nb.png\0c.png\0",
        b"caf\xe9.png\n\xe2\x98\x83.png\n",
        b"@other.txt\n*.png\n# c\n-\n",
        b"\n",
        b"a" * 4090 + b".png\nb.png\n",
    ]


def _written(target: Path, values: np.ndarray, dtype: str, axes: str = "YX") -> bytes:
    with Staging() as staging:
        images.write(values.astype(np.float64), axes, str(target), staging, like=None, dtype=dtype)
    return target.read_bytes()


def _pillow(picture: PIL.Image.Image, kind: str, **how: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **how)
    return out.getvalue()


def _tiff(values: np.ndarray, **how: Any) -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tifffile.imwrite(out, values, **how)
    return out.getvalue()


def _saved(values: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, values)
    return out.getvalue()
