"""A kernel from the point sources in a frame: stars, beads, pinholes.

Isolated peaks are found (`sources`), each cut out with a margin, from which its own background is taken, laid upon
each other to a fraction of a sample and averaged robustly (`registration`). Sources whose shape is far from the median
one (galaxies, blends, cosmic rays) are left out. The mean is then made a kernel: the nearest taps, in least squares,
that are not negative and have its sum, max(K - t, 0); merely clipping at 0 would keep the noise's positive half.

The origin is the middle tap, where the centroid of the mean under a Gaussian window of a sixth of the size lies.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

from convtool import axes as axes_
from convtool import ranges
from convtool.errors import DataError, SettingError
from convtool.estimation import sources
from convtool.estimation.estimate import KernelEstimate, centroid, rim_share, widths
from convtool.estimation.registration import Stack, Windows, centroids, stacked
from convtool.estimation.support import kernel_axes, support
from convtool.estimation.verdict import star_notes

_MOST = 500  # sources that are averaged: the brightest
_MARGIN = 4  # a part of the kernel's size, about the window: for the background and the shift
_ROUNDS = 3  # of leaving out sources of another shape
_STRANGE = 5.0  # deviation of a shape, in units of the usual one, above which it is another
_USUAL, _OTHER = 0.03, 0.5  # relative deviations below which no shape is another, and above which every one is
_ENOUGH, _FEW_STRANGE = 5, 0.3  # sources that tell the usual deviation, and what counts where there are fewer
_ROUNDING = 1e-9  # least noise, over the largest value
_MAD = 1.4826


def from_stars(
    frame: np.ndarray,
    size: int | Sequence[int],
    *,
    axes: str | None = None,
    threshold: float = 20.0,
    saturation: float | None = None,
) -> KernelEstimate:
    """The kernel that point sources in a frame show: their mean image, without background, sum 1.

    K = sum_i w_i [frame(x + d_i) - background_i] / sum_i w_i f_i   over isolated sources i at d_i, of flux f_i.

    Parameters
    ----------
    frame: real array with axes YX or ZYX (others of length 1)
    size: taps along the frame's axes, odd; one number holds for all
    axes: letters of the frame's axes, by rank YX, CYX, ...: a stack of beads is ZYX
    threshold: height of the peaks to be used, in sigmas of the smoothed frame's noise
    saturation: value from which a sample counts as saturated; None: an integer dtype's largest value, or the frame's
        own where three sources reach it

    Returns
    -------
    The kernel (float64; origin at its middle tap), each tap's standard error, and in `metrics` the numbers of stars
    and the positions of those that were used.

    Raises
    ------
    convtool.errors.SettingError, convtool.errors.DataError

    References
    ----------
    See `convtool.estimation.registration`.

    Example
    -------
    >>> import numpy as np, convtool
    >>> frame = np.random.default_rng(0).normal(10.0, 0.01, (60, 80))
    >>> for y, x in ((15, 20), (30, 60), (45, 25)):
    ...     frame[y - 1 : y + 2, x - 1 : x + 2] += np.outer([1, 3, 1], [1, 3, 1])
    >>> from_stars(frame, 5).kernel[2, 1:4].round(2)
    array([0.12, 0.36, 0.12])
    """
    signal, unit, full, taps = _prepared(np.asarray(frame), size, axes, threshold, saturation)
    level, noise = sources.background(signal, taps)
    noise = max(noise, _ROUNDING)
    found = sources.find(signal - level, full, taps, float(threshold), _ROUNDING)
    if not len(found.places):
        raise DataError(_nothing(found, float(threshold), taps))
    places = found.places[:_MOST]
    windows = _cut(signal - level, places, taps, noise)
    stack, kept = _consistent(windows)
    return _estimate(stack, windows, found, places[kept], unit, taps)


def _prepared(
    frame: np.ndarray, size: int | Sequence[int], axes: str | None, threshold: float, saturation: float | None
) -> tuple[np.ndarray, float, np.ndarray, tuple[int, ...]]:
    """The frame [*grid] over its largest value, that value, where it is saturated, and the kernel's taps."""
    for value, what in ((threshold, "threshold"), (saturation, "saturation")):
        is_number = isinstance(value, numbers.Real) and math.isfinite(value)
        if value is not None and not (is_number and (what == "saturation" or float(value) > 0)):
            raise SettingError(f"the {what} must be a finite number{' above 0' * (what == 'threshold')}, got {value}")
    ranges.check_image(frame)
    letters = axes_.image_axes(frame.shape, axes)
    for letter, n in zip(letters, frame.shape, strict=True):
        if letter in "NC" and n > 1:
            what = "channels" if letter == "C" else "images"
            raise DataError(
                f"the frame has {n} {what} (axes {letters}, shape {axes_.spelled(frame.shape)}): sources are found in"
                " one grey frame (YX) or stack (ZYX), so take one of them, or name its axes (--axes)"
            )
    spatial = kernel_axes(size, letters)
    if len(spatial) < 2 or spatial != axes_.spatial_of(letters):
        raise SettingError(
            f"the frame has axes {letters}: give one --size for all of them, or one for each, at least 2"
        )
    grid = axes_.Arrangement(letters, frame.shape, spatial).canonical(frame)[0, 0]
    taps = support(size, grid.shape, spatial)
    even = [n for n in taps if n % 2 == 0]
    if even:
        raise SettingError(f"point sources are centred on the middle tap, so the size must be odd: use {even[0] + 1}")
    if max(taps) < 3:
        raise SettingError(f"a kernel of {axes_.spelled(taps)} shows no shape: give a size of 3 or more")
    values = grid.astype(np.float64)
    unit = float(abs(values).max()) or 1.0
    return values / unit, unit, sources.saturated(grid, saturation), taps


