"""What a command writes: the result's file, format and dtype, and in the report what rounding and clipping did."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np

from convtool import files, images
from convtool.axes import transposed
from convtool.cli.job import STDOUT
from convtool.errors import percent
from convtool.geometry import Geometry
from convtool.images.formats import output_format

if TYPE_CHECKING:
    from collections.abc import Sequence

    from convtool.cli.job import Job
    from convtool.model import Model


_CLIP_ADVICE = "use --scale fit, or --dtype float32 with .tif or .npy"


@dataclass(frozen=True)
class Destination:
    """Where and how a result is to be written, as the user said."""

    output: str | None
    format: str | None
    dtype: str | None
    scale: str | None

    @classmethod
    def of(cls, asked: SimpleNamespace) -> Destination:
        """Out of a command's parameters."""
        return cls(asked.output, asked.format, asked.dtype, asked.scale)


def target_of(job: Job, image: images.Image, word: str, to: Destination) -> str:
    """The file that the result goes to, checked against all inputs."""
    if to.output is not None:
        return STDOUT if to.output in files.STDOUT_NAMES else to.output
    name = images.default_target(image, word)
    files.check_target(name, job.inputs, not job.no_clobber)
    return name


def thinned(source: images.Image, spatial: str, stride: Sequence[int]) -> images.Image:
    """The image with the resolution of a result whose samples a stride along the axes `spatial` has left."""
    pitch = dict(zip(spatial, map(Fraction, stride), strict=True))
    return replace(source, metadata=images.resampled(source.metadata, pitch))


def refined(source: images.Image, spatial: str, stride: Sequence[int]) -> images.Image:
    """The image with the resolution of what it was before a stride along the axes `spatial`."""
    pitch = dict(zip(spatial, (Fraction(1, step) for step in stride), strict=True))
    return replace(source, metadata=images.resampled(source.metadata, pitch))


def alpha_under(source: images.Image, built: Model) -> np.ndarray | None:
    """The image's alpha on the grid of a model's result: cropped and strided alike."""
    operator = built.operator
    return alpha_on(source, built.arrangement.spatial, operator.geometry, operator.window.origin)


def alpha_on(source: images.Image, spatial: str, windows: Geometry, origin: Sequence[int]) -> np.ndarray | None:
    """The image's alpha under the origins of windows along the axes `spatial`; None where it has none."""
    if source.alpha is None:
        return None
    positions = dict(zip("YX", (np.arange(n) for n in source.alpha.shape), strict=True))
    positions |= dict(zip(spatial, windows.positions(origin), strict=True))
    return images.resample_alpha(source.alpha, positions["Y"], positions["X"])


def write_image(
    job: Job,
    staging: files.Staging,
    y: np.ndarray,
    axes: str,
    target: str,
    to: Destination,
    like: images.Image | None = None,
    alpha: np.ndarray | None = None,
) -> images.Written:
    """Stage the result and put what rounding and clipping did to it in the report."""
    kind = output_format(target, to.format)
    dtype = to.dtype or _default_dtype(job, y, kind, target, like)
    order = axes
    if kind == "npy" and (like is None or like.format != "npy"):
        # The order that the rank stands for, so that it is read back without --axes.
        order = "".join(letter for letter in "NCZYX" if letter in axes)
    with job.timed("writing"):
        written = images.write(
            transposed(y, axes, order),
            order,
            target,
            staging,
            like=like,
            format=kind,
            dtype=dtype,
            scale=to.scale,
            alpha=alpha,
        )
    _describe_written(job, written, target, y.size)
    return replace(written, values=transposed(written.values, order, axes))


def _default_dtype(job: Job, y: np.ndarray, kind: str, target: str, like: images.Image | None) -> str | None:
    """The dtype for a result whose dtype nobody chose; None for the input's."""
    if kind == "npy" and (target == STDOUT or like is None or like.format != "npy"):
        return y.dtype.name
    if kind not in ("png", "jpeg") or like is None or like.data.dtype.kind not in "fb" or y.dtype.kind != "f":
        return None
    # Twice the range, since ringing at 8-bit edges goes beyond it.
    dtype = "uint16" if kind == "png" and y.max() > 2 * 255 else "uint8"
    held = "floats" if like.data.dtype.kind == "f" else "bool"
    job.report.notes.append(
        f"the input holds {held}, the result ({y.min():.4g} to {y.max():.4g}) was rounded to {dtype}:"
        " choose with --dtype and --scale, or write .tif or .npy"
    )
    return dtype


def _matters(what: str, format: str) -> bool:
    """Whether the loss is told: an .npy is for numbers, where only missing ones are."""
    return format != "npy" or what.startswith("alpha")


def _describe_written(job: Job, written: images.Written, target: str, size: int) -> None:
    job.report.output = {
        "name": target,
        "format": written.format,
        "axes": written.axes,
        "shape": list(written.shape),
    }
    for name in job.report.settings.keys() & {"dtype", "format"}:
        job.report.settings[name]["value"] = getattr(written, name)
    counted = ("dtype", "scale", "offset", "clipped_low", "clipped_high", "rounded", "rounding_error", "nonfinite")
    job.report.output |= {name: getattr(written, name) for name in counted}
    if written.dropped:
        job.report.output["dropped"] = list(written.dropped)
    job.report.notes += [f"not kept: {what}" for what in written.dropped if _matters(what, written.format)]
    clipped = written.clipped_low + written.clipped_high
    if clipped:
        total = job.report.kernel.get("sum", 1.0)
        advice = "use a wider --dtype" if written.dtype.startswith("float") else _CLIP_ADVICE
        if abs(total) > 1.5:
            advice = f"the kernel sums to {total:.4g}: --normalize divides by that; or {advice}"
        job.report.notes.append(
            f"{clipped} of {size} values ({percent(clipped / size, 3)}) did not fit into {written.dtype}"
            f" and were clipped: {advice}"
        )
