"""Operations in PostgreSQL: created, read, and moved by compare-and-set. Owns no rule: `lifecycle` says what is legal.

Every transition returns the row as it stands after it, or None when the compare failed: somebody else was first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from coordinator import lifecycle
from coordinator.changes import Changes
from coordinator.database import Connection, Database
from coordinator.lifecycle import Cause, Status
from coordinator.queries import query
from coordinator.records import LOCAL_KINDS, WORKER_KINDS, Event, Operation, plain, serialized
from holdfast.errors import InternalError, NotFound
from holdfast.v1 import operation_pb2, worker_pb2

ORPHANED = "ORPHANED"

Details = Mapping[str, str]


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
class Request:
    """A call that carries a request_id; empty means that the caller gave none."""

    id: str
    method: str
    digest: str


@dataclass(frozen=True, slots=True)
class Filter:
    """Which operations a list shows. Empty tuples mean all."""

    statuses: tuple[Status, ...] = ()
    kinds: tuple[str, ...] = ()
    resumable_only: bool = False


class Store:
    """All reads and writes of operations; `patient()` gives the same for background work."""

    def __init__(self, database: Database, changes: Changes) -> None:
        self.database = database
        self.changes = changes

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

    async def count_by_status(self) -> dict[str, int]:
        """Only statuses that occur."""
        return {row["status"]: row["operations"] for row in await self.database.fetch("count_by_status")}

    async def live(self, worker_id: str | None = None) -> list[Operation]:
        """What some worker (or this one) should be running."""
        rows = await self.database.fetch("list_live", _names(lifecycle.LIVE), list(WORKER_KINDS), worker_id)
        return [Operation.from_row(row) for row in rows]

    async def local_live(self) -> list[Operation]:
        """What ran inside a coordinator: researches and their children."""
        rows = await self.database.fetch("list_live", _names(lifecycle.LIVE), list(LOCAL_KINDS), None)
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
            _plain(details),
            request.id or None,
            request.method,
            request.digest,
        )
        created = self._told(row, "CREATED", message, details)
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
        only: Sequence[Status] | None = None,
        fact: str | None = None,
    ) -> Operation | None:
        """An event that changes no status. None: the attempt is stale, the status another, or the fact already told."""
        known = dict(details or {})
        if fact is not None:
            known["fact"] = fact
        statuses = None if only is None else _names(only)
        row = await self.database.fetch_one(
            "record_event", operation_id, attempt, statuses, plain(event_type), plain(message), _plain(known), fact
        )
        return self._told(row, event_type, message, known)

    async def save_progress(self, reports: Mapping[str, tuple[int, bytes]]) -> set[tuple[str, int]]:
        """The newest progress of many runs in one statement; returns those whose attempt is still the live one."""
        rows = await self.database.fetch(
            "save_progress",
            list(reports),
            [attempt for attempt, _ in reports.values()],
            [progress for _, progress in reports.values()],
            _names(lifecycle.LIVE),
        )
        return {(row["id"], row["attempt"]) for row in rows}

    # Transitions

    async def claim_next(self, connection: Connection, offers: Sequence[Mapping[str, Any]]) -> Any | None:
        """Locks and returns the oldest queued row that an offer ({kind, capabilities}) fits. In a transaction."""
        return await connection.fetchrow(query("next_in_queue"), _names(lifecycle.QUEUED), list(offers))

    async def claim(
        self, connection: Connection, row: Any, worker_id: str, incarnation: str, message: str
    ) -> Operation:
        """Gives the locked row to a worker. Told to others by `announce` after the commit."""
        statuses = _names(lifecycle.sources(Cause.CLAIM, Status.RUNNING))
        details = {"worker_id": worker_id}
        moved = await connection.fetchrow(
            query("claim"), row["id"], row["attempt"], statuses, Status.RUNNING.value, "CLAIMED", message, details,
            worker_id, incarnation,
        )  # fmt: skip
        if moved is None:
            raise InternalError(f"The locked row of {row['id']} changed under its lock: a defect of Holdfast.")
        return Operation.from_row(moved)

    def announce(self, operation: Operation, event_type: str, message: str, details: Details) -> None:
        """Tells listeners of a write whose transaction has just been committed."""
        self.changes.tell(operation, Event.of(operation, event_type, message, details))

    async def put_back(self, claimed: Operation, target: Status, reason: str, message: str) -> Operation | None:
        """Back into the queue under the next attempt, with the reason."""
        failure = operation_pb2.Failure(reason=reason, message=message)
        details = {"worker_id": claimed.worker_id, "reason": reason}
        return await self._move(
            "put_back", Cause.PUT_BACK, claimed.id, claimed.attempt, target, "PUT_BACK", message, details,
            serialized(failure), reason,
        )  # fmt: skip

    async def end(
        self,
        operation_id: str,
        attempt: int,
        cause: Cause,
        target: Status,
        event_type: str,
        message: str,
        *,
        failure: operation_pb2.Failure | None = None,
        result: bytes | None = None,
        progress: bytes | None = None,
        details: Details | None = None,
        automatic_delay: float | None = None,
    ) -> Operation | None:
        """COMPLETED, FAILED or CANCELLED. `automatic_delay` (seconds) allows the automatic resume to follow."""
        if failure is not None:
            failure = _plain_failure(failure)
        only_orphans = ORPHANED if cause in lifecycle.ONLY_ORPHANS else None
        return await self._move(
            "finish", cause, operation_id, attempt, target, event_type, message, details or {},
            result, serialized(failure), failure.reason if failure is not None else None, progress,
            automatic_delay is not None, automatic_delay or 0.0, only_orphans,
        )  # fmt: skip

    async def request_cancel(self, operation: Operation, message: str) -> Operation | None:
        """CANCELLING: the run is told to stop."""
        return await self._move(
            "request_cancel", Cause.CANCEL_RUN, operation.id, operation.attempt, Status.CANCELLING,
            "CANCEL_REQUESTED", message, {},
        )  # fmt: skip

    async def adopt(self, operation: Operation, cause: Cause, incarnation: str, message: str) -> Operation | None:
        """RUNNING again: its worker claims it."""
        only_orphans = ORPHANED if cause in lifecycle.ONLY_ORPHANS else None
        details = {"worker_id": operation.worker_id}
        return await self._move(
            "adopt", cause, operation.id, operation.attempt, Status.RUNNING, "ADOPTED", message, details,
            operation.worker_id, incarnation, only_orphans,
        )  # fmt: skip

    async def resume(
        self,
        operation: Operation,
        checkpoint_id: str,
        spec: bytes,
        message: str,
        *,
        automatic: bool = False,
        request: Request | None = None,
        details: Details | None = None,
    ) -> Operation | None:
        """RESUMING under the next attempt: one of many gets the row. Raises LostRace (REQUEST_REPEATED)."""
        request_id = request.id if request is not None and request.id else None
        known = {"checkpoint_id": checkpoint_id, "automatic": str(automatic).lower(), **(details or {})}
        return await self._move(
            "resume", Cause.RESUME, operation.id, operation.attempt, Status.RESUMING, "RESUMED", message, known,
            checkpoint_id, automatic, spec, request_id, request.digest if request is not None else None,
        )  # fmt: skip

    async def restart(self, message: str) -> list[Operation]:
        """At the coordinator's start: every RUNNING operation of a worker waits for that worker."""
        sources = _names(lifecycle.sources(Cause.RESTART, Status.PENDING_RECONCILIATION))
        rows = await self.database.fetch(
            "restart", sources, Status.PENDING_RECONCILIATION.value, list(WORKER_KINDS), message
        )
        moved = [Operation.from_row(row) for row in rows]
        for operation in moved:
            self.announce(operation, "PENDING_RECONCILIATION", message, {})
        return moved

    async def stop_automatic_resume(
        self, operation_id: str, attempt: int, event_type: str, message: str
    ) -> Operation | None:
        """Takes back the promise to continue by itself."""
        row = await self.database.fetch_one("stop_automatic_resume", operation_id, attempt, event_type, plain(message))
        return self._told(row, event_type, message, {})

    async def _move(
        self,
        name: str,
        cause: Cause,
        operation_id: str,
        attempt: int,
        target: Status,
        event_type: str,
        message: str,
        details: Details,
        *rest: Any,
    ) -> Operation | None:
        statuses = _names(lifecycle.sources(cause, target))
        if not statuses:
            raise InternalError(f"{cause.value} never leads to {target.value}: a defect of Holdfast.")
        row = await self.database.fetch_one(
            name, operation_id, attempt, statuses, target.value, event_type, plain(message), _plain(details), *rest
        )
        return self._told(row, event_type, message, details)

    def _told(self, row: Any | None, event_type: str, message: str, details: Details) -> Operation | None:
        if row is None:
            return None
        operation = Operation.from_row(row)
        self.announce(operation, event_type, plain(message), _plain(details))
        return operation


def queue_status(operation: Operation) -> Status:
    """Where an undelivered claim goes back to."""
    return Status.RESUMING if operation.resume_checkpoint_id else Status.PENDING


def result_of(finished: worker_pb2.RunFinished) -> bytes | None:
    """The result inside a report, serialized; None when it has none."""
    which = finished.WhichOneof("result")
    return None if which is None else serialized(getattr(finished, which))


def _names(statuses: Any) -> list[str]:
    return sorted(status.value for status in statuses)


def _filter(where: Filter) -> tuple[list[str], list[str], bool, list[str]]:
    return _names(where.statuses), list(where.kinds), where.resumable_only, _names(lifecycle.RESUMABLE)


def _plain(details: Details) -> dict[str, str]:
    return {plain(key): plain(value) for key, value in details.items()}


def _plain_failure(failure: operation_pb2.Failure) -> operation_pb2.Failure:
    copy = operation_pb2.Failure()
    copy.CopyFrom(failure)
    copy.reason = plain(failure.reason) or "UNKNOWN"
    return copy
