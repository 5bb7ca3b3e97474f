"""Continues crashed operations by itself where their owner asked for it (max_attempts). Owns when to stop trying.

The promise stands in the row (automatic_resume_time), written by the statement that wrote the failure: a restart of the
coordinator forgets none.
"""

from __future__ import annotations

import asyncio
import contextlib

import structlog

from holdfast.errors import HoldfastError, LostRace
from holdfast.kinds import position
from holdfast.services.coordinator.operations.records import Event, Operation
from holdfast.services.coordinator.operations.resume import Resuming
from holdfast.services.coordinator.operations.store import Store
from holdfast.services.coordinator.operations.transitions import Request, Transitions
from holdfast.services.coordinator.postgres.pool import Database

__all__ = ["FIRST_DELAY", "IDLE_ATTEMPTS", "LONGEST_SLEEP", "NOBODY", "AutomaticResume"]

log = structlog.get_logger()

FIRST_DELAY = 2.0  # seconds, doubled with every automatic resume
# So many attempts in a row that ended where they began are a crash loop.
IDLE_ATTEMPTS = 2
LONGEST_SLEEP = 60.0  # seconds

NOBODY = Request("", "AutomaticResume", "")


class AutomaticResume:
    """`run` is its background task; it sleeps until the next promise is due."""

    def __init__(self, store: Store, transitions: Transitions, database: Database, resuming: Resuming) -> None:
        self._store = store
        self._transitions = transitions
        self._database = database
        self._resuming = resuming
        self._wake = asyncio.Event()
        store.changes.listen(self._changed)

    async def run(self) -> None:
        """For ever."""
        while True:
            self._wake.clear()
            rows = await self._database.fetch("list_automatic_resumes")
            for row in rows:
                if row["due_in"] <= 0:
                    await self._continue(row["id"], row["attempt"])
            waits = [row["due_in"] for row in rows if row["due_in"] > 0]
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min([LONGEST_SLEEP, *waits]) if waits else None):
                    await self._wake.wait()

    async def _continue(self, operation_id: str, attempt: int) -> None:
        operation = await self._store.find(operation_id)
        if operation is None or operation.attempt != attempt or operation.automatic_resume_time is None:
            return
        if operation.checkpoint is not None:
            idle = await self._idle_attempts(operation, operation.checkpoint.checkpoint_id)
            if idle >= IDLE_ATTEMPTS:
                await self._stop(
                    operation,
                    f"{idle} attempts in a row ended where they began, at {position(operation.checkpoint)}: a crash "
                    "loop. Look at the failure before resuming",
                )
                return
        try:
            await self._resuming.resume(operation_id, NOBODY, automatic=True)
        except LostRace:
            log.info("Automatic resume lost the race", operation=operation_id)
        except (HoldfastError, OSError) as error:
            await self._stop(operation, str(error))

    async def _idle_attempts(self, operation: Operation, checkpoint_id: str) -> int:
        row = await self._database.fetch_one("count_idle_attempts", id=operation.id, checkpoint_id=checkpoint_id)
        return int(row["count"]) if row else 0

    async def _stop(self, operation: Operation, why: str) -> None:
        log.warning("Automatic resume stopped", operation=operation.id, attempt=operation.attempt, reason=why)
        await self._transitions.stop_automatic_resume(
            operation.id, operation.attempt, "AUTOMATIC_RESUME_STOPPED", f"No further automatic resume: {why}"
        )

    def _changed(self, operation: Operation, _: Event) -> None:
        if operation.automatic_resume_time is not None:
            self._wake.set()
