"""Rows: Richardson-Lucy, plain and to the same I-divergence, in two and three dimensions.

    D(x) = sum (A x - y + y log(y / A x)),      A x with zeros around, by one function for everybody, in float64

Scenes are spots on an even glow that fades out before the border, so that what lies outside it makes no difference.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from . import machine
from .floors import transforms
from .row import Call, Contender, Quote, Row, Target
from .rows_inverse import Blurred
from .vips_and_magick import Output

_SKIMAGE, _DECONWOLF = "scikit-image RL", "deconwolf 0.4.7"
_VOLUME = (-3, -2, -1)
_TRANSFORMS = (
    "The bare transforms of the plain iterations take 0.4 of scikit-image's whole time here, and convtool 1.2 of"
    " theirs: 14.5 ms of an iteration at 1024² are convolutions, 3.2 all else. Tried: whole transforms by FFTW with"
    " measured plans (2-D 7 % faster, 3-D 25 % slower), tiles, lengths with a factor 11, FFTW lines inside the passes"
    " (8 % faster, slower at other lengths)."
)
_VOLUMES = (
    "The bare transforms of the iterations take 0.8 of deconwolf's whole time here, and convtool 1.2 to 1.4 of theirs."
    " Tried: whole FFTW transforms with measured plans, which are a quarter slower in 3-D."
)
_STEPS = (
    "The bare transforms of the iterations that are needed take 0.1 of scikit-image's time by themselves (11"
    " accelerated ones do what 30 plain ones do); a sixth of convtool's time is before and after the iterations."
)


@functools.cache
def spots(shape: tuple[int, ...], size: tuple[int, ...], sigma: tuple[float, ...]) -> Blurred:
    """Photon counts of blurred spots, and a Gaussian with a tail to one side, so that a flip would be seen."""
    rng = np.random.default_rng(4)
    axes = np.meshgrid(*(np.arange(n) - n // 2 for n in size), indexing="ij")
    kernel = np.exp(-0.5 * sum((a / s) ** 2 for a, s in zip(axes, sigma, strict=True)))
    kernel += 0.2 * np.exp(-0.5 * sum(((a - s) / (1.5 * s)) ** 2 for a, s in zip(axes, sigma, strict=True)))
    kernel /= kernel.sum()
    scene = np.full(shape, 50.0)
    scene[tuple(rng.integers(0, n, scene.size // 200) for n in shape)] += 2e4
    for axis, (n, k) in enumerate(zip(shape, size, strict=True)):
        edge = np.clip((np.minimum(np.arange(n), n - 1 - np.arange(n)) - min(k // 2, n // 4)) / (n / 8), 0, 1)
        scene *= (np.sin(np.pi / 2 * edge) ** 2).reshape([-1 if a == axis else 1 for a in range(len(shape))])
    counts = rng.poisson(np.maximum(blurred(scene, kernel), 0))
    return Blurred(counts.astype(np.float32), kernel.astype(np.float32))


def blurred(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """A x with zeros around."""
    shape = [n + k - 1 for n, k in zip(x.shape, kernel.shape, strict=True)]
    axes = tuple(range(x.ndim))
    full = np.fft.irfftn(np.fft.rfftn(x, shape, axes) * np.fft.rfftn(kernel, shape, axes), shape, axes)
    return full[tuple(slice(k // 2, k // 2 + n) for n, k in zip(x.shape, kernel.shape, strict=True))]


def divergence(data: Blurred, x: np.ndarray) -> float:
    """D of an estimate."""
    model = np.maximum(blurred(x.astype(np.float64), data.kernel.astype(np.float64)), 1e-9)
    y = data.y.astype(np.float64)
    return float((model - y + y * np.log(np.maximum(y, 1e-300) / model)).sum())


def richardson_lucy(data: Blurred, iterations: int, acceleration: str) -> Call:
    """convtool's, with zeros around as scikit-image has them."""

    def call() -> np.ndarray:
        import convtool

        options = convtool.deconvolution.rl.Options(iterations=iterations, acceleration=acceleration)
        axes = "ZYX"[-data.y.ndim :]
        return convtool.deconvolve(data.y, data.kernel, method=options, boundary="zero", axes=axes, kernel_axes=axes).x

    return call


@functools.cache
def needed(data: Blurred, iterations: int) -> int:
    """How many accelerated iterations of convtool reach the D of so many plain ones of scikit-image."""
    import convtool

    aim = divergence(data, skimage_or_plain(data, iterations)())
    options = convtool.deconvolution.rl.Options(iterations=iterations, snapshots=1)
    found = convtool.deconvolve(data.y, data.kernel, method=options, boundary="zero")
    steps = [*sorted(found.snapshots.items()), (iterations, found.x)]
    return next((n for n, x in steps if divergence(data, x) <= aim), iterations)


def accelerated(data: Blurred, iterations: int) -> Call:
    """As few accelerated iterations as are needed."""
    import convtool

    return richardson_lucy(data, needed(data, iterations), convtool.deconvolution.rl.Options().acceleration)


def accelerated_floor(floor: Contender, iterations: int) -> Contender:
    """Two pairs of transforms for each iteration that is needed."""

    def prepare(data: Blurred) -> Call:
        pair, count = floor.prepare(data), 2 * needed(data, iterations)

        def call() -> None:
            for _ in range(count):
                pair()

        return call

    return Contender(floor.name, prepare, floor.needs)


