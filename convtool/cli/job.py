"""Job: one run of a command, with its report, its clock and its outputs; what all image commands share.

The order is always the same: check names, read, compute, then write everything at once (`finish`), so that a failure at
any point leaves nothing behind.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import typer

import convtool
from convtool import conditioning, fft, files, images, kernels, metrics, model, wisdom
from convtool.axes import spelled, transposed
from convtool.cli.terminal import show_report
from convtool.errors import DataError, SettingError
from convtool.images.formats import output_format
from convtool.images.npy import read_array
from convtool.operators import Convolution
from convtool.report import Report

STDOUT = "-"

# Parameters that name files or say how to talk, and the options of a method, which the result lists.
_NO_SETTINGS = {"image", "kernel", "output", "bias", "reference", "set_", "a", "b", "family", "shapes", "help"}
_NO_SETTINGS |= {"no_clobber", "report", "quiet", "verbose", "as_json"}


@dataclass(frozen=True)
class Destination:
    """Where and how a result is to be written, as the user said."""

    output: str | None
    format: str | None
    dtype: str | None
    scale: str | None


class Job:
    """One run; `inputs` are the names of everything that is read."""

    def __init__(
        self,
        context: typer.Context,
        *,
        inputs: list[str | None],
        outputs: list[str | None],
        threads: int | None = None,
    ) -> None:
        self.context = context
        self.quiet, verbose = context.params["quiet"], context.params["verbose"]
        self.no_clobber = context.params.get("no_clobber", False)
        self.report_file = context.params.get("report")
        self.report = Report(context.info_name or "", convtool.__version__)
        self.is_shown = not self.quiet and (verbose or sys.stderr.isatty())
        self.wants_facts = self.is_shown or self.report_file is not None
        self.inputs = [name for name in inputs if name is not None]
        fft.policy.one_shot, fft.policy.load_wisdom, fft.policy.threads = True, wisdom.read, threads
        if self.quiet and verbose:
            raise SettingError("--quiet and --verbose contradict each other: give one of them")
        if self.inputs.count(STDOUT) > 1:
            raise SettingError("only one input can come from standard input (-): name a file for the others")
        if self.report_file == STDOUT:
            raise SettingError("standard output carries results only: name a file for --report (or /dev/stderr)")
        for name in [*outputs, self.report_file]:
            if name is not None:
                files.check_target(name, self.inputs, not self.no_clobber)

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Add the block's seconds to the report."""
        start = time.perf_counter()
        yield
        self.report.seconds[what] = self.report.seconds.get(what, 0.0) + time.perf_counter() - start

    def chosen(self, name: str) -> bool:
        """Whether the user gave this option."""
        source = self.context.get_parameter_source(name)
        return source is not None and source.name == "COMMANDLINE"

    def settle(self, resolved: dict[str, Any]) -> None:
        """Record every setting of the command: its resolved value where there is one, else the value it was given."""
        for parameter in self.context.command.params:
            name = str(parameter.name)
            if name not in _NO_SETTINGS:
                value = resolved.get(name, self.context.params[name])
                self.report.set(name, value, parameter.default, self.chosen(name))

    def read_image(self, name: str, axes: str | None, nan: str = "refuse") -> images.Image:
        """An image, with its facts in the report."""
        with self.timed("reading"):
            image = images.read(name, axes=axes, nan=nan)
        self.report.input = {
            "name": image.name,
            "format": image.format,
            "axes": image.axes,
            "shape": list(image.data.shape),
            "dtype": image.data.dtype.name,
            "alpha": image.alpha is not None,
        }
        if self.wants_facts:
            data = image.data
            self.report.input |= {
                "min": float(data.min()),
                "max": float(data.max()),
                "mean": float(data.mean(dtype=np.float64)),
            }
        self.report.notes += image.assumed
        return image

    def read_kernel(self, name: str, normalize: bool) -> np.ndarray:
        """Taps from a file or a family, with their notes in the report."""
        with self.timed("reading"):
            taps, notes = (kernels.make(name), ()) if kernels.is_spec(name) else images.read_kernel(name)
        self.report.notes += notes
        if normalize:
            total = taps.sum(dtype=np.float64)
            if abs(total) <= 1e-12 * np.abs(taps).sum():
                raise DataError(f"kernel {name} sums to {total:.3g} and cannot be normalised: leave --normalize out")
            taps = taps / total
        self.report.kernel = {
            "name": name,
            "shape": list(taps.shape),
            "sum": float(taps.sum(dtype=np.float64)),
            "norm": float(np.linalg.norm(taps.astype(np.float64))),
        }
        return taps

    def read_bias(self, name: str | None) -> np.ndarray | None:
        """The numbers of a bias file, if one is named."""
        return None if name is None else read_array(files.read_bytes(name), name)

    def read_reference(self, name: str, axes: str | None, nan: str = "refuse") -> images.Image:
        """A second image, to measure the first against."""
        with self.timed("reading"):
            return images.read(name, axes=axes, nan=nan)

    def aligned(self, truth: images.Image, axes: str, shape: tuple[int, ...]) -> np.ndarray:
        """An image's values with these axes; raises DataError when it is no image of this shape."""
        if sorted(truth.axes) != sorted(axes) or (values := transposed(truth.data, truth.axes, axes)).shape != shape:
            raise DataError(
                f"{truth.name} has axes {truth.axes}, shape {spelled(truth.data.shape)}, expected axes {axes},"
                f" shape {spelled(shape)}: compare images of one shape"
            )
        return values

    def light(self, values: np.ndarray, linear: bool) -> np.ndarray:
        """Values as the computation sees them, decoded if asked; raises SettingError where they are no sRGB codes."""
        return images.to_linear(values, values.dtype) if linear else values

    def code_values(self, image: images.Image, linear: bool, values: np.ndarray) -> np.ndarray:
        """A result's values as the image's are coded: the inverse of `light`."""
        return images.from_linear(values, image.data.dtype) if linear else values

    def model(
        self, image: images.Image, x: np.ndarray, kernel: np.ndarray, is_data: bool, settings: dict[str, Any]
    ) -> model.Model:
        """The model of an image, with its resolved settings and its kernel's axes in the report."""
        built = model.build(x, kernel, axes=image.axes, is_data=is_data, **settings)
        operator = built.operator
        self.settle(
            {name: value for name, value in settings.items() if name not in ("engine", "precision")}
            | {
                "axes": image.axes,
                "kernel_axes": built.kernel_axes,
                "origin": list(operator.kernel.origin),
                "engine": operator.engine_name,
                "precision": {"float32": "single", "float64": "double"}[operator.dtype.name],
                "threads": fft.threads(),
            }
        )
        self.report.kernel["axes"] = built.kernel_axes
        return built

    def describe_kernel(self, operator: Convolution) -> conditioning.Conditioning | None:
        """The kernel's condition in the report, where that is wanted and affordable."""
        if not self.wants_facts:
            return None
        if not conditioning.is_affordable(operator.kernel, operator.geometry.grid):
            self.report.notes.append(
                "the kernel's condition number was not computed: it takes a decomposition at every frequency"
            )
            return None
        facts = conditioning.of(operator)
        self.report.kernel |= {
            "operator_norm": facts.norm,
            "condition": math.inf if facts.condition is None else facts.condition,
            "condition_kept": facts.condition_kept,
            "frequencies_destroyed": facts.destroyed,
            "frequencies_total": facts.components,
        }
        return facts

    def describe_result(self, y: np.ndarray) -> None:
        """The range and mean of a result in the report."""
        self.report.result |= {"min": float(y.min()), "max": float(y.max()), "mean": float(y.mean(dtype=np.float64))}

    def measure_against(self, truth: np.ndarray, x: np.ndarray, written: images.Written, peak: float | None) -> None:
        """The distance of a result from the truth in the report: as computed, and as rounded for its file."""
        axes = self.report.settings["axes"]["value"]
        computed = metrics.compare(x, truth, axes, peak)
        self.report.reference |= asdict(computed)
        if (written.rounded or written.clipped_low or written.clipped_high) and (written.scale, written.offset) == (
            1,
            0,
        ):
            self.report.reference["as_written"] = asdict(metrics.compare(written.values, truth, axes, peak))
        if computed.psnr is None:
            self.report.notes.append("the reference holds floats, whose peak is unknown: give --peak for PSNR and SSIM")

    def target(self, image: images.Image, word: str, to: Destination) -> str:
        """The file that the result goes to, checked against all inputs."""
        name = to.output or images.default_target(image, word)
        if to.output is None:
            files.check_target(name, self.inputs, not self.no_clobber)
        return name

    def write_image(
        self,
        staging: files.Staging,
        y: np.ndarray,
        axes: str,
        target: str,
        to: Destination,
        like: images.Image | None = None,
        alpha: np.ndarray | None = None,
    ) -> images.Written:
        """Stage the result and put what rounding and clipping did to it in the report."""
        kind = output_format(target, to.format)
        dtype = to.dtype or self._default_dtype(y, kind, target, like)
        order = axes
        if kind == "npy" and (like is None or like.format != "npy"):
            # The order that the rank stands for, so that it is read back without --axes.
            order = "".join(letter for letter in "NCZYX" if letter in axes)
        with self.timed("writing"):
            written = images.write(
                transposed(y, axes, order),
                order,
                target,
                staging,
                like=like,
                format=kind,
                dtype=dtype,
                scale=to.scale,
                alpha=alpha,
            )
        self._describe_written(written, target, y.size)
        return replace(written, values=transposed(written.values, order, axes))

    def _default_dtype(self, y: np.ndarray, kind: str, target: str, like: images.Image | None) -> str | None:
        """The dtype for a result whose dtype nobody chose; None for the input's."""
        if kind == "npy" and (target == STDOUT or like is None or like.format != "npy"):
            return y.dtype.name
        if kind not in ("png", "jpeg") or like is None or like.data.dtype.kind != "f":
            return None
        self.report.notes.append(
            f"the input holds floats, the result ({y.min():.4g} to {y.max():.4g}) was rounded to 8 bits:"
            " choose with --dtype and --scale, or write .tif or .npy"
        )
        return "uint8"

    def _describe_written(self, written: images.Written, target: str, size: int) -> None:
        self.report.output = {
            "name": target,
            "format": written.format,
            "axes": written.axes,
            "shape": list(written.shape),
        }
        for name in self.report.settings.keys() & {"dtype", "format"}:
            self.report.settings[name]["value"] = getattr(written, name)
        counted = ("dtype", "scale", "offset", "clipped_low", "clipped_high", "rounded", "rounding_error", "nonfinite")
        self.report.output |= {name: getattr(written, name) for name in counted}
        if written.dropped:
            self.report.output["dropped"] = list(written.dropped)
        if written.format != "npy":
            self.report.notes += [f"not kept: {what}" for what in written.dropped]
        clipped = written.clipped_low + written.clipped_high
        if clipped:
            self.report.notes.append(
                f"{clipped} of {size} values ({100 * clipped / size:.3g} %) did not fit into {written.dtype}"
                " and were clipped: use --scale fit, or --dtype float32 with .tif or .npy"
            )

    @contextmanager
    def results(self) -> Iterator[files.Staging]:
        """The end of a run: stage results inside; the report follows, then all of them appear, then it is shown."""
        if not self.report.settings:
            self.settle({})
        with files.Staging() as staging:
            yield staging
            if self.report_file is not None:
                staging.open(self.report_file).write(self.report.to_json().encode())
        if not self.quiet:
            show_report(self.report, table=self.is_shown)
