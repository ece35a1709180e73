"""What `deconvolve` does between reading and the end: solve, describe, write."""

from __future__ import annotations

import functools
import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from convtool import deconvolution, files, metrics, process
from convtool import linear as convolution
from convtool.axes import spelled
from convtool.cli import options, reading
from convtool.cli.facts import build_model, describe_kernel, describe_result, measure_against
from convtool.cli.job import STDOUT
from convtool.cli.repeating import command_line
from convtool.cli.writing import refined, write_image
from convtool.errors import DataError, SettingError, percent
from convtool.memory import available_memory
from convtool.observation import UNKNOWN, observe

if TYPE_CHECKING:
    from convtool.cli.job import Job
    from convtool.cli.writing import Destination
    from convtool.images import Image
    from convtool.model import Model
    from convtool.solution import Solution

_UNEVEN = 0.4  # |ln| of a kernel's sum from which on the brightness of an image changes
_LOSSY = 0.5  # grey levels of lossy compression that are worth a note
_MUCH_WORSE = 2.0  # errors of another method, in units of the result's, that are worth a note


@dataclass(frozen=True, eq=False)
class Given:
    """What the user gave: the image, taps, settings of the model, a bias, what of the data counts, and the truth."""

    source: Image
    taps: np.ndarray
    settings: dict[str, Any]
    bias: np.ndarray | None
    counted: np.ndarray | None
    truth: Image | None


@dataclass(frozen=True, eq=False)
class Restored:
    """A solution, the truth in its axes, and the images to write, as the source's values are coded."""

    source: Image
    built: Model
    solution: Solution
    x: np.ndarray
    true: np.ndarray | None
    others: dict[str, np.ndarray]
    snapshots: dict[int, np.ndarray]


def solve(job: Job, given: Given, method: Any) -> Restored:
    """The solution for what was given, by a method or its Options."""
    if not (job.kept.is_batch or process.policy.reproducible):
        _leave_memory()
    asked, source = job.asked, given.source
    with job.timed("computing"):
        y = reading.light(source.data, asked.linear, asked.precision)
        known = {"axes": source.axes, **given.settings}
        boundary, told = deconvolution.settled_boundary(y, given.taps, method, known, job.is_heard)
        settings = given.settings | {"boundary": boundary, "keep_extension": asked.keep_extension}
        built = build_model(job, source, y, given.taps, True, settings)
        true = None if given.truth is None else _aligned(given.truth, built, asked.keep_extension)
        y, rounding = _without(given.bias, y, built), reading.rounding_of(source, asked.linear)
        spacing = None if asked.spacing is None else options.distances(asked.spacing, "--spacing")
        seen = observe(built, y, boundary, given.counted, rounding, spacing, asked.effort)
        solution = deconvolution.solve(built, seen, method)
        encoded = functools.partial(reading.code_values, source, asked.linear)
        others = {name: encoded(x) for name, x in solution.others.items()}
        snapshots = {count: encoded(x) for count, x in solution.snapshots.items()}
    job.report.notes += told
    if source.loss > _LOSSY:
        job.report.notes.append(
            f"{source.name} is a JPEG: what its compression changed counts as noise of {source.loss:.2g} grey levels;"
            " a file that was never compressed so restores more"
        )
    return Restored(source, built, solution, encoded(solution.x), true, others, snapshots)


def write(job: Job, restored: Restored, target: str, to: Destination, peak: float | None) -> None:
    """The result's file and the snapshots', and the distances of the results from the truth."""
    built, source, true = restored.built, restored.source, restored.true
    axes, like = built.input_axes, refined(source, built.arrangement.spatial, built.operator.geometry.stride)
    named = {_snapshot(job, target, count): x for count, x in restored.snapshots.items()}
    with job.results() as staging:
        alpha = _alpha(job, source, dict(zip(axes, restored.x.shape, strict=True)))
        kept = list(job.report.notes)
        for name, x in named.items():
            write_image(job, staging, x, axes, name, to, like, alpha)
        job.report.notes = kept  # what is said of the result holds for its snapshots
        written = write_image(job, staging, restored.x, axes, target, to, like, alpha)
        if named:
            job.report.output["snapshots"] = list(named)
        if true is not None:
            job.report.reference["name"] = job.asked.reference
            measure_against(job, true, restored.x, axes, written, peak)
            for name, other in restored.others.items():
                _compare(job, name, other, true, axes, peak)


def _snapshot(job: Job, target: str, count: int) -> str:
    """The file of an iteration's image: 'x.it010.png' for 'x.png'; raises SettingError where there is no place."""
    if target == STDOUT:
        raise SettingError("snapshots are files beside the result: name a file for it (-o FILE)")
    stem, suffix = os.path.splitext(target)
    name = f"{stem}.it{count:03d}{suffix}"
    if os.path.realpath(name) in job.reserved:
        raise SettingError(f"the snapshot {name} would replace another image or result: choose another --output-name")
    files.check_target(name, job.inputs, not job.no_clobber)
    return name


