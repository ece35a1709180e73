"""`convtool convolve` and `convtool correlate`: one command, but for the kernel's flip."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from convtool.cli import options
from convtool.process import MAX_PIXELS

if TYPE_CHECKING:
    import numpy as np

    from convtool.cli.job import Job
    from convtool.model import Model

_RESULTS = {"convolve": "convolved", "correlate": "correlated"}


def command(operation: str, help_text: str) -> Callable[..., None]:
    """The function behind one of the two subcommands."""

    def run(
        context: typer.Context,
        image: options.ImageArgument,
        kernel: options.KernelOption,
        output: options.OutputOption = None,
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
        max_pixels: options.MaxPixelsOption = MAX_PIXELS,
        linear: options.LinearOption = False,
        dtype: options.DtypeOption = None,
        scale: options.ScaleOption = None,
        format: options.FormatOption = None,
        no_clobber: options.ClobberOption = False,
        report: options.ReportOption = None,
        quiet: options.QuietOption = False,
        verbose: options.VerboseOption = False,
    ) -> None:
        settings = options.model_settings({**context.params, "operation": operation})
        from convtool import linear as convolution
        from convtool.cli import sidecar
        from convtool.cli.facts import build_model
        from convtool.cli.job import Job
        from convtool.cli.observing import read_observed
        from convtool.cli.reading import code_values, light, read_bias, read_kernel
        from convtool.cli.writing import Destination, alpha_under, target_of, write_image

        job = Job(context, inputs=[image, kernel, bias], outputs=[output], threads=threads)
        to = Destination(output, format, dtype, scale)
        source, observed = read_observed(job, image, axes, nan)
        taps = read_kernel(job, kernel, normalize)
        settings, offset = sidecar.applied(job, kernel, taps, settings)
        offset = offset if bias is None else read_bias(job, bias)
        target = target_of(job, source, _RESULTS[operation], to)
        with job.timed("computing"):
            x = light(source.data, linear, precision)
            built = build_model(job, source, x, taps, False, settings)
            y = code_values(source, linear, convolution.apply(built, x, offset, observed))
        with job.timed("measuring"):
            _describe(job, built, x, y if observed is None else _supported(job, y))
        with job.results() as staging:
            write_image(job, staging, y, built.output_axes, target, to, source, alpha_under(source, built))

    run.__doc__ = help_text
    return run


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
            f"{facts.sentence()}; of the image's energy {100 * lost:.2g} % lay there and cannot come back"
        )
