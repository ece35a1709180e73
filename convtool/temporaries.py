"""Temporary files that become results: written beside them, locked by who writes, gone when they are not needed.

What a process that was killed had begun to write stays behind, and `sweep` removes it. Who writes a temporary file
holds a lock on it (flock), which the system gives back at the process's end, so that nobody's work in hand is taken for
something left behind.
"""

from __future__ import annotations

import os
import re
import stat
import threading
from contextlib import suppress
from typing import IO

with suppress(ImportError):  # Windows
    import fcntl

committing = threading.RLock()  # held while results appear, and for good once all work is abandoned
_PATIENCE = 2.0  # seconds
_NAME = re.compile(r"\.[0-9a-f]{16}\.tmp")
_names: set[str] = set()  # those that this process has now


class Temporary:
    """A new file in a folder, open for writing."""

    def __init__(self, folder: str, mode: int | None) -> None:
        self._lock: int | None = None
        while True:  # a sweep may come between its birth and its lock
            self._name = os.path.join(folder, f".{os.urandom(8).hex()}.tmp")
            with committing:
                self.stream: IO[bytes] = open(self._name, "x+b")  # noqa: SIM115  # with the mode a plain open gives
                _names.add(self._name)
            try:
                self._lock = _locked(self.stream.fileno())
            except OSError:  # no descriptor is left for it
                self.discard()
                raise
            if os.path.lexists(self._name):
                break
            self.discard()
        if mode is not None:
            os.fchmod(self.stream.fileno(), stat.S_IMODE(mode))

    def close(self) -> None:
        """Write what is buffered, which may find the disk full; the lock stays."""
        self.stream.close()

    def replace(self, path: str) -> None:
        """Give the file its name, in place of what has it now."""
        os.replace(self._name, path)
        _names.discard(self._name)

    def discard(self) -> None:
        """Remove the file, unless it has its name, and let it go."""
        with suppress(OSError):  # a full disk once more
            self.stream.close()
        if self._name in _names:
            _remove(self._name)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def abandon() -> None:
    """Remove all that is half written; no other thread's results appear from now on. The process must end now."""
    committing.acquire(timeout=_PATIENCE)  # a disk that hangs holds it, and the process must end
    for name in list(_names):
        with suppress(OSError):
            _remove(name)


def sweep(folder: str) -> None:
    """Remove from a folder what processes that were killed had begun to write."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                _remove_left(entry.path)


def _remove_left(name: str) -> None:
    with suppress(OSError, NameError), open(name, "rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while somebody writes it
        os.unlink(name)


def _remove(name: str) -> None:
    _names.discard(name)
    with suppress(FileNotFoundError):  # gone with its folder
        os.unlink(name)


def _locked(descriptor: int) -> int | None:
    """Another descriptor of a file, which holds the lock until it is closed; None where files have no locks."""
    own = os.dup(descriptor)
    try:
        fcntl.flock(own, fcntl.LOCK_EX)
    except (OSError, NameError):
        os.close(own)
        return None
    return own
