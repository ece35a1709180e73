"""A problem of the bench, with its truth, and how an answer is scored."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from scipy.signal import fftconvolve


@dataclass(frozen=True, eq=False)
class Surroundings:
    """The same exposure with a larger frame: `data` of the case is `data[inside]`, noise and all, and so is `truth`.

    What a method gets out of these data, cropped by `inside`, is what it could do had it known the surroundings.
    """

    data: np.ndarray = field(repr=False)
    truth: np.ndarray = field(repr=False)
    inside: tuple[slice, ...]


@dataclass(frozen=True, eq=False)
class Case:
    """One problem of the bench.

    Attributes
    ----------
    name: unique within the group, such as "3 box 9x9, BSNR 40 dB, camera"
    kind: what the group's second table is broken down by: the scenario, the kernel, the noise level, the sort of object
    group: the name of the function that made it, with hyphens
    truth: the scene within the frame, float64, in the units and the shape of the data, aligned with them: data without
        blur and noise would be the truth. Where there is a background the truth contains it (a uniform sky blurs to
        itself)
    data: what a user has: float64, uint8 or uint16, axes as in `axes`
    kernel: taps of sum 1, float64, YX or ZYX; the origin is n // 2, for even sizes too
    boundary: what made the data: "periodic" or "unknown" (light came in from outside the frame)
    peak: of PSNR and SSIM, in units of the data (255 for 8-bit scales, the truth's maximum for photons)
    noise: standard deviation of the noise before rounding (of photons: root mean square over the frame)
    crop: pixels at each side of Y and X that are not scored
    axes: of data and truth
    background: level that the truth and the data contain everywhere, 0 where there is none
    resolution: sigma in pixels of the Gaussian through which estimate and truth are compared (point sources have no
        pixel-exact truth that noisy data could decide); 0 compares them as they are
    eight_bits: estimates are rounded and clipped to 0..255 before they are scored, as writing them to a file would
    surroundings: the larger exposure, None where there is none
    """

    name: str
    kind: str
    group: str
    truth: np.ndarray = field(repr=False)
    data: np.ndarray = field(repr=False)
    kernel: np.ndarray = field(repr=False)
    boundary: str
    peak: float
    noise: float
    crop: int = 0
    axes: str = "YX"
    background: float = 0.0
    resolution: float = 0.0
    eight_bits: bool = False
    surroundings: Surroundings | None = field(default=None, repr=False)

    def scored(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(estimate, truth) as they are compared: rounded, cropped, without background, at the case's resolution."""
        x, truth = np.asarray(x, np.float64), self.truth
        if self.eight_bits:
            x = np.clip(np.round(x), 0, 255)
        if self.background:  # a method may keep the background or remove it
            x = x - np.median(x - truth)
        if self.resolution:
            x, truth = _smoothed(x, self.resolution), _smoothed(truth, self.resolution)
        inside = tuple(
            slice(self.crop, n - self.crop) if a in "YX" else slice(None)
            for a, n in zip(self.axes, x.shape, strict=True)
        )
        return x[inside], truth[inside]

    def psnr(self, x: np.ndarray, where: np.ndarray | None = None) -> float:
        """10 log10(peak^2 / mean square error) of an estimate, in dB; over the pixels `where`, for cases uncropped."""
        estimate, truth = self.scored(x)
        error = float(np.mean((estimate - truth) ** 2, where=True if where is None else where))
        return 10 * math.log10(self.peak**2 / error) if error else math.inf

    def mostly_seen(self) -> np.ndarray:
        """Where at least half of a pixel's light reached the frame: sum of the kernel over m with j + m - o in it."""
        spatial = self.truth.shape[: self.kernel.ndim]
        share = fftconvolve(np.ones(spatial), self.kernel[(slice(None, None, -1),) * self.kernel.ndim])
        first = [n - 1 - n // 2 for n in self.kernel.shape]
        share = share[tuple(slice(f, f + n) for f, n in zip(first, spatial, strict=True))]
        return np.broadcast_to(
            (share >= 0.5).reshape(*spatial, *(1,) * (self.truth.ndim - len(spatial))), self.truth.shape
        )

    def gain(self, x: np.ndarray) -> float:
        """How many dB an estimate is better than the data themselves."""
        return self.psnr(x) - self.psnr(self.data)


def _smoothed(x: np.ndarray, sigma: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(x, sigma, mode="nearest")
