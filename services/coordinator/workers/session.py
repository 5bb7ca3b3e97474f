"""One registration's worth of streams: what waits to be sent, and what waits to be persisted. Owns both bounds."""

from __future__ import annotations

import asyncio

import structlog

from holdfast.services.coordinator.workers.link import Stream, WorkerLink
from holdfast.services.coordinator.workers.worker import Worker
from holdfast.v1 import worker_pb2

__all__ = ["FACTS_WAITING", "ORDERS_WAITING", "Fact", "Session"]

log = structlog.get_logger()

# Of one stream. Facts that find no place are left to its next stream; a worker that does not read loses this one.
FACTS_WAITING, ORDERS_WAITING = 2048, 1024

Fact = worker_pb2.WorkerMessage | worker_pb2.RunRef


class Session:
    """Queues that never grow without an end; `reset` by every new stream."""

    def __init__(self, worker: Worker, link: WorkerLink) -> None:
        self.worker = worker
        self.link = link
        self.task: asyncio.Task[None] | None = None
        self.ended = False
        self.reset(None)

    def reset(self, stream: Stream | None) -> None:
        """A new stream: whatever was not acknowledged is sent again, so nothing of the old one is kept."""
        self.outbound: asyncio.Queue[worker_pb2.CoordinatorMessage] = asyncio.Queue(ORDERS_WAITING)
        self.inbound: asyncio.Queue[Fact] = asyncio.Queue(FACTS_WAITING)
        self.questioned: set[tuple[str, int]] = set()
        self.left_out = False
        self._stream = stream

    def take(self, fact: worker_pb2.WorkerMessage) -> None:
        """Queues a durable fact. Without a place it is not acknowledged, nor is what follows: their order must stay."""
        self.left_out = self.left_out or self.inbound.full()
        if not self.left_out:
            self.inbound.put_nowait(fact)

    def say(self, message: worker_pb2.CoordinatorMessage) -> None:
        """Queues a message to the worker; one that does not read its messages loses the stream."""
        if not self.outbound.full():
            self.outbound.put_nowait(message)
        elif self._stream is not None:
            log.warning("Worker does not read its stream; ending it", worker=self.worker.id, waiting=ORDERS_WAITING)
            self._stream.cancel()

    def acknowledge(self, sequences: list[int], refused: list[worker_pb2.RefusedFact] | None = None) -> None:
        """These are durable, or will never be."""
        acknowledgement = worker_pb2.Acknowledgement(sequences=sequences, refused=refused)
        self.say(worker_pb2.CoordinatorMessage(acknowledgement=acknowledgement))

    def stop_run(self, run: worker_pb2.RunRef, reason: str) -> None:
        """Tells the worker that a run of its is stale. Repeated by the next heartbeat if it gets lost."""
        self.say(worker_pb2.CoordinatorMessage(stop_run=worker_pb2.StopRun(run=run, reason=reason)))

    def question(self, run: worker_pb2.RunRef) -> None:
        """Asks once at a time what to do with a run that was not expected here."""
        key = (run.operation_id, run.attempt)
        if key not in self.questioned and not self.inbound.full():
            self.questioned.add(key)
            self.inbound.put_nowait(run)

    def end(self) -> None:
        """Cancels the session's task; it closes the channel itself."""
        self.ended = True
        if self.task is not None:
            self.task.cancel()
