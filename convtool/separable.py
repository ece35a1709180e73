"""The engine for separable kernels: one pass an axis, found by singular values.

A kernel of N axes without mixing of channels is split from its first axis on: its taps as a matrix [k_1, k_2 ... k_N]
are U S V^T, and each row of V^T is a kernel of N - 1 axes to split again. With one term an axis it is separable,
w[m] = prod_a w_a[m_a]; else it is a short sum of such terms. Singular values below the rounding of the taps' dtype,

    sum of those dropped <= u max(k) s_1,        u the unit roundoff of the data's dtype,

change no output by more than the rounding of a direct sum does. A term then takes sum_a k_a multiply-adds instead of
prod_a k_a. A boundary copies samples along each axis by itself, so each pass extends its own axis; strides and
dilations belong to their axis too. The adjoint is the passes' adjoints in reverse.

Rounding. With T terms of N axes and S = sum over the terms of prod_a sum |w_a|, to first order in u

    |error| <= ((sum_a k_a + T + N) S + T sqrt(prod_a k_a) max(k) s_1) u max |x|

where the second part is what may be dropped.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from convtool import blas, products
from convtool.direct import DirectEngine
from convtool.geometry import Geometry

_MOST_TERMS = 8  # more passes than that were never the fastest way
_LEFT = 1e-3  # of a kernel's largest tap


class SeparableEngine:
    """Correlation with window taps [g, 1, 1, *extent] that are short sums of products; see `terms`."""

    def __init__(self, taps: np.ndarray, geometry: Geometry, dtype: np.dtype) -> None:
        self._dtype = dtype
        found = [terms(each[0, 0], dtype) for each in taps]
        count = max(len(each) for each in found)
        self._chains = [_passes([_term(each, t) for each in found], geometry, dtype) for t in range(count)]

    def forward(self, x: np.ndarray) -> np.ndarray:
        """[n, g, 1, *outputs] of x [n, g, 1, *grid]."""
        return _sum([functools.reduce(lambda a, one: one.forward(a), chain, x) for chain in self._chains])

    def adjoint(self, y: np.ndarray) -> np.ndarray:
        """[n, g, 1, *grid] of y [n, g, 1, *outputs]."""
        return _sum([functools.reduce(lambda a, one: one.adjoint(a), chain[::-1], y) for chain in self._chains])


def terms(kernel: np.ndarray, dtype: np.dtype) -> list[tuple[np.ndarray, ...]]:
    """Vectors, one an axis, of the products that sum up to a kernel of N axes within the rounding of a dtype."""
    if kernel.ndim == 1:
        return [(kernel,)]
    with blas.single_threaded():
        U, s, V = np.linalg.svd(kernel.reshape(len(kernel), -1).astype(np.float64), full_matrices=False)
    tail = np.cumsum(s[::-1])[::-1]
    rank = int(np.count_nonzero(tail > np.finfo(dtype).eps / 2 * max(kernel.shape) * s[0]))
    return [(U[:, r] * s[r], *rest) for r in range(rank) for rest in terms(V[r].reshape(kernel.shape[1:]), dtype)]


def product(vectors: Sequence[np.ndarray]) -> np.ndarray:
    """w[m] = prod_a w_a[m_a]."""
    return functools.reduce(np.multiply.outer, vectors)


def multiply_adds(taps: np.ndarray, geometry: Geometry, dtype: np.dtype) -> tuple[float, int] | None:
    """(multiply-adds, as `products.work` counts, and passes) for one image and group.

    None where channels mix or the terms are too many to pay.
    """
    if taps.shape[1:3] != (1, 1) or taps.ndim < 5 or not all(_may_be_few(each[0, 0]) for each in taps):
        return None
    count = max(len(terms(each[0, 0], dtype)) for each in taps)
    if not 0 < count <= _MOST_TERMS:
        return None
    total, grid = 0.0, list(geometry.grid)
    for axis in _order(geometry):
        grid[axis] = geometry.outputs[axis]
        line = np.ones([n if a == axis else 1 for a, n in enumerate(geometry.extent)], bool)
        total += products.work(line, geometry.stride, geometry.dilation)[0] * float(np.prod(grid))
    return count * total, count * len(grid)


def _may_be_few(kernel: np.ndarray) -> bool:
    """Whether a kernel's rank may be small: Gaussian elimination with complete pivots, a few steps of it.

    What is left after as many steps as there may be terms is, for a kernel of that rank, rounding and the little that
    may be dropped; much less than `_LEFT` of the largest tap. It takes a hundredth of a singular value decomposition.
    """
    rest = kernel.reshape(len(kernel), -1).astype(np.float64)
    if min(rest.shape) <= _MOST_TERMS:
        return True
    largest = np.abs(rest).max()
    for _ in range(_MOST_TERMS):
        i, j = np.unravel_index(np.abs(rest).argmax(), rest.shape)
        if not rest[i, j]:
            return True
        rest -= np.outer(rest[:, j], rest[i] / rest[i, j])
    return bool(np.abs(rest).max() <= _LEFT * largest)


def _order(geometry: Geometry) -> list[int]:
    """Axes in the order of their passes: those first that leave the fewest samples to the others."""
    return sorted(range(len(geometry.grid)), key=lambda axis: geometry.outputs[axis] / geometry.grid[axis])


def _term(found: list[tuple[np.ndarray, ...]], number: int) -> tuple[np.ndarray, ...] | None:
    return found[number] if number < len(found) else None


def _passes(vectors: list[tuple[np.ndarray, ...] | None], geometry: Geometry, dtype: np.dtype) -> list[DirectEngine]:
    """The passes of one term, for each group's vectors (None: the group has no such term)."""
    chain, grid = [], list(geometry.grid)
    for axis in _order(geometry):
        only = [1 if a == axis else 0 for a in range(len(grid))]
        own = Geometry(
            grid=tuple(grid),
            extent=tuple(n if o else 1 for n, o in zip(geometry.extent, only, strict=True)),
            boundary=geometry.boundary,
            padding=tuple(p if o else (0, 0) for p, o in zip(geometry.padding, only, strict=True)),
            stride=tuple(s if o else 1 for s, o in zip(geometry.stride, only, strict=True)),
            dilation=tuple(d if o else 1 for d, o in zip(geometry.dilation, only, strict=True)),
        )
        taps = np.zeros((len(vectors), 1, 1, *own.extent))
        for each, found in zip(taps, vectors, strict=True):
            if found is not None:
                each[...] = found[axis].reshape(own.extent)
        chain.append(DirectEngine(taps, own, dtype))
        grid[axis] = geometry.outputs[axis]
    return chain


def _sum(parts: list[np.ndarray]) -> np.ndarray:
    for part in parts[1:]:
        parts[0] += part
    return parts[0]
