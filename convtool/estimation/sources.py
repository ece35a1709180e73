"""Point sources in a frame: background and noise, peaks above them, and which of those stand alone.

The background is the mean of what is left in blocks after clipping at 3 sigma, smoothed over neighbouring blocks and
interpolated linearly. Peaks are local maxima of the frame smoothed by a Gaussian of a tenth of the kernel's size, so
that a point spread function may have several maxima of its own; their height is measured in the noise of that smoothed
frame. A source is left out where

    border       its window does not lie inside the frame
    saturated    a sample of its window has reached the saturation
    neighbours   another peak of 5 sigma, and of 2 % of its own height, is closer than the kernel's size on every axis
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates, maximum_filter, median_filter
from scipy.spatial import cKDTree

_BLOCK = 32  # samples of a background block along an axis, at least; and three sizes of the kernel
_SMOOTHING = 0.1  # of the kernel's size
_CLIP, _ROUNDS = 3.0, 20
_SEEN = 5.0  # sigmas from which a peak counts as a neighbour
_MATTERS = 0.02  # height over that of a source, from which a neighbour disturbs it
_PLATEAU = 3  # sources that reach the very same largest value where it is a saturation
_MAD = 1.4826  # sigma of a normal distribution over its median absolute deviation


@dataclass(frozen=True, eq=False)
class Sources:
    """The sources [n, axes] that may be used, brightest first (the sample at their peak), and why others may not."""

    places: np.ndarray
    found: int
    rejected: dict[str, int]


def clipped(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of values after clipping at 3 sigma about the median, until nothing changes."""
    kept = values
    for _ in range(_ROUNDS):
        middle = np.median(kept)
        spread = _MAD * np.median(abs(kept - middle)) or float(kept.std())
        inside = abs(kept - middle) <= _CLIP * spread
        if inside.all():
            break
        kept = kept[inside]
    return float(kept.mean()), float(kept.std())


def background(frame: np.ndarray, size: Sequence[int]) -> tuple[np.ndarray, float]:
    """The background under a frame, and the noise above it: the median over blocks of clipped standard deviations."""
    counts = [max(1, n // max(_BLOCK, 3 * m)) for n, m in zip(frame.shape, size, strict=True)]
    edges = [np.linspace(0, n, count + 1).astype(int) for n, count in zip(frame.shape, counts, strict=True)]
    levels = median_filter(_blocks(frame, edges)[0], 3, mode="nearest")
    # Where every sample lies among the centres of the blocks, axis by axis.
    at = [
        np.interp(np.arange(n) + 0.5, (edge[:-1] + edge[1:]) / 2, np.arange(count))
        for n, edge, count in zip(frame.shape, edges, counts, strict=True)
    ]
    level = map_coordinates(levels, np.meshgrid(*at, indexing="ij"), order=1, mode="nearest")
    return level, float(np.median(_blocks(frame - level, edges)[1]))


def _blocks(frame: np.ndarray, edges: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The clipped mean and standard deviation of each block."""
    counts = [len(edge) - 1 for edge in edges]
    means, spreads = np.empty(counts), np.empty(counts)
    for block in np.ndindex(*counts):
        inside = tuple(slice(edge[i], edge[i + 1]) for edge, i in zip(edges, block, strict=True))
        means[block], spreads[block] = clipped(frame[inside].ravel())
    return means, spreads


def find(signal: np.ndarray, full: np.ndarray, size: Sequence[int], threshold: float, floor: float) -> Sources:
    """The isolated sources of a frame without its background; `full` marks its saturated samples, and `floor` is the
    least noise that there can be, such as rounding.
    """
    smooth = gaussian_filter(signal, [_SMOOTHING * n for n in size], mode="nearest")
    noise = max(clipped(smooth.ravel())[1], floor)
    is_peak = (smooth == maximum_filter(smooth, 3, mode="nearest")) & (smooth > min(_SEEN, threshold) * noise)
    peaks = np.argwhere(is_peak)
    heights = smooth[is_peak]
    bright = np.flatnonzero(heights > threshold * noise)
    bright = bright[np.argsort(-heights[bright], kind="stable")]
    is_usable = np.ones(len(bright), bool)
    rejected = {}
    for reason, marks in (
        ("border", _near_border(peaks, signal.shape, size)),
        ("saturated", maximum_filter(full, tuple(size), mode="constant")[tuple(peaks.T)]),
        ("neighbours", _crowded(peaks, heights, size)),
    ):
        rejected[reason] = int((marks[bright] & is_usable).sum())
        is_usable &= ~marks[bright]
    return Sources(peaks[bright[is_usable]], len(bright), rejected)


def _near_border(peaks: np.ndarray, shape: Sequence[int], size: Sequence[int]) -> np.ndarray:
    """Whether the window about a peak, or about one a sample beside it, leaves the frame."""
    margin = np.array([n // 2 + (n > 1) for n in size])
    return ((peaks < margin) | (peaks >= np.array(shape) - margin)).any(axis=1)


def _crowded(peaks: np.ndarray, heights: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Whether a peak has a neighbour that disturbs it."""
    if not len(peaks):
        return np.zeros(0, bool)
    tree = cKDTree(peaks / np.array(size))
    pairs = tree.query_pairs(1 - 1e-9, p=np.inf, output_type="ndarray")
    first, second = pairs.T
    out = np.zeros(len(peaks), bool)
    out[first[heights[second] > _MATTERS * heights[first]]] = True
    out[second[heights[first] > _MATTERS * heights[second]]] = True
    return out


def saturated(frame: np.ndarray, level: float | None) -> np.ndarray:
    """The samples that have reached the saturation level.

    Without a level: an integer dtype's largest value, and the frame's own largest value where three places apart from
    each other reach it, which sources of different brightness do for no other reason.
    """
    if level is not None:
        return frame >= level
    full = frame == frame.max()
    if frame.dtype.kind in "iu" and frame.max() == np.iinfo(frame.dtype).max:
        return full
    from scipy.ndimage import label

    is_plateau = full.sum() > 1 and label(full, np.ones((3,) * full.ndim))[1] >= _PLATEAU
    return full if is_plateau else np.zeros_like(full)
