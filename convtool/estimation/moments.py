"""The normal equations of a kernel, exactly, from the windows that lie inside the frame.

A correlation with N taps w over the windows of a frame x (n samples on an axis, P = n - N + 1 windows) is linear in w:

    y[j] = sum_m w[m] x[j + m],   j = 0 .. P - 1,      so  G w = c  with
    G[m, m'] = sum_j x[j + m] x[j + m'],    c[m] = sum_j x[j + m] y[j].

G is no autocorrelation, since the windows end at the frame; but it nearly is. On one axis, the sum one step further
gains a sample at the end and loses one at the start,

    G[m + 1, m' + 1] = G[m, m'] + x[m + P] x[m' + P] - x[m] x[m'],

so only G[0, m'] and G[m, 0] are sums over the whole frame, and those are lags of a cross-correlation of the frame with
its first P samples, which Fourier transforms of the frame's own length give without wrapping around. On several axes a
sample becomes a slab, and the products of slabs are the same problem with one axis less. Nothing is assumed about what
lies outside the frame, and the cost is that of a few transforms, where the definition takes taps^2 x pixels.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from convtool import fft


def window_products(x: np.ndarray, taps: Sequence[int]) -> np.ndarray:
    """G [*taps, *taps] of a float64 frame x [*grid]: the products of all pairs of samples under a window, summed.

    >>> window_products(np.array([1.0, 2.0, 4.0]), [2])  # windows (1, 2) and (2, 4)
    array([[ 5., 10.],
           [10., 20.]])
    """
    paired = _products(x[None], x[None], tuple(taps), 0)[0, 0]
    axes = len(taps)
    return paired.transpose([*range(0, 2 * axes, 2), *range(1, 2 * axes, 2)])


def data_products(x: np.ndarray, y: np.ndarray, taps: Sequence[int]) -> np.ndarray:
    """c [*taps] = sum_j x[j + m] y[j] of a frame x [*grid] and data y, one for each window: [*(grid - taps + 1)].

    >>> data_products(np.array([1.0, 2.0, 4.0]), np.array([1.0, 10.0]), [2]).round(12)
    array([21., 42.])
    """
    shape = tuple(map(fft.fast_length, x.shape))
    transform = fft.transform(shape, np.dtype(np.float64), 3)
    product = transform.forward(_padded(x, shape)) * transform.forward(_padded(y, shape)).conj()
    return transform.inverse(product)[tuple(slice(0, n) for n in taps)].copy()


def window_sums(x: np.ndarray, taps: Sequence[int]) -> np.ndarray:
    """s [*taps] = sum_j x[j + m]: for each tap, the sum of the samples that it meets.

    >>> window_sums(np.array([1.0, 2.0, 4.0]), [2])
    array([3., 6.])
    """
    for axis, n in enumerate(taps):
        count = x.shape[axis] - n + 1
        first = np.take(x, range(count), axis).sum(axis, keepdims=True)
        change = np.take(x, range(count, x.shape[axis]), axis) - np.take(x, range(n - 1), axis)
        x = np.concatenate([first, first + change.cumsum(axis)], axis)
    return x


def _products(a: np.ndarray, b: np.ndarray, taps: tuple[int, ...], lagged: int) -> np.ndarray:
    """Sums of products of every a [A, *grid] with every b [B, *grid], as [A, B, ...] with, for each of the first
    `lagged` axes, the lags m' - m from 1 - N to N - 1 at min(m, m') = 0; for each later axis, m and m'.
    """
    if lagged == len(taps):
        return _lags(a, b, taps)
    n = taps[lagged]
    corners = _products(a, b, taps, lagged + 1)
    place = 2 + lagged
    out = np.empty((*corners.shape[:place], n, n, *corners.shape[place + 1 :]))
    full, by_pair = np.moveaxis(out, (place, place + 1), (0, 1)), np.moveaxis(corners, place, 0)
    full[0], full[:, 0] = by_pair[n - 1 :], by_pair[n - 1 :: -1]
    if n > 1:
        count = a.shape[1 + lagged] - n + 1
        change = _slabs(a, b, taps, lagged, count) - _slabs(a, b, taps, lagged, 0)
        for m in range(n - 1):
            full[m + 1, 1:] = full[m, :-1] + change[m]
    return out


def _slabs(a: np.ndarray, b: np.ndarray, taps: tuple[int, ...], axis: int, start: int) -> np.ndarray:
    """The products of the N - 1 slabs from `start` on along an axis, as [m, m', A, B, ...]."""
    count = taps[axis] - 1
    thin = [np.moveaxis(np.take(z, range(start, start + count), 1 + axis), 1 + axis, 1) for z in (a, b)]
    rest = (*taps[:axis], *taps[axis + 1 :])
    first, second = (z.reshape(-1, *z.shape[2:]) for z in thin)
    found = _products(first, second, rest, axis)
    return np.moveaxis(found.reshape(len(a), count, len(b), count, *found.shape[2:]), (1, 3), (0, 1))


def _lags(a: np.ndarray, b: np.ndarray, taps: tuple[int, ...]) -> np.ndarray:
    """[A, B, *(2 N - 1)]: sum_j a[j + m] b[j + m'] for m' - m = 1 - N .. N - 1 with the lesser of m and m' at 0."""
    if not taps:
        return np.multiply.outer(a, b)
    out = np.empty((len(a), len(b), *(2 * n - 1 for n in taps)))
    shape = tuple(map(fft.fast_length, a.shape[1:]))
    transform = fft.transform(shape, np.dtype(np.float64), 4 * len(a) * len(b))
    for signs in itertools.product((False, True), repeat=len(taps)):  # whether the lags of an axis are negative
        shorter = [
            tuple(
                slice(0, m - n + 1 if sign is cut else m) for m, n, sign in zip(a.shape[1:], taps, signs, strict=True)
            )
            for cut in (False, True)
        ]
        spectra = transform.forward(np.stack([_padded(z[shorter[1]], shape) for z in b]))
        target = tuple(slice(0, n - 1) if sign else slice(n - 1, None) for n, sign in zip(taps, signs, strict=True))
        source = tuple(
            slice(m - n + 1, m) if sign else slice(0, n) for m, n, sign in zip(shape, taps, signs, strict=True)
        )
        for z, row in zip(a, out, strict=True):
            product = spectra * transform.forward(_padded(z[shorter[0]], shape)).conj()
            row[(slice(None), *target)] = transform.inverse(product)[(slice(None), *source)]
    return out


def _padded(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.pad(x, [(0, n - m) for n, m in zip(shape, x.shape, strict=True)])
