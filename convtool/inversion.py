"""The inverse of a convolution, made once and applied to many images.

    x^(f) = H(f)^+ y^(f)         the pseudo-inverse of the periodic operator, as `convtool.deconvolve` with method pinv

For kernels that mix channels one matrix a frequency is inverted, which takes much longer than what is left to do for
each image: two transforms and a product.
"""

from __future__ import annotations

import functools
import numbers
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from convtool import model, ranges
from convtool.axes import image_axes, spelled
from convtool.deconvolution.solvers import periodic
from convtool.errors import DataError, SettingError
from convtool.model import Model


@dataclass(frozen=True, eq=False)
class Inverse:
    """The pseudo-inverse of a periodic convolution on a grid; from `convtool.inverse`.

    Attributes
    ----------
    rcond: singular values at or below rcond x norm count as zero
    norm: the operator's largest singular value
    noise_gain: root-mean-square amplification of white noise
    destroyed: how many of the image's `components` (frequencies x channels) the kernel wipes out: they are zero in x
    """

    _model: Model
    _factors: periodic.Inverse

    @property
    def rcond(self) -> float:
        """The relative cutoff."""
        return self._factors.rcond

    @property
    def norm(self) -> float:
        """The operator's largest singular value."""
        return self._factors.norm

    @property
    def noise_gain(self) -> float:
        """Root-mean-square amplification of white noise."""
        return self._factors.noise_gain

    @property
    def destroyed(self) -> int:
        """Components of an image that count as zero."""
        return self._factors.destroyed

    @property
    def components(self) -> int:
        """Frequencies x channels of an image."""
        return self._factors.components

    @functools.cached_property
    def condition(self) -> float:
        """The largest over the smallest singular value that does not count as zero; infinite where all do."""
        return self.norm / self._factors.least if self._factors.least else float("inf")

    def apply(self, y: np.ndarray) -> np.ndarray:
        """The image x that data y come from, in y's order of axes and the inverse's dtype.

        y: of the shape that the inverse was made for; batch axes (N, or a Z that the kernel has not) of any length

        Raises DataError where y has another shape, or is not finite.
        """
        y = np.asarray(y)
        arrangement = self._model.arrangement
        fixed = [letter not in arrangement.batch for letter in arrangement.axes]
        is_fitting = y.ndim == len(fixed) and all(
            n == m for n, m, is_fixed in zip(y.shape, arrangement.shape, fixed, strict=True) if is_fixed
        )
        if not is_fitting:
            raise DataError(
                f"the inverse is for data of {spelled(arrangement.shape)} (axes {arrangement.axes}), got"
                f" {spelled(y.shape)}: make one for that shape"
            )
        ranges.check_image(y)
        built = replace(self._model, arrangement=replace(arrangement, shape=y.shape))
        return built.framed(self._factors.applied(built.canonical(y)))


def inverse(
    kernel: np.ndarray,
    shape: Sequence[int],
    *,
    rcond: float | None = None,
    dtype: np.dtype | type | str | None = None,
    axes: str | None = None,
    kernel_axes: str | None = None,
    origin: str | Sequence[int] = "center",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    operation: str = "convolve",
) -> Inverse:
    """The pseudo-inverse of a periodic convolution (or correlation), to be applied to any number of images.

    Parameters
    ----------
    kernel: the kernel that made the data; an OIYX kernel takes the data's C axis as its O
    shape: of the data, one image or a batch
    rcond: singular values up to rcond x the largest count as zero; 1000 eps of the dtype if not given
    dtype: float32 or float64, in which all is computed and x comes; the kernel's own if not given, float64 for others
    axes: of the data, as in `convtool.convolve`
    kernel_axes, origin, dilation, groups, operation: those that made the data, as in `convtool.convolve`

    A kernel that mixes channels takes 8 bytes (float64: 16) a frequency and pair of channels: 68 MB for 32 channels of
    128 x 128 in float32.

    Raises
    ------
    convtool.errors.SettingError, convtool.errors.DataError

    Example
    -------
    >>> import numpy as np, convtool
    >>> rng = np.random.default_rng(0)
    >>> x, kernel = rng.random((10, 3, 16, 20)), rng.random((3, 3, 3, 3))
    >>> undo = convtool.inverse(kernel, (3, 16, 20), axes="CYX")
    >>> all(np.allclose(undo.apply(convtool.convolve(image, kernel)), image) for image in x)
    True
    """
    kernel, shape = np.asarray(kernel), tuple(shape)
    if not all(isinstance(n, numbers.Integral) and n >= 1 for n in shape):
        raise SettingError(f"the data's shape must be whole numbers of at least 1, got {shape}")
    image_axes(shape, axes, "the array that the inverse is for")
    if rcond is not None and not 0 <= rcond < 1:
        raise SettingError(f"rcond must be at least 0 and below 1, got {rcond}")
    if not np.any(kernel):
        raise DataError("the kernel is all zeros: nothing of the image is left in the data")
    standing_in = np.broadcast_to(np.zeros((), _dtype(kernel, dtype)), shape)
    built = model.build(
        standing_in,
        kernel,
        axes=axes,
        kernel_axes=kernel_axes,
        origin=origin,
        dilation=dilation,
        groups=groups,
        operation=operation,
        is_data=True,
    )
    return Inverse(built, periodic.inverse(built.operator, rcond))


def _dtype(kernel: np.ndarray, dtype: np.dtype | type | str | None) -> np.dtype:
    found = np.dtype(dtype or (kernel.dtype if kernel.dtype in (np.float32, np.float64) else np.float64))
    if found not in (np.float32, np.float64):
        raise SettingError(f"dtype must be float32 or float64, got {found}")
    return found
