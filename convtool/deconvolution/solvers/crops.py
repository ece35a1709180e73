"""Crops that stand for a large image where something about it is chosen that would take too long on all of it.

A crop of the data is an observation of its own: whatever the image's boundary, the scene goes on around the crop, so
its surroundings are unknown and only the windows inside are its (padding "valid"). Crops are cut from the image on a
grid; of those that were seen nearly everywhere, ordered by how much goes on in them (mean absolute difference of
neighbours), the ones in the middle of equal parts are taken, so that flat and busy regions count as in the image.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from convtool.deconvolution.solvers.tiles import inner

if TYPE_CHECKING:
    from convtool.observation import Observation

_COUNT = 4  # crops; fewer where the kernel is so large that their surroundings would outweigh them
_SIDES = 3  # spans of the kernel that a crop measures at least
_SEEN = 0.9  # share of a crop's samples that must count
_SPARE = 1.5  # times the budget that an image may have before it is cut
_CANDIDATES = 24  # windows on each axis that are looked at


def crops(observation: Observation, budget: int) -> list[Observation]:
    """Observations whose data have about `budget` samples together; the image as one where it has no more, about."""
    shape = observation.y.shape[2:]
    if observation.y.size <= _SPARE * budget:
        return [_cut(observation, tuple(slice(0, n) for n in shape))]
    sides = _sides(observation, budget / _COUNT)
    count = max(1, min(_COUNT, round(budget / (len(observation.y[0]) * math.prod(sides)))))
    windows = _windows(shape, sides)
    kept = [window for window in windows if _seen(observation, window) >= _SEEN] or windows
    ordered = sorted(kept, key=lambda window: _activity(observation, window))
    chosen = dict.fromkeys(int((k + 0.5) * len(ordered) / count) for k in range(count))
    return [_cut(observation, ordered[number]) for number in chosen]


def _sides(observation: Observation, samples: float) -> tuple[int, ...]:
    """Lengths of a crop with about so many samples, equal but for short axes and large kernels."""
    geometry, left = observation.operator.geometry, samples / observation.y.shape[1]
    rows = zip(observation.y.shape[2:], geometry.span, geometry.stride, strict=True)
    bounds = [(n, min(n, _SIDES * (-(-span // s) + 1))) for n, span, s in rows]
    sides: dict[int, int] = {}
    for position, axis in enumerate(sorted(range(len(bounds)), key=lambda axis: bounds[axis][0])):
        side = int(left ** (1 / (len(bounds) - position)))
        sides[axis] = max(min(side, bounds[axis][0]), bounds[axis][1], 1)
        left = max(left / sides[axis], 1.0)
    return tuple(sides[axis] for axis in range(len(bounds)))


def _windows(shape: tuple[int, ...], sides: tuple[int, ...]) -> list[tuple[slice, ...]]:
    per_axis = []
    for n, side in zip(shape, sides, strict=True):
        count = min(max(n // side, 1), _CANDIDATES)
        starts = np.linspace(0, n - side, count).astype(int) if count > 1 else [(n - side) // 2]
        per_axis.append([slice(int(start), int(start) + side) for start in starts])
    return [tuple(per_axis[axis][i] for axis, i in enumerate(at)) for at in np.ndindex(*map(len, per_axis))]


def _seen(observation: Observation, window: tuple[slice, ...]) -> float:
    return 1.0 if observation.weights is None else float(observation.weights[0][(slice(None), *window)].mean())


def _activity(observation: Observation, window: tuple[slice, ...]) -> float:
    y = observation.y[0][(slice(None), *window)]
    return sum(float(np.abs(np.diff(y, axis=axis)).mean()) for axis in range(1, y.ndim) if y.shape[axis] > 1)


def _cut(observation: Observation, window: tuple[slice, ...]) -> Observation:
    """The observation of the data in a window alone; of all of them on a periodic grid, itself."""
    shape, geometry = observation.y.shape[2:], observation.operator.geometry
    is_whole = tuple(part.stop - part.start for part in window) == shape
    if is_whole and (geometry.boundary == "periodic" or not any(p or q for p, q in geometry.padding)):
        return observation
    return inner(observation, window)
