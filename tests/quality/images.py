"""The pictures of the bench: real ones that scikit-image carries in its wheel, and drawn ones (stars, beads).

Nothing is downloaded, and every picture is in the public domain or under CC0, as scikit-image's documentation of
`skimage.data` has it:

    camera          CC0, Lav Varshney                     brick, gravel   CC0, CC0Textures
    astronaut       public domain, NASA                   chelsea         CC0, Stéfan van der Walt
    coffee          CC0, Rachel Michetti                  rocket          public domain, SpaceX

(coins, moon and page are left out: their licences are not stated so clearly.) Values are 0..255 in float64, and grey is
the luma 0.2125 R + 0.7154 G + 0.0721 B.
"""

from __future__ import annotations

import functools

import numpy as np

LUMA = (0.2125, 0.7154, 0.0721)


@functools.cache
def picture(name: str) -> np.ndarray:
    """A picture of scikit-image, YX or YXC, 0..255 in float64; not to be written to."""
    from skimage import data

    values = np.asarray(getattr(data, name)(), dtype=np.float64)
    values.setflags(write=False)
    return values


def grey(name: str) -> np.ndarray:
    """A picture's luma, YX."""
    values = picture(name)
    return values @ np.array(LUMA) if values.ndim == 3 else values


def halved(image: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels: half the size, and sharper to the pixel."""
    height, width = (n // 2 for n in image.shape)
    return image[: 2 * height, : 2 * width].reshape(height, 2, width, 2).mean(axis=(1, 3))


def square(name: str) -> np.ndarray:
    """A grey picture of 256 x 256 pixels: 512 x 512 ones are halved, of smaller ones a part is taken."""
    if name == "coffee":
        return grey(name)[110:366, 250:506]
    if name == "chelsea":
        return grey(name)[20:276, 100:356]
    return halved(grey(name))


def stars(shape: tuple[int, int], rng: np.random.Generator, count: int = 120, galaxies: int = 8) -> np.ndarray:
    """Point sources (one pixel each, fluxes by a power law from 400 to 60000) and a few exponential discs."""
    frame = np.zeros(shape)
    fluxes = np.minimum(400 * rng.pareto(0.9, count) + 400, 60000)
    places = [rng.integers(0, n, count) for n in shape]
    np.add.at(frame, tuple(places), fluxes)
    y, x = np.mgrid[: shape[0], : shape[1]]
    for _ in range(galaxies):
        centre, angle = rng.uniform(0, shape), rng.uniform(0, np.pi)
        u = np.cos(angle) * (x - centre[1]) + np.sin(angle) * (y - centre[0])
        v = (-np.sin(angle) * (x - centre[1]) + np.cos(angle) * (y - centre[0])) / rng.uniform(0.3, 1)
        frame += rng.uniform(60, 400) * np.exp(-np.hypot(u, v) / rng.uniform(2, 5))
    return frame


def beads(shape: tuple[int, ...], rng: np.random.Generator, balls: int, threads: int, peak: float) -> np.ndarray:
    """Fluorescent beads (radius 1.2 to 2.5 pixels, soft edges) and wandering threads, in 2-D or 3-D."""
    volume = np.zeros(shape)
    for _ in range(balls):
        centre, radius, light = rng.uniform(0, shape), rng.uniform(1.2, 2.5), rng.uniform(0.4, 1)
        near = tuple(slice(max(int(c) - 4, 0), int(c) + 5) for c in centre)
        places = np.ogrid[tuple(slice(s.start, min(s.stop, n)) for s, n in zip(near, shape, strict=True))]
        distance = np.sqrt(sum((place - c) ** 2 for place, c in zip(places, centre, strict=True)))
        volume[near] += light * np.clip(radius - distance + 0.5, 0, 1)
    for _ in range(threads):
        volume += rng.uniform(0.3, 0.7) * _thread(shape, rng)
    return peak * volume


def _thread(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """A curve that keeps its direction for a while, one pixel thick, smoothed to sub-pixel places by linear weights."""
    steps = 12 * max(shape)
    turns = np.cumsum(rng.normal(0, 0.05, (steps, len(shape))), axis=0) + rng.normal(0, 1, len(shape))
    turns /= np.linalg.norm(turns, axis=1, keepdims=True)
    path = rng.uniform(0, shape) + 0.25 * np.cumsum(turns, axis=0)
    drawn = np.zeros(shape)
    deposit(drawn, path)
    return np.minimum(drawn / 3, 1)


def deposit(grid: np.ndarray, path: np.ndarray) -> None:
    """Add 1 for every point [n, d] of a path to the pixels around it, with linear weights; points outside are lost."""
    low = np.floor(path).astype(int)
    for corner in np.ndindex(*(2,) * grid.ndim):
        place = low + np.array(corner)
        weight = np.prod(1 - np.abs(path - place), axis=1)
        inside = np.all((place >= 0) & (place < grid.shape), axis=1)
        np.add.at(grid, tuple(place[inside].T), weight[inside])
