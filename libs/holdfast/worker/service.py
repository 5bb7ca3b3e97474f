"""TrainerService and BacktesterService: two names for one conversation. Owns no state; calls slots and stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from holdfast.artifacts.checkpoint import is_checkpoint_id
from holdfast.errors import InvalidRequest, Violation
from holdfast.rpc import Service
from holdfast.v1 import (
    backtester_service_pb2,
    backtester_service_pb2_grpc,
    checkpoint_pb2,
    trainer_service_pb2,
    trainer_service_pb2_grpc,
    worker_pb2,
)
from holdfast.worker.facts import Facts
from holdfast.worker.fence import Fence
from holdfast.worker.identity import Identity
from holdfast.worker.slots import Slots
from holdfast.worker.supervision import Supervision

__all__ = ["BacktesterServicer", "TrainerServicer", "WorkerServicer", "make_service"]


@dataclass(frozen=True, slots=True)
class WorkerServicer:
    """What both services do, free of their message names."""

    identity: Identity
    slots: Slots
    facts: Facts
    fence: Fence
    supervision: Supervision

    def start(self, assignment: worker_pb2.RunAssignment) -> None:
        """Takes a slot for a fresh run."""
        self.fence.admit(assignment.coordinator_term)
        self.slots.start(assignment)

    def resume(self, assignment: worker_pb2.RunAssignment, checkpoint: checkpoint_pb2.CheckpointRef) -> None:
        """Takes a slot for a run that continues."""
        self.fence.admit(assignment.coordinator_term)
        if not is_checkpoint_id(checkpoint.checkpoint_id):
            allowed = "an id such as training-3f9c1b2a7d4e/1-20"
            violation = Violation("checkpoint.checkpoint_id", repr(checkpoint.checkpoint_id), allowed)
            raise InvalidRequest(f"A resume needs its checkpoint: {violation}", violations=[violation])
        self.slots.start(assignment, checkpoint)

    def cancel(self, run: worker_pb2.RunRef, term: int, reason: str) -> None:
        """Begins to stop a run."""
        self.fence.admit(term)
        self.slots.cancel(run, reason)

    def state(self) -> worker_pb2.WorkerState:
        """What the worker says of itself."""
        return worker_pb2.WorkerState(
            worker_id=self.identity.worker_id,
            incarnation=self.identity.incarnation,
            kind=self.identity.kind,
            slots=self.slots.capacity,
            draining=self.slots.draining,
            runs=self.slots.states(),
            unacknowledged_runs=[finished.run for finished in self.facts.ends()],
            coordinator_term=self.fence.term,
        )


class TrainerServicer(trainer_service_pb2_grpc.TrainerServiceServicer):
    """The trainer's names."""

    def __init__(self, servicer: WorkerServicer) -> None:
        self._worker = servicer

    async def StartTraining(self, request: Any, context: Any) -> Any:  # noqa: N802 - a name of the protocol
        """Takes a slot for a new training."""
        self._worker.start(request.assignment)
        return trainer_service_pb2.TrainerServiceStartTrainingResponse()

    async def ResumeTraining(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Takes a slot for a training that continues."""
        self._worker.resume(request.assignment, request.checkpoint)
        return trainer_service_pb2.TrainerServiceResumeTrainingResponse()

    async def CancelTraining(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Begins to stop a training."""
        self._worker.cancel(request.run, request.coordinator_term, request.reason)
        return trainer_service_pb2.TrainerServiceCancelTrainingResponse()

    async def Supervise(self, request_iterator: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        """The stream of facts."""
        async for message in self._worker.supervision.serve(_messages(request_iterator), _on_done(context)):
            yield trainer_service_pb2.TrainerServiceSuperviseResponse(message=message)

    async def GetWorkerState(self, request: Any, context: Any) -> Any:  # noqa: N802
        """What the worker says of itself."""
        return trainer_service_pb2.TrainerServiceGetWorkerStateResponse(state=self._worker.state())


class BacktesterServicer(backtester_service_pb2_grpc.BacktesterServiceServicer):
    """The backtester's names."""

    def __init__(self, servicer: WorkerServicer) -> None:
        self._worker = servicer

    async def StartBacktest(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Takes a slot for a new backtest."""
        self._worker.start(request.assignment)
        return backtester_service_pb2.BacktesterServiceStartBacktestResponse()

    async def ResumeBacktest(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Takes a slot for a backtest that continues."""
        self._worker.resume(request.assignment, request.checkpoint)
        return backtester_service_pb2.BacktesterServiceResumeBacktestResponse()

    async def CancelBacktest(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Begins to stop a backtest."""
        self._worker.cancel(request.run, request.coordinator_term, request.reason)
        return backtester_service_pb2.BacktesterServiceCancelBacktestResponse()

    async def Supervise(self, request_iterator: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        """The stream of facts."""
        async for message in self._worker.supervision.serve(_messages(request_iterator), _on_done(context)):
            yield backtester_service_pb2.BacktesterServiceSuperviseResponse(message=message)

    async def GetWorkerState(self, request: Any, context: Any) -> Any:  # noqa: N802
        """What the worker says of itself."""
        return backtester_service_pb2.BacktesterServiceGetWorkerStateResponse(state=self._worker.state())


def make_service(servicer: WorkerServicer) -> Service:
    """The service of this worker's kind, for create_server."""
    if servicer.identity.kind == worker_pb2.WORKER_KIND_TRAINER:
        return Service(
            trainer_service_pb2_grpc.add_TrainerServiceServicer_to_server,
            TrainerServicer(servicer),
            "holdfast.v1.TrainerService",
        )
    return Service(
        backtester_service_pb2_grpc.add_BacktesterServiceServicer_to_server,
        BacktesterServicer(servicer),
        "holdfast.v1.BacktesterService",
    )


async def _messages(request_iterator: Any) -> AsyncIterator[worker_pb2.CoordinatorMessage]:
    async for request in request_iterator:
        yield request.message


def _on_done(context: Any) -> Any:
    return lambda callback: context.add_done_callback(lambda _: callback())
