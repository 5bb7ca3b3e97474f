"""The stream that a process logs to. Owns one rule: a disk too full for a log line ends nothing but that line.

The log lies beside the database and the store as a rule. Whoever waits for room there must live, and say so elsewhere.
"""

from __future__ import annotations

import errno
import io
import os
from typing import Any

__all__ = ["log_stream"]


class _Lossy(io.RawIOBase):
    """Writes to a descriptor that somebody else closes; what finds no room is dropped."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        try:
            return os.write(self._descriptor, data)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            return memoryview(data).nbytes


def log_stream(descriptor: int) -> io.TextIOWrapper:
    """A text stream for lines, such as sys.stderr."""
    return io.TextIOWrapper(
        io.BufferedWriter(_Lossy(descriptor)), encoding="utf-8", errors="backslashreplace", line_buffering=True
    )
