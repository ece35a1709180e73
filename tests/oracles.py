"""What convtool must compute, written from the definitions: slow loops and dense matrices.

Nothing here comes from convtool. Arrays are canonical: x [n, c_in, *spatial], taps [o, i, *k] with i = c_in / groups,
bias [o]; one value an axis wherever a setting says "per axis". With m a tap, o the origin, d the dilation, s the
stride, p the padding before and N the number of taps of one axis, the pixel that tap m reads for output j is

    numbers, correlate      j s − p + m d              "same", correlate      j s + (m − o) d
    numbers, convolve       j s − p + (N − 1 − m) d    "same", convolve       j s − (m − o) d

("valid" is padding 0, "full" is d (N − 1) on both sides), and a pixel outside the frame is what the boundary says.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

LEAST = 1e-9  # share of a kernel's weight below which an output counts as resting on no observed pixel
BOUNDARIES = ("periodic", "zero", "edge", "reflect", "symmetric")

PerAxis = int | Sequence[int]
Padding = str | int | Sequence[int] | Sequence[Sequence[int]]
Origin = str | Sequence[int]


def source(p: int, n: int, boundary: str) -> int | None:
    """The pixel in 0..n−1 that stands at position p of the extended line; None where there is a zero."""
    if boundary == "zero":
        return p if 0 <= p < n else None
    if boundary == "edge":
        return min(max(p, 0), n - 1)
    if boundary == "periodic":
        return p % n
    if boundary == "symmetric":  # 0 1 2 | 2 1 0 | 0 1 2
        folded = p % (2 * n)
        return folded if folded < n else 2 * n - 1 - folded
    if boundary == "reflect":  # 0 1 2 | 1 | 0 1 2
        period = max(2 * n - 2, 1)
        folded = p % period
        return folded if folded < n else period - folded
    raise ValueError(boundary)


def per_axis(value: PerAxis, rank: int) -> list[int]:
    """One number an axis from one number for all, or from one each."""
    return [value] * rank if isinstance(value, int) else list(value)


def origins(origin: Origin, sizes: Sequence[int]) -> list[int]:
    """The index of the tap on the output pixel, per axis."""
    if isinstance(origin, str):
        return [{"center": size // 2, "first": 0, "last": size - 1}[origin] for size in sizes]
    return list(origin)


def pads(padding: Padding, sizes: Sequence[int], dilation: Sequence[int]) -> list[tuple[int, int]]:
    """(before, after) per axis for every padding but "same"."""
    if padding == "valid":
        return [(0, 0)] * len(sizes)
    if padding == "full":
        return [(d * (size - 1), d * (size - 1)) for size, d in zip(sizes, dilation, strict=True)]
    if isinstance(padding, int):
        return [(padding, padding)] * len(sizes)
    pairs = [(p, p) if isinstance(p, int) else tuple(p) for p in padding]
    return [(int(before), int(after)) for before, after in pairs]


def reads(
    frame: Sequence[int],
    sizes: Sequence[int],
    operation: str,
    origin: Origin,
    padding: Padding,
    stride: PerAxis,
    dilation: PerAxis,
) -> list[list[list[int]]]:
    """For each axis, output and tap: the position that is read. Raises ValueError where an axis has no output."""
    rank = len(sizes)
    strides, dilations = per_axis(stride, rank), per_axis(dilation, rank)
    axes = []
    for a in range(rank):
        n, taps, s, d = frame[a], sizes[a], strides[a], dilations[a]
        if padding == "same":
            sign, o = (-1 if operation == "convolve" else 1), origins(origin, sizes)[a]
            count = math.ceil(n / s)
            axes.append([[j * s + sign * (m - o) * d for m in range(taps)] for j in range(count)])
            continue
        before, after = pads(padding, sizes, dilations)[a]
        count = (n + before + after - d * (taps - 1) - 1) // s + 1
        if count < 1:
            raise ValueError("no output")
        order = range(taps) if operation == "correlate" else range(taps - 1, -1, -1)
        axes.append([[j * s - before + m * d for m in order] for j in range(count)])
    return axes


def apply_loop(
    operation: str,
    x: np.ndarray,
    taps: np.ndarray,
    *,
    groups: int = 1,
    origin: Origin = "center",
    boundary: str = "periodic",
    padding: Padding = "same",
    stride: PerAxis = 1,
    dilation: PerAxis = 1,
    bias: Sequence[float] | None = None,
) -> np.ndarray:
    """The definition, one output and one tap at a time, in float64; y [n, o, *out]."""
    frame, sizes = x.shape[2:], taps.shape[2:]
    axes = reads(frame, sizes, operation, origin, padding, stride, dilation)
    out_channels, inner = taps.shape[:2]
    y = np.zeros((x.shape[0], out_channels, *(len(axis) for axis in axes)))
    for o in range(out_channels):
        first = o // (out_channels // groups) * inner
        for j in itertools.product(*(range(len(axis)) for axis in axes)):
            for m in itertools.product(*(range(size) for size in sizes)):
                pixel = [source(axis[a][b], n, boundary) for axis, a, b, n in zip(axes, j, m, frame, strict=True)]
                if None not in pixel:
                    for i in range(inner):
                        y[(slice(None), o, *j)] += float(taps[(o, i, *m)]) * x[(slice(None), first + i, *pixel)]
        y[:, o] += 0.0 if bias is None else bias[o]
    return y


def convolve_loop(x: np.ndarray, taps: np.ndarray, **settings: object) -> np.ndarray:
    """Convolution by the definition; the settings of `apply_loop`."""
    return apply_loop("convolve", x, taps, **settings)  # type: ignore[arg-type]


def correlate_loop(x: np.ndarray, taps: np.ndarray, **settings: object) -> np.ndarray:
    """Correlation by the definition; the settings of `apply_loop`."""
    return apply_loop("correlate", x, taps, **settings)  # type: ignore[arg-type]


def masked_loop(
    operation: str,
    x: np.ndarray,
    observed: np.ndarray,
    taps: np.ndarray,
    *,
    groups: int = 1,
    bias: Sequence[float] | None = None,
    boundary: str = "periodic",
    **windows: object,
) -> np.ndarray:
    """sum(k) times the weighted mean of the observed pixels of each window, tap by tap; what is outside is a pixel's
    copy, or a zero that is known; x [n, c_in, *grid], observed alike, taps [o, i, *k]."""
    frame, sizes = x.shape[2:], taps.shape[2:]
    how = {"origin": "center", "padding": "same", "stride": 1, "dilation": 1} | windows
    axes = reads(frame, sizes, operation, **how)  # type: ignore[arg-type]
    y = np.zeros((len(x), len(taps), *map(len, axes)))
    for n, o, *j in np.ndindex(y.shape):
        first = o // (len(taps) // groups) * taps.shape[1]
        total = weight = value = 0.0
        for i, *m in np.ndindex(taps.shape[1:]):
            tap = float(taps[(o, i, *m)])
            at = [source(line[a][b], size, boundary) for line, a, b, size in zip(axes, j, m, frame, strict=True)]
            total += tap
            if None in at:
                weight += tap
            elif observed[(n, first + i, *at)]:
                weight += tap
                value += tap * float(x[(n, first + i, *at)])
        rests_on_pixels = total == 0 or weight / total >= LEAST
        y[(n, o, *j)] = (value / weight * total if total else 0.0) if rests_on_pixels else np.nan
        y[(n, o, *j)] += 0.0 if bias is None else bias[o]
    return y


def matrix(
    taps: np.ndarray,
    in_shape: Sequence[int],
    *,
    operation: str = "convolve",
    groups: int = 1,
    origin: Origin = "center",
    boundary: str = "periodic",
    padding: Padding = "same",
    stride: PerAxis = 1,
    dilation: PerAxis = 1,
) -> np.ndarray:
    """The operator as a dense matrix [outputs, inputs] in C order of [c, *spatial], written entry by entry."""
    frame, sizes = list(in_shape[1:]), taps.shape[2:]
    axes = reads(frame, sizes, operation, origin, padding, stride, dilation)
    out_channels, inner = taps.shape[:2]
    outputs = list(itertools.product(range(out_channels), *(range(len(axis)) for axis in axes)))
    pixels = np.arange(math.prod(in_shape)).reshape(in_shape)
    entries = np.zeros((len(outputs), pixels.size))
    for row, (o, *j) in enumerate(outputs):
        first = o // (out_channels // groups) * inner
        for m in itertools.product(*(range(size) for size in sizes)):
            pixel = [source(axis[a][b], n, boundary) for axis, a, b, n in zip(axes, j, m, frame, strict=True)]
            if None not in pixel:
                for i in range(inner):
                    entries[row, pixels[(first + i, *pixel)]] += taps[(o, i, *m)]
    return entries


def pinv_solution(a: np.ndarray, y: np.ndarray, rcond: float) -> np.ndarray:
    """The minimum-norm least-squares solution of a x = y; singular values <= rcond × the largest count as zero."""
    return np.linalg.pinv(a, rcond=rcond) @ y


def tikhonov_solution(a: np.ndarray, penalty: np.ndarray, y: np.ndarray, weight: float) -> np.ndarray:
    """The minimiser of ‖a x − y‖² + weight ‖penalty x‖² (of least norm), as one stacked least-squares problem."""
    stacked = np.vstack([a, math.sqrt(weight) * penalty])
    data = np.concatenate([y, np.zeros(len(penalty))])
    return np.linalg.lstsq(stacked, data, rcond=1e-12)[0]


def laplacian_matrix(shape: Sequence[int]) -> np.ndarray:
    """The periodic second difference: −2 d in the middle and +1 at each of the 2 d neighbours."""
    pixels = np.arange(math.prod(shape)).reshape(shape)
    entries = -2.0 * len(shape) * np.eye(pixels.size)
    for axis, step in itertools.product(range(len(shape)), (-1, 1)):
        for here, there in zip(pixels.ravel(), np.roll(pixels, step, axis).ravel(), strict=True):
            entries[here, there] += 1.0
    return entries


def gradient_matrix(shape: Sequence[int]) -> np.ndarray:
    """The periodic forward differences x[q + 1] − x[q], one block of rows an axis."""
    pixels = np.arange(math.prod(shape)).reshape(shape)
    blocks = []
    for axis in range(len(shape)):
        block = -np.eye(pixels.size)
        for here, there in zip(pixels.ravel(), np.roll(pixels, -1, axis).ravel(), strict=True):
            block[here, there] += 1.0
        blocks.append(block)
    return np.vstack(blocks)


def gcv_score(a: np.ndarray, penalty: np.ndarray, y: np.ndarray, weight: float) -> float:
    """Generalised cross-validation: N ‖y − a x‖² / trace(I − a (a'a + weight L'L)⁺ a')²."""
    hat = a @ np.linalg.pinv(a.T @ a + weight * penalty.T @ penalty, rcond=1e-13, hermitian=True) @ a.T
    residual = y - hat @ y
    return float(len(y) * (residual @ residual) / np.trace(np.eye(len(y)) - hat) ** 2)
