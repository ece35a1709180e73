"""What an estimation of a kernel gives: the taps, how well the data determine each, what was measured, what to know.

Facts of a kernel's shape are here too, since every way of estimation reports them. Positions count from the origin tap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_FINE = 16  # samples a pixel along the profiles that widths are read from


@dataclass(frozen=True, eq=False)
class KernelEstimate:
    """An estimated kernel.

    kernel: taps [*size], float64, axes YX or ZYX; standard_error: of each tap, in the same unit; metrics: numbers by
    name, as the report shows them; notes: sentences on what to trust and what to do.
    """

    kernel: np.ndarray
    standard_error: np.ndarray
    metrics: dict[str, Any]
    notes: tuple[str, ...] = field(default=())


def centroid(kernel: np.ndarray, origin: Sequence[int]) -> list[float] | None:
    """The centre of mass of the taps, from the origin; None where they sum to nothing."""
    total = float(kernel.sum())
    if abs(total) <= 1e-9 * float(abs(kernel).sum()):
        return None
    grids = np.indices(kernel.shape)
    return [float((grid * kernel).sum() / total - o) for grid, o in zip(grids, origin, strict=True)]


def rim_share(kernel: np.ndarray) -> float:
    """The share of the taps' absolute sum that lies in the outermost taps, along axes of three taps or more."""
    inner = tuple(slice(1, -1) if n > 2 else slice(None) for n in kernel.shape)
    total = float(abs(kernel).sum())
    return 1 - float(abs(kernel[inner]).sum()) / total if total else 0.0


def widths(kernel: np.ndarray) -> list[float | None]:
    """The full width at half maximum along each axis through the peak, in pixels, between samples by cubic splines.

    None along an axis where the kernel does not fall to half its peak on both sides.
    """
    from scipy.ndimage import map_coordinates

    peak = np.unravel_index(int(np.argmax(kernel)), kernel.shape)
    found: list[float | None] = []
    for axis, n in enumerate(kernel.shape):
        fine = np.linspace(0, n - 1, _FINE * (n - 1) + 1)
        places = np.stack([fine if i == axis else np.full_like(fine, p) for i, p in enumerate(peak)])
        found.append(_width(map_coordinates(kernel, places, order=3, mode="nearest"), int(peak[axis]) * _FINE))
    return found


def _width(profile: np.ndarray, start: int) -> float | None:
    """The distance between the crossings of half the maximum on either side of `start`, in pixels."""
    half = profile.max() / 2
    left, right = (_crossing(side, half) for side in (profile[start::-1], profile[start:]))
    return None if left is None or right is None else (left + right) / _FINE


def _crossing(side: np.ndarray, level: float) -> float | None:
    below = np.flatnonzero(side < level)
    if not len(below) or below[0] == 0:
        return None
    i = int(below[0])
    return i - 1 + float((side[i - 1] - level) / (side[i - 1] - side[i]))
