"""Takes the facts that wait in a session, one after the other, and answers each. Owns the answers; opens no stream.

An outage of PostgreSQL holds up the facts here, in their order, and not the heartbeats behind them.
"""

from __future__ import annotations

import structlog

from holdfast.errors import HoldfastError, InternalError, InvalidRequest, Unavailable
from holdfast.services.coordinator.operations.cancel import Canceller
from holdfast.services.coordinator.workers.border import kind_of
from holdfast.services.coordinator.workers.facts import Facts
from holdfast.services.coordinator.workers.reconciliation import Reconciliation, Verdict
from holdfast.services.coordinator.workers.registry import Registry
from holdfast.services.coordinator.workers.session import Session
from holdfast.v1 import worker_pb2

__all__ = ["ACKNOWLEDGE_AT_ONCE", "MAX_ANSWER", "Intake"]

log = structlog.get_logger()

ACKNOWLEDGE_AT_ONCE = 256  # facts persisted before they are acknowledged together
MAX_ANSWER = 500  # characters of why a fact was refused


class Intake:
    """`run` serves one stream; `refuse` answers what never gets so far."""

    def __init__(self, registry: Registry, reconciliation: Reconciliation, facts: Facts, canceller: Canceller) -> None:
        self._registry = registry
        self._reconciliation = reconciliation
        self._facts = facts
        self._canceller = canceller

    async def run(self, session: Session) -> None:
        """For as long as the stream lives. Raises Unavailable when facts were left out: they need the next one."""
        while True:
            fact = await session.inbound.get()
            done: list[int] = []
            while True:
                if isinstance(fact, worker_pb2.RunRef):
                    await self._reconcile(session, fact)
                elif await self._persisted(session, fact):
                    done.append(fact.sequence)
                if session.inbound.empty() or len(done) >= ACKNOWLEDGE_AT_ONCE:
                    break
                fact = session.inbound.get_nowait()
            if done:
                session.acknowledge([number for number in done if number])
            if session.left_out and session.inbound.empty():
                raise Unavailable("More facts came than could wait; the rest come with the next stream.")

    def refuse(self, session: Session, message: worker_pb2.WorkerMessage, error: HoldfastError) -> None:
        """Answers what cannot be used: it is never sent again, and what stands behind it gets through."""
        self._registry.refusals.refuse(session.worker.id, kind_of(message), error)
        if message.sequence:
            refused = worker_pb2.RefusedFact(
                sequence=message.sequence, reason=error.reason, message=error.message[:MAX_ANSWER]
            )
            session.acknowledge([message.sequence], [refused])

    async def _persisted(self, session: Session, message: worker_pb2.WorkerMessage) -> bool:
        """Whether it may be acknowledged; False: it was refused, and so acknowledged already."""
        worker = session.worker
        try:
            await self._persist(session, message)
        except InvalidRequest as error:
            self.refuse(session, message, error)
        except Exception as error:
            if not self._registry.refusals.strike(worker.id, worker.incarnation, message.sequence):
                raise
            log.exception("Fact given up: it meets a defect again and again", worker=worker.id, fact=kind_of(message))
            words = f"The coordinator met a defect with it ({type(error).__name__}); its log has the details."
            self.refuse(session, message, InternalError(words))
        else:
            return True
        return False

    async def _persist(self, session: Session, message: worker_pb2.WorkerMessage) -> None:
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
            session.stop_run(run, "This attempt is stale")

    async def _reconcile(self, session: Session, run: worker_pb2.RunRef) -> None:
        worker = session.worker
        verdict = await self._reconciliation.reconcile(worker.id, worker.incarnation, run)
        session.questioned.discard((run.operation_id, run.attempt))
        if verdict is Verdict.STOP:
            self._registry.count_stale()
            self._registry.release(worker, run.operation_id, run.attempt)
            session.stop_run(run, "This attempt is stale, or its operation has ended")
            return
        self._registry.confirm(worker, run.operation_id, run.attempt)
        if verdict is Verdict.CANCEL:
            self._canceller.again(run.operation_id, run.attempt)
