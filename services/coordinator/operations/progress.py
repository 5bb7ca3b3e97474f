"""The newest progress of every run, and its slow way to PostgreSQL. Owns no rule; stale attempts go to `on_stale`.

Ten thousand reports a second cost one statement a second: only the newest of each run is written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from holdfast.services.coordinator.operations.records import serialized
from holdfast.services.coordinator.operations.store import Store
from holdfast.v1 import operation_pb2

__all__ = ["FLUSH_INTERVAL", "OnProgress", "ProgressBoard"]

log = structlog.get_logger()

FLUSH_INTERVAL = 1.0  # seconds

OnProgress = Callable[[str, operation_pb2.Progress], None]


class ProgressBoard:
    """`report` is cheap and immediate for watchers; `run` writes in the background."""

    def __init__(self, store: Store, on_stale: Callable[[], None]) -> None:
        self._store = store
        self.on_progress: list[OnProgress] = []
        self._on_stale = on_stale
        # Attempt, progress, and the worker that reported it.
        self._newest: dict[str, tuple[int, operation_pb2.Progress, str]] = {}
        self._unsaved: set[str] = set()
        self._something = asyncio.Event()

    def report(self, worker_id: str, operation_id: str, attempt: int, progress: operation_pb2.Progress) -> None:
        """The newest report of a run. One of an older attempt than the newest known is refused."""
        known = self._newest.get(operation_id)
        if known is not None and known[0] > attempt:
            self._on_stale()
            return
        self._newest[operation_id] = (attempt, progress, worker_id)
        self._unsaved.add(operation_id)
        self._something.set()
        for tell in self.on_progress:
            tell(operation_id, progress)

    def newest(self, operation_id: str, attempt: int) -> operation_pb2.Progress | None:
        """What the run has last reported; None when nothing was, or by another attempt."""
        known = self._newest.get(operation_id)
        return known[1] if known is not None and known[0] == attempt else None

    def take(self, operation_id: str, attempt: int) -> bytes | None:
        """The newest progress of a run that has ended, serialized; it is not written again."""
        newest = self.newest(operation_id, attempt)
        self.forget(operation_id, attempt)
        return serialized(newest)

    def forget(self, operation_id: str, attempt: int) -> None:
        """Drops what this attempt, or an older one, has reported."""
        known = self._newest.get(operation_id)
        if known is not None and known[0] <= attempt:
            del self._newest[operation_id]
            self._unsaved.discard(operation_id)

    async def flush(self) -> None:
        """Writes all that is unsaved in one statement."""
        batch = {
            operation_id: (attempt, worker_id, progress.SerializeToString())
            for operation_id in self._unsaved
            for attempt, progress, worker_id in [self._newest[operation_id]]
        }
        self._unsaved.clear()
        if not batch:
            return
        accepted = await self._store.save_progress(batch)
        for operation_id, (attempt, _, _) in batch.items():
            if (operation_id, attempt) not in accepted:
                self._on_stale()
                self.forget(operation_id, attempt)

    async def run(self) -> None:
        """Flushes about once a second, while there is something to flush."""
        while True:
            await self._something.wait()
            self._something.clear()
            await self.flush()
            await asyncio.sleep(FLUSH_INTERVAL)
