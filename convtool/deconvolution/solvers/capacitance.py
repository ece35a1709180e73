"""The exact inverse of a square convolution at any boundary: FFTs, and one dense system on the margin.

Let A have stride 1, as many outputs as inputs on the same grid of n samples, and as many output as input channels. Its
windows read the extended signal u = E x: the frame, and a margin that the boundary fills. On a ring of M = n + span
samples (span: from a window's first tap to its last) the same windows are a circulant C, which FFTs invert,

    v = C u,     u = C^-1 v,     C^-1 = F^-1 H(f)^-1 F,

and y = A x is v at the n outputs whose windows do not wrap. Unknown in v are its other M - n values t; known of u is
that every margin sample q copies the frame's sample s(q), or is zero. With J^T y the data on the ring, P^T t the
unknown values there, and R u = u(q) - u(s(q)) on the margin, this is one square system (in d dimensions the margin is
the ring without the frame):

    S t = -R C^-1 J^T y,     S = R C^-1 P^T,     x = frame of C^-1 (J^T y + P^T t).

S, the capacitance matrix, has one row per margin sample and channel, far fewer than A. It is filled from the impulse
responses G = F^-1 H^-1 alone, S[q, q'] = G(q - q') - G(s(q) - q'), and factored by LU. |det A| = |det C det S| (Schur
complements of the extended system): S is singular only where A is.

C must be invertible, though A has no need of it: `ring` finds one that is, or the operator is declined.

Very large S are factored in single precision, in half the time and memory; all else is double. The solve B is refined
on the true operator by generalised conjugate residuals, x += a d with d = B (y - A x) and A d orthogonal to those
before, until the residual stops shrinking. Where that is too early (`reliable`), S is factored again in double.
A random image whose answer is known is solved for beside the data: where A is singular, its error shows it.

Cost: |S|^3 / 3 multiply-adds and 4 or 8 |S|^2 bytes for every block of channels (`border_size`, `bytes_needed`).

The condition number of A is not that of its spectrum. Where the phase of det H winds round zero along an axis, as for
most kernels far from symmetric, no half-plane can be undone, and A has singular values that fall exponentially with n,
however good C is. `inverse_norm` measures the smallest.

References
----------
Buzbee, Dorr, George, Golub 1971, doi:10.1137/0708066 (capacitance matrices); Hager 1989, doi:10.1137/1031049
(Woodbury's identity); Eisenstat, Elman, Schultz 1983, doi:10.1137/0720023 (generalised conjugate residuals); Carson,
Higham 2018, doi:10.1137/17M1140819 (refining factors of lower precision); Boettcher, Silbermann 1999,
doi:10.1007/978-1-4612-1426-7 (finite sections of Toeplitz operators).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from convtool import fft
from convtool.deconvolution.solvers.ring import DOUBLE, ENTRIES, Margin, Ring, best_ring, capacitance_matrix
from convtool.geometry import Geometry
from convtool.operators import Convolution

SINGLE = np.dtype(np.float32)
_WORST = 1e11  # a circulant's condition from which on its inverse has too few digits to be refined
_SINGULAR = 1e-13  # one over the condition of S to which A counts as singular
_LARGE = 20000  # rows of S from which on the time that single precision saves exceeds its refinements
_REFINED = 1e-12  # the relative residual that factors in single precision must reach
_LOST = 1e-4  # the probe's error from which on A may be singular, which factors in double show
_SHRINKS = 0.7  # a refinement that leaves more of the residual is the last
_MOST_REFINEMENTS = 40


@dataclass(frozen=True, eq=False)
class Block:
    """One block of channels, factored.

    inverse: the spectrum of C^-1 [c, c, *half]
    lu, pivots: S as LAPACK factors it, times `peak`, the largest tap: single precision has a narrow range
    condition, ring_condition: of S, as LAPACK estimates it in the 1-norm, and of C, in Frobenius norms
    """

    ring: Ring
    margin: Margin
    inverse: np.ndarray
    lu: np.ndarray
    pivots: np.ndarray
    peak: float
    condition: float
    ring_condition: float

    def applied(self, y: np.ndarray) -> np.ndarray:
        """A^-1 y for y [n, c, *grid]."""
        v = self._placed(y, self.margin.outputs)
        u = self.ring.filtered(self.inverse, v)
        misfit = u[(..., *self.margin.outside)]
        misfit[..., self.margin.copies] -= u[(..., *self.margin.sources)]
        v[(..., *self.margin.unknown)] = -self._solved(misfit, transposed=False)
        return self.ring.filtered(self.inverse, v)[self.margin.frame]

    def adjoint(self, x: np.ndarray) -> np.ndarray:
        """A^-T x: the steps of `applied`, transposed, backwards."""
        spectrum = self.inverse.conj().swapaxes(0, 1)
        v = self.ring.filtered(spectrum, self._placed(x, self.margin.frame))
        misfit = -self._solved(v[(..., *self.margin.unknown)], transposed=True)
        u = self._placed(misfit, (..., *self.margin.outside))
        np.subtract.at(u, (slice(None), slice(None), *self.margin.sources), misfit[..., self.margin.copies])
        return v[self.margin.outputs] + self.ring.filtered(spectrum, u)[self.margin.outputs]

    def _placed(self, values: np.ndarray, where: tuple) -> np.ndarray:
        """Values at an index of the ring, zero elsewhere."""
        out = np.zeros((*values.shape[:2], *self.ring.shape))
        out[where] = values
        return out

    def _solved(self, b: np.ndarray, transposed: bool) -> np.ndarray:
        """S^-1 b, or S^-T b, for b [n, c, samples]."""
        from scipy.linalg import get_lapack_funcs

        if not b.size:
            return b
        getrs = get_lapack_funcs("getrs", (self.lu,))
        size = _norms(b)
        columns = (b / size).astype(self.lu.dtype).reshape(len(b), -1).T
        # SciPy counts the pivots from one in place while LAPACK works, so other threads must not see the same.
        t = getrs(self.lu, self.pivots.copy(), columns, trans=int(transposed))[0]
        return t.T.reshape(b.shape) * (self.peak * size)


@dataclass(frozen=True, eq=False)
class Factors:
    """An operator, in float64, with one factored block for each [g] of its kernel's taps."""

    operator: Convolution
    blocks: tuple[Block, ...]

    @property
    def condition(self) -> float:
        """The largest 1-norm condition number of the matrices S, as LAPACK estimates it (single precision: to 1e7)."""
        return max(block.condition for block in self.blocks)

    def applied(self, y: np.ndarray) -> np.ndarray:
        """A^-1 y without refinement, [n, c_in, *grid] of y [n, c_out, *grid]."""
        return self._by_block(Block.applied, y)

    def adjoint(self, x: np.ndarray) -> np.ndarray:
        """A^-T x without refinement."""
        return self._by_block(Block.adjoint, x)

    def _by_block(self, apply: Callable[[Block, np.ndarray], np.ndarray], data: np.ndarray) -> np.ndarray:
        groups = self.operator.groups
        grouped = data.reshape(len(data), groups, data.shape[1] // groups, *data.shape[2:])
        out = np.empty(grouped.shape)
        for g in range(groups):
            out[:, g] = apply(self.blocks[g % len(self.blocks)], grouped[:, g])
        return out.reshape(data.shape)


@dataclass(frozen=True, eq=False)
class Solved:
    """The solution of A x = y, and what it can be trusted for.

    x: [n, c_in, *grid], float64
    residuals: ||y - A x|| / ||y|| of each image
    refinements: how often it was refined
    probe_error: the relative error of a random image that was solved for beside the data, its answer being known
    """

    x: np.ndarray
    residuals: np.ndarray
    refinements: int
    probe_error: float


def applies(operator: Convolution) -> bool:
    """Whether the operator is square as the module wants it: stride 1, outputs like inputs, channels alike."""
    geometry = operator.geometry
    outputs, inputs = operator.kernel.taps.shape[1:3]
    return set(geometry.stride) == {1} and geometry.outputs == geometry.grid and outputs == inputs


def border_size(operator: Convolution) -> int:
    """Rows of S, for one block of channels."""
    geometry = operator.geometry
    return operator.kernel.taps.shape[1] * (math.prod(geometry.extended) - math.prod(geometry.grid))


def bytes_needed(operator: Convolution, dtype: np.dtype | None = None) -> int:
    """Memory at its peak: the matrices S of all blocks, their spectra, and what fills one of them."""
    blocks, channels = operator.kernel.taps.shape[:2]
    spectra = (blocks + 4) * 16 * channels**2 * math.prod(fft.half(operator.geometry.extended))
    entries = border_size(operator) ** 2
    return blocks * precision(operator, dtype).itemsize * entries + spectra + 64 * min(entries, ENTRIES)


def precision(operator: Convolution, dtype: np.dtype | None = None) -> np.dtype:
    """What S is factored in: as asked, else double, and single for very large S."""
    return dtype or (SINGLE if border_size(operator) > _LARGE else DOUBLE)


def factor(operator: Convolution, dtype: np.dtype | None = None) -> Factors | None:
    """The operator, factored in `precision`; None where it is singular to rounding, or its circulants are.

    Parameters
    ----------
    operator: one that `applies`
    dtype: of the factors, float32 or float64

    Example
    -------
    >>> import numpy as np
    >>> from convtool.kernel import Kernel
    >>> kernel = Kernel(np.array([0.25, 1.0, 0.5]).reshape(1, 1, 1, 3), (1,))
    >>> operator = Convolution.build(kernel, (6,), 1, boundary="zero")
    >>> solve(factor(operator), operator.forward(np.arange(6.0).reshape(1, 1, 6))).x.round(12)
    array([[[0., 1., 2., 3., 4., 5.]]])
    """
    blocks: list[Block] = []
    for taps in operator.window.taps:
        block = _factored(taps[None], operator.geometry, precision(operator, dtype))
        if block is None:
            return None
        blocks.append(block)
    return Factors(dataclasses.replace(operator, dtype=DOUBLE), tuple(blocks))


def solve(factors: Factors, y: np.ndarray) -> Solved:
    """x with A x = y for data y [n, c_out, *grid], refined until the residuals stop shrinking."""
    operator = factors.operator
    probe = np.random.default_rng(0).standard_normal((1, *operator.in_shape))
    y = np.concatenate([y.astype(DOUBLE, copy=False), operator.forward(probe)])
    x, residual, refinements = np.zeros((len(y), *operator.in_shape)), y, -1
    steps: list[tuple[np.ndarray, np.ndarray]] = []
    while refinements < _MOST_REFINEMENTS and residual.any():
        d = factors.applied(residual)
        image = operator.forward(d)
        for earlier, earlier_image in steps:
            share = _dot(earlier_image, image)
            d, image = d - share * earlier, image - share * earlier_image
        size = _norms(image)
        steps.append((d / size, image / size))
        better = x + _dot(steps[-1][1], residual) * steps[-1][0]
        left = y - operator.forward(better)
        shrunk = _relative(left, y).sum() / _relative(residual, y).sum()
        if shrunk < 1:
            x, residual, refinements = better, left, refinements + 1
        if not shrunk < _SHRINKS:
            break
    error = float(_relative(x[-1:] - probe, probe)[0])
    return Solved(x[:-1], _relative(residual, y)[:-1], max(refinements, 0), error)


def reliable(operator: Convolution, budget: int) -> Factors | None:
    """Factors that solve; in double, if that fits into so many bytes, where those in single fall short on a try."""
    factors = factor(operator)
    if factors is None or precision(operator) != SINGLE or bytes_needed(operator, DOUBLE) > budget:
        return factors
    tried = solve(factors, operator.forward(np.random.default_rng(1).standard_normal((1, *operator.in_shape))))
    if tried.residuals.max() <= _REFINED and tried.probe_error <= _LOST:
        return factors
    del factors  # their memory is needed
    return factor(operator, DOUBLE)


def inverse_norm(factors: Factors, iterations: int = 12, seed: int = 0) -> float:
    """An estimate of ||A^-1||_2 from below, mostly within a few percent: power iteration on A^-1 A^-T."""
    x = np.random.default_rng(seed).standard_normal((1, *factors.operator.in_shape))
    found = 0.0
    for _ in range(iterations):
        y = factors.adjoint(x / np.linalg.norm(x))
        x, found = factors.applied(y), float(np.linalg.norm(y))
    return found


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The inner product of each image, shaped to multiply it."""
    return (a * b).sum(axis=tuple(range(1, a.ndim)), keepdims=True)


def _relative(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """||a|| / ||b|| of each image."""
    return (np.sqrt(_dot(a, a)) / _norms(b)).reshape(-1)


def _norms(a: np.ndarray) -> np.ndarray:
    """The norm of each image, shaped to divide it; 1 for zeros."""
    squares = _dot(a, a)
    return np.sqrt(np.where(squares > 0, squares, 1))


def _factored(taps: np.ndarray, geometry: Geometry, dtype: np.dtype) -> Block | None:
    """A block of window taps [1, c, c, *extent], or None where C or S is singular to rounding."""
    from scipy.linalg import get_lapack_funcs

    peak = float(np.abs(taps).max()) or 1.0
    ring, inverse, ring_condition = best_ring(taps / peak, geometry)
    if not ring_condition < _WORST:
        return None
    margin = Margin.of(geometry)
    S = capacitance_matrix(ring, margin, inverse, dtype)
    norm = max((float(np.abs(column).sum()) for column in S.T), default=1.0)
    lu, pivots, reciprocal = S, np.zeros(0, np.int32), 1.0
    if S.size:
        getrf, gecon = get_lapack_funcs(("getrf", "gecon"), (S,))
        lu, pivots, singular = getrf(S, overwrite_a=1)
        reciprocal = 0.0 if singular else float(gecon(lu, norm)[0])
    if reciprocal <= (_SINGULAR if dtype == DOUBLE else 0):  # factors in single are for the refinement to judge
        return None
    return Block(ring, margin, inverse / peak, lu, pivots, peak, 1 / reciprocal, ring_condition)
