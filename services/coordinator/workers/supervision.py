"""One Supervise stream per worker: dials back, takes facts in, sends acknowledgements out. Owns the streams.

Heartbeats and progress are handled as they come. Durable facts wait in a queue of their own, so that an outage of
PostgreSQL holds up neither the heartbeats behind them nor their order.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog

from holdfast.errors import HoldfastError, InternalError, InvalidRequest, Unavailable
from holdfast.services.coordinator.operations.progress import ProgressBoard
from holdfast.services.coordinator.tasks import Tasks
from holdfast.services.coordinator.workers.border import Border, kind_of
from holdfast.services.coordinator.workers.facts import Facts
from holdfast.services.coordinator.workers.link import Stream, WorkerLink
from holdfast.services.coordinator.workers.reconciliation import Reconciliation, Verdict
from holdfast.services.coordinator.workers.registry import Registry, Worker
from holdfast.v1 import worker_pb2

__all__ = [
    "ACKNOWLEDGE_AT_ONCE",
    "FACTS_WAITING",
    "HELLO_TIMEOUT",
    "MAX_ANSWER",
    "MISSED_HEARTBEATS",
    "ORDERS_WAITING",
    "REDIAL_AFTER_DEFECT",
    "REDIAL_FIRST",
    "REDIAL_LAST",
    "SHORTEST_SILENCE",
    "Supervision",
]

log = structlog.get_logger()

HELLO_TIMEOUT = 5.0  # seconds
# Three missed heartbeats make a suspect, but a busy machine is forgiven a few seconds.
MISSED_HEARTBEATS = 3
SHORTEST_SILENCE = 5.0  # seconds
# The worker registers again when its stream ends; dialling again as well heals what it has not noticed.
REDIAL_FIRST, REDIAL_LAST = 0.2, 2.0  # seconds
# After a defect of our own: it would as a rule be met again at once.
REDIAL_AFTER_DEFECT = 2.0  # seconds
ACKNOWLEDGE_AT_ONCE = 256  # facts persisted before they are acknowledged together
MAX_ANSWER = 500  # characters of why a fact was refused
# Of one stream. Facts that find no place are left to its next stream; a worker that does not read loses this one.
FACTS_WAITING, ORDERS_WAITING = 2048, 1024

_Fact = worker_pb2.WorkerMessage | worker_pb2.RunRef


class Supervision:
    """Starts, replaces and ends streams; `stop_run` and `link` are for the rooms that command a worker."""

    def __init__(
        self,
        registry: Registry,
        reconciliation: Reconciliation,
        facts: Facts,
        board: ProgressBoard,
        tasks: Tasks,
        *,
        term: int,
        heartbeat_interval: float,
        give_up_after: float,
    ) -> None:
        self._registry = registry
        self._border = Border(registry.refusals)
        self._reconciliation = reconciliation
        self._facts = facts
        self._board = board
        self._tasks = tasks
        self._term = term
        self._silence = max(MISSED_HEARTBEATS * heartbeat_interval, SHORTEST_SILENCE)
        self._give_up_after = give_up_after
        self._sessions: dict[str, _Session] = {}
        registry.on_forgotten.append(self._forget)
        self.cancel_again: Callable[[str, int], None] = lambda operation_id, attempt: None

    def start(self, worker: Worker) -> None:
        """Dials a worker that has just registered; an older session with it ends."""
        before = self._sessions.pop(worker.id, None)
        if before is not None:
            before.end()
        session = _Session(self, worker, WorkerLink(worker.kind, worker.target, self._term))
        self._sessions[worker.id] = session
        session.task = self._tasks.start(f"supervise {worker.id}", self._supervise(session))

    def _forget(self, worker: Worker) -> None:
        session = self._sessions.get(worker.id)
        if session is not None and session.worker is worker:
            del self._sessions[worker.id]
            session.end()

    def link(self, worker: Worker) -> WorkerLink | None:
        """The channel to a connected worker."""
        session = self._sessions.get(worker.id)
        return session.link if session is not None and session.worker is worker and worker.connected else None

    def stop_run(self, worker: Worker, run: worker_pb2.RunRef, reason: str) -> None:
        """Tells a worker that a run of its is stale. Repeated by the next heartbeat if it gets lost."""
        self._send(worker, worker_pb2.CoordinatorMessage(stop_run=worker_pb2.StopRun(run=run, reason=reason)))

    def drain(self, worker: Worker, *, stop_runs: bool) -> None:
        """Tells a worker to take no new runs, and to stop those it has."""
        self._send(worker, worker_pb2.CoordinatorMessage(drain=worker_pb2.Drain(stop_runs=stop_runs)))

    async def close(self) -> None:
        """The coordinator stops: every stream ends, and every worker starts to look for the next coordinator."""
        sessions = list(self._sessions.values())
        for session in sessions:
            session.end()
        await asyncio.gather(*(session.task for session in sessions if session.task), return_exceptions=True)

    def _send(self, worker: Worker, message: worker_pb2.CoordinatorMessage) -> None:
        session = self._sessions.get(worker.id)
        if session is not None and session.worker is worker:
            session.say(message)

    async def _supervise(self, session: _Session) -> None:
        """Until the session is replaced, or the worker has been disconnected for so long that its runs are nobody's."""
        worker = session.worker
        delay, last_seen = REDIAL_FIRST, time.monotonic()
        try:
            # The flag as well as the cancellation: a task group that fails in that very moment swallows the latter.
            while self._wanted(session):
                defect = False
                try:
                    await self._one_stream(session)
                    reason = "the worker ended it"
                except HoldfastError as error:
                    reason = error.message
                except TimeoutError:
                    reason = f"no sign of life for {self._silence:.0f} seconds"
                except Exception:
                    # Of this worker's stream alone: what one worker says must not take the others down.
                    log.exception("Supervise stream met a defect", worker=worker.id)
                    reason, defect = "a defect of the coordinator", True
                if worker.connected:
                    log.warning("Supervise stream lost", worker=worker.id, reason=reason)
                    delay, last_seen = REDIAL_FIRST, time.monotonic()
                    self._registry.disconnect(worker)
                if not self._wanted(session):
                    return
                if time.monotonic() - last_seen > min(self._give_up_after, worker.patience):
                    log.info("Worker given up", worker=worker.id, reason=reason)
                    return
                await asyncio.sleep(REDIAL_AFTER_DEFECT if defect else delay)
                delay = min(delay * 2, REDIAL_LAST)
        finally:
            if self._registry.is_current(worker):
                self._registry.disconnect(worker)
            if self._sessions.get(worker.id) is session:
                del self._sessions[worker.id]
            await asyncio.shield(session.link.close())

    def _wanted(self, session: _Session) -> bool:
        """False once it was replaced, or the coordinator stops."""
        return not session.ended and self._registry.is_current(session.worker)

    async def _one_stream(self, session: _Session) -> None:
        stream = session.link.supervise(session.worker.nonce)
        session.reset(stream)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._send_all(session, stream), name=f"send to {session.worker.id}")
                group.create_task(self._persist_all(session), name=f"persist facts of {session.worker.id}")
                # The first word, so that the worker learns the term before any command.
                session.say(worker_pb2.CoordinatorMessage(acknowledgement=worker_pb2.Acknowledgement()))
                await self._receive_all(session, stream)
                raise _StreamEnded
        except BaseExceptionGroup as errors:
            expected, rest = errors.split((HoldfastError, TimeoutError, _StreamEnded))
            if rest is not None:
                raise
            assert expected is not None
            first = _leaf(expected)
            if not isinstance(first, _StreamEnded):
                raise first from None
        finally:
            stream.cancel()

    async def _receive_all(self, session: _Session, stream: Stream) -> None:
        facts = stream.facts()
        worker = session.worker
        silence = HELLO_TIMEOUT
        while True:
            async with asyncio.timeout(silence):
                message = await anext(facts, None)
            if message is None:
                return
            silence = self._silence
            if not self._receive(session, message):
                return
            if not self._registry.is_current(worker):
                return

    def _receive(self, session: _Session, message: worker_pb2.WorkerMessage) -> bool:
        worker = session.worker
        try:
            kind = self._border.message(worker.id, message)
        except InvalidRequest as error:
            self._refuse(session, message, error)
            return True
        match kind:
            case "hello":
                hello = message.hello
                if (hello.worker_id, hello.incarnation) != (worker.id, worker.incarnation):
                    self._registry.count_stale()
                    log.warning("Stream of another worker refused", worker=worker.id, found=hello.worker_id)
                    return False
                for state in hello.current_runs:
                    session.question(state.run)
                self._registry.connect(worker)
                log.info("Worker connected", worker=worker.id, slots=worker.slots, runs=len(hello.current_runs))
            case "heartbeat":
                for run in self._registry.heartbeat(worker, message.heartbeat):
                    session.question(run)
            case "progress":
                self._report(session, message.progress)
            case _:
                session.take(message)
        return True

    def _refuse(self, session: _Session, message: worker_pb2.WorkerMessage, error: HoldfastError) -> None:
        """Answers what cannot be used: it is never sent again, and what stands behind it gets through."""
        self._registry.refusals.refuse(session.worker.id, kind_of(message), error)
        if message.sequence:
            refused = worker_pb2.RefusedFact(
                sequence=message.sequence, reason=error.reason, message=error.message[:MAX_ANSWER]
            )
            acknowledgement = worker_pb2.Acknowledgement(sequences=[message.sequence], refused=[refused])
            session.say(worker_pb2.CoordinatorMessage(acknowledgement=acknowledgement))

    def _report(self, session: _Session, report: worker_pb2.ProgressReport) -> None:
        run = report.run
        slot = session.worker.runs.get(run.operation_id)
        if slot is None or slot.attempt != run.attempt:
            self._registry.count_stale()
            session.question(run)
            return
        self._board.report(session.worker.id, run.operation_id, run.attempt, report.progress)

    async def _send_all(self, session: _Session, stream: Stream) -> None:
        while True:
            await stream.send(await session.outbound.get())

    async def _persist_all(self, session: _Session) -> None:
        while True:
            fact = await session.inbound.get()
            done: list[int] = []
            while True:
                if isinstance(fact, worker_pb2.RunRef):
                    await self._reconcile(session, fact)
                else:
                    if await self._persisted(session, fact):
                        done.append(fact.sequence)
                if session.inbound.empty() or len(done) >= ACKNOWLEDGE_AT_ONCE:
                    break
                fact = session.inbound.get_nowait()
            if done:
                acknowledgement = worker_pb2.Acknowledgement(sequences=[number for number in done if number])
                session.say(worker_pb2.CoordinatorMessage(acknowledgement=acknowledgement))
            if session.left_out and session.inbound.empty():
                raise Unavailable("More facts came than could wait; the rest come with the next stream.")

    async def _persisted(self, session: _Session, message: worker_pb2.WorkerMessage) -> bool:
        """Whether it may be acknowledged; False: it was refused, and so acknowledged already."""
        worker = session.worker
        try:
            await self._persist(session, message)
        except InvalidRequest as error:
            self._refuse(session, message, error)
        except Exception as error:
            if not self._registry.refusals.strike(worker.id, worker.incarnation, message.sequence):
                raise
            log.exception("Fact given up: it meets a defect again and again", worker=worker.id, fact=kind_of(message))
            words = f"The coordinator met a defect with it ({type(error).__name__}); its log has the details."
            self._refuse(session, message, InternalError(words))
        else:
            return True
        return False

    async def _persist(self, session: _Session, message: worker_pb2.WorkerMessage) -> None:
        worker = session.worker
        match message.WhichOneof("fact"):
            case "checkpoint_saved":
                run = message.checkpoint_saved.run
                fresh = await self._facts.checkpoint_saved(worker.id, run, message.checkpoint_saved.checkpoint)
            case "run_finished":
                run = message.run_finished.run
                if not await self._facts.finished(worker.id, message.run_finished):
                    self._registry.count_stale()
                return
            case _:
                run = message.notice.run
                name = f"{worker.incarnation}:{message.sequence}" if message.sequence else ""
                fresh = await self._facts.notice(worker.id, run, message.notice, name)
        if not fresh:
            self._registry.count_stale()
            self.stop_run(worker, run, "This attempt is stale")

    async def _reconcile(self, session: _Session, run: worker_pb2.RunRef) -> None:
        worker = session.worker
        verdict = await self._reconciliation.reconcile(worker.id, worker.incarnation, run)
        session.questioned.discard((run.operation_id, run.attempt))
        if verdict is Verdict.STOP:
            self._registry.count_stale()
            self._registry.release(worker, run.operation_id, run.attempt)
            self.stop_run(worker, run, "This attempt is stale, or its operation has ended")
            return
        self._registry.confirm(worker, run.operation_id, run.attempt)
        if verdict is Verdict.CANCEL:
            self.cancel_again(run.operation_id, run.attempt)


class _Session:
    """One registration's worth of streams."""

    def __init__(self, supervision: Supervision, worker: Worker, link: WorkerLink) -> None:
        self.worker = worker
        self.link = link
        self.task: asyncio.Task[None] | None = None
        self.outbound: asyncio.Queue[worker_pb2.CoordinatorMessage] = asyncio.Queue(ORDERS_WAITING)
        self.inbound: asyncio.Queue[_Fact] = asyncio.Queue(FACTS_WAITING)
        self.questioned: set[tuple[str, int]] = set()
        self.left_out = False
        self.ended = False
        self._stream: Stream | None = None

    def reset(self, stream: Stream) -> None:
        """A new stream: whatever was not acknowledged is sent again, so nothing of the old one is kept."""
        self.outbound = asyncio.Queue(ORDERS_WAITING)
        self.inbound = asyncio.Queue(FACTS_WAITING)
        self.questioned = set()
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


class _StreamEnded(Exception):
    """Takes the stream's other tasks down with it."""


def _leaf(group: BaseExceptionGroup[BaseException]) -> BaseException:
    first = group.exceptions[0]
    return _leaf(first) if isinstance(first, BaseExceptionGroup) else first
