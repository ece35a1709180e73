"""Total variation by the alternating direction method of multipliers (ADMM), for any scene.

    minimise 1/2 ||M A x - y||^2 + weight TV(x)  [, x >= 0],      TV(x) = sum_pixels ( sum_axes,channels (D x)^2 )^1/2

With K x = (A x, D x [, x]) and z = (u, d [, w]): min f(z) subject to K x = z, where f takes each pixel by itself, and x
is a least-squares problem that the scene solves frequency by frequency. With penalties P = diag(mu, rho [, gamma]) and
v = z + (scaled multiplier), one over-relaxed iteration (Eckstein and Bertsekas 1992) is

    x = argmin ||K x - (2 prox(v) - v)||_P,      v += RELAXATION (K x - prox(v)),      z = prox(v):
    u = (M y + mu v) / (M + mu),      d = max(1 - (weight / rho) / |v|, 0) v,      w = max(v, 0)

where |v| at a pixel is one norm over axes and channels, so that channels share their edges. v is all the state. Where
all data were seen, u is not split off: x is then fitted to the data themselves, and two transforms an iteration do.

Converged means that of each split the primal residual, ||D x - d||, and the dual one, the step of d, are both below
`tol` times ||D x|| (Boyd et al. 2011); for u: times the contrast ||y - mean||, for w: times ||x||. A next weight starts
from the last one's v. The step sizes rho and mu were measured: a few dozen iterations, whatever the noise. Element-wise
work is done block by block of rows, in the cache.

References: Boyd, Parikh, Chu, Peleato, Eckstein 2011 (doi:10.1561/2200000016); Eckstein and Bertsekas 1992
(doi:10.1007/BF01581204); Wang, Yang, Yin, Zhang 2008 (doi:10.1137/080724265); Chan, Khoshabeh, Gibson, Gill, Nguyen
2011 (doi:10.1109/TIP.2011.2158229); Almeida and Figueiredo 2013 (doi:10.1109/TIP.2013.2258354); Bresson and Chan 2008
(doi:10.3934/ipi.2008.2.455) for the variation of several channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from convtool import process

if TYPE_CHECKING:
    from convtool.deconvolution.solvers.scene import Scene

RELAXATION = 1.8
_THRESHOLD = 20.0  # weight / rho, in units of the data, which span 0..255: the step that edges move by
_MU, _LEAST_MU, _MOST_MU = 0.14, 0.003, 0.3  # penalty of u = A x: a share of the weight's root, measured
_GAMMA = 0.01  # penalty of w = x
_FLAT = 0.01  # share of the contrast below which differences need not be exact relative to themselves
_ROUNDING = 100.0  # eps of the data, below which nothing is told from 0
_EVERY = 5  # iterations from one look at the residuals to the next
_BLOCK = 1 << 15  # samples: a dozen arrays of them stay in the cache of a core


@dataclass(frozen=True, eq=False)
class Minimum:
    """What a minimisation came to.

    x, blurred: [c_in, *grid] and A x, in the scene's units; objective: 1/2 ||M A x - y||^2 + weight variation
    """

    x: np.ndarray
    blurred: np.ndarray
    iterations: int
    primal: float
    dual: float
    is_converged: bool
    misfit: float
    variation: float


Sums = list[float]  # of a split: squared primal and dual residual, and squared size
_NONE: Sums = [0.0, 0.0, 0.0]


class _Penalties(NamedTuple):
    """Of u = A x, d = D x and w = x, and the threshold weight / rho of d."""

    mu: float
    rho: float
    gamma: float
    threshold: float


class TotalVariation:
    """The minimisation for one scene; calls of `minimise` go on from where the last one ended."""

    def __init__(self, scene: Scene, is_nonnegative: bool = False) -> None:
        self.scene = scene
        self.x = scene.start()
        self._blurred = scene.forward(self.x)  # where u is split off: A x after a fit, 2 prox(v) - v after a sweep
        self._d = np.zeros((len(scene.steps), *scene.shape), scene.dtype)
        self._shrink = np.zeros(scene.shape[1:], scene.dtype)  # prox(d) / d
        self._u = self._blurred.copy() if scene.weights is not None else None
        self._w = self.x.copy() if is_nonnegative else None
        self._z = np.empty(scene.shape, scene.dtype)
        self._spread = _spread(scene.data, scene.weights)
        self._blocks = _blocks(scene.shape)
        self._run: Callable[..., Iterable[list[Sums]]] = map

    def minimise(
        self, weight: float, tol: float, limit: int, watch: Callable[[int, float], None] | None = None
    ) -> Minimum:
        """The minimum for a weight in the scene's units."""
        mu = min(max(_MU * math.sqrt(weight), _LEAST_MU), _MOST_MU) if self._u is not None else 1.0
        penalties = _Penalties(mu, weight / _THRESHOLD, _GAMMA, _THRESHOLD)
        workers = min(process.workers(), len(self._blocks))
        with ThreadPoolExecutor(workers) as pool:  # which starts no thread before it is asked to
            self._run = pool.map if workers > 1 else map
            return self._iterate(penalties, tol, limit, watch)

    def _iterate(
        self, penalties: _Penalties, tol: float, limit: int, watch: Callable[[int, float], None] | None
    ) -> Minimum:
        self._sweep(penalties, 1.0, False)
        iteration, primal, dual = 0, math.inf, math.inf
        while iteration < limit and max(primal, dual) > tol:
            iteration += 1
            self._fit(penalties)
            is_look = iteration == 1 or iteration % _EVERY == 0 or iteration == limit
            sums = self._sweep(penalties, RELAXATION, is_look)
            if is_look:
                primal, dual = self._residuals(sums)
                if watch is not None:
                    watch(iteration, max(primal, dual))
        return self._minimum(iteration, primal, dual, max(primal, dual) <= tol)

    def _residuals(self, sums: np.ndarray) -> tuple[float, float]:
        """The largest relative primal and dual residual of the sums [splits, 3], those of d first."""
        rounding = (_ROUNDING * float(np.finfo(self.x.dtype).eps)) ** 2 * _square(self.scene.data)
        sizes = sums[:, 2] + rounding
        sizes[0] += _FLAT**2 * self._spread
        ratios = np.sqrt(sums[:, :2] / np.where(sizes > 0, sizes, np.inf)[:, None]).max(axis=0)
        return float(ratios[0]), float(ratios[1])

    def _fit(self, penalties: _Penalties) -> None:
        """x, and A x, from what the sweep left in `_blurred` and `_z`."""
        mu, rho, gamma, _ = penalties
        beta, gamma = rho / mu, gamma / mu if self._w is not None else 0.0
        if self._u is None:
            self.x = self.scene.fitted(self._z, beta, gamma, self.x)
        else:
            self.x, self._blurred = self.scene.least_squares(self._blurred, self._z, beta, gamma, self.x)

    def _sweep(self, penalties: _Penalties, relaxation: float, is_look: bool) -> np.ndarray:
        """v += relaxation (K x - prox(v)); leaves 2 prox(v) - v of u in `_blurred`, and of d and w as D^T . in `_z`."""
        blocks = self._blocks
        spilt = np.empty((len(blocks), self.x.shape[0], *self.x.shape[2:]), self.x.dtype)

        def work(number: int) -> list[Sums]:
            rows = blocks[number]
            found = [self._sweep_differences(rows, penalties, relaxation, is_look, spilt[number])]
            if self._w is not None:
                found.append(self._sweep_signs(self._w[:, rows], rows, penalties, relaxation, is_look))
            if self._u is not None:
                found.append(self._sweep_data(self._u[:, rows], rows, penalties, relaxation, is_look))
            return found

        found = list(self._run(work, range(len(blocks))))
        for rows, below in zip(blocks, spilt, strict=True):
            self._z[:, rows.stop % self.x.shape[1]] += below
        sums = np.sum(found, axis=0)
        if self._u is not None:
            sums[-1, 2] = self._spread
        return sums

    def _sweep_differences(
        self, rows: slice, penalties: _Penalties, relaxation: float, is_look: bool, spilt: np.ndarray
    ) -> Sums:
        """Of d, in these rows; `spilt` takes what D^T adds to the row after them."""
        v, shrink, z = self._d[:, :, rows], self._shrink[rows], self._z[:, rows]
        square = np.zeros(shrink.shape, v.dtype)
        kept = []
        for axis, h in enumerate(self.scene.steps):
            g = self._difference(axis, rows, h)
            step = shrink * v[axis]
            if is_look:
                kept.append((g.copy(), step.copy()))
            np.subtract(g, step, out=step)
            if relaxation != 1:
                step *= relaxation
            v[axis] += step
            np.multiply(v[axis], v[axis], out=step)
            square += step.sum(axis=0) if len(step) > 1 else step[0]
        np.sqrt(square, out=square)
        np.maximum(square, penalties.threshold, out=square)
        np.divide(-penalties.threshold, square, out=shrink)
        shrink += 1
        _adjoint(z, v, shrink, self.scene.steps, penalties.rho / penalties.mu, spilt)
        return _looked(kept, v, shrink) if is_look else _NONE

    def _difference(self, axis: int, rows: slice, h: float) -> np.ndarray:
        """D x along an axis, in these rows; 0 at the end where the scene does not wrap."""
        x, block, at = self.x, self.x[:, rows], axis + 1
        g = np.empty_like(block)
        following, end = _along(at, 1, None), _along(at, -1, None)
        np.subtract(block[following], block[_along(at, None, -1)], out=g[_along(at, None, -1)])
        if not self.scene.wraps and (axis or rows.stop == x.shape[1]):
            g[end] = 0
        elif axis:
            np.subtract(block[_along(at, None, 1)], block[end], out=g[end])
        else:
            np.subtract(x[:, rows.stop % x.shape[1]], x[:, rows.stop - 1], out=g[:, -1])
        if h != 1:
            g *= 1 / h
        return g

    def _sweep_signs(self, v: np.ndarray, rows: slice, penalties: _Penalties, relaxation: float, is_look: bool) -> Sums:
        """Of w = x >= 0."""
        x, before = self.x[:, rows], np.maximum(v, 0)
        v += relaxation * (x - before)
        self._z[:, rows] += penalties.gamma / penalties.mu * np.abs(v)
        if not is_look:
            return _NONE
        now = np.maximum(v, 0)
        return [_square(x - now), _square(now - before), _square(x)]

    def _sweep_data(self, v: np.ndarray, rows: slice, penalties: _Penalties, relaxation: float, is_look: bool) -> Sums:
        """Of u = A x, with prox(v) = v - M (v - y) / (1 + mu)."""
        assert self.scene.weights is not None
        mu, y, blurred = penalties.mu, self.scene.data[:, rows], self._blurred[:, rows]
        share = self.scene.weights[:, rows] * (1 / (1 + mu))
        before = v - share * (v - y)
        step = blurred - before
        step *= relaxation
        v += step
        np.subtract(v, y, out=step)
        step *= share
        sums = _NONE
        if is_look:
            now = v - step
            sums = [_square(blurred - now), _square(now - before), 0.0]
        step *= 2
        np.subtract(v, step, out=blurred)
        return sums

    def _minimum(self, iterations: int, primal: float, dual: float, is_converged: bool) -> Minimum:
        x = self.x if self._w is None else np.maximum(self._w, 0)
        blurred = self.scene.forward(x)
        misfit = 0.5 * _square(self.scene.masked(blurred) - self.scene.data)
        return Minimum(x, blurred, iterations, primal, dual, is_converged, misfit, variation(self.scene, x))


