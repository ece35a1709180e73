"""The kernels of the bench, float64, each with sum 1; written here, so that a change in convtool cannot move them."""

from __future__ import annotations

import numpy as np
from scipy.signal import convolve2d

from .images import deposit


def offsets(size: tuple[int, ...]) -> list[np.ndarray]:
    """Coordinates of every tap relative to the origin n // 2, one array an axis."""
    return list(np.meshgrid(*(np.arange(n) - n // 2 for n in size), indexing="ij"))


def normalised(taps: np.ndarray) -> np.ndarray:
    """Taps of sum 1."""
    return taps / taps.sum()


def box(height: int, width: int) -> np.ndarray:
    """Equal taps."""
    return np.full((height, width), 1 / (height * width))


def gaussian(sigma: float | tuple[float, ...], size: tuple[int, ...]) -> np.ndarray:
    """exp(-sum (i / sigma)^2 / 2), sampled at the pixels' centres."""
    sigmas = np.broadcast_to(sigma, len(size))
    return normalised(np.exp(-0.5 * sum((i / s) ** 2 for i, s in zip(offsets(size), sigmas, strict=True))))


def disk(radius: float, size: int) -> np.ndarray:
    """Each tap is the share of its pixel that the disk covers (16 x 16 samples a pixel)."""
    fine = (np.arange(16 * size) + 0.5) / 16 - 0.5 - size // 2
    inside = np.hypot(fine[:, None], fine[None, :]) <= radius
    return normalised(inside.reshape(size, 16, size, 16).mean(axis=(1, 3)))


def inverse_square() -> np.ndarray:
    """1 / (1 + i^2 + j^2) for |i|, |j| <= 7."""
    i, j = offsets((15, 15))
    return normalised(1 / (1 + i**2 + j**2))


def binomial() -> np.ndarray:
    """[1 4 6 4 1]^T [1 4 6 4 1] / 256."""
    row = np.array([1.0, 4, 6, 4, 1])
    return np.outer(row, row) / 256


def moffat(fwhm: float, beta: float, size: tuple[int, int], ellipticity: float, angle: float) -> np.ndarray:
    """(1 + r^2 / a^2)^-beta with elliptical r: what the atmosphere makes of a star."""
    i, j = offsets(size)
    u, v = np.cos(angle) * j + np.sin(angle) * i, (np.cos(angle) * i - np.sin(angle) * j) / (1 - ellipticity)
    scale = fwhm / 2 / np.sqrt(2 ** (1 / beta) - 1)
    return normalised((1 + (u**2 + v**2) / scale**2) ** -beta)


def microscope(size: tuple[int, int, int], waist: float, depth: float) -> np.ndarray:
    """A focus in ZYX: Gaussian in each plane, waist sqrt(1 + (z / depth)^2) wide, lopsided as aberrations are."""
    z, y, x = (axis.astype(float) for axis in offsets(size))
    width = waist * np.sqrt(1 + ((z + 0.3 * np.sign(z)) / depth) ** 2)
    plane = np.exp(-0.5 * (y**2 + (x - 0.1 * z) ** 2) / width**2) / width**2
    return normalised(plane * np.exp(-0.5 * (z / (2.2 * depth)) ** 2))


def straight(length: float, degrees: float, size: tuple[int, int]) -> np.ndarray:
    """The path of a camera that moves along a line, counter-clockwise from +X as seen on the screen."""
    along = np.linspace(-0.5, 0.5, 4001) * length
    angle = np.deg2rad(degrees)
    return drawn(np.stack([-np.sin(angle) * along, np.cos(angle) * along], axis=1), size)


def arc(size: tuple[int, int]) -> np.ndarray:
    """A third of a turn at growing speed: curved, asymmetric, brighter where it starts."""
    turn = np.linspace(0, 1, 4001) ** 1.6 * 2.2 + 0.4
    path = np.stack([np.sin(turn) * 0.9, np.cos(turn)], axis=1)
    return drawn(fitted(path, size), size)


def shake(size: int, seed: int) -> np.ndarray:
    """The path of a shaking hand: velocity with inertia, pulled back to the centre, jerked now and then."""
    rng = np.random.default_rng(seed)
    position, velocity, path = np.zeros(2), rng.normal(0, 1, 2), []
    for _ in range(2000):
        jerk = rng.normal(0, 2.5, 2) if rng.random() < 0.004 else 0
        velocity = 0.995 * velocity + rng.normal(0, 0.09, 2) - 0.0004 * position + jerk
        position = position + 0.05 * velocity
        path.append(position)
    thin = drawn(fitted(np.array(path), (size - 2, size - 2)), (size, size))
    return normalised(convolve2d(thin, gaussian(0.6, (3, 3)), mode="same"))


def fitted(path: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A path scaled and moved so that it just fills taps of that size, its box in the middle."""
    low, high = path.min(axis=0), path.max(axis=0)
    scale = min((np.array(size) - 2.2) / (high - low))
    middle = (np.array(size) - 1) / 2 - np.array(size) // 2
    return (path - (low + high) / 2) * scale + middle


def drawn(path: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The taps of a path [n, 2] given relative to the origin n // 2."""
    taps = np.zeros(size)
    deposit(taps, path + np.array(size) // 2)
    return normalised(taps)
