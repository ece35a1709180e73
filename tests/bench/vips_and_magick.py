"""Convolution by the commands of libvips and ImageMagick: start, read and write are part of their time.

Both read and write uncompressed files in the folder for temporary files. ImageMagick computes with 16 bits.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from . import machine
from .row import Call, MissingError

_HEADER = 64  # bytes of a .v file before its pixels


class Output:
    """A file that a command writes, read only when it is compared."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="convtool-bench-")
        self.path = Path(self.folder.name)

    def run(self, *command: str | Path | int) -> None:
        """Run a command, and fail with what it says."""
        done = subprocess.run([str(part) for part in command], cwd=machine.ROOT, capture_output=True, text=True)
        if done.returncode:
            raise MissingError(
                f"{Path(str(command[0])).name}: {(done.stderr.strip().splitlines() or ['failed'])[-1][:120]}"
            )


def vips(data: Any) -> Call:
    """`vips conv` in float32, with edges repeated around; it correlates."""
    output = Output()
    raw, source, mask, result = (output.path / name for name in ("in.raw", "in.v", "mask.mat", "out.v"))
    height, width = data.x.shape
    data.x.tofile(raw)
    output.run("vips", "rawload", raw, source, width, height, 4)
    output.run("vips", "copy", source, output.path / "as.v", "--format", "float", "--bands", 1)
    rows = "\n".join(" ".join(f"{tap:.9g}" for tap in line) for line in data.flipped)
    mask.write_text(f"{data.kernel.shape[1]} {data.kernel.shape[0]}\n{rows}\n")

    def call() -> np.ndarray:
        output.run("vips", "conv", output.path / "as.v", result, mask, "--precision", "float")
        return np.memmap(result, np.float32, "r", _HEADER, (height, width))

    return call


def imagemagick(data: Any) -> Call:
    """`convert -morphology Convolve` of a 16-bit PGM."""
    output = Output()
    source, result = output.path / "in.pgm", output.path / "out.pgm"
    height, width = data.x.shape
    pixels = np.round(data.x * 65535).astype(">u2")
    source.write_bytes(f"P5 {width} {height} 65535\n".encode() + pixels.tobytes())
    taps = " ".join(",".join(f"{tap:.9g}" for tap in line) for line in data.kernel)
    kernel = f"{data.kernel.shape[1]}x{data.kernel.shape[0]}: {taps}"
    command = (str(machine.imagemagick()), "-limit", "thread", str(machine.threads()))

    def call() -> np.ndarray:
        output.run(*command, source, "-morphology", "Convolve", kernel, "-depth", "16", result)
        found = result.read_bytes()[-2 * height * width :]
        return np.frombuffer(found, ">u2").reshape(height, width).astype(np.float32) / 65535

    return call
