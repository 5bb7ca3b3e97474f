"""The clean-up of checkpoints: by age, and what in the store no row names. Owns what may go; one failure stops nothing.

Only directories of operations are looked at. Models and results are named by their operations' results, or wait in a
worker's outbox for their report.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from coordinator.checkpoints import Checkpoints
from coordinator.lifecycle import ENDED
from coordinator.records import result_path
from coordinator.store import Store
from holdfast.checkpoints.store import StoredFile
from holdfast.errors import HoldfastError

log = structlog.get_logger()

YOUNG = 3600.0  # seconds; a directory younger than this may be waiting for its row
REQUESTS_REMEMBERED = timedelta(days=30)
FIRST_SWEEP = 60.0  # seconds after the start


@dataclass(slots=True)
class Swept:
    """What went, or would go."""

    checkpoint_ids: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    bytes_freed: int = 0
    failures: list[str] = field(default_factory=list)


class Sweep:
    """`once` for callers, `run` for the background."""

    def __init__(
        self,
        store: Store,
        checkpoints: Checkpoints,
        *,
        max_age_days: int,
        interval: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._checkpoints = checkpoints
        self._max_age_days = max_age_days
        self._interval = interval
        self._clock = clock

    async def run(self) -> None:
        """Soon after the start, then every interval, for ever."""
        await asyncio.sleep(min(FIRST_SWEEP, self._interval))
        while True:
            try:
                swept = await self.once()
                await self._store.forget_requests(REQUESTS_REMEMBERED)
                log.info(
                    "Checkpoints swept",
                    checkpoints=len(swept.checkpoint_ids),
                    directories=len(swept.paths),
                    bytes_freed=swept.bytes_freed,
                    failures=swept.failures,
                )
            except (HoldfastError, OSError) as error:
                log.warning("Sweep failed", error=str(error))
            await asyncio.sleep(self._interval)

    async def once(self, max_age_days: int = 0, *, dry_run: bool = False) -> Swept:
        """One clean-up; 0 days mean the setting. `dry_run` tells and deletes nothing."""
        swept = Swept()
        await self._expire(timedelta(days=max_age_days or self._max_age_days), swept, dry_run)
        await self._collect(swept, dry_run)
        return swept

    async def _expire(self, age: timedelta, swept: Swept, dry_run: bool) -> None:
        for checkpoint in await self._checkpoints.expired(age):
            try:
                freed = checkpoint.size_bytes if dry_run else await self._checkpoints.expire(checkpoint)
            except (HoldfastError, OSError, ValueError) as error:
                swept.failures.append(f"{checkpoint.checkpoint_id}: {error}")
                continue
            if freed is not None:
                swept.checkpoint_ids.append(checkpoint.checkpoint_id)
                swept.bytes_freed += freed

    async def _collect(self, swept: Swept, dry_run: bool) -> None:
        directories = await asyncio.to_thread(self._directories)
        # Read after the listing: what got its row meanwhile is named now.
        rows = await self._store.database.fetch("known_paths")
        ended = {status.value for status in ENDED}
        busy = {row["operation_id"] for row in rows if row["path"] is None and row["status"] not in ended}
        named = {row["path"] or result_path(row["kind"], row["result"]) for row in rows}
        oldest_kept = self._clock() - YOUNG
        for directory, files in directories.items():
            young = max(file.modified for file in files) > oldest_kept
            if directory in named or young or directory.split("/")[0] in busy:
                continue
            size = sum(file.size for file in files)
            try:
                if not dry_run:
                    size = await asyncio.to_thread(self._checkpoints.artifacts.delete, directory)
            except (HoldfastError, OSError, ValueError) as error:
                swept.failures.append(f"{directory}: {error}")
                continue
            swept.paths.append(directory)
            swept.bytes_freed += size

    def _directories(self) -> dict[str, list[StoredFile]]:
        """Files by "<operation>/<checkpoint, model or result>"."""
        found: dict[str, list[StoredFile]] = {}
        for file in self._checkpoints.artifacts.list():
            parts = file.path.split("/")
            if len(parts) == 3:
                found.setdefault("/".join(parts[:2]), []).append(file)
        return found
