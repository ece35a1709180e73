"""Lines: the report of a batch on the disk, a line of JSON for each image."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import IO

from convtool import files


class Lines:
    """The report, which takes the place of an older one with its first line."""

    def __init__(self, name: str) -> None:
        self._name, self._size = name, 0
        self._stream: IO[bytes] | None = None

    def add(self, line: str) -> None:
        """Write a whole line, or none of it and raise FileError; what was written before stays."""
        try:
            if self._stream is None:
                self._stream = files.opened_for_sending(self._name)
            with memoryview(line.encode(errors="backslashreplace")) as content:
                files.write_all(self._stream, content)
                self._size += len(content)
        except OSError as error:
            if os.path.isfile(self._name) and self._stream is not None:
                with suppress(OSError):
                    self._stream.truncate(self._size)
            raise files.unwritable(self._name, error) from error

    def close(self) -> None:
        """Let go of the file, if there is one."""
        if self._stream is not None:
            self._stream.close()
