"""How far two arrays are apart: error norms, PSNR and SSIM.

With d = a - b, where b is the reference:
max_abs = max |d|; mean_abs = mean |d|; relative = ||d|| / ||b||; psnr = 10 log10(peak^2 / mean(d^2)) in dB. SSIM is the
mean over all windows of Wang et al. 2004 (`ssim`). Integers are compared by value, so that uint8 does not wrap around.
Everything is summed in float64 over small blocks; no float64 copy of an image is made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from convtool.errors import DataError, SettingError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

_BLOCK = 2**16  # elements: two float64 blocks and their difference stay in the cache
_ROWS = 64  # of an SSIM band, for the same reason
_WINDOW = 11  # Wang et al. 2004: 11 x 11 pixels
_SIGMA, _K1, _K2 = 1.5, 0.01, 0.03


@dataclass(frozen=True)
class Comparison:
    """How far an array is from its reference; psnr and ssim are None where they have no meaning (see `compare`)."""

    max_abs: float
    where: tuple[int, ...]
    mean_abs: float
    relative: float
    psnr: float | None
    ssim: float | None


def compare(a: np.ndarray, b: np.ndarray, axes: str, peak: float | None = None) -> Comparison:
    """Every measure of a against the reference b, two arrays of one shape whose axes are named as in "YXC".

    `where` is the index of the largest difference. `peak` defaults to the largest value of b's integer dtype; without
    one (floats) psnr and ssim are None, as is ssim of an image below 11 x 11, or without Y and X. Raises DataError,
    SettingError.
    """
    peak = peak_of(b.dtype) if peak is None else peak
    found = _differences(a, b)
    return Comparison(
        max_abs=found.largest or _hidden_difference(a, b),
        where=found.where,
        mean_abs=found.mean_abs,
        relative=found.relative(),
        psnr=None if peak is None else found.psnr(peak),
        ssim=ssim(a, b, peak, axes) if peak is not None and {"Y", "X"} <= set(axes) else None,
    )


def _hidden_difference(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference of wide integers that are equal as float64: beyond 2^53 those are no longer exact."""
    import numpy as np

    if a.dtype != b.dtype or a.dtype.kind not in "iu" or a.dtype.itemsize < 8:
        return 0.0
    return float((np.maximum(a, b) - np.minimum(a, b)).view(np.uint64).max())


def max_abs(a: np.ndarray, b: np.ndarray) -> float:
    """The largest absolute difference; raises DataError unless the shapes agree."""
    return _differences(a, b).largest


def relative(a: np.ndarray, b: np.ndarray) -> float:
    """||a - b|| / ||b||; for b = 0 it is 0 where a = 0 and else infinite. Raises DataError unless the shapes agree.

    >>> import numpy as np
    >>> relative(np.array([3.0, 5.0]), np.array([3.0, 4.0]))
    0.2
    """
    return _differences(a, b).relative()


def psnr(a: np.ndarray, b: np.ndarray, peak: float) -> float:
    """10 log10(peak^2 / mean((a - b)^2)) in dB, infinite for equal arrays; raises DataError, SettingError.

    >>> import numpy as np
    >>> round(psnr(np.full((2, 3), 10, np.uint8), np.full((2, 3), 9, np.uint8), peak=255), 2)
    48.13
    """
    return _differences(a, b).psnr(peak)


def peak_of(dtype: np.dtype) -> float | None:
    """The largest value of an integer dtype (255 for uint8); None for floats, which have no natural peak."""
    import numpy as np

    return float(np.iinfo(dtype).max) if np.issubdtype(dtype, np.integer) else None


def ssim(a: np.ndarray, b: np.ndarray, peak: float, axes: str) -> float | None:
    """The structural similarity index of two images, 1 when they are equal; None when Y or X is below 11.

    Per window of 11 x 11 pixels with Gaussian weights (sigma 1.5), weighted means m, variances v and covariance c:
    (2 m_a m_b + C1)(2 c + C2) / ((m_a^2 + m_b^2 + C1)(v_a + v_b + C2)), with C1 = (0.01 peak)^2 and C2 = (0.03 peak)^2;
    averaged over every window inside the YX plane, then over all planes (channels, slices, batch).

    Parameters
    ----------
    a, b : arrays of one shape. peak : the values' range, such as 255. axes : one letter an axis, Y and X among them.

    Raises
    ------
    DataError when shapes or axes do not fit; SettingError for a peak that is not positive.

    References
    ----------
    Z. Wang et al., "Image quality assessment: from error visibility to structural similarity", IEEE Trans. Image
    Process. 13 (2004) 600-612, doi:10.1109/TIP.2003.819861.
    """
    import numpy as np

    _check_shapes(a, b)
    _check_peak(peak)
    if len(axes) != a.ndim or not {"Y", "X"} <= set(axes):
        raise DataError(
            f"axes '{axes}' do not fit an array of shape {a.shape}: name each axis once, Y and X among them"
        )
    a, b = (np.moveaxis(image, (axes.index("Y"), axes.index("X")), (-2, -1)) for image in (a, b))
    if min(a.shape[-2:]) < _WINDOW:
        return None
    totals = [_band_similarity(u, v, peak).sum() for u, v in _bands(a, b)]
    margin = _WINDOW - 1
    return float(math.fsum(totals) / (math.prod(a.shape[:-2]) * (a.shape[-2] - margin) * (a.shape[-1] - margin)))


