"""Least squares with taps that are not negative and sum to a given total, solved exactly.

    minimise  1/2 w^T A w - c^T w     subject to   w >= 0  and  sum(w) = total   (each may be left out)

for a symmetric positive definite A. w is the solution exactly where, with a multiplier nu for the sum and
z = A w - c - nu,

    w >= 0,   z >= 0,   w z = 0   tap by tap,   sum(w) = total                             (Karush, Kuhn, Tucker)

so once it is known which taps are zero, what is left is linear. Principal pivoting guesses all of them at once and
exchanges every tap that is on the wrong side, which takes a handful of factorisations; where it circles, the primal
active-set method takes over: it lowers the objective at every step and so cannot circle.

References
----------
C. L. Lawson, R. J. Hanson, "Solving Least Squares Problems", SIAM (1995), doi:10.1137/1.9781611971217.
R. Bro, S. de Jong, "A fast non-negativity-constrained least squares algorithm", J. Chemometrics 11 (1997) 393-401,
doi:10.1002/(SICI)1099-128X(199709/10)11:5<393::AID-CEM483>3.0.CO;2-L.
L. F. Portugal, J. J. Judice, L. N. Vicente, "A comparison of block pivoting and interior-point algorithms for linear
least squares problems with nonnegative variables", Math. Comp. 63 (1994) 625-643.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_factor, cho_solve

_TOLERANCE = 1e-10  # of the largest tap, and of the largest gradient: below, a tap or a multiplier counts as zero
_PATIENCE = 5  # rounds of principal pivoting without progress
_STEPS = 20  # of the active-set method for each tap, which rounding alone could make it exceed


def minimiser(
    a: np.ndarray, c: np.ndarray, total: float | None = None, *, signed: bool = False, start: np.ndarray | None = None
) -> np.ndarray:
    """The taps w [n] for A [n, n] and c [n]; `start` says which taps are thought to be positive, which saves time.

    >>> minimiser(np.diag([1.0, 2.0]), np.array([3.0, -2.0]))
    array([3., 0.])
    >>> minimiser(np.eye(2), np.array([1.0, 0.0]), total=2.0)
    array([1.5, 0.5])
    """
    every = np.ones(len(c), bool)
    if signed:
        return _on_face(a, c, total, every)[0]
    if total == 0:
        return np.zeros_like(c)
    w = _pivoted(a, c, total, every if start is None or not start.any() else start.copy())
    return _descended(a, c, total) if w is None else w


def _on_face(a: np.ndarray, c: np.ndarray, total: float | None, free: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The minimiser whose taps are zero but for the free ones, and z = A w - c - nu."""
    w, nu = np.zeros_like(c), 0.0
    if free.any():
        factor = cho_factor(a[np.ix_(free, free)], lower=True, check_finite=False)
        w[free] = cho_solve(factor, c[free], check_finite=False)
        if total is not None:
            ones = cho_solve(factor, np.ones(int(free.sum())), check_finite=False)
            nu = float((total - w.sum()) / ones.sum())
            w[free] += nu * ones
    return w, a @ w - c - nu


def _pivoted(a: np.ndarray, c: np.ndarray, total: float | None, free: np.ndarray) -> np.ndarray | None:
    """The solution by block principal pivoting; None where it does not settle."""
    fewest, patience = len(c) + 1, _PATIENCE
    while True:
        w, z = _on_face(a, c, total, free)
        wrong = np.where(free, w < -_TOLERANCE * abs(w).max(), z < -_TOLERANCE * _gradient(a, c, w))
        count = int(wrong.sum())
        if count == 0:
            return w.clip(0)
        patience = _PATIENCE if count < fewest else patience - 1
        fewest = min(count, fewest)
        if patience < 0:
            return None
        free = free ^ wrong
        if total is not None and not free.any():
            return None


def _gradient(a: np.ndarray, c: np.ndarray, w: np.ndarray) -> float:
    """The size of the terms of the gradient, which cancel at the solution."""
    return float(max(abs(c).max(), abs(a @ w).max()))


def _descended(a: np.ndarray, c: np.ndarray, total: float | None) -> np.ndarray:
    """The solution by the primal active-set method, from a point that is feasible."""
    w = np.full(len(c), 0.0 if total is None else total / len(c))
    free = w > 0
    for _ in range(_STEPS * len(c)):
        target, z = _on_face(a, c, total, free)
        falling = free & (target < 0)
        if falling.any():
            steps = np.full(len(c), np.inf)
            steps[falling] = w[falling] / (w[falling] - target[falling])
            w = w + steps.min() * (target - w)
            free &= steps > steps.min()
            w[~free] = 0
            continue
        w = target.clip(0)
        worst = int(np.argmin(np.where(free, np.inf, z)))
        if free.all() or z[worst] >= -_TOLERANCE * _gradient(a, c, w):
            break
        free[worst] = True
    return w
