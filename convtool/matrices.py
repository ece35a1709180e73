"""Convolutions as matrices: how large they are, the dense tensor, and the singular values.

The matrix of an operator is [c_out prod(outputs), c_in prod(grid)], rows and columns in C order. Its singular values
are found on the shortest of three ways, all of them exact:

FFT. Periodic boundary, outputs times stride = grid on every axis. Write a sample as s t + r, with the phase r below the
stride s: then, with h the window's taps laid on the grid,

    y[o, j] = sum_i sum_r sum_t h[o, i, s (t - j) + r] x[i, s t + r]

correlates the i prod(s) phases of the channels, each a periodic image on the coarse grid of the outputs, so that one
matrix [o, i prod(s)] a coarse frequency is left (Vaidyanathan 1990, doi:10.1109/5.52200). Sorting samples by phases and
the unitary Fourier transform keep singular values; those of the matrices, over all frequencies, are the operator's.

Axes. Taps that are a product, w[o, i, m] = M[o, i] u1[m1] u2[m2], at any boundary, since boundaries work axis by axis:
the matrix is the Kronecker product of M and of one matrix an axis, and the singular values are all products of theirs.

Dense. The singular value decomposition of the matrix, group by group, for everything else.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import math
from dataclasses import dataclass

import numpy as np

from convtool import entries, fft, spectral
from convtool.errors import DataError, SettingError
from convtool.geometry import Geometry
from convtool.kernel import Kernel
from convtool.operators import Convolution

LONGEST = 300.0  # predicted seconds of a decomposition, above which it is refused
ZERO = 1e3 * float(np.finfo(np.float64).eps)  # of the largest: singular values at or below count as zero
_BLOCK = 1 << 20  # entries of a dense block
_ROUNDING = 1e-15  # of the largest tap: how far the taps of a product may be from it


@dataclass(frozen=True)
class Size:
    """What a matrix takes before it is built; `stored`, and with it `sparse_bytes`, is an upper bound.

    `building_bytes` come on top of `sparse_bytes` while the sparse matrix is built.
    """

    rows: int
    columns: int
    stored: int
    sparse_bytes: int
    building_bytes: int
    dense_bytes: int


def size(operator: Convolution) -> Size:
    """The size of an operator's matrix, as CSR (float64, 32-bit indices where they suffice) and dense (float64).

    Example
    -------
    >>> import numpy as np
    >>> from convtool import kernel, matrices, operators
    >>> taps = kernel.build(np.ones((3, 3)), "YX", channels=1)
    >>> matrices.size(operators.Convolution.build(taps, (20, 30), 1))
    Size(rows=600, columns=600, stored=5400, sparse_bytes=67204, building_bytes=433800, dense_bytes=2880000)
    """
    rows, columns = math.prod(operator.out_shape), math.prod(operator.in_shape)
    stored = entries.bound(operator.window.taps, operator.groups, operator.geometry)
    index = entries.index_dtype(stored, columns).itemsize
    building = entries.passing_bytes(operator.window.taps, operator.groups, operator.geometry)
    return Size(rows, columns, stored, stored * (8 + index) + (rows + 1) * index, building, 8 * rows * columns)


def dense(operator: Convolution) -> np.ndarray:
    """The matrix as an array [rows, columns]."""
    return operator.to_sparse().toarray()


def tensor(operator: Convolution) -> np.ndarray:
    """W [*outputs, f, *grid, c], channels last: B = tensordot(W, A, 1 + grid axes) for A [*grid, c], B [*outputs, f].

    Example
    -------
    >>> import numpy as np
    >>> from convtool import kernel, matrices, operators
    >>> taps = kernel.build(np.ones((4, 2, 3, 3)), "OIYX", channels=2)
    >>> W = matrices.tensor(operators.Convolution.build(taps, (5, 6), 1))
    >>> W.shape, np.tensordot(W, np.ones((5, 6, 2)), 3).shape
    ((5, 6, 4, 5, 6, 2), (5, 6, 4))
    """
    matrix = operator.to_sparse()
    (f, *outputs), (c, *grid) = operator.out_shape, operator.in_shape
    out = np.empty((math.prod(outputs), f, math.prod(grid), c))
    step = max(1, _BLOCK // matrix.shape[1])
    for first in range(0, matrix.shape[0], step):
        block = matrix[first : first + step].toarray()
        channel, place = np.divmod(np.arange(first, first + len(block)), len(out))
        out[place, channel] = block.reshape(-1, *out.shape[:1:-1]).swapaxes(1, 2)
    return out.reshape(*outputs, f, *grid, c)


class Route(enum.Enum):
    """How singular values are found; the value is the user's words."""

    FFT = "by FFT, frequency by frequency"
    AXES = "axis by axis, since the kernel is separable"
    DENSE = "from the dense matrix"


