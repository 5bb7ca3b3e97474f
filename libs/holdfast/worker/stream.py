"""The Supervise stream, worker's side: facts up, acknowledgements and orders down. Owns the current stream.

One stream counts at a time; a newer one replaces it. Its coordinator speaks first, and proves that it is the one this
worker has registered with. Then come hello, every durable fact that still waits, in order, and what happens: facts, the
newest progress of each run, a heartbeat per interval. A stream that is not read by its coordinator holds up nothing but
itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import structlog

from holdfast.errors import HoldfastError, InternalError, LostRace
from holdfast.v1 import worker_pb2
from holdfast.worker.factqueue import FactQueue
from holdfast.worker.fence import UNPROVEN, Fence
from holdfast.worker.handle import RunHandle
from holdfast.worker.identity import Identity
from holdfast.worker.slots import Slots

__all__ = ["Session", "SupervisionStream"]

log = structlog.get_logger()

_INTRODUCTION_SECONDS = 2.0


class Session:
    """One stream."""

    def __init__(self) -> None:
        self.cursor = 0  # the last durable fact written to it
        self.dirty: dict[tuple[str, int], RunHandle] = {}
        self.wake = asyncio.Event()
        self.ended = False
        self.error: HoldfastError | None = None
        # Its coordinator has proven itself; until then the stream is nobody's.
        self.introduced = asyncio.Event()

    def end(self, error: HoldfastError | None = None) -> None:
        """Makes the stream's writer return, or raise."""
        if not self.ended:
            self.ended, self.error = True, error
            self.wake.set()
            self.introduced.set()


class SupervisionStream:
    """Serves streams; `connected` and `lost` are what registration waits for."""

    def __init__(
        self, identity: Identity, slots: Slots, facts: FactQueue, fence: Fence, heartbeat_seconds: float
    ) -> None:
        self._identity = identity
        self._slots = slots
        self._facts = facts
        self._fence = fence
        self._heartbeat_seconds = heartbeat_seconds
        self._session: Session | None = None
        self.connected = asyncio.Event()
        self.lost = asyncio.Event()
        self.lost.set()
        facts.on_change = self._wake
        slots.on_progress = self._progressed

    async def serve(
        self, incoming: AsyncIterator[worker_pb2.CoordinatorMessage], on_done: Callable[[Callable[[], None]], None]
    ) -> AsyncIterator[worker_pb2.WorkerMessage]:
        """One stream, until it is replaced, refused or closed. `on_done` registers what to call when its call ends.

        Raises LostRace: COORDINATOR_UNPROVEN or STALE_ATTEMPT for a stranger's or a stale coordinator's, which
        replaces nothing; STREAM_REPLACED when a newer stream took over.
        """
        session = Session()
        # A cancelled call does not promise to close this generator soon; its done callback does.
        on_done(lambda: self._close(session))
        reader = asyncio.create_task(self._read(session, incoming), name="supervise reader")
        try:
            await self._introduction(session)
            if not session.ended:
                self._take_over(session)
                yield self._hello()
            async for message in self._write(session):
                yield message
        finally:
            reader.cancel()
            self._close(session)

    def beat(self) -> None:
        """Sends a heartbeat at once: something in it has changed."""
        self._wake()

    def close(self) -> None:
        """Ends the current stream in order."""
        if self._session is not None:
            self._session.end()

    async def _introduction(self, session: Session) -> None:
        """Waits for the first word."""
        try:
            async with asyncio.timeout(_INTRODUCTION_SECONDS):
                await session.introduced.wait()
        except TimeoutError:
            log.warning("Supervise stream refused: whoever opened it says nothing")
            session.end(LostRace("A Supervise stream begins with the coordinator's word.", reason=UNPROVEN))

    def _take_over(self, session: Session) -> None:
        if self._session is not None:
            self._session.end(LostRace("A newer Supervise stream took over.", reason="STREAM_REPLACED"))
        self._session = session
        self.lost.clear()
        self.connected.set()
        log.info("Supervise stream opened")

    def _close(self, session: Session) -> None:
        session.end()
        if self._session is session:
            self._session = None
            self.connected.clear()
            self.lost.set()
            log.info("Supervise stream ended")

    async def _write(self, session: Session) -> AsyncIterator[worker_pb2.WorkerMessage]:
        loop = asyncio.get_running_loop()
        next_beat = loop.time()
        draining = self._slots.draining
        while not session.ended:
            session.wake.clear()
            for fact in self._facts.after(session.cursor):
                session.cursor = fact.sequence
                yield fact
            dirty, session.dirty = session.dirty, {}
            for run in dirty.values():
                report = worker_pb2.ProgressReport(run=run.ref, progress=run.progress)
                yield worker_pb2.WorkerMessage(progress=report)
            if loop.time() >= next_beat or self._slots.draining != draining:
                draining = self._slots.draining
                next_beat = loop.time() + self._heartbeat_seconds
                yield self._heartbeat()
            try:
                async with asyncio.timeout_at(next_beat):
                    await session.wake.wait()
            except TimeoutError:
                continue
        if session.error is not None:
            raise session.error

    async def _read(self, session: Session, incoming: AsyncIterator[worker_pb2.CoordinatorMessage]) -> None:
        try:
            async for message in incoming:
                if session.introduced.is_set():
                    self._fence.admit(message.coordinator_term)
                else:
                    self._fence.prove(message.registration_nonce, message.coordinator_term)
                    session.introduced.set()
                self._obey(message)
        except HoldfastError as error:
            log.warning("Supervise stream refused", error=error.message)
            session.end(error)
        except Exception as error:
            log.exception("Supervise stream's reader failed")
            session.end(InternalError(f"The worker could not read its stream ({type(error).__name__})."))
        else:
            session.end()

    def _obey(self, message: worker_pb2.CoordinatorMessage) -> None:
        match message.WhichOneof("message"):
            case "acknowledgement":
                for refused in message.acknowledgement.refused:
                    log.warning("Fact refused", sequence=refused.sequence, reason=refused.reason, error=refused.message)
                unusable = {refused.sequence for refused in message.acknowledgement.refused}
                self._facts.acknowledge(message.acknowledgement.sequences, unusable)
            case "stop_run":
                self._slots.fence(message.stop_run.run, message.stop_run.reason)
            case "drain":
                log.info("Draining", stop_runs=message.drain.stop_runs)
                self._slots.drain(stop_runs=message.drain.stop_runs)
                self.beat()
            case _:
                return  # an empty message says only the term, and a newer coordinator's may say what is not known here

    def _hello(self) -> worker_pb2.WorkerMessage:
        return worker_pb2.WorkerMessage(
            hello=worker_pb2.WorkerHello(
                worker_id=self._identity.worker_id,
                incarnation=self._identity.incarnation,
                current_runs=self._slots.states(),
            )
        )

    def _heartbeat(self) -> worker_pb2.WorkerMessage:
        beat = worker_pb2.Heartbeat(runs=self._slots.refs(), draining=self._slots.draining)
        beat.send_time.GetCurrentTime()
        return worker_pb2.WorkerMessage(heartbeat=beat)

    def _progressed(self, run: RunHandle) -> None:
        if self._session is not None:
            self._session.dirty[run.ref.operation_id, run.ref.attempt] = run
            self._session.wake.set()

    def _wake(self) -> None:
        if self._session is not None:
            self._session.wake.set()
