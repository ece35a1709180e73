"""TIFF as it came: the input's axes, kind (plain, tifffile's, ImageJ's, OME's), resolution and profile.

Where the shape's letters are no longer the input's, axes are written afresh: N as T, three channels as RGB samples.
The same pixels and metadata give the same bytes: no dates, no software's name, identifiers made from the content.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from convtool import digests
from convtool.axes import spelled
from convtool.errors import SettingError
from convtool.images.alpha import opacity_as
from convtool.images.exif import orientation_of
from convtool.images.image import Metadata, TiffMetadata
from convtool.images.profiles import profile_for

_IMAGEJ_DTYPES = ("uint8", "uint16", "float32")
_OME_DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")
_PER_PLANE = ("Channel", "Labels", "LUTs", "Ranges")
_UPRIGHT = 1
_ORIENTATION, _SHORT = 274, 3
_INCH = 2


@dataclass(frozen=True)
class _Plan:
    """`order`: our letters in the file's order, N first; `letters`: the file's own; `parts`: its batch lengths."""

    order: str
    letters: str
    parts: tuple[int, ...]
    restored: bool


def tiff_axes(axes: str, shape: tuple[int, ...], metadata: Metadata) -> str:
    """The order of axes in a TIFF for such values; raises SettingError without Y and X."""
    if "Y" not in axes or "X" not in axes:
        raise SettingError(f"a TIFF holds pictures, got axes {axes} (shape {spelled(shape)}): write .npy")
    return _plan(axes, shape, metadata.tiff).order


def _plan(axes: str, shape: tuple[int, ...], tiff: TiffMetadata | None) -> _Plan:
    sizes = dict(zip(axes, shape, strict=True))
    if tiff is not None and set(tiff.meaning) == set(axes):
        parts = tuple(n for n, taken in zip(tiff.shape, tiff.meaning, strict=True) if taken == "N")
        order = ("N" if parts else "") + tiff.meaning.replace("N", "")
        if math.prod(parts) == sizes.get("N", 1) and len(order) == len(axes):
            return _Plan(order, tiff.axes, parts, restored=True)
    planes = tiff is not None and tiff.kind in ("imagej", "ome")
    order = "NZYXC" if sizes.get("C") == 3 and not planes else "NZCYX"
    order = "".join(letter for letter in order if letter in axes)
    letters = order.replace("N", "T")
    letters = letters[:-1] + "S" if letters.endswith("C") else letters
    return _Plan(order, letters, (sizes["N"],) if "N" in sizes else (), restored=False)


def write_tiff(
    stream: IO[bytes], data: np.ndarray, axes: str, alpha: np.ndarray | None, metadata: Metadata
) -> tuple[str, ...]:
    """Write data in the order of `tiff_axes`, with alpha and metadata; returns what could not be kept."""
    import tifffile

    plan, tiff = _plan(axes, data.shape, metadata.tiff), metadata.tiff
    pixels = _unmerged(data, plan, tiff)
    kind, dropped = _kind(plan, data.dtype, tiff)
    icc, profile_dropped = profile_for(metadata.icc, colour=plan.letters.endswith("S"))
    dropped += profile_dropped + _lost(metadata)
    if alpha is not None and (kind in ("imagej", "ome") or plan.letters not in ("YX", "YXS")):
        alpha, dropped = None, (*dropped, f"alpha, which {kind} TIFF stacks do not hold")
    if alpha is not None:
        pixels = np.dstack([pixels, opacity_as(alpha, data.dtype)])
    fields = _fields(kind, plan, tiff, pixels)
    with tifffile.TiffWriter(stream, imagej=kind == "imagej", ome=kind == "ome", shaped=kind == "shaped") as writer:
        writer.write(
            pixels,
            software=False,
            metadata=fields,
            description=tiff.description.encode()
            if tiff is not None and kind == "plain" and tiff.description
            else None,
            iccprofile=icc,
            extratags=_orientation(metadata),
            **_colours(pixels, plan, alpha is not None, tiff),
            **_resolution(metadata),
        )
    return dropped


def _unmerged(data: np.ndarray, plan: _Plan, tiff: TiffMetadata | None) -> np.ndarray:
    """N in its parts again, and each part where the file had it."""
    if tiff is None or not plan.restored or not plan.parts:
        return data
    batch_first = sorted(range(len(tiff.meaning)), key=lambda place: tiff.meaning[place] != "N")
    return np.ascontiguousarray(data.reshape(*plan.parts, *data.shape[1:]).transpose(np.argsort(batch_first)))


def _kind(plan: _Plan, dtype: np.dtype, tiff: TiffMetadata | None) -> tuple[str, tuple[str, ...]]:
    """The kind of description to write: the input's, if it can say this; tifffile's for axes that need naming."""
    afresh = "plain" if plan.letters in ("YX", "YXS") else "shaped"
    if tiff is None or (tiff.kind == "plain" and not plan.restored):
        return afresh, ()
    known = {"imagej": _IMAGEJ_DTYPES, "ome": _OME_DTYPES}.get(tiff.kind)
    if known is None:
        return tiff.kind, ()
    rgb_too_wide = tiff.kind == "imagej" and "S" in plan.letters and dtype != np.uint8
    if dtype.name in known and set(plan.letters) <= set("TZCYXS") and not rgb_too_wide:
        return tiff.kind, ()
    name = {"imagej": "ImageJ", "ome": "OME"}[tiff.kind]
    return afresh, (f"the {name} description, which has no {dtype.name} for axes {plan.letters}",)


def _lost(metadata: Metadata) -> tuple[str, ...]:
    exif = () if metadata.exif is None else ("the EXIF data, which TIFF stores in another way",)
    return exif if metadata.tiff is None else metadata.tiff.lost


def _fields(kind: str, plan: _Plan, tiff: TiffMetadata | None, pixels: np.ndarray) -> dict[str, Any] | None:
    if kind == "plain":
        return None
    fields: dict[str, Any] = {"axes": plan.letters}
    if kind == "shaped" or tiff is None:
        return fields
    as_before = plan.restored and _planes(plan.letters, pixels.shape) == _planes(tiff.axes, tiff.shape)
    fields |= {key: value for key, value in tiff.fields.items() if as_before or key not in _PER_PLANE}
    if kind == "imagej":
        fields = {_ascii(key): value if key == "Info" else _ascii(value) for key, value in fields.items()}
    if kind == "ome":
        import uuid

        content = digests.of_bytes(np.ascontiguousarray(pixels).data)
        fields |= {"UUID": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, content)}", "Creator": "convtool"}
    return fields


def _ascii(value: Any) -> Any:
    """A text as ImageJ writes it into descriptions, which hold no other characters; all else as it is."""
    if not isinstance(value, str):
        return value
    return "".join(c if c.isascii() else f"\\u{ord(c):04x}" for c in value)


def _planes(letters: str, shape: tuple[int, ...]) -> list[int]:
    return [length for letter, length in zip(letters, shape, strict=True) if letter not in "YX"]


def _colours(pixels: np.ndarray, plan: _Plan, alpha: bool, tiff: TiffMetadata | None) -> dict[str, Any]:
    samples = pixels.shape[-1] if alpha or plan.letters.endswith("S") else 1
    rgb = samples - alpha == 3
    options: dict[str, Any] = {"photometric": "rgb" if rgb else "minisblack"}
    if samples > 1:
        options["planarconfig"] = "contig"
    if alpha:
        options["extrasamples"] = ["assocalpha" if tiff is not None and tiff.premultiplied else "unassalpha"]
    elif tiff is not None and tiff.colormap is not None and 2 ** (8 * pixels.itemsize) == tiff.colormap.shape[-1]:
        options |= {"photometric": "palette", "colormap": tiff.colormap}
    return options


def _resolution(metadata: Metadata) -> dict[str, Any]:
    tiff = metadata.tiff
    if tiff is not None:
        return (
            {} if tiff.resolution is None else {"resolution": tiff.resolution, "resolutionunit": tiff.resolution_unit}
        )
    return {} if metadata.dpi is None else {"resolution": metadata.dpi, "resolutionunit": _INCH}


def _orientation(metadata: Metadata) -> list[tuple[int, int, int, int, bool]]:
    orientation = _UPRIGHT if metadata.tiff is None else metadata.tiff.orientation
    if metadata.tiff is None and metadata.exif is not None:
        orientation = orientation_of(metadata.exif)
    return [] if orientation == _UPRIGHT else [(_ORIENTATION, _SHORT, 1, orientation, True)]
