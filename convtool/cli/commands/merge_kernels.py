"""`convtool merge-kernels`."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from convtool.axes import spelled
from convtool.cli import options
from convtool.errors import ConvtoolError, DataError, SettingError, listed
from convtool.files import STDOUT_NAMES

if TYPE_CHECKING:
    from convtool.cli.job import Job
    from convtool.cli.promises import Inheritance, Promise
    from convtool.files import Staging
    from convtool.merging import Merged

_MASKS = (".png", ".tif", ".npy")
_ARRAY_BYTES, _IMAGE_BYTES = 2, 10  # that a mask's output takes while it is written
_EVEN = 0.1  # predicted gain below which neither is advised
_TYPICAL = 256  # pixels along each axis of an image, for advice where nobody has said its size


def _each(name: str, metavar: str, text: str) -> Any:
    return typer.Option(
        name, metavar=metavar, help=f"{text} Once for all kernels, or once for each in their order.", show_default=False
    )


_Kernels = Annotated[
    list[str],
    typer.Argument(metavar="K1 K2", help="Two kernels or more, in the order in which they act.", show_default=False),
]
_Output = Annotated[
    str, typer.Option("-o", "--output", metavar="FILE", help="The merged kernel; its settings go to FILE.json.")
]
_Operation = Annotated[
    Literal["convolve", "correlate"], typer.Option("--operation", help="What the kernels are used for.")
]
_Strides = Annotated[list[str] | None, _each("--stride", "N[,M]", "Default 1.")]
_Paddings = Annotated[list[str] | None, _each("--padding", "PADDING", "As in convolve; default same.")]
_Dilations = Annotated[list[str] | None, _each("--dilation", "N[,M]", "Default 1.")]
_Origins = Annotated[list[str] | None, _each("--origin", "ORIGIN", "As in convolve; default center.")]
_Groups = Annotated[list[int] | None, _each("--groups", "N", "As in convolve; default 1.")]
_KernelAxes = Annotated[list[str] | None, _each("--kernel-axes", "AXES", "Such as OIYX or ZYX.")]
_Biases = Annotated[
    list[str] | None,
    typer.Option("--bias", metavar="FILE", help=".npy; once for each kernel, 'none' for none.", show_default=False),
]
_Require = Annotated[
    Literal["exact", "interior"],
    typer.Option("--require", help="exact: refuse, with status 1, a merge that differs at the border."),
]
_ImageShape = Annotated[
    str | None,
    typer.Option(
        "--image-shape", metavar="H,W", help="Judge for images of this size. Default: for all.", show_default=False
    ),
]
_Verify = Annotated[
    str | None,
    typer.Option("--verify", metavar="IMAGE", help="Run chain and merge on an image and compare.", show_default=False),
]
_Mask = Annotated[
    str | None,
    typer.Option("--mask", metavar="FILE", help="Write where the two differ (.png, .tif, .npy).", show_default=False),
]


def run(
    context: typer.Context,
    kernels: _Kernels,
    output: _Output = "merged.npy",
    operation: _Operation = "convolve",
    boundary: options.BoundaryOption = "periodic",
    stride: _Strides = None,
    padding: _Paddings = None,
    dilation: _Dilations = None,
    origin: _Origins = None,
    groups: _Groups = None,
    kernel_axes: _KernelAxes = None,
    bias: _Biases = None,
    require: _Require = "exact",
    image_shape: _ImageShape = None,
    verify: _Verify = None,
    axes: options.AxesOption = None,
    mask: _Mask = None,
    no_clobber: options.ClobberOption = False,
    report: options.ReportOption = None,
    quiet: options.QuietOption = False,
    verbose: options.VerboseOption = False,
) -> int:
    """Merge kernels that follow each other into one.

    Writes the kernel, and beside it as JSON the stride, padding, dilation, origin, groups and bias that it has to be
    used with; convolve and correlate take them from there. Chain and merge always agree in the interior, but not
    always at the border: the report says where, and whether merging pays. Exit status 1: not exact, nothing written.
    """
    grid = None if image_shape is None else options.lengths(image_shape, "--image-shape")
    _check_names(output, mask, kernels)
    from convtool.cli import sidecar
    from convtool.cli.chain import check_memory, read_layers, resolved
    from convtool.cli.job import Job
    from convtool.cli.promises import inherited
    from convtool.merging import merge_kernels

    inputs = [*kernels, *sidecar.existing(kernels), *(name for name in bias or [] if name != "none"), verify]
    job = Job(context, inputs=inputs, outputs=[output, sidecar.beside(output), mask])
    layers, words, sidecars = read_layers(job, kernels, {"operation": operation, "boundary": boundary})
    check_memory(layers, words)
    with job.timed("computing"):
        merged = merge_kernels(layers, **words)
    grid = grid if verify is None else _verified(job, merged, verify, axes, grid)
    left = inherited(merged, sidecars, grid)
    grid = grid or left.image_shape or None
    if mask is not None and grid is None:
        raise SettingError("where the two differ depends on the image's size: --mask needs --image-shape or --verify")
    _describe_kernel(job, merged, kernels)
    with job.timed("measuring"):
        promise = _judge(job, merged, grid, left, require)
    _advise(job, merged, grid)
    job.settle({**words, **resolved(layers), "kernel_axes": [stage.axes for stage in merged.chain]})
    is_written = bool(promise.exact) or require == "interior"
    with job.results() as staging:
        if is_written:
            _write(job, staging, merged, output, words, promise)
            _write_mask(staging, merged, grid, mask)
        else:
            job.report.notes.append("nothing was written: --require interior writes a merge that differs at the border")
    return 0 if is_written else 1


def _check_names(output: str, mask: str | None, kernels: list[str]) -> None:
    suffix = os.path.splitext(output)[1].lower()
    if suffix not in ("", ".npy"):
        raise SettingError(f"the merged kernel is written as .npy, but {output} ends in {suffix}: name it .npy")
    if mask is not None and mask not in STDOUT_NAMES and os.path.splitext(mask)[1].lower() not in _MASKS:
        raise SettingError(f"the mask is written as {listed(_MASKS)}, got --mask {mask}: name it so")
    if len(kernels) < 2:
        raise SettingError(f"merging takes two kernels or more, got {kernels[0]} alone: name the next one too")


def _describe_kernel(job: Job, merged: Merged, kernels: list[str]) -> None:
    import numpy as np

    layer = merged.layer
    settings = ("kernel_axes", "stride", "padding", "dilation", "origin", "groups")
    with np.errstate(over="ignore"):  # JSON has null for what is infinite
        norm = float(np.linalg.norm(layer.kernel))
    job.report.kernel = {
        "name": " then ".join(kernels),
        "shape": list(layer.kernel.shape),
        "sum": float(layer.kernel.sum()),
        "norm": norm,
        **{name: getattr(layer, name) for name in settings},
        "bias": layer.bias,
    }


def _judge(job: Job, merged: Merged, grid: tuple[int, ...] | None, left: Inheritance, require: str) -> Promise:
    """Where the merged layer differs from the chain, in the report; what can be promised of it.

    Raises SettingError where that cannot be found out and has to be known.
    """
    from convtool.cli.promises import promised

    exact: bool | None
    try:
        exact, sentence = merged.is_exact(grid), merged.explain(grid)
    except SettingError as error:
        if grid is not None or require == "exact":
            raise
        exact, sentence = None, f"unknown: {error}"
    if left.reasons:
        why = "; ".join(left.reasons)
        exact, sentence = False, f"not exact: {why}" if exact else f"{sentence}; {why}"
    promise = promised(merged, exact, grid, left)
    found: dict[str, Any] = promise.content() | {"reason": sentence}
    if grid is not None:
        marks = merged.marks(grid)
        found |= {"image_shape": list(grid), "differing": marks.count, "border": marks.border}
    job.report.result = found | job.report.result
    if not exact:
        job.report.notes.append(sentence)
    elif promise.image_shape:
        size = spelled(promise.image_shape)
        job.report.notes.append(f"exact on images of {size}, and not known to be on others: the settings say so")
    elif promise.least_image_shape:
        job.report.notes.append(
            f"exact on images of at least {spelled(promise.least_image_shape)}, and not known to be on smaller ones:"
            " the settings say so"
        )
    return promise


def _advise(job: Job, merged: Merged, grid: tuple[int, ...] | None) -> None:
    """What chain and merge cost, and whether merging pays, in the report."""
    chain, merge = merged.chain_cost, merged.merged_cost
    advice = f"the merge takes {merge:.6g} multiply-adds for each output position, the chain {chain:.6g}"
    lengths = grid or (_TYPICAL,) * len(merged.stage.spatial)
    try:
        before, after = merged.predicted(lengths)
        ratio, engines = after.time / before.time, (*after.engines, *before.engines)
    except ConvtoolError:  # larger than a typical image
        ratio, engines = merge / max(chain, 1), ()
    if {"fft", "blocks"} & {*engines}:
        first, *others = ["FFT" if engine in ("fft", "blocks") else engine for engine in engines]
        advice += (
            f"; on {spelled(lengths)} pixels, by the engines that auto chooses ({first} for the merge,"
            f" {' and '.join(others)} for the chain), the merge should take {ratio:.2g} times as long"
        )
    is_even = abs(ratio - 1) < _EVEN
    advice += ": " + (
        "there is little between them"
        if is_even
        else "use the merge"
        if ratio < 1
        else "keep the chain where time matters"
    )
    job.report.result |= {"chain_cost": chain, "merged_cost": merge, "advice": advice}
    if merge > chain or ratio > 1:
        job.report.notes.append(advice)


def _verified(job: Job, merged: Merged, name: str, axes: str | None, grid: tuple[int, ...] | None) -> tuple[int, ...]:
    """Run both on an image, with the differences in the report; the lengths of the axes that the kernels act along."""
    import numpy as np

    from convtool.cli.reading import read_image
    from convtool.images.nonfinite import NonFiniteError

    try:
        image = read_image(job, name, axes, "refuse")
    except NonFiniteError as error:
        raise DataError(
            f"{str(error).rpartition(':')[0]}: chain and merge cannot be compared there, so fill them first, or verify"
            " on another image"
        ) from error
    missing = [letter for letter in merged.stage.spatial if letter not in image.axes]
    if missing:
        raise DataError(
            f"the kernels act along {merged.stage.spatial}, but {name} has axes {image.axes}: give one with"
            f" a {missing[0]} axis (--axes)"
        )
    lengths = tuple(image.data.shape[image.axes.index(letter)] for letter in merged.stage.spatial)
    if grid not in (None, lengths):
        raise SettingError(
            f"--image-shape {spelled(grid)} contradicts --verify {name}, an image of {spelled(lengths)}: leave it out"
        )
    with job.timed("computing"):
        # In double precision: its rounding is that of the merge, not of the image's dtype.
        found = merged.verify(image.data.astype(np.float64), image.axes)
    job.report.result["verified"] = {"image": name, **vars(found)}
    return lengths


def _write(job: Job, staging: Staging, merged: Merged, output: str, words: dict[str, str], promise: Promise) -> None:
    from convtool.cli import sidecar

    more = promise.content() | {"merged": job.report.kernel["name"]}
    has_place = sidecar.write(staging, output, merged.layer, words, more)
    job.report.output = {"name": output, "shape": list(merged.layer.kernel.shape), "dtype": "float64"}
    if not has_place:
        where = "standard output" if output in STDOUT_NAMES else output
        job.report.notes.append(
            f"the kernel's settings are in the report alone (--report): {where} has no place for them"
        )


def _write_mask(staging: Staging, merged: Merged, grid: tuple[int, ...] | None, name: str | None) -> None:
    import numpy as np

    from convtool import images
    from convtool.memory import available_memory

    if name is None or grid is None:
        return
    marks = merged.marks(grid)
    is_array = name in STDOUT_NAMES or name.lower().endswith(".npy")
    needed, free = math.prod(marks.shape) * (_ARRAY_BYTES if is_array else _IMAGE_BYTES), available_memory()
    if needed > free:
        raise DataError(
            f"--mask {name} of {spelled(marks.shape)} outputs takes {needed} bytes of memory and only {free} are free:"
            " leave it out (the report has the border), or give a smaller --image-shape"
        )
    mask = marks.expanded()
    if is_array:
        np.lib.format.write_array(staging.open(name), mask, allow_pickle=False)
    else:
        images.write(mask * np.float32(255), merged.stage.spatial, name, staging, like=None, dtype="uint8")
