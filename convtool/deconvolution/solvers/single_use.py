"""The pseudo-inverse of a kernel that mixes channels, applied once: solved, frequency by frequency, not inverted.

    H(f) [x^(f), p_1, ..., p_6] = [y^(f), z_1, ..., z_6]          by LU, a third of the time of an inverse

The z are six of the c columns of sqrt(c) Q, with one random unitary matrix Q; the next frequency has the next six. With
G = H^-1 they tell what the inverse would have:

    noise gain    ||G||_F^2 is the mean of ||G z||^2 over all c columns, and is taken from those of neighbouring
                  frequencies together; where it is largest, G is computed. Known to about 1 %
    certain       were a singular value s, with the left vector u, at or below the cutoff t, ||G z|| >= |u^H z| / t, and
                  |u^H z|^2 is spread like an exponential variable: all six ||G z|| are below 0.1 / t with a chance of
                  0.1^12. Where one is not, G is computed, and decomposed if need be (see `periodic`)
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from convtool import blas, process
from convtool.deconvolution.solvers import factors, gram_schmidt, norms, periodic
from convtool.deconvolution.solvers.inverses import MARGIN, default_rcond, inverses
from convtool.deconvolution.solvers.norms import Chosen
from convtool.deconvolution.solvers.spectra import Spectra
from convtool.deconvolution.solvers.symbol import Symbol
from convtool.operators import Convolution

_PROBES, _LUCK = 6, 0.1
_LARGEST = 256  # frequencies with the largest ||G||_F, where G is computed
_LEAST_WORK = 3e7  # frequencies x c^3, below which all inverses take no time
_MOST_IMAGES = 8  # with more data a frequency, the inverse is the cheaper way


@dataclass(frozen=True, eq=False)
class Solved:
    """x [n, c_in, *grid], and of the pseudo-inverse what `periodic.Inverse` says."""

    x: np.ndarray
    rcond: float
    norm: float
    noise_gain: float


def solution(operator: Convolution, y: np.ndarray, rcond: float | None = None) -> Solved:
    """A^+ y for data y [n, c_out, *grid] and a circulant operator, on the shorter way; rcond as for the inverse.

    Where other images need the inverse (see `factors`), it is made for them all.

    Raises SettingError where the operator is not circulant.
    """
    operator.check_circulant()
    if factors.has_inverse(operator) or not _is_shorter(operator, len(y)):
        inverse = factors.inverse(operator, rcond)
        return Solved(inverse.applied(y), inverse.rcond, inverse.norm, inverse.noise_gain)
    with blas.single_threaded():
        return _solved(Symbol(operator), y, default_rcond(operator.dtype) if rcond is None else rcond)


def _is_shorter(operator: Convolution, images: int) -> bool:
    kernels, o, i = operator.kernel.taps.shape[:3]
    data = images * operator.groups // kernels
    work = Symbol(operator).count * o**3
    return gram_schmidt.MOST < o == i and data <= _MOST_IMAGES and work >= _LEAST_WORK


def _solved(symbol: Symbol, y: np.ndarray, rcond: float) -> Solved:
    spectra, c = Spectra(symbol.operator, y), symbol.shape[0]

    probes = _probes(c).astype(np.result_type(y.dtype, np.complex64))

    def solve(part: slice) -> np.ndarray:
        H, data = symbol.at(part), spectra.data(part)
        right = np.empty((len(H), c, data.shape[2] + _PROBES), H.dtype)
        right[:, :, :-_PROBES] = data
        right[:, :, -_PROBES:] = probes[np.arange(part.start, part.stop) % len(probes)]
        try:
            found = np.linalg.solve(H, right)
        except np.linalg.LinAlgError:
            found = inverses(H) @ right
        spectra.put(part, found[:, :, :-_PROBES])
        return _energies(found)[:, -_PROBES:]

    energies = np.concatenate(process.each(solve, symbol.blocks)).astype(np.float64)
    largest = symbol.largest()
    sizes = np.sqrt(energies.mean(axis=1))
    is_certain = np.sqrt(energies.max(axis=1)) * (MARGIN * rcond * largest.bound) < _LUCK
    sizes[~is_certain] = 0
    chosen = np.union1d(np.flatnonzero(~is_certain), _steepest(np.square(sizes), -(-c // _PROBES)))
    parts = [chosen[part] for part in norms.blocks(len(chosen), c * c)]

    def put(numbers: Chosen, G: np.ndarray) -> None:
        spectra.put(numbers, G @ spectra.data(numbers))

    found = periodic.invert(symbol, parts, rcond, largest, put)
    sizes[chosen] = found.sizes
    x = spectra.solution()
    x *= x.dtype.type(1 / symbol.unit)
    return Solved(x, rcond, found.norm * symbol.unit, periodic.noise_gain(symbol, sizes))


def _steepest(energies: np.ndarray, together: int) -> np.ndarray:
    """Numbers of the frequencies with the largest sums of energies over so many in a row."""
    firsts = np.arange(0, len(energies), together)
    best = firsts[np.argsort(np.add.reduceat(energies, firsts))[::-1][: -(-_LARGEST // together)]]
    found = (best[:, None] + np.arange(together)).ravel()
    return np.sort(found[found < len(energies)])


def _energies(found: np.ndarray) -> np.ndarray:
    """The squared norms [k, columns] of the columns of complex matrices [k, c, columns]."""
    parts = found.view(found.real.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.einsum("kij,kij->kj", parts, parts).reshape(len(found), -1, 2).sum(axis=2)


@functools.cache
def _probes(c: int) -> np.ndarray:
    """The z of frequencies 0, 1, ... until they begin again, [frequency, c, six]."""
    real, imaginary = np.random.default_rng(c).standard_normal((2, c, c))
    columns = np.linalg.qr(real + 1j * imaginary)[0].T * c**0.5
    turns = np.arange(math.lcm(c, _PROBES)) % c
    return np.ascontiguousarray(columns[turns].reshape(-1, _PROBES, c).swapaxes(1, 2))
