"""Operations in PostgreSQL: created, read, and written to without a change of status. Those stand in `transitions`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from holdfast.errors import InternalError, NotFound
from holdfast.kinds import LOCAL_KINDS, WORKER_KINDS
from holdfast.services.coordinator.operations import lifecycle
from holdfast.services.coordinator.operations.changes import Changes
from holdfast.services.coordinator.operations.lifecycle import Status
from holdfast.services.coordinator.operations.records import Event, Operation, plain
from holdfast.services.coordinator.operations.transitions import Details, Request, plain_details, status_names
from holdfast.services.coordinator.postgres.pool import Database
from holdfast.services.coordinator.postgres.queries import statement

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


class Store:
    """Creates, reads and records."""

    def __init__(self, database: Database, changes: Changes) -> None:
        self.database = database
        self.changes = changes

    # Reading

    async def find(self, operation_id: str) -> Operation | None:
        """The operation, or None."""
        row = await self.database.fetch_one("get_operation", id=operation_id)
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
        rows = await self.database.fetch(
            "list_operations", below_time=time, below_id=identifier, limit=limit, **_filter(where)
        )
        return [Operation.from_row(row) for row in rows]

    async def count(self, where: Filter) -> int:
        """How many a list would show on all its pages together."""
        row = await self.database.fetch_one("count_operations", **_filter(where))
        return int(row["count"]) if row else 0

    async def count_by_status(self, *, within: float | None = None) -> dict[str, int]:
        """Only statuses that occur. `within` is the time of one try, seconds; by default the connection's own."""
        bound = statement("count_by_status")
        rows = await self.database.run(lambda connection: connection.fetch(*bound, timeout=within))
        return {row["status"]: row["operations"] for row in rows}

    async def live(self, worker_id: str | None = None) -> list[Operation]:
        """What some worker (or this one) should be running."""
        return await self._live(WORKER_KINDS, worker_id)

    async def local_live(self) -> list[Operation]:
        """What ran inside a coordinator: researches and their children."""
        return await self._live(LOCAL_KINDS, None)

    async def _live(self, kinds: Iterable[str], worker_id: str | None) -> list[Operation]:
        rows = await self.database.fetch(
            "list_live", statuses=status_names(lifecycle.LIVE), kinds=list(kinds), worker_id=worker_id
        )
        return [Operation.from_row(row) for row in rows]

    async def queued(self) -> list[tuple[str, int]]:
        """Id and attempt of everything that waits for a worker."""
        rows = await self.database.fetch("list_queued", statuses=status_names(lifecycle.QUEUED))
        return [(row["id"], row["attempt"]) for row in rows]

    async def count_undelivered(self, operation_id: str) -> int:
        """Claims in a row of which nobody knows whether the worker got them."""
        row = await self.database.fetch_one("count_undelivered", id=operation_id)
        return int(row["count"]) if row else 0

    async def newest_model(self, model_digest: str) -> Operation | None:
        """The newest completed training with this model digest."""
        row = await self.database.fetch_one("newest_model", model_digest=model_digest)
        return Operation.from_row(row) if row else None

    async def events(self, operation_id: str, after: int, limit: int = 1000) -> list[Event]:
        """In order."""
        rows = await self.database.fetch("list_events", operation_id=operation_id, after=after, limit=limit)
        return [Event.from_row(row) for row in rows]

    async def find_request(self, request_id: str) -> Any | None:
        """What an earlier call with this id has done: method, digest, operation_id, checkpoint_id."""
        return await self.database.fetch_one("get_request", request_id=request_id)

    async def forget_requests(self, age: timedelta) -> None:
        """Drops the memory of calls that nobody repeats any more."""
        await self.database.execute("forget_requests", age=age)

    # Writing without a change of status

    async def create(self, new: NewOperation, request: Request, message: str, details: Details) -> Operation:
        """PENDING, with its first event. Raises LostRace (REQUEST_REPEATED, OPERATION_EXISTS)."""
        row = await self.database.fetch_one(
            "create_operation",
            id=new.id,
            kind=new.kind,
            max_attempts=new.max_attempts,
            spec=new.spec,
            strategy_name=plain(new.strategy_name),
            model_digest=new.model_digest,
            requirements=list(new.requirements),
            event="CREATED",
            message=plain(message),
            details=plain_details(details),
            request_id=request.id or None,
            method=request.method,
            request_digest=request.digest,
        )
        created = self.changes.published(row, "CREATED", plain(message), plain_details(details))
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
        event_type, message, known = plain(event_type), plain(message), plain_details(details or {})
        if fact is not None:
            known["fact"] = fact
        row = await self.database.fetch_one(
            "record_event",
            id=operation_id,
            attempt=attempt,
            statuses=None if only is None else status_names(only),
            event=event_type,
            message=message,
            details=known,
            fact=fact,
            worker_id=worker_id,
        )
        return self.changes.published(row, event_type, message, known)

    async def save_progress(self, reports: Mapping[str, tuple[int, str, bytes]]) -> set[tuple[str, int]]:
        """The newest progress of many runs (attempt, worker, bytes) in one statement; returns those that are live."""
        rows = await self.database.fetch(
            "save_progress",
            ids=list(reports),
            attempts=[attempt for attempt, _, _ in reports.values()],
            worker_ids=[worker_id for _, worker_id, _ in reports.values()],
            progress=[progress for _, _, progress in reports.values()],
            statuses=status_names(lifecycle.LIVE),
        )
        return {(row["id"], row["attempt"]) for row in rows}


def _filter(where: Filter) -> dict[str, Any]:
    return {
        "statuses": status_names(where.statuses),
        "kinds": list(where.kinds),
        "resumable_only": where.resumable_only,
        "resumable": status_names(lifecycle.RESUMABLE),
    }
