"""Between the codecs and the user: damaged files become one line, warnings stay inside, bombs are not unpacked."""

from __future__ import annotations

import importlib
import math
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from convtool import process
from convtool.axes import spelled
from convtool.errors import ConvtoolError, DataError, FileError, MissingExtraError
from convtool.memory import available_memory

_SMALL = 1 << 28  # bytes, for which there is room everywhere
_PER_BYTE = 10_000  # bytes: PNG and most TIFFs reach a tenth of it, where all are black


def _silenced() -> Callable[[], None]:
    filters = warnings.catch_warnings(action="ignore")
    filters.__enter__()
    return lambda: filters.__exit__(None, None, None)


silence = process.Change(_silenced)  # filters are the process's, and several images may be read at a time


@contextmanager
def decoding(name: str, what: str) -> Iterator[None]:
    """Around a codec's calls: whatever they raise becomes a FileError of one line, and their warnings are dropped."""
    with silence:
        try:
            yield
        except ConvtoolError:
            raise
        except MemoryError as error:
            raise FileError(f"cannot read {name}: unpacking the {what} file takes more memory than there is") from error
        except Exception as error:  # a codec may raise anything at all on a damaged file
            cause = error.__cause__ or error  # imageio's own words say less than Pillow's
            raise damaged(name, what, str(cause) or type(cause).__name__) from error


def damaged(name: str, what: str, why: str) -> FileError:
    """The error for a file that its codec cannot make sense of."""
    short = " ".join(why.split())[:100]
    return FileError(f"cannot read {name}: the {what} file is truncated or damaged ({short})")


def check_memory(name: str, shape: Sequence[int], dtype: np.dtype) -> None:
    """Refuse, from the header alone, what could not be held together with a floating-point working copy."""
    if 0 in shape:
        raise DataError(f"{name} has no values (shape {spelled(shape)}): nothing to compute")
    working = 4 if dtype.itemsize <= 2 or dtype == np.float32 else 8
    needed = math.prod(shape) * (dtype.itemsize + working)
    free = available_memory()
    if needed > free:
        raise DataError(
            f"{name} (shape {spelled(shape)}, {dtype.name}) needs {needed} bytes of memory with its working copy,"
            f" but only {free} are free: cut it into smaller files"
        )


def check_unpacked(name: str, pixels: int, size: int, packed: int) -> None:
    """Refuse, from the header alone, a file of few bytes that would unpack to a great many pixels of so many bytes."""
    most = most_pixels(size, packed)
    if pixels > most:
        allowed = f"{most}" if most != packed else f"{process.policy.max_pixels}, and than one a byte,"
        raise DataError(
            f"{name} would unpack from {packed} bytes to {pixels} pixels, and more than {allowed} are taken for damage"
            f" or malice: if it is neither, say --max-pixels {pixels}"
        )


def most_pixels(size: int, packed: int) -> int:
    """How many pixels of so many bytes a file may unpack to.

    What holds a byte for each pixel or more is as large as it says; and a damaged header has no say over that. Unless
    the user has said otherwise, very few bytes may unpack to even less.
    """
    most = process.policy.max_pixels
    if most == process.MAX_PIXELS:
        most = min(most, max(_SMALL, _PER_BYTE * packed) // size)
    return max(most, packed)


def native(data: np.ndarray) -> np.ndarray:
    """The same values C-contiguous, aligned, in the machine's byte order; a copy only where one is needed."""
    return np.require(data, dtype=data.dtype.newbyteorder("="), requirements=["C", "A"])


def extra(module: str, name: str, why: str, extra_name: str) -> types.ModuleType:
    """An optional package's module; raises MissingExtraError that says why it is needed and what to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise missing_extra(name, why, extra_name) from error


def missing_extra(name: str, why: str, extra_name: str) -> MissingExtraError:
    """'photo.png is ..., which ...: pip install 'convtool[codecs]''."""
    return MissingExtraError(f"{name} is {why}: pip install 'convtool[{extra_name}]'")
