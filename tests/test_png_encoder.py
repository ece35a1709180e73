"""PNG pixels as they are encoded here, beside what Pillow, OpenCV and imagecodecs read of them."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import RNG, chunk
from numpy.testing import assert_array_equal

from convtool import images, process
from convtool.images import png_encoder

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def png(pixels: np.ndarray) -> bytes:
    parts = b"".join(chunk(b"IDAT", part) for part in png_encoder.encoded(pixels))
    return SIGNATURE + chunk(b"IHDR", png_encoder.header(pixels)) + parts + chunk(b"IEND", b"")


def rows_of(pixels: np.ndarray) -> np.ndarray:
    """The filtered bytes [rows, 1 + bytes], after a strict reader of the stream has checked its end and checksum."""
    inflate = zlib.decompressobj()
    content = inflate.decompress(b"".join(png_encoder.encoded(pixels)))
    assert inflate.eof
    assert inflate.unused_data == b""
    return np.frombuffer(content, np.uint8).reshape(len(pixels), -1)


def smooth(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """A ramp with noise, for which differences are small and wrap around."""
    ramp = sum(np.ix_(*(17 * np.arange(n) for n in shape)))
    return (ramp + RNG.integers(0, 9, shape)).astype(dtype)


def drawn(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    return (RNG.random(shape) < 0.02).astype(dtype) * np.iinfo(dtype).max


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from([None, 2, 3, 4]),
    st.sampled_from(["uint8", "uint16"]),
    st.sampled_from([smooth, drawn]),
)
def test_others_read_what_was_encoded(height: int, width: int, samples: int | None, dtype: str, make: object) -> None:
    shape = (height, width) if samples is None else (height, width, samples)
    pixels = make(shape, dtype)  # type: ignore[operator]
    file = png(pixels)
    assert_array_equal(imagecodecs.png_decode(file).reshape(shape), pixels)
    if dtype == "uint8" or samples is None:  # Pillow cuts deep colour
        assert_array_equal(np.asarray(PIL.Image.open(io.BytesIO(file))), pixels)
    cv2 = pytest.importorskip("cv2", reason="the extra 'bench' is not installed")
    if samples in (None, 3):
        seen = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_UNCHANGED)
        assert_array_equal(seen if samples is None else seen[..., ::-1], pixels)


@pytest.mark.parametrize(
    ("shape", "parts"), [((3000, 700), 3), ((900, 1111, 3), 3), ((2, 900_000), 2), ((900_000, 1), 2), ((1, 1), 1)]
)
def test_any_number_of_threads_gives_the_same_bytes(
    shape: tuple[int, ...], parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = smooth(shape, "uint8")
    found = []
    for threads in (1, 2, 3, 7):
        monkeypatch.setattr(process.policy, "threads", threads)
        found.append(png_encoder.encoded(pixels))
    assert all(one == found[0] for one in found)
    assert len(found[0]) == parts
    assert_array_equal(np.asarray(PIL.Image.open(io.BytesIO(png(pixels)))), pixels)


def test_every_filter_is_chosen_where_it_leaves_the_least() -> None:
    y, x = np.ogrid[:400, :400]
    steps = RNG.integers(-9, 10, (400, 400))
    noise, rough = RNG.integers(0, 256, (400, 1)), RNG.integers(0, 256, (1, 400))
    wave = 40 * np.sin(y / 3 + x / 5) + 90
    cases = {
        0: drawn((400, 400), "uint8") // 255,
        1: (noise + steps.cumsum(axis=1)).astype(np.uint8),
        2: (rough + steps.cumsum(axis=0)).astype(np.uint8),
        3: (wave + RNG.integers(-30, 31, (400, 400))).astype(np.uint8),
        4: (noise + rough).astype(np.uint8),
    }
    for kind, pixels in cases.items():
        chosen = np.bincount(rows_of(pixels)[:, 0], minlength=5)
        assert chosen.argmax() == kind, (kind, chosen)


def test_rows_repeated_in_pairs_are_not_taken_for_repeated_throughout() -> None:
    """The rows that are asked for a filter must not all be the copies in an enlarged picture."""
    pixels = np.repeat(smooth((200, 300), "uint8"), 2, axis=0)
    assert set(rows_of(pixels)[:, 0]) != {2}


@pytest.mark.parametrize("layout", [np.asfortranarray, lambda a: a[::-1, ::-1], lambda a: a.astype(">u2")])
def test_any_layout_in_memory_is_encoded_alike(layout: object) -> None:
    pixels = smooth((60, 70, 3), "uint16")
    given = layout(pixels)  # type: ignore[operator]
    assert_array_equal(imagecodecs.png_decode(png(given)), given)


def test_photographs_take_no_more_room_than_with_the_usual_encoder() -> None:
    for name in ("camera.png", "chelsea.png"):
        pixels = images.read(str(Path(__file__).parents[1] / "sample_images" / name)).data
        usual = io.BytesIO()
        PIL.Image.fromarray(pixels).save(usual, "png")
        assert len(png(pixels)) <= 1.03 * len(usual.getvalue()), name
