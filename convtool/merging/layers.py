"""Layers: kernels with all their settings, as they follow each other in a chain.

A `Layer` is what a user says; a `Stage` is the same with every word resolved: taps [g, o, i, *extent], padding in
numbers. Stages know the operator that they are on a grid, so a chain is a list of operators, each on the outputs of the
one before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from convtool import axes as axes_
from convtool.errors import ConvtoolError, DataError, SettingError
from convtool.geometry import Padding, resolve, written
from convtool.kernel import Kernel, Origin, checked_taps, grouped, origin_of
from convtool.operators import OPERATIONS, Convolution


@dataclass(frozen=True, eq=False)
class Layer:
    """A kernel with its settings, as in `convtool.convolve`; bias: one number per output channel, or None.

    kernel: YX (every channel by itself), CYX (one a channel), OIYX (channels mix), or the same with Z
    """

    kernel: np.ndarray
    kernel_axes: str | None = None
    stride: int | Sequence[int] = 1
    padding: Padding = "same"
    dilation: int | Sequence[int] = 1
    origin: Origin = "center"
    groups: int = 1
    bias: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Stage:
    """A layer resolved."""

    kernel: Kernel
    kind: str  # "" for one kernel shared by all channels, "C" for one a channel, "OI" where channels mix
    spatial: str
    operation: str
    boundary: str
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    word: str | None  # the padding as a word, where it was one
    bias: np.ndarray | None

    @property
    def axes(self) -> str:
        """The kernel's axes: YX, CYX or OIYX, or with Z."""
        return self.kind + self.spatial

    @property
    def is_shared(self) -> bool:
        """Whether every channel is filtered by the same taps [1, 1, 1, *extent]."""
        return self.kind == ""

    @property
    def array(self) -> np.ndarray:
        """The taps as an array with the kernel's axes."""
        g, o, i = self.kernel.taps.shape[:3]
        lead = {"": (), "C": (g,), "OI": (g * o, i)}[self.kind]
        return self.kernel.taps.reshape(*lead, *self.kernel.extent)

    @property
    def groups(self) -> int:
        """Blocks of channels that do not mix."""
        return self.kernel.taps.shape[0]

    @property
    def span(self) -> tuple[int, ...]:
        """Samples from the first to the last tap, minus one, on each axis."""
        return tuple(d * (n - 1) for d, n in zip(self.dilation, self.kernel.extent, strict=True))

    def operator(
        self, grid: Sequence[int], channels: int, engine: str = "auto", dtype: Any = np.float64
    ) -> Convolution:
        """The operator on images of so many channels with this grid."""
        return Convolution.build(
            self.kernel,
            grid,
            channels if self.is_shared else self.groups,
            operation=self.operation,
            boundary=self.boundary,
            padding=self.padding,
            stride=self.stride,
            dilation=self.dilation,
            engine=engine,
            dtype=dtype,
        )

    def outputs_of(self, channels: int) -> int:
        """Output channels, for so many input channels."""
        return channels if self.is_shared else self.groups * self.kernel.taps.shape[1]


def power_of_two(values: np.ndarray) -> int:
    """The p at which the largest of the values / 2^p lies between 1/2 and 1; 0 where all are 0."""
    return int(np.frexp(np.abs(values).max())[1])


def stages(layers: Sequence[Layer], operation: str, boundary: str) -> list[Stage]:
    """The layers resolved; raises SettingError and DataError where one is wrong, or where two do not fit together."""
    if operation not in OPERATIONS:
        raise SettingError(f"unknown operation '{operation}': use convolve or correlate")
    letters = [_rank(layer) == 5 or "Z" in str(layer.kernel_axes or "").upper() for layer in layers]
    image = "NCZYX" if any(letters) else "NCYX"
    found = []
    for number, layer in enumerate(layers, 1):
        try:
            found.append(_stage(layer, image, operation, boundary))
        except ConvtoolError as error:
            which = f"kernel {number}: " if len(layers) > 1 else ""
            raise type(error)(f"{which}{error}") from error
    spatial = [stage.spatial for stage in found]
    if len(set(spatial)) > 1:
        raise SettingError(f"the kernels act along different axes ({', '.join(spatial)}): say their --kernel-axes")
    return found


