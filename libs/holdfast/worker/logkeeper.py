"""Keeps the logs of living runs below RUN_LOG_MAX_BYTES. Owns no file: a run may write to its log at any moment.

A run appends (O_APPEND), so its log can be emptied under it: the newest part moves beside it, to `….log.1`, and the run
goes on writing at the new end. What it writes between the copy and the cut is lost; it is a log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path

import structlog

from holdfast.worker import runlogs

__all__ = ["LOOK_SECONDS", "LogKeeper"]

log = structlog.get_logger()

LOOK_SECONDS = 0.25  # a run that prints as fast as it can writes some tens of MiB meanwhile


class LogKeeper:
    """`keep` is its background task; `living` names the logs of the runs that there are now."""

    def __init__(self, living: Callable[[], Iterable[Path]], max_bytes: int) -> None:
        self._living = living
        # Two parts: the log, and the older one beside it.
        self._part = max_bytes // 2
        self._before: set[Path] = set()
        self._warned: set[Path] = set()

    async def keep(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Cuts what is too long, also the log of a run that has ended since the last look."""
        living = set(self._living())
        for path in living | self._before:
            try:
                cut = await asyncio.to_thread(runlogs.rotate, path, self._part)
            except OSError as error:
                log.warning("Run log cannot be cut", path=str(path), error=repr(error))
                continue
            if cut and path not in self._warned:
                self._warned.add(path)
                log.warning("Run log is cut; only its newest part stays", path=str(path), part_bytes=self._part)
        self._before, self._warned = living, self._warned & living
