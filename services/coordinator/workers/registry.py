"""Which workers there are, what each runs, and who has a free slot. In memory only; never touches gRPC or PostgreSQL.

It is filled by registrations, by heartbeats and by the dispatcher, and forgotten at a restart: workers register again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime

from holdfast.services.coordinator.workers.backoff import Backoff
from holdfast.services.coordinator.workers.refusals import Refusals
from holdfast.services.coordinator.workers.worker import Slot, Worker
from holdfast.v1 import coordinator_service_pb2, worker_pb2

__all__ = ["MISSED_HEARTBEATS", "Registry"]

# A run that its worker has not listed in so many heartbeats holds no slot any more.
MISSED_HEARTBEATS = 2


class Registry:
    """All workers. `on_free` is called when a slot may have become free, `on_lost` with the runs of a lost worker."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._workers: dict[str, Worker] = {}
        # By id: a worker that refuses and registers again goes on waiting.
        self._backoff = Backoff(clock)
        self.on_free: list[Callable[[], None]] = []
        self.on_lost: list[Callable[[Worker], None]] = []
        self.on_forgotten: list[Callable[[Worker], None]] = []
        self.stale_messages = 0
        self.refusals = Refusals()

    def find(self, worker_id: str) -> Worker | None:
        """The worker, connected or not."""
        return self._workers.get(worker_id)

    def all(self) -> list[Worker]:
        """Every worker known, by id; those gone for long are forgotten here."""
        now = self._clock()
        for worker in list(self._workers.values()):
            if not worker.connected and now - worker.last_seen > worker.patience:
                self._forget(worker)
        return sorted(self._workers.values(), key=lambda worker: worker.id)

    def room_for(self, coming: Collection[str], limit: int) -> bool:
        """Whether all of `coming`, which are registering now, have a place. Who is gone and had no run makes way."""
        unknown = sum(worker_id not in self._workers for worker_id in coming)
        known = self.all()
        gone = [worker for worker in known if not worker.connected and not worker.runs and worker.id not in coming]
        for worker in sorted(gone, key=lambda worker: worker.last_seen)[: max(0, len(known) + unknown - limit)]:
            self._forget(worker)
        return len(self._workers) + unknown <= limit

    def _forget(self, worker: Worker) -> None:
        del self._workers[worker.id]
        self._backoff.succeed(worker.id)
        for tell in self.on_forgotten:
            tell(worker)

    def register(
        self,
        request: coordinator_service_pb2.RegisterWorkerRequest,
        runs: Iterable[worker_pb2.RunRef],
        target: str = "",
    ) -> Worker:
        """A worker as it introduces itself, with the runs it may keep. Not connected before its stream is open."""
        before = self._workers.get(request.worker_id)
        same = before is not None and before.incarnation == request.incarnation
        if not same:
            self._backoff.try_now(request.worker_id)  # somebody has mended it, perhaps
        worker = Worker(
            id=request.worker_id,
            incarnation=request.incarnation,
            kind=request.kind,
            address=request.address,
            slots=request.slots,
            capabilities=frozenset(request.capabilities),
            fingerprint=dict(request.fingerprint),
            version=request.version,
            register_time=datetime.now(UTC),
            nonce=request.nonce,
            target=target or request.address,
            draining=request.draining,
            # A drain that a user ordered is for this process; its successor starts fresh.
            ordered_to_drain=same and before is not None and before.ordered_to_drain,
            last_seen=self._clock(),
            ever_connected=same and before is not None and before.ever_connected,
            runs={run.operation_id: Slot(run.attempt, confirmed=True) for run in runs},
        )
        self._workers[worker.id] = worker
        return worker

    def connect(self, worker: Worker) -> None:
        """Its stream is open and its first message has come."""
        worker.connected = worker.ever_connected = True
        worker.last_seen = self._clock()
        self._tell_free()

    def disconnect(self, worker: Worker) -> None:
        """Its stream is gone: whatever it ran becomes a suspect. Its slots count as empty until it is back."""
        was = worker.connected
        worker.connected = False
        worker.last_seen = self._clock()
        if was:
            for tell in self.on_lost:
                tell(worker)

    def is_current(self, worker: Worker) -> bool:
        """False when the worker has registered again since."""
        return self._workers.get(worker.id) is worker

    def is_connected(self, worker: Worker) -> bool:
        """Whether this very registration still has its stream."""
        return worker.connected and self.is_current(worker)

    def claims(self, operation_id: str, attempt: int) -> bool:
        """Whether a connected worker holds this run."""
        return any(
            worker.connected and operation_id in worker.runs and worker.runs[operation_id].attempt == attempt
            for worker in self._workers.values()
        )

    def heartbeat(self, worker: Worker, heartbeat: worker_pb2.Heartbeat) -> list[worker_pb2.RunRef]:
        """Notes what the worker runs; returns the runs it names that it was not known to have."""
        worker.last_seen = self._clock()
        # Our clock: the sender's may be wrong.
        worker.last_heartbeat_time = datetime.now(UTC)
        named = {run.operation_id: run.attempt for run in heartbeat.runs}
        freed = worker.draining and not heartbeat.draining
        worker.draining = heartbeat.draining
        for operation_id, slot in list(worker.runs.items()):
            if named.get(operation_id) == slot.attempt:
                slot.confirmed, slot.misses = True, 0
                continue
            slot.misses += slot.confirmed
            if slot.misses >= MISSED_HEARTBEATS:
                del worker.runs[operation_id]
                freed = True
        if freed:
            self._tell_free()
        return [
            run
            for run in heartbeat.runs
            if run.operation_id not in worker.runs or worker.runs[run.operation_id].attempt != run.attempt
        ]

    def assign(self, worker: Worker, operation_id: str, attempt: int) -> None:
        """Takes a slot; before the worker has confirmed it, heartbeats without the run mean nothing."""
        worker.runs[operation_id] = Slot(attempt)

    def confirm(self, worker: Worker, operation_id: str, attempt: int) -> None:
        """The worker has accepted the run, or is known to have it."""
        slot = worker.runs.get(operation_id)
        if slot is None or slot.attempt != attempt:
            worker.runs[operation_id] = Slot(attempt, confirmed=True)
        else:
            slot.confirmed = True

    def release(self, worker: Worker, operation_id: str, attempt: int) -> None:
        """Frees the slot of a run that has ended or was never taken."""
        slot = worker.runs.get(operation_id)
        if slot is not None and slot.attempt <= attempt:
            del worker.runs[operation_id]
            self._tell_free()

    def rest(self, worker: Worker) -> float:
        """No new run for a while, which is returned: it did not take the last one."""
        return self._backoff.fail(worker.id)

    def took(self, worker: Worker) -> None:
        """It has taken a run: what it refused before is forgotten."""
        self._backoff.succeed(worker.id)

    def free_workers(self) -> list[Worker]:
        """Workers that can take a run now; the emptiest first, so that load spreads."""
        free = [w for w in self._workers.values() if w.free_slots > 0 and not self._backoff.left(w.id)]
        return sorted(free, key=lambda worker: (len(worker.runs) / worker.slots, worker.id))

    def next_rest_end(self) -> float | None:
        """Seconds until the first resting worker with a free slot may be asked again."""
        left = [self._backoff.left(worker.id) for worker in self._workers.values() if worker.free_slots > 0]
        return min((seconds for seconds in left if seconds), default=None)

    def count_stale(self) -> None:
        """Counts a message that was refused because its attempt, incarnation or term was stale."""
        self.stale_messages += 1

    def _tell_free(self) -> None:
        for tell in self.on_free:
            tell()
