"""A kernel from a sharp and a blurred image of one scene.

    y = gain (k * x) + offset + noise,   k >= 0,  sum(k) = 1

is linear in w = gain k, so the taps are a least-squares problem with as many unknowns as taps (`evidence`), made
definite by a penalty on their Laplacian whose weight the data choose (`smoothness`), and solved exactly with w >= 0
(`constrained`). Only windows that lie inside the frame take part, so nothing is assumed about what lies outside it.

Brightness. Gain and offset are fitted, and dropped again (gain 1, offset 0) where they explain nothing: where the mean
squared residual without them is larger by no more than 2 %. Every plane has an offset of its own, all share one gain.
"""

from __future__ import annotations

import functools
import math
import numbers
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from convtool import axes as axes_
from convtool import ranges
from convtool.errors import DataError, SettingError, listed, percent
from convtool.estimation import diagnosis, evidence, smoothness
from convtool.estimation.constrained import minimiser
from convtool.estimation.estimate import KernelEstimate, centroid, rim_share
from convtool.estimation.support import kernel_axes, support
from convtool.estimation.verdict import pair_notes
from convtool.kernel import Origin, origin_of

BRIGHTNESS = ("auto", "same", "fitted")
_MOST_TAPS = 5000  # their normal matrix takes 200 MB, and its eigenvectors minutes
_GAIN_MATTERS = 0.02  # growth of the mean squared residual above which gain and offset are needed
_UNRELATED = 0.01  # share of the blurred image's variation that a kernel explains at least
_CONSTANT = 1e-26  # variance over the squared mean that is nothing but rounding
_ROUNDING = 1e-10  # of the data's variance: a residual that is nothing but rounding


@dataclass(frozen=True)
class Settings:
    """What `from_pair` was asked for."""

    operation: str
    signed: bool
    sum_one: bool
    brightness: str
    weight: float | None


@dataclass(frozen=True, eq=False)
class Fit:
    """The taps w [n] of one model of brightness, with the evidence they were found from."""

    brightness: str
    w: np.ndarray
    found: evidence.Evidence


def from_pair(
    blurred: np.ndarray,
    sharp: np.ndarray,
    size: int | Sequence[int],
    *,
    axes: str | None = None,
    operation: str = "convolve",
    origin: Origin = "center",
    signed: bool = False,
    sum_one: bool = True,
    brightness: str = "auto",
    weight: float | None = None,
) -> KernelEstimate:
    """The kernel that turns a sharp image into a blurred one of the same scene.

    min_w  mean |y - w * x - offset|^2 + weight |Laplacian(w)|^2   over w >= 0;   k = w / sum(w), gain = sum(w).

    Parameters
    ----------
    blurred, sharp: real arrays of one shape; channels and images of a batch share the kernel
    size: taps along the kernel's axes (Y, X or Z, Y, X); one number holds for all spatial axes of the images
    axes: letters of both arrays' axes, by rank YX, CYX, NCYX, NCZYX
    operation: "convolve" or "correlate": how the kernel is to be used
    origin: the tap that lies on the output pixel: "center" (n // 2), "first", "last" or an index per axis
    signed: allow negative taps
    sum_one: taps that sum to 1, brightness apart; otherwise their sum is the gain
    brightness: "same" (gain 1, offset 0), "fitted", or "auto": fitted where the data need it
    weight: of the penalty, in units of the sharp image's variance; None: by generalised cross-validation

    Returns
    -------
    The kernel (float64) with each tap's standard error. Standard errors take the noise for white and the sharp image
    for exact; noise in the sharp image makes a kernel too narrow in frequency.

    Raises
    ------
    convtool.errors.SettingError, convtool.errors.DataError

    References
    ----------
    See `convtool.estimation.smoothness`, `.constrained` and `.diagnosis` for those of the steps.

    Example
    -------
    >>> import numpy as np, convtool
    >>> x = np.random.default_rng(0).random((32, 40))
    >>> taps = np.array([[0.0, 0.1, 0.2], [0.0, 0.4, 0.3]])
    >>> found = from_pair(convtool.convolve(x, taps), x, (2, 3))
    >>> bool(abs(found.kernel - taps).max() < 1e-6)
    True
    """
    settings = Settings(operation, signed, sum_one, brightness, weight)
    _check(settings)
    blurred, sharp = _checked(np.asarray(blurred), "blurred"), _checked(np.asarray(sharp), "sharp")
    if blurred.shape != sharp.shape:
        raise DataError(
            f"the blurred image has shape {axes_.spelled(blurred.shape)} and the sharp one"
            f" {axes_.spelled(sharp.shape)}: both must show the same frame, so crop one to the other's"
        )
    letters = axes_.image_axes(blurred.shape, axes)
    spatial = kernel_axes(size, letters)
    arrangement = axes_.Arrangement(letters, blurred.shape, spatial)
    taps = support(size, arrangement.grid, spatial)
    if math.prod(taps) > _MOST_TAPS:
        raise SettingError(
            f"a kernel of {axes_.spelled(taps)} has {math.prod(taps)} taps, more than {_MOST_TAPS}: use a smaller"
            " --size, or reduce both images first"
        )
    center = origin_of(origin, taps)
    windows = _Windows(arrangement.canonical(sharp), arrangement.canonical(blurred), taps, center, operation)
    try:
        found, fit = _estimate(windows, settings)
    except np.linalg.LinAlgError:
        raise DataError(
            "the scene tells nothing of some taps, and the weight is too small to make up for it: use a larger"
            " --weight, or leave it out to have it chosen"
        ) from None
    metrics = found.metrics | {"centroid": centroid(found.kernel, center), **_brightness(fit, windows, settings)}
    notes = pair_notes(found.kernel, found.standard_error, metrics, (blurred, sharp))
    return replace(found, metrics=metrics, notes=notes)


