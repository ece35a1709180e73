"""Half-quadratic splitting between the data and groups of similar patches, for any scene.

    for s falling from s_0 to s_1:    v = denoised(x, s),    x = argmin 1/2 ||M A x - y||^2 + gamma/2 ||x - v||^2,
                                      gamma = strength (sigma / s)^2

in the scene's units, sigma the noise level of the data. At a frequency that the blur passes with |H|^2 = gamma, where
data and prior count the same, x holds noise of about s / (2 sqrt(strength)); so the denoiser's level and the weight of
the prior belong together, and both fall. The groups are found anew every few rounds, on a grid shifted each time.

References: Zhang, Li, Zuo, Zhang, Van Gool, Timofte 2021 (doi:10.1109/TPAMI.2021.3088914) for the schedule; Danielyan,
Katkovnik, Egiazarian 2012 (doi:10.1109/TIP.2011.2176954) for patches in deconvolution.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from convtool.deconvolution.solvers import conjugate_gradient, patch_groups
from convtool.deconvolution.solvers.patch_groups import Layout, PatchGroups, Shrinkage

if TYPE_CHECKING:
    from convtool.deconvolution.solvers.scene import Scene

_TOL, _STEPS = 0.1, 12  # of conjugate gradients in one round, relative to the residual that it begins with
_ASTRAY = 1e3  # times the pilot and the data, from where on x does not come back
_REFERENCE = (6.0, 0.2)  # s and strength at which the noise in x is looked at
_SLOPE, _STRENGTHS = 0.32, (0.13, 0.25)  # strength / (noise in x / s), and its bounds
_SHIFTS = ((0, 0), (1, 2), (2, 1), (1, 0), (2, 2), (0, 1), (1, 1), (2, 0), (0, 2))


@dataclass(frozen=True)
class Schedule:
    """Levels s_0 and s_1 of the first and the last round; how many rounds; the prior's strength; rounds from one
    grouping to the next; how patches are grouped, and shrunk."""

    first: float
    last: float
    rounds: int
    strength: float = 0.2
    regroup: int = 6
    layout: Layout = field(default_factory=Layout)
    shrinkage: Shrinkage = field(default_factory=Shrinkage)

    def levels(self) -> np.ndarray:
        """s of every round."""
        return np.geomspace(self.first, self.last, self.rounds)


def chosen_strength(scene: Scene, noise: float) -> float:
    """The prior's strength for data with a noise level, by how much of the noise is in x when s is 6 (`_REFERENCE`).

    Blurs that pass few frequencies leave x little noise, and that can be told from patches; measured on photographs.
    """
    level, strength = _REFERENCE
    gamma = strength * (noise / level) ** 2
    white = np.random.default_rng(0).standard_normal(scene.data.shape).astype(scene.dtype)
    left = scene.precondition(scene.adjoint(scene.masked(white)), gamma)
    share = noise / level * float(np.sqrt(np.mean(np.square(left, dtype=np.float64))))
    return float(np.clip(_SLOPE * share, *_STRENGTHS))


def restore(
    scene: Scene,
    pilot: np.ndarray,
    noise: float,
    schedule: Schedule,
    watch: Callable[[int, float], None] | None = None,
) -> np.ndarray:
    """x of a scene, from a pilot in its shape; `watch` is told the round and by how much x changed, relative.

    Where most of the scene was not seen, errors there may grow from round to round: it then ends early, with an x that
    explains nothing.
    """
    x = v = pilot
    most = _ASTRAY * (float(np.linalg.norm(pilot)) + float(np.linalg.norm(scene.data)))
    del pilot  # by then it is one image too many
    for k, level in enumerate(schedule.levels().tolist()):
        if k % schedule.regroup == 0:
            groups = grouped(x, schedule.layout, scene.wraps, k // schedule.regroup)
        v = denoised(groups, x, level, schedule.shrinkage)
        before, x = x, fitted(scene, v, schedule.strength * (noise / level) ** 2, x)
        if watch is not None:
            watch(k + 1, _change(before, x))
        if not float(np.linalg.norm(x)) <= most:
            break
    return v


def grouped(x: np.ndarray, layout: Layout, wraps: bool, number: int) -> list[PatchGroups]:
    """The groups of each plane of x [c, *grid], on the grid shifted for the `number`-th time."""
    mode = "periodic" if wraps else "symmetric"
    shift = _SHIFTS[number % len(_SHIFTS)]
    return [patch_groups.find(plane, layout, mode, shift) for plane in _planes(x)]


def denoised(groups: list[PatchGroups], x: np.ndarray, level: float, shrinkage: Shrinkage) -> np.ndarray:
    """x [c, *grid] without white noise, plane by plane."""
    pairs = zip(groups, _planes(x), strict=True)
    return np.stack([each.denoise(plane, level, shrinkage) for each, plane in pairs], axis=1).reshape(x.shape)


def fitted(scene: Scene, v: np.ndarray, gamma: float, start: np.ndarray) -> np.ndarray:
    """x that fits the data, as near v as gamma says: argmin 1/2 ||M A x - y||^2 + gamma/2 ||x - v||^2."""
    weight = scene.dtype.type(gamma)
    if scene.weights is None and scene.wraps:
        return scene.least_squares(scene.data, weight * v, 0.0, gamma, start)[0]

    def normal(x: np.ndarray) -> np.ndarray:
        return scene.adjoint(scene.masked(scene.forward(x))) + weight * x

    def precondition(r: np.ndarray) -> np.ndarray:
        return scene.precondition(r, gamma)

    right = scene.adjoint(scene.masked(scene.data - scene.forward(start))) + weight * (v - start)
    return start + conjugate_gradient.solve(normal, right, precondition, np.zeros_like(start), _TOL, _STEPS)


def _planes(x: np.ndarray) -> list[np.ndarray]:
    """The [c, Y, X] planes of x [c, *grid]; a row is a plane of one row."""
    shaped = x.reshape(len(x), -1, *x.shape[-2:]) if x.ndim > 2 else x[:, None, None]
    return [shaped[:, z] for z in range(shaped.shape[1])]


def _change(before: np.ndarray, after: np.ndarray) -> float:
    size = float(np.linalg.norm(after))
    return float(np.linalg.norm(after - before)) / size if size else 0.0