def _rank(layer: Layer) -> int:
    try:
        return np.ndim(layer.kernel)
    except ValueError as error:  # lists of different lengths
        raise DataError("a kernel is a list of rows of different lengths: give them all the same") from error


def _stage(layer: Layer, image: str, operation: str, boundary: str) -> Stage:
    array = np.asarray(layer.kernel)
    letters = axes_.kernel_axes(array.shape, image, layer.kernel_axes)
    _check_numbers(layer, axes_.spatial_of(letters))
    taps = grouped(checked_taps(array), letters, layer.groups)
    kernel = Kernel(taps, origin_of(layer.origin, taps.shape[3:]))
    window = kernel.flipped() if operation == "convolve" else kernel
    settings: dict[str, Any] = {"boundary_mode": boundary, "stride": layer.stride, "dilation": layer.dilation}
    # Any grid serves to turn the words into numbers; on this one at least one window fits.
    spread = resolve([1] * len(kernel.extent), kernel.extent, window.origin, padding="full", **settings)
    grid = [n + 1 for n in spread.span]
    geometry = resolve(grid, kernel.extent, window.origin, padding=layer.padding, **settings)
    kind = "OI" if "O" in letters else "C" if "C" in letters else ""
    return Stage(
        kernel,
        kind,
        axes_.spatial_of(letters),
        operation,
        boundary,
        geometry.stride,
        geometry.padding,
        geometry.dilation,
        layer.padding if isinstance(layer.padding, str) else None,
        None if layer.bias is None else _checked_bias(layer.bias, kernel, kind != ""),
    )


def _check_numbers(layer: Layer, spatial: str) -> None:
    """Raises SettingError where a setting has numbers for more or fewer axes than the kernel acts along."""
    for name in ("stride", "padding", "dilation"):
        value = getattr(layer, name)
        if isinstance(value, list | tuple) and len(value) != len(spatial):
            raise SettingError(
                f"{name} {written(value)} has {len(value)} entries, but the kernel acts along {len(spatial)} axes"
                f" ({spatial}): give one for all, or one for each"
            )


def _checked_bias(bias: np.ndarray, kernel: Kernel, has_channels: bool) -> np.ndarray:
    """The bias [c_out], or [1] for any number of channels."""
    bias = np.asarray(bias)
    if bias.dtype.kind not in "biuf" or bias.size == 0 or not np.isfinite(bias).all():
        raise DataError(f"the bias must be finite numbers, one per output channel, got shape {bias.shape}")
    flat = bias.astype(np.float64).ravel()
    outputs = kernel.taps.shape[0] * kernel.taps.shape[1]
    if has_channels and flat.size not in (1, outputs):
        raise DataError(
            f"the bias has {flat.size} numbers, but the kernel {outputs} output channels: give one for each"
        )
    return np.broadcast_to(flat, outputs).copy() if has_channels else flat


def channels(chain: Sequence[Stage]) -> list[int]:
    """Input channels of every stage, 1 where any number will do; raises DataError where two stages do not fit."""
    counts: list[int | None] = [_given_channels(stage) for stage in chain]
    known: int | None = None
    for number, (stage, count) in enumerate(zip(chain, counts, strict=True), 1):
        if known is not None and count is not None and count != known:
            raise DataError(
                f"kernel {number} (axes {stage.axes}) takes {count} channels, but what comes before it gives {known}:"
                " their channels must contract"
            )
        known = known if count is None else count
        counts[number - 1] = known
        known = known if known is None else stage.outputs_of(known)
    first = next((count for count in counts if count is not None), 1)
    return [first if count is None else count for count in counts]


def _given_channels(stage: Stage) -> int | None:
    """Input channels that the kernel, or a bias with several numbers, stands for."""
    if not stage.is_shared:
        return stage.groups * stage.kernel.taps.shape[2]
    return None if stage.bias is None or stage.bias.size == 1 else stage.bias.size
