"""Ends operations on request. Owns the command to the worker and its repetition; the end itself is the worker's report.

CANCELLED is written when the run's process is known to be gone: at once for what never ran, by the worker's report
for what runs, and by the orphan rule when the worker is gone. The worker's own escalation (stop,
SIGTERM, SIGKILL) bounds it.
"""

from __future__ import annotations

import asyncio

import structlog

from holdfast.errors import HoldfastError, NotFound, NotPossible, Unavailable
from holdfast.services.coordinator.operations.lifecycle import QUEUED, Cause, Status, sources
from holdfast.services.coordinator.operations.records import Operation, failure
from holdfast.services.coordinator.operations.store import Store
from holdfast.services.coordinator.operations.transitions import Transitions
from holdfast.services.coordinator.tasks import Tasks
from holdfast.services.coordinator.workers.links import Links
from holdfast.services.coordinator.workers.registry import Registry
from holdfast.v1 import worker_pb2

__all__ = ["PATIENCE_WITHOUT_RUN", "RETRY", "Canceller"]

log = structlog.get_logger()

RETRY = 1.0  # seconds between repetitions of a command that the worker has not obeyed yet
# A worker that answers "no such run" has either sent its end already, or never had it.
PATIENCE_WITHOUT_RUN = 5.0  # seconds


class Canceller:
    """`cancel` for callers, `again` for a worker that comes back with a run that is CANCELLING."""

    def __init__(self, store: Store, transitions: Transitions, registry: Registry, links: Links, tasks: Tasks) -> None:
        self._store = store
        self._transitions = transitions
        self._registry = registry
        self._links = links
        self._tasks = tasks
        self._telling: set[tuple[str, int]] = set()

    async def cancel(self, operation_id: str, reason: str) -> Operation:
        """Accepts the cancel. CANCELLED when nothing ran, else CANCELLING. Repeats are answered alike.

        Raises NotFound, NotPossible when it has ended otherwise.
        """
        words = f"Cancelled by request{f': {reason}' if reason else ''}"
        while True:
            operation = await self._store.get(operation_id)
            moved: Operation | None = None
            if operation.status in QUEUED:
                text = f"{words}, before a run began"
                if operation.checkpoint is not None:
                    text += f". Continue with `holdfast operations resume {operation.id}`"
                moved = await self._transitions.end(
                    operation.id, operation.attempt, Cause.CANCEL_QUEUED, Status.CANCELLED, "CANCELLED", text,
                    failure=failure("CANCELLED", text),
                )  # fmt: skip
            elif operation.status in sources(Cause.CANCEL_RUN):
                moved = await self._transitions.request_cancel(operation, f"{words}; the run is being stopped")
                if moved is not None:
                    self.again(moved.id, moved.attempt)
            elif operation.automatic_resume_time is not None:
                text = f"{words}: it will not resume by itself"
                moved = await self._transitions.stop_automatic_resume(
                    operation.id, operation.attempt, "AUTOMATIC_RESUME_CANCELLED", text
                )
            elif operation.status in (Status.CANCELLING, Status.CANCELLED):
                return operation
            else:
                raise NotPossible(
                    f"The operation {operation.id} is {operation.status.value} already: there is nothing to cancel.",
                    reason="OPERATION_NOT_CANCELLABLE",
                    metadata={"operation_id": operation.id, "status": operation.status.value},
                )
            if moved is not None:
                return moved

    def again(self, operation_id: str, attempt: int) -> None:
        """Goes on telling the worker until the operation is no longer CANCELLING."""
        key = (operation_id, attempt)
        if key not in self._telling:
            self._telling.add(key)
            self._tasks.start(f"cancel {operation_id}", self._tell(operation_id, attempt))

    async def _tell(self, operation_id: str, attempt: int) -> None:
        run = worker_pb2.RunRef(operation_id=operation_id, attempt=attempt)
        missing = 0.0
        try:
            while True:
                try:
                    if await self._delivered(run):
                        return
                    missing = 0.0
                except NotFound:
                    missing += RETRY
                    if missing > PATIENCE_WITHOUT_RUN:
                        await self._without_run(run)
                        return
                except Exception:
                    # The operation must not stay CANCELLING because one try met a defect.
                    log.exception("Cancel met a defect", operation=operation_id)
                await asyncio.sleep(RETRY)
        finally:
            self._telling.discard((operation_id, attempt))

    async def _delivered(self, run: worker_pb2.RunRef) -> bool:
        """One try; True when no other is needed. Raises NotFound: the worker has no such run."""
        operation = await self._store.find(run.operation_id)
        if operation is None or (operation.attempt, operation.status) != (run.attempt, Status.CANCELLING):
            return True
        worker = self._registry.find(operation.worker_id)
        link = self._links.find(worker) if worker is not None else None
        if link is None:
            # It tells us when it comes back with the run; if it never does, the orphan rule ends it.
            return True
        try:
            await link.cancel(run, "by request")
        except NotFound:
            raise
        except Unavailable as error:
            log.info("Cancel not delivered yet", operation=run.operation_id, error=error.message)
        except HoldfastError as error:
            log.warning("Cancel refused", operation=run.operation_id, reason=error.reason, error=error.message)
        return False

    async def _without_run(self, run: worker_pb2.RunRef) -> None:
        operation = await self._store.find(run.operation_id)
        message = f"Cancelled; worker {operation.worker_id if operation else ''} has no run of it"
        await self._transitions.end(
            run.operation_id, run.attempt, Cause.ORPHAN, Status.CANCELLED, "CANCELLED", message,
            failure=failure("CANCELLED", message),
        )  # fmt: skip
