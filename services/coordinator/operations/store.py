"""Operations in PostgreSQL: created, read and published. Their changes of status stand in `transitions`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from holdfast.errors import InternalError, NotFound
from holdfast.services.coordinator.operations import lifecycle
from holdfast.services.coordinator.operations.lifecycle import Status
from holdfast.services.coordinator.operations.records import LOCAL_KINDS, WORKER_KINDS, Event, Operation, plain
from holdfast.services.coordinator.operations.transitions import (
    Details,
    Request,
    Transitions,
    plain_details,
    status_names,
)
from holdfast.services.coordinator.postgres.queries import query

__all__ = ["Filter", "NewOperation", "Store"]


@dataclass(frozen=True, slots=True)
class NewOperation:
    """What `create` needs. `id` is made by the caller, so that a repeat after a lost answer makes no second one."""

    id: str
    kind: str
    max_attempts: int
    spec: bytes
    strategy_name: str
    model_digest: str
    requirements: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Filter:
    """Which operations a list shows. Empty tuples mean all."""

    statuses: tuple[Status, ...] = ()
    kinds: tuple[str, ...] = ()
    resumable_only: bool = False


class Store(Transitions):
    """All reads and writes of operations; `patient()` gives the same for background work."""

    def patient(self) -> Store:
        """The same store, waiting for a lost database as long as it takes."""
        return Store(self.database.patient(), self.changes)

    # Reading

    async def find(self, operation_id: str) -> Operation | None:
        """The operation, or None."""
        row = await self.database.fetch_one("get_operation", operation_id)
        return Operation.from_row(row) if row else None

    async def get(self, operation_id: str) -> Operation:
        """The operation. Raises NotFound."""
        operation = await self.find(operation_id)
        if operation is None:
            raise NotFound(
                f"There is no operation {operation_id}. See `holdfast operations list`.",
                reason="OPERATION_NOT_FOUND",
                metadata={"operation_id": operation_id},
            )
        return operation

    async def page(self, where: Filter, limit: int, below: tuple[datetime, str] | None = None) -> list[Operation]:
        """Newest first."""
        time, identifier = below or (None, None)
        rows = await self.database.fetch("list_operations", *_filter(where), time, identifier, limit)
        return [Operation.from_row(row) for row in rows]

    async def count(self, where: Filter) -> int:
        """How many a list would show on all its pages together."""
        row = await self.database.fetch_one("count_operations", *_filter(where))
        return int(row["count"]) if row else 0

    async def count_by_status(self, *, within: float | None = None) -> dict[str, int]:
        """Only statuses that occur. `within` is the time of one try, seconds; by default the connection's own."""
        rows = await self.database.run(lambda connection: connection.fetch(query("count_by_status"), timeout=within))
        return {row["status"]: row["operations"] for row in rows}

    async def live(self, worker_id: str | None = None) -> list[Operation]:
        """What some worker (or this one) should be running."""
        rows = await self.database.fetch("list_live", status_names(lifecycle.LIVE), list(WORKER_KINDS), worker_id)
        return [Operation.from_row(row) for row in rows]

    async def local_live(self) -> list[Operation]:
        """What ran inside a coordinator: researches and their children."""
        rows = await self.database.fetch("list_live", status_names(lifecycle.LIVE), list(LOCAL_KINDS), None)
        return [Operation.from_row(row) for row in rows]

    async def newest_model(self, model_digest: str) -> Operation | None:
        """The newest completed training with this model digest."""
        row = await self.database.fetch_one("newest_model", model_digest)
        return Operation.from_row(row) if row else None

    async def events(self, operation_id: str, after: int, limit: int = 1000) -> list[Event]:
        """In order."""
        rows = await self.database.fetch("list_events", operation_id, after, limit)
        return [Event.from_row(row) for row in rows]

    async def find_request(self, request_id: str) -> Any | None:
        """What an earlier call with this id has done: method, digest, operation_id, checkpoint_id."""
        return await self.database.fetch_one("get_request", request_id)

    async def forget_requests(self, age: timedelta) -> None:
        """Drops the memory of calls that nobody repeats any more."""
        await self.database.run(lambda connection: connection.execute(query("forget_requests"), age))

    # Writing without a change of status

    async def create(self, new: NewOperation, request: Request, message: str, details: Details) -> Operation:
        """PENDING, with its first event. Raises LostRace (REQUEST_REPEATED, OPERATION_EXISTS)."""
        row = await self.database.fetch_one(
            "create_operation",
            new.id,
            new.kind,
            new.max_attempts,
            new.spec,
            plain(new.strategy_name),
            new.model_digest,
            list(new.requirements),
            plain(message),
            plain_details(details),
            request.id or None,
            request.method,
            request.digest,
        )
        created = self.published(row, "CREATED", message, details)
        if created is None:
            raise InternalError(f"The database made no row for {new.id}: a defect of Holdfast.")
        return created

    async def record_event(
        self,
        operation_id: str,
        event_type: str,
        message: str,
        details: Details | None = None,
        *,
        attempt: int | None = None,
        only: Iterable[Status] | None = None,
        fact: str | None = None,
        worker_id: str | None = None,
    ) -> Operation | None:
        """An event that changes no status. `worker_id`: only if the operation is its.

        None: the attempt or the worker is stale, the status another, or the fact already recorded.
        """
        known = dict(details or {})
        if fact is not None:
            known["fact"] = fact
        statuses = None if only is None else status_names(only)
        row = await self.database.fetch_one(
            "record_event",
            operation_id,
            attempt,
            statuses,
            plain(event_type),
            plain(message),
            plain_details(known),
            fact,
            worker_id,
        )
        return self.published(row, event_type, message, known)

    async def save_progress(self, reports: Mapping[str, tuple[int, str, bytes]]) -> set[tuple[str, int]]:
        """The newest progress of many runs (attempt, worker, bytes) in one statement; returns those that are live."""
        rows = await self.database.fetch(
            "save_progress",
            list(reports),
            [attempt for attempt, _, _ in reports.values()],
            [worker_id for _, worker_id, _ in reports.values()],
            [progress for _, _, progress in reports.values()],
            status_names(lifecycle.LIVE),
        )
        return {(row["id"], row["attempt"]) for row in rows}


def _filter(where: Filter) -> tuple[list[str], list[str], bool, list[str]]:
    return status_names(where.statuses), list(where.kinds), where.resumable_only, status_names(lifecycle.RESUMABLE)
