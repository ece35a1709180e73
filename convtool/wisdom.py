"""What FFTW has learned, kept in a file of the user's cache folder from one run to the next.

One file per machine (its processor's name) and library version, in CONVTOOL_CACHE_DIR, else the platform's cache folder
for convtool. The first line is a checksum of the rest: a damaged, foreign or unreadable file counts as none.
"""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

from convtool import digests
from convtool.errors import FileError
from convtool.files import Staging


def folder() -> Path:
    """The cache folder; it may not exist yet."""
    if os.environ.get("CONVTOOL_CACHE_DIR"):
        return Path(os.environ["CONVTOOL_CACHE_DIR"])
    home = Path(os.path.expanduser("~"))
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home) / "convtool"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "convtool"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "convtool"


def path(library_version: str) -> Path:
    """The file for this machine and this version of the FFT library."""
    machine = _checksum(f"{platform.machine()} {_processor()}".encode())[:12].decode()
    return folder() / f"wisdom-{library_version}-{machine}"


def read(library_version: str) -> bytes | None:
    """The wisdom kept for this machine; None where there is none, or it cannot be trusted."""
    try:
        checksum, _, blob = path(library_version).read_bytes().partition(b"\n")
    except OSError:
        return None
    return blob if checksum == _checksum(blob) else None


def write(library_version: str, blob: bytes) -> Path:
    """Keep wisdom, replacing the file as a whole; raises FileError where the folder cannot be written."""
    target = path(library_version)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(
            f"cannot create {target.parent}: {error.strerror}: set CONVTOOL_CACHE_DIR to a folder of yours"
        ) from None
    with Staging() as staging:
        staging.open(str(target)).write(_checksum(blob) + b"\n" + blob)
    return target


def _checksum(blob: bytes) -> bytes:
    return digests.of_bytes(blob).encode()


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
