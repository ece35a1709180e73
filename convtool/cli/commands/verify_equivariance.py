"""`convtool verify-equivariance`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from convtool.cli import options
from convtool.errors import SettingError
from convtool.process import MAX_PIXELS

if TYPE_CHECKING:
    import numpy as np

    from convtool.cli.job import Job
    from convtool.equivariance import Finding, Verdict
    from convtool.files import Staging


def _text(name: str, metavar: str, text: str) -> Any:
    return typer.Option(name, metavar=metavar, help=text, show_default=False)


_Image = Annotated[
    str | None, typer.Argument(metavar="[IMAGE]", help="An image; by default, random pixels.", show_default=False)
]
_Operation = Annotated[
    Literal["convolve", "correlate", "maxpool", "edges", "deconvolve"] | None,
    typer.Option("--operation", help="The operation to verify, with the options below.", show_default=False),
]
_Chain = Annotated[
    str | None, _text("--chain", "STEPS", "Or several in a row: 'correlate:k.npy,stride=2 maxpool:2,stride=2'.")
]
_Function = Annotated[
    str | None, _text("--function", "MODULE:NAME", "Or any Python callable of an array, found from this folder.")
]
_Kernel = Annotated[str | None, _text("--kernel", "KERNEL", "Of convolve, correlate and deconvolve.")]
_Window = Annotated[str | None, _text("--window", "S|SH,SW", "Of maxpool.")]
_Boundary = Annotated[str | None, _text("--boundary", "NAME", "Of the operation, as in its own command.")]
_Padding = Annotated[str | None, _text("--padding", "PADDING", "The same.")]
_Stride = Annotated[str | None, _text("--stride", "N[,M]", "The same; also of --function, whose output is smaller.")]
_Dilation = Annotated[str | None, _text("--dilation", "N[,M]", "The same.")]
_Origin = Annotated[str | None, _text("--origin", "ORIGIN", "The same.")]
_Method = Annotated[str | None, _text("--method", "NAME", "Of deconvolve.")]
_Setting = Annotated[
    list[str] | None,
    _text("--set", "NAME=VALUE", "Any other setting: operator=sobel, op=mean, groups=2, weight=0.01, ..."),
]
_Shift = Annotated[str | None, _text("--shift", "DY,DX", "Pixels by which the image is shifted, circularly.")]
_OutputShift = Annotated[
    str | None, _text("--output-shift", "DY,DX", "Samples by which the output should move. Default: shift / stride.")
]
_Trials = Annotated[int, typer.Option("--trials", min=0, help="Or so many random shifts.")]
_Group = Annotated[
    Literal["flips", "rot90"] | None,
    typer.Option(
        "--group", help="Or flips, or quarter turns, under which the kernels are symmetric.", show_default=False
    ),
]
_Border = Annotated[
    int | None,
    typer.Option("--border", min=0, help="Of --function: outputs at each side that may differ.", show_default=False),
]
_ImageShape = Annotated[str, typer.Option("--image-shape", metavar="H,W", help="Of the random pixels.")]
_Tolerance = Annotated[
    float | None,
    typer.Option(
        "--tolerance", min=0, help="Largest error that is no violation. Default: rounding.", show_default=False
    ),
]
_Map = Annotated[str | None, _text("--map", "FILE", "Write the violation as a picture.")]


def run(
    context: typer.Context,
    image: _Image = None,
    operation: _Operation = None,
    chain: _Chain = None,
    function: _Function = None,
    kernel: _Kernel = None,
    window: _Window = None,
    boundary: _Boundary = None,
    padding: _Padding = None,
    stride: _Stride = None,
    dilation: _Dilation = None,
    origin: _Origin = None,
    method: _Method = None,
    set_: _Setting = None,
    shift: _Shift = None,
    output_shift: _OutputShift = None,
    trials: _Trials = 0,
    max_pixels: options.MaxPixelsOption = MAX_PIXELS,
    seed: Annotated[int, typer.Option("--seed", help="Of the random shifts and pixels.")] = 0,
    group: _Group = None,
    border: _Border = None,
    image_shape: _ImageShape = "64,96",
    axes: options.AxesOption = None,
    precision: options.PrecisionOption = "auto",
    tolerance: _Tolerance = None,
    map: _Map = None,
    no_clobber: options.ClobberOption = False,
    report: options.ReportOption = None,
    quiet: options.QuietOption = False,
    verbose: options.VerboseOption = False,
) -> int:
    """Verify that an operation commutes with shifts, flips or turns: f(T x) = T f(x).

    Computes both sides and compares them wherever equality can be expected, which it works out from the windows:
    everywhere for periodic boundaries, inside a border otherwise, at multiples of the stride. Exit status 0: it holds;
    1: it does not, and the line says where and the nearest explanation.
    """
    from convtool.cli import steps
    from convtool.cli.job import Job
    from convtool.cli.terminal import printable
    from convtool.equivariance import verify_equivariance

    if sum(given is not None for given in (operation, chain, function)) != 1:
        raise SettingError("say what to verify: one of --operation, --chain or --function")
    if (shift is not None) + bool(trials) + (group is not None) != 1:
        raise SettingError("say what to verify it under: one of --shift, --trials or --group")
    _check_options(context, "operation" if operation else "chain" if chain is not None else "function")
    words = [] if chain is None else steps.read(chain)
    if operation is not None:
        words = [steps.Words(operation, _main(operation, kernel, window), _settings(context))]
    moves = {"shift": _whole(shift, "--shift"), "output_shift": _whole(output_shift, "--output-shift")}
    job = Job(context, inputs=[image, *(step.kernel for step in words)], outputs=[map])
    x, letters = _pixels(job, image, axes, image_shape, seed, precision)
    f: Any = [steps.build(job, step) for step in words]
    if function is not None:
        f = steps.function(function, _settings(context), border)
    with job.timed("computing"):
        verdict = verify_equivariance(
            f, x, axes=letters, trials=trials, seed=seed, group=group, tolerance=tolerance, **moves
        )
    _describe(job, verdict, function or chain or str(operation), moves | {"axes": letters})
    if x.min() == x.max():
        job.report.notes.append("the image is constant and would show hardly any violation: use another one")
    with job.results() as staging:
        if map is not None and verdict.findings:
            _write_map(staging, verdict, map)
        if not quiet:
            staging.open("-").write("".join(f"{printable(line)}\n" for line in _lines(verdict)).encode())
    return 0 if verdict.holds else 1


_SETTINGS = ("boundary", "padding", "stride", "dilation", "origin", "method")  # with options of their own
_DIM = 64  # grey of the smallest violation
_BORDER = (0, 0, 96)


def _check_options(context: typer.Context, what: str) -> None:
    """Raises SettingError for an option that says nothing about what is verified."""
    source = context.get_parameter_source
    if context.params["output_shift"] is not None and context.params["shift"] is None:
        raise SettingError("--output-shift belongs to --shift: give both")
    for name in ("kernel", "window", *_SETTINGS, "set_"):
        if what == "chain" and context.params[name]:
            option = f"--{name.strip('_')}"
            raise SettingError(
                f"{option} belongs to --operation: in a chain, say it with the step (maxpool:2,stride=2)"
            )
    for name in ("kernel", "window"):
        if what == "function" and context.params[name] is not None:
            raise SettingError(f"--{name} belongs to --operation: leave it out with --function")
    if what != "function" and context.params["border"] is not None:
        raise SettingError("--border belongs to --function: the borders of the operations are computed")
    given = source("image_shape")
    if context.params["image"] is not None and given is not None and given.name == "COMMANDLINE":
        raise SettingError("--image-shape is that of random pixels: leave it out, or leave the image out")


def _main(operation: str, kernel: str | None, window: str | None) -> str:
    """What an operation needs to be said first: its kernel or its window."""
    needed = {"maxpool": "window", "edges": None}.get(operation, "kernel")
    for name, value in (("kernel", kernel), ("window", window)):
        if value is not None and name != needed:
            raise SettingError(f"--{name} says nothing to --operation {operation}: leave it out")
        if value is None and name == needed:
            raise SettingError(f"--operation {operation} needs --{name}")
    return kernel or window or ""


def _settings(context: typer.Context) -> dict[str, str]:
    """The operation's settings, from options of their own and from --set."""
    from convtool.registry import assignments

    found = assignments(context.params["set_"] or [], "--set")
    given = {name: context.params[name] for name in _SETTINGS if context.params[name] is not None}
    if twice := found.keys() & given.keys():
        name = min(twice)
        raise SettingError(f"--{name} {given[name]} and --set {name}={found[name]} say it twice: leave one out")
    return found | given


