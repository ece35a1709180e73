"""Functions of an array as steps: what is known of them is what their output looks like, and what the user says."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from convtool.axes import spelled
from convtool.equivariance import rounding
from convtool.equivariance.steps import Applied, Move, Step
from convtool.errors import DataError, SettingError

_TERMS = 16.0  # rounding of an unknown computation, in units of u log2 N max(|x|, |y|)


@final
@dataclass(frozen=True, eq=False)
class Function(Step):
    """Any callable of an array, of the image's number of axes and order.

    stride: input pixels an output stands for; by default the rounded ratio of sizes
    border: outputs at each side of an axis where nothing is expected; None: everything wraps around periodically
    """

    function: Callable[[np.ndarray], Any]
    stride: int | Sequence[int] | None = None
    border: int | None = None

    def strides(self, ndim: int) -> Sequence[int] | None:
        """The stride on each axis, if it was said; raises SettingError for a bad setting."""
        if self.border is not None and (not isinstance(self.border, numbers.Integral) or self.border < 0):
            raise SettingError(f"border must be a whole number of at least 0, got {self.border}")
        if self.stride is None:
            return None
        found = list(self.stride) if isinstance(self.stride, Sequence) else [self.stride] * ndim
        if len(found) != ndim or not all(isinstance(s, numbers.Integral) and int(s) >= 1 for s in found):
            raise SettingError(f"stride must be whole numbers of at least 1, one or {ndim}, got {self.stride}")
        return [int(s) for s in found]

    def apply(self, x: np.ndarray, axes: str) -> Applied:
        y = _checked(self.function(x.copy()), axes)
        size = max(rounding.largest(x), rounding.largest(y))
        gain = max(1.0, rounding.largest(y) / (rounding.largest(x) or 1.0))
        terms = _TERMS * math.log2(x.size + 1) if y.dtype.kind == "f" else 0
        return Applied(y, axes, gain, rounding.of_sum(terms, size, x.dtype, y.dtype))

    def windows(self, shape: Sequence[int], axes: str) -> None:
        return None

    def is_symmetric(self, move: Move, shape: Sequence[int], axes: str) -> bool:
        return True


def _checked(y: Any, axes: str) -> np.ndarray:
    """A function's result as an array of its own; raises DataError where it is no image."""
    try:
        found = np.array(y)
    except Exception as error:  # NumPy asks the object itself, which may raise anything
        raise DataError(f"the function gave a {type(y).__name__} that is no array: {error}") from error
    if found.ndim != len(axes) or found.dtype.kind not in "biuf" or found.size == 0:
        raise DataError(
            f"the function gave an array of shape {spelled(found.shape) or '()'} and dtype {found.dtype}, expected real"
            f" numbers with the {len(axes)} axes ({axes}) of its input"
        )
    return found
