"""The largest singular value of many matrices: decompose those that can have it, not all.

sigma_1 <= ||A||_F, so that matrices are decomposed from the largest Frobenius norm down until no later one can be
larger. Where that leaves too many (for c channels ||A||_F is up to sqrt(c) sigma_1), they are ranked by a lower bound
of sigma_1, the largest Ritz value of A^H A in k steps of Lanczos' iteration from one vector v_1 of norm 1:

    w = A^H A v_j - beta_(j-1) v_(j-1),    alpha_j = v_j^H w = ||A v_j||^2,    w <- w - alpha_j v_j,
    beta_j = ||w||,  v_(j+1) = w / beta_j;      sigma_1^2 >= lambda_max(tridiag(alpha, beta))

with few steps for all, more for the best eighth, and a decomposition for the best of those. What is found then is the
largest singular value of one of the matrices; that of another may be larger, in what was tried by rounding alone, and
`SLACK` is allowed for.
"""

from __future__ import annotations

import abc
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from convtool import blas, process
from convtool.deconvolution.solvers.gram_schmidt import squared

Chosen = slice | np.ndarray
SLACK = 0.03  # of the largest value found, how much larger one may be that was missed
_EXACT_SECONDS = 0.02  # of decompositions, below which all are decomposed that can have the largest value
_CALL, _MULTIPLY_ADD = 1.5e-6, 2.7e-9  # measured: seconds of one decomposition, and of each of its m n min(m, n)
_STEPS, _MORE_STEPS = 4, 10
_SHARE, _FEWEST, _LAST = 8, 64, 16  # one in so many, but not fewer, take more steps; so many are decomposed
_BLOCK = 1 << 16  # entries that one thread works on together: they and what is made of them stay in its cache


class Stack(abc.ABC):
    """Matrices of one shape, numbered, that are made when they are needed."""

    shape: tuple[int, int]
    blocks: Sequence[slice]  # all numbers, in order

    @abc.abstractmethod
    def at(self, chosen: Chosen) -> np.ndarray:
        """[k, m, n] of one of the blocks, or of any numbers."""

    @functools.cached_property
    def frobenius(self) -> np.ndarray:
        """The Frobenius norms of all."""
        return np.concatenate([np.zeros(0), *process.each(lambda part: frobenius(self.at(part)), self.blocks)])


@final
class Held(Stack):
    """The matrices of an array [k, m, n], divided by a number."""

    def __init__(self, a: np.ndarray, unit: float) -> None:
        self.shape, self.blocks = a.shape[1:], blocks(len(a), math.prod(a.shape[1:]))
        self._a, self._unit = a, a.real.dtype.type(unit)

    def at(self, chosen: Chosen) -> np.ndarray:
        return self._a[chosen] / self._unit


@dataclass(frozen=True)
class Largest:
    """The largest singular value found, and whether none can be larger."""

    value: float
    is_exact: bool

    @property
    def bound(self) -> float:
        """What no singular value exceeds."""
        return self.value if self.is_exact else self.value * (1 + SLACK)


def largest_singular_value(a: np.ndarray) -> float:
    """The largest singular value of all matrices [..., m, n]; see the module for how far it is certain."""
    unit = power_of_two(peak(a))
    return largest(Held(a.reshape(-1, *a.shape[-2:]), unit)).value * unit


