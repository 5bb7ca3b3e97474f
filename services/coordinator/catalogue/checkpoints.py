"""The catalogue of checkpoints: rows in PostgreSQL that point into the artifact store. Owns the order of both.

A row is written after its artifacts and deleted before them, so that a row never names what is not there. What a crash
leaves behind in the store no row names, and the sweep takes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from holdfast.artifacts.catalogue import delete_checkpoint, discover_checkpoints, newest_attempt, verify_checkpoint
from holdfast.artifacts.store import Store as ArtifactStore
from holdfast.errors import HoldfastError, NotFound, NotPossible
from holdfast.kinds import position
from holdfast.services.coordinator.operations import lifecycle
from holdfast.services.coordinator.operations.lifecycle import Status
from holdfast.services.coordinator.operations.records import (
    Operation,
    checkpoint_from_row,
    checkpoint_ref,
    plain,
)
from holdfast.services.coordinator.operations.store import Store
from holdfast.services.coordinator.postgres.pool import Database
from holdfast.v1 import checkpoint_pb2

__all__ = ["KEEP", "Checkpoint", "Checkpoints"]

log = structlog.get_logger()

KEEP = 2  # so that a bad newest one falls back to the last good one

Checkpoint = checkpoint_pb2.Checkpoint


class Checkpoints:
    """Saves, lists, verifies and deletes checkpoints; `run` deletes artifacts in the background.

    `event_interval`: least seconds between two events of periodic checkpoints in one attempt's story; 0: each has one.
    """

    def __init__(
        self, store: Store, database: Database, artifacts: ArtifactStore, *, event_interval: float = 0.0
    ) -> None:
        self._store = store
        self._event_interval = event_interval
        self._database = database
        self.artifacts = artifacts
        self._pending_deletions: asyncio.Queue[str] = asyncio.Queue()

    # Saving

    async def save(
        self,
        operation_id: str,
        attempt: int,
        checkpoint: Checkpoint,
        *,
        only: Sequence[Status] = tuple(lifecycle.LIVE),
        event_type: str = "CHECKPOINT_SAVED",
        message: str = "",
        worker_id: str | None = None,
    ) -> Operation | None:
        """Makes it the operation's newest, in one statement with its event; older than the newest two then go.

        Periodic ones follow each other several times a second: their events are thinned; watchers see them anyway.
        `worker_id`: only if the operation is its. None: the attempt or the worker is stale, or this is known already.
        """
        time = checkpoint.create_time.ToDatetime(tzinfo=UTC)
        if not checkpoint.HasField("create_time"):
            time = datetime.now(UTC)
        kind = _type_name(checkpoint)
        text = message or f"Checkpoint saved at {position(checkpoint)} ({kind.lower()})"
        details = {
            "checkpoint_id": checkpoint.checkpoint_id,
            "type": kind,
            "size_bytes": str(checkpoint.size_bytes),
        }
        row = await self._database.fetch_one(
            "save_checkpoint",
            operation_id=operation_id,
            attempt=attempt,
            statuses=sorted(status.value for status in only),
            worker_id=worker_id,
            id=plain(checkpoint.checkpoint_id),
            saved_attempt=checkpoint.attempt,
            type=kind,
            unit_name=plain(checkpoint.unit_name),
            unit=checkpoint.unit,
            step=checkpoint.step,
            manifest_digest=plain(checkpoint.manifest_digest),
            size_bytes=checkpoint.size_bytes,
            data_digest=plain(checkpoint.data_digest),
            create_time=time,
            event=event_type,
            message=text,
            details=details,
            event_interval=self._event_interval,
        )
        if row is None:
            return None
        newest = (
            checkpoint if row["checkpoint_id"] == checkpoint.checkpoint_id else await self.get(row["checkpoint_id"])
        )
        operation = replace(Operation.from_row(row), checkpoint=newest)
        if row["recorded"]:
            self._store.changes.publish(operation, event_type, text, details)
        else:
            self._store.changes.show(operation)
        for dropped in await self._database.fetch("drop_older", operation_id=operation_id, keep=KEEP):
            self._pending_deletions.put_nowait(dropped["id"])
        return operation

    async def drop_all_of(self, operation_id: str) -> None:
        """The operation is COMPLETED: nothing will continue it."""
        for row in await self._database.fetch("drop_all_of", operation_id=operation_id):
            self._pending_deletions.put_nowait(row["id"])

    async def discover(self, operation: Operation) -> Checkpoint | None:
        """Finds checkpoints of the newest attempt that no row names, because the worker died before it could tell.

        Or of later ones: the database was restored from a backup that is older than the store.

        Returns the newest when one was found. Never raises for an unavailable store: what is known then has to do.
        """
        try:
            found = await asyncio.to_thread(discover_checkpoints, self.artifacts, operation.id)
        except (HoldfastError, OSError, ValueError) as error:
            log.warning("Checkpoint discovery failed", operation=operation.id, error=str(error))
            return None
        known = {row["id"] for row in await self._database.fetch("list_checkpoints_of", operation_id=operation.id)}
        # An older attempt was fenced: what it wrote after that belongs to nobody.
        newer = [
            checkpoint
            for checkpoint in found
            if checkpoint.attempt >= operation.attempt
            and checkpoint.checkpoint_id not in known
            and (operation.checkpoint is None or _position(checkpoint) > _position(operation.checkpoint))
        ]
        if not newer:
            return None
        newest = max(newer, key=_position)
        saved = await self.save(
            operation.id,
            operation.attempt,
            newest,
            only=(*lifecycle.LIVE, Status.FAILED, Status.CANCELLED),
            event_type="CHECKPOINT_DISCOVERED",
            message=f"Found in the store: a checkpoint at {position(newest)} that its worker could not report",
        )
        return newest if saved is not None else None

    async def newest_attempt(self, operation_id: str) -> int:
        """The greatest attempt that left anything in the store; 0 for none, or when the store does not tell.

        A new attempt must be greater: its directories would be there already.
        """
        try:
            return await asyncio.to_thread(newest_attempt, self.artifacts, operation_id)
        except (HoldfastError, OSError, ValueError) as error:
            log.warning("Attempts in the store not read", operation=operation_id, error=str(error))
            return 0

    # Reading

    async def get(self, checkpoint_id: str) -> Checkpoint:
        """Raises NotFound."""
        row = await self._database.fetch_one("get_checkpoint", id=checkpoint_id)
        if row is None:
            raise NotFound(
                f"There is no checkpoint {checkpoint_id}. See `holdfast checkpoints list`.",
                reason="CHECKPOINT_NOT_FOUND",
                metadata={"checkpoint_id": checkpoint_id},
            )
        return checkpoint_from_row(row)

    async def of_operation(self, operation_id: str) -> list[tuple[Checkpoint, bool]]:
        """Newest first, each with whether it is known to be corrupt."""
        rows = await self._database.fetch("list_checkpoints_of", operation_id=operation_id)
        return [(checkpoint_from_row(row), row["corrupt_time"] is not None) for row in rows]

    async def page(
        self, operation_id: str | None, limit: int, below: tuple[datetime, str] | None
    ) -> list[tuple[Checkpoint, datetime]]:
        """Newest first, with the exact time that a page token needs."""
        time, identifier = below or (None, None)
        rows = await self._database.fetch(
            "list_checkpoints", operation_id=operation_id, below_time=time, below_id=identifier, limit=limit
        )
        return [(checkpoint_from_row(row), row["create_time"]) for row in rows]

    async def verify(self, checkpoint: Checkpoint) -> tuple[list[str], int]:
        """Reads every byte: problems, one line each, and how many bytes were read."""
        problems, size = await asyncio.to_thread(verify_checkpoint, self.artifacts, checkpoint_ref(checkpoint))
        if problems:
            await self.mark_corrupt(checkpoint.checkpoint_id)
        return problems, size

    async def mark_corrupt(self, checkpoint_id: str) -> None:
        """No resume takes it again unless it is named."""
        await self._database.execute("mark_corrupt", id=checkpoint_id)

    async def stats(self) -> tuple[Any, dict[str, int]]:
        """The row over all, and the number by type."""
        rows = await self._database.fetch("checkpoint_stats")
        total = next(row for row in rows if row["type"] is None)
        return total, {row["type"]: row["checkpoints"] for row in rows if row["type"] is not None}

    # Deleting

    async def delete(self, checkpoint_id: str) -> int:
        """Deletes one and returns the bytes freed. Raises NotFound, NotPossible (CHECKPOINT_IN_USE)."""
        checkpoint = await self.get(checkpoint_id)
        row = await self._drop(checkpoint, f"The checkpoint at {position(checkpoint)} was deleted on request")
        if row is None:
            raise NotPossible(
                f"The checkpoint {checkpoint_id} belongs to an operation that is running or about to: it may be read "
                "now. Wait for the end, or cancel the operation first.",
                reason="CHECKPOINT_IN_USE",
                metadata={"checkpoint_id": checkpoint_id, "operation_id": checkpoint.operation_id},
            )
        return await asyncio.to_thread(delete_checkpoint, self.artifacts, checkpoint.checkpoint_id)

    async def expire(self, checkpoint: Checkpoint) -> int | None:
        """Deletes one that is too old; None when its operation lives again meanwhile."""
        row = await self._drop(checkpoint, f"The checkpoint at {position(checkpoint)} was deleted because of its age")
        if row is None:
            return None
        return await asyncio.to_thread(delete_checkpoint, self.artifacts, checkpoint.checkpoint_id)

    async def expired(self, age: timedelta) -> list[Checkpoint]:
        """Of ended operations, older than `age`."""
        ended = sorted(status.value for status in lifecycle.ENDED)
        return [checkpoint_from_row(row) for row in await self._database.fetch("list_expired", age=age, statuses=ended)]

    async def run(self) -> None:
        """Deletes the artifacts of dropped rows, one after the other; a failure is logged and left to the sweep."""
        while True:
            identifier = await self._pending_deletions.get()
            try:
                await asyncio.to_thread(delete_checkpoint, self.artifacts, identifier)
            except (HoldfastError, OSError, ValueError) as error:
                log.warning("Checkpoint not deleted", checkpoint=identifier, error=str(error))

    async def _drop(self, checkpoint: Checkpoint, message: str) -> Any | None:
        ended = sorted(status.value for status in lifecycle.ENDED)
        return await self._database.fetch_one(
            "drop_checkpoint", id=checkpoint.checkpoint_id, statuses=ended, message=message
        )


def _position(checkpoint: Checkpoint) -> tuple[int, int, int]:
    return checkpoint.attempt, checkpoint.unit, checkpoint.step


def _type_name(checkpoint: Checkpoint) -> str:
    # A type that only a newer worker knows: how to continue from it does not depend on why it was made.
    known = checkpoint.type in checkpoint_pb2.CheckpointType.values() and checkpoint.type
    return checkpoint_pb2.CheckpointType.Name(checkpoint.type).removeprefix("CHECKPOINT_TYPE_") if known else "PERIODIC"
