"""A large image solved tile by tile, each within unknown surroundings, and blended: memory and caches stay small.

Along each axis the data are cut at c_1 < c_2 < ... The tile between two cuts takes the data inside, and beyond the cuts
those of an overlap: what lies further out is unknown to it, as it is outside a photograph, and what it finds there is
not used. In the scene's coordinates the share of a tile is

    clip((t - e_i) / ramp + 1/2, 0, 1) - clip((t - e_i+1) / ramp + 1/2, 0, 1),       e_i = stride c_i + span / 2

so that the shares of all tiles add up to 1 everywhere and a seam is a ramp of `_RAMP` samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from convtool.observation import UNKNOWN, Observation

_RAMP = 16  # samples over which a tile hands over to the next
_REACH = 16  # samples, beyond the kernel's span and the ramp, from which on missing data no longer matter


class Tile(NamedTuple):
    """The data of a tile, where its grid lies in the scene's, and its share along each axis of that grid."""

    observation: Observation
    start: tuple[int, ...]
    shares: tuple[np.ndarray, ...]


def inner(observation: Observation, window: tuple[slice, ...]) -> Observation:
    """The observation of the data in a window alone; whatever the boundary, the scene goes on around them."""
    geometry = observation.operator.geometry
    rows = zip(window, geometry.stride, geometry.span, strict=True)
    grid = tuple((part.stop - part.start - 1) * s + span + 1 for part, s, span in rows)
    index = (slice(None), slice(None), *window)
    cut = replace(geometry, grid=grid, boundary="zero", padding=((0, 0),) * len(grid))
    return replace(
        observation,
        y=np.ascontiguousarray(observation.y[index]),
        operator=replace(observation.operator, geometry=cut, batch=1),
        boundary=UNKNOWN,
        weights=None if observation.weights is None else np.ascontiguousarray(observation.weights[index]),
    )


def tiles(observation: Observation, most: int) -> list[Tile]:
    """Tiles of at most about `most` samples of data, overlaps included, for an observation of one image.

    One where that is enough, or where windows reach outside the scene, as at every boundary but "unknown".
    """
    geometry = observation.operator.geometry
    if geometry.boundary == "periodic" or any(p or q for p, q in geometry.padding):
        most = observation.y.size
    shape = observation.y.shape[2:]
    overlaps = [-(-(span + _RAMP // 2 + _REACH) // s) for span, s in zip(geometry.span, geometry.stride, strict=True)]
    counts = _counts(shape, overlaps, most // observation.y.shape[1])
    cuts = [[n * i // count for i in range(count + 1)] for n, count in zip(shape, counts, strict=True)]
    return [_tile(observation, at, cuts, overlaps) for at in np.ndindex(*counts)]


def blended(
    tiles: Sequence[Tile], shape: tuple[int, ...], dtype: np.dtype, solve: Callable[[Observation], np.ndarray]
) -> np.ndarray:
    """[c, *grid] of that shape from the solutions [c, *tile's grid] of all tiles."""
    x = np.zeros(shape, dtype)
    for tile in tiles:
        part = solve(tile.observation)
        used = [np.flatnonzero(share) for share in tile.shares]
        inside = tuple(slice(int(each[0]), int(each[-1]) + 1) for each in used)
        part = part[(slice(None), *inside)]
        for axis, (share, where) in enumerate(zip(tile.shares, inside, strict=True), 1):
            lengths = [1] * part.ndim
            lengths[axis] = -1
            part *= share[where].astype(dtype).reshape(lengths)
        rows = zip(tile.start, inside, strict=True)
        x[(slice(None), *(slice(a + where.start, a + where.stop) for a, where in rows))] += part
    return x


def _counts(shape: tuple[int, ...], overlaps: Sequence[int], most: int) -> list[int]:
    """How many tiles on each axis: the longest tiles are cut until all are small enough."""
    counts = [1] * len(shape)

    def lengths() -> list[int]:
        rows = zip(shape, counts, overlaps, strict=True)
        return [n if count == 1 else min(n, -(-n // count) + 2 * overlap) for n, count, overlap in rows]

    while math.prod(lengths()) > most:
        axis = max(range(len(shape)), key=lambda i: shape[i] / counts[i] - 2 * overlaps[i])
        if shape[axis] / counts[axis] < 4 * overlaps[axis]:
            break  # tiles would be all overlap
        counts[axis] += 1
    return counts


def _tile(observation: Observation, at: tuple[int, ...], cuts: list[list[int]], overlaps: Sequence[int]) -> Tile:
    geometry = observation.operator.geometry
    window, start, shares = [], [], []
    for i, edges, overlap, s, span in zip(at, cuts, overlaps, geometry.stride, geometry.span, strict=True):
        first, last = max(edges[i] - overlap, 0), min(edges[i + 1] + overlap, edges[-1])
        window.append(slice(first, last))
        start.append(first * s)
        t = np.arange(first * s, (last - 1) * s + span + 1)
        before = np.ones(len(t)) if i == 0 else _ramp(t, edges[i] * s + span / 2)
        after = np.zeros(len(t)) if i + 2 == len(edges) else _ramp(t, edges[i + 1] * s + span / 2)
        shares.append(before - after)
    return Tile(inner(observation, tuple(window)), tuple(start), tuple(shares))


def _ramp(t: np.ndarray, edge: float) -> np.ndarray:
    return np.clip((t - edge) / _RAMP + 0.5, 0, 1)