def _check(settings: Settings) -> None:
    if settings.operation not in ("convolve", "correlate"):
        raise SettingError(f"unknown operation '{settings.operation}': use convolve or correlate")
    if settings.brightness not in BRIGHTNESS:
        raise SettingError(f"unknown brightness '{settings.brightness}': use {listed(BRIGHTNESS)}")
    weight = settings.weight
    if weight is not None and not (isinstance(weight, numbers.Real) and 0 < float(weight) < math.inf):
        raise SettingError(f"the weight must be a finite number above 0, got {weight}: leave it out to have it chosen")


def _checked(x: np.ndarray, what: str) -> np.ndarray:
    """The array; raises DataError where it cannot be used or shows nothing."""
    try:
        ranges.check_image(x)
    except DataError as error:
        raise DataError(str(error).replace("the image", f"the {what} image", 1)) from None
    if x.min() == x.max():
        raise DataError(
            f"the {what} image has the same value {float(x.min()):g} everywhere: nothing in it tells of a kernel"
        )
    return x


@dataclass(frozen=True, eq=False)
class _Windows:
    """Both images as [n, c, *grid], and where the windows of a correlation with the kernel's taps lie."""

    sharp: np.ndarray
    blurred: np.ndarray
    taps: tuple[int, ...]
    origin: tuple[int, ...]
    operation: str

    @functools.cached_property
    def unit(self) -> float:
        """The largest value, by which both images are divided, so that no square leaves the range of floats."""
        return max(float(abs(x.astype(np.float64)).max()) for x in (self.sharp, self.blurred))

    def planes(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Each plane of the sharp image with the blurred one's data at its windows, as float64 in the unit."""
        place = [n - 1 - o if self.operation == "convolve" else o for n, o in zip(self.taps, self.origin, strict=True)]
        rows = zip(place, self.sharp.shape[2:], self.taps, strict=True)
        inside = tuple(slice(o, o + m - n + 1) for o, m, n in rows)
        for x, y in zip(self.sharp, self.blurred, strict=True):
            for u, v in zip(x, y, strict=True):
                yield u / np.float64(self.unit), v[inside] / np.float64(self.unit)

    def kernel(self, w: np.ndarray) -> np.ndarray:
        """The taps as the operation takes them, from those of the correlation: flipped, for a convolution."""
        shaped = w.reshape(self.taps)
        return np.flip(shaped).copy() if self.operation == "convolve" else shaped.copy()


def _fitted(windows: _Windows, settings: Settings) -> tuple[Fit, np.ndarray, float]:
    """The fit of the brightness that the data need, the penalised normal matrix, and the weight."""
    planes = evidence.collected(windows.planes(), windows.taps)
    r = smoothness.penalty(windows.taps)
    found = {"fitted": evidence.fitted(planes), "same": evidence.same(planes, settings.sum_one)}
    tried = ["fitted", "same"] if settings.brightness == "auto" else [settings.brightness]
    first = found[tried[0]]
    scene = float(np.diag(found["fitted"].gram).mean())
    if planes[0].count == 1 or not scene > _CONSTANT * max(p.mean**2 for p in planes):
        raise DataError(
            f"a kernel of {axes_.spelled(windows.taps)} meets the same everywhere inside the frame"
            f" ({planes[0].count} places): use a smaller --size, or larger images with more texture"
        )
    chosen = smoothness.chosen_weight(first, r) if settings.weight is None else settings.weight * scene
    fits = [_solved(name, found[name], chosen * r, settings) for name in tried]
    residuals = [fit.found.residual(fit.w) for fit in fits]
    allowed = (1 + _GAIN_MATTERS) * residuals[0] + _ROUNDING * first.energy
    best = fits[-1] if residuals[-1] <= allowed else fits[0]
    return best, best.found.gram + chosen * r, chosen / scene


def _solved(name: str, found: evidence.Evidence, weighted: np.ndarray, settings: Settings) -> Fit:
    total = 1.0 if settings.sum_one and name == "same" else None
    return Fit(name, minimiser(found.gram + weighted, found.rhs, total, signed=settings.signed), found)


def _estimate(windows: _Windows, settings: Settings) -> tuple[KernelEstimate, Fit]:
    """The kernel with what is measured of it, and the fit that it comes from."""
    fit, penalised, weight = _fitted(windows, settings)
    gain, explained = float(fit.w.sum()), 1 - fit.found.residual(fit.w) / fit.found.energy
    if explained < _UNRELATED or not fit.w.any():
        raise DataError(
            f"the blurred image does not follow the sharp one (which explains {percent(max(explained, 0))} of its"
            " variation): give two images of the same scene, aligned to within the --size"
        )
    if gain <= 0 and settings.sum_one:
        raise DataError(f"the taps that fit sum to {gain:.3g}, so they cannot be made to sum to 1: use --sum free")
    is_scaled = settings.sum_one and fit.brightness == "fitted"
    variance = diagnosis.noise_variance(fit.found, penalised, fit.w)
    unit, is_held = variance / fit.found.count, settings.sum_one and not is_scaled
    error = windows.kernel(diagnosis.standard_errors(penalised, fit.w, unit, held=is_held, scaled=is_scaled))
    kernel = windows.kernel(fit.w / gain if settings.sum_one else fit.w)
    metrics: dict[str, Any] = {
        "relative_error": float(np.linalg.norm(error[kernel != 0]) / np.linalg.norm(kernel)),
        "standard_error_median": float(np.median(error)),
        "standard_error_max": float(error.max()),
        "noise_level": math.sqrt(variance) * windows.unit,
        "explained": explained,
        "determined": diagnosis.determined_share(fit.found.gram, windows.taps, variance),
        "condition": diagnosis.condition(fit.found.gram),
        "weight": weight,
        "windows": fit.found.count,
        "rim_share": rim_share(kernel),
    }
    return KernelEstimate(kernel, error, metrics), fit


def _brightness(fit: Fit, windows: _Windows, settings: Settings) -> dict[str, Any]:
    """Gain and offset, and how far the residual is from white noise."""
    w = fit.w.reshape(windows.taps)
    offsets, correlations = [], []
    for x, y in windows.planes():
        left = diagnosis.residual(x, y, w)
        offsets.append(float(left.mean()) * windows.unit)
        correlations.append(diagnosis.neighbour_correlation(left))
    is_fitted = fit.brightness == "fitted"
    return {
        "brightness": fit.brightness,
        "gain": float(w.sum()) if is_fitted or not settings.sum_one else 1.0,
        "offset": (offsets if len(offsets) <= 4 else float(np.mean(offsets))) if is_fitted else 0.0,
        "residual_correlation": np.mean(correlations, axis=0).tolist(),
    }
