"""`convtool merge-kernels`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from convtool.axes import spelled
from convtool.cli import options
from convtool.errors import ConvtoolError, DataError, SettingError, listed
from convtool.files import STDOUT_NAMES

if TYPE_CHECKING:
    from convtool.cli.job import Job
    from convtool.files import Staging
    from convtool.merging import Merged

_MASKS = (".png", ".tif", ".npy")
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
    from convtool.cli.chain import read_layers
    from convtool.cli.job import Job
    from convtool.merging import merge_kernels

    inputs = [*kernels, *sidecar.existing(kernels), *(name for name in bias or [] if name != "none"), verify]
    job = Job(context, inputs=inputs, outputs=[output, sidecar.beside(output), mask])
    layers, words = read_layers(job, kernels, {"operation": operation, "boundary": boundary})
    with job.timed("computing"):
        merged = merge_kernels(layers, **words)
    grid = grid if verify is None else _verified(job, merged, verify, axes, grid)
    if mask is not None and grid is None:
        raise SettingError("where the two differ depends on the image's size: --mask needs --image-shape or --verify")
    _describe(job, merged, kernels, grid)
    per_kernel = ("stride", "padding", "dilation", "origin", "groups")
    resolved: dict[str, Any] = {name: [getattr(layer, name) for layer in layers] for name in per_kernel}
    job.settle({**words, **resolved, "kernel_axes": [stage.axes for stage in merged.chain]})
    is_written = job.report.result["exact"] or require == "interior"
    with job.results() as staging:
        if is_written:
            _write(job, staging, merged, output, words, grid)
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


def _describe(job: Job, merged: Merged, kernels: list[str], grid: tuple[int, ...] | None) -> None:
    """The merged layer, where it differs from the chain, and what each costs."""
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
    with job.timed("measuring"):
        is_exact, sentence = merged.is_exact(grid), merged.explain(grid)
    found: dict[str, Any] = {"exact": is_exact, "reason": sentence}
    if grid is not None:
        found |= {
            "image_shape": list(grid),
            "differing": int(merged.differing(grid).sum()),
            "border": merged.border(grid),
        }
    job.report.result = found | {"chain_cost": merged.chain_cost, "merged_cost": merged.merged_cost} | job.report.result
    if not is_exact:
        job.report.notes.append(sentence + _where(merged, grid))
    job.report.result["advice"] = _advice(merged, grid)
    if merged.merged_cost > merged.chain_cost:
        job.report.notes.append(job.report.result["advice"])


def _advice(merged: Merged, grid: tuple[int, ...] | None) -> str:
    """Whether merging pays: in multiply-adds, and in the passes of the engine that large kernels go through."""
    costs = (
        f"the merge takes {merged.merged_cost:.6g} multiply-adds for each output position, the chain"
        f" {merged.chain_cost:.6g}"
    )
    if merged.merged_cost <= merged.chain_cost:
        return f"{costs}: use the merge"
    if _are_large(merged, grid):
        return f"{costs}; but convtool takes kernels as large as these by FFT, each in one pass: use the merge"
    return f"{costs}: keep the chain where time matters"


def _are_large(merged: Merged, grid: tuple[int, ...] | None) -> bool:
    """Whether every kernel of the chain would go through transforms, which do not get slower with its size."""
    lengths = grid or (_TYPICAL,) * len(merged.stage.spatial)
    try:
        return all(stage.operator(lengths, merged.channels).engine_name == "fft" for stage in merged.chain)
    except ConvtoolError:  # larger than a typical image
        return False


def _where(merged: Merged, grid: tuple[int, ...] | None) -> str:
    """'; outputs differ within 1:1 (Y) and 2:1 (X) of the border'."""
    if grid is None:
        return ""
    widths = [f"{a}:{b} ({axis})" for (a, b), axis in zip(merged.border(grid), merged.stage.spatial, strict=True)]
    return f"; the outputs that differ lie within {' and '.join(widths)} of the border"


def _verified(job: Job, merged: Merged, name: str, axes: str | None, grid: tuple[int, ...] | None) -> tuple[int, ...]:
    """Run both on an image, with the differences in the report; the lengths of the axes that the kernels act along."""
    import numpy as np

    from convtool.cli.reading import read_image

    image = read_image(job, name, axes, "refuse")
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


def _write(
    job: Job, staging: Staging, merged: Merged, output: str, words: dict[str, str], grid: tuple[int, ...] | None
) -> None:
    from convtool.cli import sidecar

    more: dict[str, Any] = {"exact": job.report.result["exact"], "merged": job.report.kernel["name"]}
    if more["exact"] and grid is not None and not merged.is_exact():
        more["image_shape"] = list(grid)
        job.report.notes.append(f"exact on images of {spelled(grid)}, not on all: the settings written say so")
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

    if name is None or grid is None:
        return
    mask = merged.differing(grid)
    if name in STDOUT_NAMES or name.lower().endswith(".npy"):
        np.lib.format.write_array(staging.open(name), mask, allow_pickle=False)
    else:
        images.write(mask * np.float32(255), merged.stage.spatial, name, staging, like=None, dtype="uint8")
