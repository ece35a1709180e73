"""The pseudo-inverse of a circulant operator, and the circulant operator nearest to another one.

    x^(f) = H(f)^+ y^(f),     singular values at or below rcond x the largest of all count as zero

One cutoff for all frequencies is what makes it the pseudo-inverse of the whole operator. Kernels that mix channels have
a matrix H(f) a frequency. Their inverses, from blocks of matrices that are made for it and forgotten, are the only
thing held for all frequencies. With G(f) = H(f)^+, n frequencies and c data of channels,

    noise gain    sqrt( sum_f ||G(f)||_F^2 / (n c) )                    root-mean-square amplification of white noise
    certain       1 / ||G(f)||_F > 2 rcond sigma                        sigma: what no singular value of any H exceeds

the others are decomposed (see `inverses`). sigma may be a few per cent above the largest singular value found (see
`norms`): where a singular value lies so near the cutoff that this matters, the largest is sought among all.

For an operator of another boundary, the circulant one with the same windows (`likened`) has an inverse as well; it
answers another question, and stands beside the right answer for comparison.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from convtool import blas, fft, process
from convtool.deconvolution.solvers import norms
from convtool.deconvolution.solvers.filters import filtered
from convtool.deconvolution.solvers.inverses import MARGIN, by_svd, default_rcond, regular_inverses
from convtool.deconvolution.solvers.norms import Chosen, Largest
from convtool.deconvolution.solvers.spectra import Spectra
from convtool.deconvolution.solvers.symbol import Symbol
from convtool.operators import Convolution

_MOST_ENTRIES = 1 << 24  # of the spectrum's matrices: a quarter of a GiB
_TOGETHER = 4  # images whose spectra are held and multiplied at once


@dataclass(frozen=True, eq=False)
class Inverse:
    """G / unit [kernel, *half, i, o] with x^ = G y^, G = H^+.

    norm: the operator's largest singular value; noise_gain: root-mean-square amplification of white noise by G;
    destroyed: how many of the scene's `components` (frequencies x channels) count as zero, and are zero in x
    """

    operator: Convolution
    G: np.ndarray
    unit: float
    rcond: float
    norm: float
    noise_gain: float
    destroyed: int

    @property
    def components(self) -> int:
        """Frequencies x channels of the scene."""
        return math.prod(self.operator.in_shape)

    @functools.cached_property
    def least(self) -> float:
        """The smallest singular value that does not count as zero; 0 where all do."""
        greatest = norms.largest_singular_value(self.G) * self.unit
        return 1 / greatest if greatest else 0.0

    def applied(self, y: np.ndarray) -> np.ndarray:
        """x [n, c_in, *grid] of data y [n, c_out, *grid]."""
        if self.G.shape[-2:] == (1, 1):
            x = filtered(np.moveaxis(self.G, (-2, -1), (1, 2)), y, self.operator)
        else:
            x = np.empty((len(y), *self.operator.in_shape), y.dtype)
            with blas.single_threaded():
                for first in range(0, len(y), _TOGETHER):
                    x[first : first + _TOGETHER] = self._mixed(y[first : first + _TOGETHER])
        return x if self.unit == 1 else np.multiply(x, x.dtype.type(self.unit), out=x)

    def _mixed(self, y: np.ndarray) -> np.ndarray:
        pair, (i, o) = Spectra(self.operator, y), self.G.shape[-2:]
        G = self.G.reshape(-1, i, o)

        def multiply(part: slice) -> None:
            pair.put(part, G[part] @ pair.data(part))

        process.each(multiply, pair.blocks)
        return pair.solution()


def is_affordable(operator: Convolution) -> bool:
    """Whether the inverse takes no more memory and time than a few steps of an iteration would."""
    return math.prod(operator.kernel.taps.shape[:3]) * math.prod(fft.half(operator.geometry.grid)) <= _MOST_ENTRIES


def inverse(operator: Convolution, rcond: float | None = None) -> Inverse:
    """The pseudo-inverse of a circulant operator; rcond is 1000 eps of its dtype if not given.

    Raises SettingError where the operator is not circulant.
    """
    rcond = default_rcond(operator.dtype) if rcond is None else rcond
    operator.check_circulant()
    if operator.kernel.taps.shape[1:3] == (1, 1):
        return _unmixed(operator, rcond)
    with blas.single_threaded():
        return _inverted(Symbol(operator), rcond)


def _unmixed(operator: Convolution, rcond: float) -> Inverse:
    """Of a kernel without channels, one division a frequency."""
    H = np.moveaxis(operator.spectrum, (1, 2), (-2, -1))
    sizes = np.abs(H)
    norm = float(sizes.max())
    kept = sizes > rcond * norm
    G = np.divide(1, H, out=np.zeros_like(H), where=kept)
    counts = np.broadcast_to(fft.multiplicity(operator.geometry.grid)[:, None, None], G.shape)
    repeats = operator.groups // len(H)
    gain = _root_mean_square(np.abs(G), counts * (repeats / math.prod(operator.out_shape)))
    return Inverse(operator, G, 1.0, rcond, norm, gain, int((~kept * counts).sum()) * repeats)


def _inverted(symbol: Symbol, rcond: float) -> Inverse:
    operator, (o, i) = symbol.operator, symbol.shape
    G = np.empty((symbol.count, i, o), np.result_type(operator.dtype, np.complex64))
    found = invert(symbol, symbol.blocks, rcond, symbol.largest(), G.__setitem__)
    lost = int(((i - found.ranks) * symbol.multiplicity).sum()) * symbol.repeats
    return Inverse(
        operator,
        G.reshape(-1, *fft.half(operator.geometry.grid), i, o),
        1 / symbol.unit,
        rcond,
        found.norm * symbol.unit,
        noise_gain(symbol, found.sizes),
        lost,
    )


@dataclass(frozen=True, eq=False)
class Found:
    """Of pseudo-inverses [k, i, o]: the norm they were cut by, their Frobenius norms, and ranks."""

    norm: float
    sizes: np.ndarray
    ranks: np.ndarray


def invert(
    symbol: Symbol, parts: Sequence[Chosen], rcond: float, largest: Largest, put: Callable[[Chosen, np.ndarray], None]
) -> Found:
    """Hands the pseudo-inverses of a symbol's matrices, part by part, to `put`; some of them twice."""

    def invert_part(chosen: Chosen) -> tuple[np.ndarray, np.ndarray]:
        G, least = regular_inverses(symbol.at(chosen))
        put(chosen, G)
        return least, np.arange(chosen.start, chosen.stop) if isinstance(chosen, slice) else chosen

    done = process.each(invert_part, parts)
    least, numbers = (np.concatenate([*column]) for column in zip(*done, strict=True))
    doubtful = np.flatnonzero(~(least > MARGIN * rcond * largest.bound))
    with np.errstate(divide="ignore"):
        sizes, ranks = 1 / least.astype(np.float64), np.full(len(least), min(symbol.shape))
    norm, s = _decomposed(symbol, numbers[doubtful], rcond, largest, put)
    kept = s > rcond * norm
    reciprocal = np.divide(1, s, out=np.zeros_like(s), where=kept)
    sizes[doubtful], ranks[doubtful] = np.linalg.norm(reciprocal, axis=1), kept.sum(axis=1)
    return Found(norm, sizes, ranks)


