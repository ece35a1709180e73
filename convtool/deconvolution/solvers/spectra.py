"""The spectra of data and of their solution, read and written by the numbers of a symbol's matrices.

A frequency's data are a column of the channels an image (and a group, where groups share a kernel), so that one product
with a matrix [i, o] serves all. Reordering happens block by block, where it stays in the cache.
"""

from __future__ import annotations

import numpy as np

from convtool import fft
from convtool.deconvolution.solvers.norms import Chosen, blocks
from convtool.operators import Convolution


class Spectra:
    """The spectra of data y [n, c_out, *grid] and of their solution, by the numbers of a symbol's matrices."""

    def __init__(self, operator: Convolution, y: np.ndarray) -> None:
        kernels, o, i = operator.kernel.taps.shape[:3]
        self._shape = (len(y), *operator.in_shape)
        self._grid, images = operator.geometry.grid, len(y) * operator.groups // kernels
        self._transform = fft.transform(self._grid, y.dtype, uses=2 * len(y) * operator.groups)
        self._Y = self._transform.forward(y).reshape(images, kernels, o, -1)
        self._X = np.empty((images, kernels, i, self._Y.shape[-1]), self._Y.dtype)
        self.blocks = [
            slice(kernel * self._Y.shape[-1] + part.start, kernel * self._Y.shape[-1] + part.stop)
            for kernel in range(kernels)
            for part in blocks(self._Y.shape[-1], o * i)
        ]

    def data(self, chosen: Chosen) -> np.ndarray:
        """[k, o, images], of one kernel's block, or of any numbers."""
        return np.ascontiguousarray(self._Y[:, *self._place(chosen)].transpose(self._order(chosen)))

    def put(self, chosen: Chosen, x: np.ndarray) -> None:
        """Sets the solution's [k, i, images]."""
        self._X[:, *self._place(chosen)] = x.transpose(np.argsort(self._order(chosen)))

    def solution(self) -> np.ndarray:
        """x [n, c_in, *grid]; once."""
        spectrum = self._X.reshape(*self._shape[:2], *fft.half(self._grid))
        return self._transform.inverse(spectrum).reshape(self._shape)

    def _place(self, chosen: Chosen) -> tuple:
        count = self._Y.shape[-1]
        if isinstance(chosen, slice):
            kernel, first = divmod(chosen.start, count)
            return kernel, slice(None), slice(first, first + chosen.stop - chosen.start)
        kernels, rest = np.divmod(chosen, count)
        return kernels, slice(None), rest

    @staticmethod
    def _order(chosen: Chosen) -> tuple[int, int, int]:
        """Axes of [images, c, k], or of [k, images, c] as indexing by arrays gives, in the order [k, c, images]."""
        return (2, 1, 0) if isinstance(chosen, slice) else (0, 2, 1)
