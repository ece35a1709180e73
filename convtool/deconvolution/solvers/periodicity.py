"""Whether data can be what a periodic convolution made: a crop of a larger scene cannot.

A periodic blur damps the components whose singular value is small alike everywhere. A crop, whose opposite borders do
not fit together, has such components all the same, along its frame, and inversions amplify them. So the data's part in
those components is formed,

    p = F^-1 U 1(s < 0.1 s_max) U^H y^,

and its root mean square on the outermost two lines of an axis is compared with that of the median line
(`frame_excess`). On photographs the quotient was 2 to 30 for crops, less where noise covers the gap, and at most 1.7
for periodic data with noise. Without noise, what is left there is the scene itself, which may jump across its frame
too; so a crop is one whose *inversion* rings as well: its second differences, taken inside the frame only, are larger
in the outermost lines than in the median line, twice as much so as the data's (`ringing`; at most 1.1 for periodic data
of such a quotient).
"""

from __future__ import annotations

import numpy as np

from convtool import fft
from convtool.deconvolution.solvers.filters import Decomposition, adjoint, filtered_data

LIMIT = 2.0  # of frame_excess: from here on the data may be a crop
RINGING = 2.0  # of ringing: from here on they are

_DAMPED = 0.1  # of the largest singular value
_FEWEST = 0.01  # share of damped components below which the comparison says nothing
_SHORTEST = 8  # lines that an axis must have


def frame_excess(parts: Decomposition, y: np.ndarray) -> float:
    """The quotient for one image's data y [c_out, *grid], the largest over its axes; 0 where it says nothing."""
    grid = parts.operator.geometry.grid
    damped = (parts.s < _DAMPED).astype(parts.s.dtype)
    if float((damped * fft.multiplicity(grid)[:, None]).mean()) < _FEWEST:
        return 0.0
    projector = np.moveaxis((parts.u * damped[..., None, :]) @ adjoint(parts.u), (-2, -1), (1, 2))
    energy = np.square(filtered_data(projector, y, parts.operator), dtype=np.float64).sum(axis=0)
    return max((_excess(energy, axis) for axis, n in enumerate(grid) if n >= _SHORTEST), default=0.0)


def ringing(x: np.ndarray, y: np.ndarray) -> float:
    """How much rougher x [c_in, *grid] is along its frame than inside, compared with the data y [c_out, *grid].

    The largest over the axes; a scene that is rough along its frame is so in the data as well.
    """
    axes = [axis for axis in range(1, x.ndim) if x.shape[axis] >= _SHORTEST]
    return max((_roughness(x, axis) / max(_roughness(y, axis), 1.0) for axis in axes), default=0.0)


def _roughness(x: np.ndarray, axis: int) -> float:
    bends = np.diff(np.moveaxis(x, axis, 0), 2, axis=0)
    bends = bends / (np.abs(bends).max() or 1)  # so that no square of it overflows
    lines = np.square(bends, dtype=np.float64).reshape(len(bends), -1).mean(axis=1)
    width = max(len(lines) // 50, 2)
    inside = float(np.median(lines))
    return float(np.sqrt(max(lines[:width].mean(), lines[-width:].mean()) / inside)) if inside else 0.0


def _excess(energy: np.ndarray, axis: int) -> float:
    lines = np.moveaxis(energy, axis, 0).reshape(energy.shape[axis], -1).mean(axis=1)
    inside = float(np.median(lines))
    return float(np.sqrt(lines[[0, 1, -2, -1]].mean() / inside)) if inside else 0.0


def note(excess: float, consequence: str) -> str:
    """The user's sentence for data taken for a crop."""
    return (
        "the image does not continue periodically across its frame, as a crop of a larger scene does not (what a"
        f" periodic blur removes is {excess:.2g} times stronger there than inside): {consequence};"
        " try --boundary unknown"
    )
