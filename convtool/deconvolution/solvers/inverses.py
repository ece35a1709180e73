"""Moore-Penrose inverses of stacks of small matrices.

Singular values at or below a cutoff count as zero. Most matrices of a stack are far from it, and for those the
pseudo-inverse is an ordinary inverse: A^-1 by LU where A is square, R^-1 Q^H from A = Q R where it is tall, the adjoint
of that where it is wide. Since

    1 / ||A^+||_F <= sigma_min <= sqrt(min(m, n)) / ||A^+||_F,

the inverse itself tells which matrices those are; only the others are decomposed by SVD. Matrices of few rows or
columns go through Gram-Schmidt, all at once; the others through LAPACK, one by one. Blocks of the stack are spread over
the threads of the process; what comes out does not depend on their number.
"""

from __future__ import annotations

import math

import numpy as np

from convtool import blas, process
from convtool.deconvolution.solvers import gram_schmidt
from convtool.deconvolution.solvers.norms import blocks, frobenius, peak, power_of_two
from convtool.errors import DataError, SettingError

MARGIN = 2.0  # how far above the cutoff sigma_min must be for the factorisation: it is computed with rounding


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
    is_numeric = a.ndim >= 2 and a.dtype.kind in "biufc"
    a = a if a.dtype.kind in "fc" or not is_numeric else a.astype(np.float64)
    if not is_numeric or not math.isfinite(largest := peak(a)):
        raise DataError(f"expected finite matrices of shape [..., m, n], got shape {a.shape} of {a.dtype}")
    rcond = default_rcond(a.dtype) if rcond is None else rcond
    if not 0 <= rcond < 1:
        raise SettingError(f"rcond must be at least 0 and below 1, got {rcond}")
    lead, (m, n) = a.shape[:-2], a.shape[-2:]
    if a.size == 0:
        return np.zeros((*lead, n, m), a.dtype)
    unit = power_of_two(largest)  # so that no square over- or underflows
    with blas.single_threaded():
        out = _inverted(a.reshape(-1, m, n), unit, rcond, None if scale is None else scale / unit)
    return out.reshape(*lead, n, m)


def _inverted(a: np.ndarray, unit: float, rcond: float, scale: float | None) -> np.ndarray:
    out = np.empty((len(a), a.shape[2], a.shape[1]), a.dtype)
    real = a.real.dtype.type(unit)

    def invert(part: slice) -> np.ndarray:
        """Which of a block are not certain."""
        some = a[part] / real
        inverse, least = regular_inverses(some)
        doubtful = ~(least > MARGIN * rcond * (frobenius(some) if scale is None else scale))
        inverse[doubtful] = 0
        np.divide(inverse, real, out=out[part], casting="same_kind")
        return doubtful

    def decompose(chosen: np.ndarray) -> None:
        out[chosen] = by_svd(a[chosen] / real, rcond, scale)[0] / real

    parts = blocks(len(a), a.shape[1] * a.shape[2])
    doubtful = np.flatnonzero(np.concatenate(process.each(invert, parts)))
    process.each(decompose, [doubtful[part] for part in blocks(len(doubtful), a.shape[1] * a.shape[2])])
    return out


def regular_inverses(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[k, n, m] pseudo-inverses of matrices [k, m, n] taken for regular, and lower bounds [k] of their sigma_min.

    The bound is 1 / ||A^+||_F, up to rounding; 0 where the inverse is worth nothing, or its square overflows.
    """
    if min(a.shape[1:]) <= gram_schmidt.MOST:
        out = gram_schmidt.inverted(a)
    else:
        out = inverses(a) if a.shape[1] >= a.shape[2] else adjoint(inverses(adjoint(a)))
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        least = 1 / frobenius(out)
    return out, np.where(least > 0, least, 0)


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


def by_svd(a: np.ndarray, rcond: float, scale: float | None) -> tuple[np.ndarray, np.ndarray]:
    """[k, n, m] pseudo-inverses of matrices [k, m, n], and their singular values [k, min(m, n)], those cut off too.

    Values at or below rcond times the scale, or each matrix's own largest without one, count as zero.
    """
    u, s, vh = np.linalg.svd(a, full_matrices=False)
    kept = s > rcond * (s[:, :1] if scale is None else scale)
    reciprocal = np.divide(1, s, out=np.zeros_like(s), where=kept)
    return (adjoint(vh) * reciprocal[:, None]) @ adjoint(u), s


def adjoint(a: np.ndarray) -> np.ndarray:
    """The conjugate transposes of a stack of matrices [..., m, n]."""
    return a.conj().swapaxes(-1, -2)
