"""Groups of similar patches, and denoising of an image by making each group low-rank.

Around every `step`-th pixel, the `count` patches of `size` x `size` pixels (all channels together) that are most like
the one there are the rows of a matrix G [count, D], D = channels size^2. Without their mean they are nearly of low
rank, and of white noise of level sigma the eigenvalues of G G^T end at about sigma^2 (sqrt(D) + sqrt(count))^2 = e.
So each group becomes

    F G + mean,    F = s(...s(W)...),    W = A (I + A)^-1,    A = G G^T / (threshold e),    s(t) = 3 t^2 - 2 t^3

which keeps eigenvalues far above the threshold and drops those far below; how sharply says the number of smoothsteps s.
Half of an eigenvalue threshold e is kept. That takes one inverse and a few products of count x count
matrices, where an eigendecomposition would take five times as long; the inverse is well conditioned in single
precision, and the polynomials keep F symmetric. The mean is removed from G before; F loses nothing by it.

Every pixel then is the average of all the patches' values there, weighted by 1 / (1 + trace F), that is, in favour of
groups of few components, and by a window that falls towards a patch's edge.

Patches are found in a pilot image and can be used for several images near it. All work goes tile by tile of groups, on
as many threads as `process.workers` says, and is summed in one order, so that results repeat themselves. Distances of
patches are ||a||^2 + ||b||^2 - 2 a.b, the last a matrix product; of several channels the mean is compared.

References: Dong, Shi, Li 2013 (doi:10.1109/TIP.2012.2221729); Zhang, Zhao, Gao 2014 (doi:10.1109/TIP.2014.2323127).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csc_array

from convtool import boundary, process

_TILE = (16, 32)  # groups: their patches stay in the cache of a core
_PRODUCT = 1 << 18  # multiplications of a product, above which BLAS would start threads of its own in each of ours
_BLOCK = 5  # rows of a matrix below twice of which it is inverted as it is
_CONDITION = np.float32(3e4)  # of the matrices that single precision is to invert
_TAPER = 2.0  # of the Kaiser window on a patch


@dataclass(frozen=True)
class Layout:
    """How patches are grouped.

    size: pixels along a patch's side; count: patches in a group; step: pixels from one group to the next;
    reach: how far from it, in pixels along each axis, a group's patches are looked for
    """

    size: int = 5
    count: int = 24
    step: int = 3
    reach: int = 12


@dataclass(frozen=True)
class Shrinkage:
    """Which eigenvalues of a group are kept: those above threshold e, the more sharply the more smoothsteps."""

    threshold: float = 2.1
    smoothsteps: int = 2


class _Tile(NamedTuple):
    """Rows and columns of the extended image that a tile of groups reads, and the patches of its groups, by their
    place in the table of all patches there."""

    rows: slice
    columns: slice
    members: np.ndarray


class PatchGroups:
    """The groups found in a pilot image; see `find`."""

    def __init__(self, tiles: list[_Tile], size: tuple[int, int], margins: boundary.Margins, mode: str) -> None:
        self._tiles, self._size, self._margins, self._mode = tiles, size, margins, mode

    def denoise(self, x: np.ndarray, sigma: float, shrinkage: Shrinkage) -> np.ndarray:
        """x [c, Y, X] without white noise of standard deviation sigma."""
        mean = x.mean(axis=(1, 2), keepdims=True, dtype=np.float64).astype(x.dtype)
        extended = boundary.extend((x - mean).astype(np.float32), self._margins, self._mode)
        total, weight = np.zeros_like(extended), np.zeros((1, *extended.shape[1:]), np.float32)

        def work(tile: _Tile) -> tuple[np.ndarray, np.ndarray]:
            return _denoised(extended[:, tile.rows, tile.columns], tile.members, self._size, sigma, shrinkage)

        for tile, (values, weights) in zip(self._tiles, _mapped(work, self._tiles), strict=True):
            total[:, tile.rows, tile.columns] += values
            weight[:, tile.rows, tile.columns] += weights
        total = boundary.fold(total, self._margins, self._mode)
        total /= boundary.fold(weight, self._margins, self._mode)
        return total.astype(x.dtype) + mean


def find(pilot: np.ndarray, layout: Layout, mode: str, offset: tuple[int, int] = (0, 0)) -> PatchGroups:
    """The groups of similar patches in a pilot [c, Y, X].

    Parameters
    ----------
    mode: how the image goes on outside its frame, of `boundary.MODES`
    offset: by how many pixels, fewer than a step, the grid of groups is shifted
    """
    grid = pilot.shape[1:]
    size = _pair(min(layout.size, n) for n in grid)
    reach = _pair(min(layout.reach, (n - 1) // 2) for n in grid)
    step = _pair(min(layout.step, p) for p in size)
    margins = [(r + s, r + p) for r, s, p in zip(reach, step, size, strict=True)]
    grey = pilot.mean(axis=0, dtype=np.float64)
    extended = boundary.extend((grey - grey.mean()).astype(np.float32), margins, mode)
    places = [
        np.arange(-(o % s), n, s) + before for o, s, n, (before, _) in zip(offset, step, grid, margins, strict=True)
    ]

    def work(corner: tuple[int, int]) -> _Tile:
        rows, columns = (p[start : start + n] for p, start, n in zip(places, corner, _TILE, strict=True))
        return _tile(extended, rows, columns, size, reach, layout.count)

    corners = [(i, j) for i in range(0, len(places[0]), _TILE[0]) for j in range(0, len(places[1]), _TILE[1])]
    return PatchGroups(list(_mapped(work, corners)), size, margins, mode)


def _pair(values: Iterator[int]) -> tuple[int, int]:
    first, second = values
    return first, second


def _mapped(work: Callable[[Any], Any], items: list[Any]) -> Iterator[Any]:
    """What the work makes of each item, in order."""
    workers = process.workers()
    if workers < 2:  # a thread to hand each item to would only take turns with this one, and with those of other images
        yield from map(work, items)
        return
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(work, items)


def _tile(
    x: np.ndarray, rows: np.ndarray, columns: np.ndarray, size: tuple[int, int], reach: tuple[int, int], count: int
) -> _Tile:
    """The groups at these rows and columns of an image [Y, X]."""
    top, left = int(rows[0]) - reach[0], int(columns[0]) - reach[1]
    box = (
        slice(top, int(rows[-1]) + reach[0] + size[0]),
        slice(left, int(columns[-1]) + reach[1] + size[1]),
    )
    width = box[1].stop - left - size[1] + 1
    table = _patches(x[None, *box], size)
    table = table.reshape(-1, width, table.shape[-1])
    squares = np.einsum("ijd,ijd->ij", table, table)
    parts = np.array_split(columns - left, -(-len(columns) * width * table.shape[-1] // _PRODUCT))
    members = [
        _nearest(table, squares, int(row) - top, part, reach, count) for row in rows for part in parts if len(part)
    ]
    places = np.min_scalar_type(len(squares) * width)  # 16 bits as a rule: the members are most of what is kept
    return _Tile(*box, np.concatenate(members).astype(places))


def _nearest(
    table: np.ndarray, squares: np.ndarray, row: int, columns: np.ndarray, reach: tuple[int, int], count: int
) -> np.ndarray:
    """The patches most like each of a row of patches, [groups, count], by their place in the table [Y, X, pixels]."""
    high, wide = (2 * r + 1 for r in reach)
    first = int(columns[0]) - reach[1]
    area = (slice(row - reach[0], row + reach[0] + 1), slice(first, int(columns[-1]) + reach[1] + 1))
    distances = table[row, columns] @ table[area].transpose(0, 2, 1)  # [high, groups, columns of the area]
    distances *= -2
    distances += squares[area][:, None]
    windows = np.lib.stride_tricks.sliding_window_view(distances, wide, axis=2)
    inside = windows[:, np.arange(len(columns)), columns - reach[1] - first]
    inside = inside.transpose(1, 0, 2).reshape(len(columns), high * wide)
    inside[:, reach[0] * wide + reach[1]] = -np.inf  # the patch itself, whatever rounding made of its distance
    chosen = np.argpartition(inside, min(count, high * wide) - 1, axis=1)[:, :count]
    begin = (row - reach[0]) * table.shape[1] + columns[:, None] - reach[1]
    return begin + chosen // wide * table.shape[1] + chosen % wide


def _patches(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """All patches of x [c, Y, X], [places, c * pixels]."""
    views = np.lib.stride_tricks.sliding_window_view(x, size, axis=(1, 2))
    return np.ascontiguousarray(views.transpose(1, 2, 0, 3, 4)).reshape(-1, len(x) * size[0] * size[1])


def _denoised(
    x: np.ndarray, members: np.ndarray, size: tuple[int, int], sigma: float, shrinkage: Shrinkage
) -> tuple[np.ndarray, np.ndarray]:
    """The weighted sum [c, Y, X] of a tile's patches, each where it came from, and of the weights [Y, X]."""
    table = _patches(x, size)
    groups = table[members]
    means = (
        np.full((1, members.shape[1]), 1 / members.shape[1], np.float32) @ groups
    )  # several times as fast as .mean()
    groups -= means
    filters, weights = _filters(groups, sigma, shrinkage)
    groups = filters @ groups
    groups += means
    sums = _gathered(groups, members, weights, len(table))
    return _overlapped(sums, x.shape, size)


