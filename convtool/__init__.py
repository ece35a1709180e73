"""Convolve, correlate and undo convolutions of images, and say with numbers how far each result can be trusted.

    y = convtool.convolve(x, kernel)
    solution = convtool.deconvolve(y, kernel)

Names are loaded on first use, so that `import convtool` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convtool.deconvolution import deconvolve
    from convtool.deconvolution.solvers.inverses import batched_pinv
    from convtool.equivariance import verify_equivariance
    from convtool.gradients import edges, gradient
    from convtool.inversion import Inverse, inverse
    from convtool.linear import convolve, correlate
    from convtool.merging import Layer, merge_kernels
    from convtool.merging.splitting import split_kernel
    from convtool.pooling import max_pool, max_pool_indices, mean_pool, min_pool
    from convtool.solution import Solution
    from convtool.windows import local, local_gradients, receptive_fields

__version__ = "0.1.0"

_HOMES = {
    "convolve": "convtool.linear",
    "correlate": "convtool.linear",
    "deconvolve": "convtool.deconvolution",
    "Solution": "convtool.solution",
    "Inverse": "convtool.inversion",
    "inverse": "convtool.inversion",
    "batched_pinv": "convtool.deconvolution.solvers.inverses",
    "Layer": "convtool.merging",
    "merge_kernels": "convtool.merging",
    "split_kernel": "convtool.merging.splitting",
    "max_pool": "convtool.pooling",
    "max_pool_indices": "convtool.pooling",
    "min_pool": "convtool.pooling",
    "mean_pool": "convtool.pooling",
    "edges": "convtool.gradients",
    "gradient": "convtool.gradients",
    "local": "convtool.windows",
    "local_gradients": "convtool.windows",
    "receptive_fields": "convtool.windows",
    "verify_equivariance": "convtool.equivariance",
}
_MODULES: tuple[str, ...] = ("deconvolution", "equivariance", "errors", "estimation", "fft", "kernels", "matrices")
_MODULES += ("merging", "metrics", "noise", "operators")

__all__ = [
    "Inverse",
    "Layer",
    "Solution",
    "__version__",
    "batched_pinv",
    "convolve",
    "correlate",
    "deconvolve",
    "edges",
    "gradient",
    "inverse",
    "local",
    "local_gradients",
    "max_pool",
    "max_pool_indices",
    "mean_pool",
    "merge_kernels",
    "min_pool",
    "receptive_fields",
    "split_kernel",
    "verify_equivariance",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        _remember()
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"convtool.{name}")
    raise AttributeError(f"module 'convtool' has no attribute '{name}'")


def _remember() -> None:
    """Let engines and transforms know what `convtool plan` has learned of this machine."""
    from convtool import process, wisdom

    process.policy.load_wisdom = process.policy.load_wisdom or wisdom.read


def __dir__() -> list[str]:
    return sorted({*__all__, *_MODULES})
