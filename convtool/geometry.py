"""Geometry: where the windows of a correlation lie, in numbers; the words are resolved here and nowhere else.

On one axis of n samples, with N taps, dilation d, stride s and padding (p, q), output j reads the extended signal at

    j s - p + m d,   m = 0 .. N - 1,          count = floor((n + p + q - d (N - 1) - 1) / s) + 1

as in torch. The words mean
    same     p = o d, q = (N - 1 - o) d      the tap at the origin o lies on the output pixel; count = ceil(n / s)
    valid    p = q = 0                       only windows that lie inside the frame
    full     p = q = d (N - 1)               every window that touches the frame

Backwards, a count m comes from every n with (m - 1) s + 1 <= n + p + q - d (N - 1) <= m s: from one n where s = 1, from
up to s of them otherwise (`inputs`).
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from convtool import boundary
from convtool.axes import spelled
from convtool.errors import DataError, SettingError

Padding = str | int | Sequence[int] | Sequence[tuple[int, int]]
_MOST_SAMPLES = 1 << 40


@dataclass(frozen=True)
class Geometry:
    """A correlation's windows on a grid; build it with `resolve`."""

    grid: tuple[int, ...]
    extent: tuple[int, ...]
    boundary: str
    padding: tuple[tuple[int, int], ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]

    @property
    def span(self) -> tuple[int, ...]:
        """Samples from the first to the last tap of a window, minus one: d (N - 1)."""
        return tuple(d * (n - 1) for d, n in zip(self.dilation, self.extent, strict=True))

    @property
    def extended(self) -> tuple[int, ...]:
        """Lengths of the extended signal: n + p + q."""
        return tuple(n + p + q for n, (p, q) in zip(self.grid, self.padding, strict=True))

    @property
    def outputs(self) -> tuple[int, ...]:
        """Number of outputs on each axis."""
        rows = zip(self.extended, self.span, self.stride, strict=True)
        return tuple((e - span - 1) // s + 1 if e > span else 0 for e, span, s in rows)

    @property
    def dense(self) -> tuple[int, ...]:
        """Number of outputs on each axis that there would be at stride 1."""
        return tuple(e - span for e, span in zip(self.extended, self.span, strict=True))

    @property
    def strided(self) -> tuple[slice, ...]:
        """Which of the dense outputs are outputs."""
        rows = zip(self.outputs, self.stride, strict=True)
        return tuple(slice(0, (count - 1) * s + 1, s) for count, s in rows)

    @property
    def is_circulant(self) -> bool:
        """Whether the operator is diagonal in the Fourier basis: periodic, stride 1, as many outputs as inputs."""
        return self.boundary == "periodic" and set(self.stride) == {1} and self.outputs == self.grid

    def positions(self, origin: Sequence[int]) -> list[np.ndarray]:
        """For each axis, the input position under the window's origin tap, for every output; outside the frame too."""
        rows = zip(self.outputs, self.stride, self.padding, origin, self.dilation, strict=True)
        return [np.arange(count) * s - p + o * d for count, s, (p, _), o, d in rows]

    def sources(self) -> list[np.ndarray]:
        """For each axis, [outputs, taps]: the input index that a tap of a window reads, -1 where it reads a zero."""
        axes = zip(self.grid, self.extent, self.outputs, self.padding, self.stride, self.dilation, strict=True)
        return [
            boundary.source(np.arange(count)[:, None] * s - p + np.arange(taps) * d, n, self.boundary)
            for n, taps, count, (p, _), s, d in axes
        ]


def resolve(
    grid: Sequence[int],
    extent: Sequence[int],
    origin: Sequence[int],
    *,
    boundary_mode: str,
    padding: Padding,
    stride: int | Sequence[int],
    dilation: int | Sequence[int],
) -> Geometry:
    """Geometry from settings as users give them; `origin` is the correlation window's.

    Raises SettingError for a bad setting, DataError when no window fits.
    """
    steps = _per_axis(stride, len(grid), "stride")
    spread = _per_axis(dilation, len(grid), "dilation")
    span = [d * (n - 1) for d, n in zip(spread, extent, strict=True)]
    before = [int(o) * d for o, d in zip(origin, spread, strict=True)]
    pairs = _pairs(padding, span, before)
    found = Geometry(
        tuple(map(int, grid)), tuple(map(int, extent)), boundary.checked(boundary_mode), pairs, steps, spread
    )
    if math.prod(found.extended) > _MOST_SAMPLES:
        raise DataError(
            f"the padded image would have {spelled(found.extended)} samples: use a smaller padding, dilation or kernel"
        )
    if 0 in found.outputs:
        raise DataError(
            f"no output: the kernel spans {spelled([n + 1 for n in found.span])} pixels, the padded image only"
            f" {spelled(found.extended)}: use padding same or full, or a smaller kernel"
        )
    return found


def inputs(
    outputs: Sequence[int],
    extent: Sequence[int],
    origin: Sequence[int],
    *,
    padding: Padding,
    stride: int | Sequence[int],
    dilation: int | Sequence[int],
) -> tuple[tuple[int, int], ...]:
    """For each axis, the (least, greatest) number of samples from which so many outputs come.

    Raises SettingError for a bad setting, DataError when no image has so many outputs.

    Example
    -------
    >>> inputs([32], [3], [1], padding="same", stride=2, dilation=1)
    ((63, 64),)
    """
    steps = _per_axis(stride, len(outputs), "stride")
    spread = _per_axis(dilation, len(outputs), "dilation")
    span = [d * (n - 1) for d, n in zip(spread, extent, strict=True)]
    pairs = _pairs(padding, span, [int(o) * d for o, d in zip(origin, spread, strict=True)])
    missing = [reach - p - q for reach, (p, q) in zip(span, pairs, strict=True)]
    greatest = [m * s + more for m, s, more in zip(outputs, steps, missing, strict=True)]
    if min(greatest) < 1:
        fewest = [max(1, -(-(1 - more) // s)) for s, more in zip(steps, missing, strict=True)]
        raise DataError(
            f"data of {spelled(outputs)} come from no image: with this kernel, padding and stride the smallest image"
            f" gives {spelled(fewest)}"
        )
    return tuple((max(1, most - s + 1), most) for most, s in zip(greatest, steps, strict=True))


def written(value: Any) -> str:
    """A setting as it is written on the command line: 2, same, 1,2 or 1:2,0:1."""
    if isinstance(value, list | tuple):
        return ",".join(":".join(map(str, item)) if isinstance(item, list | tuple) else str(item) for item in value)
    return str(value)


def _pairs(padding: Padding, span: list[int], before: list[int]) -> tuple[tuple[int, int], ...]:
    if isinstance(padding, str):
        words = {
            "same": tuple((b, s - b) for b, s in zip(before, span, strict=True)),
            "valid": tuple((0, 0) for _ in span),
            "full": tuple((s, s) for s in span),
        }
        if padding not in words:
            raise SettingError(f"unknown padding '{padding}': use same, valid, full, numbers, or before:after pairs")
        return words[padding]
    pairs = [item if isinstance(item, Sequence) else (item, item) for item in _each(padding, len(span))]
    if len(pairs) != len(span) or not all(len(pair) == 2 and _are_whole(pair, 0) for pair in pairs):
        raise SettingError(
            f"padding {padding} does not fit: give same, valid, full, or whole numbers of at least 0, one for all,"
            f" one per axis or a (before, after) pair per axis, for {len(span)} axes"
        )
    return tuple((int(before), int(after)) for before, after in pairs)


def _per_axis(value: int | Sequence[int], ndim: int, what: str) -> tuple[int, ...]:
    found = _each(value, ndim)
    if len(found) != ndim or not _are_whole(found, 1):
        raise SettingError(
            f"{what} must be whole numbers of at least 1, one or {ndim} (one per axis of the kernel), got {value}"
        )
    return tuple(map(int, found))


def _each(value: Any, ndim: int) -> list[Any]:
    """A value for every axis: the one given for all, or the several given."""
    return list(value) if isinstance(value, list | tuple | np.ndarray) else [value] * ndim


def _are_whole(values: Sequence[Any], least: int) -> bool:
    return all(isinstance(value, numbers.Integral) and int(value) >= least for value in values)