@dataclass(frozen=True)
class Work:
    """How the singular values of an operator will be found, in how much memory, and about how long it will take."""

    route: Route
    bytes: int
    seconds: float


def work(operator: Convolution) -> Work:
    """The work of `singular_values`, predicted in no time."""
    blocks, o, i = operator.kernel.taps.shape[:3]
    geometry = operator.geometry
    values = 8 * min(math.prod(operator.in_shape), math.prod(operator.out_shape))
    if _is_block_circulant(geometry):
        wide = i * math.prod(geometry.stride)
        count = blocks * math.prod(fft.half(geometry.outputs))
        seconds = count * (2e-6 + o * wide * min(o, wide) / 5e8) if min(o, wide) > 1 else 0.0
        return Work(Route.FFT, 4 * values + 32 * blocks * o * i * math.prod(geometry.grid), seconds)
    if _factors(operator.kernel.taps) is not None:
        sides = list(zip(geometry.outputs, geometry.grid, strict=True))
        seconds = blocks * sum(_dense_seconds(*pair) for pair in [(o, i), *sides])
        return Work(Route.AXES, 4 * values + max(32 * n * m for n, m in sides), seconds)
    one = size(_single(operator, 0))
    seconds = blocks * _dense_seconds(one.rows, one.columns)
    needed = 4 * values + one.dense_bytes + one.sparse_bytes + one.building_bytes
    return Work(Route.DENSE, needed, seconds)


def singular_values(operator: Convolution) -> np.ndarray:
    """All min(rows, columns) singular values of the operator's matrix, the largest first; see the module for the ways.

    Raises SettingError where that would take more than LONGEST seconds.

    Example
    -------
    >>> import numpy as np
    >>> from convtool import kernel, matrices, operators
    >>> taps = kernel.build(np.array([[1.0, 1.0]]), "YX", channels=1)
    >>> matrices.singular_values(operators.Convolution.build(taps, (1, 4), 1)).round(6)
    array([2.      , 1.414214, 1.414214, 0.      ])
    """
    planned = work(operator)
    if planned.seconds > LONGEST:
        rows, columns = math.prod(operator.out_shape), math.prod(operator.in_shape)
        raise SettingError(
            f"the singular values of the {rows}x{columns} matrix, {planned.route.value}, would take about"
            f" {planned.seconds / 60:.0f} minutes, the limit is {LONGEST / 60:.0f}: use a smaller image, or boundary"
            " periodic with strides that divide its size, where one small matrix a frequency tells them"
        )
    ways = {Route.FFT: _by_fft, Route.AXES: _by_axes, Route.DENSE: _by_decomposition}
    found = ways[planned.route](operator)
    shared = operator.groups // len(operator.kernel.taps)  # groups that have the same kernel, and the same values
    values = np.sort(np.repeat(found, shared))[::-1]
    # The Kronecker product of a wide and a tall matrix has fewer than its shape allows: the others are zero.
    missing = min(math.prod(operator.in_shape), math.prod(operator.out_shape)) - len(values)
    return np.concatenate([values, np.zeros(missing)])


@dataclass(frozen=True)
class Condition:
    """What singular values say: condition is largest / smallest of all, infinite where the smallest counts as zero
    (at most ZERO times the largest); condition_kept is largest / smallest of the `rank` values that do not."""

    largest: float
    smallest: float
    condition: float
    condition_kept: float
    rank: int


