"""Whether an image continues periodically across its frame, so that the boundary need not be asked for.

Where a periodically blurred image meets itself, the last line beside the first, the scenes of the two borders jump,
but the blur has smoothed the jump like everything else; where a crop of a larger scene is laid beside itself, the jump
is a sharp step. So, for each axis, the 2 m lines around a place between two lines are reduced to two numbers a column,

    s = w . (differences of the lines),    q = mean of the outer lines on the right - that of those on the left,

and three kinds of places are compared: *near*, inside the image, all lines in their order; *far*, m lines from one
place of the image beside m lines from another, as in a crop; and the *seam*. The direction w is the one in which far
places are strongest compared with near ones (a generalised eigenvector of the covariances: it ends up where the blur
has left only noise). Mean squares over the columns follow  E s^2 = nu + kappa q^2,  with kappa fitted to the near and
to the far places and nu to the near ones. At the seam these laws say what to expect in either case given how far apart
its two sides are, so that borders that are alike (white paper, black sky), or covered by noise, decide nothing. The
near law is widened up to that of the sharpest edges, which are those inside the image, or, if the blur is given by its
line spread, a blurred step.

The logarithm of mean s^2 scatters about the laws; the scatter of the near and far places themselves makes a likelihood
ratio (Student's t with 8 degrees of freedom). No threshold is tuned to photographs. The axes' logarithms are added, if
all speak for a periodic image; an axis that does not decides alone. Nothing depends on the image's unit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

_SHORTEST = 8  # lines that an axis must have to be asked
_HALF = (3, 8)  # least and greatest m
_PLACES, _COLUMNS = 48, 384  # at most, an axis; more places where there are fewer columns
_SAMPLES = 4096  # about as many for a covariance
_BLOCK = 16  # columns over which the sharpness of an edge is measured
_IN_FAVOUR = 0.5  # log likelihood ratio that each axis must reach
_SURE = 5.0  # and all together: odds of 150 to 1
_AGAINST = -3.0  # from here down the image is surely a crop
_DOF = 8.0  # of Student's t
_LEAST_SCATTER = 0.2
_LOOKS = 16  # places inside that tell how much neighbouring lines differ
_HIDDEN = 1.5  # mean square of a jump, over that of differences inside, up to which these hide it
_TINY = 1e-20  # of the image's variance


@dataclass(frozen=True)
class Surroundings:
    """What lies outside an image's frame: 'periodic' (the image again) or 'unknown'.

    sureness: the probability that a join like this one is a periodic blur's and not a crop's, if both are as likely
    beforehand; is_sure: whether the data decide. sentence: what was found, for reports.
    """

    boundary: str
    is_sure: bool
    sureness: float
    sentence: str


class _Sides(NamedTuple):
    """The m lines left and right of each place, [places, m, columns] both."""

    left: np.ndarray
    right: np.ndarray


def found(y: np.ndarray, extent: Sequence[int], spread: Sequence[np.ndarray] | None = None) -> Surroundings:
    """The surroundings of one image's data y [c, *grid], blurred by a kernel of this extent along each axis.

    `spread` is the kernel's line spread along each axis (its sums over all other axes), as a convolution with its
    centre at n // 2; with it fewer periodic images are taken for unknown. Axes along which the kernel has one tap, and
    those of fewer than 8 lines, are not asked.

    >>> x = np.random.default_rng(0).normal(size=(1, 64, 64)).cumsum(1).cumsum(2)
    >>> found(x, (5, 5)).boundary
    'unknown'
    """
    if max(extent, default=1) <= 1:
        return Surroundings(
            "periodic", True, 1.0, "the kernel reaches no neighbouring pixel: the boundary is irrelevant"
        )
    asked = [axis for axis, (n, k) in enumerate(zip(y.shape[1:], extent, strict=True)) if k > 1 and n >= _SHORTEST]
    logs = [_evidence(y, axis, extent[axis], None if spread is None else spread[axis]) for axis in asked]
    return _verdict(logs)


def may_jump(y: np.ndarray) -> bool:
    """Whether data [c, *grid] differ more across their frame than inside, along any axis: cheap, and sure of its no.

    A no is for who takes data for periodic already: a jump that the differences inside hide rings no more than those.
    """
    for axis in range(1, y.ndim):
        lines = np.moveaxis(y, axis, 0)
        at = np.unique(np.linspace(1, len(lines) - 1, min(_LOOKS, len(lines) - 1)).astype(int))
        inside = np.mean([_energy(lines[i], lines[i - 1]) for i in at] or [0.0])
        if _energy(lines[0], lines[-1]) > _HIDDEN * inside:
            return True
    return False


def _energy(a: np.ndarray, b: np.ndarray) -> float:
    """The mean square of their difference."""
    return float(np.square(np.subtract(a, b, dtype=np.float64)).mean())


def _verdict(logs: Sequence[float]) -> Surroundings:
    """The surroundings, from the axes' logarithms of the likelihood ratio periodic / crop."""
    total = sum(logs) if logs and min(logs) > _IN_FAVOUR else min([0.0, *logs])
    sureness = 1 / (1 + math.exp(-max(min(total, 700.0), -700.0)))
    if total > _SURE:
        text = "the image continues across its frame as smoothly as inside, as a periodically blurred one does"
        return Surroundings("periodic", True, sureness, f"{text} (probability {_spelled(sureness)})")
    if total < _AGAINST:
        text = "the image jumps across its frame: it is a part of a larger scene, and what lies outside is unknown"
        return Surroundings("unknown", True, sureness, f"{text} (probability {_spelled(1 - sureness)})")
    text = (
        "whether the image continues periodically across its frame cannot be told (opposite borders are alike, or"
        " noise or too little blur hides the difference): what lies outside is taken for unknown, which costs little"
    )
    return Surroundings("unknown", False, sureness, text)


