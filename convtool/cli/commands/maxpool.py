"""`convtool maxpool`."""

from __future__ import annotations

import functools
import math
import os
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from convtool.cli import options
from convtool.cli.image_command import Work, image_command
from convtool.errors import DataError, SettingError, listed

if TYPE_CHECKING:
    import numpy as np

    from convtool.cli.job import Job
    from convtool.files import Staging
    from convtool.images import Image
    from convtool.pooling.geometry import Pooling

_Window = Annotated[
    str,
    typer.Option(
        "-w",
        "--window",
        metavar="S[,S]",
        help="Pixels on a side: one number for all spatial axes, or one each for the last of Z, Y, X.",
        show_default=False,
    ),
]
_Indices = Annotated[
    str | None,
    typer.Option(
        "--indices",
        metavar="FILE",
        help=".npy for where each maximum is: a pixel's number in its plane, as torch counts.",
        show_default=False,
    ),
]
_Op = Annotated[Literal["max", "min", "mean"], typer.Option("--op", help="What the window is reduced to.")]
_Stride = Annotated[
    str, typer.Option("--stride", metavar="N[,M]", help="Keep every N-th output; window: windows side by side.")
]
_Boundary = Annotated[
    Literal["lowest", "periodic", "zero", "edge", "reflect", "symmetric"],
    typer.Option("--boundary", help="What lies outside the frame; lowest: nothing that counts."),
]
_Dilation = Annotated[str, typer.Option("--dilation", metavar="N[,M]", help="Distance between a window's pixels.")]
_CeilMode = Annotated[
    bool, typer.Option("--ceil-mode", help="Keep a last window that overhangs the frame, as torch's ceil_mode.")
]
_Nan = Annotated[
    str,
    options.nan_option(
        "What to do with NaN and infinite pixels; keep: NaN spreads, infinities count.",
        *("refuse", "keep", "zero", "mean", "nearest"),
    ),
]


@image_command("pooled", writes=("indices",))
def run(
    context: typer.Context,
    window: _Window,
    indices: _Indices = None,
    op: _Op = "max",
    stride: _Stride = "1",
    padding: options.PaddingOption = "0",
    boundary: _Boundary = "lowest",
    dilation: _Dilation = "1",
    ceil_mode: _CeilMode = False,
    axes: options.AxesOption = None,
    nan: _Nan = "refuse",
) -> Work:
    """Take the maximum (or minimum, or mean) over a window at every position.

    By default the window slides pixel by pixel and stays inside the frame; --padding same keeps the size, and
    --stride window gives the pooling of neural networks. Integers stay integers. The cost hardly grows with the window.
    """
    settings: dict[str, Any] = {
        "stride": _stride(stride),
        "padding": options.padding(padding),
        "dilation": options.numbers(dilation, "--dilation"),
        "boundary": boundary,
        "ceil_mode": ceil_mode,
    }
    sides = options.numbers(window, "--window")
    _check_indices(indices, op)
    return functools.partial(_work, sides, settings)


def _work(sides: int | tuple[int, ...], settings: dict[str, Any], job: Job) -> None:
    """Pool one image."""
    import numpy as np

    from convtool import pooling
    from convtool.cli.facts import describe_result
    from convtool.cli.writing import Destination, alpha_on, target_of, thinned, write_image
    from convtool.pooling import geometry

    op, indices, to = job.asked.op, job.asked.indices, Destination.of(job.asked)
    _check_indices(indices, op)  # of a batch by the name that it has now
    source = _read(job, job.asked.image, job.asked.axes, job.asked.nan)
    target = target_of(job, source, "pooled", to)
    places = None
    with job.timed("computing"):
        built = geometry.build(source.data.shape, sides, axes=source.axes, **settings)
        _check_room(job, built, source, op, indices is not None)
        if indices is None:
            y = pooling.apply(built, source.data, op)
        else:
            y, places = pooling.apply_indices(built, source.data)
    _settle(job, built, settings)
    with np.errstate(invalid="ignore"):
        if job.wants_facts:
            describe_result(job, y)
    alpha = alpha_on(source, built.arrangement.spatial, built.geometry, built.origin)
    with job.results() as staging:
        like = thinned(source, built.arrangement.spatial, built.geometry.stride)
        write_image(job, staging, y, source.axes, target, to, like, alpha)
        if indices is not None and places is not None:
            _write_indices(job, staging, indices, places, source)