def _tell_settings(job: Job, restored: Restored) -> None:
    """Notes on what was asked for and did not matter, or is likely not meant."""
    geometry, total = restored.built.operator.geometry, job.report.kernel["sum"]
    boundary = job.report.settings["boundary"]["value"]
    if job.asked.keep_extension and boundary != UNKNOWN:
        job.report.notes.append(f"--keep-extension kept nothing: boundary {boundary} has no scene beyond the frame")
    # Along Z it says nothing: a kernel is often deeper than the stack.
    if any(span >= n for span, n in zip(geometry.span[-2:], geometry.outputs[-2:], strict=True)):
        extent, outputs = spelled([span + 1 for span in geometry.span]), spelled(geometry.outputs)
        job.report.notes.append(f"the kernel, {extent}, is larger than the image, {outputs}: is it the right file?")
    if restored.source.data.dtype.kind == "u" and total > 0 and abs(math.log(total)) > _UNEVEN:
        bright = f"{1 / total:.3g} times as bright"
        job.report.notes.append(f"the kernel sums to {total:.4g}, so the result is {bright}: --normalize divides by it")


def _aligned(truth: Image, built: Model, is_extended: bool) -> np.ndarray:
    """The truth in the axes of the result; raises DataError where it has another shape."""
    try:
        return reading.aligned(truth, built.input_axes, built.input_shape)
    except DataError as error:
        more = ", or leave --keep-extension out, which makes the result larger than the frame" if is_extended else ""
        raise DataError(f"{error}{more}") from None


def _leave_memory() -> None:
    """A solution in one step is to take no more than half of what is free."""
    process.policy.memory = min(process.policy.memory, available_memory() // 2)


def _without(bias: np.ndarray | None, y: np.ndarray, built: Model) -> np.ndarray:
    """The data without the bias [c_out] that was added to them."""
    if bias is None:
        return y
    shape = [-1 if letter == "C" else 1 for letter in built.arrangement.axes]
    checked = convolution.checked_bias(bias, built.operator.out_shape[0])
    return y.astype(built.operator.dtype) - checked.astype(built.operator.dtype).reshape(shape)


def _alpha(job: Job, source: Image, lengths: dict[str, int]) -> np.ndarray | None:
    """The image's alpha where the result has its size."""
    if source.alpha is None or source.alpha.shape == (lengths["Y"], lengths["X"]):
        return source.alpha
    height, width = source.alpha.shape
    job.report.notes.append(
        f"not kept: alpha, which is as large as the data, {height}x{width}; the result is {lengths['Y']}x{lengths['X']}"
    )
    return None


def describe(job: Job, restored: Restored, linear: bool, precision: str) -> None:
    """The method's outcome, and what the kernel destroyed: of the truth, where that is known."""
    built, solution = restored.built, restored.solution
    job.report.notes += solution.notes
    _tell_settings(job, restored)
    if not job.wants_facts:
        return
    job.report.result = {**solution.metrics, "stop": solution.stop}
    found = solution.metrics
    chosen = found.get("chosen") or {
        "method": found["method"],
        "options": deconvolution.settled(found["options"], found),
    }
    job.report.result["command"] = command_line(job, job.report.settings["boundary"]["value"], chosen)
    facts = describe_kernel(job, built.operator)
    if facts is None:
        return
    describe_result(job, restored.x)
    if not facts.destroyed or not built.operator.geometry.is_circulant:
        return  # what another boundary destroys is not a matter of frequencies
    if restored.true is None:
        job.report.notes.append(f"{facts.sentence()}; how much of the image lay there, the data cannot tell")
        return
    lost = facts.lost_energy(built.canonical_input(reading.light(restored.true, linear, precision)))
    job.report.reference["energy_destroyed"] = lost
    job.report.notes.append(
        f"{facts.sentence()}; of the reference's energy {percent(lost)} lay there and cannot come back"
    )


def _compare(job: Job, name: str, other: np.ndarray, true: np.ndarray, axes: str, peak: float | None) -> None:
    """How far another method's answer is from the truth, beside this one's distance; a note where it is much more."""
    found, own = metrics.compare(other, true, axes, peak), job.report.reference["relative"]
    told = {"relative": found.relative, "psnr": found.psnr, "ssim": found.ssim}
    job.report.reference[name] = {"name": f"the {name} inverse instead", **told}
    if found.relative > _MUCH_WORSE * own:
        job.report.notes.append(
            f"from the reference the {name} inverse is {percent(found.relative)} away, this result {percent(own)}"
        )
