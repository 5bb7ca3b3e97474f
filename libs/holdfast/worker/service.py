"""The worker's service, under its kind's name: TrainerService and BacktesterService are one protocol. Owns no state."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from holdfast.artifacts.checkpoint import is_checkpoint_id
from holdfast.errors import InvalidRequest, Violation
from holdfast.rpc import Service
from holdfast.v1 import (
    backtester_service_pb2,
    backtester_service_pb2_grpc,
    trainer_service_pb2,
    trainer_service_pb2_grpc,
    worker_pb2,
)
from holdfast.worker.factqueue import FactQueue
from holdfast.worker.fence import Fence
from holdfast.worker.identity import Identity
from holdfast.worker.slots import Slots
from holdfast.worker.stream import SupervisionStream

__all__ = ["WorkerServicer", "make_service"]


class WorkerServicer:
    """Admits what the proven coordinator asks for, and hands it to slots and stream."""

    def __init__(
        self, identity: Identity, slots: Slots, facts: FactQueue, fence: Fence, supervision: SupervisionStream
    ) -> None:
        self._identity = identity
        self._slots = slots
        self._facts = facts
        self._fence = fence
        self._supervision = supervision

    async def StartRun(self, request: worker_pb2.StartRunRequest, context: Any) -> worker_pb2.StartRunResponse:  # noqa: N802 - a name of the protocol
        """Takes a slot for a fresh run."""
        self._fence.admit(request.assignment.coordinator_term)
        if request.assignment.HasField("checkpoint"):
            raise _invalid("A start has no checkpoint; ask for it with ResumeRun", request.assignment, "none")
        self._slots.start(request.assignment)
        return worker_pb2.StartRunResponse()

    async def ResumeRun(self, request: worker_pb2.ResumeRunRequest, context: Any) -> worker_pb2.ResumeRunResponse:  # noqa: N802
        """Takes a slot for a run that continues."""
        self._fence.admit(request.assignment.coordinator_term)
        if not is_checkpoint_id(request.assignment.checkpoint.checkpoint_id):
            allowed = "an id such as training-3f9c1b2a7d4e/1-20"
            raise _invalid("A resume needs its checkpoint", request.assignment, allowed)
        self._slots.start(request.assignment)
        return worker_pb2.ResumeRunResponse()

    async def CancelRun(self, request: worker_pb2.CancelRunRequest, context: Any) -> worker_pb2.CancelRunResponse:  # noqa: N802
        """Begins to stop a run."""
        self._fence.admit(request.coordinator_term)
        self._slots.cancel(request.run, request.reason)
        return worker_pb2.CancelRunResponse()

    async def Supervise(  # noqa: N802
        self, incoming: AsyncIterator[worker_pb2.CoordinatorMessage], context: Any
    ) -> AsyncIterator[worker_pb2.WorkerMessage]:
        """The stream of facts."""
        async for message in self._supervision.serve(
            incoming, lambda callback: context.add_done_callback(lambda _: callback())
        ):
            yield message

    async def GetWorkerState(  # noqa: N802
        self, request: worker_pb2.GetWorkerStateRequest, context: Any
    ) -> worker_pb2.GetWorkerStateResponse:
        """What the worker says of itself."""
        state = worker_pb2.WorkerState(
            worker_id=self._identity.worker_id,
            incarnation=self._identity.incarnation,
            kind=self._identity.kind,
            slots=self._slots.capacity,
            draining=self._slots.draining,
            runs=self._slots.states(),
            unacknowledged_runs=[finished.run for finished in self._facts.ends()],
            coordinator_term=self._fence.term,
        )
        return worker_pb2.GetWorkerStateResponse(state=state)


def make_service(servicer: WorkerServicer, kind: worker_pb2.WorkerKind) -> Service:
    """The servicer under the service name of this worker's kind, for create_server."""
    # The generated functions take any object that has the methods. The names come from the files' descriptors, since
    # reflection knows a file only once it is imported, and the generated gRPC code imports the messages' file alone.
    if kind == worker_pb2.WORKER_KIND_TRAINER:
        name = trainer_service_pb2.DESCRIPTOR.services_by_name["TrainerService"].full_name
        return Service(trainer_service_pb2_grpc.add_TrainerServiceServicer_to_server, servicer, name)
    name = backtester_service_pb2.DESCRIPTOR.services_by_name["BacktesterService"].full_name
    return Service(backtester_service_pb2_grpc.add_BacktesterServiceServicer_to_server, servicer, name)


def _invalid(what: str, assignment: worker_pb2.RunAssignment, allowed: str) -> InvalidRequest:
    found = repr(assignment.checkpoint.checkpoint_id)
    violation = Violation("assignment.checkpoint.checkpoint_id", found, allowed)
    return InvalidRequest(f"{what}: {violation}", violations=[violation])
