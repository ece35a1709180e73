"""What a command makes of an image, in values, told from the image's header and the kernel before anything is read.

The grid is the image with all that the kernel or a window reaches beyond it; of `deconvolve` it is that of the unknown
scene, which is larger than the data where their surroundings are unknown. What cannot be told, or does not fit, counts
as the image alone: the command itself says what is wrong.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from convtool import choice, geometry, kernel
from convtool.axes import Arrangement, kernel_axes, spatial_of
from convtool.cli import options
from convtool.cli.reading import kernel_axes as said_axes
from convtool.errors import ConvtoolError
from convtool.model import working_dtype
from convtool.pooling.geometry import build as build_pooling

if TYPE_CHECKING:
    import numpy as np

    from convtool.images.header import Header

_SCENES = ("auto", "unknown")  # boundaries with which data may be a part of a larger scene
_WINDOWS = ("padding", "stride", "dilation")


@dataclass(frozen=True)
class Shapes:
    """Values of the image, of the grid, of the result, and of what the kernel makes of all frequencies of the grid;
    and the axes along which it moves."""

    image: int
    grid: int
    result: int
    spectra: int
    ndim: int

    @property
    def largest(self) -> int:
        """Values of the largest array in the image's place."""
        return max(self.image, self.grid, self.result)


def of(header: Header, asked: SimpleNamespace, taps: np.ndarray | None, beside: dict[str, Any]) -> Shapes:
    """The shapes for an image; `beside` are settings that the kernel brings along."""
    try:
        if header.axes and hasattr(asked, "window"):
            return _pooled(header, asked)
        if header.axes and taps is not None:
            return _convolved(header, asked, taps, beside)
    except (ConvtoolError, ArithmeticError, ValueError):
        pass
    return Shapes(header.values, header.values, header.values, 0, len(spatial_of(header.axes)) or 2)


def _pooled(header: Header, asked: SimpleNamespace) -> Shapes:
    settings = {
        "stride": asked.stride if asked.stride == "window" else options.numbers(asked.stride, "--stride"),
        "padding": options.padding(asked.padding),
        "dilation": options.numbers(asked.dilation, "--dilation"),
        "boundary": asked.boundary,
        "ceil_mode": asked.ceil_mode,
    }
    built = build_pooling(header.shape, options.numbers(asked.window, "--window"), axes=header.axes, **settings)
    planes = header.values // math.prod(built.geometry.grid)
    extended, outputs = (math.prod(lengths) for lengths in (built.geometry.extended, built.geometry.outputs))
    return Shapes(header.values, planes * extended, planes * outputs, 0, len(built.geometry.grid))


def _convolved(header: Header, asked: SimpleNamespace, taps: np.ndarray, beside: dict[str, Any]) -> Shapes:
    given = {name: parse(getattr(asked, name)) for name, parse in options.PARSERS.items()} | beside
    letters = kernel_axes(
        taps.shape, header.axes, given.get("kernel_axes") or said_axes(asked.kernel, taps, asked.kernel_axes)
    )
    grouped = kernel.grouped(taps, letters, int(given.get("groups", asked.groups)))
    arrangement = Arrangement(header.axes, header.shape, spatial_of(letters))
    planes = header.values // (arrangement.channels * math.prod(arrangement.grid))
    (groups, after, before), extent = grouped.shape[:3], grouped.shape[3:]
    inner, outer = (groups * before, groups * after) if "O" in letters else (arrangement.channels,) * 2
    windows = {name: given[name] for name in _WINDOWS}
    mixed = groups * before * after if before * after > 1 else 0
    if hasattr(asked, "image_shape"):
        grid = _unknown(arrangement.grid, extent, windows, asked)
        most, result = planes * max(inner, outer) * grid, planes * inner * grid
        return Shapes(header.values, most, result, mixed * grid, len(extent))
    found = geometry.resolve(arrangement.grid, extent, [0] * len(extent), boundary_mode=asked.boundary, **windows)
    grid = math.prod(found.extended)
    spectra = mixed * grid if _transforms(grouped, found, planes, header, asked) else 0
    return Shapes(header.values, planes * inner * grid, planes * outer * math.prod(found.dense), spectra, len(extent))


def _transforms(
    taps: np.ndarray, found: geometry.Geometry, planes: int, header: Header, asked: SimpleNamespace
) -> bool:
    """Whether a convolution is to go by the spectra of the whole grid."""
    engine = getattr(asked, "engine", "direct")
    if engine == "auto":
        dtype = working_dtype(header.dtype, asked.precision)
        engine = choice.fastest(kernel.checked_taps(taps), found, planes, dtype)
    return engine == "fft"


def _unknown(outputs: tuple[int, ...], extent: tuple[int, ...], windows: dict[str, Any], asked: SimpleNamespace) -> int:
    """Samples of the scene that data come from, with all that reaches beyond it."""
    if asked.boundary in _SCENES and windows["padding"] == "same":
        windows = windows | {"padding": "valid"}
    first = [0] * len(extent)
    shape = None if asked.image_shape is None else options.lengths(asked.image_shape, "--image-shape")
    found = shape or [most for _, most in geometry.inputs(outputs, extent, first, **windows)]
    around = geometry.resolve(found, extent, first, boundary_mode="zero", **windows)
    return math.prod(map(max, around.extended, found))
