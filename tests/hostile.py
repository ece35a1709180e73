"""Arrays that programs stumble over: of every dtype, byte order and layout, and of numbers that hardly occur."""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np
from hypothesis import strategies as st

FLOATS = ("f2", "f4", "f8", ">f4", ">f8", "g")
INTEGERS = ("u1", "i1", ">u2", "i2", "i4", ">i8", "u8", "?")
EXTREMES = (
    "noise",
    "constant",
    "zeros",
    "largest",
    "smallest",
    "denormal",
    "wide",
    "spike",
    "nan",
    "inf",
    "-inf",
    "far and nan",
)
LAYOUTS = ("C", "F", "reversed", "every second", "broadcast", "read-only", "mapped")


@st.composite
def shapes(draw: st.DrawFn, longest: int = 7, least: int = 1) -> tuple[int, int]:
    """Planes: a pixel, a line, a few of each; rarely nothing at all."""
    side = st.integers(least, longest)
    return draw(
        st.tuples(side, side)
        | st.tuples(st.just(1), side)
        | st.tuples(side, st.just(1))
        | st.just((1, 1))
        | st.sampled_from([(1, 2 * longest), (2 * longest, 1)])
    )


@st.composite
def arrays(draw: st.DrawFn, shape: Any, dtypes: Any = (*FLOATS, *INTEGERS), kinds: Any = EXTREMES) -> np.ndarray:
    """An array of one of these shapes, kinds of numbers and dtypes, in any layout."""
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    values = numbers(draw(shape), dtype, draw(st.sampled_from(kinds)), rng)
    return laid(values, draw(st.sampled_from(LAYOUTS)))


def numbers(shape: tuple[int, ...], dtype: np.dtype, kind: str, rng: np.random.Generator) -> np.ndarray:
    """Numbers of a kind in a dtype; of integers and bool, what comes nearest."""
    if dtype.kind == "b":
        return rng.random(shape) < (0.5 if kind == "noise" else kind == "largest")
    if dtype.kind in "iu":
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        fixed = {"constant": 3, "zeros": 0, "largest": high, "smallest": low}
        if kind in fixed:
            return np.full(shape, fixed[kind], dtype)
        return rng.integers(low, high, shape, dtype.newbyteorder("="), endpoint=True).astype(dtype)
    limits = np.finfo(dtype.newbyteorder("=") if dtype.char != "g" else np.float64)
    noise = rng.normal(0.5, 1, shape)
    decades = rng.uniform(np.log10(float(limits.tiny)), np.log10(float(limits.max)), shape)
    made = {
        "constant": np.full(shape, 0.7),
        "zeros": np.zeros(shape),
        "largest": np.full(shape, float(limits.max)),
        "smallest": np.full(shape, -float(limits.max)) * np.sign(noise),
        "denormal": np.full(shape, float(limits.smallest_subnormal)) * rng.integers(-9, 9, shape),
        "wide": np.sign(noise) * 10**decades,
        "far and nan": np.where(rng.random(shape) < 0.3, np.nan, float(limits.max)),
        "spike": np.where(rng.random(shape) < 0.2, float(limits.max) ** 0.75, noise),
    }.get(kind, noise)
    if kind in ("nan", "inf", "-inf"):
        made[rng.random(shape) < 0.3] = float(kind)
    return made.astype(dtype)


def laid(values: np.ndarray, layout: str) -> np.ndarray:
    """The same values, but for "broadcast", in another layout."""
    if layout == "F":
        return np.asfortranarray(values)
    if layout == "reversed":
        return values[::-1, ::-1].copy()[::-1, ::-1]
    if layout == "every second":
        return np.repeat(np.repeat(values, 2, 0), 2, 1)[::2, ::2]
    if layout == "broadcast":
        return np.broadcast_to(values[:1], values.shape)
    if layout == "read-only":
        values.setflags(write=False)
    if layout == "mapped" and values.size:
        with tempfile.TemporaryFile() as file:
            file.write(values.tobytes())
            file.flush()
            return np.memmap(file, values.dtype, "r", shape=values.shape)
    return values
