"""Rules: when a merge is exact on images of every size, from the settings and the symmetry of the taps alone.

`convtool.merging` derives those that hold for any taps. One more holds for the mirrors: along an axis, let the first
kernel have stride 1, a padding of half its span on either side, and taps that are the same read backwards. With the
symmetric continuation x(-1-q) = x(q),

    y1(-1-k) = sum_m w[m] x(-1-k - p + m d) = sum_m w[m] x(k + p - m d) = sum_m w[N-1-m] x(k - p + m d) = y1(k)

since 2 p = (N-1) d: beyond its output the first kernel would have made what the chain sees there. In the same way for
the reflection x(-q) = x(q), and at the other end. Kernels that are their own mirror images keep that when merged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from convtool.merging.layers import Stage

_MIRRORS = ("reflect", "symmetric")
_ROUNDING = 16 * float(np.finfo(np.float64).eps)  # of taps that are meant to be equal, in units of the largest


def exact(firsts: Sequence[Stage], chain: Sequence[Stage]) -> str | None:
    """Why the merge is exact on every grid; None where the rules do not say.

    firsts: the merges of everything before the second, third, ... stage
    """
    reasons: dict[str, None] = {}
    for number, first, second in _pairs(firsts, chain):
        for axis in range(len(second.stride)):
            reason = _reason(first, second, chain[:number], axis)
            if reason is None:
                return None
            reasons[reason] = None
    return "; ".join(reasons)


def open_axes(firsts: Sequence[Stage], chain: Sequence[Stage]) -> list[int]:
    """The axes along which no rule says, for any taps, that chain and merge agree."""
    pairs = list(_pairs(firsts, chain))
    return [
        a
        for a in range(len(chain[0].stride))
        if any(_for_any_taps(first, second, a) is None for _, first, second in pairs)
    ]


def obstacle(firsts: Sequence[Stage], chain: Sequence[Stage], is_bias: bool) -> str:
    """What keeps the merge from being exact by a rule, in words; `is_bias`: nothing but the earlier biases does."""
    for number, first, second in _pairs(firsts, chain):
        if all(_reason(first, second, chain[:number], axis) for axis in range(len(second.stride))):
            continue
        pads = ",".join(f"{before}:{after}" for before, after in second.padding)
        reads = f"kernel {number + 1} (padding {pads}) reads"
        if is_bias:
            which = "first bias" if number == 1 or _has_bias(chain[0]) else "earlier bias"
            return (
                f"the {which} is added everywhere by the merge, only inside the first output by the chain, which sees"
                f" zeros where {reads} outside it"
            )
        seen = "zeros" if first.boundary == "zero" else f"its {first.boundary} continuation"
        return f"{reads} outside the output before it: the chain sees {seen} there, the merge what the image has there"
    return "the kernels meet at the border in a way that no rule covers"


def _pairs(firsts: Sequence[Stage], chain: Sequence[Stage]) -> Iterator[tuple[int, Stage, Stage]]:
    """How many stages come before, their merge, and the stage itself."""
    for number, (first, second) in enumerate(zip(firsts, chain[1:], strict=True), 1):
        yield number, first, second


def _reason(first: Stage, second: Stage, before: Sequence[Stage], axis: int) -> str | None:
    return _for_any_taps(first, second, axis) or _for_mirrored_taps(first, before, axis)


def _for_any_taps(first: Stage, second: Stage, axis: int) -> str | None:
    """The rules of `convtool.merging`, for one axis."""
    pads, span = first.padding[axis], first.span[axis]
    if second.padding[axis] == (0, 0):
        return "without padding, the later kernel reads nothing outside the earlier output"
    if first.stride[axis] == 1 and (*pads, span) == (0, 0, 0) and not (first.boundary == "zero" and _has_bias(first)):
        return "along an axis where the earlier kernel has one tap, the order does not matter"
    if first.stride[axis] == 1 and first.boundary == "zero" and min(pads) >= span and not _has_bias(first):
        return "with stride 1 and this much padding, the earlier output is zero wherever it ends"
    if first.stride[axis] == 1 and first.boundary == "periodic" and sum(pads) == span:
        return "periodic, with stride 1 and an earlier output as large as the image"
    return None


def _for_mirrored_taps(first: Stage, before: Sequence[Stage], axis: int) -> str | None:
    """The rule of the mirrors, for one axis."""
    pads = first.padding[axis]
    is_centred = first.stride[axis] == 1 and pads[0] == pads[1] and sum(pads) == first.span[axis]
    if first.boundary in _MIRRORS and is_centred and all(_is_mirrored(stage.kernel.taps, axis) for stage in before):
        return f"{first.boundary}, with stride 1 and earlier kernels that are their own mirror images"
    return None


def _is_mirrored(taps: np.ndarray, axis: int) -> bool:
    """Whether taps [g, o, i, *extent] are the same read backwards along a spatial axis, but for rounding."""
    return bool(np.abs(taps - np.flip(taps, 3 + axis)).max() <= _ROUNDING * np.abs(taps).max())


def _has_bias(stage: Stage) -> bool:
    return stage.bias is not None and bool(stage.bias.any())
