"""Image and kernel files: the only place that knows a codec. `read`, `write`, `read_kernel`, and what they give.

Pixels are kept as stored (EXIF orientation is carried, not applied), alpha is apart, axes are named, and what the file
carried beside its pixels goes into the output.
"""

from __future__ import annotations

from convtool.images.alpha import resample_alpha
from convtool.images.colour import from_linear, to_linear
from convtool.images.image import Image, Metadata, Written
from convtool.images.kernel_files import read_kernel
from convtool.images.reading import default_target, read
from convtool.images.sampling import resampled
from convtool.images.writing import check_destination, write

__all__ = [
    "Image",
    "Metadata",
    "Written",
    "check_destination",
    "default_target",
    "from_linear",
    "read",
    "read_kernel",
    "resample_alpha",
    "resampled",
    "to_linear",
    "write",
]
