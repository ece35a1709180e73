"""The engine of local window operations: one pass a tap, in blocks of rows that stay in the cache.

    v[o, i, m, j] = c(x_ext[i, j s + m d], w[o, i, m])       y[o, j] = r over all (i, m) of v[o, i, m, j]

for every image and group; taps count in C order of (i, m), and every tap counts, also those of weight zero. The
derivatives of L = sum(gradient y), with the slopes of c and r from `functions`, are

    dL/dx_ext[i, j s + m d] += sum_o gradient[o, j] dr/dv[o, i, m, j] dc/dx
    dL/dw[o, i, m]           = sum_{n, j} gradient[o, j] dr/dv[o, i, m, j] dc/dw

and dL/dx is the fold of dL/dx_ext, the adjoint of the extension by the boundary. The combined values of all taps are
never held at once, but for the gradient of a product, on a block that is smaller by as much.

Arrays are x [n, g, i, *grid], y [n, g, o, *outputs], taps [g, o, i, *extent].
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from convtool.boundary import extend, fold
from convtool.geometry import Geometry
from convtool.windows.functions import Combination, Reduction

_BLOCK = 1 << 15  # samples of output a block: with its operands it fits a core's second-level cache
_MOST_VALUES = 1 << 20  # samples of output times taps a block, where the values of all taps are kept


def fields(extended: np.ndarray, windows: Geometry, writeable: bool = False) -> np.ndarray:
    """The windows of an extended array [..., *extended] as a strided view [..., *outputs, *extent]."""
    spatial = tuple(range(-len(windows.extent), 0))
    dense = sliding_window_view(extended, [n + 1 for n in windows.span], spatial, writeable=writeable)
    steps: Any = (..., *(slice(None, None, step) for step in (*windows.stride, *windows.dilation)))
    return dense[steps]


def apply(x: np.ndarray, taps: np.ndarray, windows: Geometry, combine: Combination, reduce: Reduction) -> np.ndarray:
    """y of x; what overflows becomes infinite, without a warning."""
    y = np.empty((*x.shape[:2], taps.shape[1], *windows.outputs), x.dtype)
    for g, batch in _batches(x, windows):
        seen = fields(extend(x[batch, g], windows.padding, windows.boundary), windows)
        for rows in _rows(windows, len(seen), _BLOCK):
            for o, weights in enumerate(taps[g]):
                _reduce(seen[:, :, rows], weights, combine, reduce, y[batch, g, o][:, rows])
    return y


def _reduce(seen: np.ndarray, weights: np.ndarray, combine: Combination, reduce: Reduction, out: np.ndarray) -> None:
    """out [n, *block] from the windows [n, i, *block, *extent] and the weights [i, *extent] of one output channel."""
    _accumulate(seen, weights, combine, reduce, out)
    if not reduce.is_mean:
        return
    out /= weights.size
    if not (is_sound := np.isfinite(out)).all():
        # Times 2^-k no sum of finite values overflows, and their mean lies between them. Small ones would lose bits.
        shrink = out.dtype.type(0.5 ** (1 + math.ceil(math.log2(weights.size))))
        again = np.empty_like(out)
        _accumulate(seen, weights, combine, reduce, again, shrink)
        limit, is_finite = np.finfo(out.dtype).max, np.isfinite(again)
        again /= weights.size * shrink
        np.clip(again, -limit, limit, out=again, where=is_finite)
        np.copyto(out, again, where=~is_sound)


def _accumulate(
    seen: np.ndarray, weights: np.ndarray, combine: Combination, reduce: Reduction, out: np.ndarray, factor: Any = None
) -> None:
    """Reduce what taps make, times a factor; sums in stretches, so that rounding grows with the root of the taps."""
    value, part = np.empty_like(out), np.empty_like(out)
    places = list(np.ndindex(weights.shape))
    stretch = math.isqrt(len(places) - 1) + 1 if reduce.is_sum else len(places)
    for first in range(0, len(places), stretch):
        target = part if first else out
        for k, m in enumerate(places[first : first + stretch]):
            written = value if k else target
            combine.write(_under(seen, m), weights[m], out=written)
            if factor is not None:
                written *= factor
            if k:
                reduce.step(target, value, out=target)
        if first:
            reduce.step(out, part, out=out)


def gradients(
    x: np.ndarray, taps: np.ndarray, gradient: np.ndarray, windows: Geometry, combine: Combination, reduce: Reduction
) -> tuple[np.ndarray, np.ndarray]:
    """(dL/dx, dL/dw), shaped as x and taps, for a gradient shaped as y."""
    d_x, d_taps = np.empty_like(x), np.zeros(taps.shape)
    most = min(_BLOCK, _MOST_VALUES // math.prod(taps.shape[2:]))
    for g, batch in _batches(x, windows):
        extended = extend(x[batch, g], windows.padding, windows.boundary)
        d_extended = np.zeros_like(extended)
        seen, d_seen = fields(extended, windows), fields(d_extended, windows, writeable=True)
        for rows in _rows(windows, len(seen), most):
            for o, weights in enumerate(taps[g]):
                block = gradient[batch, g, o][:, rows]
                d_taps[g, o] += _spread(block, seen[:, :, rows], weights, combine, reduce, d_seen[:, :, rows])
        d_x[batch, g] = fold(d_extended, windows.padding, windows.boundary)
    return d_x, d_taps.astype(taps.dtype)


def _spread(
    gradient: np.ndarray,
    seen: np.ndarray,
    weights: np.ndarray,
    combine: Combination,
    reduce: Reduction,
    d_seen: np.ndarray,
) -> np.ndarray:
    """The weights' gradient [i, *extent] from one block; the pixels' is added to `d_seen`."""
    places = list(np.ndindex(weights.shape))
    d_weights = np.empty(weights.shape)
    assert combine.slopes is not None
    assert reduce.shares is not None

    def values(k: int) -> np.ndarray:
        out = np.empty_like(gradient)
        combine.write(_under(seen, places[k]), weights[places[k]], out=out)
        return out

    for m, share in zip(places, reduce.shares(values, len(places), gradient), strict=True):
        by_pixel, by_weight = combine.slopes(_under(seen, m), weights[m])
        target = _under(d_seen, m)
        target += share * by_pixel
        d_weights[m] = np.sum(share * by_weight, dtype=np.float64)
    return d_weights


def _under(seen: np.ndarray, m: tuple[int, ...]) -> np.ndarray:
    """What lies under tap m = (i, *place) of every window: a view [n, *block] of [n, i, *block, *extent]."""
    index: Any = (slice(None), m[0], ..., *m[1:])
    return seen[index]


def _batches(x: np.ndarray, windows: Geometry) -> Iterator[tuple[int, slice]]:
    """(group, images) that are extended together: as many small images as fill a block."""
    step = max(1, _BLOCK // math.prod(windows.extended))
    return ((g, slice(n, min(n + step, len(x)))) for g in range(x.shape[1]) for n in range(0, len(x), step))


def held(channels: int, windows: Geometry) -> int:
    """Samples of an extended batch, and of what is worked on, at most."""
    return channels * max(_BLOCK, math.prod(windows.extended)) + 4 * max(_BLOCK, math.prod(windows.outputs[1:]))


def _rows(windows: Geometry, images: int, most: int) -> Iterator[slice]:
    """Slices of the first spatial axis of the outputs, of at most so many samples in so many images (or one row)."""
    rows, *rest = windows.outputs
    step = max(1, most // (images * math.prod(rest)))
    return (slice(first, min(first + step, rows)) for first in range(0, rows, step))