def _nothing(found: sources.Sources, threshold: float, taps: tuple[int, ...]) -> str:
    if not found.found:
        return f"no source stands out by {threshold:g} sigma: lower --threshold, or take a frame with brighter sources"
    why = ", ".join(f"{count} {_REASONS[reason]}" for reason, count in found.rejected.items() if count)
    return (
        f"none of the {found.found} sources above {threshold:g} sigma can be used ({why}): try a --size smaller than"
        f" {axes_.spelled(taps)}, or another frame"
    )


_REASONS = {"border": "too near the frame's border", "saturated": "saturated", "neighbours": "with near neighbours"}


def _cut(signal: np.ndarray, places: np.ndarray, taps: tuple[int, ...], noise: float) -> Windows:
    """The windows about the sources, each without the mean of its margin, which then tapers off."""
    margin = [max(3, n // _MARGIN) if n > 1 else 0 for n in taps]
    half = [n // 2 + m for n, m in zip(taps, margin, strict=True)]
    padded = np.pad(signal, [(h, h) for h in half], constant_values=np.nan)
    values = np.stack([padded[tuple(slice(p, p + 2 * h + 1) for p, h in zip(at, half, strict=True))] for at in places])
    box = tuple(slice(m, m + n) for m, n in zip(margin, taps, strict=True))
    outside = np.ones(values.shape[1:], bool)
    outside[box] = False
    taper = np.ones(1)
    for n, m in zip(taps, margin, strict=True):
        fall = np.cos(np.pi / 2 * np.arange(1, m + 1) / (m + 1)) ** 2
        taper = np.multiply.outer(taper, np.concatenate([fall[::-1], np.ones(n), fall]))
    for window in values:
        rest = window[outside]
        rest = rest[np.isfinite(rest)]
        window -= sources.clipped(rest)[0] if len(rest) else 0.0
    return Windows(np.where(np.isfinite(values), values, 0) * taper[0], box, noise)


def _consistent(windows: Windows) -> tuple[Stack, np.ndarray]:
    """The mean of the sources whose shapes agree, and which these are."""
    kept = np.arange(len(windows.values))
    starts = centroids(windows)
    for _ in range(_ROUNDS):
        stack = stacked(Windows(windows.values[kept], windows.box, windows.noise), starts[kept])
        limit = _STRANGE * _MAD * float(np.median(stack.deviations))
        limit = min(max(limit, _USUAL), _OTHER) if len(kept) >= _ENOUGH else _FEW_STRANGE
        agree = stack.deviations <= limit
        if agree.all() or len(kept) == 1:
            return stack, kept
        kept = kept[agree] if agree.any() else kept[:1]  # the brightest, where no two agree
    return stacked(Windows(windows.values[kept], windows.box, windows.noise), starts[kept]), kept


def _estimate(
    stack: Stack, windows: Windows, found: sources.Sources, places: np.ndarray, unit: float, taps: tuple[int, ...]
) -> KernelEstimate:
    kernel, error = _projected(stack.mean[windows.box]), stack.error[windows.box]
    rejected = found.rejected | {"shape": len(windows.values) - len(places)}
    if found.found - sum(rejected.values()) > len(places):
        rejected["fainter"] = found.found - sum(rejected.values()) - len(places)
    positions = places + stack.places
    metrics: dict[str, Any] = {
        "found": found.found,
        "used": len(places),
        "rejected": {name: count for name, count in rejected.items() if count},
        "fwhm": widths(kernel),
        "relative_error": float(np.linalg.norm(error) / np.linalg.norm(kernel)),
        "standard_error_median": float(np.median(error)),
        "standard_error_max": float(error.max()),
        "spread": float(np.sqrt(np.average(stack.deviations**2, weights=stack.fluxes**2))),
        "noise_level": windows.noise * unit,
        "centroid": centroid(kernel, [n // 2 for n in taps]),
        "rim_share": rim_share(kernel),
        "positions": positions.round(3).tolist(),
        "fluxes": (stack.fluxes * unit).tolist(),
    }
    return KernelEstimate(kernel, error, metrics, star_notes(kernel, error, metrics))


def _projected(mean: np.ndarray) -> np.ndarray:
    """The nearest taps that are not negative and sum to 1: max(mean - t, 0)."""
    ordered = np.sort(mean.ravel())[::-1]
    excess = (ordered.cumsum() - 1) / np.arange(1, mean.size + 1)
    t = excess[int(np.flatnonzero(ordered > excess)[-1])]
    kernel = (mean - t).clip(0)
    return kernel / kernel.sum()
