"""Durable facts: numbered from 1, kept until acknowledged. Owns the numbers and the outbox's content.

An acknowledgement may come late, twice, out of order, or over another stream than the fact went; all that is the same
here. While no coordinator listens, a run's checkpoints and notices are kept to what still matters, so that a long
outage costs no memory; an end is never let go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable

import structlog

from holdfast.v1 import worker_pb2
from holdfast.worker.outbox import Outbox

__all__ = [
    "CHECKPOINTS_KEPT",
    "NOTICES_KEPT",
    "OUTBOX_SECONDS",
    "FactQueue",
]

log = structlog.get_logger()

CHECKPOINTS_KEPT = 2  # of one run: as many as the coordinator keeps
NOTICES_KEPT = 200  # of one run; what comes after them is counted
_TEXT = 4_000  # characters of a text that a run says; an exception's words can be of any length
_DETAILS = 32
_LEFT_OUT = "NOTICES_LEFT_OUT"

_Run = tuple[str, int]


OUTBOX_SECONDS = 10.0  # for one small file and its fsync


class FactQueue:
    """What the coordinator must learn, in order."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._next = 1
        self._waiting: dict[int, worker_pb2.WorkerMessage] = {}
        self._ends: dict[_Run, int] = {}
        # Numbers of what waits, by run, oldest first.
        self._checkpoints: dict[_Run, list[int]] = {}
        self._notices: dict[_Run, list[int]] = {}
        self._unlinks: set[asyncio.Task[None]] = set()
        # Called whenever there is more to send.
        self.on_change: Callable[[], None] = lambda: None
        self.delivered = asyncio.Event()  # set while no end waits
        self.delivered.set()

    def load(self, ends: Iterable[worker_pb2.RunFinished]) -> None:
        """Takes over what an earlier process of this worker left in the outbox."""
        for finished in ends:
            self._add_end(finished)

    def add(self, message: worker_pb2.WorkerMessage) -> None:
        """Numbers a durable fact and keeps it until acknowledged, or until it no longer matters."""
        match message.WhichOneof("fact"):
            case "checkpoint_saved":
                waiting = self._checkpoints.setdefault(_run(message.checkpoint_saved.run), [])
                waiting.append(self._next)
                for superseded in waiting[:-CHECKPOINTS_KEPT]:
                    self._forget(superseded)
            case "notice":
                message = self._noticed(message)
        message.sequence = self._next
        self._waiting[self._next] = message
        self._next += 1
        self.on_change()

    async def add_end(self, finished: worker_pb2.RunFinished) -> None:
        """Writes an end to the outbox, then lets it be sent."""
        try:
            async with asyncio.timeout(OUTBOX_SECONDS):
                await asyncio.to_thread(self._outbox.put, finished)
        except (OSError, TimeoutError) as error:
            # Reported from memory all the same: a full or dead disk must not keep the operation from its end.
            log.error("Outbox cannot be written; the end is kept in memory only", error=repr(error))
        self._add_end(finished)

    def acknowledge(self, sequences: Iterable[int], refused: Collection[int] = ()) -> None:
        """The coordinator has these; unknown numbers are old news.

        `refused`: those among them that it could not use. No finished run is lost by that: its end stays on disk, and
        the worker's next process sends it again, perhaps to a coordinator that was mended.
        """
        for sequence in sequences:
            message = self._forget(sequence)
            if message is not None and message.HasField("run_finished"):
                self._drop_end(message.run_finished.run, keep=sequence in refused)

    def acknowledge_ends(self, runs: Iterable[worker_pb2.RunRef]) -> None:
        """The same, by run, as a registration's answer says it."""
        for run in runs:
            sequence = self._ends.get((run.operation_id, run.attempt))
            if sequence is not None:
                self.acknowledge([sequence])

    def after(self, sequence: int) -> list[worker_pb2.WorkerMessage]:
        """What waits with a greater number, in order."""
        if sequence >= self._next - 1:
            return []
        return [message for number, message in self._waiting.items() if number > sequence]

    def ends(self) -> list[worker_pb2.RunFinished]:
        """Ends not acknowledged yet, oldest first."""
        return [self._waiting[sequence].run_finished for sequence in self._ends.values()]

    def has_end(self, run: worker_pb2.RunRef) -> bool:
        """Whether this run has ended here and its end still waits."""
        return (run.operation_id, run.attempt) in self._ends

    async def close(self) -> None:
        """Waits for the files of acknowledged ends to be gone."""
        await asyncio.gather(*self._unlinks)

    def _noticed(self, message: worker_pb2.WorkerMessage) -> worker_pb2.WorkerMessage:
        notice = message.notice
        _shorten(notice)
        waiting = self._notices.setdefault(_run(notice.run), [])
        if len(waiting) >= NOTICES_KEPT:
            last = self._waiting[waiting[-1]].notice
            left_out = 1 + (int(last.details["left_out"]) if last.type == _LEFT_OUT else 0)
            if last.type == _LEFT_OUT:
                self._forget(waiting[-1])
            text = f"{left_out} further notices of this run were left out: no coordinator took them"
            message = worker_pb2.WorkerMessage(
                notice=worker_pb2.RunNotice(
                    run=notice.run, type=_LEFT_OUT, message=text, details={"left_out": str(left_out)}
                )
            )
        waiting.append(self._next)
        return message

    def _forget(self, sequence: int) -> worker_pb2.WorkerMessage | None:
        message = self._waiting.pop(sequence, None)
        if message is None:
            return None
        for index, part in ((self._checkpoints, message.checkpoint_saved), (self._notices, message.notice)):
            run = _run(part.run)
            if sequence in index.get(run, ()):
                index[run].remove(sequence)
                if not index[run]:
                    del index[run]
        return message

    def _add_end(self, finished: worker_pb2.RunFinished) -> None:
        if len(finished.failure.message) > _TEXT:
            finished.failure.message = finished.failure.message[:_TEXT] + "…"
        self._ends[finished.run.operation_id, finished.run.attempt] = self._next
        self.delivered.clear()
        self.add(worker_pb2.WorkerMessage(run_finished=finished))

    def _drop_end(self, run: worker_pb2.RunRef, *, keep: bool = False) -> None:
        self._ends.pop((run.operation_id, run.attempt), None)
        if not self._ends:
            self.delivered.set()
        leave = self._outbox.set_aside if keep else self._outbox.delete
        task = asyncio.create_task(asyncio.to_thread(leave, run), name="outbox-delete")
        self._unlinks.add(task)
        task.add_done_callback(self._unlinked)

    def _unlinked(self, task: asyncio.Task[None]) -> None:
        self._unlinks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            # Delivered again at the next start, and acknowledged again: a nuisance, not a loss.
            log.error("Outbox file of an acknowledged end stays", error=repr(error))


def _run(run: worker_pb2.RunRef) -> _Run:
    return run.operation_id, run.attempt


def _shorten(notice: worker_pb2.RunNotice) -> None:
    """A fact that is larger than the stream takes would end every stream that carries it."""
    if len(notice.message) > _TEXT:
        notice.message = notice.message[:_TEXT] + "…"
    for key in list(notice.details)[_DETAILS:]:
        del notice.details[key]
    for key, text in list(notice.details.items()):
        if len(text) > _TEXT or len(key) > _TEXT:
            del notice.details[key]
            notice.details[key[:_TEXT]] = text[:_TEXT] + "…"
