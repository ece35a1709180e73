"""`convtool deconvolve`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from convtool.cli import options
from convtool.cli.listing import listing
from convtool.deconvolution import DEFAULT_METHOD, methods
from convtool.errors import SettingError
from convtool.process import MAX_PIXELS
from convtool.registry import assignments, fields

if TYPE_CHECKING:
    Method = str
else:
    Method = Literal[tuple(methods.names())]


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
_BoundaryOption = Annotated[
    Literal["auto", "unknown", "periodic", "zero", "edge", "reflect", "symmetric"],
    typer.Option("--boundary", help="What the scene did outside the frame; auto: the data are tested."),
]
_ExtensionOption = Annotated[
    bool, typer.Option("--keep-extension", help="With unknown surroundings, keep what was found of them.")
]
_MaskOption = Annotated[
    str | None,
    typer.Option("--mask", metavar="FILE", help="Image that is 0 where pixels are no data.", show_default=False),
]
_SaturationOption = Annotated[
    float | None,
    typer.Option(
        "--saturation",
        metavar="SHARE",
        help="Pixels from this share of the maximum on, such as 0.99, are no data.",
        show_default=False,
    ),
]
_SpacingOption = Annotated[
    str | None,
    typer.Option(
        "--spacing",
        metavar="DZ,DY,DX",
        help="Distance of samples per axis, for methods that smooth. Default: equal.",
        show_default=False,
    ),
]
_EffortOption = Annotated[
    Literal["low", "normal", "high"], typer.Option("--effort", help="How much time the result is worth.")
]


def run(
    context: typer.Context,
    image: options.ImageArgument,
    kernel: options.KernelOption,
    output: options.OutputOption = None,
    method: _MethodOption = DEFAULT_METHOD,
    set_: _SetOption = None,
    operation: _OperationOption = "convolve",
    boundary: _BoundaryOption = "auto",
    keep_extension: _ExtensionOption = False,
    mask: _MaskOption = None,
    saturation: _SaturationOption = None,
    spacing: _SpacingOption = None,
    effort: _EffortOption = "normal",
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
    """Undo a convolution, given its kernel.

    Finds the image that, convolved with the kernel, gives this one as well as the data allow. The report says how well
    the result explains the data, what the kernel destroyed, and, with --reference, how far it is from the truth.
    """
    chosen = _options(method, assignments(set_ or [], "--set"))
    settings = _settings(context.params)
    from convtool.cli import observing, reading, restoring, sidecar
    from convtool.cli.job import Job
    from convtool.cli.writing import Destination, target_of

    job = Job(context, inputs=[image, kernel, bias, reference, mask], outputs=[output], threads=threads)
    to = Destination(output, format, dtype, scale)
    counting = observing.Counting(mask, nan, saturation)
    source, counted = observing.read_data(job, image, axes, counting)
    taps = reading.read_kernel(job, kernel, normalize)
    settings, offset = sidecar.applied(job, kernel, taps, settings)
    offset = offset if bias is None else reading.read_bias(job, bias)
    filling = "refuse" if nan == "mask" else nan
    truth = None if reference is None else reading.read_reference(job, reference, axes, filling)
    target = target_of(job, source, "deconvolved", to)
    observing.suggest_linear(job, source, linear, counting, counted)
    given = restoring.Given(source, taps, settings, offset, counted, truth)
    restored = restoring.solve(job, given, chosen)
    with job.timed("measuring"):
        restoring.describe(job, restored, linear, precision)
    restoring.write(job, restored, target, to, peak)


def _options(method: str, given: dict[str, str]) -> Any:
    """The method's Options out of what --set says; raises SettingError for options of a method that is not named."""
    if method == DEFAULT_METHOD and given:
        owners = [
            name
            for name in methods.names()
            if set(given) <= {field for field, *_ in fields(methods.load(name).Options)}
        ]
        which = f"--method {' or '.join(owners)}" if owners else "--method"
        raise SettingError(
            f"--set {next(iter(given))}: method {DEFAULT_METHOD} chooses by itself: name {which} as well"
        )
    return methods.options(method, given)


def _settings(given: dict[str, Any]) -> dict[str, Any]:
    """The settings of the model out of the command's parameters."""
    shape = given["image_shape"]
    found = options.model_settings(given)
    found["shape"] = None if shape is None else options.lengths(shape, "--image-shape")
    return found


EPILOG = listing("Methods and what --set takes:", methods)