def _spelled(probability: float) -> str:
    return f"{probability:.2g}" if probability < 0.99 else "over 0.999" if probability > 0.999 else "over 0.99"


def _evidence(y: np.ndarray, axis: int, extent: int, spread: np.ndarray | None) -> float:
    """log of the likelihood ratio periodic / crop of the join along one axis; 0 where it says nothing."""
    across = np.moveaxis(y, axis + 1, 0)
    others = math.prod(across.shape[1:])
    columns: Any = np.unravel_index(np.arange(0, others, -(-others // _COLUMNS)), across.shape[1:])
    lines = across[(slice(None), *columns)].astype(np.float64)  # of these alone: all may be a copy of the image
    scale = float(np.abs(lines - lines.flat[0]).max())
    if not scale > 0:
        return 0.0
    lines = (lines - lines.flat[0]) / scale
    lines /= max(float(lines.std()), _TINY)
    m = min(max(extent // 2 + 2, _HALF[0]), _HALF[1], len(lines) // 4)
    near, far = _places(lines, m)
    seam = _Sides(lines[None, -m:], lines[None, :m])
    step = None if spread is None else _blurred_step(spread, m)
    gap, excess, edge, scatter = _compared(near, far, seam, step)
    if gap <= edge:
        return 0.0
    at = min(excess, gap)
    close = _log_densities(at - np.linspace(0, edge, 7), scatter)
    return float(np.logaddexp.reduce(close) - math.log(7) - _log_densities(np.array(at - gap), scatter))


def _places(lines: np.ndarray, m: int) -> tuple[_Sides, _Sides]:
    """Places inside, and the same with the right sides of others."""
    most = min(max(_PLACES, 12288 // lines.shape[1]), 1024, len(lines) - 2 * m + 1)
    at = np.unique(np.linspace(m, len(lines) - m, most).astype(int))
    near = _Sides(lines[at[:, None] + np.arange(-m, 0)], lines[at[:, None] + np.arange(m)])
    count = len(at)
    shifts = np.array([count // 4, count // 2, 3 * count // 4])[np.arange(count) % 3]
    return near, _Sides(near.left, near.right[(np.arange(count) + shifts) % count])


def _compared(near: _Sides, far: _Sides, seam: _Sides, step: np.ndarray | None) -> tuple[float, float, float, float]:
    """Logarithms, over what is expected of the seam inside the image: of what is expected of a crop, of what is found,
    of what is expected of the sharpest edge; and their scatter."""
    q_near, q_far, q_seam = (_offsets(sides) for sides in (near, far, seam))
    w = _direction(near, far, q_near, step, float(q_seam.mean()))
    s_near, s_far, s_seam = (np.square(_projected(sides, w)) for sides in (near, far, seam))
    near_law, far_law = _law(q_near, s_near), _law(q_far, s_far)
    nu = near_law[0] + _TINY
    sharpest = _sharpest(q_near, s_near, near_law) if step is None else near_law[1] + _ratio(step, w)
    apart = float(q_seam.mean())
    inside, crop, edge = np.log(nu + np.array([near_law[1], far_law[1], sharpest]) * apart)
    near_off, far_off = _deviations(q_near, s_near, near_law), _deviations(q_far, s_far, far_law)
    scatter = max(math.sqrt((near_off.var() + far_off.var()) / 2), _LEAST_SCATTER)
    start = float(inside + np.median(near_off))
    found = math.log(float(s_seam.mean()) + _TINY)
    return float(crop + np.median(far_off)) - start, found - start, float(edge - inside), scatter


def _offsets(sides: _Sides) -> np.ndarray:
    """q^2 of each place and column, [places, columns]; the lines nearest to the place are left out."""
    inner = sides.left.shape[1] // 2
    right, left = sides.right[:, inner:], sides.left[:, : sides.left.shape[1] - inner]
    return np.square((right.sum(axis=1) - left.sum(axis=1)) / right.shape[1])


def _projected(sides: _Sides, w: np.ndarray) -> np.ndarray:
    """s of each place and column, for weights w [2 m] of the lines."""
    m = len(w) // 2
    return w[:m] @ sides.left + w[m:] @ sides.right


def _direction(near: _Sides, far: _Sides, q: np.ndarray, step: np.ndarray | None, apart: float) -> np.ndarray:
    """Weights [2 m] of the lines, of sum 0, in which far places are strongest compared with near ones.

    Of the near ones, the quarter whose sides differ most counts, and a blurred step as high as the seam's.
    """
    inside = _covariance(near, q >= np.quantile(q, 0.75))
    outside = _covariance(far, np.ones(q.shape, bool))
    if step is not None:
        rise = np.diff(step)
        inside = inside + np.outer(rise, rise) * apart / _height(step) ** 2
    inside = inside + (1e-6 * np.trace(inside) / len(inside) + _TINY) * np.eye(len(inside))
    whitener = np.linalg.inv(np.linalg.cholesky(inside))
    towards = np.linalg.eigh(whitener @ outside @ whitener.T)[1][:, -1] @ whitener
    padded = np.concatenate([[0.0], towards, [0.0]])
    w = padded[:-1] - padded[1:]  # of lines, from those of their differences
    return w / math.sqrt(float(np.square(w).sum()))


def _covariance(sides: _Sides, chosen: np.ndarray) -> np.ndarray:
    """The mean product of the differences between neighbouring lines, [2 m - 1, 2 m - 1]."""
    place, column = np.nonzero(chosen)
    step = -(-len(place) // _SAMPLES)
    place, column = place[::step], column[::step]
    rows = np.diff(np.concatenate([side[place, :, column] for side in sides], axis=1), axis=1)
    return rows.T @ rows / len(rows)


def _blurred_step(spread: np.ndarray, m: int) -> np.ndarray | None:
    """A unit step, blurred: its values on m lines on either side; None for kernels that leave no step."""
    spread = np.asarray(spread, np.float64)
    total = float(spread.sum())
    if abs(total) <= 1e-3 * float(np.abs(spread).sum()):
        return None
    risen = np.concatenate([np.zeros(m), np.cumsum(spread) / total, np.ones(m)])
    middle = m + len(spread) // 2
    step = risen[middle - m : middle + m]
    return step if _height(step) > 0.05 else None


def _height(step: np.ndarray) -> float:
    """The offset of a step's sides, as `_offsets` takes it."""
    m = len(step) // 2
    return float(step[m + m // 2 :].mean() - step[: m - m // 2].mean())


def _ratio(step: np.ndarray, w: np.ndarray) -> float:
    """s^2 / q^2 of a step."""
    return float(step @ w / _height(step)) ** 2


def _law(q: np.ndarray, s: np.ndarray) -> tuple[float, float]:
    """(nu, kappa), both >= 0, of s = nu + kappa q: relative least squares on the means of eight classes of q."""
    order = np.argsort(q, axis=None)
    ends = np.unique(np.linspace(0, q.size, 9).astype(int)[:-1])  # fewer of a tiny image
    counts = np.diff([*ends, q.size])
    classes = np.add.reduceat(q.ravel()[order], ends) / counts
    means = np.add.reduceat(s.ravel()[order], ends) / counts + _TINY
    A = np.stack([1 / means, classes / means], axis=1)
    nu, kappa = np.linalg.lstsq(A, np.ones(len(A)), rcond=None)[0]
    if nu < 0:
        nu, kappa = 0.0, float(A[:, 1].sum() / (np.square(A[:, 1]).sum() or 1.0))
    elif kappa < 0:
        nu, kappa = float(A[:, 0].sum() / np.square(A[:, 0]).sum()), 0.0
    return float(nu), float(kappa)


def _sharpest(q: np.ndarray, s: np.ndarray, law: tuple[float, float]) -> float:
    """kappa of the sharpest tenth of the strong edges inside the image."""
    count = q.shape[1] // _BLOCK
    if not count:
        return law[1]
    strength, sharpness = (v[:, : count * _BLOCK].reshape(len(v), count, _BLOCK).mean(axis=2).ravel() for v in (q, s))
    strong = strength >= np.quantile(strength, 0.8)
    ratios = np.maximum(sharpness[strong] - law[0], 0) / (strength[strong] + _TINY)
    return max(float(np.quantile(ratios, 0.9)), law[1])


def _deviations(q: np.ndarray, s: np.ndarray, law: tuple[float, float]) -> np.ndarray:
    """log of each place's mean s^2 over what its law expects."""
    return np.log((s.mean(axis=1) + _TINY) / (law[0] + law[1] * q.mean(axis=1) + _TINY))


def _log_densities(t: np.ndarray, scatter: float) -> np.ndarray:
    """Student's t, up to a constant."""
    return -(_DOF + 1) / 2 * np.log1p(np.square(t / scatter) / _DOF)
