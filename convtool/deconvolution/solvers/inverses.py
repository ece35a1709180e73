"""Moore-Penrose inverses of stacks of small matrices.

Singular values at or below a cutoff count as zero. Most matrices of a stack are far from it, and for those the
pseudo-inverse is an ordinary inverse: A^-1 by LU where A is square, R^-1 Q^H from A = Q R where it is tall, the adjoint
of that where it is wide. Since 1 / ||A^+||_F <= sigma_min, the inverse itself tells which matrices those are; only the
others are decomposed by SVD.
"""

from __future__ import annotations

import math

import numpy as np

from convtool.errors import DataError, SettingError

_MARGIN = 2.0  # how far above the cutoff sigma_min must be for the factorisation: it is computed with rounding


def default_rcond(dtype: np.dtype) -> float:
    """1000 eps of a real or complex floating dtype."""
    return 1e3 * float(np.finfo(dtype).eps)


def batched_pinv(a: np.ndarray, rcond: float | None = None, scale: float | None = None) -> np.ndarray:
    """The pseudo-inverses [..., n, m] of a stack of matrices [..., m, n], real or complex.

    Parameters
    ----------
    a: the matrices; integers are taken as float64
    rcond: singular values at or below rcond times the scale count as zero; by default 1000 eps of the dtype
    scale: None for each matrix's own largest singular value, as in `numpy.linalg.pinv`; or one number for all, such as
        the largest singular value of the whole stack

    Raises DataError for arrays that are no stack of finite matrices, SettingError for an rcond outside [0, 1).

    Example
    -------
    >>> import numpy as np, convtool
    >>> convtool.batched_pinv(np.array([[[2.0, 0.0], [0.0, 0.0]]]))
    array([[[0.5, 0. ],
            [0. , 0. ]]])
    """
    a = np.asarray(a)
    if a.ndim < 2 or a.dtype.kind not in "biufc" or not np.isfinite(a).all():
        raise DataError(f"expected finite matrices of shape [..., m, n], got shape {a.shape} of {a.dtype}")
    a = a if a.dtype.kind in "fc" else a.astype(np.float64)
    rcond = default_rcond(a.dtype) if rcond is None else rcond
    if not 0 <= rcond < 1:
        raise SettingError(f"rcond must be at least 0 and below 1, got {rcond}")
    lead, (m, n) = a.shape[:-2], a.shape[-2:]
    if a.size == 0:
        return np.zeros((*lead, n, m), a.dtype)
    unit = math.ldexp(1.0, math.frexp(float(np.abs(a).max()))[1] - 1)  # so that no square over- or underflows
    out = _inverted(a.reshape(-1, m, n) / unit, rcond, None if scale is None else scale / unit)
    return out.reshape(*lead, n, m) / unit


def _inverted(a: np.ndarray, rcond: float, scale: float | None) -> np.ndarray:
    out = inverses(a) if a.shape[1] >= a.shape[2] else adjoint(inverses(adjoint(a)))
    norms = np.linalg.norm(a, axis=(1, 2)) if scale is None else scale
    with np.errstate(divide="ignore", over="ignore"):
        doubtful = ~(1 / np.linalg.norm(out, axis=(1, 2)) > _MARGIN * rcond * norms)
    if doubtful.any():
        out[doubtful] = _by_svd(a[doubtful], rcond, scale)
    return out


def inverses(a: np.ndarray) -> np.ndarray:
    """[k, n, m] inverses of tall or square [k, m, n] matrices of full rank; NaN where a matrix is exactly singular."""
    if a.shape[1] > a.shape[2]:
        q, r = np.linalg.qr(a)
        return inverses(r) @ adjoint(q)
    try:
        return np.linalg.inv(a)
    except np.linalg.LinAlgError:
        out = np.full_like(a, np.nan)
        regular = np.linalg.slogdet(a)[0] != 0
        if regular.any():
            out[regular] = np.linalg.inv(a[regular])
        return out


def largest_singular_value(a: np.ndarray) -> float:
    """The largest singular value of all matrices [..., m, n].

    sigma_1 <= ||A||_F, so the matrices are decomposed from the largest Frobenius norm down, until no later one can be
    larger.
    """
    stack = a.reshape(-1, *a.shape[-2:])
    norms = np.linalg.norm(stack, axis=(1, 2))
    order = np.argsort(norms)[::-1]
    best, first, count = 0.0, 0, 64
    while first < len(order) and norms[order[first]] > best:
        chosen = order[first : first + count]
        best = max(best, float(np.linalg.svd(stack[chosen], compute_uv=False)[:, 0].max()))
        first, count = first + count, 2 * count
    return best


def _by_svd(a: np.ndarray, rcond: float, scale: float | None) -> np.ndarray:
    u, s, vh = np.linalg.svd(a, full_matrices=False)
    kept = s > rcond * (s[:, :1] if scale is None else scale)
    reciprocal = np.divide(1, s, out=np.zeros_like(s), where=kept)
    return (adjoint(vh) * reciprocal[:, None]) @ adjoint(u)


def adjoint(a: np.ndarray) -> np.ndarray:
    """The conjugate transposes of a stack of matrices [..., m, n]."""
    return a.conj().swapaxes(-1, -2)
