"""Makes what a worker reports durable: checkpoints, ends, notices. Owns the decision whether a report still counts.

Every method returns once PostgreSQL has it, or once it is known to be stale; only then may it be acknowledged.
"""

from __future__ import annotations

import contextlib

import structlog

from holdfast.errors import InvalidRequest, LostRace
from holdfast.services.coordinator.catalogue.checkpoints import Checkpoints
from holdfast.services.coordinator.operations.lifecycle import ENDED, LIVE, Cause, Status, sources
from holdfast.services.coordinator.operations.progress import ProgressBoard
from holdfast.services.coordinator.operations.records import Operation, failure, plain, serialized
from holdfast.services.coordinator.operations.store import Store
from holdfast.services.coordinator.operations.transitions import ORPHANED, Transitions, result_of
from holdfast.services.coordinator.workers.evidence import RESULT_NOT_VERIFIED, Evidence
from holdfast.services.coordinator.workers.registry import Registry
from holdfast.v1 import checkpoint_pb2, operation_pb2, worker_pb2

__all__ = ["CRASHES", "Facts"]

log = structlog.get_logger()

# What the automatic resume may follow. A run that raised an expected error (bad data) would raise it again; a store
# that was full may have room by then.
CRASHES = frozenset({ORPHANED, "RUN_DIED", "RUN_RAISED", "RUN_STALLED", "SHUTDOWN", "STORE_FULL"})

_ENDS = {
    worker_pb2.RUN_OUTCOME_COMPLETED: Status.COMPLETED,
    worker_pb2.RUN_OUTCOME_FAILED: Status.FAILED,
    worker_pb2.RUN_OUTCOME_CANCELLED: Status.CANCELLED,
}


