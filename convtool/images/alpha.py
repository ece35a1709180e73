"""Alpha (opacity) is never convolved: it is split off on reading, resampled like the grid, and put back on writing."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def resample_alpha(alpha: np.ndarray, positions_y: ArrayLike, positions_x: ArrayLike) -> np.ndarray:
    """Alpha [Y, X] at integer positions of the input's grid; outputs outside the frame take the nearest edge's.

    >>> resample_alpha(np.array([[1, 2], [3, 4]]), [0, 1], [-1, 0, 1, 2])
    array([[1, 1, 2, 2],
           [3, 3, 4, 4]])
    """
    rows = np.clip(np.asarray(positions_y, dtype=np.intp), 0, alpha.shape[0] - 1)
    columns = np.clip(np.asarray(positions_x, dtype=np.intp), 0, alpha.shape[1] - 1)
    return alpha[np.ix_(rows, columns)]


def opacity_as(alpha: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Alpha in another dtype, full opacity (an integer's maximum, a float's 1) staying full opacity."""
    if alpha.dtype == dtype:
        return alpha
    share = alpha / _full(alpha.dtype)
    return (np.rint(share * _full(dtype)) if dtype.kind in "iu" else share).astype(dtype)


def _full(dtype: np.dtype) -> float:
    return float(np.iinfo(dtype).max) if dtype.kind in "iu" else 1.0
