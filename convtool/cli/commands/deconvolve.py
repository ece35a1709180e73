"""`convtool deconvolve`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from convtool.cli import options
from convtool.cli.listing import listing
from convtool.deconvolution import DEFAULT_METHOD, methods
from convtool.registry import assignments

if TYPE_CHECKING:
    Method = str
else:
    Method = Literal[tuple(methods.names())]

if TYPE_CHECKING:
    import numpy as np

    from convtool.cli.job import Job
    from convtool.deconvolution import Solution
    from convtool.model import Model


def run(
    context: typer.Context,
    image: options.ImageArgument,
    kernel: options.KernelOption,
    output: options.OutputOption = None,
    method: Annotated[Method, typer.Option("--method", help="How to undo it; described below.")] = DEFAULT_METHOD,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="An option of the method; may be repeated.", show_default=False
        ),
    ] = None,
    operation: Annotated[
        Literal["convolve", "correlate"], typer.Option("--operation", help="What made the image.")
    ] = "convolve",
    boundary: options.BoundaryOption = "periodic",
    origin: options.OriginOption = "center",
    groups: options.GroupsOption = 1,
    axes: options.AxesOption = None,
    kernel_axes: options.KernelAxesOption = None,
    normalize: options.NormalizeOption = False,
    reference: options.ReferenceOption = None,
    peak: options.PeakOption = None,
    engine: options.EngineOption = "auto",
    precision: options.PrecisionOption = "auto",
    threads: options.ThreadsOption = None,
    nan: options.NanOption = "refuse",
    linear: options.LinearOption = False,
    dtype: options.DtypeOption = None,
    scale: options.ScaleOption = None,
    format: options.FormatOption = None,
    no_clobber: options.ClobberOption = False,
    report: options.ReportOption = None,
    quiet: options.QuietOption = False,
    verbose: options.VerboseOption = False,
) -> None:
    """Undo a convolution, given its kernel.

    Finds the image that, convolved with the kernel, gives this one as well as the data allow. The report says how well
    the result explains the data, what the kernel destroyed, and, with --reference, how far it is from the truth.
    """
    chosen = methods.options(method, assignments(set_ or [], "--set"))
    settings = options.model_settings(context.params)
    from convtool import deconvolution
    from convtool.cli import reading
    from convtool.cli.facts import build_model, measure_against
    from convtool.cli.job import Job
    from convtool.cli.writing import Destination, target_of, write_image

    job = Job(context, inputs=[image, kernel, reference], outputs=[output], threads=threads)
    to = Destination(output, format, dtype, scale)
    source = reading.read_image(job, image, axes, nan)
    taps = reading.read_kernel(job, kernel, normalize)
    truth = None if reference is None else reading.read_reference(job, reference, axes, nan)
    target = target_of(job, source, "deconvolved", to)
    with job.timed("computing"):
        y = reading.light(source.data, linear, precision)
        built = build_model(job, source, y, taps, True, settings)
        solution = deconvolution.solve(built, y, chosen, reading.rounding_of(source.data, linear))
        x = reading.code_values(source, linear, solution.x)
    true = None if truth is None else reading.aligned(truth, built.input_axes, x.shape)
    with job.timed("measuring"):
        _describe(job, built, solution, x, None if true is None else reading.light(true, linear, precision))
    with job.results() as staging:
        written = write_image(job, staging, x, built.input_axes, target, to, source, source.alpha)
        if true is not None:
            job.report.reference["name"] = reference
            measure_against(job, true, x, built.input_axes, written, peak)


def _describe(job: Job, built: Model, solution: Solution, x: np.ndarray, truth: np.ndarray | None) -> None:
    """The method's outcome, and what the kernel destroyed: of the truth, where that is known."""
    from convtool.cli.facts import describe_kernel, describe_result

    job.report.result = {**solution.metrics, "stop": solution.stop}
    job.report.notes += solution.notes
    facts = describe_kernel(job, built.operator)
    if facts is None:
        return
    describe_result(job, x)
    if facts.destroyed and truth is None:
        job.report.notes.append(f"{facts.sentence()}; how much of the image lay there, the data cannot tell")
    elif facts.destroyed and truth is not None:
        lost = facts.lost_energy(built.canonical_input(truth))
        job.report.reference["energy_destroyed"] = lost
        job.report.notes.append(
            f"{facts.sentence()}; of the reference's energy {100 * lost:.2g} % lay there and cannot come back"
        )


EPILOG = listing("Methods and what --set takes:", methods)
