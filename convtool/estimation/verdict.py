"""What the measures of an estimated kernel mean, in sentences for somebody who wants to use it."""

from __future__ import annotations

from typing import Any

import numpy as np

from convtool.errors import percent
from convtool.estimation.estimate import rim_share

_RIM = 0.02  # share of the taps' sum in the outermost ones above which a support is probably too small
_SIGNIFICANT = 4.0  # standard errors
_BLIND = 0.7  # share of the frequencies that the scene tells about, below which errors are more than noise
_POOR = 0.2  # relative error of a kernel that is hardly determined
_UNRELATED = 0.5  # share of the blurred image's variation that must be explained
_COLOURED = 0.25  # correlation of a residual's neighbours above which it is no white noise
_ROUNDING = 0.35  # noise level of integers that is nothing but their rounding, 0.29, or hardly more
_NEGLIGIBLE = 1e-10  # share of the variation that is nothing but the rounding of computing
_SINGULAR = 1e12  # condition of a normal matrix that tells nothing in some directions
_SHIFTED = 0.6  # pixels: half of one is an even number of taps
_FEW = 4  # windows for each tap
_FEW_STARS = 3
_SAMPLED = 2.0  # pixels of full width at half maximum
_DIFFERENT = 0.1  # relative difference of shapes beyond the noise
_CLIPPED = 0.005  # share of saturated values


def pair_notes(
    kernel: np.ndarray, error: np.ndarray, metrics: dict[str, Any], given: tuple[np.ndarray, np.ndarray]
) -> tuple[str, ...]:
    """The notes on a kernel that was found from two images, the blurred and the sharp one as given."""
    found = [_relation(metrics), _certainty(kernel, metrics)]
    # Taps that fill their support are no reason for doubt where what they leave unexplained is noise.
    found += [_size(kernel, error) if _is_coloured(metrics) else None, _shift(metrics)]
    found += [_brightness(metrics), _residual(metrics, given[0].dtype.kind in "iu")]
    found += [_saturation(image, what) for image, what in zip(given, ("blurred", "sharp"), strict=True)]
    return tuple(note for note in found if note)


def _relation(metrics: dict[str, Any]) -> str | None:
    if metrics["explained"] >= _UNRELATED:
        return None
    return (
        f"the sharp image explains only {percent(metrics['explained'], 3)} of the blurred one's variation: are they of"
        " the same scene, aligned to within the --size?"
    )


def _certainty(kernel: np.ndarray, metrics: dict[str, Any]) -> str | None:
    if metrics["windows"] < _FEW * kernel.size:
        return (
            f"there are only {metrics['windows']} windows inside the frame for {kernel.size} taps: the kernel is mostly"
            " what the penalty makes of it, so use larger images or a smaller --size"
        )
    if metrics["condition"] > _SINGULAR:
        return (
            "the scene is too smooth to tell: many kernels explain the data as well as this one, which is the smoothest"
            " of them; use images with more texture, or a smaller --size"
        )
    told = f"{percent(metrics['determined'])} of the frequencies"
    if metrics["relative_error"] > _POOR:
        return (
            f"the data determine the kernel poorly (relative error about {metrics['relative_error']:.2g}): the scene"
            f" has more energy than the noise at only {told}; use images with more texture or less noise, or a smaller"
            " --size"
        )
    if metrics["determined"] >= _BLIND:
        return None
    return (
        f"the scene has more energy than the noise at only {told}: finer detail of the kernel is what smoothness makes"
        " of it, and may be several times further off than the relative error says"
    )


