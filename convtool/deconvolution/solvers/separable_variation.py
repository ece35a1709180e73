"""Total variation in a Richardson-Lucy step: the objective of Dey et al. 2006, by a bound that takes samples apart.

    D(x) + lambda sum |D x|,      |u| = sqrt(u^2 + 0.25^2) of 0..255, all channels together

D(x) has the bound that makes the plain step. The other term has, of neighbours i, j with the difference u of p,

    |D x| <= |D x|^2 / (2 |D p|) + |D p| / 2,
    (x_i - x_j)^2 <= (2 (x_i - p_i) + u)^2 / 2 + (2 (x_j - p_j) - u)^2 / 2                     (De Pierro 1995)

so that with g = A^T M 1 + lambda D^T (D p / |D p|), c_i = 2 lambda sum_j 1 / |D p|_ij the least of both is at x = r p,

    c p r^2 + (g - c p) r - A^T M (y / (A p + b)) = 0

It is never negative, and the objective falls with every step from p = x. Dey et al. have c = 0, for which steps from
flat parts of x go too far, and are never small.

References: Dey et al. 2006, doi:10.1002/jemt.20294; De Pierro 1995, doi:10.1109/42.370409.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from convtool.deconvolution.solvers.scene import Scene

_EDGE = 0.25  # of 0..255: differences well below count as flat


def regularised(scene: Scene, p: np.ndarray, seen: np.ndarray, factor: np.ndarray, weight: float) -> np.ndarray:
    """r A^T M 1 at p [c_in, *grid], of seen = A^T M 1, factor = A^T M (y / (A p + b)) and lambda."""
    d = scene.gradient(p)
    size = np.sqrt(np.square(d).sum(axis=(0, 1)) + d.dtype.type(_EDGE**2))
    d /= size
    slope = scene.gradient_adjoint(d)
    slope *= d.dtype.type(weight)
    slope += seen
    curvature = _curvature(scene, size, weight) * p
    slope -= curvature
    root = np.sqrt(slope * slope + 4 * curvature * factor)
    # Of the two forms of the root the one that does not cancel.
    steep = 2 * factor / np.maximum(slope + root, np.finfo(d.dtype).tiny)
    return np.where(slope > 0, steep, (root - slope) / (2 * curvature)) * seen


def _curvature(scene: Scene, size: np.ndarray, weight: float) -> np.ndarray:
    """c [*grid]; where differences end at the frame it wraps round all the same: more is a bound as well."""
    out = np.zeros_like(size)
    for axis, h in enumerate(scene.steps):
        each = size.dtype.type(2 * weight / h**2) / size
        out += each
        out += np.roll(each, 1, axis)
    return out
