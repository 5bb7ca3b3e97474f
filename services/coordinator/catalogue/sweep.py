"""The clean-up of the store: checkpoints by age; what no row names, through a quarantine. Owns when, and the order.

What may go is `collection`'s rule, where it waits is `quarantine`'s. One failure stops nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from holdfast.errors import HoldfastError
from holdfast.services.coordinator.catalogue import collection, quarantine
from holdfast.services.coordinator.catalogue.checkpoints import Checkpoints
from holdfast.services.coordinator.catalogue.collection import Known
from holdfast.services.coordinator.operations.lifecycle import ENDED
from holdfast.services.coordinator.operations.store import Store
from holdfast.services.coordinator.postgres.pool import Database

__all__ = ["LED_BEFORE", "REQUESTS_REMEMBERED", "Sweep", "Swept"]

log = structlog.get_logger()

# Workers that were away, and facts in their outboxes, have come back by then; a person has seen what is wrong.
LED_BEFORE = 3600.0  # seconds that the coordinator must have led before anything is collected
REQUESTS_REMEMBERED = timedelta(days=30)

_FAILURES = (HoldfastError, OSError, ValueError)


@dataclass(slots=True)
class Swept:
    """What went, or would go."""

    checkpoint_ids: list[str] = field(default_factory=list)
    quarantined: list[str] = field(default_factory=list)
    bytes_quarantined: int = 0
    deleted: list[str] = field(default_factory=list)
    bytes_freed: int = 0
    failures: list[str] = field(default_factory=list)
    note: str = ""


class Sweep:
    """`once` for callers, `run` for the background.

    `last_time`: seconds since the epoch, 0: not since the start. `leads_since`: by `led_clock`.
    """

    def __init__(
        self,
        store: Store,
        database: Database,
        checkpoints: Checkpoints,
        store_id: str,
        *,
        max_age_days: int,
        quarantine_days: int,
        interval: float,
        clock: Callable[[], float] = time.time,
        led_clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._database = database
        self.checkpoints = checkpoints
        self._artifacts = checkpoints.artifacts
        self._store_id = store_id
        self._max_age_days = max_age_days
        self._quarantine_days = quarantine_days
        self._interval = interval
        self._clock = clock
        # A clock of its own: the wall's may be set right after the start.
        self._led_clock = led_clock
        self.leads_since = led_clock()
        self.last_time = 0.0

    async def run(self) -> None:
        """An hour after the start, then every interval, for ever."""
        await asyncio.sleep(LED_BEFORE)
        while True:
            try:
                await self.once()
                await self._store.forget_requests(REQUESTS_REMEMBERED)
            except _FAILURES as error:
                log.warning("Sweep failed", error=str(error))
            await asyncio.sleep(self._interval)

    async def once(self, max_age_days: int = 0, *, dry_run: bool = False) -> Swept:
        """One clean-up; 0 days mean the setting. `dry_run` tells and changes nothing."""
        swept = Swept()
        await self._expire(timedelta(days=max_age_days or self._max_age_days), swept, dry_run)
        missing = LED_BEFORE - (self._led_clock() - self.leads_since)
        if missing > 0:
            swept.note = (
                "Only checkpoints older than the limit were looked at. What no row names is collected once this "
                f"coordinator has led for an hour, in {missing / 60:.0f} minutes: workers may still report theirs."
            )
        else:
            await self._collect(swept, dry_run)
            await self._empty_quarantine(swept, dry_run)
        if not dry_run:
            self.last_time = self._clock()
            log.info(
                "Store swept",
                checkpoints=len(swept.checkpoint_ids),
                quarantined=len(swept.quarantined),
                bytes_quarantined=swept.bytes_quarantined,
                deleted=len(swept.deleted),
                bytes_freed=swept.bytes_freed,
                failures=swept.failures,
                note=swept.note,
            )
        return swept

    async def quarantined(self) -> list[quarantine.Held]:
        """What lies in the quarantine now."""
        return await asyncio.to_thread(quarantine.held, self._artifacts)

    async def _expire(self, age: timedelta, swept: Swept, dry_run: bool) -> None:
        for checkpoint in await self.checkpoints.expired(age):
            try:
                freed = checkpoint.size_bytes if dry_run else await self.checkpoints.expire(checkpoint)
            except _FAILURES as error:
                swept.failures.append(f"{checkpoint.checkpoint_id}: {error}")
                continue
            if freed is not None:
                swept.checkpoint_ids.append(checkpoint.checkpoint_id)
                swept.bytes_freed += freed

    async def _collect(self, swept: Swept, dry_run: bool) -> None:
        found = await asyncio.to_thread(collection.directories, self._artifacts)
        empty = await asyncio.to_thread(self._artifacts.empty_directories)
        # Read after the listing: what got its row meanwhile is named now.
        operations = await self._known({entry.operation_id for entry in found} | set(empty))
        named = {row["id"] for row in await self._database.fetch("known_checkpoints")}
        chosen, unknown = await asyncio.to_thread(
            collection.collectable,
            self._artifacts,
            self._store_id,
            found,
            operations,
            named,
            self._clock(),
        )
        if unknown:
            swept.note = (
                f"{len(unknown)} directories stay that belong to operations which this database does not know: it was "
                "restored from an older backup, or the store was adopted. Delete them by hand if nobody needs them: "
                f"{', '.join(sorted({entry.operation_id for entry in unknown})[:5])} …"
            )
        for entry in chosen:
            try:
                if not dry_run:
                    where = await asyncio.to_thread(quarantine.put, self._artifacts, entry.path, self._clock())
                    log.info("Directory quarantined", path=entry.path, where=where, size_bytes=entry.size_bytes)
            except _FAILURES as error:
                swept.failures.append(f"{entry.path}: {error}")
                continue
            swept.quarantined.append(entry.path)
            swept.bytes_quarantined += entry.size_bytes
        if not dry_run:
            ended = [name for name in empty if name in operations and operations[name].status in ENDED]
            for name in {*ended, *(entry.operation_id for entry in chosen)}:
                await asyncio.to_thread(self._artifacts.remove_empty, name)

    async def _known(self, operation_ids: set[str]) -> dict[str, Known]:
        rows = await self._database.fetch("known_operations", ids=sorted(operation_ids))
        return {row["id"]: Known.from_row(row) for row in rows}

    async def _empty_quarantine(self, swept: Swept, dry_run: bool) -> None:
        overdue = await asyncio.to_thread(
            quarantine.overdue, self._artifacts, self._store_id, self._quarantine_days, self._clock()
        )
        for entry in overdue:
            try:
                freed = entry.size_bytes
                if not dry_run:
                    freed = await asyncio.to_thread(quarantine.remove, self._artifacts, entry.path)
                    log.info("Quarantined directory deleted", path=entry.path, bytes_freed=freed)
            except _FAILURES as error:
                swept.failures.append(f"{entry.path}: {error}")
                continue
            swept.deleted.append(entry.path)
            swept.bytes_freed += freed
