"""Every change of status, each one compare-and-set with its event. Owns no rule: `lifecycle` says what is legal.

A transition returns the row as it stands after it, or None when the compare failed: somebody else was first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from holdfast.errors import InternalError
from holdfast.services.coordinator.operations import lifecycle
from holdfast.services.coordinator.operations.changes import Changes
from holdfast.services.coordinator.operations.lifecycle import Cause, Status
from holdfast.services.coordinator.operations.records import WORKER_KINDS, Event, Operation, plain, serialized
from holdfast.services.coordinator.postgres.pool import Connection, Database
from holdfast.services.coordinator.postgres.queries import query
from holdfast.services.coordinator.workers import backoff
from holdfast.v1 import operation_pb2, worker_pb2

__all__ = [
    "DATABASE_BEHIND",
    "ORPHANED",
    "Details",
    "Request",
    "Transitions",
    "is_recorded",
    "plain_details",
    "queue_status",
    "result_of",
    "status_names",
]

ORPHANED = "ORPHANED"
# A worker ran what a restored database does not know.
DATABASE_BEHIND = "DATABASE_BEHIND"

Details = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Request:
    """A call that carries a request_id; empty means that the caller gave none."""

    id: str
    method: str
    digest: str


class Transitions:
    """What `store.Store` can write to an operation that exists."""

    def __init__(self, database: Database, changes: Changes) -> None:
        self.database = database
        self.changes = changes

    async def claim_next(self, connection: Connection, offers: Sequence[Mapping[str, Any]]) -> Any | None:
        """Locks and returns the oldest queued row that an offer ({kind, capabilities}) fits. In a transaction."""
        return await connection.fetchrow(query("next_in_queue"), status_names(lifecycle.QUEUED), list(offers))

    async def claim(
        self, connection: Connection, row: Any, worker_id: str, incarnation: str, message: str
    ) -> Operation:
        """Gives the locked row to a worker. Told to others by `announce` after the commit, unless it was requeued."""
        statuses = status_names(lifecycle.sources(Cause.CLAIM, Status.RUNNING))
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

    async def requeue(self, claimed: Operation, target: Status, reason: str, message: str) -> Operation | None:
        """Back into the queue under the next attempt: a run may have begun."""
        return await self._requeue(Cause.REQUEUE, claimed, target, reason, message)

    async def decline(self, claimed: Operation, target: Status, reason: str, message: str) -> Operation | None:
        """Back into the queue as if it had not been claimed: its worker has said that no run began."""
        return await self._requeue(Cause.DECLINE, claimed, target, reason, message)

    async def _requeue(
        self, cause: Cause, claimed: Operation, target: Status, reason: str, message: str
    ) -> Operation | None:
        failure = operation_pb2.Failure(reason=reason, message=message)
        details = {"worker_id": claimed.worker_id, "reason": reason, "requeues": str(claimed.requeues + 1)}
        return await self._move(
            "requeue", cause, claimed.id, claimed.attempt, target, "REQUEUE", message, details,
            serialized(_plain_failure(failure)), plain(reason), cause in lifecycle.RAISES_ATTEMPT,
            backoff.FIRST, backoff.LONGEST, claimed.requeues,
        )  # fmt: skip

    async def count_undelivered(self, operation_id: str) -> int:
        """Claims in a row of which nobody knows whether the worker got them."""
        row = await self.database.fetch_one("count_undelivered", operation_id)
        return int(row["count"]) if row else 0

    async def outdate(self, queued: Operation, attempt: int, message: str, details: Details) -> Operation | None:
        """Gives a queued operation a later attempt, because a run of its present one has been seen."""
        row = await self.database.fetch_one(
            "outdate", queued.id, queued.attempt, status_names(lifecycle.QUEUED), attempt, DATABASE_BEHIND,
            plain(message), plain_details(details),
        )  # fmt: skip
        return self.published(row, DATABASE_BEHIND, message, details)

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
        worker_id: str | None = None,
    ) -> Operation | None:
        """COMPLETED, FAILED or CANCELLED. `automatic_delay` (seconds) allows the automatic resume to follow.

        `worker_id`: it is the word of this worker, and counts only for an operation that was given to it.
        """
        if failure is not None:
            failure = _plain_failure(failure)
        only_orphans = ORPHANED if cause in lifecycle.ONLY_ORPHANS else None
        return await self._move(
            "finish", cause, operation_id, attempt, target, event_type, message, details or {},
            result, serialized(failure), failure.reason if failure is not None else None, progress,
            automatic_delay is not None, automatic_delay or 0.0, only_orphans, worker_id,
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
        above: int = 0,
    ) -> Operation | None:
        """RESUMING under the next attempt: one of many gets the row. Raises LostRace (REQUEST_REPEATED).

        `above`: an attempt that the new one must be greater than, whatever the row says.
        """
        request_id = request.id if request is not None and request.id else None
        known = {"checkpoint_id": checkpoint_id, "automatic": str(automatic).lower(), **(details or {})}
        return await self._move(
            "resume", Cause.RESUME, operation.id, operation.attempt, Status.RESUMING, "RESUMED", message, known,
            checkpoint_id, automatic, spec, request_id, request.digest if request is not None else None, above,
        )  # fmt: skip

    async def restart(self, message: str) -> list[Operation]:
        """At the coordinator's start: every RUNNING operation of a worker waits for that worker."""
        sources = status_names(lifecycle.sources(Cause.RESTART, Status.PENDING_RECONCILIATION))
        rows = await self.database.fetch(
            "restart", sources, Status.PENDING_RECONCILIATION.value, list(WORKER_KINDS), message
        )
        moved = [Operation.from_row(row) for row in rows]
        for operation in moved:
            self.announce(operation, "PENDING_RECONCILIATION", message, {})
        return moved

    async def queued(self) -> list[tuple[str, int]]:
        """Id and attempt of everything that waits for a worker."""
        rows = await self.database.fetch("list_queued", status_names(lifecycle.QUEUED))
        return [(row["id"], row["attempt"]) for row in rows]

    async def raise_attempt(self, operation_id: str, attempt: int, above: int, message: str) -> Operation | None:
        """A queued operation gets an attempt that is greater than `above`; its status stays."""
        statuses = status_names(lifecycle.QUEUED)
        row = await self.database.fetch_one(
            "raise_attempt", operation_id, attempt, statuses, above, "ATTEMPT_RAISED", plain(message)
        )
        return self.published(row, "ATTEMPT_RAISED", message, {})

    async def stop_automatic_resume(
        self, operation_id: str, attempt: int, event_type: str, message: str
    ) -> Operation | None:
        """Takes back the promise to continue by itself."""
        row = await self.database.fetch_one("stop_automatic_resume", operation_id, attempt, event_type, plain(message))
        return self.published(row, event_type, message, {})

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
        statuses = status_names(lifecycle.sources(cause, target))
        if not statuses:
            raise InternalError(f"{cause.value} never leads to {target.value}: a defect of Holdfast.")
        row = await self.database.fetch_one(
            name,
            operation_id,
            attempt,
            statuses,
            target.value,
            event_type,
            plain(message),
            plain_details(details),
            *rest,
        )
        return self.published(row, event_type, message, details)

    def published(self, row: Any | None, event_type: str, message: str, details: Details) -> Operation | None:
        """Tells listeners of the row that a statement has returned, if it has."""
        if row is None:
            return None
        operation = Operation.from_row(row)
        if event_type != "REQUEUE" or is_recorded(operation.requeues):
            self.announce(operation, event_type, plain(message), plain_details(details))
        return operation


def is_recorded(requeues: int) -> bool:
    """Whether the events record so many requeues in a row, as requeue writes it: the 1st, 2nd, 4th, 8th, …."""
    return requeues & (requeues - 1) == 0


def queue_status(operation: Operation) -> Status:
    """Where an undelivered claim goes back to."""
    return Status.RESUMING if operation.resume_checkpoint_id else Status.PENDING


def result_of(finished: worker_pb2.RunFinished) -> bytes | None:
    """The result inside a report, serialized; None when it has none."""
    which = finished.WhichOneof("result")
    return None if which is None else serialized(getattr(finished, which))


def status_names(statuses: Iterable[Status]) -> list[str]:
    """As PostgreSQL has them."""
    return sorted(status.value for status in statuses)


def plain_details(details: Details) -> dict[str, str]:
    """As PostgreSQL can store them."""
    return {plain(key): plain(value) for key, value in details.items()}


def _plain_failure(failure: operation_pb2.Failure) -> operation_pb2.Failure:
    copy = operation_pb2.Failure()
    copy.CopyFrom(failure)
    copy.reason = plain(failure.reason) or "UNKNOWN"
    return copy
