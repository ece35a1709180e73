"""Resolution and spacing of samples further apart than those that were read, as a stride leaves them, or closer.

With samples that are pitch times as far apart along an axis there are 1/pitch times as many an inch (PNG's pHYs; TIFF's
resolution, which ImageJ counts in its own unit), and each is pitch times as long (ImageJ's spacing of planes, OME's
physical sizes). What lies in EXIF data stays: it speaks of the camera's picture.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

from convtool.images.image import Metadata, TiffMetadata

_LARGEST = (1 << 31) - 1  # of the numbers of PNG; those of TIFF are twice as large
_DENOMINATOR = 1 << 12  # of a fraction that has been rounded
_LENGTHS = {"spacing": "Z", **{f"PhysicalSize{letter}": letter for letter in "XYZ"}}


def resampled(metadata: Metadata, pitch: Mapping[str, Fraction]) -> Metadata:
    """The metadata for samples that are `pitch` times as far apart along each of its axes, the others as they were.

    >>> resampled(Metadata(dpi=(300.0, 300.0)), {"X": Fraction(2)}).dpi
    (150.0, 300.0)
    """
    if all(times == 1 for times in pitch.values()):
        return metadata
    x, y = (pitch.get(letter, Fraction(1)) for letter in "XY")
    return replace(
        metadata,
        dpi=None if metadata.dpi is None else (metadata.dpi[0] / float(x), metadata.dpi[1] / float(y)),
        png=tuple((kind, _physical(content, x, y) if kind == b"pHYs" else content) for kind, content in metadata.png),
        tiff=None if metadata.tiff is None else _tiff(metadata.tiff, x, y, pitch),
    )


def _physical(content: bytes, x: Fraction, y: Fraction) -> bytes:
    """PNG's pixels a metre, or without a unit how they relate."""
    if len(content) != 9:
        return content
    across, down, unit = struct.unpack(">IIB", content)
    if unit != 1 and across and down:
        across, down = _rational(Fraction(across, down) * y / x)
    else:
        across, down = round(across / x), round(down / y)
    return struct.pack(">IIB", min(max(1, across), _LARGEST), min(max(1, down), _LARGEST), unit)


def _tiff(tiff: TiffMetadata, x: Fraction, y: Fraction, pitch: Mapping[str, Fraction]) -> TiffMetadata:
    fields = {name: _longer(value, pitch.get(_LENGTHS.get(name, ""))) for name, value in tiff.fields.items()}
    if tiff.resolution is None:
        return replace(tiff, fields=fields)
    (across, an_x), (down, a_y) = tiff.resolution
    found = _rational(Fraction(across, an_x) / x), _rational(Fraction(down, a_y) / y)
    return replace(tiff, resolution=found, fields=fields)


def _rational(value: Fraction) -> tuple[int, int]:
    """Numerator and denominator that fit into 32 bits."""
    if max(value.numerator, value.denominator) > _LARGEST:
        value = min(value, Fraction(_LARGEST)).limit_denominator(_DENOMINATOR)
    return value.numerator, value.denominator


def _longer(value: Any, times: Fraction | None) -> Any:
    """A length, or what stands for one in somebody's file, so many times as long."""
    if times is None:
        return value
    try:
        return float(value) * float(times)
    except (TypeError, ValueError):
        return value