@dataclass(frozen=True)
class _Differences:
    """The sums over all elements that the measures are made of."""

    largest: float
    where: tuple[int, ...]
    mean_abs: float
    mean_square: float
    reference_square: float  # the mean of b^2

    def relative(self) -> float:
        if self.reference_square == 0:
            return 0.0 if self.mean_square == 0 else math.inf
        return math.sqrt(self.mean_square / self.reference_square)

    def psnr(self, peak: float) -> float:
        _check_peak(peak)
        return math.inf if self.mean_square == 0 else 10 * math.log10(peak**2 / self.mean_square)


def _differences(a: np.ndarray, b: np.ndarray) -> _Differences:
    import numpy as np

    _check_shapes(a, b)
    rows, start = [], 0
    for u, v in _blocks(a, b):
        d = np.abs(u - v)
        place = int(np.argmax(d))
        rows.append((d[place], start + place, d.sum(), d @ d, v @ v))
        start += d.size
    peaks, places, *sums = (np.array(column) for column in zip(*rows, strict=True))
    block = int(np.argmax(peaks))  # a NaN wins, as it should
    where = tuple(int(i) for i in np.unravel_index(int(places[block]), a.shape))
    return _Differences(float(peaks[block]), where, *(float(column.sum()) / a.size for column in sums))


def _blocks(a: np.ndarray, b: np.ndarray) -> np.nditer:
    """Both arrays in C order as float64, flat, and at most _BLOCK elements at a time."""
    import numpy as np

    return np.nditer(
        [a, b],
        flags=["external_loop", "buffered"],
        op_flags=[["readonly"], ["readonly"]],
        op_dtypes=[np.float64, np.float64],
        casting="same_kind",
        order="C",
        buffersize=_BLOCK,
    )


def _bands(a: np.ndarray, b: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Bands of rows of every YX plane, as float64; neighbours overlap so that each window lies in exactly one band."""
    import numpy as np

    for plane in np.ndindex(a.shape[:-2]):
        for top in range(0, a.shape[-2] - _WINDOW + 1, _ROWS):
            rows = slice(top, top + _ROWS + _WINDOW - 1)
            yield a[plane][rows].astype(np.float64), b[plane][rows].astype(np.float64)


def _band_similarity(a: np.ndarray, b: np.ndarray, peak: float) -> np.ndarray:
    mean_a, mean_b = _windowed(a), _windowed(b)
    variances = _windowed(a * a) - mean_a**2 + _windowed(b * b) - mean_b**2
    covariance = _windowed(a * b) - mean_a * mean_b
    c1, c2 = (_K1 * peak) ** 2, (_K2 * peak) ** 2
    return ((2 * mean_a * mean_b + c1) * (2 * covariance + c2)) / ((mean_a**2 + mean_b**2 + c1) * (variances + c2))


def _windowed(plane: np.ndarray) -> np.ndarray:
    """The Gaussian mean over every window that lies inside the plane."""
    import numpy as np
    from scipy.ndimage import correlate1d

    margin = _WINDOW // 2
    weights = np.exp(-0.5 * (np.arange(-margin, margin + 1) / _SIGMA) ** 2)
    weights /= weights.sum()
    rows = correlate1d(plane, weights, axis=0)[margin:-margin]
    return correlate1d(rows, weights, axis=1)[:, margin:-margin]


def _check_shapes(a: np.ndarray, b: np.ndarray) -> None:
    if a.shape != b.shape:
        raise DataError(f"cannot compare shape {a.shape} with shape {b.shape}: crop or pad one to the other's size")
    if a.size == 0:
        raise DataError(f"cannot compare empty arrays (shape {a.shape}): pass images with at least one pixel")


def _check_peak(peak: float) -> None:
    if not 0 < peak < math.inf:
        raise SettingError(f"peak must be a finite number above 0 (255 for 8-bit images), got {peak:g}")