def _decomposed(
    symbol: Symbol, numbers: np.ndarray, rcond: float, largest: Largest, put: Callable[[Chosen, np.ndarray], None]
) -> tuple[float, np.ndarray]:
    """The same by SVD; the largest singular value of all matrices, and all [k, min(o, i)] of these."""

    def decompose(chosen: np.ndarray) -> np.ndarray:
        G, s = by_svd(symbol.at(chosen), rcond, largest.value)
        put(chosen, G)
        return s

    parts = [numbers[part] for part in norms.blocks(len(numbers), math.prod(symbol.shape))]
    s = np.concatenate([np.zeros((0, min(symbol.shape))), *process.each(decompose, parts)])
    if not largest.is_exact and len(s):
        bound = max(largest.bound, float(s.max()))
        if ((s > rcond * largest.value) & (s <= rcond * bound)).any():
            largest = Largest(norms.exact(symbol), True)
            process.each(decompose, parts)
        elif s.max() > largest.value:
            largest = Largest(float(s.max()), False)
    return largest.value, s


def noise_gain(symbol: Symbol, sizes: np.ndarray) -> float:
    """Root-mean-square amplification of white noise by inverses with these Frobenius norms, in the symbol's units."""
    share = symbol.repeats / math.prod(symbol.operator.out_shape)
    return _root_mean_square(sizes, symbol.multiplicity * share) / symbol.unit


def _root_mean_square(sizes: np.ndarray, weights: np.ndarray) -> float:
    """sqrt( sum of weights sizes^2 ), without overflow."""
    peak = float(sizes.max()) or 1.0
    return peak * math.sqrt(float((np.square(sizes / peak, dtype=np.float64) * weights).sum()))


def likened(operator: Convolution) -> Convolution | None:
    """The circulant operator with the same windows; None where there is none (strides, outputs of another size)."""
    geometry = operator.geometry
    if set(geometry.stride) != {1} or geometry.outputs != geometry.grid:
        return None
    return dataclasses.replace(operator, geometry=dataclasses.replace(geometry, boundary="periodic"))