def _filters(groups: np.ndarray, sigma: float, shrinkage: Shrinkage) -> tuple[np.ndarray, np.ndarray]:
    """F [groups, count, count] of groups [groups, count, D] without their means, and the groups' weights."""
    count = groups.shape[1]
    a = groups @ groups.transpose(0, 2, 1)
    diagonal = np.arange(count)
    total = np.trace(a, axis1=1, axis2=2)[:, None, None]
    edge = (sigma * (count**0.5 + groups.shape[2] ** 0.5)) ** 2
    a /= np.maximum(shrinkage.threshold * edge, total / _CONDITION, dtype=np.float32)
    a[:, diagonal, diagonal] += 1
    f = _inverses(a)
    np.negative(f, out=f)
    f[:, diagonal, diagonal] += 1
    for _ in range(shrinkage.smoothsteps):
        square = f @ f
        f *= -2
        f[:, diagonal, diagonal] += 3
        f = square @ f
    return f, 1 / (1 + np.trace(f, axis1=1, axis2=2))


def _inverses(a: np.ndarray) -> np.ndarray:
    """Of symmetric positive definite matrices [n, k, k], by blocks: for k = 24 in half of LAPACK's time.

    With a = [[P, Q], [Q^T, S]], R = P^-1 Q and C = (S - Q^T R)^-1 it is [[P^-1 + R C R^T, -R C], [-C R^T, C]].
    """
    k = a.shape[1] // 2
    if k < _BLOCK:
        return np.linalg.inv(a)
    out = np.empty_like(a)
    p = _inverses(a[:, :k, :k])
    r = p @ a[:, :k, k:]
    c = out[:, k:, k:] = _inverses(a[:, k:, k:] - a[:, k:, :k] @ r)
    rc = r @ c
    np.add(p, rc @ r.transpose(0, 2, 1), out=out[:, :k, :k])
    np.negative(rc, out=out[:, :k, k:])
    out[:, k:, :k] = out[:, :k, k:].transpose(0, 2, 1)
    return out


