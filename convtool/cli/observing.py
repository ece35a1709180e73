"""What `deconvolve` reads of an image: its data, and which of them count (mask, NaN, saturation); and `convolve`, for
which NaN alone may not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from convtool import fft, images, process
from convtool.cli.reading import extremes, read_image
from convtool.errors import DataError, percent
from convtool.images.nonfinite import NonFiniteError
from convtool.observation import counted, spread

if TYPE_CHECKING:
    from convtool.cli.job import Job

_MANY = 0.5  # share of pixels left out from which on the mask may be inverted
_SATURATED = 1e-4  # share of pixels at the dtype's maximum from which on highlights matter


@dataclass(frozen=True)
class Counting:
    """What the user said of which pixels count: --mask, --nan and --saturation."""

    mask: str | None
    nan: str
    saturation: float | None


def read_data(job: Job, name: str, axes: str | None, counting: Counting) -> tuple[images.Image, np.ndarray | None]:
    """An image whose every value is finite, and in its shape which of them count; None: all."""
    if process.policy.one_shot:
        process.policy.put_off = fft.scipy_fft
    source, finite = _read(job, name, axes, counting.nan)
    mask = None if counting.mask is None else _read_mask(job, counting.mask)
    if finite is not None:
        mask = finite if mask is None else finite & spread(mask, source.axes, source.data.shape)
    data, found = counted(source.data, source.axes, mask, counting.saturation)
    if counting.mask is not None:
        job.report.input["mask"] = counting.mask
    return _told(job, source, data, found), found


def read_observed(job: Job, name: str, axes: str | None, nan: str) -> tuple[images.Image, np.ndarray | None]:
    """An image whose every value is finite, and in its shape which of them were so before; None: all."""
    source, finite = _read(job, name, axes, nan)
    data, found = counted(source.data, source.axes, finite, None)
    return _told(job, source, data, found), found


def _read(job: Job, name: str, axes: str | None, nan: str) -> tuple[images.Image, np.ndarray | None]:
    """An image, and where it is finite if others are to be left out; None: everywhere, or they were filled."""
    try:
        source = read_image(job, name, axes, "keep" if nan == "mask" else nan)
    except NonFiniteError as error:
        raise DataError(f"{error}; or --nan mask to leave them out") from None
    if nan != "mask" or source.data.dtype.kind != "f":
        return source, None
    finite = np.isfinite(source.data)
    if not finite.any():
        raise DataError(f"{name} has no finite value at all: nothing to compute")
    return source, None if finite.all() else finite


def suggest_linear(job: Job, source: images.Image, linear: bool, counting: Counting, found: np.ndarray | None) -> None:
    """A note where highlights of a photograph are clipped: blur happens in light, not in code values."""
    is_photograph = source.format in ("png", "jpeg") and source.data.dtype in (np.uint8, np.uint16)
    if linear or counting.saturation is not None or not is_photograph or not job.is_heard:
        return
    clipped = source.data == np.iinfo(source.data.dtype).max
    share = np.count_nonzero(clipped if found is None else clipped & found) / clipped.size
    if share > _SATURATED:
        job.report.notes.append(
            f"{percent(share)} of the values are at the maximum, where highlights are clipped: if this is a"
            " photograph, try --linear (blur happens in light) and --saturation 0.99 (clipped pixels are no data)"
        )


def _read_mask(job: Job, name: str) -> np.ndarray:
    with job.timed("reading"):
        return job.kept.common(("mask", name), lambda: images.read(name).data)


def _told(job: Job, source: images.Image, data: np.ndarray, found: np.ndarray | None) -> images.Image:
    """The image with its data filled, once the report says how many do not count."""
    if found is not None:
        _tell(job, source.name, found)
    if data is not source.data:
        job.report.input |= extremes(data)
    return replace(source, data=data)


def _tell(job: Job, name: str, found: np.ndarray) -> None:
    lost = int(found.size - np.count_nonzero(found))
    job.report.input["not_counted"] = lost
    if lost:
        share = f"{lost} of {found.size} values of {name} ({percent(lost / found.size, 3)})"
        is_doubtful = lost > _MANY * found.size and "mask" in job.report.input
        doubt = ": is the mask inverted? it is 0 where pixels are no data" if is_doubtful else ""
        job.report.notes.append(f"{share} do not count and were left out{doubt}")
