"""`convtool matrix`."""

from __future__ import annotations

import math
import os
from typing import IO, TYPE_CHECKING, Annotated, Any, Literal

import typer

from convtool.cli import options
from convtool.errors import DataError, SettingError

if TYPE_CHECKING:
    import numpy as np
    from scipy.sparse import csr_matrix

    from convtool.cli.job import Job
    from convtool.model import Model

_LARGEST_IMAGE = 1 << 40  # samples
_WRITTEN = 2 << 24  # bytes: NumPy writes arrays in pieces of 16 MiB, which are there as they are and compressed

_ShapeOption = Annotated[
    str,
    typer.Option(
        "--image-shape",
        metavar="SHAPE",
        help="Of one image: H,W or C,H,W, such as 3,64,48; other orders with --axes.",
        show_default=False,
    ),
]
_OutputOption = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE",
        help="The matrix; - for standard output. Default: matrix.npz (dense: matrix.npy), and none if only"
        " --spectrum is asked for.",
        show_default=False,
    ),
]
_SpectrumOption = Annotated[
    str | None,
    typer.Option(
        "--spectrum",
        metavar="FILE",
        help="Write the singular values, the largest first (.npy); rank and condition go to the report.",
        show_default=False,
    ),
]


def run(
    context: typer.Context,
    kernel: options.KernelOption,
    image_shape: _ShapeOption,
    output: _OutputOption = None,
    dense: Annotated[bool, typer.Option("--dense", help="Write a dense .npy, not a sparse .npz.")] = False,
    tensor: Annotated[
        bool, typer.Option("--tensor", help="Write the dense W [oh, ow, f, h, w, c], .npy: B = tensordot(W, A, 3).")
    ] = False,
    spectrum: _SpectrumOption = None,
    operation: Annotated[
        Literal["convolve", "correlate"], typer.Option("--operation", help="What the matrix does to an image.")
    ] = "convolve",
    boundary: options.BoundaryOption = "periodic",
    padding: options.PaddingOption = "same",
    stride: options.StrideOption = "1",
    dilation: options.DilationOption = "1",
    origin: options.OriginOption = "center",
    groups: options.GroupsOption = 1,
    axes: options.AxesOption = None,
    kernel_axes: options.KernelAxesOption = None,
    normalize: options.NormalizeOption = False,
    no_clobber: options.ClobberOption = False,
    report: options.ReportOption = None,
    quiet: options.QuietOption = False,
    verbose: options.VerboseOption = False,
) -> None:
    """Write a convolution as a matrix.

    The matrix times an image, flattened with its axes in the order C, Z, Y, X, is the result of convolve (or
    correlate), flattened alike: sparse, as scipy.sparse.load_npz reads it, dense, or as a tensor. --spectrum tells what
    the operator keeps and what it loses.
    """
    settings = options.model_settings({**context.params, "engine": "auto", "precision": "double"})
    shape = _shape(image_shape)
    target = _target(output, dense or tensor, spectrum)
    from convtool.cli import sidecar
    from convtool.cli.job import Job
    from convtool.cli.reading import read_kernel

    job = Job(context, inputs=[kernel], outputs=[target, spectrum])
    taps = read_kernel(job, kernel, normalize)
    settings, bias = sidecar.applied(job, kernel, taps, settings)
    if bias is not None:
        job.report.notes.append(f"the bias in {sidecar.name_of(kernel)} is no part of the matrix: add it to M @ x")
    built = _build(job, taps, shape, axes, settings)
    _check_memory(built, target, dense or tensor, spectrum is not None)
    values = None if spectrum is None else _decompose(job, built)
    matrix = None if target is None else _fill(job, built, dense, tensor)
    with job.results() as staging:
        if spectrum is not None and values is not None:
            job.report.output = _write(job, staging.open(spectrum), spectrum, values)
        if target is not None and matrix is not None:
            beside = {} if spectrum is None else {"spectrum": spectrum}
            job.report.output = _write(job, staging.open(target), target, matrix) | beside


def _shape(text: str) -> tuple[int, ...]:
    shape = options.lengths(text, "--image-shape")
    if (samples := math.prod(shape)) > _LARGEST_IMAGE:
        raise SettingError(f"an image of {text} takes {8 * samples} bytes already: use a smaller --image-shape")
    return shape


def _target(output: str | None, is_dense: bool, spectrum: str | None) -> str | None:
    """The matrix's file; None where only the spectrum is asked for."""
    wanted, made = (".npy", "a dense matrix") if is_dense else (".npz", "a sparse matrix")
    _check_suffix(spectrum, ".npy", "the singular values are")
    if output is None:
        return None if spectrum is not None and not is_dense else f"matrix{wanted}"
    _check_suffix(output, wanted, f"{made} is", "" if is_dense else ", or say --dense")
    return output


def _check_suffix(name: str | None, wanted: str, what: str, otherwise: str = "") -> None:
    suffix = os.path.splitext(name or "")[1].lower()
    if suffix not in ("", wanted):
        raise SettingError(f"{what} written as {wanted}, but {name} ends in {suffix}: name it {wanted}{otherwise}")


