"""Bytes in and out: whole inputs, and outputs that appear completely or not at all.

`-` is standard input or standard output. Every result goes through `Staging`: regular files are written beside their
target and renamed over it when everything has worked; pipes, devices and standard output get their bytes at that same
moment. So an error, or a signal that raises, leaves the old files as they were and sends nothing.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import IO

from convtool import digests
from convtool.errors import ConvtoolError, FileError, SettingError
from convtool.memory import available_memory
from convtool.temporaries import Temporary, committing

STDIO = "-"
STDOUT_NAMES = (STDIO, "/dev/stdout", "/proc/self/fd/1", "/dev/fd/1")
_STDERR_NAMES = ("/dev/stderr", "/proc/self/fd/2", "/dev/fd/2")
_CHUNK = 1 << 22
_FULL = {getattr(errno, name) for name in ("ENOSPC", "EDQUOT") if hasattr(errno, name)}


def read_bytes(source: str) -> bytes:
    """Everything in a file, a pipe or, for `-`, standard input.

    Raises FileError when it cannot be read or is larger than the memory that is free.
    """
    name = _spoken(source)
    try:
        if source == STDIO:
            if sys.stdin is None:
                raise FileError("cannot read standard input: it is closed")
            return _read_all(sys.stdin.buffer, name)
        with open(source, "rb") as stream:
            return _read_all(stream, name)
    except ConvtoolError:
        raise
    except (OSError, ValueError) as error:
        raise FileError(f"cannot read {name}: {reason(error)}") from error


def _read_all(stream: IO[bytes], name: str) -> bytes:
    free = available_memory()
    status = os.fstat(stream.fileno()) if _has_descriptor(stream) else None
    if status is not None and stat.S_ISREG(status.st_mode):
        _check_fits(status.st_size, free, name)
        return stream.read()
    chunks: list[bytes] = []
    total = 0
    while chunk := stream.read(_CHUNK):
        chunks.append(chunk)
        total += len(chunk)
        _check_fits(2 * total, free, name)  # joining the chunks takes as much again
    return b"".join(chunks)


def _has_descriptor(stream: IO[bytes]) -> bool:
    try:
        stream.fileno()
    except (OSError, AttributeError):
        return False
    return True


def _check_fits(size: int, free: int, name: str) -> None:
    if size > free:
        raise FileError(f"cannot read {name}: it takes {size} bytes of memory and only {free} are free")


def reason(error: BaseException) -> str:
    """Why an operation on a file failed, in a few words."""
    if isinstance(error, OSError) and error.errno is not None:
        known = {errno.ENOENT: "no such file", errno.EISDIR: "it is a folder", errno.ENOSPC: "the disk is full"}
        return known.get(error.errno, os.strerror(error.errno).lower())
    return (str(error).splitlines() or [type(error).__name__])[0]


def unwritable(target: str, error: OSError) -> FileError:
    """The error for a file that cannot be written, for the reason that the system gives."""
    if error.errno == errno.ENOENT:
        return FileError(f"cannot write {target}: its folder is gone: create it again, or write elsewhere")
    advice = "free some space or write elsewhere" if error.errno in _FULL else "write elsewhere"
    return FileError(f"cannot write {target}: {reason(error)}: {advice}")


def check_target(target: str, inputs: Iterable[str], clobber: bool) -> None:
    """Refuse, before any work is done, a target that could not or must not be written.

    Raises FileError for a target that is one of the inputs (under whatever name), that exists when `clobber` is False,
    that is a folder, or whose folder is missing or closed to us.
    """
    if target in STDOUT_NAMES:
        return
    status = _status(target)
    if status is None or stat.S_ISREG(status.st_mode):
        _check_folder(target)
    elif stat.S_ISDIR(status.st_mode):
        raise FileError(f"cannot write {target}: it is a folder: name a file in it")
    if status is None or not stat.S_ISREG(status.st_mode):
        return
    for source in inputs:
        if are_one(source, target):
            raise FileError(
                f"cannot write {target}: it is the input {_spoken(source)}, which is never overwritten: write elsewhere"
            )
    if not clobber:
        raise FileError(f"cannot write {target}: it exists and --no-clobber was given: write elsewhere")
    if not os.access(target, os.W_OK):
        raise FileError(f"cannot write {target}: permission denied: make it writable or write elsewhere")


def are_one(first: str, second: str) -> bool:
    """Whether two names are those of one file, by links of any kind."""
    one, other = _status(first), _status(second)
    return one is not None and other is not None and os.path.samestat(one, other)


def is_inside(name: str, folder: str) -> bool:
    """Whether a file lies, or would lie, somewhere below a folder."""
    return os.path.realpath(name).startswith(os.path.join(os.path.realpath(folder), ""))


def _spoken(source: str) -> str:
    return "standard input" if source == STDIO else source


def _status(name: str) -> os.stat_result | None:
    try:
        return os.fstat(0) if name == STDIO else os.stat(name)
    except (OSError, ValueError):  # no such file; a closed standard input; a generated kernel's specification
        return None


def _check_folder(target: str) -> None:
    folder = os.path.dirname(os.path.realpath(target))
    if not os.path.isdir(folder):
        raise FileError(f"cannot write {target}: there is no folder {folder}: create it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        read_only = os.statvfs(folder).f_flag & os.ST_RDONLY if hasattr(os, "statvfs") else 0
        cause = OSError(errno.EROFS, os.strerror(errno.EROFS)) if read_only else None
        raise FileError(f"cannot write {target}: the folder {folder} is not writable: write elsewhere") from cause


def beside(source: str, word: str, suffix: str) -> str:
    """The name of a result beside its source: 'dir/NAME.convolved.png' for ('dir/NAME.jpg', 'convolved', '.png').

    Raises SettingError when the source has no place of its own (standard input, a pipe).
    """
    status = None if source == STDIO else _status(source)
    if source == STDIO or (status is not None and not stat.S_ISREG(status.st_mode)):
        raise SettingError("the input is a stream, so say where the result goes: -o FILE or -o -")
    return f"{os.path.splitext(source)[0]}.{word}{suffix}"


@dataclass
class _Pending:
    """A result on its way: a temporary file that becomes `path`, or (no temporary) bytes to send to `path`."""

    target: str
    path: str
    stream: IO[bytes]
    temporary: Temporary | None = None


class Staging:
    """All results of a run: either every one of them arrives, or none does.

    >>> import tempfile, os
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Staging() as staging:
    ...         _ = staging.open(os.path.join(folder, "a.txt")).write(b"done")
    ...     os.listdir(folder)
    ['a.txt']
    """

    def __init__(self) -> None:
        self._pending: list[_Pending] = []

    def __enter__(self) -> Staging:
        return self

    def open(self, target: str) -> IO[bytes]:
        """A seekable binary file whose content becomes `target` at the end of the `with` block.

        Raises FileError when the target cannot be written, SettingError when another result goes there already.
        """
        pending = self._stage(target)
        self._pending.append(pending)
        return pending.stream

    def digests(self) -> dict[str, str]:
        """The SHA-256 of each result as it stands now, by its target."""
        return {pending.target: digests.of_stream(pending.stream) for pending in self._pending}

    def _stage(self, target: str) -> _Pending:
        path = STDIO if target in STDOUT_NAMES else os.path.realpath(target)
        if path in [other.path for other in self._pending]:
            raise SettingError(f"two results would go to {target}: give each its own name")
        check_target(target, (), clobber=True)
        status = None if path == STDIO else _status(target)
        if target in _STDERR_NAMES:
            return _Pending(target, target, io.BytesIO())
        if path == STDIO or (status is not None and not stat.S_ISREG(status.st_mode)):
            return _Pending(target, path if path == STDIO else target, io.BytesIO())
        try:
            temporary = Temporary(os.path.dirname(path), None if status is None else status.st_mode)
            return _Pending(target, path, temporary.stream, temporary)
        except OSError as error:
            raise FileError(f"cannot write {target}: {reason(error)}") from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._commit()
            elif isinstance(error, OSError):
                raise error
        except OSError as failure:
            if isinstance(failure, (ConvtoolError, BrokenPipeError)) or not self._pending:
                raise
            targets = " and ".join(pending.target for pending in self._pending)
            raise unwritable(targets, failure) from failure
        finally:
            self._discard()

    def _commit(self) -> None:
        for pending in self._pending:
            if pending.temporary is not None:
                pending.temporary.close()  # before any of them has its name: the disk may be full
        for pending in self._pending:
            if pending.temporary is None:
                _send(pending)  # a reader that has gone away must not leave the other files behind
        with committing:
            for pending in self._pending:
                if pending.temporary is not None:
                    pending.temporary.replace(pending.path)

    def _discard(self) -> None:
        for pending in self._pending:
            if pending.temporary is not None:
                pending.temporary.discard()


def _send(pending: _Pending) -> None:
    with pending.stream.getbuffer() as content:  # type: ignore[attr-defined]
        if pending.path == STDIO:
            if sys.stdout is None:
                raise FileError("cannot write standard output: it is closed")
            write_all(sys.stdout.buffer, content)
            sys.stdout.buffer.flush()
            return
        with opened_for_sending(pending.path) as stream:
            write_all(stream, content)


def opened_for_sending(target: str) -> IO[bytes]:
    """A file, pipe or device from its beginning; standard error from where it is, whatever it leads to."""
    if target in _STDERR_NAMES:
        return os.fdopen(os.dup(2), "wb", buffering=0)
    return open(target, "wb", buffering=0)


def write_all(stream: IO[bytes], content: memoryview) -> None:
    """Write everything: an unbuffered stream (PYTHONUNBUFFERED) takes as much at a time as it likes."""
    sent = 0
    while sent < len(content):
        with content[sent:] as rest:
            sent += stream.write(rest) or 0
