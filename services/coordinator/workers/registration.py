"""Lets a worker in: persists what it brings, stops what is stale, fails what it no longer runs, and dials back.

Owns the order of these steps; one registration of a worker at a time.
"""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary

import structlog

from holdfast.errors import InvalidRequest, Unavailable
from holdfast.services.coordinator.postgres.pool import ConnectionLost
from holdfast.services.coordinator.workers.border import Border
from holdfast.services.coordinator.workers.facts import Facts
from holdfast.services.coordinator.workers.reconciliation import Reconciliation, Verdict
from holdfast.services.coordinator.workers.registry import Registry
from holdfast.services.coordinator.workers.supervision import Supervision
from holdfast.v1 import coordinator_service_pb2, worker_pb2

__all__ = ["LOOK", "PROOF_OF_LIFE", "Registration"]

log = structlog.get_logger()

# A process that still beats after this is alive, whoever else uses its name.
PROOF_OF_LIFE = 2  # heartbeats
LOOK = 0.05  # seconds


class Registration:
    """`register` answers RegisterWorker."""

    def __init__(
        self,
        registry: Registry,
        reconciliation: Reconciliation,
        facts: Facts,
        supervision: Supervision,
        *,
        term: int,
        heartbeat_interval: float,
    ) -> None:
        self._registry = registry
        self._border = Border(registry.refusals)
        self._reconciliation = reconciliation
        self._facts = facts
        self._supervision = supervision
        self._term = term
        self._heartbeat_interval = heartbeat_interval
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()  # while somebody registers

    async def register(
        self, request: coordinator_service_pb2.RegisterWorkerRequest, target: str
    ) -> coordinator_service_pb2.RegisterWorkerResponse:
        """`target`: what to dial. Raises Unavailable without a database, or when a living process has the same id."""
        lock = self._locks.setdefault(request.worker_id, asyncio.Lock())
        async with lock:
            await self._refuse_twin(request)
            refused = self._border.registration(request)
            ended = [report.run for report in request.finished_runs]
            acknowledged = [*refused.finished, *await self._take_ends(request)]
            keep, stop = await self._reconcile(request)
            stop += refused.current
            claimed = {(run.operation_id, run.attempt) for run in (*keep, *ended)}
            named = {(state.run.operation_id, state.run.attempt) for state in request.current_runs}
            await self._reconciliation.fail_unclaimed(request.worker_id, request.incarnation, claimed, named)
            worker = self._registry.register(request, keep, target)
            self._supervision.start(worker)
            log.info(
                "Worker registered",
                worker=worker.id,
                incarnation=worker.incarnation,
                address=worker.address,
                runs=len(keep),
                stopped=len(stop),
                finished=len(acknowledged),
            )
            return coordinator_service_pb2.RegisterWorkerResponse(
                coordinator_term=self._term, stop_runs=stop, acknowledged_runs=acknowledged
            )

    async def _take_ends(self, request: coordinator_service_pb2.RegisterWorkerRequest) -> list[worker_pb2.RunRef]:
        """The ends that are known now; the others come again as facts of the stream."""
        known = []
        for report in request.finished_runs:
            try:
                if not await self._facts.finished(request.worker_id, report):
                    self._registry.count_stale()
            except ConnectionLost:
                raise
            except Unavailable as error:
                log.info("Run's end waits for the artifact store", worker=request.worker_id, error=error.message)
                continue
            except Exception:
                # One end must not keep out its worker with all other ends and runs; on the stream it has three strikes.
                log.exception("Run's end met a defect at registration", worker=request.worker_id)
                continue
            known.append(report.run)
        return known

    async def _reconcile(
        self, request: coordinator_service_pb2.RegisterWorkerRequest
    ) -> tuple[list[worker_pb2.RunRef], list[worker_pb2.RunRef]]:
        keep, stop = [], []
        for state in request.current_runs:
            verdict = await self._reconciliation.reconcile(request.worker_id, request.incarnation, state.run)
            if verdict is Verdict.STOP:
                self._registry.count_stale()
                stop.append(state.run)
            else:
                keep.append(state.run)
                if state.HasField("checkpoint"):
                    await self._take_checkpoint(request.worker_id, state)
        return keep, stop

    async def _take_checkpoint(self, worker_id: str, state: worker_pb2.RunState) -> None:
        """Its own report may still be on the way; an orphan rule must not be blind until then."""
        try:
            await self._facts.checkpoint_saved(worker_id, state.run, state.checkpoint)
        except ConnectionLost:
            raise
        except (InvalidRequest, Unavailable) as error:
            # The report itself is refused, or waits for the artifact store.
            log.info("Checkpoint of a run not taken at registration", worker=worker_id, error=error.message)

    async def _refuse_twin(self, request: coordinator_service_pb2.RegisterWorkerRequest) -> None:
        """A new incarnation proves the old process dead, unless that one goes on beating: then two share a name."""
        before = self._registry.find(request.worker_id)
        if before is None or before.incarnation == request.incarnation or not before.connected:
            return
        heard = before.last_heartbeat_time
        for _ in range(max(1, round(PROOF_OF_LIFE * self._heartbeat_interval / LOOK))):
            if not self._registry.is_connected(before):
                return
            if before.last_heartbeat_time != heard:
                self._registry.count_stale()
                raise Unavailable(
                    f"Another living worker at {before.address} is called {before.id}. "
                    "Give this one another name with HOLDFAST_WORKER_ID.",
                    reason="WORKER_ID_IN_USE",
                    metadata={"worker_id": before.id},
                )
            await asyncio.sleep(LOOK)
