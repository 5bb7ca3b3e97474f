"""Who this worker is, and the directory that is its alone. Owns `<data dir>/workers/<id>` and its lock."""

from __future__ import annotations

import fcntl
import os
import re
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from holdfast.errors import NotPossible
from holdfast.settings import Settings
from holdfast.v1 import worker_pb2

__all__ = ["Identity", "identify", "own_directory"]

_KINDS = {"trainer": worker_pb2.WORKER_KIND_TRAINER, "backtester": worker_pb2.WORKER_KIND_BACKTESTER}


@dataclass(frozen=True, slots=True)
class Identity:
    """`worker_id` outlives the process; `incarnation` does not."""

    worker_id: str
    kind: worker_pb2.WorkerKind
    incarnation: str = field(default_factory=lambda: uuid.uuid4().hex)


def identify(kind: str, settings: Settings) -> Identity:
    """The configured id, else "<kind>-<host name>". Raises KeyError for an unknown kind."""
    host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname()) or "host"
    return Identity(worker_id=settings.worker_id or f"{kind}-{host}"[:63], kind=_KINDS[kind])


@contextmanager
def own_directory(home: Path, identity: Identity) -> Iterator[Path]:
    """Locks this id's directory for as long as the process lives.

    Raises NotPossible (WORKER_ID_TAKEN) when another process on this data directory has it: two workers of one id
    would each be the proof of the other's death.
    """
    directory = home / "workers" / identity.worker_id
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise NotPossible(
            f"The worker's directory {directory} cannot be used: {error.strerror}. "
            "Make it writable, or name another place with HOLDFAST_DATA_DIR.",
            reason="DATA_DIR_UNUSABLE",
        ) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(lock, 64, 0).decode(errors="replace").strip() or "another process"
            raise NotPossible(
                f"Worker id {identity.worker_id} is taken by {holder} (lock {directory / 'lock'}). "
                "Set HOLDFAST_WORKER_ID to another name to run a second worker.",
                reason="WORKER_ID_TAKEN",
            ) from error
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        yield directory
    finally:
        os.close(lock)  # the lock goes with it, also when the process is killed
