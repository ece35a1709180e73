"""Why an expected equality does not hold: the nearest explanation that the two images themselves bear out."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from convtool.equivariance import comparison
from convtool.equivariance.expectations import Track

_STRIDES = 8  # that a function may have without saying so
_NEAR = 2  # output samples around the claimed shift


def explain(
    moved: np.ndarray,
    reference: np.ndarray,
    axes: str,
    tracks: Mapping[str, Track],
    taken: tuple[int, ...],
    allowed: float,
    border: str,
) -> str:
    """A sentence: another output shift for which the equality holds, or that only the border differs, and `border`.

    In `border`, {needed} stands for the border that a function would have to have.
    """
    predicted = tuple(track.shift for track in tracks.values())
    strides = tuple(track.stride for track in tracks.values())
    for shift in _candidates(taken, predicted, strides):
        where = comparison.valid(tracks, shift, axes)
        error = comparison.shifted(moved, reference, axes, shift)
        if where.any() and comparison.largest(error, where).value <= allowed:
            why = f": the stride is {_one(strides)}" if shift == predicted and set(strides) != {1} else ""
            return f"holds for an output shift of {_one(shift)}, not {_one(taken)}{why}"
    error = comparison.shifted(moved, reference, axes, taken)
    wrong = np.where(comparison.valid(tracks, taken, axes), error, 0.0) > allowed
    width, needed = _border(wrong, axes, tracks, taken)
    if 2 * width < min(error.shape[axes.index(letter)] for letter in tracks):
        return f"only outputs within {width} of the frame differ: {border.format(needed=needed)}"
    return "no output shift nearby explains it"


def _border(wrong: np.ndarray, axes: str, tracks: Mapping[str, Track], taken: tuple[int, ...]) -> tuple[float, int]:
    """The width of the frame that holds everything wrong, and that of a border which, moved by the shift, explains it.

    The width is infinite where nothing wrong lies at the edge of what is compared: then it is no matter of borders.
    """
    places = np.argwhere(wrong)
    from_frame, from_edge, from_border = [], [], []
    for (letter, track), shift in zip(tracks.items(), taken, strict=True):
        at, last = places[:, axes.index(letter)], wrong.shape[axes.index(letter)] - 1
        before, after = comparison.ends(track.valid)
        from_frame += [at, last - at]
        from_edge += [at - before, last - after - at]
        from_border += [at - max(shift, 0), last - at - max(-shift, 0)]
    if np.min(from_edge) > 0:
        return np.inf, 0
    width, needed = (int(np.min(gaps, axis=0).max()) + 1 for gaps in (from_frame, from_border))
    return width, max(needed, 1)


def _candidates(taken: Sequence[int], predicted: Sequence[int], strides: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Other output shifts, the likely ones first."""
    whole = [u * s for u, s in zip(predicted, strides, strict=True)]
    tried = [tuple(predicted)]
    tried += [tuple(t // s for t in whole) for s in range(1, _STRIDES + 1) if all(t % s == 0 for t in whole)]
    near = sorted(itertools.product(range(-_NEAR, _NEAR + 1), repeat=len(taken)), key=lambda step: sum(map(abs, step)))
    for centre in (predicted, taken):
        tried += [tuple(u + d for u, d in zip(centre, step, strict=True)) for step in near]
    return (shift for shift in dict.fromkeys(tried) if shift != tuple(taken))


def _one(numbers: Sequence[int]) -> str:
    """'50,0', or one number where all are the same."""
    return str(numbers[0]) if len(set(numbers)) == 1 else ",".join(map(str, numbers))
