"""Deconvolution as a step: how rounding grows in it, and what it chooses from the data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from convtool import deconvolution, model
from convtool.equivariance import rounding
from convtool.equivariance.steps import Applied, Move, Step, Windows, blank, built_model, is_symmetric_model
from convtool.errors import DataError, SettingError
from convtool.merging.layers import Layer
from convtool.observation import observe
from convtool.solution import Solution

DEFAULT_METHOD = "tikhonov"  # linear but for its weight, so that rounding can be followed through it


@final
@dataclass(frozen=True, eq=False)
class Deconvolve(Step):
    """A deconvolution: `method` is a name or a method's Options."""

    layer: Layer
    method: Any = DEFAULT_METHOD
    operation: str = "convolve"
    boundary: str = "periodic"

    def apply(self, x: np.ndarray, axes: str) -> Applied:
        if not np.any(self.layer.kernel):
            raise DataError("the kernel is all zeros: nothing of the image is left in the data")
        built = self._model(x, axes)
        data = x if self.layer.bias is None else _unbiased(built, x, self.layer.bias)
        solution = deconvolution.solve(built, observe(built, data, self.boundary), self.method)
        gain, error = _inversion(built, data, solution)
        choice = _chosen(solution.metrics, max(built.arrangement.grid))
        # x^ = s y^ / (s^2 + w), so dx^ / d ln w = -x^ w / (s^2 + w), which is no larger than x^.
        sensitivity = rounding.PEAK * rounding.root_mean_square(solution.x) if choice else 0.0
        return Applied(solution.x, built.input_axes, gain, error, choice, sensitivity)

    def windows(self, shape: Sequence[int], axes: str) -> None:
        return None

    def placed(self, shape: Sequence[int], axes: str) -> Windows:
        built = self._model(blank(shape), axes)
        return Windows.boxes(built.arrangement.spatial, built.operator.geometry)

    def is_symmetric(self, move: Move, shape: Sequence[int], axes: str) -> bool:
        return is_symmetric_model(self._model(blank(shape), axes), move)

    def _model(self, y: np.ndarray, axes: str) -> model.Model:
        return built_model(self.layer, self.operation, self.boundary, y, axes, is_data=True)


def _unbiased(built: model.Model, y: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Data without the bias [c_out] that a layer adds."""
    shape = [-1 if letter == "C" else 1 for letter in built.arrangement.axes]
    return y.astype(built.operator.dtype) - np.asarray(bias).astype(built.operator.dtype).reshape(shape)


def _inversion(built: model.Model, y: np.ndarray, solution: Solution) -> tuple[float, float]:
    """By how much a deconvolution amplifies errors, and its own rounding (infinite where it has no bound)."""
    found, x, dtype = solution.metrics, solution.x, built.operator.dtype
    if "operator_norm" not in found:
        raise SettingError(
            f"method {found['method']} is not linear, so that nothing bounds how rounding grows in it: verify tikhonov,"
            " wiener, pinv or least-squares"
        )
    noise = found.get("noise_gain") or found.get("condition", 1.0) / found["operator_norm"]
    if "error_bound" in found:  # of a method that computes in double precision and ends when it is near enough
        bound = found["error_bound"]
        near = math.inf if bound is None else bound * float(np.linalg.norm(x.ravel().astype(np.float64)))
        return rounding.PEAK * noise, near + rounding.of_sum(1, rounding.largest(x), dtype)
    known, data = rounding.root_mean_square(x), rounding.root_mean_square(y)
    size = max(noise * data, noise * found["operator_norm"] * known, known)
    samples = math.prod(built.arrangement.grid)
    return rounding.PEAK * noise, rounding.of_inverse(samples, size, dtype)


def _chosen(found: dict[str, Any], length: int) -> tuple[float, ...]:
    """The logarithm of the weight that a method chose from the data, or its constant and slope over all frequencies."""
    chosen: list[np.ndarray] = []
    for name in ("weight", "noise_to_signal"):
        if found.get(f"{name}_source", "given") != "given":
            chosen.append(np.log(np.maximum(found[name], np.finfo(np.float64).tiny)))
    if chosen and "signal_exponent" in found:
        chosen.append(np.asarray(found["signal_exponent"]) * math.log(length))
    return tuple(float(value) for each in chosen for value in np.atleast_1d(each))