def _build(job: Job, taps: np.ndarray, shape: tuple[int, ...], axes: str | None, settings: dict[str, Any]) -> Model:
    """The model for images of a shape, with its settings in the report."""
    import numpy as np

    from convtool import model

    # Whole numbers, which need no look at their values: nothing is allocated for the image.
    built = model.build(np.broadcast_to(np.int64(0), shape), taps, axes=axes, **settings)
    arrangement, operator = built.arrangement, built.operator
    if arrangement.batch:
        raise SettingError(
            f"--image-shape (axes {arrangement.axes}) has an axis {arrangement.batch[0]} that the kernel (axes"
            f" {built.kernel_axes}) leaves alone, and the matrix is that of one image: leave it out, or say"
            " --axes or --kernel-axes"
        )
    resolved = {"axes": arrangement.axes, "kernel_axes": built.kernel_axes, "origin": list(operator.kernel.origin)}
    job.settle(settings | resolved | {"image_shape": list(shape)})
    job.report.kernel["axes"] = built.kernel_axes
    return built


def _check_memory(built: Model, target: str | None, is_dense: bool, with_spectrum: bool) -> None:
    """Raises DataError, with the number of bytes, before anything is built that would not fit."""
    import scipy.sparse  # noqa: F401  what it takes is no longer free

    from convtool import matrices
    from convtool.files import STDOUT_NAMES
    from convtool.memory import available_memory

    free, size = available_memory(), matrices.size(built.operator)
    copies = 2 if target in STDOUT_NAMES else 1
    what = f"the {'dense' if is_dense else 'sparse'} {size.rows}x{size.columns} matrix"
    building = size.sparse_bytes + size.building_bytes + min(_WRITTEN, 2 * size.sparse_bytes)
    needed = copies * size.dense_bytes + building if is_dense else (copies - 1) * size.sparse_bytes + building
    advice = "use a smaller --image-shape"
    if is_dense and building < free:
        advice += f", or leave --dense and --tensor out: the sparse matrix takes {building} bytes"
    if target is not None and needed > free:
        raise DataError(f"{what} takes {needed} bytes of memory and only {free} are free: {advice}")
    if with_spectrum and (needed := matrices.work(built.operator).bytes) > free:
        raise DataError(
            f"the singular values of the {size.rows}x{size.columns} matrix take {needed} bytes of memory and only"
            f" {free} are free: use a smaller --image-shape, or --boundary periodic and strides that divide it"
        )


def _decompose(job: Job, built: Model) -> np.ndarray:
    """The singular values, with what they say in the report."""
    from dataclasses import asdict

    from convtool import matrices

    with job.timed("decomposing"):
        values = matrices.singular_values(built.operator)
    found = matrices.condition(values)
    job.report.result |= {**asdict(found), "decomposed": matrices.work(built.operator).route.value}
    if found.rank < len(values):
        job.report.notes.append(
            f"the operator has rank {found.rank} of {len(values)}: the condition number is infinite;"
            f" over the singular values that are not 0 it is {found.condition_kept:.4g}"
        )
    return values


def _fill(job: Job, built: Model, dense: bool, tensor: bool) -> np.ndarray | csr_matrix:
    """The matrix, with its size and the order of its entries in the report."""
    from convtool import matrices

    fill = matrices.tensor if tensor else matrices.dense if dense else type(built.operator).to_sparse
    with job.timed("computing"):
        matrix = fill(built.operator)
    size = matrices.size(built.operator)
    job.report.result |= {"rows": size.rows, "columns": size.columns}
    job.report.notes.append(_order_of_axes(built, tensor))
    return matrix


def _order_of_axes(built: Model, tensor: bool) -> str:
    from convtool.axes import spelled

    operator, spatial = built.operator, ["dhw"["ZYX".index(letter)] for letter in built.arrangement.spatial]
    if tensor:
        last = ", ".join([*spatial, "c"])
        outputs = ", ".join(f"o{letter}" for letter in spatial)
        return f"W has axes [{outputs}, f, {last}]: B = np.tensordot(W, A, {len(spatial) + 1}) for A [{last}]"
    order = ", ".join(["c", *spatial])
    return (
        f"rows are outputs, [{order}] = {spelled(operator.out_shape)} in C order, columns are inputs,"
        f" [{order}] = {spelled(operator.in_shape)}: {_flattened('y', built.output_axes)} = M @"
        f" {_flattened('x', built.input_axes)}"
    )


def _flattened(name: str, axes: str) -> str:
    """How an array with these axes is flattened as the matrix takes it, in Python."""
    places = [axes.index(letter) for letter in "CZYX" if letter in axes]
    return f"{name}.ravel()" if places == sorted(places) else f"{name}.transpose({', '.join(map(str, places))}).ravel()"


def _write(job: Job, stream: IO[bytes], name: str, values: np.ndarray | csr_matrix) -> dict[str, Any]:
    """An array as .npy, a sparse matrix as .npz; what was written."""
    import numpy as np

    facts = {"name": name, "shape": list(values.shape), "dtype": values.dtype.name}
    with job.timed("writing"):
        if isinstance(values, np.ndarray):
            np.save(stream, values, allow_pickle=False)
            return facts
        from scipy.sparse import save_npz

        save_npz(stream, values)
        return facts | {"stored": values.nnz}
