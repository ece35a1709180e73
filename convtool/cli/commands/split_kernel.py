"""`convtool split-kernel`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convtool.cli import options
from convtool.errors import SettingError

if TYPE_CHECKING:
    from convtool.cli.job import Job
    from convtool.merging.splitting import Split

_ROWS = 12  # of the table of errors that is printed
_ROUNDING = 1e-14  # relative error below which a further rank is no use


def run(
    context: typer.Context,
    kernel: Annotated[
        str,
        typer.Argument(metavar="KERNEL", help="Kernel file, or a family such as disk:radius=5.", show_default=False),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Writes FILE.y.npy and FILE.x.npy (and .z). Default: beside KERNEL.",
            show_default=False,
        ),
    ] = None,
    tol: Annotated[
        float | None,
        typer.Option("--tol", help="Keep the smallest rank with at most this relative error.", show_default=False),
    ] = None,
    rank: Annotated[
        int | None, typer.Option("--rank", min=1, help="Or keep this many terms.", show_default=False)
    ] = None,
    channels: Annotated[
        int, typer.Option("--channels", min=1, help="Of the images, for a YX kernel that needs several terms.")
    ] = 1,
    kernel_axes: options.KernelAxesOption = None,
    groups: options.GroupsOption = 1,
    no_clobber: options.ClobberOption = False,
    report: options.ReportOption = None,
    quiet: options.QuietOption = False,
    verbose: options.VerboseOption = False,
) -> None:
    """Split a kernel into kernels along one axis each.

    Prints the relative error at every rank, and writes the layers of the rank that is asked for (by default: no error
    but rounding): first along Y, then along X. Convolving with one after the other, or merging them, gives the kernel
    back. A YX kernel of rank 1 stays YX; more terms are channels in between, so the layers are OIYX.
    """
    from convtool.cli import reading, sidecar
    from convtool.cli.job import Job
    from convtool.cli.promises import Promise
    from convtool.kernels import is_spec
    from convtool.merging.layers import Layer
    from convtool.merging.splitting import split_kernel

    stem = _stem(kernel if output is None else output, is_given=output is not None, is_family=is_spec(kernel))
    job = Job(context, inputs=[kernel, *sidecar.existing([kernel])], outputs=[])
    taps = reading.read_kernel(job, kernel, normalize=False)
    given: dict[str, Any] = {"stride": 1, "padding": "same", "dilation": 1, "origin": "center"}
    given |= {"groups": groups, "kernel_axes": reading.kernel_axes(kernel, taps, kernel_axes)}
    found = sidecar.find(kernel)
    settings = given if found is None else sidecar.honoured(job, found, taps, given, has_bias=False)
    words = {} if found is None else {name: found.settings[name] for name in sidecar.WORDS if name in found.settings}
    layer = Layer(taps, bias=None if found is None else found.bias, **settings)
    with job.timed("computing"):
        split = split_kernel(layer, tol=tol, rank=rank, channels=channels)
    letters = [letter for letter in "ZYX" if letter in str(split.layers[0].kernel_axes)]
    names = [f"{stem}.{letter.lower()}.npy" for letter in letters]
    _check_targets(job, names)
    _describe(job, split, names)
    job.settle({name: getattr(layer, name) for name in ("groups", "kernel_axes")})
    with job.results() as staging:
        # The first layer is applied to the image, so what was promised of the kernel is promised of it.
        more = {} if found is None or found.promise == Promise() else found.promise.content()
        for name, part in zip(names, split.layers, strict=True):
            sidecar.write(staging, name, part, words, more if part is split.layers[0] else {})
        if not quiet:
            is_default = tol is None and rank is None
            staging.open("-").write(_table(split, names, is_default).encode())


def _stem(name: str, is_given: bool, is_family: bool) -> str:
    """What the layers' names start with: what was given, or the kernel's own name."""
    from convtool.files import STDOUT_NAMES

    if name in STDOUT_NAMES:
        raise SettingError("the layers are several files: name the first part of their names with -o")
    if not is_given:
        return name.partition(":")[0] if is_family else os.path.splitext(name)[0]
    if not name:
        raise SettingError("a file name is empty (an unset variable?): leave -o out, or name what the names start with")
    if name.endswith(os.sep) or os.path.isdir(name):
        raise SettingError(
            f"-o {name} is a folder: add what the layers' names start with, such as {name.rstrip('/')}/k"
        )
    return name[: -len(".npy")] if name.lower().endswith(".npy") else name


def _check_targets(job: Job, names: list[str]) -> None:
    from convtool import files
    from convtool.cli.sidecar import name_of

    for name in names:
        for target in (name, name_of(name)):
            files.check_target(target, job.inputs, not job.no_clobber)


def _describe(job: Job, split: Split, names: list[str]) -> None:
    job.report.result = {
        "ranks": list(split.ranks),
        "error": split.error,
        "errors": split.errors,
        "singular_values": [values.tolist() for values in split.singular_values],
        "cost": split.cost,
        "full_cost": split.full_cost,
    }
    job.report.output = {
        "name": " then ".join(names),
        "layers": [
            {"name": name, "shape": list(part.kernel.shape)} for name, part in zip(names, split.layers, strict=True)
        ],
    }
    if split.cost >= split.full_cost:
        job.report.notes.append(
            f"the layers take {split.cost} multiply-adds for each output position, the kernel {split.full_cost}: keep"
            " the kernel, or accept an error with --tol"
        )


def _table(split: Split, names: list[str], is_default: bool) -> str:
    """The error at each rank, what was kept, and where it is; by default nothing beyond that is more than rounding."""
    rounding = max(_ROUNDING, split.errors[max(split.ranks)] if is_default else 0.0)
    useful = 1 + sum(error > rounding for error in split.errors[1:])
    rows = [f"rank {rank:<4} relative error {error:.3g}" for rank, error in enumerate(split.errors[: useful + 1])][1:]
    if len(rows) > _ROWS:
        rows = [*rows[: _ROWS - 1], f"... up to rank {useful}: see --report"]
    kept = ",".join(map(str, split.ranks))
    return "\n".join([*rows, f"kept: rank {kept}, relative error {split.error:.3g}, in {' and '.join(names)}"]) + "\n"
