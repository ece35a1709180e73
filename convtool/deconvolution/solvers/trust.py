"""How far an estimate explains the data, and how far what rounding left in them can be trusted away.

relative_residual = ||M (A x - y)|| / ||M y||,      max_residual = max |M (A x - y)|
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from convtool import process
from convtool.errors import percent

if TYPE_CHECKING:
    from convtool.observation import Observation
    from convtool.operators import Convolution
    from convtool.solution import Estimate

_BLOCK = 1 << 16  # samples that are compared at a time, in the cache
_NOTEWORTHY_ROUNDING = 0.05  # relative error that rounding explains, from which on it is said


def residuals(
    operator: Convolution, x: np.ndarray, y: np.ndarray, weights: np.ndarray | None = None
) -> dict[str, float]:
    """relative_residual and max_residual of x [n, c_in, *grid] for data y [n, c_out, *outputs]; of those that count."""
    squares = total = largest = 0.0
    for n, (image, data) in enumerate(zip(x, y, strict=True)):
        planes = [operator.forward(image), data] + ([] if weights is None else [weights[n]])
        for part in process.each(_compared, _blocks(*planes)):
            squares, total, largest = squares + part[0], total + part[1], max(largest, part[2])
    return {"relative_residual": (squares / total) ** 0.5 if total else 0.0, "max_residual": largest}


def _compared(block: tuple[np.ndarray, ...]) -> tuple[float, float, float]:
    """||M (A x - y)||^2, ||M y||^2 and max |M (A x - y)| of blocks of A x, y and M, if that is not 1 all over."""
    found, data, *weights = (part.astype(np.float64) for part in block)
    difference = np.subtract(found, data, out=found)
    for seen in weights:
        difference *= seen
        data *= seen
    return float(np.vdot(difference, difference)), float(np.vdot(data, data)), float(np.abs(difference).max(initial=0))


def _norm(a: np.ndarray) -> float:
    """||a||, summed in float64."""
    return sum(process.each(lambda block: float(np.square(block[0], dtype=np.float64).sum()), _blocks(a))) ** 0.5


def _blocks(*arrays: np.ndarray) -> list[tuple[np.ndarray, ...]]:
    """Blocks of rows of arrays of one shape."""
    flat = [array.reshape(-1, array.shape[-1]) for array in arrays]
    count = max(_BLOCK // flat[0].shape[1], 1)
    return [tuple(array[first : first + count] for array in flat) for first in range(0, len(flat[0]), count)]


def rounding_told(estimate: Estimate, observation: Observation, name: str) -> tuple[dict[str, float], tuple[str, ...]]:
    """The relative error of x that rounding of the data explains, for the metrics, and what to say of it.

    Rounding is white noise of its level (of floats in proportion to them), which x has amplified by `noise_gain`; where
    that is unknown, by about the condition number at most. The size of x is taken as ||y|| over the operator's norm,
    which it has at least (and about, for a blur).
    """
    y, rounding = observation.y, observation.rounding
    found, share, what = estimate.metrics, float(np.finfo(y.dtype).eps) / 12**0.5, str(y.dtype)
    if rounding is not None:
        share, what = rounding.typical * float(np.sqrt(y.size)) / (_norm(y) or np.inf), f"{rounding.bits} bits"
    if share and "noise_gain" in found:
        error = found["noise_gain"] * found["operator_norm"] * share
        advice = "; try --method tikhonov" if name == "pinv" else ""
        said = f"rounding to {what} alone explains an error of {percent(error, 3)}{advice}"
        return {"rounding_error": error}, (said,) if error > _NOTEWORTHY_ROUNDING else ()
    if share and (found.get("condition") or 0.0) * share > _NOTEWORTHY_ROUNDING:
        return {}, (
            f"rounding to {what} is {percent(share)} of the data, and the inverse may amplify it"
            f" {found['condition']:.2g} times",
        )
    return {}, ()