class Facts:
    """In a patient task an outage of PostgreSQL delays a fact, and never loses one.

    Methods return False when the report is stale: its run has to stop, and nothing was written.
    """

    def __init__(
        self,
        store: Store,
        transitions: Transitions,
        checkpoints: Checkpoints,
        evidence: Evidence,
        registry: Registry,
        board: ProgressBoard,
        automatic_delay: float,
    ) -> None:
        self._store = store
        self._transitions = transitions
        self._evidence = evidence
        self._checkpoints = checkpoints
        self._registry = registry
        self._board = board
        self._automatic_delay = automatic_delay

    async def checkpoint_saved(
        self, worker_id: str, run: worker_pb2.RunRef, checkpoint: checkpoint_pb2.Checkpoint
    ) -> bool:
        """The operation's pointer now leads to it. A repeat is accepted and changes nothing.

        Raises InvalidRequest when the store does not hold it, Unavailable when it is away and the caller cannot wait.
        """
        operation = await self._store.find(run.operation_id)
        if operation is None or not _is_of(operation, worker_id, run):
            return False
        if _is_superseded(operation, checkpoint):
            return operation.status is not Status.CANCELLED
        stored = await self._evidence.of_checkpoint(run, checkpoint)
        with contextlib.suppress(LostRace):  # a registration has just recorded it: the same as a repeat
            if await self._checkpoints.save(run.operation_id, run.attempt, stored, worker_id=worker_id) is not None:
                return True
        operation = await self._store.find(run.operation_id)
        if operation is None or not _is_of(operation, worker_id, run):
            return False
        if operation.status is Status.FAILED and operation.failure_reason == ORPHANED:
            # Declared dead too early; its worker will be heard. Nothing it saved may be lost until then.
            await self._save_late(worker_id, run, stored)
        return operation.status is not Status.CANCELLED

    async def notice(self, worker_id: str, run: worker_pb2.RunRef, notice: worker_pb2.RunNotice, fact: str) -> bool:
        """An event of its own; recorded once, however often it is sent."""
        recorded = await self._store.record_event(
            run.operation_id, notice.type, notice.message, dict(notice.details),
            attempt=run.attempt, fact=fact, worker_id=worker_id,
        )  # fmt: skip
        if recorded is not None:
            return True
        operation = await self._store.find(run.operation_id)
        return operation is not None and _is_of(operation, worker_id, run)

    async def finished(self, worker_id: str, report: worker_pb2.RunFinished) -> bool:
        """The end of a run, with its last checkpoint and progress. Whoever comes second changes nothing."""
        run = report.run
        known = {"operation": run.operation_id, "attempt": run.attempt, "worker": worker_id}
        operation = await self._store.find(run.operation_id)
        if operation is None or not _is_of(operation, worker_id, run):
            self._release(worker_id, run)
            log.warning("Run's end refused as stale", **known)
            return False
        if not _may_end(operation):
            self._release(worker_id, run)
            return await self._came_late(worker_id, report, known)
        target = _ENDS.get(report.outcome, Status.FAILED)
        problem = await self._problem(report, operation)
        if problem is not None:
            log.error("Run's end cannot be believed", reason=problem.reason, error=problem.message, **known)
            target = Status.FAILED
            report.failure.CopyFrom(problem)
        if report.HasField("checkpoint") and target is not Status.COMPLETED:
            await self._save_last(worker_id, run, report.checkpoint)
        progress = self._board.take(run.operation_id, run.attempt)
        if report.HasField("progress"):
            progress = serialized(report.progress)
        ended = await self._end(worker_id, report, target, progress)
        self._release(worker_id, run)
        if ended is None:
            return await self._came_late(worker_id, report, known)
        log.info("Run finished", status=ended.status.value, reason=ended.failure_reason, **known)
        if ended.status is Status.COMPLETED:
            await self._checkpoints.drop_all_of(ended.id)
        return True

    async def _end(
        self, worker_id: str, report: worker_pb2.RunFinished, target: Status, progress: bytes | None
    ) -> Operation | None:
        why = _failure(report, target)
        message = why.message if why is not None else "The run has finished"
        crashed = why is not None and why.reason in CRASHES
        details = {"worker_id": worker_id}
        if why is not None:
            details["reason"] = plain(why.reason)
            if why.signal:
                details["signal"] = str(why.signal)
            if why.exit_code:
                details["exit_code"] = str(why.exit_code)
        # The second holds when the operation was declared an orphan too early: the worker was there all along.
        for cause in (Cause.FINISH, Cause.FINISH_LATE):
            ended = await self._transitions.end(
                report.run.operation_id,
                report.run.attempt,
                cause,
                target,
                target.value,
                message,
                failure=why,
                result=result_of(report) if target is Status.COMPLETED else None,
                progress=progress,
                details=details,
                automatic_delay=self._automatic_delay if crashed else None,
                worker_id=worker_id,
            )
            if ended is not None:
                return ended
        return None

    async def _problem(self, report: worker_pb2.RunFinished, operation: Operation) -> operation_pb2.Failure | None:
        """Why the operation ends as FAILED although its run does not say so; None: it is as the run says."""
        if report.outcome not in _ENDS:
            return failure(
                "OUTCOME_UNKNOWN",
                f"The worker reports an end that this coordinator does not know (outcome {report.outcome}). Upgrade "
                "the coordinator, if the worker is newer; what the run has saved stays, and can be resumed.",
            )
        if report.outcome != worker_pb2.RUN_OUTCOME_COMPLETED:
            return None
        which = report.WhichOneof("result")
        try:
            result = None if which is None else getattr(report, which)
            await self._evidence.of_result(report.run, operation.kind, result)
        except InvalidRequest as error:
            return failure(
                RESULT_NOT_VERIFIED,
                f"The run says that it has completed, but its result cannot be believed: {error.message} Resume it "
                f"with `holdfast operations resume {operation.id}` if it has a checkpoint, or start it over.",
            )
        return None

    async def _save_last(self, worker_id: str, run: worker_pb2.RunRef, checkpoint: checkpoint_pb2.Checkpoint) -> None:
        """The checkpoint inside an end: one that is not believed is left out, and the end counts all the same."""
        try:
            stored = await self._evidence.of_checkpoint(run, checkpoint)
        except InvalidRequest as error:
            self._registry.refusals.refuse(worker_id, "run_finished.checkpoint", error)
            return
        await self._save_late(worker_id, run, stored)

    async def _save_late(self, worker_id: str, run: worker_pb2.RunRef, stored: checkpoint_pb2.Checkpoint) -> None:
        # FAILED as well: an operation that was declared an orphan gets its last checkpoint with its late end.
        only = [*sources(Cause.FINISH), *sources(Cause.FINISH_LATE)]
        with contextlib.suppress(LostRace):
            await self._checkpoints.save(run.operation_id, run.attempt, stored, only=only, worker_id=worker_id)

    def _release(self, worker_id: str, run: worker_pb2.RunRef) -> None:
        worker = self._registry.find(worker_id)
        if worker is not None:
            self._registry.release(worker, run.operation_id, run.attempt)

    async def _came_late(self, worker_id: str, report: worker_pb2.RunFinished, known: dict[str, object]) -> bool:
        operation = await self._store.find(report.run.operation_id)
        if operation is not None and _is_of(operation, worker_id, report.run) and operation.status in ENDED:
            same = operation.status is _ENDS.get(report.outcome)
            # The same end again is a repeat; another end lost a race (a cancel of a vanished worker, say).
            log.info("Run's end known already", status=operation.status.value, repeated=same, **known)
            return True
        log.warning("Run's end refused as stale", **known)
        return False


def _is_of(operation: Operation, worker_id: str, run: worker_pb2.RunRef) -> bool:
    """Whether the database gave this attempt to this worker. Each write asks the same again, in its statement."""
    return operation.attempt == run.attempt and operation.worker_id == worker_id


def _may_end(operation: Operation) -> bool:
    """Whether the word of its worker can still end it."""
    return operation.status in LIVE or (operation.status is Status.FAILED and operation.failure_reason == ORPHANED)


def _is_superseded(operation: Operation, checkpoint: checkpoint_pb2.Checkpoint) -> bool:
    """Whether a later checkpoint is known: a repeat, whose directory may be gone by now."""
    known = operation.checkpoint
    return known is not None and (known.attempt, known.unit, known.step) > (
        checkpoint.attempt,
        checkpoint.unit,
        checkpoint.step,
    )


def _failure(report: worker_pb2.RunFinished, target: Status) -> operation_pb2.Failure | None:
    if target is Status.COMPLETED:
        return None
    why = operation_pb2.Failure()
    why.CopyFrom(report.failure)
    if not why.reason:
        why.reason = "CANCELLED" if target is Status.CANCELLED else "RUN_DIED"
    if not why.message:
        why.message = "Cancelled" if target is Status.CANCELLED else "The run ended without saying why"
    return why
