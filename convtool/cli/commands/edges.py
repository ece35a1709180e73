"""`convtool edges`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from convtool.cli import options
from convtool.cli.image_command import Work, image_command
from convtool.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from convtool.cli.job import Job
    from convtool.files import Staging
    from convtool.images import Image

OperatorOption = Annotated[
    Literal["central", "sobel", "scharr", "prewitt", "forward"],
    typer.Option("--operator", help="Derivative; sobel, scharr and prewitt smooth across it, forward is x[n+1]-x[n]."),
]
DirectionOption = Annotated[
    str | None,
    typer.Option(
        "--direction",
        metavar="FILE",
        help="Also write the direction of growth, arctan2(gy, gx): radians from +X towards +Y, which points down.",
        show_default=False,
    ),
]
ComponentsOption = Annotated[
    str | None,
    typer.Option(
        "--components",
        metavar="FILE",
        help="Also write the signed components as channels of one file: [gz,] gy, gx; of colour, gy of all first.",
        show_default=False,
    ),
]


@image_command("edges", writes=("direction", "components"))
def run(
    context: typer.Context,
    operator: OperatorOption = "central",
    boundary: options.BoundaryOption = "reflect",
    direction: DirectionOption = None,
    components: ComponentsOption = None,
    axes: options.AxesOption = None,
    precision: options.PrecisionOption = "auto",
    threads: options.ThreadsOption = None,
    nan: options.NanOption = "refuse",
    linear: options.LinearOption = False,
) -> Work:
    """Find edges: the magnitude of an image's gradient.

    The result is sqrt(gx^2 + gy^2), with gz where the image has a Z axis. A ramp of slope 1 gives 1 with every
    operator. The integer kernels of scipy.ndimage and OpenCV give more: sobel 8 times (3-D: 32; so --scale 8 matches
    it), prewitt 6 (18), scharr 32. In files of integers, --scale fit makes faint edges visible. What --direction and
    --components add are floats, in .tif, .npy or .fits files; --dtype, --scale and --format are for the magnitude.
    """
    for option, file in {"--direction": direction, "--components": components}.items():
        _check_holds_floats(option, file)
    return _work


def _work(job: Job) -> None:
    """Find the edges of one image."""
    from convtool import gradients, model, process
    from convtool.cli.facts import describe_result
    from convtool.cli.reading import code_values, light, read_image
    from convtool.cli.writing import Destination, target_of, write_image

    asked, to = job.asked, Destination.of(job.asked)
    for option in ("direction", "components"):  # of a batch by the names that they have now
        _check_holds_floats(f"--{option}", getattr(asked, option))
    source = read_image(job, asked.image, asked.axes, asked.nan)
    target = target_of(job, source, "edges", to)
    x = light(source.data, asked.linear, asked.precision)
    settings = {name: getattr(asked, name) for name in ("operator", "boundary", "precision")} | {"axes": source.axes}
    with job.timed("computing"):
        extras = {}
        if asked.direction is not None:
            extras["direction"] = (gradients.direction(x, **settings), source.axes, asked.direction)
        if asked.components is not None:
            extras["components"] = (*_as_channels(gradients.gradient(x, **settings), source.axes), asked.components)
        y = code_values(source, asked.linear, gradients.edges(x, **settings))
    computed = {"float32": "single", "float64": "double"}[model.working_dtype(x.dtype, asked.precision).name]
    job.settle({"axes": source.axes, "precision": computed, "threads": process.threads()})
    if job.wants_facts:
        describe_result(job, y)
    with job.results() as staging:
        described = {word: _write_floats(job, staging, *extra, source) for word, extra in extras.items()}
        write_image(job, staging, y, source.axes, target, to, source, source.alpha)
        job.report.output |= described


def _check_holds_floats(option: str, file: str | None) -> None:
    """Raises SettingError for a file, or a template with an ending, of a format that holds no negative numbers."""
    from convtool.images.formats import output_format

    if file and not file.endswith("}") and output_format(file, None) in ("png", "jpeg"):
        raise SettingError(f"{option} has signed numbers, which {file} cannot hold: name a .tif or .npy file")


def _as_channels(components: Sequence[np.ndarray], axes: str) -> tuple[np.ndarray, str]:
    """The components as one array's channels, and its axes; with channels of their own, all those of gy come first."""
    import numpy as np

    from convtool.axes import Arrangement, spatial_of

    if "C" in axes:
        return np.concatenate(components, axis=axes.index("C")), axes
    grown = Arrangement(axes, components[0].shape, spatial_of(axes)).result_axes(len(components))
    return (components[0], axes) if grown == axes else (np.stack(components, axis=grown.index("C")), grown)


def _write_floats(
    job: Job, staging: Staging, values: np.ndarray, axes: str, name: str, source: Image
) -> dict[str, Any]:
    """Stage values as they are, beside the result; what the report says of their file."""
    from convtool.cli.writing import Destination, write_image
    from convtool.images import Metadata

    # Axes and coordinates are those of the image; a profile and a camera's data speak of its colours.
    kept = Metadata(tiff=source.metadata.tiff, fits_header=source.metadata.fits_header)
    to = Destination(name, None, values.dtype.name, None)
    write_image(job, staging, values, axes, name, to, replace(source, metadata=kept))
    return {key: job.report.output[key] for key in ("name", "format", "axes", "shape", "dtype")}
