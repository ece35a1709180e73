"""What a pair of images says about a kernel: the quadratic form of its taps, for two models of brightness.

Every plane p (a channel, an image of a stack) has y_p = w * x_p + b_p + noise with the same taps w. Summed over planes
and divided by the number of windows, the mean squared residual is w^T G w - 2 c^T w + e, with

    fitted    the offsets b_p left to the data:  products about the mean of all windows, G - s s^T / P, ...
    same      b_p = 0: y is nothing but w * x

Numbers are kept about each plane's mean u = x - mu, for their accuracy; with a sum of 1 that changes nothing
(w * x - mu = w * u), and without, the means come back as mu (s 1^T + 1 s^T) + P mu^2.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from convtool.estimation.moments import data_products, window_products, window_sums


@dataclass(frozen=True, eq=False)
class Evidence:
    """The mean squared residual w^T gram w - 2 rhs^T w + energy over `count` data, for taps [n] of a correlation."""

    gram: np.ndarray
    rhs: np.ndarray
    energy: float
    count: int

    def residual(self, w: np.ndarray) -> float:
        """The mean squared residual of these taps."""
        return max(float(w @ self.gram @ w - 2 * self.rhs @ w) + self.energy, 0.0)


@dataclass(frozen=True, eq=False)
class Sums:
    """The sums over one plane's windows: of products G, of samples s (about the plane's mean mu), of the data."""

    gram: np.ndarray
    rhs: np.ndarray
    sums: np.ndarray
    energy: float
    total: float
    mean: float
    count: int


def collected(planes: Iterable[tuple[np.ndarray, np.ndarray]], taps: Sequence[int]) -> list[Sums]:
    """The sums of each plane x [*grid] with its data y [*(grid - taps + 1)]."""
    return [_summed(x, y, taps) for x, y in planes]


def _summed(x: np.ndarray, y: np.ndarray, taps: Sequence[int]) -> Sums:
    size, mean = int(np.prod(taps)), float(x.mean())
    u, v = x - mean, y - mean
    gram = window_products(u, taps).reshape(size, size)
    energy, total = float(np.vdot(v, v)), float(v.sum())
    return Sums(gram, data_products(u, v, taps).ravel(), window_sums(u, taps).ravel(), energy, total, mean, v.size)


def fitted(planes: Sequence[Sums]) -> Evidence:
    """The evidence where every plane has an offset of its own."""
    gram = [p.gram - np.outer(p.sums, p.sums) / p.count for p in planes]
    rhs = [p.rhs - p.sums * (p.total / p.count) for p in planes]
    return _mean(gram, rhs, [p.energy - p.total**2 / p.count for p in planes], planes)


def same(planes: Sequence[Sums], sum_one: bool) -> Evidence:
    """The evidence where there is no offset."""
    if sum_one:
        return _mean([p.gram for p in planes], [p.rhs for p in planes], [p.energy for p in planes], planes)
    gram = [p.gram + p.mean * (p.sums[:, None] + p.sums) + p.count * p.mean**2 for p in planes]
    rhs = [p.rhs + p.mean * (p.sums + p.total) + p.count * p.mean**2 for p in planes]
    return _mean(gram, rhs, [p.energy + 2 * p.mean * p.total + p.count * p.mean**2 for p in planes], planes)


def _mean(
    gram: Sequence[np.ndarray], rhs: Sequence[np.ndarray], energy: Sequence[float], planes: Sequence[Sums]
) -> Evidence:
    count = sum(p.count for p in planes)
    products = np.sum(gram, axis=0)
    return Evidence((products + products.T) / (2 * count), np.sum(rhs, axis=0) / count, sum(energy) / count, count)
