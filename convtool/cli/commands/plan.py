"""`convtool plan`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

import typer

from convtool.cli import options
from convtool.errors import SettingError


def run(
    context: typer.Context,
    shapes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SHAPE...", help="Sizes of images along the kernel's axes, such as 2048x2048.", show_default=False
        ),
    ] = None,
    margin: Annotated[
        str | None,
        typer.Option(
            "--kernel-shape",
            metavar="SHAPE",
            help="Plan also for other boundaries with kernels of this size.",
            show_default=False,
        ),
    ] = None,
    precision: Annotated[
        Literal["single", "double", "both"], typer.Option("--precision", help="Single is for 8- and 16-bit images.")
    ] = "both",
    threads: options.ThreadsOption = None,
    report: options.ReportOption = None,
    quiet: options.QuietOption = False,
    verbose: options.VerboseOption = False,
) -> None:
    """Measure this machine: how fast each engine is, and the fastest transforms for some image sizes.

    Without sizes, seconds: which engine a kernel is given to follows from it. With sizes, seconds to minutes for each.
    Later runs on this machine use what was learned, which is kept in the user's cache folder (CONVTOOL_CACHE_DIR
    overrides), one file per processor and library version, and one per number of threads.
    """
    grids = [_shape(text) for text in shapes or ()]
    extent = None if margin is None else _shape(margin)
    from convtool import choice, costs, fft, libraries, process, wisdom
    from convtool.axes import spelled
    from convtool.cli.job import Job
    from convtool.spectral import padded_grid

    job = Job(context, inputs=[], outputs=[], threads=threads)
    if extent is not None:
        if any(len(grid) != len(extent) for grid in grids):
            raise SettingError(f"--kernel-shape {margin} and the shapes must have as many axes as each other")
        grids += [padded_grid(grid, extent) for grid in grids]
    dtypes = {"single": ["float32"], "double": ["float64"], "both": ["float32", "float64"]}[precision]
    fastest = libraries.learned()
    with job.timed("planning"):
        for grid in dict.fromkeys(grids):
            for dtype in dtypes:
                fastest |= fft.measure(grid, dtype)
        found = choice.measured()
    planned = [spelled(grid) for grid in dict.fromkeys(grids)]
    job.report.result = {
        "planned": planned,
        "libraries": fastest,
        "precision": precision,
        "threads": process.threads(),
        "nanoseconds": asdict(found),
    }
    with job.results():
        names = [str(wisdom.write(costs.name(process.threads()), costs.as_bytes(found)))]
        if grids:
            names.append(str(wisdom.write(libraries.wisdom_name(process.threads()), libraries.as_bytes(fastest))))
            names.append(str(wisdom.write(fft.library_version(), fft.export_wisdom())))
        job.report.output = {"name": names}


def _shape(text: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(n) for n in text.lower().split("x"))
    except ValueError:
        shape = ()
    if not 1 <= len(shape) <= 3 or min(shape, default=0) < 1:
        raise SettingError(f"a shape is 1 to 3 sizes such as 2048x2048 or 64x256x256, got '{text}'")
    return shape