def condition(values: np.ndarray) -> Condition:
    """The condition of an operator with these singular values, the largest first.

    Raises DataError where there are none.
    """
    if len(values) == 0:
        raise DataError("there are no singular values: a matrix with no rows or columns has no condition")
    largest, smallest = float(values[0]), float(values[-1])
    rank = int(np.count_nonzero(values > ZERO * largest))
    kept = largest / float(values[rank - 1]) if rank else math.inf
    return Condition(largest, smallest, kept if rank == len(values) else math.inf, kept, rank)


def _is_block_circulant(geometry: Geometry) -> bool:
    reached = tuple(count * s for count, s in zip(geometry.outputs, geometry.stride, strict=True))
    return geometry.boundary == "periodic" and reached == geometry.grid


def _by_fft(operator: Convolution) -> np.ndarray:
    geometry, taps = operator.geometry, operator.window.taps
    laid = spectral.laid(taps, geometry, geometry.grid, np.dtype(np.float64))
    axes = len(geometry.grid)
    split = [n for pair in zip(geometry.outputs, geometry.stride, strict=True) for n in pair]
    phases = laid.reshape(*taps.shape[:3], *split)
    phases = np.moveaxis(phases, range(4, 4 + 2 * axes, 2), range(3, 3 + axes))
    phases = phases.reshape(*taps.shape[:2], -1, *geometry.outputs)
    H = np.moveaxis(fft.transform(geometry.outputs, phases.dtype).forward(phases), (1, 2), (-2, -1))
    # One row or column has one singular value, its norm.
    values = np.linalg.norm(H, axis=(-2, -1))[..., None] if 1 in H.shape[-2:] else np.linalg.svd(H, compute_uv=False)
    return np.repeat(values, fft.multiplicity(geometry.outputs).astype(int), axis=-2).ravel()


def _by_axes(operator: Convolution) -> np.ndarray:
    found = []
    for factors in _factors(operator.window.taps) or []:
        sides = [_along(operator.geometry, axis, taps) for axis, taps in enumerate(factors[1:])]
        values = [np.linalg.svd(matrix, compute_uv=False) for matrix in [factors[0], *sides]]
        found.append(functools.reduce(np.multiply.outer, values).ravel())
    return np.concatenate(found)


def _along(windows: Geometry, axis: int, taps: np.ndarray) -> np.ndarray:
    """The matrix [outputs, samples] of taps along one axis of a geometry."""
    one = slice(axis, axis + 1)
    line = Geometry(
        windows.grid[one],
        windows.extent[one],
        windows.boundary,
        windows.padding[one],
        windows.stride[one],
        windows.dilation[one],
    )
    return entries.csr(taps.reshape(1, 1, 1, -1), 1, line).toarray()


def _factors(taps: np.ndarray) -> list[list[np.ndarray]] | None:
    """For each block of taps [g, o, i, *extent] the factors [M [o, i], u1, u2, ...]; None unless all are products.

    A product is known by the lines through its largest entry.
    """
    found = []
    for block in taps:
        flat = block.reshape(-1, *block.shape[2:])
        at = np.unravel_index(np.abs(flat).argmax(), flat.shape)
        peak = flat[at] or 1.0
        lines = [flat[(*at[:axis], slice(None), *at[axis + 1 :])] / peak for axis in range(flat.ndim)]
        if np.abs(functools.reduce(np.multiply.outer, lines) - flat / peak).max() > _ROUNDING:
            return None
        found.append([lines[0].reshape(block.shape[:2]) * peak, *lines[1:]])
    return found


def _by_decomposition(operator: Convolution) -> np.ndarray:
    from scipy.linalg import svdvals

    singles = (_single(operator, g) for g in range(len(operator.kernel.taps)))
    # The transpose of an array in C order is one in Fortran's, which LAPACK works on in place.
    return np.concatenate([svdvals(dense(one).T, overwrite_a=True, check_finite=False) for one in singles])


def _single(operator: Convolution, g: int) -> Convolution:
    """The operator of one group."""
    kernel = Kernel(operator.kernel.taps[g : g + 1], operator.kernel.origin)
    return dataclasses.replace(operator, kernel=kernel, groups=1)


def _dense_seconds(rows: int, columns: int) -> float:
    return rows * columns * min(rows, columns) / 5e9
