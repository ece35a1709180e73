"""`convtool make-kernel`."""

from __future__ import annotations

from typing import Annotated

import typer

from convtool.cli import options
from convtool.cli.listing import listing
from convtool.kernels import families


def run(
    context: typer.Context,
    family: Annotated[
        str,
        typer.Argument(
            metavar="FAMILY[:NAME=VALUE,...]",
            help="A family of the list below, such as gaussian:sigma=1.6.",
            show_default=False,
        ),
    ],
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="A setting of the family; may be repeated.", show_default=False
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="The kernel (.npy, or .tif); - for standard output. Default: FAMILY.npy.",
            show_default=False,
        ),
    ] = None,
    dtype: options.DtypeOption = None,
    no_clobber: options.ClobberOption = False,
    report: options.ReportOption = None,
    quiet: options.QuietOption = False,
    verbose: options.VerboseOption = False,
) -> None:
    """Write a generated kernel.

    Point spread functions, derivatives and test kernels, as float64 .npy. Every --kernel takes the same words in place
    of a file.
    """
    from convtool.cli.job import Job
    from convtool.cli.reading import read_kernel
    from convtool.cli.writing import Destination, write_image

    spec = f"{family}{',' if ':' in family else ':'}{','.join(set_)}" if set_ else family
    target = output or f"{family.partition(':')[0]}.npy"
    job = Job(context, inputs=[], outputs=[target])
    taps = read_kernel(job, spec, normalize=False)
    job.report.kernel["origin"] = [n // 2 for n in taps.shape]
    with job.results() as staging:
        write_image(job, staging, taps, "ZYX"[3 - taps.ndim :], target, Destination(target, None, dtype, None))


EPILOG = listing("Families and what they take:", families)
