"""The options that several subcommands share, and the parsers of their texts; pure Python, for a quick `--help`.

What is wrong for every image is refused here, before any is read: each option's callback, or the parser of its text,
says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal

import typer

from convtool.axes import image_letters, kernel_letters
from convtool.errors import SettingError

Boundary = Literal["periodic", "zero", "edge", "reflect", "symmetric"]

ImagesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="IMAGE...",
        help="Image files, .npy arrays, folders, quoted patterns, @LIST of names, or - for standard input.",
        show_default=False,
    ),
]
ImageArgument = Annotated[
    str, typer.Argument(metavar="IMAGE", help="Image file, .npy array, or - for standard input.", show_default=False)
]
KernelOption = Annotated[
    str,
    typer.Option(
        "-k",
        "--kernel",
        metavar="KERNEL",
        help="Kernel: .npy, TIFF, PNG, text or CSV file, - for standard input, or a family such as gaussian:sigma=1.6.",
        show_default=False,
    ),
]
OutputOption = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE",
        help="Result; - for standard output. Default: beside IMAGE.",
        show_default=False,
    ),
]
BoundaryOption = Annotated[Boundary, typer.Option("--boundary", help="What lies outside the frame.")]
OriginOption = Annotated[
    str,
    typer.Option("--origin", metavar="ORIGIN", help="Tap that lies on the output pixel: center, first, last, or I,J."),
]
PaddingOption = Annotated[
    str,
    typer.Option(
        "--padding",
        metavar="PADDING",
        help="How many outputs: same, valid, full, N, N,M, or before:after pairs A:B,C:D.",
    ),
]
StrideOption = Annotated[str, typer.Option("--stride", metavar="N[,M]", help="Keep every N-th output.")]
DilationOption = Annotated[str, typer.Option("--dilation", metavar="N[,M]", help="Distance between taps.")]
BiasOption = Annotated[
    str | None,
    typer.Option("--bias", metavar="FILE", help=".npy with one number per output channel, added.", show_default=False),
]
GroupsOption = Annotated[
    int, typer.Option("--groups", min=1, help="Blocks of channels that do not mix, for OIYX kernels.")
]


def checked(check: Callable[[Any], object]) -> Callable[[Any], Any]:
    """A callback that hands a value on once `check`, which raises SettingError, has seen it."""

    def callback(value: Any) -> Any:
        if value is not None:
            check(value)
        return value

    return callback


AxesOption = Annotated[
    str | None,
    typer.Option(
        "--axes",
        metavar="AXES",
        help="Letters of the image's axes, such as YXC or CYX.",
        show_default=False,
        callback=checked(image_letters),
    ),
]
KernelAxesOption = Annotated[
    str | None,
    typer.Option(
        "--kernel-axes",
        metavar="AXES",
        help="Letters of the kernel's axes, such as OIYX or YX.",
        show_default=False,
        callback=checked(kernel_letters),
    ),
]
NormalizeOption = Annotated[bool, typer.Option("--normalize", help="Divide the kernel by its sum.")]
PrecisionOption = Annotated[
    Literal["auto", "single", "double"], typer.Option("--precision", help="Computing precision; auto: by the image.")
]
EngineOption = Annotated[
    Literal["auto", "direct", "separable", "blocks", "fft", "opencv"],
    typer.Option("--engine", help="How to compute; auto: the fastest."),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        "--threads", min=1, help="Threads of large computations. Default: the CPUs there are.", show_default=False
    ),
]


def nan_option(text: str, *choices: str) -> Any:
    """--nan for a command that can leave no pixels out, and says which can to who asks for it."""

    def checked(choice: str) -> str:
        if choice not in choices:
            where = ": only convolve, correlate and deconvolve can leave pixels out" if choice == "mask" else ""
            raise typer.BadParameter(f"'{choice}' is not one of {', '.join(map(repr, choices))}{where}.")
        return choice

    return typer.Option("--nan", metavar=f"<{'|'.join(choices)}>", parser=checked, help=text)


NanOption = Annotated[str, nan_option("What to do with NaN and infinite pixels.", "refuse", "zero", "mean", "nearest")]
MaskingNanOption = Annotated[
    Literal["refuse", "mask", "zero", "mean", "nearest"],
    typer.Option("--nan", help="What to do with NaN and infinite pixels; mask: they are no data."),
]
MaxPixelsOption = Annotated[
    int,
    typer.Option("--max-pixels", min=1, metavar="N", help="Refuse a compressed image that unpacks to more."),
]
LinearOption = Annotated[
    bool, typer.Option("--linear", help="Compute in linear light: decode sRGB, encode the result.")
]
DtypeOption = Annotated[
    str | None,
    typer.Option(
        "--dtype",
        metavar="DTYPE",
        help="Of the output, such as uint16 or float32. Default: the input's.",
        show_default=False,
    ),
]
ScaleOption = Annotated[
    str | None,
    typer.Option(
        "--scale",
        metavar="SCALE",
        help="Of the output: FACTOR, FACTOR,OFFSET, or fit (onto the dtype's range).",
        show_default=False,
    ),
]
FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help="Of the output: png, jpeg, tiff, npy, fits. Default: by its name.",
        show_default=False,
    ),
]
ReferenceOption = Annotated[
    str | None,
    typer.Option(
        "--reference", metavar="FILE", help="The true image, to measure the result against.", show_default=False
    ),
]


def _check_peak(peak: float) -> None:
    if not 0 < peak < math.inf:
        raise SettingError(f"--peak must be a finite number above 0 (255 for 8-bit images), got {peak:g}")


PeakOption = Annotated[
    float | None,
    typer.Option(
        "--peak",
        help="Peak value for PSNR and SSIM. Default: the reference dtype's maximum.",
        show_default=False,
        callback=checked(_check_peak),
    ),
]
ClobberOption = Annotated[bool, typer.Option("--no-clobber", help="Refuse to replace an existing output.")]
ReproducibleOption = Annotated[
    bool,
    typer.Option("--reproducible", help="Let nothing learned on, or installed on, this machine change a bit."),
]
ReportOption = Annotated[
    str | None, typer.Option("--report", metavar="FILE", help="Write the report as JSON.", show_default=False)
]
QuietOption = Annotated[bool, typer.Option("-q", "--quiet", help="Say nothing but errors.")]
VerboseOption = Annotated[
    bool, typer.Option("-v", "--verbose", help="Print the report also where standard error is no terminal.")
]


def model_settings(given: dict[str, Any]) -> dict[str, Any]:
    """The settings of `convtool.model.build` out of a command's parameters, their texts parsed.

    Raises SettingError for a text that does not parse; whether values fit the image is checked where they are used.
    """
    plain = ("boundary", "groups", "kernel_axes", "operation", "engine", "precision")
    parsed = {name: parse(given[name]) for name, parse in PARSERS.items() if name in given}
    return {**{name: given[name] for name in plain}, **parsed}


def numbers(text: str, option: str, least: float = 1) -> int | tuple[int, ...]:
    """2 or (2, 1) from '2' or '2,1'; raises SettingError for what is no number, or less than the `least`."""
    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise SettingError(f"{option} must be whole numbers such as 2 or 2,1, got '{text}'") from None
    if min(found) < least:
        raise SettingError(f"{option} must be whole numbers of at least {least}, such as 2 or 2,1, got '{text}'")
    return found[0] if len(found) == 1 else found


def lengths(text: str, option: str) -> tuple[int, ...]:
    """(H, W) from 'H,W' or 'HxW'."""
    found = text.lower().replace("x", ",").split(",")
    if not all(part.isdecimal() and int(part) > 0 for part in found):
        raise SettingError(f"{option} must be lengths such as 480,640, got '{text}'")
    return tuple(map(int, found))


def distances(text: str, option: str) -> tuple[float, ...]:
    """(0.3, 0.1, 0.1) from '0.3,0.1,0.1'."""
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise SettingError(f"{option} must be numbers such as 0.3,0.1,0.1, got '{text}'") from None
    if not all(0 < distance < math.inf for distance in found):
        raise SettingError(f"{option} must be finite numbers above 0, such as 0.3,0.1,0.1, got '{text}'")
    return found


def padding(text: str) -> str | int | tuple[int, ...] | tuple[tuple[int, int], ...]:
    """'same', 'valid', 'full', N, (N, M) or ((A, B), (C, D)) from 'N,M' or 'A:B,C:D'."""
    if text in ("same", "valid", "full"):
        return text
    try:
        if ":" not in text:
            return numbers(text, "--padding", least=0)
        pairs = [numbers(part.replace(":", ","), "--padding", least=0) for part in text.split(",")]
        return tuple((before, after) for before, after in pairs)  # type: ignore[misc]
    except (SettingError, ValueError, TypeError):
        raise SettingError(
            f"--padding must be same, valid, full, or whole numbers of at least 0: N, N,M or A:B,C:D (before:after),"
            f" got '{text}'"
        ) from None


def origin(text: str) -> str | tuple[int, ...]:
    """'center', 'first', 'last' or (I, J) from 'I,J'."""
    if text in ("center", "first", "last"):
        return text
    try:
        found = numbers(text, "--origin", least=0)
    except SettingError:
        raise SettingError(
            f"--origin must be center, first, last or indices from 0, such as 0,2, got '{text}'"
        ) from None
    return (found,) if isinstance(found, int) else found


PARSERS: dict[str, Callable[[str], Any]] = {
    "padding": padding,
    "stride": lambda text: numbers(text, "--stride"),
    "dilation": lambda text: numbers(text, "--dilation"),
    "origin": origin,
}
