"""The files that catch what runs print. Owns `<data dir>/logs/runs`; blocking, small reads."""

from __future__ import annotations

import os
import time
from pathlib import Path

import structlog

log = structlog.get_logger()

TAIL_LINES = 40
_TAIL_BYTES = 16_384
_LINE_CHARACTERS = 500
_VMSTAT = Path("/proc/vmstat")


def tail(path: Path) -> list[str]:
    """The last lines of a run's log, long ones cut; empty when there is none."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            text = file.read(_TAIL_BYTES).decode("utf-8", "replace")
    except FileNotFoundError:
        return []
    lines = [line[:_LINE_CHARACTERS] for line in text.splitlines() if line.strip()]
    # The first one may be half a line.
    return lines[1:][-TAIL_LINES:] if size > _TAIL_BYTES else lines[-TAIL_LINES:]


def prune(directory: Path, max_age_days: int) -> int:
    """Deletes logs that nobody wrote to for so many days; how many."""
    oldest = time.time() - max_age_days * 86_400
    deleted = 0
    for path in directory.glob("*.log"):
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
