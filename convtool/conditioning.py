"""What a kernel does to the frequencies of an image: its norm, its condition number, and what it destroys.

The figures are those of the periodic operator on the image's grid. Counts are of the full spectrum: of frequencies for
a kernel that keeps channels apart, of components (frequencies x input channels) for one that mixes them. A component is
destroyed when its singular value is at most 1000 eps (of the computing dtype) times the largest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from convtool import fft
from convtool.deconvolution.solvers.filters import Decomposition, decompose
from convtool.kernel import Kernel
from convtool.operators import Convolution

_AFFORDABLE = 1 << 23  # entries of the spectrum's matrices, above which their decomposition takes seconds


@dataclass(frozen=True, eq=False)
class Conditioning:
    """norm: largest singular value; condition: largest over smallest, None when something is destroyed;
    condition_kept: largest over the smallest kept; destroyed of components: counts on the full spectrum."""

    norm: float
    condition: float | None
    condition_kept: float
    destroyed: int
    components: int
    is_scalar: bool
    parts: Decomposition

    def lost_energy(self, x: np.ndarray) -> float:
        """The share of ||x||^2 that lies in destroyed components, for x [n, c_in, *grid]."""
        operator = self.parts.operator
        grid = operator.geometry.grid
        lost = total = 0.0
        for image in x:
            X = fft.transform(grid, operator.dtype).forward(
                image.astype(operator.dtype).reshape(operator.groups, -1, *grid)
            )
            X = np.moveaxis(X, 1, -1)[..., None]
            counts = fft.multiplicity(grid)
            energy = _energy(X).sum(axis=-1)
            rotated = energy[..., None] if self.is_scalar else _energy(self.parts.vh @ X)
            total += float((energy * counts).sum())
            lost += float(((energy - (rotated * self.parts.kept).sum(axis=-1)) * counts).sum())
        return max(lost, 0.0) / total if total else 0.0

    def sentence(self) -> str:
        """'the kernel wipes out 1743 of 16384 frequencies'."""
        what = "frequencies" if self.is_scalar else "components (frequencies x channels)"
        return f"the kernel wipes out {self.destroyed} of {self.components} {what}"


def is_affordable(kernel: Kernel, grid: tuple[int, ...]) -> bool:
    """Whether `of` takes no longer than a few transforms would."""
    blocks, outputs, inputs = kernel.taps.shape[:3]
    return outputs == inputs == 1 or blocks * outputs * inputs * math.prod(fft.half(grid)) <= _AFFORDABLE


def of(operator: Convolution) -> Conditioning:
    """The figures of an operator's kernel, with its dilation, on its grid taken as periodic."""
    geometry = operator.geometry
    circulant = Convolution.build(
        operator.kernel,
        geometry.grid,
        operator.groups,
        operation=operator.operation,
        dilation=geometry.dilation,
        dtype=operator.dtype,
    )
    parts = decompose(circulant)
    counts = fft.multiplicity(geometry.grid)[:, None]
    missing = parts.vh.shape[-1] - parts.vh.shape[-2]
    size = math.prod(geometry.grid) * len(parts.s)
    destroyed = int(((~parts.kept) * counts).sum()) + missing * size
    kept = 1 / float(parts.s[parts.kept].min(initial=1.0))
    return Conditioning(
        norm=parts.norm,
        condition=None if destroyed else kept,
        condition_kept=kept,
        destroyed=destroyed,
        components=parts.vh.shape[-1] * size,
        is_scalar=parts.u.shape[-2:] == parts.vh.shape[-2:] == (1, 1),
        parts=parts,
    )


def _energy(X: np.ndarray) -> np.ndarray:
    """|X|^2 of [..., k, 1], float64, without the last axis."""
    return (np.square(X.real, dtype=np.float64) + np.square(X.imag, dtype=np.float64))[..., 0]
