"""Linear operators with exact adjoints: everything that convtool computes is written on these.

`Convolution` maps x [..., c_in, *grid] to y [..., c_out, *outputs]; leading axes are a batch. With window taps w (the
kernel for a correlation, the flipped kernel for a convolution), per group:

    forward    y[o, j] = sum_i sum_m w[o, i, m] x_ext[i, j s - p + m d]
    adjoint    <forward(x), y> = <x, adjoint(y)>           for every boundary, padding, stride and dilation
    spectrum   y^(f) = H(f) x^(f), one [o, i] matrix a frequency and group; only where the operator is circulant
    to_sparse  the same operator as a CSR matrix [c_out prod(outputs), c_in prod(grid)]
"""

from __future__ import annotations

import abc
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np

from convtool import choice, engines, entries, fft, spectral
from convtool.axes import spelled
from convtool.errors import SettingError, listed
from convtool.geometry import Geometry, Padding, resolve
from convtool.kernel import Kernel

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

OPERATIONS = ("convolve", "correlate")
ENGINES = ("auto", *engines.NAMES)


class LinearOperator(abc.ABC):
    """A linear map between arrays of fixed trailing shapes; leading axes are a batch."""

    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]

    @abc.abstractmethod
    def forward(self, x: np.ndarray) -> np.ndarray:
        """A x: [..., *out_shape] of x [..., *in_shape]."""

    @abc.abstractmethod
    def adjoint(self, y: np.ndarray) -> np.ndarray:
        """A^T y: [..., *in_shape] of y [..., *out_shape]."""

    @abc.abstractmethod
    def to_sparse(self) -> csr_matrix:
        """The matrix of the operator on arrays flattened in C order."""

    def __matmul__(self, first: LinearOperator) -> Composition:
        return Composition(self, first)


@final
class Composition(LinearOperator):
    """`second @ first`: first, then second."""

    def __init__(self, second: LinearOperator, first: LinearOperator) -> None:
        if second.in_shape != first.out_shape:
            raise SettingError(f"cannot compose: the first gives {first.out_shape}, the second takes {second.in_shape}")
        self.second, self.first = second, first
        self.in_shape, self.out_shape = first.in_shape, second.out_shape

    def forward(self, x: np.ndarray) -> np.ndarray:
        return self.second.forward(self.first.forward(x))

    def adjoint(self, y: np.ndarray) -> np.ndarray:
        return self.first.adjoint(self.second.adjoint(y))

    def to_sparse(self) -> csr_matrix:
        return self.second.to_sparse() @ self.first.to_sparse()


