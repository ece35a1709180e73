"""`convtool convolve` and `convtool correlate`: one command, but for the kernel's flip."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import typer

from convtool.cli import options
from convtool.cli.image_command import Work, image_command
from convtool.errors import percent

if TYPE_CHECKING:
    import numpy as np

    from convtool.cli.job import Job
    from convtool.model import Model

_RESULTS = {"convolve": "convolved", "correlate": "correlated"}


def command(operation: str, help_text: str) -> Callable[..., None]:
    """The function behind one of the two subcommands."""

    def run(
        context: typer.Context,
        kernel: options.KernelOption,
        boundary: options.BoundaryOption = "periodic",
        padding: options.PaddingOption = "same",
        stride: options.StrideOption = "1",
        dilation: options.DilationOption = "1",
        origin: options.OriginOption = "center",
        groups: options.GroupsOption = 1,
        bias: options.BiasOption = None,
        axes: options.AxesOption = None,
        kernel_axes: options.KernelAxesOption = None,
        normalize: options.NormalizeOption = False,
        engine: options.EngineOption = "auto",
        precision: options.PrecisionOption = "auto",
        threads: options.ThreadsOption = None,
        nan: options.MaskingNanOption = "refuse",
        linear: options.LinearOption = False,
    ) -> Work:
        return functools.partial(_work, options.model_settings({**context.params, "operation": operation}))

    run.__doc__ = help_text
    return image_command(_RESULTS[operation], reads=("kernel", "bias"))(run)


def _work(settings: dict[str, Any], job: Job) -> None:
    """Convolve or correlate one image."""
    from convtool import linear as convolution
    from convtool.cli import sidecar
    from convtool.cli.facts import build_model
    from convtool.cli.observing import read_observed
    from convtool.cli.reading import code_values, light, read_bias, read_kernel
    from convtool.cli.writing import Destination, alpha_under, target_of, thinned, write_image

    asked, to = job.asked, Destination.of(job.asked)
    source, observed = read_observed(job, asked.image, asked.axes, asked.nan)
    taps = read_kernel(job, asked.kernel, asked.normalize)
    settings, offset = sidecar.applied(job, asked.kernel, taps, settings)
    offset = offset if asked.bias is None else read_bias(job, asked.bias)
    target = target_of(job, source, _RESULTS[settings["operation"]], to)
    with job.timed("computing"):
        x = light(source.data, asked.linear, asked.precision)
        built = build_model(job, source, x, taps, False, settings)
        y = code_values(source, asked.linear, convolution.apply(built, x, offset, observed))
    with job.timed("measuring"):
        _describe(job, built, x, y if observed is None else _supported(job, y))
    with job.results() as staging:
        like = thinned(source, built.arrangement.spatial, built.operator.geometry.stride)
        write_image(job, staging, y, built.output_axes, target, to, like, alpha_under(source, built))


def _supported(job: Job, y: np.ndarray) -> np.ndarray:
    """The values of a result that are numbers, if there are any; a note says how many are not."""
    import numpy as np

    found = y[~np.isnan(y)]
    if found.size < y.size:
        job.report.notes.append(
            f"{y.size - found.size} of {y.size} results have no observed pixel under the kernel and are NaN: use a"
            " larger kernel, or --nan nearest, mean or zero"
        )
    return found if found.size else y


def _describe(job: Job, built: Model, x: np.ndarray, y: np.ndarray) -> None:
    """The kernel's condition, and how much of this image's energy it destroys."""
    from convtool.cli.facts import describe_kernel, describe_result

    facts = describe_kernel(job, built.operator)
    if facts is None:
        return
    describe_result(job, y)
    if facts.destroyed:
        lost = facts.lost_energy(built.canonical(x))
        job.report.result["energy_destroyed"] = lost
        job.report.notes.append(
            f"{facts.sentence()}; of the image's energy {percent(lost)} lay there and cannot come back"
        )
