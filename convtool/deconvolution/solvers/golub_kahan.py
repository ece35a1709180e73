"""LSQR: least squares by Golub-Kahan bidiagonalisation, on an operator's forward and adjoint alone.

From beta_1 u_1 = y and alpha_1 v_1 = A^T u_1,

    beta_{k+1} u_{k+1} = A v_k - alpha_k u_k,      alpha_{k+1} v_{k+1} = A^T u_{k+1} - beta_{k+1} v_k,

so that A V_k = U_{k+1} B_k with B_k [k+1, k] lower bidiagonal, and x_k = V_k z with z the least-squares solution of
B_k z = beta_1 e_1 minimises ||A x - y||^2 + d^2 ||x||^2 over the Krylov space. Rotations turn B_k into R_k, upper
bidiagonal, one column a step; with D = V_k R_k^-1 only the last column of D is needed.

The start is 0 and every v lies in the range of A^T, so the limit is the solution of least norm whatever A's rank.
LSQR is conjugate gradients on the normal equations: ||x_k - x|| falls and ||x_k|| grows at every step, and by Hestenes
and Stiefel (1952, Theorem 6:3)

    ||x_{k-1} - x||^2 - ||x_k - x||^2 = ||D_k||^2 ( ||P r_{k-1}||^2 + ||P r_k||^2 ),    ||P r_k||^2 = sum_{i>k} phi_i^2,

with P r the part of the residual that A can still explain: how much the error fell is known, its end extrapolated
(`expected_error`). LSMR was tried: on kernels of slow convergence its error was 8 % larger at the same step.

Rounding makes the vectors lose orthogonality, which costs steps. Where all of them fit into a budget, each new one is
made orthogonal to those before; then the space is exhausted after at most min(m, n) steps, and the end is exact.

References
----------
Paige, Saunders 1982, doi:10.1145/355984.355989; Fong, Saunders 2011, doi:10.1137/10079687X (LSMR);
Simon, Zha 2000, doi:10.1137/S1064827597327309 (reorthogonalisation);
Strakos, Tichy 2002, Electronic Transactions on Numerical Analysis 13, 56 (error estimates).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from convtool.operators import LinearOperator

EPS = float(np.finfo(np.float64).eps)
_LINEAR = 3.0  # measured: an algebraic decay extrapolated as a linear one gives 1/4 to 1/2 of what is left
_NOISE = 8 * EPS  # a new vector as short as this, in units of the operator's norm, is rounding


@dataclass
class Iterate:
    """Where the iteration stands; `x` is overwritten by the next step.

    residual: ||A x - y||, with damping that of the stacked system [A; d] x = [y; 0]
    normal: ||A^T (A x - y) + d^2 x||
    inverse_norm: ||D||_F, an estimate of 1 / sqrt(sigma_min^2 + d^2), mostly from above
    norm: the largest singular value seen, from below
    falls: (||D_k||^2, phi_k^2) of every step, for `expected_error`
    bidiagonal: alpha_1, beta_2, alpha_2, ...: the entries of B
    """

    x: np.ndarray
    residual: float
    normal: float
    count: int = 0
    norm_x: float = 0.0
    inverse_norm: float = 0.0
    norm: float = 0.0
    falls: list[tuple[float, float]] = field(default_factory=list)
    bidiagonal: list[float] = field(default_factory=list)


def fits(operator: LinearOperator, budget: int) -> bool:
    """Whether all vectors of a complete bidiagonalisation fit into so many bytes."""
    outputs, inputs = math.prod(operator.out_shape), math.prod(operator.in_shape)
    return 8 * (outputs + inputs) * (min(outputs, inputs) + 1) <= budget


def lsqr(operator: LinearOperator, y: np.ndarray, damping: float, orthogonal: bool) -> Iterator[Iterate]:
    """The iterates for data y [*out_shape], from x = 0 on, without end but for an exact solution.

    `orthogonal` keeps all vectors and makes each new one orthogonal to them.
    """
    steps = _bidiagonalised(operator, y, orthogonal)
    beta, v, alpha = next(steps)
    at = Iterate(np.zeros_like(v), beta, beta * alpha, bidiagonal=[alpha])
    w, rho_bar, phi_bar, damped = v.copy(), alpha, beta, 0.0
    yield at
    while at.normal > 0:
        beta, v, alpha = next(steps)
        at.norm = max(at.norm, math.hypot(at.bidiagonal[-1], beta))
        at.bidiagonal += [beta, alpha]
        rho_damped = math.hypot(rho_bar, damping)
        damped = math.hypot(damped, damping / rho_damped * phi_bar)
        phi_bar *= rho_bar / rho_damped
        rho = math.hypot(rho_damped, beta)
        cosine, sine = rho_damped / rho, beta / rho
        theta, rho_bar, phi, phi_bar = sine * alpha, -cosine * alpha, cosine * phi_bar, sine * phi_bar
        size = length(w) / rho
        at.x += (phi / rho) * w
        w *= -theta / rho
        w += v
        at.count += 1
        at.falls.append((size * size, phi * phi))
        at.inverse_norm = math.hypot(at.inverse_norm, size)
        at.norm_x = length(at.x)
        at.residual = math.hypot(phi_bar, damped)
        at.normal = abs(phi_bar) * alpha * cosine
        yield at


def expected_error(at: Iterate) -> float:
    """About how large ||x_k - x|| is, from how the error fell.

    Its squares fell by F' from step k/4 to k/2 and by F from k/2 to k. If they go on as a geometric series over
    doublings (an algebraic decay in k), F^2 / (F' - F) is left; infinite where they do not shrink. If they go on as one
    over equal numbers of steps (a linear rate), the same is left with both taken over the last quarters. Of an
    algebraic decay that gives about a third; so the lesser of the first and thrice the second is taken. Singular values
    that the iteration has not met yet are in neither: the error may be larger.
    """
    weights, squares = np.array(at.falls).reshape(-1, 2).T
    left = np.cumsum(squares[::-1])[::-1]  # ||P r_{k-1}||^2 of each step
    falls = weights * (2 * left - squares)
    half, quarter = len(falls) // 2, len(falls) // 4
    algebraic = _left(float(falls[quarter:half].sum()), float(falls[half:].sum()))
    linear = _left(float(falls[-2 * quarter : -quarter].sum()), float(falls[-quarter:].sum())) if quarter else math.inf
    return min(algebraic, _LINEAR * linear)


def _left(early: float, late: float) -> float:
    """The root of what a geometric series has left after two of its terms."""
    return late / math.sqrt(early - late) if early > late else math.inf


def extreme_values(at: Iterate) -> tuple[float, float]:
    """The largest and the smallest singular value of B: those of the operator, from below and from above."""
    from scipy.linalg import eigvalsh_tridiagonal

    entries = np.array(at.bidiagonal[: 2 * at.count])
    # +-sigma are the eigenvalues of [0 B; B^T 0], which in the order v_1, u_2, v_2, ... is tridiagonal.
    chosen = [(len(entries) // 2 + 1,) * 2, (len(entries),) * 2]
    least, largest = (
        float(eigvalsh_tridiagonal(np.zeros(len(entries) + 1), entries, select="i", select_range=pair)[0])
        for pair in chosen
    )
    return largest, least


def largest_value(operator: LinearOperator, steps: int = 16) -> float:
    """The operator's largest singular value, from below and mostly within a percent."""
    data = np.random.default_rng(0).standard_normal(operator.out_shape)
    *_, last = itertools.islice(lsqr(operator, data, 0.0, False), steps + 1)
    return extreme_values(last)[0] if last.count else 0.0


def _bidiagonalised(
    operator: LinearOperator, y: np.ndarray, orthogonal: bool
) -> Iterator[tuple[float, np.ndarray, float]]:
    """(beta_k, v_k, alpha_k) for k = 1, 2, ...; all zeros once the space is exhausted. v is overwritten by the next."""
    most = min(math.prod(operator.out_shape), math.prod(operator.in_shape)) + 1 if orthogonal else 0
    rows, columns = _Basis(most, y.size), _Basis(most, math.prod(operator.in_shape))
    u, norm = y.copy(), 0.0
    beta = _normalised(u, 0.0)
    v = operator.adjoint(u)
    alpha = _normalised(v, 0.0)
    while True:
        yield beta, v, alpha
        rows.add(u)
        columns.add(v)
        u *= -alpha
        u += operator.forward(v)
        rows.purge(u)
        beta = _normalised(u, _NOISE * norm)
        norm = max(norm, math.hypot(alpha, beta))
        following = operator.adjoint(u)
        following -= beta * v
        columns.purge(following)
        v[...] = following
        alpha = _normalised(v, _NOISE * norm)


class _Basis:
    """Orthonormal vectors, at most so many; none are kept where that is 0."""

    def __init__(self, most: int, size: int) -> None:
        self.vectors = np.empty((most, size))
        self.count = 0

    def add(self, vector: np.ndarray) -> None:
        """Keep a vector, while there is room."""
        if self.count < len(self.vectors):
            self.vectors[self.count] = vector.ravel()
            self.count += 1

    def purge(self, vector: np.ndarray) -> None:
        """Take out what of the vector the basis spans; again, where little was left, since that is mostly rounding."""
        if not self.count:
            return
        kept, flat = self.vectors[: self.count], vector.reshape(-1)
        for _ in range(2):
            before = length(flat)
            flat -= (kept @ flat) @ kept
            if length(flat) > before / 2:
                break
        vector[...] = flat.reshape(vector.shape)


def _normalised(vector: np.ndarray, noise: float) -> float:
    """The vector's length, by which it is divided; a vector no longer than `noise` becomes 0."""
    size = length(vector)
    if size <= noise:
        vector *= 0
        return 0.0
    vector /= size
    return size


def length(vector: np.ndarray) -> float:
    """The Euclidean norm of an array."""
    flat = vector.reshape(-1)
    return math.sqrt(float(np.einsum("i,i", flat, flat)))  # BLAS would wait for threads: 5 times as slow on a busy CPU
