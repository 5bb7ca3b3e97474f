"""Gives queued operations to free slots, first come first served. Owns the claim and its way back.

Nothing is polled: the dispatcher wakes when an operation enters the queue, when a slot becomes free, and when a worker
that did not take a run has rested, or an operation that nobody took has waited (`backoff`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from holdfast.errors import AtCapacity, HoldfastError, LostRace, NotPossible, Unavailable
from holdfast.services.coordinator.catalogue.checkpoints import Checkpoints
from holdfast.services.coordinator.operations.lifecycle import LIVE, QUEUED, Cause, Status
from holdfast.services.coordinator.operations.records import Event, Operation, checkpoint_ref, failure
from holdfast.services.coordinator.operations.store import Store
from holdfast.services.coordinator.operations.transitions import Transitions, queue_status, status_names
from holdfast.services.coordinator.postgres.pool import Connection, ConnectionLost, Database
from holdfast.services.coordinator.tasks import Tasks
from holdfast.services.coordinator.workers.links import Links
from holdfast.services.coordinator.workers.registry import Registry
from holdfast.services.coordinator.workers.worker import Worker, choose, offer
from holdfast.v1 import checkpoint_pb2

__all__ = ["MOST_DELIVERIES", "REFUSALS", "RETRY_DATABASE", "Dispatcher"]

log = structlog.get_logger()

# Claims in a row of which nobody knows whether the worker got them. With the backoff that is a quarter of an hour,
# longer than any restart takes. Then a person has to look: each may have left a run behind.
MOST_DELIVERIES = 20
# The worker itself has answered: the run has certainly not begun. Everything else may have half happened.
REFUSALS = frozenset({"NO_FREE_SLOT", "WORKER_DRAINING", "COORDINATOR_UNPROVEN", "WORKER_LOST", "TOO_BUSY"})
RETRY_DATABASE = 0.5  # seconds


class Dispatcher:
    """`run` is its background task; `stop` lets no new run out while the coordinator drains."""

    def __init__(
        self,
        store: Store,
        transitions: Transitions,
        database: Database,
        checkpoints: Checkpoints,
        registry: Registry,
        links: Links,
        tasks: Tasks,
        suspect_term: Callable[[], None],
    ) -> None:
        self._store = store
        self._transitions = transitions
        self._database = database
        self._checkpoints = checkpoints
        self._registry = registry
        self._links = links
        self._tasks = tasks
        self._suspect_term = suspect_term
        self._wake = asyncio.Event()
        self._stopped = False
        self._delivering: set[asyncio.Task[None]] = set()
        # What is being claimed: operation, attempt, worker, incarnation.
        self._claiming: tuple[str, int, str, str] | None = None
        registry.on_free.append(self.wake)
        store.changes.listen(self._changed)

    def wake(self) -> None:
        """Something has changed that may let an operation start."""
        self._wake.set()

    async def run(self) -> None:
        """For ever. A lost database is tried again, and what a lost claim may have left behind is requeue."""
        due: float | None = None
        while True:
            await self._wait(due)
            due = None
            try:
                while not self._stopped and await self._claim_one():
                    pass
                due = await self._next_due()
            except ConnectionLost as error:
                log.warning("Dispatch waits for the database", error=error.message)
                await asyncio.sleep(RETRY_DATABASE)
                await self._requeue_lost_claim()
                self.wake()

    async def stop(self) -> None:
        """No more claims; deliveries under way are finished."""
        self._stopped = True
        if self._delivering:
            await asyncio.wait(self._delivering)

    def _changed(self, operation: Operation, _: Event) -> None:
        if operation.status in QUEUED:
            self.wake()

    async def _next_due(self) -> float | None:
        """Seconds until the queue has something again for those who are free now."""
        offers = [offer(worker) for worker in self._registry.free_workers()]
        if self._stopped or not offers:
            return None
        row = await self._database.fetch_one("next_due", statuses=status_names(QUEUED), offers=offers)
        return float(row["seconds"]) if row and row["seconds"] is not None else None

    async def _wait(self, due: float | None) -> None:
        waits = [seconds for seconds in (due, self._registry.next_rest_end()) if seconds is not None]
        try:
            async with asyncio.timeout(min(waits, default=None)):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _claim_one(self) -> bool:
        free = self._registry.free_workers()
        if not free:
            return False
        offers = [offer(worker) for worker in free]
        chosen: list[Worker] = []

        async def work(connection: Connection) -> Operation | None:
            row = await self._transitions.claim_next(connection, offers)
            if row is None:
                return None
            worker = choose(free, row)
            chosen.append(worker)
            self._claiming = (row["id"], row["attempt"], worker.id, worker.incarnation)
            return await self._transitions.claim(connection, row, worker.id, worker.incarnation, _words(worker))

        self._claiming = None
        # Once: a claim whose answer was lost must not be followed by another in its place.
        operation = await self._database.transaction(work, once=True)
        if operation is None:
            return False
        worker = chosen[0]
        self._registry.assign(worker, operation.id, operation.attempt)
        if not operation.requeues:
            self._store.changes.publish(operation, "CLAIMED", _words(worker), {"worker_id": worker.id})
        task = self._tasks.start(f"deliver {operation.id}", self._deliver(operation, worker))
        self._delivering.add(task)
        task.add_done_callback(self._delivering.discard)
        return True

    async def _deliver(self, operation: Operation, worker: Worker) -> None:
        known = {"operation": operation.id, "attempt": operation.attempt, "worker": worker.id}
        try:
            link = self._links.find(worker)
            if link is None:
                raise Unavailable(f"Worker {worker.id} went away before it got the run.", reason="WORKER_LOST")
            await link.start(operation, await self._checkpoint(operation))
        except HoldfastError as error:
            log.warning("Run not taken", reason=error.reason, error=error.message, **known)
            await self._not_taken(operation, worker, error)
            return
        except Exception as error:
            # Of this delivery alone; the run may have begun all the same, so that it goes back under the next attempt.
            log.exception("Delivery met a defect", **known)
            words = f"The coordinator met a defect while it delivered the run ({type(error).__name__}); see its log."
            await self._not_taken(operation, worker, Unavailable(words, reason="DELIVERY_DEFECT"))
            return
        self._registry.confirm(worker, operation.id, operation.attempt)
        self._registry.took(worker)
        if operation.requeues:
            # Its claim was not recorded: it might have been one of many.
            await self._store.record_event(
                operation.id, "CLAIMED", _words(worker), {"worker_id": worker.id}, attempt=operation.attempt, only=LIVE
            )
        log.info("Run dispatched", resumed=bool(operation.resume_checkpoint_id), **known)

    async def _checkpoint(self, operation: Operation) -> checkpoint_pb2.CheckpointRef | None:
        if not operation.resume_checkpoint_id:
            return None
        return checkpoint_ref(await self._checkpoints.get(operation.resume_checkpoint_id))

    async def _not_taken(self, operation: Operation, worker: Worker, error: HoldfastError) -> None:
        self._registry.release(worker, operation.id, operation.attempt)
        if not _will_pass(error):
            # Another worker, or the same one later, would answer the same: waiting would be for ever.
            message = f"Worker {worker.id} refused the run: {error.message}"
            if await self._fail(operation, worker, error.reason, message) is None:
                await self._never_ran(operation)
            return
        self._registry.rest(worker)
        if isinstance(error, NotPossible):
            worker.draining = True  # until its next heartbeat says otherwise
        if isinstance(error, LostRace):
            self._suspect_term()
        refused = _certainly_refused(error)
        if not refused and await self._store.count_undelivered(operation.id) + 1 >= MOST_DELIVERIES:
            await self._give_up(operation, worker, error)
            return
        message = f"Worker {worker.id} did not take the run: {error.message} It waits for a free slot again"
        move = self._transitions.decline if refused else self._transitions.requeue
        moved = await move(operation, queue_status(operation), error.reason, message)
        self.wake()
        if moved is None and refused:
            # Cancelled meanwhile, and it never began: nobody will report its end.
            await self._never_ran(operation)

    async def _give_up(self, operation: Operation, worker: Worker, error: HoldfastError) -> None:
        again = (
            f"continue with `holdfast operations resume {operation.id}`" if operation.checkpoint else "start it again"
        )
        message = (
            f"{MOST_DELIVERIES} times in a row nobody could say whether a worker had got the run. The last was worker "
            f"{worker.id} at {worker.address}, which answered: {error.message} "
            f"Look at its log and at the network between it and the coordinator, then {again}."
        )
        log.error("Operation given up", operation=operation.id, attempt=operation.attempt, worker=worker.id)
        await self._fail(operation, worker, "UNDELIVERABLE", message)

    async def _fail(self, operation: Operation, worker: Worker, reason: str, message: str) -> Operation | None:
        return await self._transitions.end(
            operation.id, operation.attempt, Cause.REFUSE, Status.FAILED, "FAILED", message,
            failure=failure(reason, message), details={"worker_id": worker.id, "reason": reason},
        )  # fmt: skip

    async def _never_ran(self, operation: Operation) -> None:
        message = "Cancelled before the run began"
        await self._transitions.end(
            operation.id, operation.attempt, Cause.REFUSE, Status.CANCELLED, "CANCELLED", message,
            failure=failure("CANCELLED", message),
        )  # fmt: skip

    async def _requeue_lost_claim(self) -> None:
        """A claim may have been committed although its answer was lost. It was not published, so nobody runs it."""
        if self._claiming is None:
            return
        operation_id, attempt, worker_id, incarnation = self._claiming
        found = await self._store.find(operation_id)
        if found is None or (found.attempt, found.status) != (attempt, Status.RUNNING):
            return
        if (found.worker_id, found.incarnation) == (worker_id, incarnation):
            message = "The database was lost during the claim. It waits for a free slot again"
            await self._transitions.requeue(found, queue_status(found), "DATABASE_UNAVAILABLE", message)


def _will_pass(error: HoldfastError) -> bool:
    """Whether the same run may be taken later, or elsewhere. A missing checkpoint or a bad request never will."""
    if isinstance(error, Unavailable | AtCapacity | LostRace) or error.reason == "WORKER_DRAINING":
        return True
    # A status that has no class of its own: the call was cancelled, because the worker has registered again.
    return type(error) is HoldfastError


def _certainly_refused(error: HoldfastError) -> bool:
    """Whether the run has certainly not begun, so that its attempt can be given out again."""
    return error.reason in REFUSALS or (error.reason == "STALE_ATTEMPT" and "newest_term" in error.metadata)


def _words(worker: Worker) -> str:
    return f"Given to worker {worker.id}"
