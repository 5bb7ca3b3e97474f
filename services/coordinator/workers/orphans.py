"""Finds operations that no process runs any more. Owns the suspects and the clock; never touches gRPC.

A suspect is an operation that PostgreSQL says is live and that no connected worker claims. Nothing is decided about it
until a new incarnation of its worker proves the old process dead, or until nobody has claimed it for the timeout.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import structlog

from holdfast.kinds import position
from holdfast.services.coordinator.catalogue.checkpoints import Checkpoints
from holdfast.services.coordinator.operations.lifecycle import Cause, Status
from holdfast.services.coordinator.operations.progress import ProgressBoard
from holdfast.services.coordinator.operations.records import Operation, failure, timestamp
from holdfast.services.coordinator.operations.store import Store
from holdfast.services.coordinator.operations.transitions import ORPHANED, Transitions
from holdfast.services.coordinator.postgres.patience import REQUEST_PATIENCE, patient
from holdfast.services.coordinator.postgres.pool import ConnectionLost
from holdfast.services.coordinator.workers.registry import Registry
from holdfast.services.coordinator.workers.worker import Worker
from holdfast.v1 import coordinator_service_pb2

__all__ = ["CLOCK_GAP", "OrphanDetector"]

log = structlog.get_logger()

# A gap of so many intervals between two checks means that we slept, not that the workers died.
CLOCK_GAP = 3


class OrphanDetector:
    """`run` is its background task; `declare` ends one operation at once when death is proven."""

    def __init__(
        self,
        store: Store,
        transitions: Transitions,
        registry: Registry,
        checkpoints: Checkpoints,
        board: ProgressBoard,
        *,
        timeout: float,
        interval: float,
        automatic_delay: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._transitions = transitions
        self._registry = registry
        self._checkpoints = checkpoints
        self._board = board
        self._timeout = timeout
        self._interval = interval
        self._automatic_delay = automatic_delay
        self._clock = clock
        self._sleep = sleep
        self._suspects: dict[tuple[str, int], float] = {}
        self._last_check: float | None = None
        self._last_check_time: datetime | None = None
        self._running = False
        self._found = 0
        registry.on_lost.append(self._suspect_runs)

    async def run(self) -> None:
        """Checks every interval, for ever. A lost database delays a check; that time counts for nobody."""
        log.info("Orphan detector started", timeout=self._timeout, interval=self._interval)
        self._running = True
        try:
            while True:
                await self._sleep(self._interval)
                try:
                    with patient(REQUEST_PATIENCE):  # an outage has to end the check, since its time counts for nobody
                        await self.check()
                except ConnectionLost as error:
                    log.warning("Orphan check failed", error=error.message)
                    self._start_over()
        finally:
            self._running = False
            log.info("Orphan detector stopped", orphans_found=self._found)

    async def check(self) -> list[Operation]:
        """One look at everything that is live; returns what was declared an orphan."""
        now = self._clock()
        if self._last_check is not None and now - self._last_check > CLOCK_GAP * self._interval:
            log.warning("Clock gap detected", seconds=round(now - self._last_check, 1))
            self._start_over()
        self._last_check, self._last_check_time = now, datetime.now(UTC)
        live = await self._store.live()
        unclaimed = {(op.id, op.attempt): op for op in live if not self._registry.claims(op.id, op.attempt)}
        for key in [key for key in self._suspects if key not in unclaimed]:
            del self._suspects[key]
        found = []
        for key, operation in unclaimed.items():
            age = now - self._suspects.setdefault(key, now)
            if age >= self._timeout:
                ended = await self.declare(operation, age)
                if ended is not None:
                    found.append(ended)
        return found

    async def declare(self, operation: Operation, age: float = 0.0, *, proof: str = "") -> Operation | None:
        """FAILED, or CANCELLED when a cancel was under way; None: it moved on. `proof`: how we know so soon."""
        # Its worker may have saved more than it could tell.
        checkpoint = await self._checkpoints.discover(operation) or operation.checkpoint
        saved = f"Checkpoint at {position(checkpoint)} available" if checkpoint else "No checkpoint available"
        progress = self._board.take(operation.id, operation.attempt)
        if operation.status is Status.CANCELLING:
            message = f"Cancelled; its worker {operation.worker_id} is gone{f' ({proof})' if proof else ''}. {saved}"
            why = failure("CANCELLED", message)
            target = Status.CANCELLED
        else:
            message = f"Operation was RUNNING but no worker claimed it{f' ({proof})' if proof else ''}. {saved}"
            if checkpoint is not None:
                message += f"; continue with `holdfast operations resume {operation.id}`"
            why = failure(ORPHANED, message)
            target = Status.FAILED
        ended = await self._transitions.end(
            operation.id,
            operation.attempt,
            Cause.ORPHAN,
            target,
            ORPHANED if target is Status.FAILED else target.value,
            message,
            failure=why,
            progress=progress,
            details={"worker_id": operation.worker_id, "age_seconds": f"{age:.1f}"},
            automatic_delay=self._automatic_delay if target is Status.FAILED else None,
        )
        self._suspects.pop((operation.id, operation.attempt), None)
        if ended is None:
            return None
        self._found += 1
        log.warning(
            "Orphan operation detected",
            operation=operation.id,
            attempt=operation.attempt,
            worker=operation.worker_id,
            age=round(age, 1),
            proof=proof or "timeout",
            checkpoint=checkpoint.checkpoint_id if checkpoint else None,
            status=ended.status.value,
        )
        return ended

    def status(self) -> coordinator_service_pb2.OrphanDetectorStatus:
        """For GetSystemStatus."""
        return coordinator_service_pb2.OrphanDetectorStatus(
            running=self._running,
            last_check_time=timestamp(self._last_check_time),
            suspects=len(self._suspects),
            orphans_found=self._found,
            timeout_seconds=self._timeout,
            check_interval_seconds=self._interval,
        )

    def _suspect_runs(self, worker: Worker) -> None:
        # From the moment the stream broke, not from the next check on.
        now = self._clock()
        for operation_id, slot in worker.runs.items():
            self._suspects.setdefault((operation_id, slot.attempt), now)

    def _start_over(self) -> None:
        now = self._clock()
        self._suspects = dict.fromkeys(self._suspects, now)
        self._last_check = now
