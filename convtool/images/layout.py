"""How an array's axes are laid out for a format that holds single pictures."""

from __future__ import annotations

import numpy as np

from convtool.axes import contiguous, spelled, transposed
from convtool.errors import SettingError


def plane_axes(what: str, axes: str, shape: tuple[int, ...]) -> str:
    """'YX' or 'YXC' for one picture of 1 or 3 channels; raises SettingError for anything else."""
    sizes = dict(zip(axes, shape, strict=True))
    if "Y" not in sizes or "X" not in sizes or sizes.get("N", 1) * sizes.get("Z", 1) > 1:
        raise SettingError(f"a {what} holds one picture, got axes {axes} (shape {spelled(shape)}): write .tif or .npy")
    channels = sizes.get("C", 1)
    if channels not in (1, 3):
        raise SettingError(f"a {what} holds 1 or 3 channels, got {channels}: write .tif or .npy")
    return "YX" if channels == 1 else "YXC"


def laid_out(data: np.ndarray, axes: str, order: str) -> np.ndarray:
    """The data in another order of axes, C-contiguous; letters that `order` lacks have length 1 and go."""
    extra = tuple(place for place, letter in enumerate(axes) if letter not in order)
    kept = "".join(letter for letter in axes if letter in order)
    return contiguous(transposed(data.squeeze(extra), kept, order))
