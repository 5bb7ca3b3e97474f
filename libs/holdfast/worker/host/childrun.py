"""The run's end of the pipe to its worker. Owns one socket and one thread; never touches gRPC or the disk.

The thread is the only one that reads or writes the socket, so a run never waits for its worker: facts queue up,
progress is coalesced (the newest wins, at most PROGRESS_PER_SECOND, none while the worker does not read). When the
worker's end closes, the process ends at once.

The thread beats, too: it tells how many signs of life the run's own code has given. It can beat while that code hangs,
so a beat alone proves nothing; the number has to move.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping

from google.protobuf import timestamp_pb2

from holdfast.run.contract import Assignment, StopKind
from holdfast.v1 import checkpoint_pb2, operation_pb2, worker_pb2
from holdfast.worker.host import wire
from holdfast.worker.host.context import RunContext

__all__ = [
    "PROGRESS_PER_SECOND",
    "ChildRun",
]

PROGRESS_PER_SECOND = 20.0
_RECEIVE_BYTES = 65_536


def _die() -> None:
    # The group, not the process: what the run itself started must not outlive the worker either.
    os.killpg(0, signal.SIGKILL)


class ChildRun:
    """The Run protocol over a socket. `start` waits for the order, `finish` until the end has left."""

    def __init__(self, pipe: socket.socket, context: RunContext, *, orphaned: Callable[[], None] = _die) -> None:
        self._pipe = pipe
        self._context = context
        self._orphaned = orphaned
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._pipe.setblocking(False)
        self._lock = threading.Lock()
        self._queue: deque[bytes] = deque()
        self._progress: operation_pb2.Progress | None = None
        self._next_flush = 0.0
        self._finishing = False
        self._stop: StopKind | None = None
        self._signs = 0  # increments of two threads may merge into one; all that counts is that it moves
        self._next_beat = time.monotonic() + context.beat_seconds
        self._assignment: Assignment | None = None
        self._ordered = threading.Event()
        self._thread = threading.Thread(target=self._converse, name="holdfast-pipe", daemon=True)

    def start(self) -> None:
        """Starts the thread and waits for the order."""
        self._thread.start()
        self._ordered.wait()

    @property
    def assignment(self) -> Assignment:
        """What to run."""
        assert self._assignment is not None  # test_childrun.py: set before `start` returns
        return self._assignment

    @property
    def stop_requested(self) -> StopKind | None:
        """Set once a cancel or shutdown arrived. Reading it is a sign of life."""
        self._signs += 1
        return self._stop

    def request_stop(self, kind: StopKind) -> None:
        """What the worker's stop frame does; the first one decides the kind."""
        if self._stop is None:
            self._stop = kind

    def progress(self, progress: operation_pb2.Progress) -> None:
        """Reports progress; the newest one since the last flush is sent."""
        copy = operation_pb2.Progress()
        copy.CopyFrom(progress)
        self._signs += 1
        with self._lock:
            waiting = self._progress is not None
            self._progress = copy
        if not waiting:
            self._wake()

    def checkpoint_saved(self, checkpoint: checkpoint_pb2.Checkpoint) -> None:
        """Reports a checkpoint that is durable now."""
        self._say(worker_pb2.WorkerMessage(checkpoint_saved=worker_pb2.CheckpointSaved(checkpoint=checkpoint)))

    def notice(self, kind: str, message: str, details: Mapping[str, str] | None = None) -> None:
        """Adds a row to the operation's events."""
        self._say(worker_pb2.WorkerMessage(notice=worker_pb2.RunNotice(type=kind, message=message, details=details)))

    def finish(self, finished: worker_pb2.RunFinished) -> None:
        """Says how the run ended, as the last message, and waits until it is in the kernel's hands."""
        with self._lock:
            self._take_progress()
            self._queue.append(wire.frame(worker_pb2.WorkerMessage(run_finished=finished).SerializeToString()))
            self._finishing = True
        self._wake()
        self._thread.join()

    def _say(self, message: worker_pb2.WorkerMessage) -> None:
        self._signs += 1
        with self._lock:
            self._take_progress()  # what happened first is reported first
            self._queue.append(wire.frame(message.SerializeToString()))
        self._wake()

    def _take_progress(self) -> None:
        if self._progress is None:
            return
        if not self._progress.HasField("update_time"):
            now = timestamp_pb2.Timestamp()
            now.GetCurrentTime()
            self._progress.update_time.CopyFrom(now)
        report = worker_pb2.ProgressReport(progress=self._progress)
        self._queue.append(wire.frame(worker_pb2.WorkerMessage(progress=report).SerializeToString()))
        self._progress = None
        self._next_flush = time.monotonic() + 1.0 / PROGRESS_PER_SECOND

    def _wake(self) -> None:
        try:
            os.write(self._wake_write, b"w")
        except BlockingIOError:
            return  # the pipe is full of wake-ups already

    def _converse(self) -> None:
        deframer = wire.Deframer()
        out = bytearray()
        while True:
            with self._lock:
                patience = None if out else self._patience()
                while self._queue:
                    out += self._queue.popleft()
                if self._finishing and not out:
                    return
            writers = [self._pipe] if out else []
            readers: list[socket.socket | int] = [self._pipe, self._wake_read]
            readable, writable, _ = select.select(readers, writers, [], patience)
            try:
                if self._wake_read in readable:
                    os.read(self._wake_read, 4096)
                if self._pipe in readable and not self._receive(deframer):
                    self._orphaned()
                    return
                if writable:
                    del out[: self._pipe.send(out)]
            except BlockingIOError:
                continue
            except OSError:
                # Nobody reads any more: the worker is gone.
                self._orphaned()
                return

    def _patience(self) -> float:
        """Seconds until the next beat or coalesced progress is due; queues what is due now."""
        now = time.monotonic()
        if now >= self._next_beat:
            self._queue.append(wire.beat_frame(self._signs))
            self._next_beat = now + self._context.beat_seconds
        if self._progress is None:
            return self._next_beat - now
        if now >= self._next_flush:
            self._take_progress()
            return self._next_beat - now
        return min(self._next_flush, self._next_beat) - now

    def _receive(self, deframer: wire.Deframer) -> bool:
        data = self._pipe.recv(_RECEIVE_BYTES)
        if not data:
            return False
        for payload in deframer.feed(data):
            command = wire.read_command(payload)
            if isinstance(command, StopKind):
                self.request_stop(command)
            else:
                self._assignment = self._context.assign(command)
                self._ordered.set()
        return True
