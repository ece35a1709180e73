"""`convtool make-kernel`."""

from __future__ import annotations

from typing import Annotated

import typer

from convtool.cli import options
from convtool.cli.listing import listing
from convtool.errors import SettingError, listed
from convtool.kernels import families, is_spec


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
    dtype: Annotated[str, typer.Option("--dtype", metavar="DTYPE", help="Of the output, such as float32.")] = "float64",
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
    if not is_spec(spec):
        raise SettingError(f"unknown kernel family '{family}': use {listed(families.names())}")
    target = f"{family.partition(':')[0]}.npy" if output is None else output
    if target.lower().endswith((".png", ".jpg", ".jpeg")):
        raise SettingError(f"taps are fractions, which {target} cannot hold: write .npy or .tif")
    if not dtype.startswith("float"):
        raise SettingError(f"taps are fractions, which {dtype} cannot hold: use --dtype float32 or float64")
    job = Job(context, inputs=[], outputs=[target])
    taps = read_kernel(job, spec, normalize=False)
    job.report.kernel["origin"] = [n // 2 for n in taps.shape]
    with job.results() as staging:
        write_image(job, staging, taps, "ZYX"[3 - taps.ndim :], target, Destination(target, None, dtype, None))


EPILOG = listing("Families and what they take:", families)
