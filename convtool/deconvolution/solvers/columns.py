"""Inverse filters of kernels that mix no channels, made and applied a block of columns at a time.

    x^ = G(h) y^,     h = H / norm,     G in units of 1 / norm, a function of h and of the frequency

The response G of a block of columns is made from the kernel's spectrum while the data's columns are in the cache
(`convtool.passes`), so that neither is ever whole in memory; where several planes share a kernel, G is kept. `norm`,
the operator's largest |H|, is the sum of a kernel without negative taps, and else takes a look at all frequencies.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from convtool import fft, passes, process
from convtool.deconvolution.solvers.inverses import default_rcond
from convtool.passes import KernelSpectrum

if TYPE_CHECKING:
    from convtool.operators import Convolution

# G [n_0, columns] of h [n_0, columns], which may be overwritten, and the columns' angular frequencies on each axis.
Rule = Callable[[np.ndarray, Sequence[np.ndarray]], np.ndarray]


def fits(operator: Convolution) -> bool:
    """Whether an operator's inverse filters can be made by columns, and are large enough for that to be of use."""
    grid, groups = operator.geometry.grid, operator.groups
    is_plain = operator.kernel.taps.shape[1:3] == (1, 1) and len(grid) > 1 and operator.geometry.is_circulant
    return is_plain and fft.library(grid, 2 * operator.batch * groups, operator.dtype) != "numpy"


def reciprocal(rcond: float) -> Rule:
    """1 / h; 0 where |h| <= rcond."""

    def rule(h: np.ndarray, _: Sequence[np.ndarray]) -> np.ndarray:
        return np.divide(1, h, out=np.zeros_like(h), where=np.abs(h) > rcond)

    return rule


def regularised(ratio: Callable[[Sequence[np.ndarray]], np.ndarray], dtype: np.dtype) -> Rule:
    """conj(h) / (|h|^2 + ratio); 0 where h is rounding, and where it counts as zero and the ratio is 0."""
    eps, rcond = float(np.finfo(dtype).eps), default_rcond(dtype)

    def rule(h: np.ndarray, waves: Sequence[np.ndarray]) -> np.ndarray:
        power = np.square(h.real)
        power += np.square(h.imag)
        weight = ratio(waves).astype(power.dtype, copy=False)
        lost = power <= eps**2
        if not weight.all():
            lost |= (weight == 0) & (power <= rcond**2)
        power += weight
        if lost.any():
            power[lost] = np.inf
        factor = np.reciprocal(power, out=power)
        h.real *= factor
        h.imag *= np.negative(factor, out=factor)
        return h

    return rule


class Columns:
    """A circulant operator without mixing channels, by the columns of its spectrum."""

    def __init__(self, operator: Convolution) -> None:
        self.operator, self.grid, self.dtype = operator, operator.geometry.grid, operator.dtype
        self._taps = operator.window.taps[:, 0, 0]
        self._spectra = [KernelSpectrum(taps, operator.geometry, self.grid, self.dtype) for taps in self._taps]

    @functools.cached_property
    def norm(self) -> float:
        """The largest |H| of all frequencies and groups."""
        if (self._taps >= 0).all():
            return float(self._taps.reshape(len(self._taps), -1).sum(axis=1).max())
        blocks = passes.column_blocks(self.grid, self.dtype)

        def peak(columns: slice) -> float:
            return max(float(np.abs(spectrum.columns(columns)).max()) for spectrum in self._spectra)

        return max(process.each(peak, blocks))

    @property
    def unit(self) -> float:
        """The norm; 1 where nothing comes through, in whose units that is nothing as well."""
        return self.norm or 1.0

    def solved(self, y: np.ndarray, rule: Rule) -> tuple[np.ndarray, float]:
        """F^-1 G F y for y [n, groups, *grid], and by how much G amplifies white noise, root mean square."""
        x, energies = np.empty_like(y), []
        for g, spectrum in enumerate(self._spectra):
            response = _Response(self, spectrum, rule)
            planes = [(n, c) for n in range(len(y)) for c in range(g, self.operator.groups, len(self._spectra))]
            call = response.made if len(planes) == 1 else response.kept
            for plane in planes:
                passes.apply(call, y[plane], out=x[plane])
            energies.append(response.energy)
        return x, math.sqrt(sum(energies) / len(energies) / math.prod(self.grid)) / self.unit

    def waves(self, columns: slice) -> list[np.ndarray]:
        """Angular frequencies of some columns on each axis, which broadcast against [n_0, count]."""
        first, *others = fft.angular_frequencies(self.grid)
        shape = fft.half(self.grid)[1:]
        flat = [np.broadcast_to(w[0], shape).reshape(1, -1)[:, columns] for w in others]
        return [first.reshape(-1, 1), *flat]

    def numbers(self, columns: slice) -> np.ndarray:
        """How many frequencies of the full spectrum those of each column stand for."""
        return np.broadcast_to(fft.multiplicity(self.grid), fft.half(self.grid)[1:]).reshape(-1)[columns]


class _Response:
    """G of one kernel, in units of the data over those of the image, and its energy once all columns were made."""

    def __init__(self, operator: Columns, spectrum: KernelSpectrum, rule: Rule) -> None:
        self._operator, self._rule = operator, rule
        self._spectrum = spectrum.scaled(1 / operator.unit)
        self._energies: dict[int, float] = {}

    @property
    def energy(self) -> float:
        """sum |G|^2 over the full spectrum, in units of 1 / norm^2."""
        return sum(self._energies[first] for first in sorted(self._energies))

    def made(self, columns: slice) -> np.ndarray:
        """G of some columns."""
        operator, real = self._operator, self._operator.dtype.type
        G = self._rule(self._spectrum.conjugate(columns), operator.waves(columns))
        parts = G.view(real)
        squares = np.einsum("ij,ij->j", parts, parts).reshape(-1, 2).sum(axis=1, dtype=np.float64)
        self._energies[columns.start] = float(squares @ operator.numbers(columns))
        G *= real(1 / operator.unit)
        return G

    def kept(self, columns: slice) -> np.ndarray:
        """The same, made once."""
        return self._whole[:, columns]

    @functools.cached_property
    def _whole(self) -> np.ndarray:
        grid, dtype = self._operator.grid, self._operator.dtype
        out = np.empty((grid[0], passes.columns_of(grid)), np.result_type(dtype, np.complex64))

        def fill(columns: slice) -> None:
            out[:, columns] = self.made(columns)

        process.each(fill, passes.column_blocks(grid, dtype))
        return out
