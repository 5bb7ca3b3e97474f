"""Every change of status, each one compare-and-set with its event. Owns no rule: `lifecycle` says what is legal.

A transition returns the row as it stands after it, or None when the compare failed: somebody else was first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from holdfast.errors import InternalError
from holdfast.kinds import WORKER_KINDS
from holdfast.services.coordinator.operations import lifecycle
from holdfast.services.coordinator.operations.changes import Changes
from holdfast.services.coordinator.operations.lifecycle import Cause, Status
from holdfast.services.coordinator.operations.records import Operation, plain, serialized
from holdfast.services.coordinator.postgres.pool import Connection, Database
from holdfast.services.coordinator.postgres.queries import statement
from holdfast.services.coordinator.workers import backoff
from holdfast.v1 import operation_pb2, worker_pb2

__all__ = [
    "DATABASE_BEHIND",
    "ORPHANED",
    "Details",
    "Request",
    "Transitions",
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
    """What changes an operation that exists."""

    def __init__(self, database: Database, changes: Changes) -> None:
        self._database = database
        self._changes = changes

    async def claim_next(self, connection: Connection, offers: Sequence[Mapping[str, Any]]) -> Any | None:
        """Locks and returns the oldest queued row that an offer ({kind, capabilities}) fits. In a transaction."""
        queued = status_names(lifecycle.QUEUED)
        return await connection.fetchrow(*statement("next_in_queue", statuses=queued, offers=list(offers)))

    async def claim(
        self, connection: Connection, row: Any, worker_id: str, incarnation: str, message: str
    ) -> Operation:
        """Gives the locked row to a worker. Its caller publishes it after the commit, unless it was requeued."""
        claim = statement(
            "claim",
            id=row["id"],
            attempt=row["attempt"],
            statuses=status_names(lifecycle.sources(Cause.CLAIM, Status.RUNNING)),
            status=Status.RUNNING.value,
            worker_id=worker_id,
            incarnation=incarnation,
            event="CLAIMED",
            message=message,
            details={"worker_id": worker_id},
        )
        moved = await connection.fetchrow(*claim)
        if moved is None:
            raise InternalError(f"The locked row of {row['id']} changed under its lock: a defect of Holdfast.")
        return Operation.from_row(moved)

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
        return await self._move(
            "requeue",
            cause,
            claimed.id,
            claimed.attempt,
            target,
            "REQUEUE",
            message,
            {"worker_id": claimed.worker_id, "reason": reason, "requeues": str(claimed.requeues + 1)},
            failure=serialized(_plain_failure(failure)),
            failure_reason=plain(reason),
            begun=cause in lifecycle.RAISES_ATTEMPT,
            first=backoff.FIRST,
            longest=backoff.LONGEST,
            requeues=claimed.requeues,
        )

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
        return await self._move(
            "finish",
            cause,
            operation_id,
            attempt,
            target,
            event_type,
            message,
            details or {},
            result=result,
            failure=serialized(failure),
            failure_reason=failure.reason if failure is not None else None,
            progress=progress,
            automatic=automatic_delay is not None,
            delay=automatic_delay or 0.0,
            only_reason=_only_reason(cause),
            worker_id=worker_id,
        )

    async def request_cancel(self, operation: Operation, message: str) -> Operation | None:
        """CANCELLING: the run is told to stop."""
        target, event_type = Status.CANCELLING, "CANCEL_REQUESTED"
        return await self._move(
            "request_cancel", Cause.CANCEL_RUN, operation.id, operation.attempt, target, event_type, message, {}
        )

    async def adopt(self, operation: Operation, cause: Cause, incarnation: str, message: str) -> Operation | None:
        """RUNNING again: its worker claims it."""
        return await self._move(
            "adopt",
            cause,
            operation.id,
            operation.attempt,
            Status.RUNNING,
            "ADOPTED",
            message,
            {"worker_id": operation.worker_id},
            worker_id=operation.worker_id,
            incarnation=incarnation,
            only_reason=_only_reason(cause),
        )

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
        return await self._move(
            "resume",
            Cause.RESUME,
            operation.id,
            operation.attempt,
            Status.RESUMING,
            "RESUMED",
            message,
            {"checkpoint_id": checkpoint_id, "automatic": str(automatic).lower(), **(details or {})},
            checkpoint_id=checkpoint_id,
            automatic=automatic,
            spec=spec,
            request_id=request.id if request is not None and request.id else None,
            request_digest=request.digest if request is not None else None,
            above=above,
        )

    async def restart(self, message: str) -> list[Operation]:
        """At the coordinator's start: every RUNNING operation of a worker waits for that worker."""
        event_type = "PENDING_RECONCILIATION"
        rows = await self._database.fetch(
            "restart",
            statuses=status_names(lifecycle.sources(Cause.RESTART, Status.PENDING_RECONCILIATION)),
            status=Status.PENDING_RECONCILIATION.value,
            kinds=list(WORKER_KINDS),
            event=event_type,
            message=message,
        )
        moved = [self._changes.published(row, event_type, message, {}) for row in rows]
        return [operation for operation in moved if operation is not None]

    # Without a change of status

    async def raise_attempt(
        self, operation_id: str, attempt: int, above: int, event_type: str, message: str, details: Details
    ) -> Operation | None:
        """A queued operation gets an attempt that is greater than `above`, because that one has been seen."""
        row = await self._database.fetch_one(
            "raise_attempt",
            id=operation_id,
            attempt=attempt,
            statuses=status_names(lifecycle.QUEUED),
            above=above,
            event=event_type,
            message=plain(message),
            details=plain_details(details),
        )
        return self._changes.published(row, event_type, plain(message), plain_details(details))

    async def stop_automatic_resume(
        self, operation_id: str, attempt: int, event_type: str, message: str
    ) -> Operation | None:
        """Takes back the promise to continue by itself."""
        row = await self._database.fetch_one(
            "stop_automatic_resume", id=operation_id, attempt=attempt, event=event_type, message=plain(message)
        )
        return self._changes.published(row, event_type, plain(message), {})

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
        **rest: Any,
    ) -> Operation | None:
        statuses = status_names(lifecycle.sources(cause, target))
        if not statuses:
            raise InternalError(f"{cause.value} never leads to {target.value}: a defect of Holdfast.")
        message, details = plain(message), plain_details(details)
        row = await self._database.fetch_one(
            name,
            id=operation_id,
            attempt=attempt,
            statuses=statuses,
            status=target.value,
            event=event_type,
            message=message,
            details=details,
            **rest,
        )
        return self._changes.published(row, event_type, message, details)


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


def _only_reason(cause: Cause) -> str | None:
    """The reason that the operation must have failed for."""
    return ORPHANED if cause in lifecycle.ONLY_ORPHANS else None


def _plain_failure(failure: operation_pb2.Failure) -> operation_pb2.Failure:
    copy = operation_pb2.Failure()
    copy.CopyFrom(failure)
    copy.reason = plain(failure.reason) or "UNKNOWN"
    return copy
