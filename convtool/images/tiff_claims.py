"""What a TIFF claims of itself, held against its size before tifffile acts on it.

tifffile follows every pointer, loads every value and makes room for every plane that a file speaks of. In a file that
was damaged, or made to do harm, a few hundred bytes then take minutes or gigabytes.
"""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Iterator
from typing import IO, Any
from xml.etree import ElementTree

from convtool.axes import spelled
from convtool.errors import DataError
from convtool.images.guard import check_unpacked, damaged

# Bytes of a value, by its type.
_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_SAMPLES = 4  # of a pixel, in files whose first page has fewer than others


def check_pages(stream: IO[bytes], name: str) -> None:
    """Refuse pages that lead back to an earlier one, that overlap, or whose values are more than the file."""
    taken, seen, size = 0, set(), stream.seek(0, io.SEEK_END)
    for at, end, values in _pages(stream, size):
        taken += end - at
        if at in seen:
            raise damaged(name, "TIFF", "its pages form a loop")
        if taken > size or values > size:
            raise damaged(name, "TIFF", "its pages claim more bytes than it holds")
        seen.add(at)


def _pages(stream: IO[bytes], size: int) -> Iterator[tuple[int, int, int]]:
    """Where each page's list of tags begins and ends, and the bytes of the values that it speaks of."""
    start = _at(stream, 0, 4)
    order, is_big = "<" if start[:2] == b"II" else ">", start[2:] in (b"+\0", b"\0+")
    place, number, entry = (order + each for each in (("Q", "Q", "HHQ8x") if is_big else ("I", "H", "HHI4x")))
    try:
        (at,) = struct.unpack(place, _at(stream, 8 if is_big else 4, struct.calcsize(place)))
        while at:
            (count,) = struct.unpack(number, _at(stream, at, struct.calcsize(number)))
            first = at + struct.calcsize(number)
            end = first + count * struct.calcsize(entry)
            if end > size:
                return
            tags = struct.iter_unpack(entry, _at(stream, first, end - first))
            (following,) = struct.unpack(place, _at(stream, end, struct.calcsize(place)))
            sizes = [_BYTES.get(kind, 0) * many for _, kind, many in tags]
            yield at, end, sum(each for each in sizes if each <= size)  # others are not loaded
            at = following
    except (struct.error, OverflowError, ValueError):  # it leads out of the file, which tifffile tells
        return


def _at(stream: IO[bytes], place: int, count: int) -> bytes:
    stream.seek(place)
    return stream.read(count)


def check_description(file: Any, name: str) -> None:
    """Refuse OME-XML that speaks of more planes than a tifffile.TiffFile has pages: it makes room for all of them."""
    if not file.is_ome:
        return
    planes, pages = _planes(file.ome_metadata), len(file.pages)
    if planes > max(_SAMPLES, file.pages[0].samplesperpixel) * pages:
        raise DataError(
            f"{name} has {pages} pages, but its OME-XML speaks of {planes:.10g} planes: it is damaged, or one file of"
            " several: save the image as one file"
        )


def _planes(xml: str) -> float:
    """The largest of the numbers of planes by sizes, by counts of pages, and by ranges of a modulo."""
    try:
        elements = list(ElementTree.fromstring(xml).iter())
    except (ElementTree.ParseError, ValueError):  # tifffile then takes it for a plain file
        return 0
    sizes, counts, ranges = 0.0, 0.0, 0.0
    for element in elements:
        found = element.attrib
        if element.tag.endswith("Pixels"):
            sizes += abs(math.prod(_number(found.get(f"Size{axis}", "1")) for axis in "ZCT"))
        elif element.tag.endswith("TiffData"):
            counts += max(_number(found.get(key, "0")) for key in ("PlaneCount", "NumPlanes"))
        elif "Start" in found and "End" in found:
            step = abs(_number(found.get("Step", "1")))
            ranges += abs(_number(found["End"]) - _number(found["Start"])) / step if step else math.inf
    return max(sizes, counts, ranges)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0  # tifffile refuses it


def check_segments(series: Any, name: str, size: int) -> None:
    """Refuse an image of which parts are not in the file of so many bytes, or are larger than the whole may be."""
    for page in series.pages:
        if page is None:
            raise DataError(
                f"{name} describes {len(series.pages)} pages (shape {spelled(series.shape)}), and lacks some of them:"
                " it is damaged, or one file of several: save the image as one file"
            )
        key = page.keyframe
        if key.is_contiguous:
            promised, held = key.nbytes, size
        else:
            promised, held = math.prod(key.chunked), len(page.dataoffsets)
        if promised > held:
            what = "bytes" if key.is_contiguous else "strips or tiles"
            raise damaged(name, "TIFF", f"it holds {held} {what}, and needs {promised}")
        samples = key.samplesperpixel
        check_unpacked(name, math.prod(key.chunks) // samples, samples * key.dtype.itemsize, size)
