"""The support of an estimated kernel: its size on each axis, checked against the image, and its origin."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

from convtool.axes import spatial_of, spelled
from convtool.errors import DataError, SettingError

_AXES = {1: "X", 2: "YX", 3: "ZYX"}


def kernel_axes(size: int | Sequence[int], image_axes: str) -> str:
    """The axes of a kernel of this size: as many of Z, Y, X as it has numbers, or for one number all of the image's.

    >>> kernel_axes((5, 7), "ZYX"), kernel_axes(5, "ZYX")
    ('YX', 'ZYX')
    """
    spatial = spatial_of(image_axes)
    if isinstance(size, numbers.Integral):
        if not spatial:
            raise SettingError(f"axes {image_axes} have none of Z, Y and X, along which a kernel lies: name one")
        return spatial
    lengths = tuple(size) if isinstance(size, Sequence | np.ndarray) else ()
    if len(lengths) not in _AXES:
        raise SettingError(f"the size must be one whole number, or one for each of Y,X or Z,Y,X, got {size}")
    if set(_AXES[len(lengths)]) - set(spatial):
        raise SettingError(
            f"a size of {len(lengths)} numbers is for the axes {_AXES[len(lengths)]}, but the image has axes"
            f" {image_axes}: give {len(spatial)}, or one for all"
        )
    return _AXES[len(lengths)]


def support(size: int | Sequence[int], grid: Sequence[int], spatial: str) -> tuple[int, ...]:
    """The taps on each axis of a grid; raises SettingError for no size, DataError for one larger than the image."""
    lengths: tuple[Any, ...] = (size,) * len(grid) if isinstance(size, numbers.Integral) else tuple(size)  # type: ignore[arg-type]
    if not all(isinstance(n, numbers.Integral) and int(n) >= 1 for n in lengths):
        raise SettingError(f"the size must be whole numbers of at least 1, got {','.join(map(str, lengths))}")
    found = tuple(int(n) for n in lengths)
    if any(n > m for n, m in zip(found, grid, strict=True)):
        raise DataError(
            f"a kernel of {spelled(found)} does not fit into the image of {spelled(grid)} ({spatial}): use a smaller"
            " --size"
        )
    return found
