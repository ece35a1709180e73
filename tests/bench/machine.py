"""The machine, who is on it, and the same threads for everyone."""

from __future__ import annotations

import functools
import importlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .row import MissingError

ROOT = Path(__file__).resolve().parents[2]
REGIME = "CONVTOOL_BENCH_REGIME"
_THREADS = ("CONVTOOL_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VIPS_CONCURRENCY")
_NAMES = {"cv2": "opencv-python-headless", "skimage": "scikit-image"}
_IMAGEMAGICK = ("magick", "convert")


def environment(threads: int, cache: Path, regime: str = "") -> dict[str, str]:
    """Of a process that measures: so many threads for all libraries, and a cache folder of its own."""
    changes = dict.fromkeys(_THREADS, str(threads)) | {"CONVTOOL_CACHE_DIR": str(cache), REGIME: regime}
    return dict(os.environ) | changes


def threads() -> int:
    """Threads that everyone gets in this process."""
    return int(os.environ.get("CONVTOOL_THREADS") or 2)


def use(needs: Iterable[str]) -> None:
    """Import what is needed and give it its threads; raises MissingError."""
    if why := absent(needs):
        raise MissingError(why)
    for need in needs:
        if not need.startswith("command:"):
            module = importlib.import_module(need)
            if need == "torch":
                module.set_num_threads(threads())
            if need == "cv2":
                module.setNumThreads(threads())


def absent(needs: Iterable[str]) -> str:
    """Which of some modules, or of commands written `command:NAME`, are not installed; '' where all are."""
    lacking = [need for need in needs if not _found(need)]
    return "; ".join(f"{_NAMES.get(need, need.removeprefix('command:'))} is not installed" for need in lacking)


def _found(need: str) -> bool:
    if need == "command:ImageMagick":
        return imagemagick() is not None
    if need.startswith("command:"):
        return shutil.which(need.removeprefix("command:")) is not None
    return find_spec(need) is not None


@functools.cache
def imagemagick() -> str | None:
    """ImageMagick's command; other programs are called `convert` too, and some only stand in for it."""
    folders = os.environ.get("PATH", "").split(os.pathsep)
    files = [str(Path(folder) / name) for name in _IMAGEMAGICK for folder in folders]
    return next((file for file in files if _is_imagemagick(file)), None)


def _is_imagemagick(file: str) -> bool:
    try:
        with open(file, "rb") as opened:
            is_script = opened.read(2) == b"#!"
        done = subprocess.run([file, "-version"], capture_output=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return False
    return not is_script and b"ImageMagick" in done.stdout


@functools.cache
def wisdom(arguments: tuple[str, ...], count: int) -> tuple[Path, float]:
    """(cache folder, seconds) of `convtool plan` with these arguments, into a folder of its own."""
    folder = Path(_scratch().name) / f"plan-{len(list(Path(_scratch().name).iterdir()))}"
    folder.mkdir()
    start = time.perf_counter()
    command = [sys.executable, "-m", "convtool", "plan", *arguments, "--threads", str(count), "--quiet"]
    subprocess.run(command, cwd=ROOT, env=environment(count, folder), check=True, capture_output=True)
    return folder, time.perf_counter() - start


def no_wisdom() -> Path:
    """An empty cache folder."""
    folder = Path(_scratch().name) / "empty"
    folder.mkdir(exist_ok=True)
    return folder


@functools.cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="convtool-bench-")


def free_memory() -> int:
    """Bytes that can be had without swapping; a large number where nobody says."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 1 << 62
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))


def described(count: int) -> dict[str, Any]:
    """What the figures depend on."""
    from importlib.metadata import PackageNotFoundError, version

    versions = {}
    for name in ("numpy", "scipy", "pyfftw", "scikit-image", "opencv-python-headless", "torch", "numba"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "threads": count,
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "load": [round(load, 2) for load in os.getloadavg()],
        "versions": versions,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
