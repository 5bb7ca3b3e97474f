"""The files that catch what runs print. Owns `<data dir>/logs/runs`; blocking, small reads."""

from __future__ import annotations

import os
import time
from pathlib import Path

import structlog

__all__ = ["TAIL_LINES", "out_of_memory_kills", "path_of", "prune", "rotate", "tail"]

log = structlog.get_logger()

TAIL_LINES = 40
_TAIL_BYTES = 16_384
_LINE_CHARACTERS = 500
_VMSTAT = Path("/proc/vmstat")


def path_of(directory: Path, operation_id: str, attempt: int) -> Path:
    """Where a run's output goes."""
    return directory / f"{operation_id}-{attempt}.log"


def tail(path: Path) -> list[str]:
    """The last lines of a run's log, long ones cut; empty when there is none."""
    content = _end(path, _TAIL_BYTES)
    if len(content) < _TAIL_BYTES:
        # Cut a moment ago: the lines before stand in the older part.
        content = _end(_older(path), _TAIL_BYTES - len(content)) + content
    lines = [line[:_LINE_CHARACTERS] for line in content.decode("utf-8", "replace").splitlines() if line.strip()]
    # The first one may be half a line.
    return lines[1:][-TAIL_LINES:] if len(content) >= _TAIL_BYTES else lines[-TAIL_LINES:]


def rotate(path: Path, max_bytes: int) -> bool:
    """Moves the newest `max_bytes` of a log that is longer beside it, and empties it; whether it did."""
    try:
        if path.stat().st_size <= max_bytes:
            return False
    except FileNotFoundError:
        return False
    content = _end(path, max_bytes)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(content)
    temporary.replace(_older(path))
    os.truncate(path, 0)
    return True


def _older(path: Path) -> Path:
    return path.with_name(path.name + ".1")


def _end(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - most))
            return file.read(most)
    except FileNotFoundError:
        return b""


def prune(directory: Path, max_age_days: int) -> int:
    """Deletes logs that nobody wrote to for so many days; how many."""
    oldest = time.time() - max_age_days * 86_400
    deleted = 0
    for path in directory.glob("*.log*"):
        try:
            if path.stat().st_mtime < oldest:
                path.unlink()
                deleted += 1
        except OSError as error:
            log.warning("Run log stays", path=str(path), error=repr(error))
    return deleted


def out_of_memory_kills() -> int:
    """How often the kernel's out-of-memory killer acted since boot; 0 where the kernel does not say."""
    try:
        for line in _VMSTAT.read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except OSError:
        return 0
    return 0