def _size(kernel: np.ndarray, error: np.ndarray) -> str | None:
    inner = tuple(slice(1, -1) if n > 2 else slice(None) for n in kernel.shape)
    outer = np.ones(kernel.shape, bool)
    outer[inner] = False
    share, noise = rim_share(kernel), float(np.linalg.norm(error[outer])) / float(abs(kernel).sum())
    if share <= max(_RIM, _SIGNIFICANT * noise):
        return None
    larger = [str(n if n == 1 else n + 2 * max(1, n // 4)) for n in kernel.shape]
    return (
        f"{percent(share)} of the kernel lies in its outermost taps, so it may reach beyond them: try --size"
        f" {larger[0] if len(set(larger)) == 1 else ','.join(larger)}"
    )


def _shift(metrics: dict[str, Any]) -> str | None:
    place = metrics["centroid"]
    if place is None or max(map(abs, place)) <= _SHIFTED:
        return None
    pixels = ", ".join(f"{p:+.2f}" for p in place)
    return (
        f"the kernel's centroid lies {pixels} pixels from its origin: a shift between the two images is in the kernel,"
        " and deconvolving with it shifts back"
    )


def _brightness(metrics: dict[str, Any]) -> str | None:
    if metrics["brightness"] == "same":
        return None
    offset = metrics["offset"]
    by = ", ".join(f"{value:+.4g}" for value in (offset if isinstance(offset, list) else [offset]))
    return (
        f"the blurred image is {metrics['gain']:.4g} times the blurred scene {by}: this was fitted, and is not in a"
        " kernel of sum 1 (--brightness same forbids it)"
    )


def _residual(metrics: dict[str, Any], is_rounded: bool) -> str | None:
    if not _is_coloured(metrics) or (is_rounded and metrics["noise_level"] < _ROUNDING):
        return None
    return (
        f"what the kernel leaves unexplained is no white noise (neighbours correlate by {_correlation(metrics):.2f}):"
        " the blur may change over the frame, the images may not be aligned, or were processed apart; standard errors"
        " are too small"
    )


def _is_coloured(metrics: dict[str, Any]) -> bool:
    return abs(_correlation(metrics)) > _COLOURED and 1 - metrics["explained"] > _NEGLIGIBLE


def _correlation(metrics: dict[str, Any]) -> float:
    return max(metrics["residual_correlation"], key=abs)


def _saturation(image: np.ndarray, what: str) -> str | None:
    if image.dtype.kind not in "iu":
        return None
    share = float((image == np.iinfo(image.dtype).max).mean())
    if share <= _CLIPPED:
        return None
    return f"{percent(share)} of the {what} image's values are saturated, which no blur explains: crop them away"


def star_notes(kernel: np.ndarray, error: np.ndarray, metrics: dict[str, Any]) -> tuple[str, ...]:
    """The notes on a kernel that was found from point sources."""
    found = [_number(metrics), _sampling(metrics), _spread(metrics), _uncertain(metrics), _size(kernel, error)]
    return tuple(note for note in found if note)


def _number(metrics: dict[str, Any]) -> str | None:
    if metrics["used"] >= _FEW_STARS:
        return None
    which = "one source alone was" if metrics["used"] == 1 else f"only {metrics['used']} sources were"
    return (
        f"{which} used: nothing tells whether it is a point, or the same everywhere; lower --threshold, or a smaller"
        " --size, may let in more"
    )


def _sampling(metrics: dict[str, Any]) -> str | None:
    narrow = [width for width in metrics["fwhm"] if width is not None and width < _SAMPLED]
    if not narrow:
        return None
    return (
        f"the sources are only {min(narrow):.2f} pixels wide at half maximum: they are undersampled, so their positions"
        " and the kernel are known to some per cent at best"
    )


def _spread(metrics: dict[str, Any]) -> str | None:
    if metrics["spread"] <= _DIFFERENT:
        return None
    return (
        f"the sources differ in shape by {percent(metrics['spread'])} beyond the noise: they are no points, or the"
        " kernel changes over the frame (then estimate it from parts of the frame)"
    )


def _uncertain(metrics: dict[str, Any]) -> str | None:
    if metrics["relative_error"] <= _POOR:
        return None
    return (
        f"the kernel is uncertain (relative error about {metrics['relative_error']:.2g}): take brighter sources or more"
        " of them, or a smaller --size"
    )
