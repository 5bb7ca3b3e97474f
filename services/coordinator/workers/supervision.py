"""One Supervise stream per worker: dials back, takes facts in, sends acknowledgements out. Owns the streams.

Heartbeats and progress are handled as they come. Durable facts wait in the session for `intake`.
"""

from __future__ import annotations

import asyncio
import time

import structlog

from holdfast.errors import HoldfastError, InvalidRequest
from holdfast.services.coordinator.operations.progress import ProgressBoard
from holdfast.services.coordinator.tasks import Tasks
from holdfast.services.coordinator.workers.border import Border
from holdfast.services.coordinator.workers.intake import Intake
from holdfast.services.coordinator.workers.link import Stream
from holdfast.services.coordinator.workers.links import Links
from holdfast.services.coordinator.workers.registry import Registry
from holdfast.services.coordinator.workers.session import Session
from holdfast.services.coordinator.workers.worker import Worker
from holdfast.v1 import worker_pb2

__all__ = [
    "HELLO_TIMEOUT",
    "MISSED_HEARTBEATS",
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


class Supervision:
    """Starts, replaces and ends streams."""

    def __init__(
        self,
        registry: Registry,
        links: Links,
        intake: Intake,
        board: ProgressBoard,
        tasks: Tasks,
        *,
        heartbeat_interval: float,
        give_up_after: float,
    ) -> None:
        self._registry = registry
        self._border = Border(registry.refusals)
        self._links = links
        self._intake = intake
        self._board = board
        self._tasks = tasks
        self._silence = max(MISSED_HEARTBEATS * heartbeat_interval, SHORTEST_SILENCE)
        self._give_up_after = give_up_after
        self._sessions: dict[str, Session] = {}
        registry.on_forgotten.append(self._forget)

    def start(self, worker: Worker) -> None:
        """Dials a worker that has just registered; an older session with it ends."""
        before = self._sessions.pop(worker.id, None)
        if before is not None:
            before.end()
        session = Session(worker, self._links.open(worker))
        self._sessions[worker.id] = session
        session.task = self._tasks.start(f"supervise {worker.id}", self._supervise(session))

    def _forget(self, worker: Worker) -> None:
        session = self._sessions.get(worker.id)
        if session is not None and session.worker is worker:
            del self._sessions[worker.id]
            session.end()

    def drain(self, worker: Worker, *, stop_runs: bool) -> None:
        """Tells a worker to take no new runs, and to stop those it has."""
        session = self._sessions.get(worker.id)
        if session is not None and session.worker is worker:
            session.say(worker_pb2.CoordinatorMessage(drain=worker_pb2.Drain(stop_runs=stop_runs)))

    async def close(self) -> None:
        """The coordinator stops: every stream ends, and every worker starts to look for the next coordinator."""
        sessions = list(self._sessions.values())
        for session in sessions:
            session.end()
        await asyncio.gather(*(session.task for session in sessions if session.task), return_exceptions=True)

    async def _supervise(self, session: Session) -> None:
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
            await asyncio.shield(self._links.close(worker, session.link))

    def _wanted(self, session: Session) -> bool:
        """False once it was replaced, or the coordinator stops."""
        return not session.ended and self._registry.is_current(session.worker)

    async def _one_stream(self, session: Session) -> None:
        stream = session.link.supervise(session.worker.nonce)
        session.reset(stream)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._send_all(session, stream), name=f"send to {session.worker.id}")
                group.create_task(self._intake.run(session), name=f"persist facts of {session.worker.id}")
                # The first word, so that the worker learns the term before any command.
                session.acknowledge([])
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

    async def _receive_all(self, session: Session, stream: Stream) -> None:
        facts = stream.facts()
        silence = HELLO_TIMEOUT
        while True:
            async with asyncio.timeout(silence):
                message = await anext(facts, None)
            if message is None:
                return
            silence = self._silence
            if not self._receive(session, message) or not self._registry.is_current(session.worker):
                return

    def _receive(self, session: Session, message: worker_pb2.WorkerMessage) -> bool:
        worker = session.worker
        try:
            kind = self._border.message(worker.id, message)
        except InvalidRequest as error:
            self._intake.refuse(session, message, error)
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

    def _report(self, session: Session, report: worker_pb2.ProgressReport) -> None:
        run = report.run
        slot = session.worker.runs.get(run.operation_id)
        if slot is None or slot.attempt != run.attempt:
            self._registry.count_stale()
            session.question(run)
            return
        self._board.report(session.worker.id, run.operation_id, run.attempt, report.progress)

    async def _send_all(self, session: Session, stream: Stream) -> None:
        while True:
            await stream.send(await session.outbound.get())


class _StreamEnded(Exception):
    """Takes the stream's other tasks down with it."""


def _leaf(group: BaseExceptionGroup[BaseException]) -> BaseException:
    first = group.exceptions[0]
    return _leaf(first) if isinstance(first, BaseExceptionGroup) else first
