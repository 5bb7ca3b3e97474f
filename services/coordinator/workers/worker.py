"""One worker as far as is known: what it runs, and which operations fit it. Owns no list of workers."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from holdfast.kinds import NEEDS
from holdfast.services.coordinator.operations.records import timestamp
from holdfast.v1 import worker_pb2

__all__ = ["FORGET_AFTER", "FORGET_GHOST_AFTER", "FORGET_IDLE_AFTER", "RUNS", "Slot", "Worker", "choose", "offer"]

# What each kind of worker runs.
RUNS = {worker_pb2.WorkerKind.Value(f"WORKER_KIND_{needs.worker.upper()}"): kind for kind, needs in NEEDS.items()}
# A worker that is gone for so long is no longer listed: one that had runs, which people will look for; one that had
# none; and one that was never there, since whoever registered it could not be dialled.
FORGET_AFTER, FORGET_IDLE_AFTER, FORGET_GHOST_AFTER = 3600.0, 300.0, 10.0  # seconds


@dataclass(slots=True)
class Slot:
    """One run on a worker. `confirmed` once the worker itself has named it; `misses` counts heartbeats without it."""

    attempt: int
    confirmed: bool = False
    misses: int = 0


@dataclass(slots=True)
class Worker:
    """One worker process, as far as is known."""

    id: str
    incarnation: str
    kind: worker_pb2.WorkerKind
    address: str
    slots: int
    capabilities: frozenset[str]
    fingerprint: dict[str, str]
    version: str
    register_time: datetime
    # What the stream to it must say first, and the number behind its address.
    nonce: str = ""
    target: str = ""
    connected: bool = False
    # The worker says so itself; `ordered_to_drain`: a user has said so here.
    draining: bool = False
    ordered_to_drain: bool = False
    last_heartbeat_time: datetime | None = None
    last_seen: float = 0.0
    ever_connected: bool = False
    runs: dict[str, Slot] = field(default_factory=dict)

    @property
    def patience(self) -> float:
        """For how many seconds it is looked for after it has gone."""
        if self.runs:
            return FORGET_AFTER
        return FORGET_IDLE_AFTER if self.ever_connected else FORGET_GHOST_AFTER

    @property
    def operation_kind(self) -> str:
        """The kind of operation it runs."""
        return RUNS[self.kind]

    @property
    def free_slots(self) -> int:
        """How many more runs it takes now."""
        if not self.connected or self.draining or self.ordered_to_drain:
            return 0
        return max(0, self.slots - len(self.runs))

    def to_message(self) -> worker_pb2.Worker:
        """The resource."""
        if not self.connected:
            status = worker_pb2.WORKER_STATUS_DISCONNECTED
        elif self.draining or self.ordered_to_drain:
            status = worker_pb2.WORKER_STATUS_DRAINING
        else:
            status = worker_pb2.WORKER_STATUS_CONNECTED
        return worker_pb2.Worker(
            worker_id=self.id,
            incarnation=self.incarnation,
            kind=self.kind,
            status=status,
            address=self.address,
            slots=self.slots,
            runs=[
                worker_pb2.RunRef(operation_id=operation_id, attempt=slot.attempt)
                for operation_id, slot in sorted(self.runs.items())
            ],
            capabilities=sorted(self.capabilities),
            register_time=timestamp(self.register_time),
            last_heartbeat_time=timestamp(self.last_heartbeat_time),
            fingerprint=self.fingerprint,
            version=self.version,
        )


def offer(worker: Worker) -> dict[str, Any]:
    """What the dispatcher's query compares queued operations with."""
    return {"kind": worker.operation_kind, "capabilities": sorted(worker.capabilities)}


def choose(free: list[Worker], row: Any) -> Worker:
    """The emptiest that fits, but for a resume rather not the worker that had it last."""
    fit = [
        worker
        for worker in free
        if worker.operation_kind == row["kind"] and worker.capabilities.issuperset(row["requirements"])
    ]
    others = [worker for worker in fit if worker.id != row["worker_id"]]
    return (others or fit)[0]
