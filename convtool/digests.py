"""SHA-256 of what files hold, by which their content is known again; as hexadecimal digits."""

from __future__ import annotations

import os
from typing import IO


def of_bytes(content: bytes | memoryview) -> str:
    """That of a file's content.

    >>> of_bytes(b"")[:8]
    'e3b0c442'
    """
    import hashlib  # only for who asks

    return hashlib.sha256(content).hexdigest()


def of_stream(stream: IO[bytes]) -> str:
    """That of all that a stream on the disk, or in memory, holds."""
    import hashlib  # only for who asks

    stream.flush()
    stream.seek(0)
    return hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]


def of_file(name: str) -> str | None:
    """That of a file on the disk; None where there is none, or what is there is a pipe or a device."""
    try:
        if not os.path.isfile(name):
            return None
        with open(name, "rb") as stream:
            return of_stream(stream)
    except (OSError, ValueError):
        return None
