"""Where f(T x) = T' f(x) is to be expected, from the windows of every step alone.

A shift is circular, x'[n] = x[(n - t) mod N], and outputs of stride s move by u = t / s, so t has to be a multiple of
s. Along each axis every sample of f(x), and of f(x'), is labelled by what it is made of: at first x[n] by n, and x'[n]
by (n - t) mod N; then each output by the labels that its window reads, tap by tap. Samples that are made of the same
have the same label, so that, for images and taps of no special kind,

    f(x')[k] = f(x)[(k - u) mod M]    if and only if    their labels are equal.

Outside the frame, a window reads the label of p mod N (periodic), nothing (zero, and the lowest value of pooling), or
what is its own: the mirrored or repeated samples of an image and of its shift are the same only where nothing moved.
If all labels are equal in that way, equality is expected everywhere. Otherwise it is inside a border: in the longest
run of equal labels among the outputs that have a counterpart (0 <= k - u < M), which did not come in from the other
side. Windows are boxes, so axes are independent, and an output is expected to agree if it is on every axis. Nothing
here asks the operators what they read, so that no mistake of theirs is expected.

Where outputs depend on everything they move as the image did if the step is periodic, and nothing is expected if not.

Under flips and turns every boundary mode is symmetric, so equality holds everywhere, or, where windows do not lie
symmetrically, nowhere: `flaw` says what is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from convtool.equivariance.functions import Function
from convtool.equivariance.inversion import Deconvolve
from convtool.equivariance.steps import Move, Step, Windows
from convtool.errors import SettingError

_ZERO = -1  # the label of what lies outside the frame where that is no pixel


@dataclass(frozen=True, eq=False)
class Track:
    """One axis of the image: how far it moved, and what its samples are made of.

    shift: in samples; stride: pixels of the input that a sample stands for
    still, moved: the labels of f(x) and of f(T x)
    clear: samples whose windows, through all steps, lie inside the frame; the others are the border
    """

    shift: int
    stride: int
    still: np.ndarray
    moved: np.ndarray
    clear: np.ndarray

    @property
    def length(self) -> int:
        """The number of samples."""
        return len(self.still)

    @property
    def equal(self) -> np.ndarray:
        """Which samples of the shifted image are those of the other one, so many samples before (modulo the length)."""
        return self.moved == np.roll(self.still, self.shift)

    @property
    def is_whole(self) -> bool:
        """Whether equality is expected along the whole axis."""
        return bool(self.equal.all())

    @property
    def valid(self) -> np.ndarray:
        """Where equality is expected."""
        return self.equal if self.is_whole else _longest_run(self.equal & self.counterparts(self.shift))

    def counterparts(self, shift: int) -> np.ndarray:
        """Which samples do not come in from the other side by a shift."""
        origins = np.arange(self.length) - shift
        return (origins >= 0) & (origins < self.length)

    def through(self, windows: Windows, axis: int) -> Track:
        """The outputs of windows along this axis."""
        geometry = windows.geometry
        starts = np.arange(geometry.outputs[axis]) * geometry.stride[axis] - geometry.padding[axis][0]
        reads = starts[:, None] + windows.taps[axis] * geometry.dilation[axis]
        inside = (reads >= 0) & (reads < self.length)
        clear = (inside & self.clear[reads.clip(0, self.length - 1)]).all(axis=1)
        is_still = np.array_equal(self.still, self.moved)
        still = _read(self.still, reads, geometry.boundary, 0)
        moved = _read(self.moved, reads, geometry.boundary, 0 if is_still else 1)
        stride, count = geometry.stride[axis], len(reads)
        labels = _named(np.concatenate([still, moved]))
        return Track(self.shift // stride, self.stride * stride, labels[:count], labels[count:], clear)


def _read(labels: np.ndarray, positions: np.ndarray, boundary: str, which: int) -> np.ndarray:
    """The labels at positions, outside the frame too; mirrored and repeated samples are those of image `which`."""
    if boundary == "periodic":
        return labels[positions % len(labels)]
    inside = (positions >= 0) & (positions < len(labels))
    outside = _ZERO if boundary == "zero" else _ZERO - 1 - 4 * np.abs(positions) - 2 * (positions < 0) - which
    return np.where(inside, labels[positions.clip(0, len(labels) - 1)], outside)


def _named(rows: np.ndarray) -> np.ndarray:
    """A number for each row [n, taps], the same for equal rows."""
    if not rows.shape[1]:
        return np.zeros(len(rows), np.intp)
    return np.unique(rows, axis=0, return_inverse=True)[1].ravel()


def _longest_run(line: np.ndarray) -> np.ndarray:
    """The longest run of marked samples, alone."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], line.astype(np.int8), [0]])))
    starts, ends = edges[::2], edges[1::2]
    found = np.zeros(len(line), bool)
    if len(starts):
        best = int(np.argmax(ends - starts))
        found[starts[best] : ends[best]] = True
    return found


