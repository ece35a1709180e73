"""How far rounding may carry a result from the exact one; u = eps / 2 is half the dtype's unit in the last place.

A sum of n products, in whatever order, is off by at most n u sum |w| |x| to first order (Higham 2002, section 3.1), so
the terms that a result is summed from bound what its rounding can be; a product of matrices of i columns, summed over
m taps, has i + m of them. A transform of N samples is off by at most about log2 N eps of its norm (Higham 2002, theorem
24.2), and spreads that evenly, as noise, over all samples: it is the mean that counts, and the largest of many Gaussian
errors is `PEAK` standard deviations.

References
----------
N. J. Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., SIAM (2002), doi:10.1137/1.9780898718027.
"""

from __future__ import annotations

import math

import numpy as np

PEAK = 6.0
_TRANSFORMS = 4.0  # data, kernel and back, and their product


def largest(x: np.ndarray) -> float:
    """max |x| of the finite values, 0 where there are none."""
    finite = x[np.isfinite(x)] if x.dtype.kind == "f" else x
    return max(abs(float(finite.max())), abs(float(finite.min()))) if finite.size else 0.0


def root_mean_square(x: np.ndarray) -> float:
    """sqrt(mean x^2), also where the squares would overflow."""
    peak = largest(x) or 1.0
    return peak * math.sqrt(float(np.square(x / peak, dtype=np.float64).mean()))


def of_sum(terms: float, size: float, *dtypes: np.dtype) -> float:
    """For sums of so many terms with sum |w| |x| <= size; 0 for integers, else by the coarsest dtype."""
    floats = [np.finfo(dtype) for dtype in dtypes if dtype.kind == "f"]
    if not floats:
        return 0.0
    coarsest = max(floats, key=lambda info: float(info.eps))
    return terms * (float(coarsest.eps) / 2 * size + float(coarsest.smallest_subnormal))


def of_transforms(samples: int, size: float, dtype: np.dtype) -> float:
    """For a product of spectra on a grid of so many samples, sum |w| max |x| <= size."""
    return of_sum(2 * _TRANSFORMS * math.log2(samples + 1), size, dtype)


def of_inverse(samples: int, size: float, dtype: np.dtype) -> float:
    """For an inverse filter of data and a kernel whose errors it amplifies; size: root mean square, so amplified.

    An accurate transform's relative error has the root mean square 0.6 eps sqrt(log2 N) (Schatzman 1996,
    doi:10.1137/S1064827593247023); those of data, kernel and result add up to about twice that.
    """
    return of_sum(2 * PEAK * math.sqrt(math.log2(samples + 1)), size, dtype)
