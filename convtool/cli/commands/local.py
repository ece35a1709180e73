"""`convtool local`."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from convtool.cli import options
from convtool.cli.image_command import Work, image_command
from convtool.errors import listed

if TYPE_CHECKING:
    import numpy as np

    from convtool.cli.job import Job
    from convtool.model import Model

Combine = Literal["mul", "add", "sub", "absdiff", "max", "min", "tan-add"]
Reduce = Literal["sum", "prod", "max", "min", "mean"]


@image_command("local", reads=("kernel",))
def run(
    context: typer.Context,
    kernel: options.KernelOption,
    combine: Annotated[Combine, typer.Option("--combine", help="What a pixel and its weight become.")] = "mul",
    reduce: Annotated[Reduce, typer.Option("--reduce", help="How a window's values become one.")] = "sum",
    boundary: options.BoundaryOption = "periodic",
    padding: options.PaddingOption = "same",
    stride: options.StrideOption = "1",
    dilation: options.DilationOption = "1",
    origin: options.OriginOption = "center",
    groups: options.GroupsOption = 1,
    axes: options.AxesOption = None,
    kernel_axes: options.KernelAxesOption = None,
    precision: options.PrecisionOption = "auto",
    nan: options.NanOption = "refuse",
    linear: options.LinearOption = False,
) -> Work:
    """Convolve with something else than multiply and add.

    For filters that no weighted sum can be: the kernel moves over the image, unflipped as in correlate; every pixel
    under it is combined with its weight, and the window's values are reduced to one. Useful pairs are described below.
    """
    settings = options.model_settings({**context.params, "operation": "correlate", "engine": "auto"})
    return functools.partial(_work, settings)


def _work(settings: dict[str, Any], job: Job) -> None:
    """Do it with one image."""
    import numpy as np

    from convtool import windows
    from convtool.cli import reading, sidecar
    from convtool.cli.facts import build_model, describe_result
    from convtool.cli.reading import code_values, light, read_image
    from convtool.cli.writing import Destination, alpha_under, target_of, thinned, write_image

    asked, to = job.asked, Destination.of(job.asked)
    source = read_image(job, asked.image, asked.axes, asked.nan)
    taps = reading.read_kernel(job, asked.kernel, normalize=False, plain=True)
    sidecar.left_aside(job, asked.kernel)
    settings = settings | {"kernel_axes": reading.kernel_axes(asked.kernel, taps, asked.kernel_axes)}
    target = target_of(job, source, "local", to)
    # What it sums to says nothing here, and whoever clips is told to divide by it.
    del job.report.kernel["sum"]
    # What overflows is counted in a note instead.
    with job.timed("computing"), np.errstate(over="ignore", invalid="ignore"):
        x = light(source.data, asked.linear, asked.precision)
        built = build_model(job, source, x, taps, False, settings)
        _check_room(job, built)
        y = windows.apply(built, x, asked.combine, asked.reduce)
        _note_overflow(job, y)
        y = code_values(source, asked.linear, y)
    if job.wants_facts:
        describe_result(job, y)
    with job.results() as staging:
        like = thinned(source, built.arrangement.spatial, built.operator.geometry.stride)
        write_image(job, staging, y, built.output_axes, target, to, like, alpha_under(source, built))


def _check_room(job: Job, built: Model) -> None:
    """Raises DataError, with the bytes, where the extended image and the result have no room."""
    from convtool import windows
    from convtool.axes import spelled
    from convtool.memory import check_room

    operator = built.operator
    causes = [f"--{name}" for name in ("padding", "dilation") if job.chosen(name)]
    what = f"an image of {spelled(operator.geometry.grid)}, extended to {spelled(operator.geometry.extended)} for a"
    what += f" result of {spelled(operator.geometry.outputs)},"
    check_room(windows.needed_bytes(built), what, f"a smaller {listed([*causes, 'image'])}")


def _note_overflow(job: Job, y: np.ndarray) -> None:
    import numpy as np

    lost = y.size - int(np.count_nonzero(np.isfinite(y)))
    if lost:
        advice = "use --precision double, or scale the image" if y.dtype == np.float32 else "scale the image"
        job.report.notes.append(f"{lost} of {y.size} results are too large for {y.dtype}: {advice}")


EPILOG = """\b
Pairs, with x the pixels under the kernel and w its weights; every other pair works too:

\b
--combine add --reduce max
    Grey dilation, the maximum of x + w: what is bright grows by the shape of the kernel. A weight
    of -1e9 takes a pixel out. With --boundary edge nothing comes in from the image's other side.
    A kernel of zeros makes the plain maximum.

\b
--combine sub --reduce min
    Grey erosion, the minimum of x - w: what is dark grows. An erosion, then a dilation with the
    kernel turned by 180 degrees, is an opening; in the other order it is a closing.

\b
--combine absdiff --reduce sum
    L1 template matching, the sum of |x - w|, the kernel being a picture of what is looked for: a
    small sum marks a match. With --reduce mean the result fits into the image's range.

\b
--combine tan-add --reduce prod
    The product of tan(x + w), x + w in radians: an example of what has no other name.

\b
--combine mul --reduce sum
    The weighted sum: correlate, which is faster with large kernels."""
