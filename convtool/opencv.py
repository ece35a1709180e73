"""The engine for small kernels by OpenCV (the extra `fast`): a plain sum over the taps in compiled code.

    y[j] = sum_m w[m] e[j + m d]                     images of two axes, stride 1, channels that do not mix

`cv2.filter2D` sums up directly as long as there are few taps; what has more goes to other engines, since it would then
transform, and round as transforms do. It extends images itself where outputs are as many as samples, in a way that is
ours but for periodic images; these, and other paddings, are extended before. Taps are spread by their dilation.

Rounding: each output is a sum of its n products in a fixed order, so with the unit roundoff u of the dtype

    |error| <= (n + 1) u / (1 - (n + 1) u)  sum |w| |x|

OpenCV is imported when it first computes; its threads are those of the process meanwhile.
"""

from __future__ import annotations

import functools
import importlib.util
import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from convtool import boundary, process, scratch
from convtool.errors import SettingError
from convtool.geometry import Geometry

IMPORT = 8e7  # nanoseconds of importing OpenCV
_FEWEST_BY_TRANSFORM = {"float32": 130, "float64": 50}  # samples of a kernel from which on OpenCV transforms
_BAND = 1 << 19  # samples of a band of rows
_BORDERS = {
    "zero": "BORDER_CONSTANT",
    "edge": "BORDER_REPLICATE",
    "reflect": "BORDER_REFLECT_101",
    "symmetric": "BORDER_REFLECT",
}


class OpenCVEngine:
    """Correlation with window taps [g, 1, 1, *extent]; g = 1 is shared by all groups of x."""

    def __init__(self, taps: np.ndarray, geometry: Geometry, dtype: np.dtype) -> None:
        self.geometry, self.dtype = geometry, np.dtype(dtype)
        spread = np.zeros((len(taps), *(span + 1 for span in geometry.span)), dtype)
        spread[:, *(slice(None, None, d) for d in geometry.dilation)] = taps[:, 0, 0]
        self._taps = spread

    def forward(self, x: np.ndarray) -> np.ndarray:
        """[n, g, 1, *outputs] of x [n, g, 1, *grid]."""
        return self._filtered(x, self._taps, self.geometry.padding, self.geometry.boundary)

    def adjoint(self, y: np.ndarray) -> np.ndarray:
        """[n, g, 1, *grid] of y [n, g, 1, *outputs]."""
        margins = tuple((reach, reach) for reach in self.geometry.span)
        extended = self._filtered(y, np.ascontiguousarray(self._taps[:, ::-1, ::-1]), margins, "zero")
        return boundary.fold(extended, self.geometry.padding, self.geometry.boundary)

    def _filtered(self, x: np.ndarray, taps: np.ndarray, margins: boundary.Margins, mode: str) -> np.ndarray:
        reach = [n - 1 for n in taps.shape[1:]]
        grid = x.shape[3:]
        out = np.empty((*x.shape[:3], *(n + sum(m) - r for n, m, r in zip(grid, margins, reach, strict=True))), x.dtype)
        is_same = out.shape[3:] == grid and mode in _BORDERS
        cv2 = _cv2()
        with _our_threads:
            for n, g in np.ndindex(x.shape[:2]):
                kernel, target = taps[g % len(taps)], out[n, g, 0]
                if is_same:
                    anchor = (margins[1][0], margins[0][0])
                    border = getattr(cv2, _BORDERS[mode])
                    cv2.filter2D(np.ascontiguousarray(x[n, g, 0]), -1, kernel, target, anchor, 0, border)
                else:
                    _in_bands(cv2, x[n, g, 0], kernel, margins, mode, target)
        return out


def _in_bands(
    cv2: Any, x: np.ndarray, kernel: np.ndarray, margins: boundary.Margins, mode: str, target: np.ndarray
) -> None:
    """The sums for an image extended by margins, a band of rows at a time, so that it is never whole in memory."""
    (above, _), (before, after) = margins
    width = before + x.shape[1] + after
    most = max(_BAND // width, 1)
    for first in range(0, len(target), most):
        count = min(most, len(target) - first)
        band, found = (scratch.array(name, (count + len(kernel) - 1, width), x.dtype) for name in ("band", "found"))
        boundary.piece(x, (first - above, -before), mode, band)
        cv2.filter2D(band, -1, kernel, found, (0, 0), 0, cv2.BORDER_CONSTANT)
        target[first : first + count] = found[:count, : target.shape[1]]


def is_installed() -> bool:
    """Whether the extra is there."""
    return "cv2" in sys.modules or _is_found()


@functools.cache
def _is_found() -> bool:
    return importlib.util.find_spec("cv2") is not None


def obstacle(taps: np.ndarray, geometry: Geometry, dtype: np.dtype) -> str:
    """Why OpenCV cannot do taps [g, o, i, *extent] as a plain sum, to follow 'engine opencv'; '' where it can."""
    if taps.shape[1:3] != (1, 1) or len(geometry.grid) != 2 or set(geometry.stride) != {1}:
        return "is for kernels of two axes that mix no channels, at stride 1"
    fewest = _FEWEST_BY_TRANSFORM[np.dtype(dtype).name]
    if math.prod(span + 1 for span in geometry.span) >= fewest:
        return f"is for kernels that span fewer than {fewest} samples in {np.dtype(dtype).name}"
    return "" if is_installed() else "is not installed (pip install 'convtool[fast]')"


def checked(taps: np.ndarray, geometry: Geometry, dtype: np.dtype) -> None:
    """Raises SettingError where OpenCV cannot do these taps."""
    if why := obstacle(taps, geometry, dtype):
        raise SettingError(f"engine opencv {why}: use auto, direct, blocks or fft")


def _take_threads() -> Callable[[], None]:
    cv2 = _cv2()
    before = cv2.getNumThreads()
    cv2.setNumThreads(process.workers())
    return lambda: cv2.setNumThreads(before)


_our_threads = process.Change(_take_threads)


@functools.cache
def _cv2() -> Any:
    """OpenCV, imported when it first computes."""
    import cv2

    return cv2
