"""The cases of the bench: data, the kernel that made them, and the truth they came from.

What made the data is `data[j] = noise( sum_m kernel[m] scene[j - (m - o)] )` with the origin o = n // 2 of convtool, so
that the result of `deconvolve(data, kernel)` is compared with `truth` pixel by pixel, nothing shifted. With boundary
"periodic" the scene is the frame, repeated. With "unknown" it is larger: the frame sees light from outside.

    classical()     24 cases   periodic blur, Gaussian noise, float64 as in the papers, nothing rounded or clipped
    realistic()     25 cases   frames of real scenes, noise of 1 % or less, rounded and clipped to uint8
    levin_like()    48 cases   the valid blur of hand shake, float64, noise 2.55, 7.65, 12.75, scored 30 pixels inside
    poisson()        4 cases   photon counts (uint16) of stars and of a fluorescent plane, with a background
    beads()          2 cases   photon counts (uint16) of a small 3-D stack
    colour()         3 cases   as realistic, RGB

Each group is ordered so that its first cases are as diverse as it is; the same cases come out every time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from . import blurs, images
from .case import Case
from .exposures import MARGIN, eight_bits, exposed, periodic_blur, photons, valid_blur


def diagonally(first: int, second: int) -> Iterator[tuple[int, int]]:
    """Every pair of numbers below `first` and `second`, so that early pairs differ in both."""
    for turn, i in product(range(second), range(first)):
        yield i, (i + turn) % second


def classical() -> list[Case]:
    """Six kernels and noise levels on four pictures, periodic: 1 and 2 differ in noise alone, 3 is given as a BSNR."""
    kernels = [
        ("1/(1+i2+j2), var 2", blurs.inverse_square(), 2.0),
        ("1/(1+i2+j2), var 8", blurs.inverse_square(), 8.0),
        ("box 9x9, BSNR 40", blurs.box(9, 9), None),
        ("binomial 5x5, var 49", blurs.binomial(), 49.0),
        ("Gaussian 1.6, var 4", blurs.gaussian(1.6, (25, 25)), 4.0),
        ("Gaussian 0.4, var 64", blurs.gaussian(0.4, (25, 25)), 64.0),
    ]
    names = ("camera", "astronaut", "brick", "coffee")
    cases = []
    for s, p in diagonally(6, 4):
        (label, kernel, variance), scene = kernels[s], images.square(names[p])
        blurred = periodic_blur(scene, kernel)
        sigma = float(np.sqrt(blurred.var() / 1e4 if variance is None else variance))
        data = blurred + sigma * np.random.default_rng(100 * s + p).standard_normal(scene.shape)
        cases.append(
            Case(f"{s + 1} {label}, {names[p]}", str(s + 1), "classical", scene, data, kernel, "periodic", 255.0, sigma)
        )
    return cases


EIGHT_BITS: dict[str, Any] = {"boundary": "unknown", "peak": 255.0, "eight_bits": True}

REALISTIC_KERNELS: dict[str, Callable[[], np.ndarray]] = {
    "motion 15 at 30": lambda: blurs.straight(15, 30, (9, 15)),
    "arc": lambda: blurs.arc((14, 17)),
    "disk 4.3": lambda: blurs.disk(4.3, 11),
    "Gaussian 2": lambda: blurs.gaussian(2.0, (17, 17)),
    "box 8x7": lambda: blurs.box(8, 7),
}

# Where each scene lies in its picture (all of it, the surroundings too), and its frame.
REALISTIC_SCENES: dict[str, tuple[tuple[slice, slice], tuple[int, int]]] = {
    "camera": (np.s_[50:450, 90:490], (256, 256)),
    "astronaut": (np.s_[0:400, 60:460], (256, 256)),
    "coffee": (np.s_[0:400, 130:530], (240, 272)),
    "chelsea": (np.s_[0:300, 40:440], (200, 256)),
    "brick": (np.s_[100:500, 100:500], (256, 256)),
}
REALISTIC_NOISE = (0.5, 1.0, 1.5, 2.0, 2.55)


def realistic() -> list[Case]:
    """Five kernels on five scenes, the noise level so that each kernel and each scene meets every one."""
    cases = []
    for p, k in diagonally(5, 5):
        name, (where, frame) = list(REALISTIC_SCENES.items())[p]
        label, make = list(REALISTIC_KERNELS.items())[k]
        sigma = REALISTIC_NOISE[(p + 2 * k) % 5]
        parts = exposed(images.grey(name)[where], make(), frame, eight_bits(sigma, 1000 + 10 * p + k))
        title = f"{label}, noise {sigma:g}, {name}"
        cases.append(Case(title, label, "realistic", kernel=make(), **parts, **EIGHT_BITS, noise=sigma))
    return cases


def levin_like() -> list[Case]:
    """Four hand-shake kernels of 13 to 27 pixels on four pictures and three noise levels; nothing is rounded."""
    sizes, names, levels = (13, 17, 23, 27), ("camera", "astronaut", "brick", "chelsea"), (2.55, 7.65, 12.75)
    cases = []
    for turn, (number, (p, k)) in product(range(3), enumerate(diagonally(4, 4))):
        sigma = levels[(number + turn) % 3]
        kernel = blurs.shake(sizes[k], seed=k)
        blurred, truth = valid_blur(images.square(names[p]), kernel)
        rng = np.random.default_rng([2000, p, k, round(100 * sigma)])
        data = blurred + sigma * rng.standard_normal(blurred.shape)
        title = f"shake {sizes[k]}, noise {sigma:g}, {names[p]}"
        cases.append(
            Case(title, f"noise {sigma:g}", "levin-like", truth, data, kernel, **EIGHT_BITS, noise=sigma, crop=30)
        )
    return cases


def poisson() -> list[Case]:
    """Stars under an odd Moffat and an even Gaussian PSF, and a fluorescent plane, bright and dim."""
    cases = []
    wide = (220 + 2 * MARGIN + 32, 256 + 2 * MARGIN + 32)
    for seed, (label, psf, sky) in enumerate(
        [
            ("stars, Moffat 4.2, sky 30", blurs.moffat(4.2, 3.0, (31, 31), 0.2, 0.5), 30.0),
            ("stars, even Gaussian 1.8, sky 5", blurs.gaussian((1.8, 1.5), (16, 14)), 5.0),
        ]
    ):
        scene = images.stars(wide, np.random.default_rng(3000 + seed)) + sky
        parts = exposed(scene, psf, (220, 256), photons(3100 + seed))
        cases.append(_counted(label, "poisson", parts, psf, "YX", sky, 1.0))
    for seed, (label, psf, light) in enumerate(
        [
            ("cells, Gaussian 2.2, 200 photons", blurs.gaussian(2.2, (17, 17)), 200.0),
            ("cells, Gaussian 1.6, 25 photons", blurs.gaussian(1.6, (13, 13)), 25.0),
        ]
    ):
        scene = images.beads(wide, np.random.default_rng(3200 + seed), 90, 30, light) + 0.05 * light
        parts = exposed(scene, psf, (220, 256), photons(3300 + seed))
        cases.append(_counted(label, "poisson", parts, psf, "YX", 0.05 * light, 0.0))
    return [cases[i] for i in (0, 2, 1, 3)]


def beads() -> list[Case]:
    """A stack of 24 x 64 x 64 voxels of beads and threads under an asymmetric, anisotropic PSF, bright and dim."""
    psf = blurs.microscope((11, 9, 9), 1.2, 2.0)
    cases = []
    for seed, light in enumerate((400.0, 60.0)):
        scene = images.beads((24 + 30, 64 + 48, 64 + 48), np.random.default_rng(4000 + seed), 220, 60, light)
        parts = exposed(scene + 0.04 * light, psf, (24, 64, 64), photons(4100 + seed))
        cases.append(_counted(f"{light:g} photons, beads and threads", "beads", parts, psf, "ZYX", 0.04 * light, 0.0))
    return cases


def _counted(
    name: str, group: str, parts: dict[str, Any], psf: np.ndarray, axes: str, background: float, resolution: float
) -> Case:
    noise = float(np.sqrt(parts["data"].mean()))
    case = Case(
        name, name.partition(",")[0], group, **parts, kernel=psf, boundary="unknown", peak=1.0, noise=noise, axes=axes
    )
    case = replace(case, background=background, resolution=resolution)
    return replace(case, peak=float(case.scored(case.data)[1].max()))


def colour() -> list[Case]:
    """Three RGB photographs, as in `realistic`."""
    cases = []
    for p, (name, label, sigma) in enumerate(
        [("astronaut", "arc", 1.0), ("chelsea", "Gaussian 2", 2.0), ("coffee", "disk 4.3", 1.5)]
    ):
        where, frame = REALISTIC_SCENES[name]
        kernel = REALISTIC_KERNELS[label]()
        parts = exposed(images.picture(name)[where], kernel, frame, eight_bits(sigma, 5000 + p))
        title = f"{label}, noise {sigma:g}, {name}"
        cases.append(Case(title, name, "colour", kernel=kernel, **parts, **EIGHT_BITS, noise=sigma, axes="YXC"))
    return cases


GROUPS: dict[str, Callable[[], list[Case]]] = {
    "classical": classical,
    "realistic": realistic,
    "levin-like": levin_like,
    "poisson": poisson,
    "beads": beads,
    "colour": colour,
}
