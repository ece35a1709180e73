"""The engine for large images and medium kernels: products of spectra in overlapping blocks that stay in the cache.

A transform of a whole large image reads it from memory for each axis; blocks of it are transformed in a core's cache,
one block a core, with no copy of the extended image. Of B samples e[j : j + B] of the extended signal along an axis,
with a kernel that spans d (N - 1) = R, the circular correlation is that of the signal at the first B - R places
(overlap-save; Oppenheim and Schafer 2010, section 8.7, ISBN 978-0-13-198842-2):

    y[o, j ... j + B - R] = F^-1( H F e[j : j + B] ),     H = conj( F w ),     one [o, i] matrix a frequency

so the signal is cut into blocks that overlap by R. Strides pick every s-th of the places. The adjoint correlates y,
spread by the stride and with zeros around it, with the taps turned round and transposed.

*Channels that mix.* Blocks are then small, so that the i o spectra of the kernel are, and many are taken together: with
the frequency outermost, a frequency of T blocks is one product of matrices, [T, i] by [i, o]. The kernel fills little
of a block, so its spectra are sums over its taps, an axis at a time: products with N columns of a Fourier matrix.

Rounding. With the unit roundoff u, blocks of n samples and the 2-norm over a block and its channels,

    ||error|| <= (12 log2 n + 4 i + 4 prod N) u  sqrt(sum over o, i of (sum |w|)^2)  ||e||

to first order in u: 3 log2 n a transform of well-made twiddles and as much again for the kernel's.

References: Higham 2002, Accuracy and Stability of Numerical Algorithms, ch. 3 and 24 (doi:10.1137/1.9780898718027).
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from convtool import blas, boundary, fft, process, scratch, spectral
from convtool.geometry import Geometry

_CACHED = 512 * 512  # samples of a block, all of its input channels together: it and its spectrum stay in the cache
_THREADS = 4  # that blocks are cut for; however many a machine has, since results must not depend on it
_CALLED = 1.5e6  # of calling on threads, in multiply-adds
OVERHEAD = 2e5  # of a block, in multiply-adds: calls, copies, waiting for the interpreter
_MIXED = 1 << 16  # the same where channels mix: a thread has several, and their transposed spectra beside them
_KEPT = 1 << 26  # samples of all spectra of a kernel whose channels mix
# Where channels mix, beside a multiply-add of a block's transform: one that is also gathered and transposed, a complex
# one in a product of matrices, and a block.
_GATHERED, _MULTIPLY, _BLOCK = 1.5, 0.33, 2e4
_TOGETHER = 1 << 20  # samples of a spectrum, of all channels of the blocks that are taken together
_TASK = 1 << 16  # the same of the blocks that a thread transforms at once
_FREQUENCIES = 32  # products of matrices that a thread computes at once
_ROWS = 8  # rows of a Fourier matrix that a thread multiplies at once


class BlocksEngine:
    """Correlation with window taps [g, o, i, *extent]; g = 1 is shared by all groups of x."""

    def __init__(self, taps: np.ndarray, geometry: Geometry, dtype: np.dtype) -> None:
        self.taps, self.geometry, self.dtype = taps, geometry, np.dtype(dtype)
        self._mixes = taps.shape[1:3] != (1, 1)
        self.block = block_grid(geometry, *taps.shape[1:3])
        self._transform = fft.block_transform(self.block, self.dtype)

    def forward(self, x: np.ndarray) -> np.ndarray:
        """[n, g, o, *outputs] of x [n, g, i, *grid]."""
        geometry = self.geometry
        out = np.empty((*x.shape[:2], self.taps.shape[1], *geometry.dense), self.dtype)
        starts = tuple(-before for before, _ in geometry.padding)
        self._compute(x, starts, geometry.boundary, self._spectra, out)
        if set(geometry.stride) == {1}:
            return out
        return np.ascontiguousarray(out[:, :, :, *geometry.strided])

    def adjoint(self, y: np.ndarray) -> np.ndarray:
        """[n, g, i, *grid] of y [n, g, o, *outputs]."""
        geometry = self.geometry
        spread = y
        if set(geometry.stride) != {1}:
            spread = np.zeros((*y.shape[:3], *geometry.dense), self.dtype)
            spread[:, :, :, *geometry.strided] = y
        is_cut = geometry.boundary == "zero" or geometry.is_circulant  # no margin is folded into the frame
        out = np.empty(
            (*y.shape[:2], self.taps.shape[2], *(geometry.grid if is_cut else geometry.extended)), self.dtype
        )
        starts = tuple((p if is_cut else 0) - r for r, (p, _) in zip(geometry.span, geometry.padding, strict=True))
        mode = "periodic" if geometry.is_circulant else "zero"
        self._compute(spread, starts, mode, self._adjoint_spectra, out)
        return out if is_cut else boundary.fold(out, geometry.padding, geometry.boundary)

    @functools.cached_property
    def _spectra(self) -> list[np.ndarray]:
        """H of a block, for each group of the kernel: [1, 1, *half], or [frequency, i, o] where channels mix."""
        return self._transformed(self.taps)

    @functools.cached_property
    def _adjoint_spectra(self) -> list[np.ndarray]:
        """H of the taps turned round and transposed."""
        turned = np.flip(self.taps, tuple(range(3, self.taps.ndim)))
        return self._transformed(turned.swapaxes(1, 2))

    def _transformed(self, taps: np.ndarray) -> list[np.ndarray]:
        if self._mixes:
            return [_matrices(each, self.geometry, self.block, self.dtype) for each in taps]
        H = self._transform.forward(spectral.laid(taps, self.geometry, self.block, self.dtype, is_padded=True))
        return list(np.conjugate(H, out=H))

    def _compute(
        self, signals: np.ndarray, starts: tuple[int, ...], mode: str, spectra: list[np.ndarray], out: np.ndarray
    ) -> None:
        """Every block of every signal [n, g, i, *grid], over the threads."""
        steps = [b - r for b, r in zip(self.block, self.geometry.span, strict=True)]
        places = list(itertools.product(*(range(0, n, s) for n, s in zip(out.shape[3:], steps, strict=True))))
        cut = [
            [
                _Block(x[g], [a + p for a, p in zip(starts, place, strict=True)], mode, y[g], place, steps)
                for x, y in zip(signals, out, strict=True)
                for place in places
            ]
            for g in range(signals.shape[1])
        ]
        pairs = [(blocks, spectra[g % len(spectra)]) for g, blocks in enumerate(cut)]
        if self._mixes:
            for blocks, H in pairs:
                self._mix(blocks, H)
        else:
            process.each(self._multiply, [(block, H) for blocks, H in pairs for block in blocks])

    def _multiply(self, job: tuple[_Block, np.ndarray]) -> None:
        """One block of one channel."""
        block, H = job
        e = scratch.array("blocks", (1, *self.block), self.dtype)
        block.read(e)
        block.write(self._transform.inverse(spectral.apply(H, self._transform.forward(e))))

    def _mix(self, blocks: list[_Block], H: np.ndarray) -> None:
        """All blocks by one H, some together: as many as stay in the cache with their spectra."""
        together = max(1, _TOGETHER // (max(H.shape[1:]) * len(H)))
        for first in range(0, len(blocks), together):
            self._mix_some(blocks[first : first + together], H)

    def _mix_some(self, blocks: list[_Block], H: np.ndarray) -> None:
        """Blocks by one H: some blocks a task there and back, some frequencies a task for the products."""
        count, i, o = H.shape
        few = max(1, _TASK // (max(i, o) * count))
        tasks = [range(first, min(first + few, len(blocks))) for first in range(0, len(blocks), few)]
        X = scratch.array("spectra", (count, len(blocks), i), H.dtype)
        Y = scratch.array("products", (count, len(blocks), o), H.dtype)

        def there(task: range) -> None:
            e = scratch.array("blocks", (len(task), i, *self.block), self.dtype)
            for each, number in zip(e, task, strict=True):
                blocks[number].read(each)
            spectrum = self._transform.forward(e).reshape(-1, count)
            X.reshape(count, -1)[:, task.start * i : task.stop * i] = spectrum.T

        def product(f: slice) -> None:
            np.matmul(X[f], H[f], out=Y[f])

        def back(task: range) -> None:
            spectrum = np.ascontiguousarray(Y.reshape(count, -1)[:, task.start * o : task.stop * o].T)
            found = self._transform.inverse(spectrum.reshape(len(task), o, *fft.half(self.block)))
            for each, number in zip(found, task, strict=True):
                blocks[number].write(each)

        process.each(there, tasks)
        with blas.single_threaded():
            process.each(product, [slice(f, f + _FREQUENCIES) for f in range(0, count, _FREQUENCIES)])
        process.each(back, tasks)


@dataclass(frozen=True, eq=False)
class _Block:
    """A block of the extended signal [i, *grid], from a start on, and its place among the outputs [o, *dense]."""

    signal: np.ndarray
    start: list[int]
    mode: str
    out: np.ndarray
    place: tuple[int, ...]
    steps: list[int]

    def read(self, e: np.ndarray) -> None:
        """Fill e [i, *block]."""
        boundary.piece(self.signal, self.start, self.mode, e)

    def write(self, found: np.ndarray) -> None:
        """Keep of found [o, *block] what is an output."""
        target = self.out[:, *(slice(p, p + s) for p, s in zip(self.place, self.steps, strict=True))]
        target[...] = found[:, *(slice(m) for m in target.shape[1:])]


def _matrices(taps: np.ndarray, geometry: Geometry, block: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """H [frequency, i, o] = sum over m of exp(2 pi i f m d / B) w[o, i, m], of one group's taps [o, i, *extent]."""
    kind = np.result_type(dtype, np.complex64)
    found = np.ascontiguousarray(taps.transpose(*range(2, taps.ndim), 1, 0), kind)
    channels, last = found.shape[-2:], len(block) - 1
    for axis in reversed(range(len(block))):
        n, taps_before = block[axis], taps.shape[2 : 2 + axis]
        f = np.arange(n // 2 + 1 if axis == last else n)
        turns = np.outer(f, np.arange(geometry.extent[axis]) * geometry.dilation[axis]) % n
        fourier = np.exp(2j * np.pi / n * turns).astype(kind)
        found = _product(fourier, found.reshape(math.prod(taps_before), geometry.extent[axis], -1))
    return found.reshape(-1, *channels)


def _product(fourier: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """fourier [f, m] times each of taps [..., m, rest], over the threads."""
    out = np.empty((len(taps), len(fourier), taps.shape[2]), taps.dtype)
    rows = [slice(f, f + _ROWS) for f in range(0, len(fourier), _ROWS)]
    with blas.single_threaded():
        process.each(lambda f: np.matmul(fourier[f], taps, out=out[:, f]), rows)
    return out


@functools.lru_cache(256)
def block_grid(geometry: Geometry, o: int, i: int) -> tuple[int, ...]:
    """The block that correlates at the least cost, of those that fit the cache, for taps [g, o, i, *extent].

    Where a kernel's span leaves none that fits, the smallest of reasonable use: twice the span.
    """
    axes = [_lengths(n, r) for n, r in zip(geometry.dense, geometry.span, strict=True)]
    most = _CACHED if o * i == 1 else min(_MIXED, _KEPT // min(o, i))
    grids = np.ix_(*axes)  # all at once
    found = cost(grids, geometry, o, i) + _idle(grids, geometry, o, i)
    found = np.where(math.prod(grids) * max(o, i) <= most, found, np.inf)
    if np.isinf(found.min()):
        return tuple(min(fft.fast_length(2 * r + 1), each[0]) for r, each in zip(geometry.span, axes, strict=True))
    return tuple(each[place] for each, place in zip(axes, np.unravel_index(found.argmin(), found.shape), strict=True))


def _lengths(outputs: int, span: int) -> list[int]:
    """Lengths of a block that share so many outputs evenly among a number of them, the longest first."""
    parts = {round(2 ** (third / 3)) for third in range(3 * outputs.bit_length())}
    found = {fft.fast_length(-(-outputs // count) + span) for count in parts}
    return sorted(found, reverse=True)


def _idle(grid: Sequence[Any], geometry: Geometry, o: int, i: int) -> Any:
    """What is lost, as `cost` counts, while threads wait for the last block, and by calling on them at all.

    Nothing where channels mix: blocks are then small, and many.
    """
    blocks = count(grid, geometry)
    return fft.cost(grid) * (-blocks % _THREADS) + _CALLED * (blocks > 1) if o * i == 1 else 0


def cost(grid: Sequence[Any], geometry: Geometry, o: int, i: int) -> Any:
    """Of all blocks there, or back, in multiply-adds as `fft.cost` counts; where channels mix, half of all work.

    The lengths of a block may be arrays, of the blocks to be compared.
    """
    blocks = count(grid, geometry)
    transforms = (o + i) / 2 * fft.cost(grid) * blocks
    if o * i == 1:
        return transforms + OVERHEAD * blocks
    products = math.prod(fft.half(grid)) * blocks + _fourier_work(grid, geometry.extent)
    return _GATHERED * transforms + _MULTIPLY * o * i * products + _BLOCK * blocks


def _fourier_work(grid: Sequence[Any], extent: Sequence[int]) -> Any:
    """Multiply-adds of `_matrices` for one pair of channels."""
    half = fft.half(grid)
    return sum(math.prod(half[axis:]) * math.prod(extent[: axis + 1]) for axis in range(len(grid)))


def count(grid: Sequence[Any], geometry: Geometry) -> Any:
    """How many blocks a geometry's outputs take."""
    rows = zip(grid, geometry.dense, geometry.span, strict=True)
    return math.prod(-(-n // (b - r)) for b, n, r in rows)
