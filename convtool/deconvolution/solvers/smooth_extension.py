"""Smooth extension: data continued over a margin so that their periodic repetition has no jump and no kink.

Axis by axis, the margin u between the data's last lines and its first ones (the repetition's next) is the smoothest
there is: it minimises the squared second differences

    sum ( D u )^2,     D = sum_a ( second difference along a )     over all samples at and beside the margin,

given two lines of data on either side. Along an axis that has been extended already D is periodic, along one that has
not it ends at the frame; there D is diagonal in the Fourier or the cosine basis, and each component with eigenvalue
-lam across the margin solves

    D^2 u = 0,  (D u)[i] = u[i-1] - b u[i] + u[i+1],  b = 2 + lam:     T u = r,  T = Toeplitz(1, -2b, b^2 + 2, -2b, 1)

by elimination. Fine detail at the border fades within its own wavelength, so noise leaves no streaks. The idea of an
extension instead of tapering is that of Liu and Jia 2008 (doi:10.1109/ICIP.2008.4711802), the formulation is not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from convtool import fft

_LINES = (-2, -1, 0, 1)  # of the data that a margin continues: the last two, and the first two of the next period


def extended(y: np.ndarray, grid: Sequence[int]) -> np.ndarray:
    """y [c, *frame] at the beginning of a larger periodic grid, continued smoothly over the rest; in y's dtype."""
    out = np.empty((len(y), *grid), y.dtype)
    for c, plane in enumerate(y):
        level = float(plane.mean(dtype=np.float64))
        part = plane.astype(np.float64) - level  # so that a constant stays what it is
        for axis, n in enumerate(grid):
            part = _extended_along(part, axis, n - part.shape[axis])
        out[c] = part + level
        out[c][tuple(map(slice, plane.shape))] = plane
    return out


def _extended_along(y: np.ndarray, axis: int, margin: int) -> np.ndarray:
    """y [*frame] with `margin` samples more at the end of an axis; the axes before it are periodic."""
    if not margin:
        return y
    lines = np.moveaxis(y.take([i % y.shape[axis] for i in _LINES], axis), axis, 0)
    ended, periodic = lines.shape[1 + axis :], lines.shape[1 : 1 + axis]
    components = fft.cosines(lines, len(ended)) if ended else lines
    components = np.ascontiguousarray(_turned(components, len(periodic)))
    transform = fft.transform(periodic, y.dtype) if periodic else None
    components = transform.forward(components) if transform else components
    bridged = _bridged(components, _eigenvalues(ended, periodic), margin)
    bridged = transform.inverse(bridged) if transform else bridged
    bridged = _turned(bridged, len(ended))
    bridged = fft.cosines_inverse(bridged, len(ended)) if ended else bridged
    return np.concatenate([y, np.moveaxis(bridged, 0, axis)], axis)


def _turned(a: np.ndarray, count: int) -> np.ndarray:
    """The first `count` axes after axis 0 behind the others."""
    return a.transpose([0, *range(1 + count, a.ndim), *range(1, 1 + count)])


def _eigenvalues(ended: tuple[int, ...], periodic: tuple[int, ...]) -> np.ndarray:
    """lam for every component along the other axes."""
    waves = [np.pi * np.arange(n) / n for n in ended]
    waves += [w.ravel() for w in fft.angular_frequencies(periodic)] if periodic else []
    return sum((2 - 2 * np.cos(w) for w in np.ix_(*waves)), np.zeros([len(w) for w in waves]))


def _bridged(lines: np.ndarray, lam: np.ndarray, margin: int) -> np.ndarray:
    """u [m, *components] between lines [4, *components] at -2, -1, m and m + 1."""
    b = 2 + lam
    u = np.zeros((margin + 4, *lam.shape), lines.dtype)  # with two samples more on either side
    for place, weight, line in [(0, 2 * b, 1), (0, -1, 0), (1, -1, 1)]:
        u[2 + place] += weight * lines[line]
        u[1 + margin - place] += weight * lines[3 - line]
    return _eliminated(u, b)[2:-2]


def _eliminated(u: np.ndarray, b: np.ndarray) -> np.ndarray:
    """T^-1 u, in place, component by component; T = L D L^T. Two samples more on either end of u become 0."""
    first, second, diagonal = (np.zeros((len(u), *b.shape)) for _ in range(3))
    for i in range(2, len(u) - 2):
        if i > 3:
            second[i] = 1 / diagonal[i - 2]
        if i > 2:
            first[i] = -(2 * b + first[i - 1] * (i > 3)) / diagonal[i - 1]
        diagonal[i] = b**2 + 2 - diagonal[i - 1] * first[i] ** 2 - diagonal[i - 2] * second[i] ** 2
        u[i] -= first[i] * u[i - 1] + second[i] * u[i - 2]
    u[:2] = u[-2:] = 0
    for i in range(len(u) - 3, 1, -1):
        u[i] = u[i] / diagonal[i] - first[i + 1] * u[i + 1] - second[i + 2] * u[i + 2]
    return u
