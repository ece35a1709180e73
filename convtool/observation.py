"""Observation: data y = A x + noise, the operator A that made them, and what is known of how they were recorded.

`boundary` says what the scene does outside the data's frame. The five modes of `convtool.boundary` are part of A. With
`unknown`, light came in from a scene that goes on outside: A maps that larger scene to the windows that lie inside it
(padding "valid"), and the frame is the part of it that lies under the data.

`weights` [n, c_out, *outputs], 0 or 1, says which of the data count: the others may hold anything finite.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from convtool import boundary
from convtool.axes import spelled
from convtool.errors import DataError, SettingError, listed

if TYPE_CHECKING:
    from convtool.model import Model
    from convtool.operators import Convolution

UNKNOWN, AUTO = "unknown", "auto"
BOUNDARIES = (AUTO, UNKNOWN, *boundary.MODES)
EFFORTS = ("low", "normal", "high")


class Rounding(NamedTuple):
    """Rounding that data went through: the standard deviation that it left in them at least and typically (in linear
    light it grows with the signal), to how many bits it was, and whether it was that of a lossy compression, whose
    noise is not white."""

    level: float
    bits: int
    typical: float
    is_lossy: bool = False

    @classmethod
    def to(cls, dtype: np.dtype) -> Rounding | None:
        """That of values which were rounded to a dtype; None for floats."""
        return cls(12**-0.5, 8 * dtype.itemsize, 12**-0.5) if dtype.kind in "iu" else None


@dataclass(frozen=True, eq=False)
class Observation:
    """Data [n, c_out, *outputs] in the computing dtype, and how they came about.

    Attributes
    ----------
    y, operator: y = A x + noise
    boundary: one of `convtool.boundary.MODES`, or "unknown"
    weights: which of the data count, 0 or 1, in y's shape; None: all
    rounding: what rounding to integers left in the data; None for floats
    spacing: distance of samples on each spatial axis, in any unit
    effort: "low", "normal" or "high": how much time a result is worth
    """

    y: np.ndarray
    operator: Convolution
    boundary: str = "periodic"
    weights: np.ndarray | None = None
    rounding: Rounding | None = None
    spacing: tuple[float, ...] | None = None
    effort: str = "normal"

    def images(self) -> Iterator[Observation]:
        """One observation for every image of the batch."""
        for n in range(len(self.y)):
            weights = None if self.weights is None else self.weights[n : n + 1]
            yield replace(self, y=self.y[n : n + 1], weights=weights)

    def complete(self, method: str) -> np.ndarray:
        """The data, for a method that needs all there are of a scene; raises SettingError where some are missing."""
        if self.boundary == UNKNOWN and method == "pinv":
            raise SettingError(
                "method pinv inverts periodic data, got boundary unknown: use tikhonov, wiener, tv, rl or non-local"
            )
        if self.weights is not None:
            raise SettingError(
                f"method {method} cannot leave pixels out (mask, NaN, saturation): use tikhonov, wiener, tv, rl or"
                " non-local, or fill NaN (--nan nearest)"
            )
        return self.y

    def idle_spacing(self, method: str) -> tuple[str, ...]:
        """What to say of a spacing that a method has no use for."""
        if len(set(self.spacing or ())) < 2:
            return ()
        return (f"the spacing plays no part in method {method}: it is for methods that smooth (tv, tikhonov, wiener)",)


def observe(
    built: Model,
    y: np.ndarray,
    boundary: str,
    mask: np.ndarray | None = None,
    rounding: Rounding | None = None,
    spacing: Sequence[float] | None = None,
    effort: str = "normal",
) -> Observation:
    """The observation that data y are, for a model built for them with this boundary; see `convtool.deconvolve`."""
    data, spatial = built.canonical(y), built.arrangement.grid
    weights = None if mask is None else built.canonical(mask)
    return Observation(
        data,
        built.operator,
        boundary,
        weights,
        rounding,
        checked_spacing(spacing, len(spatial)),
        checked_effort(effort),
    )


def check_boundary(mode: str) -> None:
    """Raises SettingError for a name that is no boundary of data."""
    if mode not in BOUNDARIES:
        raise SettingError(f"unknown boundary '{mode}': use {listed(BOUNDARIES)}")


def checked_spacing(spacing: object, ndim: int) -> tuple[float, ...] | None:
    """Distances of samples along `ndim` axes; raises SettingError for others."""
    if spacing is None:
        return None
    found = tuple(np.atleast_1d(np.asarray(spacing, np.float64)).tolist())
    if len(found) != ndim or not all(0 < step < np.inf for step in found):
        raise SettingError(f"spacing must be {ndim} numbers above 0 (one per axis of the kernel), got {spacing}")
    return found


def checked_effort(effort: str) -> str:
    """The effort itself; raises SettingError that lists those there are."""
    if effort not in EFFORTS:
        raise SettingError(f"unknown effort '{effort}': use {listed(EFFORTS)}")
    return effort


def spread(mask: np.ndarray, axes: str, shape: tuple[int, ...]) -> np.ndarray:
    """A mask, true where it is nonzero, in the shape of data with these axes; it may have the axes YX or ZYX alone.

    Raises DataError for a mask of another shape, and where nothing is left.
    """
    mask = np.asarray(mask) != 0
    letters = axes if mask.shape == shape else "ZYX"[-mask.ndim :] if 0 < mask.ndim <= 3 else ""
    lengths = dict(zip(axes, shape, strict=True))
    if not letters or mask.shape != tuple(lengths.get(letter, 0) for letter in letters):
        raise DataError(
            f"the mask has shape {spelled(mask.shape)}, the data {spelled(shape)} (axes {axes}): give a mask of the"
            " data's shape, or of its Y and X axes"
        )
    if not mask.any():
        raise DataError("the mask leaves nothing of the data: it must be nonzero where they count")
    mask = mask.transpose([letters.index(letter) for letter in axes if letter in letters])
    return np.broadcast_to(mask.reshape([n if letter in letters else 1 for letter, n in lengths.items()]), shape)


def unsaturated(y: np.ndarray, share: float) -> np.ndarray:
    """Which data lie below this share of their dtype's maximum, for floats of their own greatest finite value.

    Raises SettingError for a share outside 0..1, DataError where none does.
    """
    if not 0 < share <= 1:
        raise SettingError(f"saturation must be a share above 0 and at most 1, such as 0.99, got {share}")
    top = np.iinfo(y.dtype).max if y.dtype.kind in "iu" else y.max(where=np.isfinite(y), initial=-np.inf)
    free = y < share * top
    if not free.any():
        raise DataError(f"no data lie below {share:g} of their maximum, {top:g}: leave saturation out, or raise it")
    return free


def counted(
    y: np.ndarray, axes: str, mask: np.ndarray | None, saturation: float | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Data, and the mask in their shape of what counts; what does not, and is no number, is filled by the others' mean.

    Raises as `spread` and `unsaturated` do.
    """
    found = None if mask is None else spread(mask, axes, y.shape)
    if saturation is not None:
        free = unsaturated(y, saturation)
        free |= np.isnan(y) if y.dtype.kind == "f" else False  # those are for the mask alone to leave out
        found = spread(free if found is None else free & found, axes, y.shape)
    if found is None or y.dtype.kind != "f":
        return y, found
    finite = np.isfinite(y)
    lost, known = ~(found | finite), found & finite
    if not lost.any() or not known.any():
        return y, found
    mean = np.divide(y, np.count_nonzero(known), out=np.zeros(y.shape), where=known).sum()  # a sum may overflow
    return np.where(lost, y.dtype.type(mean), y), found
