"""What a deconvolution gives: of a method in its own units and axes (`Estimate`), and for the user (`Solution`)."""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


class Stop(enum.Enum):
    """Why a method ended; the value is the user's sentence. A method may bring an enum of its own."""

    DIRECT = "solved in one step, frequency by frequency"


@dataclass(frozen=True)
class Stopped:
    """Why a method ended, with its numbers: the enum's value is the user's sentence, with places for them."""

    reason: enum.Enum
    numbers: dict[str, Any]

    @property
    def value(self) -> str:
        """The user's sentence."""
        return self.reason.value.format(**self.numbers)


@dataclass(frozen=True, eq=False)
class Estimate:
    """What a method returns: x [n, c_in, *grid], why it stopped, what it measured, and sentences a user may act on.

    others: answers of other methods to compare with, in the shape of x, by the metrics' name for them
    snapshots: x after some numbers of iterations
    measure: gives further metrics, for when they are first read
    """

    x: np.ndarray
    stop: enum.Enum | Stopped
    metrics: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    others: dict[str, np.ndarray] = field(default_factory=dict)
    snapshots: dict[int, np.ndarray] = field(default_factory=dict)
    measure: Callable[[], dict[str, Any]] = dict


@dataclass(frozen=True, eq=False)
class Solution:
    """A deconvolved image.

    Attributes
    ----------
    x: the estimate, in the data's order of axes and the computing dtype (the data's own for floats)
    stop: why the method ended, in words
    notes: sentences on what to trust and what to do
    measure: gives the metrics
    others: answers of other methods to compare x with, by the metrics' name for them
    snapshots: x after some numbers of iterations, where they were asked for
    """

    x: np.ndarray = field(repr=False)
    stop: str
    notes: tuple[str, ...]
    measure: Callable[[], dict[str, Any]] = field(repr=False)
    others: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
    snapshots: dict[int, np.ndarray] = field(default_factory=dict, repr=False)

    @functools.cached_property
    def metrics(self) -> dict[str, Any]:
        """method, its resolved options, relative_residual = ||A x - y|| / ||y||, max_residual = max |A x - y|,
        noise_gain of linear methods (root-mean-square amplification of white noise), and what the method adds.

        Measured when they are first read, since A x takes as long as a method of one step itself.
        """
        return self.measure()
