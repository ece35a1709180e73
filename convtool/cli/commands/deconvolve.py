"""`convtool deconvolve`."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from convtool.cli import options
from convtool.cli.image_command import Work, image_command
from convtool.cli.listing import listing
from convtool.deconvolution import DEFAULT_METHOD, methods
from convtool.errors import SettingError
from convtool.registry import assignments, fields

if TYPE_CHECKING:
    from convtool.cli.job import Job

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


def _check_share(share: float) -> None:
    if not 0 < share <= 1:
        raise SettingError(f"--saturation must be a share above 0 and at most 1, such as 0.99, got {share:g}")


_SaturationOption = Annotated[
    float | None,
    typer.Option(
        "--saturation",
        metavar="SHARE",
        help="Pixels from this share of the maximum on, such as 0.99, are no data.",
        show_default=False,
        callback=options.checked(_check_share),
    ),
]
_SpacingOption = Annotated[
    str | None,
    typer.Option(
        "--spacing",
        metavar="DZ,DY,DX",
        help="Distance of samples per axis, for methods that smooth. Default: equal.",
        show_default=False,
        callback=options.checked(lambda text: options.distances(text, "--spacing")),
    ),
]
_EffortOption = Annotated[
    Literal["low", "normal", "high"], typer.Option("--effort", help="How much time the result is worth.")
]


@image_command("deconvolved", reads=("kernel", "bias", "reference", "mask"))
def run(
    context: typer.Context,
    kernel: options.KernelOption,
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
    linear: options.LinearOption = False,
) -> Work:
    """Undo a convolution, given its kernel.

    Finds the image that, convolved with the kernel, gives this one as well as the data allow. The report says how well
    the result explains the data, what the kernel destroyed, and, with --reference, how far it is from the truth.
    """
    chosen = _options(method, assignments(set_ or [], "--set"))
    return functools.partial(_work, chosen, _settings(context.params))


def _work(method: Any, settings: dict[str, Any], job: Job) -> None:
    """Undo the convolution of one image."""
    from convtool.cli import observing, reading, restoring, sidecar
    from convtool.cli.writing import Destination, target_of

    asked, to = job.asked, Destination.of(job.asked)
    counting = observing.Counting(asked.mask, asked.nan, asked.saturation)
    source, counted = observing.read_data(job, asked.image, asked.axes, counting)
    taps = reading.read_kernel(job, asked.kernel, asked.normalize)
    settings, offset = sidecar.applied(job, asked.kernel, taps, settings)
    offset = offset if asked.bias is None else reading.read_bias(job, asked.bias)
    filling = "refuse" if asked.nan == "mask" else asked.nan
    truth = None if asked.reference is None else reading.read_reference(job, asked.reference, asked.axes, filling)
    target = target_of(job, source, "deconvolved", to)
    observing.suggest_linear(job, source, asked.linear, counting, counted)
    given = restoring.Given(source, taps, settings, offset, counted, truth)
    restored = restoring.solve(job, given, method)
    with job.timed("measuring"):
        restoring.describe(job, restored, asked.linear, asked.precision)
    restoring.write(job, restored, target, to, asked.peak)


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