@functools.lru_cache(8)
def _window(size: tuple[int, int]) -> np.ndarray:
    """The weights of a patch's pixels."""
    return np.outer(np.kaiser(size[0], _TAPER), np.kaiser(size[1], _TAPER)).astype(np.float32)


def _gathered(groups: np.ndarray, members: np.ndarray, weights: np.ndarray, places: int) -> np.ndarray:
    """The weighted sums of the patches at each place, [places, D], and of the weights in one more column."""
    count = members.size
    each = np.repeat(weights, members.shape[1])
    rows = members.ravel().astype(np.int32)
    spread = csc_array((each, rows, np.arange(count + 1, dtype=np.int32)), shape=(places, count))
    return np.concatenate([spread @ groups.reshape(count, -1), (spread @ np.ones((count, 1), np.float32))], axis=1)


def _overlapped(sums: np.ndarray, shape: tuple[int, ...], size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The adjoint of `_patches`, with the window on each patch, and the same of the weights."""
    c, rows, columns = shape
    high, wide = rows - size[0] + 1, columns - size[1] + 1
    values = sums[:, :-1].reshape(high, wide, c, *size).transpose(2, 0, 1, 3, 4)
    each = sums[:, -1].reshape(high, wide)
    window = _window(size)
    total, weight = np.zeros(shape, np.float32), np.zeros((rows, columns), np.float32)
    for i, j in np.ndindex(*size):
        place = (slice(i, i + high), slice(j, j + wide))
        total[:, *place] += window[i, j] * values[..., i, j]
        weight[place] += window[i, j] * each
    return total, weight
