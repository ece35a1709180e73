"""NaN and infinite pixels: refused with where and how many, or filled when the user says how."""

from __future__ import annotations

import dataclasses

import numpy as np

from convtool.errors import DataError, SettingError, listed
from convtool.images.image import Image

CHOICES = ("refuse", "keep", "zero", "mean", "nearest")


class NonFiniteError(DataError):
    """An image was refused for its NaN and infinities; its text says how they can be filled."""


def check_choice(nan: str) -> None:
    """Raises SettingError for an unknown way of treating NaN."""
    if nan not in CHOICES:
        raise SettingError(f"unknown --nan '{nan}': use {listed(CHOICES)}")


def settle(image: Image, nan: str) -> Image:
    """The image without NaN and infinities: refused, or filled by 'zero', 'mean' (of the finite) or 'nearest'; or with
    them, for 'keep'.

    Raises NonFiniteError when there are some and they are refused, DataError when nothing finite is left to fill from.
    """
    if image.data.dtype.kind != "f" or nan == "keep":
        return image
    bad = ~np.isfinite(image.data)
    count = int(np.count_nonzero(bad))
    if not count:
        return image
    if nan == "refuse":
        first = np.unravel_index(int(np.argmax(bad)), bad.shape)
        where = ", ".join(f"{letter}={index}" for letter, index in zip(image.axes, first, strict=True))
        raise NonFiniteError(
            f"{image.name} has {count} NaN or infinite values, first at {where}:"
            " use --nan zero, mean or nearest to fill them"
        )
    if count == bad.size:
        raise DataError(f"{image.name} has no finite value at all: nothing to compute")
    filled = _nearest(image, bad) if nan == "nearest" else _constant(image.data, bad, nan)
    note = f"{count} NaN or infinite values of {image.name} were filled (--nan {nan})"
    return dataclasses.replace(image, data=filled, assumed=(*image.assumed, note))


def _constant(data: np.ndarray, bad: np.ndarray, nan: str) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        value = 0.0 if nan == "zero" else np.mean(data, where=~bad, dtype=np.float64)
        if not np.isfinite(value):  # what is finite adds up to more than there are numbers for
            value = np.sum(data / np.count_nonzero(~bad), where=~bad)
    return np.where(bad, data.dtype.type(value), data)


def _nearest(image: Image, bad: np.ndarray) -> np.ndarray:
    """Each bad value takes the nearest finite one of its own Y,X plane."""
    from scipy.ndimage import distance_transform_edt

    plane = [image.axes.index(letter) for letter in "YX" if letter in image.axes]
    last = range(-len(plane), 0)
    filled = image.data.copy()
    values, holes = np.moveaxis(filled, plane, last), np.moveaxis(bad, plane, last)
    for index in np.ndindex(values.shape[: values.ndim - len(plane)]):
        hole = holes[index]
        if hole.all():
            raise DataError(f"{image.name} has a Y,X plane without a finite value: use --nan zero or mean")
        nearest = distance_transform_edt(hole, return_distances=False, return_indices=True)
        values[index] = values[index][tuple(nearest)]
    return filled
