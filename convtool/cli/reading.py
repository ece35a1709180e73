"""What a command reads: images, kernels, biases and references, with their facts in the job's report."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from convtool import files, images, kernels
from convtool.axes import spelled, transposed
from convtool.errors import DataError, FileError, listed
from convtool.images.npy import read_array
from convtool.observation import Rounding

if TYPE_CHECKING:
    from convtool.cli.job import Job


def read_image(job: Job, name: str, axes: str | None, nan: str) -> images.Image:
    """An image, with its facts in the report."""
    with job.timed("reading"):
        image = images.read(name, axes=axes, nan=nan, raw=job.raw)
    job.raw = None  # as large as the image itself
    job.report.input = {
        "name": image.name,
        "format": image.format,
        "axes": image.axes,
        "shape": list(image.data.shape),
        "dtype": image.data.dtype.name,
        "alpha": image.alpha is not None,
    }
    if job.wants_facts:
        job.report.input |= extremes(image.data)
    job.report.notes += image.assumed
    return image


def extremes(values: np.ndarray) -> dict[str, float]:
    """The range and mean of values, as the report has them."""
    with np.errstate(over="ignore", invalid="ignore"):  # a mean that is no number is a fact for the report, and no more
        return {"min": float(values.min()), "max": float(values.max()), "mean": float(values.mean(dtype=np.float64))}


def read_kernel(job: Job, name: str, normalize: bool, plain: bool = False) -> np.ndarray:
    """Taps from a file or a family, with their notes in the report; `plain` as in `images.read_kernel`."""
    with job.timed("reading"):
        taps, notes, facts = kept_kernel(job, name, normalize, plain)
    job.report.notes += notes
    job.report.kernel = dict(facts)
    return taps


def kept_kernel(
    job: Job, name: str, normalize: bool, plain: bool
) -> tuple[np.ndarray, tuple[str, ...], dict[str, Any]]:
    """Taps, notes on how they were read, and facts, read once for all images."""
    return job.kept.common(("kernel", name), lambda: _kernel(name, normalize, plain))


def _kernel(name: str, normalize: bool, plain: bool) -> tuple[np.ndarray, tuple[str, ...], dict[str, Any]]:
    """Taps, notes on how they were read, and facts."""
    taps, notes = (kernels.make(name), ()) if kernels.is_spec(name) else _read_kernel_file(name, plain)
    if normalize:
        total = taps.sum(dtype=np.float64)
        if abs(total) <= 1e-12 * np.abs(taps).sum():
            raise DataError(f"kernel {name} sums to {total:.3g} and cannot be normalised: leave --normalize out")
        taps = taps / total
    with np.errstate(over="ignore"):  # an infinite sum or norm is a fact for the report, and no more
        total, norm = float(taps.sum(dtype=np.float64)), float(np.linalg.norm(taps.astype(np.float64)))
    return taps, notes, {"name": name, "shape": list(taps.shape), "sum": total, "norm": norm}


def kernel_axes(name: str, taps: np.ndarray, said: str | None) -> str | None:
    """The kernel's axes as they were said; of a generated kernel YX or ZYX; None for those that the rank stands for."""
    return "ZYX"[-taps.ndim :] if said is None and kernels.is_spec(name) else said


def _read_kernel_file(name: str, plain: bool) -> tuple[np.ndarray, tuple[str, ...]]:
    if name != files.STDIO and not os.path.lexists(name):
        families = listed(kernels.families.names())
        raise FileError(f"cannot read kernel {name}: no such file, and no kernel family: use {families}")
    return images.read_kernel(name, plain)


def read_bias(job: Job, name: str) -> np.ndarray:
    """The numbers of a bias file."""
    with job.timed("reading"):
        return job.kept.common(("bias", name), lambda: read_array(files.read_bytes(name), name))


def read_reference(job: Job, name: str, axes: str | None, nan: str) -> images.Image:
    """A second image, to measure the first against."""
    is_array = name == files.STDIO or name.lower().endswith(".npy")  # image files say their axes themselves
    with job.timed("reading"):
        return job.kept.common(("reference", name), lambda: images.read(name, axes=axes if is_array else None, nan=nan))


def aligned(truth: images.Image, axes: str, shape: tuple[int, ...]) -> np.ndarray:
    """An image's values with these axes; raises DataError when it is no image of this shape.

    One image, or one channel, is the same with an axis for it and without.
    """
    given, letters = truth.data, truth.axes
    for letter in "NC":
        if letter in letters and letter not in axes and given.shape[letters.index(letter)] == 1:
            given, letters = given.squeeze(letters.index(letter)), letters.replace(letter, "")
        elif letter in axes and letter not in letters:
            given, letters = given[None], letter + letters
    if sorted(letters) != sorted(axes) or (values := transposed(given, letters, axes)).shape != shape:
        raise DataError(
            f"{truth.name} has axes {truth.axes}, shape {spelled(truth.data.shape)}, expected axes {axes},"
            f" shape {spelled(shape)}: compare images of one shape"
        )
    return values


def light(values: np.ndarray, linear: bool, precision: str) -> np.ndarray:
    """Values as the computation sees them, decoded if asked; raises SettingError where they are no sRGB codes."""
    if not linear:
        return values
    return images.to_linear(values.astype(np.float64) if precision == "double" else values, values.dtype)


def rounding_of(image: images.Image, linear: bool) -> Rounding | None:
    """What rounding to integers and lossy compression left in the values as the computation sees them; None for
    floats."""
    values, found = image.data, Rounding.to(image.data.dtype)
    if found is not None and image.loss > found.level:
        found = found._replace(level=image.loss, typical=image.loss, is_lossy=True)
    if found is None or not linear:
        return found
    codes = values.astype(np.float32)
    slope = images.to_linear(codes + 0.5, values.dtype) - images.to_linear(codes - 0.5, values.dtype)
    typical = found.level * float(np.sqrt(np.square(slope, dtype=np.float64).mean()))
    return found._replace(level=found.level * float(slope.min()), typical=typical)


def code_values(image: images.Image, linear: bool, values: np.ndarray) -> np.ndarray:
    """A result's values as the image's are coded: the inverse of `light`."""
    return images.from_linear(values, image.data.dtype) if linear else values