def _whole(text: str | None, option: str) -> tuple[int, ...] | None:
    if text is None:
        return None
    found = options.numbers(text, option, least=-math.inf)
    return (found,) if isinstance(found, int) else found


def _pixels(
    job: Job, image: str | None, axes: str | None, image_shape: str, seed: int, precision: str
) -> tuple[np.ndarray, str]:
    """The image in its computing dtype, and its axes."""
    import numpy as np

    from convtool.axes import image_axes
    from convtool.cli.reading import read_image
    from convtool.model import working_dtype

    if image is not None:
        found = read_image(job, image, axes, "refuse")
        return found.data.astype(working_dtype(found.data.dtype, precision), copy=False), found.axes
    shape = options.lengths(image_shape, "--image-shape")
    random = np.random.default_rng(seed).standard_normal(shape)
    return random.astype(working_dtype(random.dtype, precision), copy=False), image_axes(shape, axes)


def _describe(job: Job, verdict: Verdict, name: str, resolved: dict[str, Any]) -> None:
    job.settle(resolved)
    job.report.result = {
        "operation": name,
        "verdict": "holds" if verdict.holds else "does not hold",
        "skipped": list(verdict.skipped),
        "findings": [{k: v for k, v in vars(finding).items() if k != "error"} for finding in verdict.findings],
    }


