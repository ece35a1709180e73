"""Conjugate gradients for symmetric positive definite systems, preconditioned, to a relative residual or a step count.

    minimise 1/2 <x, N x> - <r, x>:     p_k conjugate directions, x_k+1 = x_k + alpha_k p_k

Reference: Hestenes and Stiefel 1952 (doi:10.6028/jres.049.044).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Map = Callable[[np.ndarray], np.ndarray]
Watch = Callable[[int, float], None]


def solve(
    normal: Map,
    right: np.ndarray,
    precondition: Map,
    start: np.ndarray,
    tol: float,
    limit: int,
    watch: Watch | None = None,
) -> np.ndarray:
    """x with N x = right, until ||right - N x|| <= tol ||right|| or after `limit` steps.

    `watch` is told the number of steps done and their residual, relative to `right`, before each one and at the end.
    """
    x = start.copy()
    residual = right - normal(x)
    size = _norm(right)
    goal = (tol * size) ** 2
    direction = np.zeros_like(x)
    before = 0.0
    for step in range(limit + 1):
        left = _inner(residual, residual)
        if watch is not None:
            watch(step, (left**0.5 / size) if size else 0.0)
        if left <= goal or step == limit:
            break
        z = precondition(residual)
        now = _inner(residual, z)
        if not now > 0:
            break
        direction = z + x.dtype.type(now / before if before else 0.0) * direction
        image = normal(direction)
        curvature = _inner(direction, image)
        if not curvature > 0:
            break
        alpha = x.dtype.type(now / curvature)
        x += alpha * direction
        residual -= alpha * image
        before = now
    return x


def _inner(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.vdot(a, b).real)


def _norm(a: np.ndarray) -> float:
    return _inner(a, a) ** 0.5
