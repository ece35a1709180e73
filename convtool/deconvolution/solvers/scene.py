"""The scene of one image: the forward model y = M A x that iterative methods are written on.

A scene is in units of its own, so that no method need know a kernel's sum or the unit of data:

    A' = A / norm,     y' = y / unit,     x' = x norm / unit,     norm = max |H|,  unit = S (see `convtool.noise.unit`)

so the data span about 0..255, and A' passes the frequency that it damps least unchanged. M, the weights, says which of
the samples of A' x' were seen. Two kinds:

`torus.Torus`      A is a product of spectra on a periodic grid; every other thing (unknown surroundings, strides) is in
                   M. Normal equations are solved frequency by frequency.
`folded.Folded`    A continues the frame by zeros, its edge or mirrors, with `forward` and `adjoint` alone. Normal
                   equations are solved by conjugate gradients.

The finite differences D x [axes, c, *grid] belong to the scene as well: D wraps round on a torus and ends at the frame
otherwise. With a spacing h_a of samples, D_a is divided by h_a / min h.
"""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING

import numpy as np

from convtool import fft

if TYPE_CHECKING:
    from convtool.observation import Observation
    from convtool.operators import Convolution

_FAINT = 0.1  # share of the norm by which a constant must come through for the data to be a first guess
_NOTHING = 1e-6  # share of the norm below which a constant does not come through at all


class Scene(abc.ABC):
    """The forward model for one image, in units where the kernel's norm is 1 and the data span 0..255.

    Attributes
    ----------
    shape: of x, [c_in, *grid], where the grid may be larger than the image
    data: y' [c_out, *samples], 0 where nothing was seen
    weights: M in the shape of the data, or None where all samples were seen
    wraps: whether D wraps round, rather than end at the frame
    scale: x = scale x' is in the user's units: unit / norm
    unit: y = unit y'
    """

    shape: tuple[int, ...]
    data: np.ndarray
    weights: np.ndarray | None
    wraps: bool

    def __init__(self, observation: Observation) -> None:
        self.operator = observation.operator
        self.dtype = observation.y.dtype
        self.unit = unit_of(observation)
        self.norm = norm_of(self.operator)
        self.scale = self.unit / self.norm
        spacing = observation.spacing or (1.0,) * len(self.operator.geometry.grid)
        self.steps = tuple(h / min(spacing) for h in spacing)

    @abc.abstractmethod
    def forward(self, x: np.ndarray) -> np.ndarray:
        """A' x: [c_out, *samples] of x [c_in, *grid], also where nothing was seen."""

    @abc.abstractmethod
    def adjoint(self, y: np.ndarray) -> np.ndarray:
        """A'^T y: [c_in, *grid] of y [c_out, *samples]."""

    @abc.abstractmethod
    def gradient(self, x: np.ndarray) -> np.ndarray:
        """D x: [axes, c_in, *grid]."""

    @abc.abstractmethod
    def gradient_adjoint(self, d: np.ndarray) -> np.ndarray:
        """D^T d: [c_in, *grid]."""

    @abc.abstractmethod
    def least_squares(
        self, y: np.ndarray, z: np.ndarray, beta: float, gamma: float, start: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(x, A' x) with (A'^T A' + beta D^T D + gamma) x = A'^T y + z; where it takes iterations, from `start` on.

        That is min 1/2 ||A' x - y||^2 + beta/2 ||D x - d||^2 + gamma/2 ||x - v||^2 with z = beta D^T d + gamma v.
        """

    def fitted(self, z: np.ndarray, beta: float, gamma: float, start: np.ndarray) -> np.ndarray:
        """The x of `least_squares` for y the scene's data."""
        return self.least_squares(self.data, z, beta, gamma, start)[0]

    @abc.abstractmethod
    def precondition(self, r: np.ndarray, gamma: float) -> np.ndarray:
        """About (A'^T A' + gamma)^-1 r; exactly on a torus."""

    @abc.abstractmethod
    def leave(self, x: np.ndarray) -> np.ndarray:
        """x in the user's units on the operator's grid."""

    @abc.abstractmethod
    def start(self) -> np.ndarray:
        """A first x: the data themselves, continued smoothly where nothing was seen."""

    def masked(self, y: np.ndarray) -> np.ndarray:
        """M y."""
        return y if self.weights is None else self.weights * y


def of(observation: Observation) -> Scene:
    """The scene for an observation of one image (y [1, c_out, *outputs]); see `Observation.images`."""
    from convtool.deconvolution.solvers.folded import Folded
    from convtool.deconvolution.solvers.torus import Torus, is_torus

    return (Torus if is_torus(observation.operator.geometry) else Folded)(observation)


def unit_of(observation: Observation) -> float:
    """S, the unit of the data in which they span about 0..255: 1 for 8 bits.

    Wider integers need not use their range (photon counts, 12-bit cameras), so theirs is measured, as that of floats.
    """
    from convtool import noise

    if observation.rounding is not None and observation.rounding.bits == 8:
        return 1.0
    seen = observation.y if observation.weights is None else observation.y[observation.weights > 0]
    return noise.unit(seen, observation.y.dtype)


def norm_of(operator: Convolution) -> float:
    """The largest singular value of the operator's windows at any frequency."""
    from convtool.deconvolution.solvers.norms import largest_singular_value

    taps = operator.window.taps
    if taps.min() >= 0 and taps.shape[1:3] == (1, 1):
        return float(taps.reshape(len(taps), -1).sum(axis=1).max())
    grid = tuple(fft.fast_length(2 * n) for n in operator.geometry.extent)
    margins = [(0, n - m) for n, m in zip(grid, operator.geometry.extent, strict=True)]
    laid = np.pad(taps, [(0, 0)] * 3 + margins)
    H = np.moveaxis(fft.transform(grid, np.dtype(np.float64)).forward(laid), (1, 2), (-2, -1))
    return largest_singular_value(H)


def filled(y: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Data [c, *samples] whose missing samples take the value of the nearest that was seen, channel by channel."""
    from scipy.ndimage import distance_transform_edt

    if weights is None:
        return y
    out = np.empty_like(y)
    for c, (plane, seen) in enumerate(zip(y, weights, strict=True)):
        if not seen.any():
            out[c] = 0
            continue
        nearest = distance_transform_edt(seen == 0, return_distances=False, return_indices=True)
        out[c] = plane[tuple(nearest)]
    return out


def first_guess(y: np.ndarray, operator: Convolution, norm: float) -> np.ndarray:
    """x [c_in, *samples] that a constant y [c_out, *samples] comes from; y in units of the data, A of its norm.

    Through G, the matrices of the windows' sums, pixel by pixel; where they let little of a constant pass, which would
    amplify everything else as well, of the mean of y alone. What no constant can explain gives 0.
    """
    taps = operator.window.taps
    G = taps.reshape(*taps.shape[:3], -1).sum(axis=-1) / norm
    s = np.linalg.svd(G, compute_uv=False)
    kept = s[s > _NOTHING]
    if not kept.size:
        return np.zeros((operator.in_shape[0], *y.shape[1:]), y.dtype)
    if kept.min() < _FAINT:
        y = np.broadcast_to(y.reshape(len(y), -1).mean(axis=1).reshape(-1, *(1,) * (y.ndim - 1)), y.shape)
    inverse = np.broadcast_to(np.linalg.pinv(G, rcond=_NOTHING), (operator.groups, G.shape[2], G.shape[1]))
    blocks = y.reshape(operator.groups, -1, *y.shape[1:])
    return np.einsum("gio,go...->gi...", inverse.astype(y.dtype), blocks).reshape(-1, *y.shape[1:])
