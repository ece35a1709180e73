"""Normalised convolution: of images of which some pixels were not observed (dead, cosmic rays, NaN).

With m = 1 where a pixel was observed and 0 elsewhere, both continued outside the frame as the boundary says, and A the
convolution or correlation with taps k,

    y = A(m x) / A(m) * sum(k)

so every output is sum(k) times the weighted mean of the observed pixels under the kernel (Knutsson and Westin), as
`astropy.convolution.convolve` computes for kernels that it normalises. Where all are observed it is A x.

- Taps. A weighted mean has weights of one sign. With both signs A(m) can vanish, or turn its sign, while nearly all is
  observed, and no normalisation is right: the answer of a derivative to a constant is 0, and becomes anything once one
  of its pixels is missing. Such kernels are refused as soon as a pixel was not observed. Of taps that mix channels,
  those of one output are to be of one sign, and the mean runs over its input channels together. An output whose taps
  are all zero is zero whatever was observed.
- Outputs that rest on nothing. Where the observed pixels carry less than 1e-9 of the kernel's weight, y is NaN: nothing
  but a far tail of the kernel would speak for them, and rounding as loud.
- Boundaries. `periodic`, `edge`, `reflect` and `symmetric` continue the mask with the image: a copy of a pixel is as
  unobserved as that. The zeros of `zero` are known to be zeros, which is to have observed them.
- Windows. Padding, stride, dilation and origin are the operator's, in numerator and denominator. A bias is added at the
  end; it is no part of the mean.
- Precision. Both are computed in double precision, since where few pixels were observed a division amplifies rounding;
  the result has the operator's dtype.

References
----------
Knutsson, H., Westin, C.-F. (1993). Normalized and differential convolution. Proceedings of IEEE Conference on Computer
Vision and Pattern Recognition, 515-523. doi:10.1109/CVPR.1993.341081
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from convtool import boundary
from convtool.errors import DataError
from convtool.operators import Convolution

_LEAST = 1e-9  # share of the kernel's weight that an output rests on at least


def forward(operator: Convolution, x: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """sum(k) A(m x) / A(m) [n, c_out, *outputs] of x [n, c_in, *grid] and, alike, which of it was observed.

    NaN where nothing was; x may hold anything finite where it was not. Raises DataError for taps of both signs.
    """
    check_signs(operator.kernel.taps)
    exact = replace(operator, dtype=np.dtype(np.float64))
    total = _sums(operator)
    share = _observed_weight(exact, observed)
    np.divide(share, total, out=share, where=total != 0)
    share[:, total.ravel() == 0] = 1
    y = exact.forward(np.where(observed, x, 0))
    y = np.divide(y, share, out=np.full_like(y, np.nan), where=share >= _LEAST)
    with np.errstate(over="ignore"):
        return y.astype(operator.dtype, copy=False)


def check_signs(taps: np.ndarray) -> None:
    """Raises DataError unless the taps [g, o, i, *extent] of every output are of one sign."""
    inner = tuple(range(2, taps.ndim))
    mixed = (taps < 0).any(axis=inner) & (taps > 0).any(axis=inner)
    if mixed.any():
        raise DataError(
            "the kernel has taps of both signs, so what lies on unobserved pixels cannot be made up for by the rest:"
            " use a kernel without negative taps, or fill these pixels (--nan nearest, mean or zero)"
        )


def _sums(operator: Convolution) -> np.ndarray:
    """The sum of the taps of every output channel, [c_out, 1, ...]."""
    taps = operator.kernel.taps
    sums = taps.sum(axis=tuple(range(2, taps.ndim)))
    every = np.broadcast_to(sums, (operator.groups, sums.shape[1]))
    return every.reshape(-1, *[1] * (taps.ndim - 3))


def _observed_weight(operator: Convolution, observed: np.ndarray) -> np.ndarray:
    """A(m): what the taps on observed pixels sum to.

    What is continued outside is what was *not* observed, so that the zeros of boundary `zero` count.
    """
    geometry = operator.geometry
    extended = ~boundary.extend(~observed, geometry.padding, geometry.boundary)
    windows = replace(geometry, grid=geometry.extended, padding=tuple((0, 0) for _ in geometry.grid))
    return replace(operator, geometry=windows).forward(extended)
