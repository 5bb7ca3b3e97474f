"""Keeps the ends of runs on disk until a coordinator has acknowledged them. Owns one directory; never touches gRPC.

One file per end, `<operation>-<attempt>.end`: a magic line, the SHA-256 of the rest, the serialised RunFinished.
Written beside, fsynced, renamed, directory fsynced: after `put` returns, no crash loses it.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import structlog
from google.protobuf.message import DecodeError

from holdfast.v1 import worker_pb2

__all__ = ["Outbox"]

log = structlog.get_logger()

_MAGIC = b"holdfast-end-1\n"
_DIGEST_BYTES = 32
_SUFFIX = ".end"
_ASIDE = ".corrupt"
_REFUSED = ".refused"


class Outbox:
    """Blocking; the worker calls it in a thread."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def load(self) -> list[worker_pb2.RunFinished]:
        """Every end that still waits, oldest first. What cannot be read is set aside and logged."""
        self._directory.mkdir(parents=True, exist_ok=True)
        for refused in self._directory.glob(f"*{_SUFFIX}{_REFUSED}"):
            refused.replace(refused.with_name(refused.name.removesuffix(_REFUSED)))
        waiting = []
        for path in sorted(self._directory.glob(f"*{_SUFFIX}"), key=lambda item: item.stat().st_mtime_ns):
            try:
                waiting.append(_decode(path.read_bytes()))
            except (ValueError, DecodeError, OSError) as error:
                aside = path.with_name(path.name + _ASIDE)
                log.error("Outbox file is corrupt; set aside", path=str(path), aside=str(aside), error=repr(error))
                path.replace(aside)
        for left_over in self._directory.glob("*.tmp"):
            left_over.unlink()  # the process died while writing it: the run's end was never known
        return waiting

    def put(self, finished: worker_pb2.RunFinished) -> None:
        """Writes one end; durable when this returns. Raises OSError."""
        path = self._path(finished.run)
        body = finished.SerializeToString()
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            file.write(_MAGIC + hashlib.sha256(body).digest() + body)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        self._sync()

    def delete(self, run: worker_pb2.RunRef) -> None:
        """Forgets one end; it is fine when there is none."""
        self._path(run).unlink(missing_ok=True)

    def set_aside(self, run: worker_pb2.RunRef) -> None:
        """Keeps one end that its coordinator could not use: the next `load` brings it again."""
        path = self._path(run)
        try:
            path.replace(path.with_name(path.name + _REFUSED))
        except FileNotFoundError:
            log.warning("Refused end was in memory only, and is gone", operation=run.operation_id, attempt=run.attempt)
            return
        self._sync()

    def _path(self, run: worker_pb2.RunRef) -> Path:
        return self._directory / f"{run.operation_id}-{run.attempt}{_SUFFIX}"

    def _sync(self) -> None:
        descriptor = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _decode(content: bytes) -> worker_pb2.RunFinished:
    head = len(_MAGIC) + _DIGEST_BYTES
    if not content.startswith(_MAGIC) or len(content) < head:
        raise ValueError("it does not begin as an end does")
    body = content[head:]
    if hashlib.sha256(body).digest() != content[len(_MAGIC) : head]:
        raise ValueError("its digest does not match its content")
    return worker_pb2.RunFinished.FromString(body)
