"""`convtool compare`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convtool.cli import options
from convtool.errors import SettingError
from convtool.process import MAX_PIXELS

if TYPE_CHECKING:
    import numpy as np

    from convtool.metrics import Comparison


def run(
    context: typer.Context,
    a: Annotated[
        str, typer.Argument(metavar="A", help="Image or .npy array; - for standard input.", show_default=False)
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="The reference.", show_default=False)],
    max_abs: Annotated[
        float | None, typer.Option("--max-abs", min=0, help="Largest difference allowed.", show_default=False)
    ] = None,
    max_rel: Annotated[
        float | None, typer.Option("--max-rel", min=0, help="Largest ||A - B|| / ||B|| allowed.", show_default=False)
    ] = None,
    min_psnr: Annotated[
        float | None, typer.Option("--min-psnr", help="Least PSNR allowed, in dB.", show_default=False)
    ] = None,
    peak: options.PeakOption = None,
    nan: options.NanOption = "refuse",
    max_pixels: options.MaxPixelsOption = MAX_PIXELS,
    axes: options.AxesOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    report: options.ReportOption = None,
    quiet: options.QuietOption = False,
    verbose: options.VerboseOption = False,
) -> int:
    """Compare image A with the reference B.

    Prints the largest and the relative difference, PSNR and SSIM on standard output. With a limit it is a check:
    exit status 0 when every limit holds, 1 when one does not, 2 for trouble, as cmp does.
    """
    from convtool import metrics
    from convtool.cli.job import Job
    from convtool.cli.reading import aligned, read_image, read_reference

    job = Job(context, inputs=[a, b], outputs=[])
    first, second = read_image(job, a, axes, nan), read_reference(job, b, axes, nan)
    with job.timed("computing"):
        values = aligned(first, second.axes, second.data.shape)
        found = metrics.compare(values, second.data, second.axes, peak)
    if min_psnr is not None and found.psnr is None:
        raise SettingError(f"{b} holds floats, whose peak is unknown: --min-psnr needs --peak")
    failures = _failures(found, max_abs, max_rel, min_psnr)
    alpha = _alpha_differences(first.alpha, second.alpha)
    is_check = any(limit is not None for limit in (max_abs, max_rel, min_psnr))
    if alpha and is_check:
        failures.append(f"alpha differs at {alpha} pixels")
    job.report.reference = {"name": b, "axes": second.axes}
    verdict = ("differs" if failures else "holds") if is_check else None
    job.report.result = {**asdict(found), "alpha_differs": alpha, "verdict": verdict, "failures": failures}
    with job.results() as staging:
        if not quiet:
            text = job.report.to_json() if as_json else _text(job.report.result, second.axes)
            staging.open("-").write(text.encode())
    return 1 if failures else 0


def _failures(found: Comparison, max_abs: float | None, max_rel: float | None, min_psnr: float | None) -> list[str]:
    """Each limit that does not hold, in words; a NaN holds none."""
    failures = []
    if max_abs is not None and not found.max_abs <= max_abs:
        failures.append(f"max-abs {found.max_abs:.6g} is above {max_abs:.6g}")
    if max_rel is not None and not found.relative <= max_rel:
        failures.append(f"relative {found.relative:.6g} is above {max_rel:.6g}")
    if min_psnr is not None and found.psnr is not None and not found.psnr >= min_psnr:
        failures.append(f"psnr {found.psnr:.6g} dB is below {min_psnr:.6g} dB")
    return failures


def _alpha_differences(a: np.ndarray | None, b: np.ndarray | None) -> int:
    """Pixels where opacity differs; an image without alpha is opaque."""
    import numpy as np

    if a is None and b is None:
        return 0
    known = a if a is not None else b
    assert known is not None
    full = np.iinfo(known.dtype).max if known.dtype.kind in "iu" else 1.0
    return int(np.count_nonzero((full if a is None else a) != (full if b is None else b)))


def _text(result: dict[str, Any], axes: str) -> str:
    place = ", ".join(f"{letter}={i}" for letter, i in zip(axes, result["where"], strict=True))
    lines = [f"max-abs    {result['max_abs']:.6g} at {place}", f"mean-abs   {result['mean_abs']:.6g}"]
    lines.append(f"relative   {result['relative']:.6g}")
    if result["psnr"] is not None:
        lines.append(f"psnr       {result['psnr']:.6g} dB")
    if result["ssim"] is not None:
        lines.append(f"ssim       {result['ssim']:.6g}")
    if result["alpha_differs"]:
        lines.append(f"alpha      differs at {result['alpha_differs']} pixels")
    if result["verdict"] is not None:
        lines.append(": ".join([result["verdict"], "; ".join(result["failures"])]).removesuffix(": "))
    return "\n".join(lines) + "\n"
