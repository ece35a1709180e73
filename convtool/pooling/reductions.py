"""What a window is reduced to: its maximum, minimum or sum, or its maximum and where that is.

A reduction joins two stretches of a window, given as planes: the values alone, or the values and their indices. It is
associative; a maximum of overlapping stretches is that of both, since it is idempotent, a sum is not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Planes = tuple[np.ndarray, ...]


def maximum(earlier: Planes, later: Planes, out: Planes) -> None:
    """The greater values; NaN where one is."""
    np.maximum(earlier[0], later[0], out=out[0])


def minimum(earlier: Planes, later: Planes, out: Planes) -> None:
    """The smaller values; NaN where one is."""
    np.minimum(earlier[0], later[0], out=out[0])


def total(earlier: Planes, later: Planes, out: Planes) -> None:
    """The sums."""
    np.add(earlier[0], later[0], out=out[0])


def first_maximum(earlier: Planes, later: Planes, out: Planes) -> None:
    """The greater values and their indices: the earlier of equal ones, the later NaN, a pixel rather than none."""
    (a, i), (b, j) = earlier, later
    is_later = b > a
    is_later |= (a == b) & (i < 0)
    if b.dtype.kind == "f":
        is_later |= b != b
    np.maximum(a, b, out=out[0])
    # i + (j - i) is_later, which a processor computes much faster than it chooses.
    step = np.subtract(j, i)
    step *= is_later
    np.add(i, step, out=out[1])


def nowhere(index: np.dtype) -> int:
    """An index so negative that three offsets, one an axis, neither overflow nor become an index with it."""
    return int(np.iinfo(index).min) // 4


@dataclass(frozen=True)
class Reduction:
    """What is done to two stretches of planes (`combine(earlier, later, out)`), and what lies outside the frame.

    `outside` is for the values; `index` is the indices' dtype, where there are some.
    """

    combine: Callable[[Planes, Planes, Planes], None]
    is_idempotent: bool
    outside: Any
    index: np.dtype | None = None
