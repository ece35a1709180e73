"""Delta: a single tap of 1, which copies the image or shifts it by whole pixels.

The tap lies at the origin n // 2 plus `shift`; convolve moves the image by that shift (down and to the right where it
is positive), correlate moves it back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from convtool.errors import SettingError
from convtool.kernels._grid import per_axis, rank, shape_of

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Options:
    """Parameters of the family."""

    shift: int | tuple[int, ...] = field(
        default=0, metadata={"help": "whole pixels from the origin: one for Y and X, or Y,X or Z,Y,X"}
    )
    size: int | tuple[int, ...] | None = field(
        default=None, metadata={"help": "taps, one number or one an axis; auto: just wide enough"}
    )


def make(options: Options) -> np.ndarray:
    """The taps (float64, YX or ZYX, sum 1); raises SettingError.

    >>> make(Options(shift=(0, -1))).tolist()
    [[1.0, 0.0, 0.0]]
    """
    import numpy as np

    shift = per_axis(options.shift, rank("kernel delta", options.shift, options.size), "kernel delta: shift")
    shape = shape_of(options.size, tuple(abs(s) for s in shift), "kernel delta")
    place = tuple(n // 2 + s for n, s in zip(shape, shift, strict=True))
    if any(not 0 <= p < n for p, n in zip(place, shape, strict=True)):
        raise SettingError(f"kernel delta: shift {shift} does not fit in size {shape}: leave out size, or enlarge it")
    taps = np.zeros(shape)
    taps[place] = 1
    return taps
