"""A sum over taps as products of matrices, which BLAS computes faster than anything NumPy has for a sum.

    y[o, j] = sum over taps of w[o, i] e[i, j + q]               e: rows of samples, each row all channels in turn

*Stacked.* Taps on n successive rows, at one place q on the other axes, read n rows of e that follow each other in
memory: rows of one matrix, whatever the number of channels. R rows of outputs together read R + n - 1 rows, by the
matrix [R o, (R + n - 1) i] that has the taps on its diagonals. A product for each place q; their sum is y.

*Gathered.* On a kernel longer along the last axis, R samples of a row together read R + reach samples in a row, which
are copied to be the row of a matrix; the taps are on the diagonals of a matrix [R + reach, R].

Zeros beside the taps change no sum, so that each output is the sum of its products in some order, fixed for a shape.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from convtool import scratch

_ROWS = 4  # of outputs together, all channels: fewer keep no product busy, more add zeros
_UNPACKED = 976_000  # multiply-adds of a product that OpenBLAS computes without a copy of its factors first
_FEWEST = 128  # columns
_PASS, _GATHER = 10, 30  # of adding a sample to a sum, and of copying one, in multiply-adds
_LONG = 24  # reach from which on more samples together pay


class Stack(NamedTuple):
    """Taps on successive rows of a phase, from `first` on, at one place on the other axes."""

    phase: int
    first: int
    place: tuple[int, ...]
    matrices: np.ndarray

    def matrix(self, rows: int) -> np.ndarray:
        """[rows o, (rows + n - 1) i] for so many rows of outputs."""
        n, o, i = self.matrices.shape
        out = np.zeros((rows, o, rows + n - 1, i), self.matrices.dtype)
        for row in range(rows):
            out[row, :, row : row + n] = self.matrices.swapaxes(0, 1)
        return out.reshape(rows * o, -1)


@dataclass(frozen=True, eq=False)
class Plan:
    """How to sum up taps, of which there is one at least.

    phases: what each tap reads; places: q of each, [tap, axis]; matrices: what each does, [tap, o, i]; reach: the
    farthest place on each axis, of all
    """

    phases: np.ndarray
    places: np.ndarray
    matrices: np.ndarray
    reach: tuple[int, ...]

    @functools.cached_property
    def channels(self) -> tuple[int, int]:
        """(o, i)."""
        _, o, i = self.matrices.shape
        return o, i

    @functools.cached_property
    def stacks(self) -> list[Stack]:
        """All taps; those of one axis alone lie on one row."""
        rows = self.places[:, 0] if len(self.reach) > 1 else np.zeros(len(self.places), int)
        rest = self.places[:, 1:] if len(self.reach) > 1 else self.places
        order = np.lexsort((rows, *rest.T[::-1], self.phases))
        where = np.column_stack([self.phases, rest])[order]
        follows = (np.diff(where, axis=0) == 0).all(axis=1) & (np.diff(rows[order]) == 1)
        starts = [0, *(np.flatnonzero(~follows) + 1).tolist()]
        ends = [*starts[1:], len(order)]
        phases, firsts, matrices = self.phases[order].tolist(), rows[order].tolist(), self.matrices[order]
        return [
            Stack(phases[start], firsts[start], tuple(where[start, 1:].tolist()), matrices[start:end])
            for start, end in zip(starts, ends, strict=True)
        ]

    @functools.cached_property
    def main(self) -> list[np.ndarray]:
        """The stacks' matrices for as many rows as go together."""
        return [stack.matrix(self._together(stack)) for stack in self.stacks]

    def _together(self, stack: Stack) -> int:
        return max(1, _ROWS // self.channels[0]) if len(stack.matrices) > 1 else 1

    @functools.cached_property
    def lines(self) -> dict[int, dict[int, np.ndarray]]:
        """For each phase and row: the matrix [R + reach, R] of the taps along the last axis."""
        samples, reach = _samples(self.reach[-1]), self.reach[-1]
        rows = self.places[:, 0] if len(self.reach) > 1 else np.zeros(len(self.places), int)
        along = np.arange(samples)
        found: dict[int, dict[int, np.ndarray]] = {}
        taps = zip(self.phases.tolist(), rows.tolist(), self.places[:, -1], self.matrices, strict=True)
        for phase, row, place, matrix in taps:
            empty = np.zeros((samples + reach, samples), matrix.dtype)
            line = found.setdefault(phase, {}).setdefault(row, empty)
            line[along + place, along] = matrix[0, 0]
        return found

    @functools.cached_property
    def is_gathered(self) -> bool:
        """Which way takes less work."""
        if len(self.reach) > 2 or self.channels != (1, 1):
            return False
        lines = {*zip(self.phases.tolist(), *self.places[:, :-1].T.tolist(), strict=True)}
        gathered = gathered_work(len({phase for phase, *_ in lines}), len(lines), self.reach[-1])
        return gathered < stacked_work(len(self.places), len(self.stacks), self.channels)

    def columns(self, count: int) -> int:
        """How many columns a product has: about equal parts of all."""
        most = max(_UNPACKED // max(matrix.size for matrix in self.main), _FEWEST)
        return -(-count // -(-count // most))

    def compute(self, signals: np.ndarray, target: np.ndarray) -> None:
        """target [row, o, *outputs] from signals [phase, row, i, *inner], contiguous, of rows that reach farther."""
        if self.is_gathered:
            self._gathered(signals[:, :, 0], target[:, 0])
        else:
            self._stacked(signals, target)

    def _stacked(self, signals: np.ndarray, target: np.ndarray) -> None:
        (rows, o, *outputs), inner = target.shape, signals.shape[3:]
        count = int(np.ravel_multi_index([n - 1 for n in outputs], inner)) + 1
        wide = target
        if len(inner) > 1:
            wide = scratch.array("wide", (rows, o, int(np.prod(inner))), signals.dtype)
        columns = self.columns(count)
        for begin in range(0, count, columns):
            into = wide[:, :, begin : min(begin + columns, count)]
            sums, product = (scratch.array(name, into.shape, signals.dtype) for name in ("sums", "product"))
            for number, stack in enumerate(self.stacks):
                self._multiply(number, signals, begin, product if number else sums)
                if number:
                    np.add(sums, product, out=into if stack is self.stacks[-1] else sums)
            if len(self.stacks) == 1:
                into[...] = sums
        if len(inner) > 1:
            target[...] = wide.reshape(rows, o, *inner)[:, :, *(slice(n) for n in outputs)]

    def _multiply(self, number: int, signals: np.ndarray, begin: int, out: np.ndarray) -> None:
        """out [row, o, column] = what a stack adds to the columns from `begin` on."""
        stack, (rows, o, columns) = self.stacks[number], out.shape
        _, _, i, *inner = signals.shape
        width, item = int(np.prod(inner)), signals.itemsize
        together = self._together(stack)
        flat = signals[stack.phase].reshape(-1)
        start = stack.first * i * width + int(np.ravel_multi_index(stack.place, inner)) + begin
        whole = rows - rows % together
        for first, last, count in ((0, whole, together), (whole, rows, rows - whole)):
            if first < last:
                matrix = self.main[number] if count == together else stack.matrix(count)
                sizes = ((last - first) // count, matrix.shape[1], columns)
                steps = (count * i * width * item, width * item, item)
                read = as_strided(flat[start + first * i * width :], sizes, steps)
                np.matmul(matrix, read, out=out[first:last].reshape(sizes[0], count * o, columns))

    def _gathered(self, signals: np.ndarray, target: np.ndarray) -> None:
        """target [row, column] from signals [phase, row, sample]."""
        rows, count = target.shape
        samples, reach = _samples(self.reach[-1]), self.reach[-1]
        parts = -(-count // samples)
        sums, product = (scratch.array(n, (rows * parts, samples), signals.dtype) for n in ("sums", "product"))
        is_first = True
        for phase, lines in self.lines.items():
            read = _cut(signals[phase], parts, samples, reach)
            for row, line in lines.items():
                part = read[row : row + rows].reshape(rows * parts, samples + reach)
                np.matmul(part, line, out=sums if is_first else product)
                if not is_first:
                    np.add(sums, product, out=sums)
                is_first = False
        target[...] = sums.reshape(rows, parts * samples)[:, :count]


def _samples(reach: int) -> int:
    """How many samples of a row go together."""
    return 16 if reach < _LONG else 32


def _cut(rows: np.ndarray, parts: int, samples: int, reach: int) -> np.ndarray:
    """[row, part, samples + reach] of rows [row, sample]; beyond a row's end there are zeros."""
    out = scratch.array("gathered", (len(rows), parts, samples + reach), rows.dtype)
    step, item = rows.strides
    out[:, :-1] = as_strided(rows, (len(rows), parts - 1, samples + reach), (step, samples * item, item))
    rest = rows[:, (parts - 1) * samples :][:, : samples + reach]
    out[:, -1, : rest.shape[1]] = rest
    out[:, -1, rest.shape[1] :] = 0
    return out


def work(
    nonzero: np.ndarray, stride: Sequence[int], dilation: Sequence[int], o: int = 1, i: int = 1
) -> tuple[float, int]:
    """(multiply-adds a sample of all outputs together, with what copies cost; products), by which taps are not 0."""
    taps = int(np.count_nonzero(nonzero))
    while nonzero.ndim > 2 and len(nonzero) == 1:
        nonzero, stride, dilation = nonzero[0], stride[1:], dilation[1:]
    follows = stride[0] // dilation[0] if nonzero.ndim > 1 and stride[0] % dilation[0] == 0 else len(nonzero)
    stacks = taps - int(np.count_nonzero(nonzero[follows:] & nonzero[:-follows]))
    found = stacked_work(taps, stacks, (o, i))
    if o * i > 1 or nonzero.ndim > 2:
        return found, stacks
    phases = min(stride[-1], nonzero.shape[-1])
    reach = (nonzero.shape[-1] - 1) * dilation[-1] // stride[-1]
    lines = int(np.count_nonzero(nonzero.any(axis=-1))) * phases
    gathered = gathered_work(phases * min(stride[0], len(nonzero)), lines, reach)
    return (gathered, lines) if gathered < found else (found, stacks)


def stacked_work(taps: int, stacks: int, channels: tuple[int, int]) -> float:
    """Multiply-adds for each sample of all outputs together, with what copies cost in multiply-adds."""
    o, i = channels
    more = max(1, _ROWS // o) - 1 if taps > stacks else 0
    return o * i * (taps + stacks * more) + o * _PASS * stacks


def gathered_work(phases: int, lines: int, reach: int) -> float:
    """The same for the other way."""
    samples = _samples(reach)
    return _GATHER * phases * (samples + reach) / samples + lines * (samples + reach + _PASS)