@final
@dataclass(frozen=True, eq=False)
class Convolution(LinearOperator):
    """A convolution or correlation on a fixed grid; build it with `Convolution.build`."""

    kernel: Kernel
    groups: int
    geometry: Geometry
    operation: str
    engine: str
    dtype: np.dtype
    batch: int

    @classmethod
    def build(
        cls,
        kernel: Kernel,
        grid: Sequence[int],
        groups: int,
        *,
        operation: str = "convolve",
        boundary: str = "periodic",
        padding: Padding = "same",
        stride: int | Sequence[int] = 1,
        dilation: int | Sequence[int] = 1,
        engine: str = "auto",
        dtype: np.dtype | type = np.float64,
        batch: int = 1,
    ) -> Convolution:
        """The operator on a grid.

        Parameters
        ----------
        kernel: taps [g, o, i, *extent] and origin, with g = groups, or g = 1 for one kernel shared by all groups
        grid: lengths of the spatial axes
        groups: blocks of channels that do not mix; c_in = groups * i, c_out = groups * o
        batch: images that one call will bring, a hint for the choice of the FFT library

        Raises SettingError for a bad setting and DataError when no window fits.
        """
        if operation not in OPERATIONS:
            raise SettingError(f"unknown operation '{operation}': use convolve or correlate")
        if engine not in ENGINES:
            raise SettingError(f"unknown engine '{engine}': use {listed(ENGINES)}")
        window = kernel.flipped() if operation == "convolve" else kernel
        windows = resolve(
            grid,
            kernel.extent,
            window.origin,
            boundary_mode=boundary,
            padding=padding,
            stride=stride,
            dilation=dilation,
        )
        return cls(kernel, groups, windows, operation, engine, np.dtype(dtype), batch)

    @property
    def window(self) -> Kernel:
        """The kernel of the correlation that the operator is."""
        return self.kernel.flipped() if self.operation == "convolve" else self.kernel

    @property
    def in_shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return (self.groups * self.kernel.taps.shape[2], *self.geometry.grid)

    @property
    def out_shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return (self.groups * self.kernel.taps.shape[1], *self.geometry.outputs)

    @functools.cached_property
    def engine_name(self) -> str:
        """The engine asked for, or the one predicted to be the fastest."""
        if self.engine != "auto":
            return self.engine
        return choice.fastest(self.window.taps, self.geometry, self.batch * self.groups, self.dtype)

    @functools.cached_property
    def _runner(self) -> engines.Engine:
        return engines.build(self.engine_name, self.window.taps, self.geometry, self.dtype, self.batch * self.groups)

    def line_spreads(self) -> list[np.ndarray]:
        """For each axis, the kernel's sums over all others: what becomes of a line, as the taps of a convolution."""
        taps, lines = self.window.flipped().taps, []
        for axis, step in enumerate(self.geometry.dilation, 3):
            sums = taps.sum(axis=tuple(i for i in range(taps.ndim) if i != axis))
            line = np.zeros(step * (len(sums) - 1) + 1)
            line[::step] = sums
            lines.append(line)
        return lines

    def forward(self, x: np.ndarray) -> np.ndarray:
        out = self._runner.forward(self._grouped(x, self.in_shape))
        return out.reshape(*x.shape[: -len(self.in_shape)], *self.out_shape)

    def adjoint(self, y: np.ndarray) -> np.ndarray:
        out = self._runner.adjoint(self._grouped(y, self.out_shape))
        return out.reshape(*y.shape[: -len(self.out_shape)], *self.in_shape)

    def _grouped(self, x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """x [..., c, *spatial] as [n, groups, c / groups, *spatial] in the operator's dtype."""
        if x.shape[x.ndim - len(shape) :] != shape:
            raise ValueError(f"expected an array of shape (..., {', '.join(map(str, shape))}), got {x.shape}")
        return x.astype(self.dtype, copy=False).reshape(-1, self.groups, shape[0] // self.groups, *shape[1:])

    @property
    def spectrum(self) -> np.ndarray:
        """H [g, o, i, *half spectrum of the grid]; raises SettingError where the operator is not circulant."""
        self.check_circulant()
        transform = fft.transform(self.geometry.grid, self.dtype, uses=2 * self.batch * self.groups)
        H = transform.forward(spectral.laid(self.window.taps, self.geometry, self.geometry.grid, self.dtype))
        return np.conjugate(H, out=H)

    def check_circulant(self) -> None:
        """Raises SettingError unless the operator is one matrix a frequency."""
        if not self.geometry.is_circulant:
            raise SettingError(
                "frequency by frequency only boundary periodic, stride 1 and as many outputs as inputs can be inverted,"
                f" got {self._obstacle}: use --method least-squares (method='least-squares' in Python)"
            )

    @property
    def _obstacle(self) -> str:
        """What keeps the operator from being circulant."""
        geometry = self.geometry
        if geometry.boundary != "periodic":
            return f"boundary {geometry.boundary}"
        if set(geometry.stride) != {1}:
            return f"stride {','.join(map(str, geometry.stride))}"
        return f"outputs of {spelled(geometry.outputs)} for an image of {spelled(geometry.grid)}"

    def to_sparse(self) -> csr_matrix:
        return entries.csr(self.window.taps, self.groups, self.geometry)
