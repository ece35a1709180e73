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
    from convtool.images import Image
    from convtool.model import Model


_MUCH_WORSE = 2.0  # errors of another method, in units of the result's, that are worth a note

_MethodOption = Annotated[Method, typer.Option("--method", help="How to undo it; described below.")]
_SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="An option of the method; may be repeated.", show_default=False),
]
_OperationOption = Annotated[Literal["convolve", "correlate"], typer.Option("--operation", help="What made the image.")]
_BiasOption = Annotated[
    str | None,
    typer.Option(
        "--bias", metavar="FILE", help=".npy with one number per channel of the image, subtracted.", show_default=False
    ),
]
_ShapeOption = Annotated[
    str | None,
    typer.Option(
        "--image-shape",
        metavar="H,W",
        help="Of the unknown image, where a stride leaves it open.",
        show_default=False,
    ),
]


def run(
    context: typer.Context,
    image: options.ImageArgument,
    kernel: options.KernelOption,
    output: options.OutputOption = None,
    method: _MethodOption = DEFAULT_METHOD,
    set_: _SetOption = None,
    operation: _OperationOption = "convolve",
    boundary: options.BoundaryOption = "periodic",
    padding: options.PaddingOption = "same",
    stride: options.StrideOption = "1",
    dilation: options.DilationOption = "1",
    image_shape: _ShapeOption = None,
    origin: options.OriginOption = "center",
    groups: options.GroupsOption = 1,
    bias: _BiasOption = None,
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
    settings["shape"] = None if image_shape is None else options.lengths(image_shape, "--image-shape")
    from convtool import deconvolution
    from convtool.cli import reading, sidecar
    from convtool.cli.facts import build_model, measure_against
    from convtool.cli.job import Job
    from convtool.cli.progress import shown
    from convtool.cli.writing import Destination, target_of, write_image

    job = Job(context, inputs=[image, kernel, bias, reference], outputs=[output], threads=threads)
    to = Destination(output, format, dtype, scale)
    source = reading.read_image(job, image, axes, nan)
    taps = reading.read_kernel(job, kernel, normalize)
    settings, offset = sidecar.applied(job, kernel, taps, settings)
    offset = offset if bias is None else reading.read_bias(job, bias)
    truth = None if reference is None else reading.read_reference(job, reference, axes, nan)
    target = target_of(job, source, "deconvolved", to)
    _leave_memory()
    with job.timed("computing"), shown(job):
        y = reading.light(source.data, linear, precision)
        built = build_model(job, source, y, taps, True, settings)
        true = None if truth is None else reading.aligned(truth, built.input_axes, built.input_shape)
        y, rounding = _without(offset, y, built), reading.rounding_of(source.data, linear)
        solution = deconvolution.solve(built, y, chosen, rounding)
        x, *others = (reading.code_values(source, linear, each) for each in (solution.x, *solution.others.values()))
    with job.timed("measuring"):
        _describe(job, built, solution, x, None if true is None else reading.light(true, linear, precision))
    with job.results() as staging:
        alpha = _alpha(job, source, dict(zip(built.input_axes, x.shape, strict=True)))
        written = write_image(job, staging, x, built.input_axes, target, to, source, alpha)
        if true is not None:
            job.report.reference["name"] = reference
            measure_against(job, true, x, built.input_axes, written, peak)
            for name, other in zip(solution.others, others, strict=True):
                _compare(job, name, other, true, built.input_axes, peak)


def _leave_memory() -> None:
    """A solution in one step is to take no more than half of what is free."""
    from convtool.deconvolution.solvers.one_step import policy
    from convtool.memory import available_memory

    policy.memory = min(policy.memory, available_memory() // 2)


def _without(bias: np.ndarray | None, y: np.ndarray, built: Model) -> np.ndarray:
    """The data without the bias [c_out] that was added to them."""
    from convtool import linear

    if bias is None:
        return y
    shape = [-1 if letter == "C" else 1 for letter in built.arrangement.axes]
    checked = linear.checked_bias(bias, built.operator.out_shape[0])
    return y.astype(built.operator.dtype) - checked.astype(built.operator.dtype).reshape(shape)


def _alpha(job: Job, source: Image, lengths: dict[str, int]) -> np.ndarray | None:
    """The image's alpha where the result has its size."""
    if source.alpha is None or source.alpha.shape == (lengths["Y"], lengths["X"]):
        return source.alpha
    height, width = source.alpha.shape
    job.report.notes.append(
        f"not kept: alpha, which is as large as the data, {height}x{width}; the result is {lengths['Y']}x{lengths['X']}"
    )
    return None


def _describe(job: Job, built: Model, solution: Solution, x: np.ndarray, truth: np.ndarray | None) -> None:
    """The method's outcome, and what the kernel destroyed: of the truth, where that is known."""
    from convtool.cli.facts import describe_kernel, describe_result

    job.report.result = {**solution.metrics, "stop": solution.stop}
    job.report.notes += solution.notes
    facts = describe_kernel(job, built.operator)
    if facts is None:
        return
    describe_result(job, x)
    if not facts.destroyed or not built.operator.geometry.is_circulant:
        return  # what another boundary destroys is not a matter of frequencies
    if truth is None:
        job.report.notes.append(f"{facts.sentence()}; how much of the image lay there, the data cannot tell")
        return
    lost = facts.lost_energy(built.canonical_input(truth))
    job.report.reference["energy_destroyed"] = lost
    job.report.notes.append(
        f"{facts.sentence()}; of the reference's energy {100 * lost:.2g} % lay there and cannot come back"
    )


def _compare(job: Job, name: str, other: np.ndarray, true: np.ndarray, axes: str, peak: float | None) -> None:
    """How far another method's answer is from the truth, beside this one's distance; a note where it is much more."""
    from convtool import metrics

    found, own = metrics.compare(other, true, axes, peak), job.report.reference["relative"]
    told = {"relative": found.relative, "psnr": found.psnr, "ssim": found.ssim}
    job.report.reference[name] = {"name": f"the {name} inverse instead", **told}
    if found.relative > _MUCH_WORSE * own:
        job.report.notes.append(
            f"from the reference the {name} inverse is {100 * found.relative:.2g} % away, this result {100 * own:.2g} %"
        )


EPILOG = listing("Methods and what --set takes:", methods)
