"""What an image file holds, as values: the pixels, what their axes mean, and what else the file carried."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class TiffMetadata:
    """How a TIFF described its pixels, so that another one can be written alike.

    `axes` are the file's own letters (its sample axis S last) and `shape` their lengths; `meaning` gives, letter by
    letter, what each became in the `Image` (N for every batch axis).
    """

    kind: str  # 'plain', 'shaped' (tifffile's JSON), 'imagej' or 'ome'
    axes: str
    shape: tuple[int, ...]
    meaning: str
    description: str = ""
    resolution: tuple[tuple[int, int], tuple[int, int]] | None = None
    resolution_unit: int = 1
    orientation: int = 1
    premultiplied: bool = False
    colormap: np.ndarray | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)  # ImageJ's or OME's own, as tifffile writes them
    lost: tuple[str, ...] = ()  # what the file has that cannot be written again, in words


@dataclass(frozen=True)
class Metadata:
    """What came with the pixels. `exif` starts at its TIFF header; `png` holds chunks (type, content) kept verbatim."""

    icc: bytes | None = None
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None
    png: tuple[tuple[bytes, bytes], ...] = ()
    tiff: TiffMetadata | None = None
    fits_header: Any = None


@dataclass(frozen=True)
class Image:
    """An image as read: `data` has one axis per letter of `axes` (of N C Z Y X); `alpha` is [Y, X] of the frame.

    loss: standard deviation, in code values, of what lossy compression has changed; 0 where nothing is known of it
    """

    data: np.ndarray
    axes: str
    alpha: np.ndarray | None
    name: str
    format: str
    metadata: Metadata
    assumed: tuple[str, ...] = ()
    loss: float = 0.0


@dataclass(frozen=True)
class Written:
    """What writing did to the values: counts are of values, `rounding_error` is a root mean square in code values.

    What was written is factor `scale` times the value plus `offset`, rounded and clipped to `dtype`. `rounded` counts
    values that were no integers, clipped ones apart; `dropped` says what the format could not keep.
    """

    format: str
    dtype: str
    shape: tuple[int, ...]
    axes: str
    clipped_low: int
    clipped_high: int
    rounded: int
    rounding_error: float
    scale: float
    offset: float
    nonfinite: int
    dropped: tuple[str, ...]
    values: np.ndarray  # as written, in the caller's order of axes


def resolution_within(
    metadata: Metadata, least: float, most: float, format: str
) -> tuple[tuple[float, float] | None, tuple[str, ...]]:
    """Pixels an inch where a format can say them, from the least to the most; and what is lost where it cannot."""
    if metadata.dpi is None or all(least <= each <= most for each in metadata.dpi):
        return metadata.dpi, ()
    return None, (f"the resolution, which no {format} can say",)


def unkept(what: str, alpha: np.ndarray | None, metadata: Metadata) -> tuple[str, ...]:
    """What a format without a place for pictures' metadata leaves out, in one sentence; empty where there is none."""
    held = {"alpha": alpha, "ICC profile": metadata.icc, "EXIF data": metadata.exif, "resolution": metadata.dpi}
    names = [name for name, value in held.items() if value is not None]
    return (f"{', '.join(names)}, which {what} cannot hold",) if names else ()