def largest(stack: Stack) -> Largest:
    """The largest singular value of a stack, exact where decompositions of those that can have it take no time."""
    best = _decomposed(stack, _best(stack.frobenius, _FEWEST))
    possible = np.flatnonzero(stack.frobenius > best)
    if is_quick(stack, len(possible)):
        return Largest(exact(stack), True)
    with blas.single_threaded():
        bounds = np.concatenate(process.each(lambda part: _ranked(stack, part, best), stack.blocks))
        some = _best(bounds, max(_FEWEST, len(possible) // _SHARE))
        found = largest_among(stack, some)
    return Largest(max(best, found), False)


def largest_among(stack: Stack, chosen: np.ndarray) -> float:
    """About the largest singular value of the matrices chosen: that of the best by their Ritz values."""
    return _decomposed(stack, ranked(stack, chosen)[:_LAST])


def ranked(stack: Stack, chosen: np.ndarray) -> np.ndarray:
    """The numbers chosen, by their Ritz values, the largest first."""
    parts = [chosen[part] for part in blocks(len(chosen), math.prod(stack.shape))]
    bounds = np.concatenate(process.each(lambda part: ritz(stack.at(part), _MORE_STEPS), parts))
    return chosen[_best(bounds, len(bounds))]


def is_quick(stack: Stack, count: int) -> bool:
    """Whether so many matrices are decomposed in no time."""
    m, n = stack.shape
    return count * (_CALL + _MULTIPLY_ADD * m * n * min(m, n)) <= _EXACT_SECONDS


def exact(stack: Stack) -> float:
    """The largest singular value, certainly."""
    order = np.argsort(stack.frobenius)[::-1]
    best, start, count = 0.0, 0, _FEWEST
    with blas.single_threaded():
        while start < len(order) and stack.frobenius[order[start]] > best:
            best = max(best, _decomposed(stack, order[start : start + count]))
            start, count = start + count, 2 * count
    return best


def ritz(a: np.ndarray, steps: int) -> np.ndarray:
    """Lower bounds [k] of the largest singular values of matrices [k, m, n]; exact for as many steps as columns."""
    steps = min(steps, *a.shape[1:])
    v = np.broadcast_to(_start(a.shape[2], a.dtype), (len(a), a.shape[2]))
    before, beta = np.zeros_like(v), np.zeros((len(a), 1), v.real.dtype)
    T = np.zeros((len(a), steps, steps), v.real.dtype)
    for j in range(steps):
        p = a @ v[:, :, None]
        T[:, j, j] = squared(p[:, :, 0]).sum(axis=1)
        if j + 1 < steps:
            w = (p.conj().swapaxes(1, 2) @ a)[:, 0].conj()
            w -= T[:, j, j, None] * v + beta * before
            beta = np.sqrt(squared(w).sum(axis=1, keepdims=True))
            before, v = v, np.divide(w, beta, out=np.zeros_like(w), where=beta > 0)
            T[:, j + 1, j] = T[:, j, j + 1] = beta[:, 0]
    return np.sqrt(np.maximum(np.linalg.eigvalsh(T)[:, -1], 0))


def frobenius(a: np.ndarray) -> np.ndarray:
    """||A||_F [k] of matrices [k, m, n]."""
    flat = np.ascontiguousarray(a).reshape(len(a), a.shape[1] * a.shape[2])
    parts = flat.view(flat.real.dtype)
    return np.sqrt(np.einsum("ki,ki->k", parts, parts))


def blocks(count: int, entries: int) -> list[slice]:
    """Slices of so many matrices, of so many entries each, for threads to work on: parts of about the same size."""
    parts = min(max(round(count * entries / _BLOCK), 1), count)
    return [slice(part * count // parts, (part + 1) * count // parts) for part in range(parts)]


def _ranked(stack: Stack, part: slice, best: float) -> np.ndarray:
    """Lower bounds of a block's largest singular values; 0 for those that cannot exceed what is known."""
    possible = stack.frobenius[part] > best
    if not possible.any():
        return np.zeros(len(possible))
    return np.where(possible, ritz(stack.at(part), _STEPS), 0)


def peak(a: np.ndarray) -> float:
    """The largest absolute value of a real or imaginary part; NaN where one is."""
    parts = np.ascontiguousarray(a).reshape(-1)
    parts = parts.view(parts.real.dtype)
    return max(float(parts.max()), -float(parts.min())) if a.size else 0.0


def power_of_two(value: float) -> float:
    """The power of two at or next below a positive value; 1 for 0."""
    return math.ldexp(1.0, math.frexp(value)[1] - 1) if value else 1.0


def _decomposed(stack: Stack, chosen: np.ndarray) -> float:
    """The largest singular value of the matrices chosen."""
    parts = [chosen[part] for part in blocks(len(chosen), 16 * math.prod(stack.shape))]
    return max(
        process.each(lambda part: float(np.linalg.svd(stack.at(part), compute_uv=False).max()), parts), default=0.0
    )


def _best(values: np.ndarray, count: int) -> np.ndarray:
    """Where the largest values are."""
    return np.argsort(values)[::-1][:count]


def _start(n: int, dtype: np.dtype) -> np.ndarray:
    """The same vector of norm 1 whenever it is asked for, along nothing in particular."""
    rng = np.random.default_rng(n)
    v = rng.standard_normal(n) + (1j * rng.standard_normal(n) if dtype.kind == "c" else 0)
    return (v / np.linalg.norm(v)).astype(dtype)
