"""What a command finds out: the model, what the kernel does, how a result looks, how far it is from the truth."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from convtool import conditioning, images, metrics, model, process
from convtool.cli.reading import extremes
from convtool.operators import Convolution

if TYPE_CHECKING:
    from convtool.cli.job import Job


def build_model(
    job: Job, image: images.Image, x: np.ndarray, kernel: np.ndarray, is_data: bool, settings: dict[str, Any]
) -> model.Model:
    """The model of an image, with its resolved settings and its kernel's axes in the report."""
    built = _kept_model(job, image.axes, x, kernel, settings | {"is_data": is_data})
    operator = built.operator
    job.settle(
        {name: value for name, value in settings.items() if name not in ("engine", "precision")}
        | {
            "axes": image.axes,
            "image_shape": list(operator.geometry.grid),
            "kernel_axes": built.kernel_axes,
            "origin": list(operator.kernel.origin),
            "engine": operator.engine_name if job.wants_facts else operator.engine,
            "precision": {"float32": "single", "float64": "double"}[operator.dtype.name],
            "threads": process.threads(),
        }
    )
    job.report.kernel["axes"] = built.kernel_axes
    return built


def _kept_model(job: Job, axes: str, x: np.ndarray, kernel: np.ndarray, settings: dict[str, Any]) -> model.Model:
    """The model, which is that of all images of this shape in a batch."""
    if not job.kept.is_batch:
        return model.build(x, kernel, axes=axes, **settings)
    key = (axes, x.shape, x.dtype, id(kernel), tuple(sorted(settings.items())))
    built = job.kept.of_shape(("model", *key), lambda: model.build(x, kernel, axes=axes, **settings))
    return model.again(built, x, kernel, settings["precision"])


def describe_kernel(job: Job, operator: Convolution) -> conditioning.Conditioning | None:
    """The kernel's condition in the report, where that is wanted and affordable.

    All figures are those of the periodic operator on the image's grid, also where the boundary is another.
    """
    if not job.wants_facts:
        return None
    if not conditioning.is_affordable(operator.kernel, operator.geometry.grid):
        job.report.notes.append(
            "the kernel's condition number was not computed: it takes a decomposition at every frequency"
        )
        return None
    # With the operator, so that no other has its id as long as this is kept.
    _, facts = job.kept.of_shape(("conditioning", id(operator)), lambda: (operator, conditioning.of(operator)))
    job.report.kernel |= {
        "operator_norm": facts.norm,
        "condition": math.inf if facts.condition is None else facts.condition,
        **({} if operator.geometry.is_circulant else {"condition_source": "of the periodic operator instead"}),
        "condition_kept": facts.condition_kept,
        "frequencies_destroyed": facts.destroyed,
        "frequencies_total": facts.components,
    }
    return facts


def describe_result(job: Job, y: np.ndarray) -> None:
    """The range and mean of a result in the report."""
    job.report.result |= extremes(y)


def measure_against(
    job: Job, truth: np.ndarray, x: np.ndarray, axes: str, written: images.Written, peak: float | None
) -> None:
    """The distance of a result from the truth in the report: as computed, and as rounded for its file."""
    computed = metrics.compare(x, truth, axes, peak)
    job.report.reference |= asdict(computed)
    is_changed = written.rounded or written.clipped_low or written.clipped_high
    if is_changed and (written.scale, written.offset) == (1, 0):
        job.report.reference["as_written"] = asdict(metrics.compare(written.values, truth, axes, peak))
    if computed.psnr is None:
        job.report.notes.append("the reference holds floats, whose peak is unknown: give --peak for PSNR and SSIM")