def skimage_or_plain(data: Blurred, iterations: int) -> Call:
    """Who sets the D to reach: scikit-image, or, without it, plain iterations of convtool."""
    if machine.absent(("skimage",)):
        return richardson_lucy(data, iterations, "none")
    return skimage_rl(data, iterations)


def skimage_rl(data: Blurred, iterations: int) -> Call:
    """skimage.restoration.richardson_lucy."""
    import scipy.fft
    from skimage.restoration import richardson_lucy as apply

    def call() -> np.ndarray:
        with scipy.fft.set_workers(machine.threads()):
            return apply(data.y, data.kernel, num_iter=iterations, clip=False)

    return call


def spelled(shape: Sequence[int], sign: str = "x") -> str:
    """64x256x256."""
    return sign.join(map(str, shape))


def plain(shape: tuple[int, ...], size: tuple[int, ...], sigma: tuple[float, ...], iterations: int) -> Row:
    """As many plain iterations; the same image comes out."""
    return Row(
        name=f"rl-{len(shape)}d",
        work=f"Richardson–Lucy {spelled(shape, '×')}, {spelled(size, '×')}, {iterations} plain iterations",
        data=partial(spots, shape, size, sigma),
        ours=partial(richardson_lucy, iterations=iterations, acceleration="none"),
        peers=(Contender(_SKIMAGE, partial(skimage_rl, iterations=iterations), ("skimage",)),),
        floors=transforms(shape, pairs=2 * iterations, axes=tuple(range(-len(shape), 0))),
        targets=(Target(0.3, "scikit-image", (_SKIMAGE,), limit=_TRANSFORMS),),
        tolerance=1e-2,
        plan=(spelled(shape), "--kernel-shape", spelled(size), "--precision", "single"),
        figures=lambda data, x: {"I-divergence": divergence(data, x)},
    )


def same_divergence(iterations: int = 30) -> Row:
    """Accelerated iterations until D is scikit-image's; results agree where D is not above it."""
    settings = ((1024, 1024), (31, 31), (3.0, 4.0))

    def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
        data = spots(*settings)
        aim = divergence(data, theirs)
        return max(0.0, (divergence(data, ours) - aim) / aim)

    return Row(
        name="rl-same-divergence",
        work=f"Richardson–Lucy 1024², 31×31, accelerated, to the I-divergence of {iterations} plain iterations",
        data=partial(spots, *settings),
        ours=partial(accelerated, iterations=iterations),
        peers=(Contender(_SKIMAGE, partial(skimage_rl, iterations=iterations), ("skimage",)),),
        floors=tuple(accelerated_floor(floor, iterations) for floor in transforms(settings[0])),
        targets=(Target(0.1, "scikit-image", (_SKIMAGE,), limit=_STEPS),),
        difference=difference,
        tolerance=0.0,
        plan=("1024x1024", "--kernel-shape", "31x31", "--precision", "single"),
        figures=lambda data, x: {"I-divergence": divergence(data, x), "iterations": needed(data, iterations)},
        is_fresh=False,
    )


def whole_command(data: Blurred) -> Call:
    """`convtool deconvolve --method rl` from file to file, 30 accelerated iterations, surroundings unknown."""
    output = Output()
    y, kernel, x, report = (output.path / name for name in ("y.npy", "kernel.npy", "x.npy", "report.json"))
    np.save(y, data.y)
    np.save(kernel, data.kernel)
    method = [
        "--method",
        "rl",
        "--set",
        "iterations=30",
        "--boundary",
        "unknown",
        "--axes",
        "ZYX",
        "--kernel-axes",
        "ZYX",
    ]
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "convtool",
        "deconvolve",
        y,
        "-k",
        kernel,
        "-o",
        x,
        "--report",
        report,
        *method,
    ]

    def call() -> Path:
        output.run(*command, "--quiet")
        return report

    return call


def reported(data: Blurred, report: Path) -> dict[str, float]:
    """What the report says of the I-divergence, over the frame, per voxel."""
    found = json.loads(report.read_text())["result"]
    return {"I-divergence": found["i_divergence"], "per voxel": found["i_divergence"] / data.y.size}


def microscope() -> Row:
    """A volume of a microscope with a point spread function as large as a quarter of it."""
    shape, size = (64, 256, 256), (63, 125, 125)
    return Row(
        name="rl-3d-unknown",
        work="Richardson–Lucy 64×256×256, 125×125×63 PSF, unknown surroundings, 30 accelerated iterations, command",
        data=partial(spots, shape, size, (5.0, 3.0, 3.0)),
        ours=whole_command,
        peers=(),
        floors=transforms((126, 380, 380), pairs=60, axes=_VOLUME),
        targets=(Target(1, "deconwolf", (f"{_DECONWOLF} (quoted)",), limit=_VOLUMES),),
        tolerance=0.0,
        plan=("126x380x380", "--precision", "single"),
        figures=reported,
        most_rounds=1,
        quotes=(Quote(_DECONWOLF, 16.9, "another machine of this kind, two threads; its I-divergence is not known"),),
    )


ROWS: tuple[Callable[[], Row], ...] = (
    partial(plain, (1024, 1024), (31, 31), (3.0, 4.0), 30),
    same_divergence,
    partial(plain, (32, 256, 256), (15, 15, 15), (2.0, 2.5, 2.0), 10),
    microscope,
)
