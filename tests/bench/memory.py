"""Peak memory above the interpreter's, in a fresh process: `python -m tests.bench.memory CASE SIDE` prints bytes.

Above the interpreter means above the process that has done the same on a 64 x 64 image: modules, FFTW and its threads
are there. Input and result count, the making of the input does not (it is filled in place).
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import machine
from .outcome import Outcome, Timing, Verdict
from .row import OURS
from .timing import Spread

_AT_MOST = 4.0  # images
_SIDE = 3072  # so large that libraries' own buffers are no part of the figure, and the bench fits a small machine


def kernel(size: int) -> np.ndarray:
    """Positive taps of sum 1, the middle one the largest, so that the blur can be undone."""
    taps = np.random.default_rng(0).random((size, size), np.float32)
    taps[size // 2, size // 2] += taps.sum()
    return taps / taps.sum()


def convolved(size: int, boundary: str = "periodic") -> Callable[[np.ndarray], Any]:
    """convtool.convolve."""
    import convtool

    return lambda x: convtool.convolve(x, kernel(size), boundary=boundary)


def inverted() -> Callable[[np.ndarray], Any]:
    """convtool.deconvolve by pinv."""
    import convtool

    return lambda y: convtool.deconvolve(y, kernel(9), method="pinv").x


@dataclass(frozen=True)
class Case:
    """What is run on an image [side, side], or [channels, side, side]."""

    work: str
    run: Callable[[], Callable[[np.ndarray], Any]]
    channels: int | None = None

    def image(self, side: int) -> np.ndarray:
        """Noise, filled in place."""
        x = np.empty((side, side) if self.channels is None else (self.channels, side, side), np.float32)
        np.random.default_rng(1).random(out=x, dtype=np.float32)
        return x


CASES = {
    "memory-convolve-5": Case("convolve, k = 5, reflect", lambda: convolved(5, "reflect")),
    "memory-convolve-31": Case("periodic convolve, k = 31", lambda: convolved(31)),
    "memory-convolve-31-colour": Case("periodic convolve, k = 31, 3 channels", lambda: convolved(31), 3),
    "memory-pinv": Case("pinv, k = 9", inverted),
    "memory-pinv-colour": Case("pinv, k = 9, 3 channels", inverted, 3),
}


def peak(name: str, side: int, threads: int) -> int:
    """Bytes of a case, measured in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.memory", name, str(side)],
        cwd=machine.ROOT,
        env=machine.environment(threads, machine.no_wisdom()),
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout.split()[-1])


def outcome(name: str, threads: int) -> Outcome:
    """The row of a case: its peak as a multiple of the image."""
    case = CASES[name]
    side = _SIDE if case.channels is None else _SIDE // 2
    work = f"peak memory: {case.work}, {side}²"
    try:
        value = peak(name, side, threads) / (4 * side * side * (case.channels or 1))
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip().splitlines() or ["failed"])[-1]
        return Outcome(name, work, timings=(Timing(OURS, OURS, missing=reason),))
    verdict = Verdict("the image", _AT_MOST, Spread(value, value, value), "the image")
    figures = {"images": value, "bytes a pixel": 4 * value}
    return Outcome(name, work, verdicts=(verdict,), figures=figures, shown=f"{value:.2f} images")


def high_water() -> int:
    """Bytes that this process ever had in memory. Not getrusage's: a child inherits its parent's peak there."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main() -> None:
    """Measure the case of the arguments."""
    case, side = CASES[sys.argv[1]], int(sys.argv[2])
    run = case.run()
    run(case.image(64))
    before = high_water()
    x = case.image(side)
    y = run(x)
    assert y.shape == x.shape
    print(high_water() - before)


if __name__ == "__main__":
    main()
