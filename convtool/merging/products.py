"""The product of two stages: taps convolved, strides multiplied, paddings and origins added up.

The taps of the product are a full convolution of one spread kernel, taken as an image of channels, with the other one,
so they are computed by the operator that everything else is computed by. `convtool.merging` has the formulas.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from convtool.errors import DataError
from convtool.kernel import Kernel
from convtool.merging.layers import Stage, power_of_two
from convtool.operators import Convolution

_EXACT_PRODUCTS = 1 << 28  # up to which they are summed one by one, which is exact for integers


def shape_of(chain: Sequence[Stage]) -> tuple[int, ...]:
    """The shape [g, o, i, *extent] of the taps of a chain's merge, which need not fit into any memory."""
    lead, is_shared = chain[0].kernel.taps.shape[:3], chain[0].is_shared
    reach, steps = [0] * len(chain[0].stride), [1] * len(chain[0].stride)
    for number, stage in enumerate(chain):
        reach = [n + step * span for n, step, span in zip(reach, steps, stage.span, strict=True)]
        steps = [step * stride for step, stride in zip(steps, stage.stride, strict=True)]
        g, o, i = stage.kernel.taps.shape[:3]
        if number and not stage.is_shared:
            groups = math.gcd(lead[0], g)
            lead = (g, o, i) if is_shared else (groups, g * o // groups, lead[0] * lead[2] // groups)
            is_shared = False
    return (*lead, *(n + 1 for n in reach))


def product(first: Stage, second: Stage) -> Stage:
    """The stage that does what two in a row do, up to the border; the formulas of `convtool.merging`.

    Raises DataError where taps or bias leave the range of float64.
    """
    spread = tuple(s * d for s, d in zip(first.stride, second.dilation, strict=True))
    power, other = power_of_two(first.kernel.taps), power_of_two(second.kernel.taps)
    taps = _scaled_up(_taps(_near_one(first, power), _near_one(second, other), spread), power + other)
    origins = zip(first.kernel.origin, first.dilation, second.kernel.origin, spread, strict=True)
    pads = zip(first.padding, first.stride, second.padding, strict=True)
    return replace(
        first,
        kernel=Kernel(taps, tuple(a * d + b * e for a, d, b, e in origins)),
        kind=max(first.kind, second.kind, key=len),
        stride=tuple(a * b for a, b in zip(first.stride, second.stride, strict=True)),
        padding=tuple((p[0] + s * q[0], p[1] + s * q[1]) for p, s, q in pads),
        dilation=(1,) * len(spread),
        word=first.word if first.word == second.word else None,
        bias=_bias(first, second),
    )


def _near_one(stage: Stage, power: int) -> Stage:
    """The stage with taps / 2^power: no product of two such kernels over- or underflows."""
    return replace(stage, kernel=Kernel(np.ldexp(stage.kernel.taps, -power), stage.kernel.origin))


def _scaled_up(taps: np.ndarray, power: int) -> np.ndarray:
    """taps x 2^power; raises DataError where the largest has no place among floats."""
    with np.errstate(over="ignore", under="ignore"):
        found: np.ndarray = np.ldexp(taps, power)
    before, after = float(np.abs(taps).max()), float(np.abs(found).max())
    if math.isinf(after) or (before > 0 and after < float(np.finfo(np.float64).tiny)):
        what = "overflow" if math.isinf(after) else "underflow"
        size = round((math.log2(before) + power) * math.log10(2))
        raise DataError(f"the merged taps {what} float64 (about 1e{size:+d}): scale the kernels before merging")
    return found


def _taps(first: Stage, second: Stage, spread: tuple[int, ...]) -> np.ndarray:
    """Taps [g, o, i, *extent]: the full convolution of one spread kernel, taken as an image, with the other."""
    if second.is_shared:
        return _each(_spread(first.kernel.taps, first.dilation), second.kernel, spread)
    if first.is_shared:
        return _each(_spread(second.kernel.taps, spread), first.kernel, first.dilation)
    groups = math.gcd(first.groups, second.groups)
    image = np.moveaxis(_regrouped(_spread(first.kernel.taps, first.dilation), groups), 2, 0)
    kernel = Kernel(_regrouped(second.kernel.taps, groups), second.kernel.origin)
    out = _full(image.reshape(len(image), -1, *image.shape[3:]), kernel, groups, spread)
    return np.ascontiguousarray(np.moveaxis(out.reshape(len(out), groups, -1, *out.shape[2:]), 0, 2))


def _each(image: np.ndarray, kernel: Kernel, dilation: tuple[int, ...]) -> np.ndarray:
    """An image of taps [g, o, i, *extent], every one of its planes convolved with one kernel."""
    out = _full(image.reshape(1, -1, *image.shape[3:]), kernel, math.prod(image.shape[:3]), dilation)
    return out.reshape(*image.shape[:3], *out.shape[2:])


def _full(image: np.ndarray, kernel: Kernel, groups: int, dilation: tuple[int, ...]) -> np.ndarray:
    spans = zip(image.shape[2:], kernel.extent, dilation, strict=True)
    products = math.prod(n + (taps - 1) * d for n, taps, d in spans) * kernel.taps.size
    engine = "direct" if products <= _EXACT_PRODUCTS else "auto"
    operator = Convolution.build(
        kernel, image.shape[2:], groups, boundary="zero", padding="full", dilation=dilation, engine=engine
    )
    return operator.forward(image)


def _spread(taps: np.ndarray, dilation: tuple[int, ...]) -> np.ndarray:
    """Taps with zeros between them."""
    extent = [d * (n - 1) + 1 for n, d in zip(taps.shape[3:], dilation, strict=True)]
    out = np.zeros((*taps.shape[:3], *extent))
    places: tuple[Any, ...] = tuple(slice(None, None, d) for d in dilation)
    out[(..., *places)] = taps
    return out


def _regrouped(taps: np.ndarray, groups: int) -> np.ndarray:
    """Taps of finer groups as block-diagonal taps of `groups` coarser ones."""
    fine, o, i = taps.shape[:3]
    blocks = fine // groups
    out = np.zeros((groups, blocks * o, blocks * i, *taps.shape[3:]))
    for b in range(blocks):
        out[:, b * o : (b + 1) * o, b * i : (b + 1) * i] = taps[b::blocks]
    return out


def _bias(first: Stage, second: Stage) -> np.ndarray | None:
    """b2 + sum w2 b1, per output channel (one number where that serves for any number of channels)."""
    if first.bias is None:
        return second.bias
    with np.errstate(over="ignore", invalid="ignore"):
        carried = _carried(first.bias, second)
        bias: np.ndarray = carried if second.bias is None else carried + second.bias
    if not np.isfinite(bias).all():
        raise DataError("the merged bias overflows float64: scale the kernels before merging")
    return bias


def _carried(bias: np.ndarray, second: Stage) -> np.ndarray:
    """What the second stage makes of the first one's bias: sum w2 b1."""
    sums = second.kernel.taps.sum(axis=tuple(range(3, second.kernel.taps.ndim)))
    if second.is_shared:
        return bias * sums.item()
    g, _, i = sums.shape
    carried: np.ndarray = np.einsum("goi,gi->go", sums, np.broadcast_to(bias, g * i).reshape(g, i)).ravel()
    return carried