def variation(scene: Scene, x: np.ndarray) -> float:
    """TV(x), one norm over axes and channels at every pixel."""
    return float(np.sqrt(np.square(scene.gradient(x)).sum(axis=(0, 1))).sum(dtype=np.float64))


def _adjoint(
    z: np.ndarray, v: np.ndarray, shrink: np.ndarray, steps: tuple[float, ...], beta: float, spilt: np.ndarray
) -> None:
    """z = beta D^T (2 shrink - 1) v in a block of rows; `spilt` takes what belongs to the row after them."""
    z[...] = 0
    factor = 2 * beta * shrink
    factor -= beta
    for axis, h in enumerate(steps):
        t = factor * v[axis]
        if h != 1:
            t *= 1 / h
        z -= t
        at = axis + 1
        z[_along(at, 1, None)] += t[_along(at, None, -1)]
        if axis:
            z[_along(at, None, 1)] += t[_along(at, -1, None)]
        else:
            spilt[...] = t[:, -1]


def _looked(kept: list[tuple[np.ndarray, np.ndarray]], v: np.ndarray, shrink: np.ndarray) -> Sums:
    """The sums for pairs (D x, prox(v) before) and v, axis by axis."""
    primal = dual = size = 0.0
    for (g, before), each in zip(kept, v, strict=True):
        now = shrink * each
        primal, dual, size = primal + _square(g - now), dual + _square(now - before), size + _square(g)
    return [primal, dual, size]


def _blocks(shape: tuple[int, ...]) -> list[slice]:
    """Blocks of rows of [c, *grid]."""
    length = max(1, _BLOCK * shape[1] // math.prod(shape))
    return [slice(a, min(a + length, shape[1])) for a in range(0, shape[1], length)]


def _along(axis: int, start: int | None, stop: int | None) -> tuple[slice, ...]:
    return (slice(None),) * axis + (slice(start, stop),)


def _square(a: np.ndarray) -> float:
    return float(np.vdot(a, a))


def _spread(y: np.ndarray, weights: np.ndarray | None) -> float:
    """||y - mean||^2 of what was seen, channel by channel."""
    axes = tuple(range(1, y.ndim))
    count = np.float64(math.prod(y.shape[1:])) if weights is None else weights.sum(axis=axes, dtype=np.float64)
    mean = y.sum(axis=axes, dtype=np.float64) / np.maximum(count, 1)
    return float((np.square(y, dtype=np.float64).sum(axis=axes) - count * mean**2).clip(0).sum())
