"""The entries of a correlation's matrix, straight into compressed sparse rows (CSR).

With window taps w [g, o, i, *extent] the matrix of y[g, o, j] = sum_i sum_m w[g, o, i, m] x_ext[g, i, j s - p + m d] is

    row (g, o, j)    column (g, i, source(j, m))    value w[g, o, i, m], summed over the taps m that read one sample

with rows and columns counted in C order. Which columns a row holds, apart from where its channels start, depends on j
alone: so the pattern is found once an output pixel and written for all channels at once, block of outputs by block.
Along each axis a window's sources increase with m, but where the boundary folds or wraps them: only those outputs are
sorted, and only there can two taps meet.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from convtool.geometry import Geometry

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_BLOCK = 1 << 17  # entries written at a time: their temporaries stay small beside the matrix, and in the cache
_COUNTING = 13  # bytes an output, while the entries of rows are counted
_TABLE = 28  # bytes an output and tap of one axis, meanwhile
_ENTRY = 80  # bytes an entry of a block
_LARGEST = np.iinfo(np.int32).max


def csr(taps: np.ndarray, groups: int, windows: Geometry) -> csr_matrix:
    """The float64 matrix [groups o prod(outputs), groups i prod(grid)]: sorted indices, no duplicates, no stored zeros.

    `taps` are [g, o, i, *extent] with g = groups, or g = 1 for one kernel shared by all groups.
    """
    from scipy.sparse import csr_matrix

    reads = _Reads.of(taps, windows)
    _, o, i = taps.shape[:3]
    outputs = math.prod(windows.outputs)
    shape = (groups * o * outputs, groups * i * reads.samples)
    pointers = _pointers(reads.counts(), i, groups * o, shape[1])
    start, index = pointers[: outputs + 1], pointers.dtype
    held = int(start[-1])
    data, indices = np.empty((groups, o, held)), np.empty((groups, o, held), index)
    first = (np.arange(groups) * i * reads.samples).reshape(-1, 1, 1).astype(index)
    used = taps[(slice(None), slice(None), slice(None), *reads.places.T)].reshape(*taps.shape[:2], -1)
    for rows in _blocks(outputs, groups * o * i * len(reads.places)):
        block = (..., slice(start[rows[0]], start[rows[-1] + 1]))
        columns, values = reads.entries(rows, used, i)
        np.add(columns.astype(index), first, out=indices[block])
        data[block] = values
    matrix = csr_matrix((data.reshape(-1), indices.reshape(-1), pointers), shape=shape)
    matrix.has_canonical_format = True  # else SciPy would look through all of it to find out
    matrix.eliminate_zeros()
    return matrix


def _pointers(counts: np.ndarray, channels: int, times: int, columns: int) -> np.ndarray:
    """Where each row starts, and the end: rows of channels counts[j] entries, all of them so many times in a row.

    In one array, since rows of few entries are no larger than what would be made on the way.
    """
    each = channels * int(counts.sum(dtype=np.int64))
    pointers = np.zeros(times * len(counts) + 1, index_dtype(times * each, columns))
    start = pointers[: len(counts) + 1]
    np.cumsum(counts, dtype=pointers.dtype, out=start[1:])
    start[1:] *= channels
    for k in range(1, times):
        np.add(start[1:], k * each, out=pointers[k * len(counts) + 1 : (k + 1) * len(counts) + 1])
    return pointers


def passing_bytes(taps: np.ndarray, groups: int, windows: Geometry) -> int:
    """Bytes that `csr` takes beside the matrix while it builds, at most.

    They are what each axis's share of the sources takes, and the larger of two: what counting takes, beyond the entries
    that come after it; or a block of entries, with what is copied where half of them turn out to be zero.
    """
    stored, is_used = bound(taps, groups, windows), (taps != 0).any(axis=(0, 1, 2))
    index = index_dtype(len(windows.grid) * math.prod(windows.grid), 0).itemsize
    shares = index * sum(windows.outputs) * int(np.count_nonzero(is_used))
    tables = sum(count * n for count, n in zip(windows.outputs, windows.extent, strict=True))
    counting = _COUNTING * math.prod(windows.outputs) + _TABLE * tables - 12 * stored
    has_zeros = bool(((taps == 0) & is_used).any())
    return shares + max(counting, _ENTRY * max(min(_BLOCK, stored), taps[0].size * groups) + 4 * stored * has_zeros)


def bound(taps: np.ndarray, groups: int, windows: Geometry) -> int:
    """How many entries `csr` stores, at most; exact where no tap is zero for some channels only and no two taps meet.

    Each tap that is not zero for all channels counts the outputs for which it reads inside the frame.
    """
    _, o, i = taps.shape[:3]
    places = np.argwhere((taps != 0).any(axis=(0, 1, 2)))
    inside = [counts[place] for counts, place in zip(_inside(windows), places.T, strict=True)]
    read = sum(np.prod(inside, axis=0).tolist())  # Python's integers, which do not overflow
    reachable = math.prod(min(n, k) for n, k in zip(windows.grid, windows.extent, strict=True))
    return groups * o * i * min(read, math.prod(windows.outputs) * reachable)


def index_dtype(entries: int, columns: int) -> np.dtype:
    """The dtype of the indices of a matrix with so many entries and columns."""
    return np.dtype(np.int32 if max(entries, columns) <= _LARGEST else np.int64)


def _inside(windows: Geometry) -> list[np.ndarray]:
    """For each axis, [taps]: for how many outputs a tap reads inside the frame."""
    found = []
    settings = (windows.padding, windows.stride, windows.dilation)
    for n, taps, count, (p, _), s, d in zip(windows.grid, windows.extent, windows.outputs, *settings, strict=True):
        if windows.boundary != "zero":
            found.append(np.full(taps, count))
            continue
        at = np.arange(taps) * d - p  # read by output 0; output j reads j s further on
        found.append((((n - 1 - at) // s).clip(-1, count - 1) - (-(at // s)).clip(0, count) + 1).clip(0))
    return found


def _blocks(outputs: int, entries: int) -> Iterator[np.ndarray]:
    """Ranges of outputs that hold about _BLOCK entries, at so many an output."""
    step = max(1, _BLOCK // max(entries, 1))
    return (np.arange(first, min(first + step, outputs)) for first in range(0, outputs, step))


@dataclass(frozen=True, eq=False)
class _Reads:
    """Which sample of the frame each tap reads for each output, for one pair of channels.

    places [t, axes]: the taps that are not zero for all channels
    parts: for each axis, [outputs, t]: its share of the sample's flat index, so low outside that the sum is negative
    is_ordered: for each axis, [outputs]: whether the sources increase with the tap
    """

    windows: Geometry
    places: np.ndarray
    parts: list[np.ndarray]
    is_ordered: list[np.ndarray]

    @classmethod
    def of(cls, taps: np.ndarray, windows: Geometry) -> _Reads:
        places = np.argwhere((taps != 0).any(axis=(0, 1, 2)))
        samples = math.prod(windows.grid)
        dtype = index_dtype(len(windows.grid) * samples, 0)  # outside on every axis
        parts: list[np.ndarray] = []
        is_ordered: list[np.ndarray] = []
        for axis, source in enumerate(windows.sources()):
            part = (source * math.prod(windows.grid[axis + 1 :])).astype(dtype)
            part[source < 0] = -samples
            parts.append(part[:, places[:, axis]])
            in_order = np.logical_or(windows.boundary == "zero", np.diff(source, axis=1) > 0)
            is_ordered.append(np.all(in_order, axis=1))
        return cls(windows, places, parts, is_ordered)

    @property
    def samples(self) -> int:
        return math.prod(self.windows.grid)

    def counts(self) -> np.ndarray:
        """[outputs]: how many different samples each output reads."""
        dtype = index_dtype(len(self.places), 0)
        if self.windows.boundary == "zero":
            return self._inside_counts().astype(dtype)
        if len(self.places) == math.prod(self.windows.extent):  # all taps: what an output reads is a box
            each = [1 + (np.diff(np.sort(source, axis=1), axis=1) > 0).sum(axis=1) for source in self.windows.sources()]
            return functools.reduce(np.multiply.outer, [n.astype(dtype) for n in each]).ravel()
        counts = np.full(math.prod(self.windows.outputs), len(self.places), dtype)
        folded = np.zeros(self.windows.outputs, bool)
        for axis, is_ordered in enumerate(self.is_ordered):
            folded |= ~is_ordered.reshape([-1 if axis == other else 1 for other in range(folded.ndim)])
        rows = np.flatnonzero(folded)
        for block in _blocks(len(rows), len(self.places)):
            columns = np.sort(self._columns(rows[block]), axis=1)
            counts[rows[block]] -= _is_repeated(columns).sum(axis=1)
        return counts

    def _inside_counts(self) -> np.ndarray:
        exact = np.float32 if len(self.places) < 1 << 24 else np.float64
        counts = np.zeros(self.windows.extent, exact)
        counts[tuple(self.places.T)] = 1
        for source in self.windows.sources():  # each turn consumes the first axis and appends its outputs
            counts = np.tensordot(counts, (source >= 0).astype(exact), axes=(0, 1))
        return counts.ravel()

    def entries(self, rows: np.ndarray, used: np.ndarray, channels: int) -> tuple[np.ndarray, np.ndarray]:
        """Columns [n] and values [g, o, n] of some outputs' rows, from the used taps [g, o, i t], for i channels."""
        columns, order = self._sorted(rows)
        channel = np.arange(channels)[:, None]
        samples = columns[:, None] + (channel * self.samples).astype(np.int64)
        taps = order[:, None] + channel * len(self.places)
        is_read = columns >= 0
        is_first = is_read & ~_is_repeated(columns)
        if is_first.all():  # most outputs are far from any border
            return samples.reshape(-1), used[..., taps.reshape(-1)]
        read, first = (np.broadcast_to(mask[:, None], taps.shape) for mask in (is_read, is_first))
        values = used[..., taps[read]]
        if not np.array_equal(is_first, is_read):
            values = np.add.reduceat(values, np.flatnonzero(first[read]), axis=-1)
        return samples[first], values

    def _columns(self, rows: np.ndarray) -> np.ndarray:
        """[rows, t]: the samples that the taps read for some outputs, as flat indices; negative for an outside zero."""
        first, *rest = (
            part[at] for part, at in zip(self.parts, np.unravel_index(rows, self.windows.outputs), strict=True)
        )
        for part in rest:
            first += part
        return first

    def _sorted(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """[rows, t]: the samples that some outputs read, in ascending order, and the taps that read them."""
        columns = self._columns(rows)
        order = np.broadcast_to(np.arange(len(self.places)), columns.shape)
        outputs = np.unravel_index(rows, self.windows.outputs)
        folded = ~np.logical_and.reduce([known[at] for known, at in zip(self.is_ordered, outputs, strict=True)])
        if folded.any():
            bits = len(self.places).bit_length()  # sorting sample and tap as one number is faster than argsort
            pairs = np.sort((columns[folded].astype(np.int64) << bits) | order[folded], axis=1)
            order = order.copy()
            order[folded], columns[folded] = pairs & ((1 << bits) - 1), pairs >> bits
        return columns, order


def _is_repeated(columns: np.ndarray) -> np.ndarray:
    """Which entries of sorted rows read the sample that the one before them does."""
    found = np.zeros(columns.shape, bool)
    np.equal(columns[:, 1:], columns[:, :-1], out=found[:, 1:])
    return found & (columns >= 0)