def _read(job: Job, name: str, axes: str | None, nan: str) -> Image:
    """The image; where NaN refuse it, what this command alone can do with them is said too."""
    import numpy as np

    from convtool.cli.reading import read_image
    from convtool.images.nonfinite import NonFiniteError

    try:
        with np.errstate(invalid="ignore"):  # the mean of what holds infinities
            return read_image(job, name, axes, nan)
    except NonFiniteError as error:
        raise DataError(f"{error}, or --nan keep to compute with them") from None


def _check_room(job: Job, built: Pooling, source: Image, op: str, with_indices: bool) -> None:
    """Raises DataError, with the bytes, where the result, its copy in the file's dtype, and the work have no room."""
    from convtool import pooling
    from convtool.axes import spelled
    from convtool.memory import check_room

    causes = [f"--{name}" for name in ("padding", "dilation", "window") if name == "window" or job.chosen(name)]
    needed = pooling.needed_bytes(built, source.data.dtype, op, with_indices)
    needed += math.prod(built.shape) * source.data.dtype.itemsize
    what = f"pooling {spelled(built.arrangement.shape)} to {spelled(built.shape)}, with windows that span"
    what += f" {spelled([n + 1 for n in built.geometry.span])} pixels,"
    check_room(needed, what, f"a smaller {listed(causes)}, or a smaller image")


def _stride(text: str) -> str | int | tuple[int, ...]:
    try:
        return text if text == "window" else options.numbers(text, "--stride")
    except SettingError:
        raise SettingError(
            f"--stride must be whole numbers of at least 1, such as 2 or 2,1, or the word window, got '{text}'"
        ) from None


def _check_indices(indices: str | None, op: str) -> None:
    if indices is not None and op != "max":
        raise SettingError(f"--indices are those of maxima: leave them out, or leave out --op {op}")
    if indices is not None and not indices.endswith("}") and os.path.splitext(indices)[1].lower() not in ("", ".npy"):
        raise SettingError(f"--indices writes an .npy array: name it .npy, not {indices}")


def _settle(job: Job, built: Pooling, settings: dict[str, Any]) -> None:
    """The settings as they were resolved: one number for each spatial axis of the window."""
    windows = built.geometry
    job.settle(
        settings
        | {
            "axes": built.arrangement.axes,
            "window": list(windows.extent),
            "stride": list(windows.stride),
            "dilation": list(windows.dilation),
        }
    )
    if built.empty:
        value = "highest" if job.asked.op == "min" else "lowest"
        job.report.notes.append(
            f"{built.empty} of {math.prod(windows.outputs)} windows read no pixel, their result is the {value} value"
            " there is: use a smaller padding, or a --boundary that continues the image"
        )


def _write_indices(job: Job, staging: Staging, target: str, places: np.ndarray, source: Image) -> None:
    """Stage the indices beside the result, with their facts in the report."""
    from convtool.axes import transposed
    from convtool.images.image import Metadata
    from convtool.images.npy import write_npy

    order = source.axes if source.format == "npy" else "".join(letter for letter in "NCZYX" if letter in source.axes)
    placed = transposed(places, source.axes, order)
    write_npy(staging.open(target), placed, None, Metadata())
    job.report.output["indices"] = {
        "name": target,
        "axes": order,
        "shape": list(placed.shape),
        "dtype": placed.dtype.name,
    }
