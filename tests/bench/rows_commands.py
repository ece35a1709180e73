"""Rows: whole commands, from a PNG to a PNG, beside the scripts that people write instead.

A script is a program of its own, `python script.py IN KERNEL OUT`. All do the same: Tikhonov with a Laplacian on a
torus, its weight given, rounded to 8 bits. Results agree within one grey level.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from . import machine
from .row import FLOOR, Call, Contender, Row, Target
from .vips_and_magick import Output

_WEIGHT, _BATCH = 0.01, 20
_METHOD = ("--method", "tikhonov", "--set", f"weight={_WEIGHT}", "--boundary", "periodic", "--quiet")
_DECONVOLVE = ("-m", "convtool", "deconvolve", *_METHOD)
_SCRIPT, _SKIMAGE = "OpenCV + scipy.fft script", "scikit-image script"

_OPENCV_SCRIPT = """
import sys, cv2, numpy as np, scipy.fft
threads = int(sys.argv[4])
cv2.setNumThreads(threads)
y = cv2.imread(sys.argv[1], cv2.IMREAD_COLOR).astype(np.float32)
k = np.load(sys.argv[2])
shape = y.shape[:2]

def spectrum(taps):
    grid = np.zeros(shape, np.float32)
    grid[: taps.shape[0], : taps.shape[1]] = taps
    return scipy.fft.rfft2(np.roll(grid, [-(n // 2) for n in taps.shape], (0, 1)), workers=threads)

H, L = spectrum(k), spectrum(np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]], np.float32))
F = H.conj() / (abs(H) ** 2 + np.float32(WEIGHT) * abs(L) ** 2)
for c in range(3):
    plane = np.ascontiguousarray(y[..., c])
    y[..., c] = scipy.fft.irfft2(F * scipy.fft.rfft2(plane, workers=threads), s=shape, workers=threads)
cv2.imwrite(sys.argv[3], np.clip(np.rint(y), 0, 255).astype(np.uint8))
"""

_SKIMAGE_SCRIPT = """
import sys, numpy as np
from skimage import io, restoration
y = io.imread(sys.argv[1]).astype(np.float32)
x = restoration.wiener(y, np.load(sys.argv[2]), WEIGHT, clip=False)
io.imsave(sys.argv[3], np.clip(np.rint(x), 0, 255).astype(np.uint8), check_contrast=False)
"""


@dataclass(frozen=True, eq=False)
class Files:
    """An image file, a kernel file, and the folder they and the results lie in."""

    source: Path
    kernel: Path
    output: Output = field(repr=False)

    def result(self, name: str) -> Path:
        """Where one contender writes."""
        return self.output.path / f"{name}.png"


def files(shape: tuple[int, ...], picture: str) -> Files:
    """A sample image, mirrored over as much as is asked for, with a little noise so that no codec has it easy."""
    import imageio.v3 as iio

    output = Output()
    found = iio.imread(machine.ROOT / "sample_images" / picture)
    pads = [(0, n - m) for n, m in zip(shape, found.shape, strict=True)]
    large = np.pad(found, pads, mode="symmetric").astype(np.int16)
    large += np.random.default_rng(0).integers(-1, 2, shape, np.int16)
    source, kernel = output.path / "in.png", output.path / "kernel.npy"
    iio.imwrite(source, np.clip(large, 0, 255).astype(np.uint8), compress_level=1)
    line = np.exp(-0.5 * (np.arange(11) - 5) ** 2 / 1.5**2)
    np.save(kernel, (np.outer(line, line) / line.sum() ** 2).astype(np.float32))
    return Files(source, kernel, output)


def convtool(data: Files) -> Call:
    """The command."""
    result = data.result("convtool")
    return command([*_DECONVOLVE, data.source, "-k", data.kernel, "-o", result], result)


def batch(data: Files) -> Call:
    """The command with many files, and a folder for the results."""
    inputs = [data.output.path / f"batch-{n:02}.png" for n in range(_BATCH)]
    for path in inputs:
        path.write_bytes(data.source.read_bytes())
    results = data.output.path / "results"
    line = [*_DECONVOLVE, *inputs, "-k", data.kernel, "--output-dir", results]
    return command(line, results / inputs[-1].name)


def script(data: Files, name: str, text: str) -> Call:
    """A script's process."""
    path, result = data.output.path / f"script-{name}.py", data.result(name)  # not the name of a module it imports
    path.write_text(text.replace("WEIGHT", str(_WEIGHT)))
    return command([path, data.source, data.kernel, result, machine.threads()], result)


def bare_imports(data: Files) -> Call:
    """An interpreter that loads what every such command loads."""
    return command(["-c", "import numpy, imageio.v3"], data.source)


def command(arguments: list[object], result: Path) -> Call:
    """A run of this interpreter; its result is the file it writes."""
    return ran([sys.executable, *arguments], result)


def ran(line: Sequence[object], result: Path) -> Call:
    """A run of a process; its result is the file it writes."""
    # A package that is installed has its bytecode, as those of the peers have.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def call() -> Path:
        done = subprocess.run([*map(str, line)], cwd=machine.ROOT, capture_output=True, text=True, env=env)
        if done.returncode:
            raise RuntimeError((done.stderr.strip().splitlines() or ["failed"])[-1])
        return result

    return call


def grey_levels(ours: Path, theirs: Path) -> float:
    """The largest difference of two pictures."""
    import imageio.v3 as iio

    return float(np.abs(iio.imread(ours).astype(np.int16) - iio.imread(theirs)).max())


_OPENCV = Contender(_SCRIPT, partial(script, name="opencv", text=_OPENCV_SCRIPT), ("cv2", "scipy"))
_IMPORTS = Contender("bare imports", bare_imports)


def photograph() -> Row:
    """12 megapixels in colour."""
    return Row(
        name="command-12mp",
        work="whole command, 12-megapixel RGB PNG, deconvolve",
        data=partial(files, (3000, 4000, 3), "chelsea.png"),
        ours=convtool,
        peers=(_OPENCV,),
        floors=(_IMPORTS,),
        targets=(Target(1.1, "the script", (_SCRIPT,)),),
        difference=grey_levels,
        tolerance=1.0,
        plan=("3000x4000", "--precision", "single"),
    )


def photographs() -> Row:
    """The same, a file of a batch beside a script's run."""
    return Row(
        name="batch-12mp",
        work=f"a file in a batch of {_BATCH} 12-megapixel RGB PNGs, deconvolve",
        data=partial(files, (3000, 4000, 3), "chelsea.png"),
        ours=batch,
        peers=(_OPENCV,),
        floors=(_IMPORTS,),
        targets=(Target(0.8, "the script", (_SCRIPT,)),),
        difference=grey_levels,
        tolerance=1.0,
        times=1 / _BATCH,
    )


def snapshot() -> Row:
    """A small grey picture, where starting is most of it."""
    return Row(
        name="command-512",
        work="whole command, 512×512 grey PNG, deconvolve",
        data=partial(files, (512, 512), "camera.png"),
        ours=convtool,
        peers=(Contender(_SKIMAGE, partial(script, name="skimage", text=_SKIMAGE_SCRIPT), ("skimage",)),),
        floors=(_IMPORTS,),
        targets=(Target(0.5, "scikit-image", (_SKIMAGE,)), Target(2, "bare imports", (FLOOR,))),
        difference=grey_levels,
        tolerance=1.0,
        plan=("512x512", "--precision", "single"),
    )


ROWS: tuple[Callable[[], Row], ...] = (photograph, photographs, snapshot)
