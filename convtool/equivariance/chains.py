"""Chains of steps: run on an image, and followed axis by axis under a shift."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from convtool.axes import spatial_of, spelled
from convtool.equivariance import expectations
from convtool.equivariance.expectations import Track
from convtool.equivariance.functions import Function
from convtool.equivariance.inversion import Deconvolve
from convtool.equivariance.steps import Step
from convtool.errors import DataError, SettingError

_SAME_CHOICE = 3e-3  # cross-validation tries weights 0.1 % apart; rounding may decide between two of them
_SHARE = 4  # random shifts are by up to a quarter of the image


@dataclass(frozen=True, eq=False)
class Run:
    """A chain's result, the shapes and axes of every image on the way, and the bound of its rounding.

    choice, sensitivity: as in `steps.Applied`, of all steps
    """

    y: np.ndarray
    shapes: tuple[tuple[int, ...], ...]
    axes: tuple[str, ...]
    rounding: float
    choice: tuple[float, ...]
    sensitivity: float

    def allowed(self, other: Run) -> float:
        """By how much rounding may make this result and another one differ; infinite where that has no bound.

        Where both chose nearly the same weights from their data, rounding decided between these.
        """
        change = self.chosen_apart(other)
        drift = change * max(self.sensitivity, other.sensitivity) if change <= _SAME_CHOICE else 0.0
        return 2 * max(self.rounding, other.rounding) + drift

    def chosen_apart(self, other: Run) -> float:
        """By how much what was chosen from the data differs between two runs, in logarithms."""
        return sum(abs(a - b) for a, b in zip(self.choice, other.choice, strict=False))

    def explain_choice(self, other: Run) -> str:
        """What to say where two runs chose differently; nothing where they did not."""
        if self.chosen_apart(other) <= _SAME_CHOICE:
            return ""
        first, second = (f"{math.exp(run.choice[0]):.4g}" for run in (self, other))
        return (
            f"the weight (or noise to signal) was chosen from the data, {first} and {second}, and so depends on where"
            " the frame lies: give it"
        )


def run(chain: Sequence[Step], x: np.ndarray, axes: str) -> Run:
    """The chain on an image; what one step's rounding is amplified by is what the next steps do to errors."""
    shapes, letters, error, sensitivity = [x.shape], [axes], 0.0, 0.0
    choice: tuple[float, ...] = ()
    for step in chain:
        result = step.apply(x, letters[-1])
        error = result.gain * error + result.rounding
        sensitivity = result.gain * sensitivity + result.sensitivity
        choice += result.choice
        x = result.y
        shapes.append(x.shape)
        letters.append(result.axes)
    return Run(x, tuple(shapes), tuple(letters), error, choice, sensitivity)


def tracks(chain: Sequence[Step], reference: Run, shift: Sequence[int]) -> dict[str, Track]:
    """Every spatial axis after the chain, for a shift along Z, Y, X as far as the image has them."""
    axes = reference.axes[0]
    lengths = (reference.shapes[0][axes.index(letter)] for letter in spatial_of(axes))
    found = {a: expectations.start(n, t) for a, n, t in zip(spatial_of(axes), lengths, shift, strict=True)}
    for i, step in enumerate(chain):
        before, behind = reference.axes[i], reference.axes[i + 1]
        if spatial_of(before) != spatial_of(behind):
            raise DataError(f"a step turned axes {before} into {behind}: its outputs must keep the spatial axes")
        found = expectations.after(found, step, (reference.shapes[i], reference.shapes[i + 1]), (before, behind))
    return found


def random_shifts(chain: Sequence[Step], reference: Run, trials: int, seed: int) -> Iterator[tuple[int, ...]]:
    """Shifts by multiples of the stride, as large as leaves something to compare; none of them by nothing.

    Raises SettingError where there is no such shift.
    """
    spatial = spatial_of(reference.axes[0])
    strides = [track.stride for track in tracks(chain, reference, [0] * len(spatial)).values()]
    lengths = [reference.shapes[0][reference.axes[0].index(letter)] for letter in spatial]
    most = [min(max(1, n // (_SHARE * s)), (n - 1) // s) for n, s in zip(lengths, strides, strict=True)]
    if not any(most):
        raise SettingError(f"the image is too small for a shift by a stride of {max(strides)}: use a larger one")
    random = np.random.default_rng(seed)
    for _ in range(trials):
        moves = [0]
        while not any(moves):
            moves = [int(random.integers(-m, m + 1)) for m in most]
        yield _comparable(chain, reference, [u * s for u, s in zip(moves, strides, strict=True)], strides)


def _comparable(chain: Sequence[Step], reference: Run, shift: list[int], strides: Sequence[int]) -> tuple[int, ...]:
    """A shift, nearer to none on the axes where nothing would be left to compare."""
    while True:
        found = tracks(chain, reference, shift)
        empty = [not track.valid.any() for track in found.values()]
        if not any(empty):
            break
        rows = zip(shift, strides, empty, strict=True)
        shift = [int(t / s / 2) * s if is_empty else t for t, s, is_empty in rows]
        if not any(shift):
            raise SettingError(nothing_expected(chain, reference))
    return tuple(shift)


def border_told(chain: Sequence[Step], tracks: Mapping[str, Track]) -> str:
    """What it means where only outputs near the border differ, and what to do."""
    functions = [step for step in chain if isinstance(step, Function)]
    if any(step.border is None for step in functions):
        return (
            "what lies outside the frame is not periodic: if it need not be, say how wide the border is"
            " (--border {needed}, border={needed} in Python)"
        )
    if functions:
        return "the border is wider than was said, or the windows lie off their centre"
    if all(track.is_whole for track in tracks.values()):
        return "what lies outside the frame is not periodic"
    return "the windows reach further than they should"


def nothing_expected(chain: Sequence[Step], reference: Run) -> str:
    """Why there is no output to compare, and what to do."""
    lead = "no output is expected to agree"
    for step, before, behind in zip(chain, reference.shapes, reference.shapes[1:], strict=False):
        if isinstance(step, Function) and step.border is None:
            return (
                f"{lead}: the function's {spelled(behind)} outputs of {spelled(before)} pixels do not wrap around:"
                " say how wide its border is (--border N, border=N in Python)"
            )
        if isinstance(step, Deconvolve):
            return f"{lead}: a deconvolution depends on everything, the frame too: use boundary periodic throughout"
    return (
        f"{lead}: the borders and the shift cover the whole image: use a larger image, a smaller shift or boundary"
        " periodic"
    )
