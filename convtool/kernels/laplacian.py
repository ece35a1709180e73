"""Laplacian: the sum of the neighbours minus their number times the centre, in 2-D or 3-D.

4 (YX) and 6 (ZYX) neighbours give the second derivatives' sum; 8 and 26 add the diagonals, all with weight 1, and give
3 and 9 times as much on smooth images. The taps are symmetric, so that convolve and correlate agree.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from convtool.errors import SettingError, listed

if TYPE_CHECKING:
    import numpy as np

_SHAPES = {4: (3, 3), 8: (3, 3), 6: (3, 3, 3), 26: (3, 3, 3)}


@dataclass(frozen=True)
class Options:
    """Parameters of the family."""

    neighbours: Literal[4, 8, 6, 26] = field(
        default=4, metadata={"help": "4 or 8 (with diagonals) in YX, 6 or 26 (with diagonals) in ZYX"}
    )


def make(options: Options) -> np.ndarray:
    """The taps (float64, YX or ZYX, sum 0); raises SettingError.

    >>> make(Options()).tolist()
    [[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]]
    """
    import numpy as np

    if options.neighbours not in _SHAPES:
        raise SettingError(f"kernel laplacian: neighbours must be {listed(_SHAPES)}, got {options.neighbours}")
    shape = _SHAPES[options.neighbours]
    steps = np.abs(np.indices(shape) - 1).sum(axis=0)
    farthest = len(shape) if options.neighbours in (8, 26) else 1
    return np.where(steps == 0, -float(options.neighbours), np.where(steps <= farthest, 1.0, 0.0))
