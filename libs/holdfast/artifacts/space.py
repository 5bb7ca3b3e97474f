"""Tells a full store from any other failure, and how much room is left. Owns that judgement; writes and waits nowhere.

Imported by the saver's process: nothing heavy.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from holdfast.errors import StoreFull

__all__ = ["check_room", "full_directory"]


def check_room(directory: Path, needed: int) -> None:
    """Raises StoreFull when the file system says that `needed` bytes do not fit.

    Asked before anything is written: filling a disk to its last byte would take the room of whoever shares it, such as
    the database. What the file system says is not all (quotas), so the write itself may still fail.
    """
    free, _ = _room(directory)
    if free is not None and needed > free:
        raise StoreFull(str(directory), needed, free)


def full_directory(error: BaseException, directory: Path, needed: int) -> StoreFull | None:
    """What to raise instead of `error` when it means that the directory's file system, or a quota there, is full."""
    if not isinstance(error, OSError) or error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    free, files = _room(directory)
    problem = ""
    if error.errno == errno.EDQUOT:
        problem = "the disk quota is used up"
    elif files == 0:
        problem = "the file system can hold no further file"
    return StoreFull(str(directory), needed, free, problem=problem)


def _room(directory: Path) -> tuple[int | None, int | None]:
    """Free bytes and free files for an ordinary user where the directory lies or will lie; None: it does not say."""
    while not directory.exists() and directory != directory.parent:
        directory = directory.parent
    try:
        status = os.statvfs(directory)
    except OSError:
        return None, None  # a store that cannot even say this fails by itself in the write
    free = status.f_bavail * status.f_frsize if status.f_blocks else None
    return free, status.f_favail if status.f_files else None