def start(length: int, shift: int) -> Track:
    """An axis of the image itself."""
    samples = np.arange(length)
    return Track(shift, 1, samples, (samples - shift) % length, np.ones(length, bool))


def after(
    tracks: dict[str, Track], step: Step, shapes: tuple[Sequence[int], Sequence[int]], axes: tuple[str, str]
) -> dict[str, Track]:
    """The spatial axes after a step, for the shapes and axes of the image before and after it.

    Raises SettingError where the shift is no multiple of the stride.
    """
    windows = step.windows(shapes[0], axes[0])
    if windows is None:
        counts = [shapes[1][axes[1].index(letter)] for letter in tracks]
        return {
            a: _globally(track, step, n, a, list(tracks)) for (a, track), n in zip(tracks.items(), counts, strict=True)
        }
    found = dict(tracks)
    for axis, letter in enumerate(windows.spatial):
        _check_multiple(tracks[letter], windows.geometry.stride[axis], letter)
        found[letter] = tracks[letter].through(windows, axis)
    return found


def _globally(track: Track, step: Step, count: int, letter: str, spatial: Sequence[str]) -> Track:
    """A step whose outputs depend on everything: taken for a sampling at its stride, with a border if it says so."""
    stride, border = max(1, round(track.length / count)), None
    if isinstance(step, Function):
        given, border = step.strides(len(spatial)), step.border
        stride = stride if given is None else given[spatial.index(letter)]
    _check_multiple(track, stride, letter)
    shift, samples = track.shift // stride, np.arange(count)
    origins, clear = samples - shift, np.ones(count, bool)
    if border is not None:
        clear = (samples >= border) & (samples < count - border)
        agree = clear & (origins >= border) & (origins < count - border) & track.is_whole
    else:
        is_periodic = not isinstance(step, Deconvolve) or step.boundary == "periodic"
        wraps = shift == 0 or count * stride == track.length
        agree, origins = np.full(count, is_periodic and wraps and track.is_whole), origins % count
    moved = np.where(agree, origins, count + samples)  # what is not expected is like nothing else
    return Track(shift, track.stride * stride, samples, moved, clear)


def _check_multiple(track: Track, stride: int, letter: str) -> None:
    if track.shift % stride:
        raise SettingError(
            f"a shift of {track.shift * track.stride} pixels along {letter} is no multiple of the stride"
            f" {track.stride * stride}: the output would have to move by"
            f" {track.shift / stride:g} of its samples: use a multiple of {track.stride * stride}"
        )


def flaw(step: Step, move: Move, shape: Sequence[int], axes: str) -> str | None:
    """Why the windows of a step on a moved image do not lie symmetrically; None where they do."""
    windows = step.placed(shape, axes)
    if windows is None:
        return None
    geometry = windows.geometry
    for axis, letter in enumerate(windows.spatial):
        (before, behind), stride = geometry.padding[axis], geometry.stride[axis]
        if letter in move.flipped and before != behind:
            return (
                f"the origin is not central: windows reach {before} before the frame and {behind} after it ({letter})"
            )
        if letter in move.flipped and (geometry.extended[axis] - geometry.span[axis] - 1) % stride:
            return f"the stride {stride} does not divide the way from the first window to the last along {letter}"
    return None


def group(name: str, spatial: str) -> list[Move]:
    """The moves of a group but the identity: every flip of the spatial axes, or the quarter turns of Y and X."""
    if name == "flips":
        subsets = [[a for i, a in enumerate(spatial) if n >> i & 1] for n in range(1, 1 << len(spatial))]
        return [Move(f"flip {''.join(letters)}", False, "".join(letters)) for letters in subsets]
    if name != "rot90":
        raise SettingError(f"unknown group '{name}': use flips or rot90")
    if not {"Y", "X"} <= set(spatial):
        raise SettingError(f"quarter turns need the axes Y and X, got {spatial}: use flips")
    return [Move("turn 90", True, "Y"), Move("turn 180", False, "YX"), Move("turn 270", True, "X")]