def _lines(verdict: Verdict) -> list[str]:
    lines = [_line(finding, verdict.axes) for finding in verdict.findings]
    if not verdict.findings:
        return [f"does not hold: the kernels are symmetric under none of {', '.join(verdict.skipped)}"]
    if verdict.skipped:
        lines.append(f"not tried: {', '.join(verdict.skipped)}, under which the kernels are not symmetric")
    return lines


def _line(finding: Finding, axes: str) -> str:
    """'shift 4,0: holds everywhere for an output shift of 2,0 (largest error 3e-16, rounding explains 5e-14)'."""
    size = f"largest error {finding.largest:.3g}, rounding explains {finding.tolerance:.3g}"
    moved = (
        "" if finding.output_shift is None else f" for an output shift of {','.join(map(str, finding.output_shift))}"
    )
    if finding.holds:
        where = finding.expected
        if where != "everywhere":
            where += f" of {','.join(f'{before}:{after}' for before, after in finding.border)}"
        return f"{finding.transformation}: holds {where}{moved} ({size})"
    place = ", ".join(f"{letter}={i}" for letter, i in zip(axes, finding.where, strict=True))
    return (
        f"{finding.transformation}: does not hold{moved} ({size}), worst at {place}, {finding.region}:"
        f" {finding.explanation}"
    )


def _write_map(staging: Staging, verdict: Verdict, name: str) -> None:
    """The violation of the worst finding, over all channels and images: grey, white where it is largest.

    What rounding explains is black, and dark blue the border, where nothing is expected.
    """
    import numpy as np

    from convtool import images
    from convtool.axes import spatial_of
    from convtool.equivariance import comparison

    worst = max(verdict.findings, key=lambda finding: finding.largest / (finding.tolerance or 1.0))
    kept = [letter for letter in verdict.axes if letter in "YX"]
    error = worst.error.max(axis=tuple(i for i, letter in enumerate(verdict.axes) if letter not in kept))
    finite = np.where(np.isfinite(error), error, error[np.isfinite(error)].max(initial=0.0) or 1.0)
    grey = np.where(error > worst.tolerance, _DIM + (255 - _DIM) * finite / (finite.max() or 1.0), 0)
    picture = np.repeat(grey.astype(np.float32)[..., None], 3, axis=-1)
    borders = dict(zip(spatial_of(verdict.axes), worst.border, strict=True))
    lines = {a: _inside(error.shape[i], *borders[a]) for i, a in enumerate(kept)}
    picture[~np.broadcast_to(comparison.spread(lines, "".join(kept)), error.shape)] = _BORDER
    if "Y" not in kept:
        kept, picture = ["Y", *kept], picture[None]
    images.write(picture, f"{''.join(kept)}C", name, staging, like=None, dtype="uint8")


def _inside(length: int, before: int, after: int) -> np.ndarray:
    import numpy as np

    places = np.arange(length)
    return (places >= before) & (places < length - after)
