"""How data come about: a scene, a kernel, a frame and a camera.

periodic    y[j] = sum_m kernel[m] scene[(j - (m - o)) mod n]
valid       the same without the modulus, for the pixels j whose whole neighbourhood lies in the scene;  o = n // 2
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.signal import fftconvolve

from .case import Surroundings

MARGIN = 40  # pixels of surroundings on each side, in the comparison with known surroundings


def periodic_blur(scene: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """y[j] = sum_m kernel[m] scene[j - (m - o)], the scene repeated."""
    padded = np.zeros(scene.shape)
    padded[tuple(slice(n) for n in kernel.shape)] = kernel
    spectrum = np.fft.rfftn(np.roll(padded, [-(n // 2) for n in kernel.shape], range(kernel.ndim)))
    return np.fft.irfftn(np.fft.rfftn(scene) * spectrum, s=scene.shape, axes=range(scene.ndim))


def valid_blur(scene: np.ndarray, kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(blurred, truth): where the kernel sees the scene alone, and the scene there; trailing axes are channels.

    Output t reads the pixels t .. t + n - 1 and lies on the pixel t + n - 1 - n // 2.
    """
    blurred = fftconvolve(scene, kernel.reshape(kernel.shape + (1,) * (scene.ndim - kernel.ndim)), mode="valid")
    first = [n - 1 - n // 2 for n in kernel.shape]
    return blurred, scene[tuple(slice(f, f + n) for f, n in zip(first, blurred.shape, strict=False))]


def exposed(
    scene: np.ndarray, kernel: np.ndarray, frame: tuple[int, ...], noisy: Callable[[np.ndarray], np.ndarray]
) -> dict[str, Any]:
    """Truth, data and surroundings of a frame in the middle of a scene; as much of the margin as the scene allows."""
    blurred, truth = valid_blur(scene, kernel)
    inside = tuple(slice((n - f) // 2, (n - f) // 2 + f) for n, f in zip(blurred.shape, frame, strict=False))
    wide = tuple(slice(max(s.start - MARGIN, 0), s.stop + MARGIN) for s in inside)
    inside = tuple(slice(s.start - w.start, s.stop - w.start) for s, w in zip(inside, wide, strict=True))
    data, truth = noisy(blurred[wide]), truth[wide]
    return {"data": data[inside], "truth": truth[inside], "surroundings": Surroundings(data, truth, inside)}


def eight_bits(sigma: float, seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """A camera of 8 bits: Gaussian noise, rounding, clipping."""
    rng = np.random.default_rng(seed)
    return lambda y: np.clip(np.round(y + sigma * rng.standard_normal(y.shape)), 0, 255).astype(np.uint8)


def photons(seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """A camera that counts."""
    rng = np.random.default_rng(seed)
    return lambda y: rng.poisson(np.maximum(y, 0)).astype(np.uint16)
