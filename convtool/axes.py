"""Axes are named, never guessed from sizes.

An image's axes are a string with one letter per array axis: N (batch; T is taken for N), C (channels), and the spatial
Z, Y, X. A kernel's axes are spatial letters, alone (every channel by itself), after C (one kernel a channel), or after
O and I (channels mix; I is c_in / groups). Letters may stand in any order.

An operation acts along the *kernel's* spatial axes. Every other axis of the image but C is a batch axis, so a YX kernel
on a ZYX stack acts slice by slice. Inside the library every image is [n, c, *spatial], which `Arrangement` makes and
undoes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from convtool.errors import DataError, SettingError

if TYPE_CHECKING:
    import numpy as np

SPATIAL = "ZYX"
_FEW = 4  # samples of a last axis, up to which they are copied one by one
_IMAGE_BY_RANK = {1: "X", 2: "YX", 3: "CYX", 4: "NCYX", 5: "NCZYX"}


def image_axes(shape: Sequence[int], axes: str | None = None, what: str = "the image") -> str:
    """The axes of an array of this shape: those given, checked, or the default of its rank.

    Raises SettingError when the letters do not fit, or when a rank-3 shape looks like YXC and nobody said so.
    """
    if axes is None:
        return _default_axes(tuple(shape), what)
    letters = image_letters(axes)
    if len(letters) != len(shape):
        raise SettingError(
            f"axes {axes} name {len(letters)} axes, but {what} has {len(shape)} (shape {spelled(shape)})"
        )
    return letters


def image_letters(axes: str) -> str:
    """The letters of an image's axes, N for T; raises SettingError for what no image has."""
    letters = str(axes).upper().replace("T", "N")
    if set(letters) - set("NC" + SPATIAL) or len(set(letters)) < len(letters):
        raise SettingError(
            f"axes '{axes}' are unknown: use each of N (or T), C, Z, Y and X at most once, such as YXC or CYX"
        )
    return letters


def _default_axes(shape: tuple[int, ...], what: str) -> str:
    if len(shape) not in _IMAGE_BY_RANK:
        raise SettingError(f"{what} has {len(shape)} axes (shape {spelled(shape)}), expected 1 to 5: say --axes")
    if len(shape) == 3 and shape[-1] in (3, 4) and shape[0] > shape[-1]:
        raise SettingError(f"{what} of shape {spelled(shape)} could be YXC or CYX: say --axes YXC or CYX")
    return _IMAGE_BY_RANK[len(shape)]


def kernel_axes(shape: Sequence[int], image: str, axes: str | None = None) -> str:
    """The axes of a kernel of this shape: those given, checked, or by rank (2 YX, 3 ZYX or CYX, 4 OIYX, 5 OIZYX)."""
    if axes is None:
        by_rank = {1: "X", 2: "YX", 3: "ZYX" if "Z" in image else "CYX", 4: "OIYX", 5: "OIZYX"}
        if len(shape) not in by_rank:
            raise SettingError(f"the kernel has {len(shape)} axes (shape {spelled(shape)}), expected 1 to 5")
        axes = by_rank[len(shape)]
    letters = kernel_letters(axes)
    if len(letters) != len(shape):
        raise SettingError(f"kernel axes {axes} name {len(letters)} axes, but the kernel has shape {spelled(shape)}")
    missing = [letter for letter in spatial_of(letters) if letter not in image]
    if missing:
        raise DataError(
            f"the kernel (axes {letters}, shape {spelled(shape)}) has a {missing[0]} axis, but the image (axes {image})"
            " has none: pass --kernel-axes, or an image with that axis (--axes)"
        )
    return letters


def kernel_letters(axes: str) -> str:
    """The letters of a kernel's axes; raises SettingError for what no kernel has."""
    letters = str(axes).upper()
    rest = set(letters) - set(SPATIAL)
    if rest not in (set(), {"C"}, {"O", "I"}) or len(set(letters)) < len(letters) or rest == set(letters):
        raise SettingError(f"kernel axes '{axes}' are unknown: use YX, CYX, OIYX or the same with Z, in any order")
    return letters


def spatial_of(axes: str) -> str:
    """The spatial letters of an axes string, in canonical order."""
    return "".join(letter for letter in SPATIAL if letter in axes)


def spelled(shape: Sequence[int]) -> str:
    """'8x3x5x5'."""
    return "x".join(str(n) for n in shape) or "()"


def transposed(x: np.ndarray, axes: str, to: str) -> np.ndarray:
    """A view of x, whose axes are `axes`, with the order `to` (the same letters)."""
    return x.transpose([axes.index(letter) for letter in to])


def contiguous(x: np.ndarray) -> np.ndarray:
    """The same values C-contiguous; a copy, where one is needed, in the loops that are the longest.

    NumPy copies along the last axis: of an image's three channels, that takes ten times as long.
    """
    import numpy as np

    if x.flags.c_contiguous or x.ndim < 2 or x.shape[-1] > _FEW:
        return np.ascontiguousarray(x)
    out = np.empty(x.shape, x.dtype)
    for channel in range(x.shape[-1]):
        out[..., channel] = x[..., channel]
    return out


@dataclass(frozen=True)
class Arrangement:
    """How an image with these axes becomes [n, c, *spatial] for an operation along `spatial`, and comes back."""

    axes: str
    shape: tuple[int, ...]
    spatial: str

    @property
    def batch(self) -> str:
        """The axes that the operation runs over one by one, in the image's order."""
        return "".join(letter for letter in self.axes if letter != "C" and letter not in self.spatial)

    @property
    def channels(self) -> int:
        """Length of the C axis; 1 where there is none."""
        return self._length("C") if "C" in self.axes else 1

    @property
    def grid(self) -> tuple[int, ...]:
        """Lengths of the spatial axes that the operation acts along, in Z, Y, X order."""
        return tuple(self._length(letter) for letter in self.spatial)

    def canonical(self, x: np.ndarray) -> np.ndarray:
        """The view (or copy, where batch axes must merge) of x as [n, c, *spatial]."""
        inner = ("C" if "C" in self.axes else "") + self.spatial
        return transposed(x, self.axes, self.batch + inner).reshape(-1, self.channels, *self.grid)

    def result_axes(self, channels: int) -> str:
        """The axes of a result with so many channels: a C axis appears, before the spatial ones, only when it must."""
        if "C" in self.axes or channels == 1:
            return self.axes
        first = min(self.axes.index(letter) for letter in SPATIAL if letter in self.axes)
        return self.axes[:first] + "C" + self.axes[first:]

    def restore(self, y: np.ndarray) -> np.ndarray:
        """A result [n, c, *spatial] in the image's own order of axes (`result_axes`)."""
        result = self.result_axes(y.shape[1])
        inner = ("C" if "C" in result else "") + self.spatial
        lengths = tuple(self._length(letter) for letter in self.batch)
        return transposed(
            y.reshape(*lengths, *y.shape[2 - len(inner) + len(self.spatial) :]), self.batch + inner, result
        )

    def _length(self, letter: str) -> int:
        return self.shape[self.axes.index(letter)]
