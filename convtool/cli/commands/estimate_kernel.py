"""`convtool estimate-kernel`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from convtool.cli import options
from convtool.errors import SettingError
from convtool.process import MAX_PIXELS

if TYPE_CHECKING:
    from convtool.cli.job import Job
    from convtool.estimation import KernelEstimate
    from convtool.images import Image

_OF_PAIRS = ("operation", "origin", "signed", "total", "brightness", "weight")
_OF_STARS = ("threshold", "saturation")

_Image = Annotated[
    str,
    typer.Argument(metavar="IMAGE", help="The blurred image, or the frame with point sources.", show_default=False),
]
_Size = Annotated[
    str, typer.Option("--size", metavar="N[,M]", help="Taps of the kernel, as Y,X or Z,Y,X.", show_default=False)
]
_Sharp = Annotated[
    str | None,
    typer.Option("--sharp", metavar="FILE", help="The same scene without the blur.", show_default=False),
]
_Stars = Annotated[bool, typer.Option("--stars", help="Find point sources in IMAGE instead, and average them.")]
_Output = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE",
        help="The kernel (.npy, or .tif); - for standard output. Default: IMAGE.kernel.npy.",
        show_default=False,
    ),
]
_Operation = Annotated[
    Literal["convolve", "correlate"], typer.Option("--operation", help="How the kernel is to be used.")
]
_Signed = Annotated[bool, typer.Option("--signed", help="Allow negative taps.")]
_Total = Annotated[
    Literal["one", "free"],
    typer.Option("--sum", help="Of the taps; free: the gain in brightness is left in them."),
]
_Brightness = Annotated[
    Literal["auto", "same", "fitted"],
    typer.Option("--brightness", help="Gain and offset between both images; auto: fitted if the data need it."),
]
_Weight = Annotated[
    float | None,
    typer.Option("--weight", help="Of smoothness. Default: chosen by cross-validation.", show_default=False),
]
_Threshold = Annotated[float, typer.Option("--threshold", help="Sigmas by which a point source must stand out.")]
_Saturation = Annotated[
    float | None,
    typer.Option("--saturation", help="Value of saturated pixels. Default: found in the frame.", show_default=False),
]
_Linear = Annotated[bool, typer.Option("--linear", help="Estimate in linear light: decode sRGB.")]
_Dtype = Annotated[str, typer.Option("--dtype", metavar="DTYPE", help="Of the output, such as float32.")]


def run(
    context: typer.Context,
    image: _Image,
    size: _Size,
    sharp: _Sharp = None,
    stars: _Stars = False,
    output: _Output = None,
    operation: _Operation = "convolve",
    origin: options.OriginOption = "center",
    signed: _Signed = False,
    total: _Total = "one",
    brightness: _Brightness = "auto",
    weight: _Weight = None,
    threshold: _Threshold = 20.0,
    saturation: _Saturation = None,
    axes: options.AxesOption = None,
    nan: options.NanOption = "refuse",
    max_pixels: options.MaxPixelsOption = MAX_PIXELS,
    linear: _Linear = False,
    dtype: _Dtype = "float64",
    threads: options.ThreadsOption = None,
    no_clobber: options.ClobberOption = False,
    report: options.ReportOption = None,
    quiet: options.QuietOption = False,
    verbose: options.VerboseOption = False,
) -> None:
    """Estimate the kernel of a blur from images.

    From a sharp and a blurred image of one scene (--sharp), or from the point sources in a frame, such as stars or
    beads (--stars). deconvolve --kernel takes the result as it is. The report says how well the data determine it.
    """
    lengths = options.lengths(size, "--size")
    target = _target(image, output)
    _check(context, sharp, stars, target, dtype)
    place = options.origin(origin)
    from convtool.cli.job import Job
    from convtool.cli.reading import light, read_image
    from convtool.cli.writing import Destination, write_image
    from convtool.estimation import from_pair, from_stars

    job = Job(context, inputs=[image, sharp], outputs=[target], threads=threads)
    source = read_image(job, image, axes, nan)
    taps = lengths if len(lengths) > 1 else lengths[0]
    values = light(source.data, linear, "double")
    if sharp is None:
        level = _saturation(source, saturation, linear)
        with job.timed("computing"):
            found = from_stars(values, taps, axes=source.axes, threshold=threshold, saturation=level)
    else:
        truth = light(_scene(job, sharp, axes, nan, source), linear, "double")
        settings: dict[str, Any] = {"operation": operation, "origin": place, "brightness": brightness}
        settings |= {"signed": signed, "sum_one": total == "one", "weight": weight}
        with job.timed("computing"):
            found = from_pair(values, truth, taps, axes=source.axes, **settings)
    _describe(job, found, source.axes, place, operation)
    with job.results() as staging:
        letters = "ZYX"[3 - found.kernel.ndim :]
        write_image(job, staging, found.kernel, letters, target, Destination(target, None, dtype, None))


def _target(image: str, output: str | None) -> str:
    if output is None:
        return "kernel.npy" if image == "-" else f"{os.path.splitext(image)[0]}.kernel.npy"
    if output.lower().endswith((".png", ".jpg", ".jpeg")):
        raise SettingError(f"taps are fractions, which {output} cannot hold: write .npy or .tif")
    return output


def _check(context: typer.Context, sharp: str | None, stars: bool, target: str, dtype: str) -> None:
    """Raises SettingError for settings that contradict each other."""
    if not dtype.startswith("float"):
        raise SettingError(f"taps are fractions, which {dtype} cannot hold: use --dtype float32 or float64")
    if stars == (sharp is not None):
        raise SettingError(
            "a kernel is estimated from a sharp image of the same scene (--sharp FILE) or from point sources (--stars):"
            f" give one of them{', not both' * stars}"
        )
    for name in _OF_PAIRS if stars else _OF_STARS:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            option, mode = "sum" if name == "total" else name, "--sharp" if stars else "--stars"
            raise SettingError(f"--{option} is for {mode}: leave it out")


def _scene(job: Job, sharp: str, axes: str | None, nan: str, source: Image) -> Any:
    """The sharp image's values with the axes of the blurred one."""
    from convtool.cli.reading import aligned, read_reference

    scene = read_reference(job, sharp, axes, nan)
    job.report.reference = {"name": sharp, "axes": scene.axes}
    return aligned(scene, source.axes, source.data.shape)


def _saturation(source: Image, level: float | None, linear: bool) -> float | None:
    """The level in linear light, whose scale is that of the code values, where the pixels' dtype says it."""
    import numpy as np

    return float(np.iinfo(source.data.dtype).max) if linear and level is None else level


def _describe(job: Job, found: KernelEstimate, axes: str, origin: str | tuple[int, ...], operation: str) -> None:
    from convtool import process
    from convtool.kernel import origin_of

    kernel = found.kernel
    place = origin_of(origin, kernel.shape)
    job.report.kernel = {
        "shape": list(kernel.shape),
        "sum": float(kernel.sum()),
        "origin": list(place),
        "min": float(kernel.min()),
        "max": float(kernel.max()),
    }
    job.report.result = dict(found.metrics)
    job.settle({"axes": axes, "size": list(kernel.shape), "origin": list(place), "threads": process.threads()})
    job.report.notes += found.notes
    words = [] if operation == "convolve" else [f"--operation {operation}"]
    words += [] if place == tuple(n // 2 for n in kernel.shape) else [f"--origin {','.join(map(str, place))}"]
    if words:
        job.report.notes.append(f"use this kernel with {' '.join(words)}")
