"""Decides who is right when a worker and the database disagree, and what a restart of the coordinator means.

    database says                        worker says                                outcome
    RUNNING, PENDING_RECONCILIATION      running, same attempt                      RUNNING
    CANCELLING                           running, same attempt                      the cancel is sent again
    RUNNING                              finished, same attempt                     the reported end (facts.finished)
    FAILED (orphaned)                    running, same attempt, not resumed since   the worker wins: RUNNING
    COMPLETED, CANCELLED, other attempt  running                                    stop it
    nothing                              running                                    stop it, keep its checkpoint, log
    this worker's, an earlier attempt    running: the database was restored         stop it, FAILED with its checkpoints
    PENDING, RESUMING                    running, this attempt or a later one       stop it, the queue goes on behind it
    RUNNING                              nothing, and it is a new incarnation       FAILED at once: proof of death

Owns these decisions; the detector owns the waiting.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum

import structlog

from holdfast.kinds import Kind
from holdfast.services.coordinator.operations.lifecycle import QUEUED, Cause, Status
from holdfast.services.coordinator.operations.records import Operation, failure
from holdfast.services.coordinator.operations.store import Store
from holdfast.services.coordinator.operations.transitions import DATABASE_BEHIND, ORPHANED, Transitions, queue_status
from holdfast.services.coordinator.workers.orphans import OrphanDetector
from holdfast.v1 import worker_pb2

__all__ = ["CHILD_ORPHANED", "GREATEST_ATTEMPT", "RESTARTED", "Reconciliation", "Verdict"]

log = structlog.get_logger()

RESTARTED = "The coordinator has restarted and waits for the worker to claim the run"
CHILD_ORPHANED = "Orphaned by coordinator restart"
# No operation was ever claimed so often: a worker that names such an attempt makes it up.
GREATEST_ATTEMPT = 1_000_000


class Verdict(Enum):
    """What happens to a run that a worker names."""

    GOES_ON = "goes on"
    # The same, and the worker has to be told once more to cancel it.
    CANCEL = "cancel"
    STOP = "stop"


class Reconciliation:
    """`reconcile` one run a worker names, `fail_unclaimed` what a dead incarnation ran, `restart` at the start."""

    def __init__(self, store: Store, transitions: Transitions, detector: OrphanDetector) -> None:
        self._store = store
        self._transitions = transitions
        self._detector = detector

    async def reconcile(self, worker_id: str, incarnation: str, run: worker_pb2.RunRef) -> Verdict:
        """A worker says that it runs this."""
        known = {"operation": run.operation_id, "attempt": run.attempt, "worker": worker_id}
        # A second look when the row moves between the read and the write; it moves a few times at most.
        for _ in range(5):
            operation = await self._store.find(run.operation_id)
            if operation is None:
                log.warning("Run of an unknown operation stopped, its checkpoints stay", **known)
                return Verdict.STOP
            if await self._is_behind(operation, run, worker_id):
                return Verdict.STOP
            if operation.attempt != run.attempt or operation.worker_id != worker_id:
                log.warning("Run of a stale attempt stopped", newest_attempt=operation.attempt, **known)
                return Verdict.STOP
            if operation.status is Status.RUNNING and operation.incarnation == incarnation:
                return Verdict.GOES_ON
            if operation.status is Status.CANCELLING:
                return Verdict.CANCEL
            cause = self._adoption(operation)
            if cause is None:
                log.warning("Run of an ended operation stopped", status=operation.status.value, **known)
                return Verdict.STOP
            late = cause is Cause.ADOPT_LATE
            message = f"Worker {worker_id} still runs it: {'it was declared lost too early' if late else 'it goes on'}"
            if await self._transitions.adopt(operation, cause, incarnation, message) is not None:
                log.info("Run adopted", late=late, **known)
                return Verdict.GOES_ON
        return Verdict.STOP

    async def fail_unclaimed(
        self,
        worker_id: str,
        incarnation: str,
        claimed: Collection[tuple[str, int]],
        named: Collection[tuple[str, int]] = (),
    ) -> None:
        """What this worker should run and does not claim; `named`: all that it says it runs.

        It runs a later attempt: the database was restored from a backup. By an older incarnation: that process is dead.
        By this one, while the coordinator was restarting: the run never reached it, since an end that it had to report
        would still be in its outbox.
        """
        for operation in await self._store.live(worker_id):
            if (operation.id, operation.attempt) in claimed:
                continue
            later = max((attempt for name, attempt in named if name == operation.id), default=0)
            if operation.attempt < later <= GREATEST_ATTEMPT:
                await self._forgotten(operation, later, worker_id)
            elif operation.incarnation != incarnation:
                await self._detector.declare(operation, proof=f"worker {worker_id} has restarted")
            elif operation.status is Status.PENDING_RECONCILIATION:
                message = (
                    f"Worker {worker_id} never got the run: the coordinator stopped too early. It waits for a slot"
                )
                await self._transitions.requeue(operation, queue_status(operation), "UNDELIVERED", message)

    async def _is_behind(self, operation: Operation, run: worker_pb2.RunRef, worker_id: str) -> bool:
        """Whether a queued operation has run already, at its attempt or a later one: the database has forgotten it.

        The number of that attempt must not be given out again: both would write into one directory.
        """
        if operation.status not in QUEUED or not operation.attempt <= run.attempt <= GREATEST_ATTEMPT:
            return False
        message = f"{_behind(operation, run.attempt, worker_id)}. That run is stopped; the next one begins behind it"
        log.warning("Run that the database has forgotten stopped", operation=operation.id, attempt=run.attempt)
        details = {"worker_id": worker_id, "run_attempt": str(run.attempt)}
        await self._transitions.raise_attempt(
            operation.id, operation.attempt, run.attempt, DATABASE_BEHIND, message, details
        )
        return True

    async def _forgotten(self, operation: Operation, attempt: int, worker_id: str) -> None:
        message = f"{_behind(operation, attempt, worker_id)}. That run is stopped; its checkpoints stay in the store"
        details = {"worker_id": worker_id, "run_attempt": str(attempt)}
        await self._store.record_event(operation.id, DATABASE_BEHIND, message, details, attempt=operation.attempt)
        await self._detector.declare(operation, proof=f"worker {worker_id} runs attempt {attempt} instead")

    async def restart(self, research_policy: str) -> list[Operation]:
        """At the coordinator's start, before anybody can register."""
        waiting = await self._transitions.restart(RESTARTED)
        for operation in await self._store.local_live():
            await self._restart_local(operation, research_policy)
        return waiting

    def _adoption(self, operation: Operation) -> Cause | None:
        if operation.status is Status.PENDING_RECONCILIATION:
            return Cause.ADOPT
        if operation.status is Status.FAILED and operation.failure_reason == ORPHANED:
            return Cause.ADOPT_LATE
        return None

    async def _restart_local(self, operation: Operation, policy: str) -> None:
        """What ran inside the coordinator died with it. A research that is to resume is left to the research engine."""
        if operation.kind is not Kind.RESEARCH:
            message = CHILD_ORPHANED
        elif policy == "fail":
            saved = "checkpoint available for resume" if operation.checkpoint else "no checkpoint available"
            message = f"Coordinator restarted - {saved}"
        else:
            return
        await self._transitions.end(
            operation.id, operation.attempt, Cause.ORPHAN, Status.FAILED, ORPHANED, message,
            failure=failure(ORPHANED, message),
        )  # fmt: skip


def _behind(operation: Operation, attempt: int, worker_id: str) -> str:
    return (
        f"Worker {worker_id} runs attempt {attempt}, and the database knows attempt {operation.attempt} as "
        f"{operation.status.value}: it is older than the run. Was it restored from a backup?"
    )
