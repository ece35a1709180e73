"""Filters of real signals on a periodic grid, in three passes over memory.

    y = F^-1( R F x ),     R: the response, one number a frequency of the half spectrum

Of a grid [n_0, *rest], a row is what lies along `rest`, a column what lies along the first axis:

    rows      half spectra of blocks of rows
    columns   of a block of columns: their spectra, times the response, and back
    rows      blocks of rows from their half spectra

A block stays in a core's cache while everything is done to it, and blocks run on the threads of the process. Of memory
that takes one spectrum of the signal. The response is made a block of columns at a time, so that none need be kept: a
kernel is few rows, and their half spectra give any of its columns (`KernelSpectrum`).

The spectrum of a column is the same whatever block it is in, so that neither threads nor blocks change a bit.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from convtool import fft, process, scratch
from convtool.geometry import Geometry

_BLOCK = 1 << 19  # bytes of a block: it and its response fit a core's cache
_KEPT = 1 << 23  # bytes of a spectrum whose memory waits for the next one: bringing it costs a tenth of the work
_NARROWEST = 8  # columns of single precision that share a line of the cache

# The columns [n_0, count] of a response; they are not written to.
Response = Callable[[slice], np.ndarray]


@dataclass(frozen=True)
class Source:
    """A signal: `read` gives some of its `count` rows, no larger than the grid's; beyond lie zeros."""

    count: int
    read: Callable[[slice], np.ndarray]


@dataclass(frozen=True)
class Target:
    """Where a result goes: `write` takes every `step`-th row from the first on, `count` in all, by their place among
    them."""

    count: int
    write: Callable[[slice, np.ndarray], None]
    step: int = 1


def filtered(source: Source, response: Response, target: Target, grid: tuple[int, ...], dtype: np.dtype) -> None:
    """Write F^-1 R F x to the target."""
    last = (target.count - 1) * target.step + 1
    X = entered(source, grid, dtype, max(source.count, last))

    def turn(columns: slice) -> None:
        Y = scratch.array("columns", (grid[0], columns.stop - columns.start), X.dtype)
        Y[: source.count] = X[: source.count, columns]
        Y[source.count :] = 0
        Y = fft.scipy_fft().fft(Y, axis=0, overwrite_x=True)
        Y *= response(columns)
        X[:, columns] = fft.scipy_fft().ifft(Y, axis=0, overwrite_x=True)[: len(X)]

    process.each(turn, column_blocks(grid, dtype))
    left(X, target, grid)


def apply(response: Response, x: np.ndarray, out: np.ndarray) -> None:
    """out = F^-1 R F x for one plane [*grid]."""

    def write(rows: slice, found: np.ndarray) -> None:
        out[rows] = found

    filtered(Source(len(x), x.__getitem__), response, Target(len(x), write), x.shape, x.dtype)


def entered(source: Source, grid: tuple[int, ...], dtype: np.dtype, count: int) -> np.ndarray:
    """Half spectra of the source's rows, [count, columns], until the thread's next call; further ones hold anything."""
    axes = tuple(range(1, len(grid)))
    shape, kind = (count, columns_of(grid)), np.result_type(dtype, np.complex64)
    is_kept = math.prod(shape) * kind.itemsize <= _KEPT
    X = scratch.array("spectrum", shape, kind) if is_kept else np.empty(shape, kind)

    def enter(rows: slice) -> None:
        X[rows] = fft.scipy_fft().rfftn(source.read(rows), s=grid[1:], axes=axes).reshape(-1, X.shape[1])

    process.each(enter, _row_blocks(source.count, X))
    return X


def left(X: np.ndarray, target: Target, grid: tuple[int, ...]) -> None:
    """Write rows to the target from their half spectra [count, columns], which may be overwritten."""
    axes = tuple(range(1, len(grid)))

    def leave(rows: slice) -> None:
        chosen = X[rows.start * target.step : (rows.stop - 1) * target.step + 1 : target.step]
        spectra = chosen.reshape(-1, *fft.half(grid[1:]))
        target.write(rows, fft.scipy_fft().irfftn(spectra, s=grid[1:], axes=axes, overwrite_x=True))

    process.each(leave, _row_blocks(target.count, X))


class KernelSpectrum:
    """F w, the half spectrum of window taps [*extent] on a grid, by columns; see `spectral.laid` for where they lie."""

    def __init__(
        self, taps: np.ndarray, geometry: Geometry, grid: tuple[int, ...], dtype: np.dtype, is_padded: bool = False
    ) -> None:
        first, *others = places(geometry, grid, is_padded)
        self.grid, self.dtype = grid, np.dtype(dtype)
        self._rows, of_row = np.unique(first, return_inverse=True)
        lines = np.zeros((len(self._rows), *grid[1:]), dtype)
        np.add.at(lines, np.ix_(of_row, *others), taps.astype(dtype))
        axes = tuple(range(1, len(grid)))
        self._lines = fft.scipy_fft().rfftn(lines, axes=axes).reshape(len(lines), -1)

    def columns(self, columns: slice) -> np.ndarray:
        """[n_0, count] of F w, in memory that is the thread's."""
        lines = self._lines[:, columns]
        out = scratch.array("response", (self.grid[0], lines.shape[1]), lines.dtype)
        out[...] = 0
        out[self._rows] = lines
        return fft.scipy_fft().fft(out, axis=0, overwrite_x=True)

    def scaled(self, factor: float) -> KernelSpectrum:
        """That of the taps times a factor."""
        other = copy.copy(self)
        other._lines = self._lines * self.dtype.type(factor)
        return other

    def conjugate(self, columns: slice) -> np.ndarray:
        """[n_0, count] of H = conj(F w), the response of the correlation."""
        out = self.columns(columns)
        return np.conjugate(out, out=out)

    @functools.cached_property
    def whole(self) -> np.ndarray:
        """F w [n_0, columns], kept."""
        out = np.empty((self.grid[0], self._lines.shape[1]), self._lines.dtype)

        def fill(columns: slice) -> None:
            out[:, columns] = self.columns(columns)

        process.each(fill, column_blocks(self.grid, self.dtype))
        return out


def places(geometry: Geometry, grid: Sequence[int], is_padded: bool = False) -> list[np.ndarray]:
    """Where the taps lie on each axis of a periodic grid; see `spectral.laid`."""
    first = [0 if is_padded else p for p, _ in geometry.padding]
    rows = zip(geometry.extent, geometry.dilation, first, grid, strict=True)
    return [(np.arange(count) * d - p) % n for count, d, p, n in rows]


def columns_of(grid: Sequence[int]) -> int:
    """How many columns the half spectrum of a grid has."""
    return math.prod(fft.half(grid)[1:])


def column_blocks(grid: Sequence[int], dtype: np.dtype) -> list[slice]:
    """Blocks of columns, alike in size."""
    item = 2 * np.dtype(dtype).itemsize
    return _blocks(columns_of(grid), max(_BLOCK // (grid[0] * item), _NARROWEST))


def _row_blocks(count: int, X: np.ndarray) -> list[slice]:
    return _blocks(count, max(_BLOCK // (X.shape[1] * X.itemsize), 1))


def _blocks(count: int, most: int) -> list[slice]:
    return [slice(first, min(first + most, count)) for first in range(0, count, most)]
