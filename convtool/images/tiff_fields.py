"""What a TIFF says about its pixels, in the form in which tifffile writes it again."""

from __future__ import annotations

from typing import Any

import numpy as np

from convtool.images.image import TiffMetadata

_COMPUTED = ("ImageJ", "images", "channels", "slices", "frames", "hyperstack", "axes")  # tifffile writes them itself
_OME_ATTRIBUTES = ("PhysicalSizeX", "PhysicalSizeY", "PhysicalSizeZ", "TimeIncrement")
_UNITS, _ORIENTATIONS = range(1, 6), range(1, 9)
_LOST_TAGS = {34665: "the EXIF data", 700: "the XMP data", 34735: "the map coordinates (GeoTIFF)"}


def metadata_of(
    file: Any, page: Any, axes: str, shape: tuple[int, ...], meaning: str, colormap: np.ndarray | None
) -> TiffMetadata:
    """The description of a tifffile.TiffFile whose pixels have these axes, this shape and meaning."""
    kind = file.series[0].kind if file.series[0].kind in ("shaped", "imagej", "ome") else "plain"
    ome = _ome(file) if kind == "ome" else {}
    x, y = page.tags.valueof(282), page.tags.valueof(283)
    lost = [words for tag, words in _LOST_TAGS.items() if tag in page.tags]
    return TiffMetadata(
        kind,
        axes,
        shape,
        meaning,
        description=page.description if kind == "plain" else "",
        resolution=(x, y) if _is_rational(x) and _is_rational(y) else None,
        resolution_unit=_among(_UNITS, page.tags.valueof(296)),
        orientation=_among(_ORIENTATIONS, page.tags.valueof(274)),
        premultiplied=1 in [int(kind) for kind in page.extrasamples],
        colormap=colormap,
        fields=_imagej(file) if kind == "imagej" else _ome_fields(ome),
        lost=(*lost, *_ome_lost(ome)),
    )


def _is_rational(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and value[1] != 0


def _among(known: range, value: object) -> int:
    """The value of a tag, 1 where it is none that means something."""
    return value if isinstance(value, int) and value in known else 1


def _imagej(file: Any) -> dict[str, Any]:
    return {key: value for key, value in (file.imagej_metadata or {}).items() if key not in _COMPUTED}


def _ome(file: Any) -> dict[str, Any]:
    import tifffile

    return dict(tifffile.xml2dict(file.ome_metadata)["OME"])


def _ome_fields(ome: dict[str, Any]) -> dict[str, Any]:
    """Name, sizes and channel names of the first image."""
    if not ome:
        return {}
    image = _listed(ome["Image"])[0]
    pixels = image["Pixels"]
    kept = [key + unit for key in _OME_ATTRIBUTES for unit in ("", "Unit")]
    fields = {key: pixels[key] for key in kept if key in pixels}
    names = [channel.get("Name") for channel in _listed(pixels.get("Channel", []))]
    if names and all(isinstance(name, (str, int, float)) for name in names):
        fields["Channel"] = {"Name": [str(name) for name in names]}
    return {"Name": str(image["Name"]), **fields} if "Name" in image else fields


def _ome_lost(ome: dict[str, Any]) -> tuple[str, ...]:
    other = sorted(key for key, value in ome.items() if key != "Image" and isinstance(value, (dict, list)))
    return (f"the OME-XML's {', '.join(other)}",) if other else ()


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
