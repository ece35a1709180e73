"""Pseudo-inverses of many small matrices of full rank at once: Gram-Schmidt, vectorised over the stack.

A tall matrix A = Q R with the columns a_j; each is made orthogonal to the columns before it twice, which leaves Q
orthonormal to rounding whatever the condition of A (Giraud et al. 2005, doi:10.1007/s00211-005-0615-4):

    v <- v - q_i (q_i^H v),  r_ij <- r_ij + q_i^H v     for all i < j, and once more;     r_jj = ||v||,  q_j = v / r_jj
    A^+ = R^-1 Q^H           row by row from the last:   x_i = (q_i^H - sum_(j > i) r_ij x_j) / r_ii

so that the condition is not squared, as it would be by the Gram matrix. A wide matrix is the adjoint of a tall one. The
stack is the last axis of all arrays, so that every step is one operation on contiguous memory for all matrices; LAPACK
takes about a microsecond a matrix for its calls alone. Like NumPy's LAPACK, it computes in double precision throughout.
"""

from __future__ import annotations

import numpy as np

MOST = 5  # columns: with more, LAPACK is as fast


def inverted(a: np.ndarray) -> np.ndarray:
    """A^+ [k, n, m] of matrices [k, m, n] of full rank; NaN or infinite where an r_jj is 0."""
    is_wide, double = a.shape[1] < a.shape[2], np.result_type(a.dtype, np.float64)
    columns = np.array(_conjugate(a).transpose(1, 2, 0) if is_wide else a.transpose(2, 1, 0), double, order="C")
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        R = _orthonormalised(columns)
        rows = _solved(columns, R)
    return _conjugate(rows).transpose(2, 1, 0) if is_wide else rows.transpose(2, 0, 1)


def _orthonormalised(columns: np.ndarray) -> list[list[np.ndarray]]:
    """The columns R[j] = [r_0j, ..., r_jj] of R; columns [n, m, k] are overwritten by those of Q."""
    R: list[list[np.ndarray]] = []
    for j, v in enumerate(columns):
        coefficients: list[np.ndarray] = [np.zeros((), v.dtype)] * j
        for _ in range(2):
            for i, q in enumerate(columns[:j]):
                along = (_conjugate(q) * v).sum(axis=0)
                v -= along * q
                coefficients[i] = coefficients[i] + along
        length = np.sqrt(squared(v).sum(axis=0))
        v /= length
        R.append([*coefficients, length])
    return R


def _solved(Q: np.ndarray, R: list[list[np.ndarray]]) -> np.ndarray:
    """R^-1 Q^H [n, m, k]; in Q's place."""
    rows = np.conjugate(Q, out=Q) if Q.dtype.kind == "c" else Q
    for i in range(len(rows) - 1, -1, -1):
        for j in range(i + 1, len(rows)):
            rows[i] -= R[j][i] * rows[j]
        rows[i] /= R[i][i]
    return rows


def squared(a: np.ndarray) -> np.ndarray:
    """|a|^2 of a real or complex array."""
    return np.square(a.real) + np.square(a.imag) if a.dtype.kind == "c" else np.square(a)


def _conjugate(a: np.ndarray) -> np.ndarray:
    return a.conj() if a.dtype.kind == "c" else a
