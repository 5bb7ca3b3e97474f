"""The worker's service under either kind's name, over loopback: what it takes, and what it refuses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from holdfast.artifacts.checkpoint import is_checkpoint_id
from holdfast.errors import InvalidRequest
from holdfast.rpc import create_channel, create_server, error_from_rpc
from holdfast.v1 import backtester_service_pb2_grpc, checkpoint_pb2, operation_pb2, trainer_service_pb2_grpc, worker_pb2
from holdfast.worker.fence import Fence
from holdfast.worker.identity import Identity
from holdfast.worker.service import WorkerServicer, make_service
from holdfast.worker.stream import SupervisionStream
from tests.support.future import arrived, future
from tests.unit.worker.test_slots import Stage, stage

__all__ = ["stage"]  # a fixture

TERM = 3
RUN = worker_pb2.RunRef(operation_id="op", attempt=1)
CHECKPOINT = checkpoint_pb2.CheckpointRef(checkpoint_id="op/1-20", uri="op/1-20")
SPECS: dict[str, Any] = {
    "training": {"training": operation_pb2.TrainingSpec()},
    "backtest": {"backtest": operation_pb2.BacktestSpec()},
    "none": {},
}
UNKNOWN = future(
    "RunAssignment", run={"operation_id": "op", "attempt": 1}, coordinator_term=TERM, future="a later kind"
)


@pytest.fixture(params=["trainer", "backtester"])
async def stub(request: pytest.FixtureRequest, stage: Stage) -> AsyncIterator[Any]:
    trainer = request.param == "trainer"
    kind = worker_pb2.WORKER_KIND_TRAINER if trainer else worker_pb2.WORKER_KIND_BACKTESTER
    stage.take_only("training" if trainer else "backtest")
    identity, fence = Identity("w1", kind), Fence()
    fence.prove(fence.challenge(), TERM)
    supervision = SupervisionStream(identity, stage.slots, stage.facts, fence, 1.0)
    servicer = WorkerServicer(identity, stage.slots, stage.facts, fence, supervision)
    server = create_server("127.0.0.1:0", [make_service(servicer, kind)])
    await server.start()
    async with create_channel(server.address, retries=False) as channel:
        yield (
            trainer_service_pb2_grpc.TrainerServiceStub(channel)
            if trainer
            else backtester_service_pb2_grpc.BacktesterServiceStub(channel)
        )
    await server.stop(0)


async def own_kind(stub: Any) -> tuple[str, str]:
    """The spec that this worker takes, and the other one."""
    trainer = (await state(stub)).kind == worker_pb2.WORKER_KIND_TRAINER
    return ("training", "backtest") if trainer else ("backtest", "training")


async def state(stub: Any) -> worker_pb2.WorkerState:
    answer: worker_pb2.GetWorkerStateResponse = await stub.GetWorkerState(worker_pb2.GetWorkerStateRequest())
    return answer.state


def assignment(spec: str, **fields: Any) -> worker_pb2.RunAssignment:
    return worker_pb2.RunAssignment(run=RUN, coordinator_term=TERM, **SPECS[spec], **fields)


async def refused(call: Any) -> list[str]:
    """The fields that an INVALID_ARGUMENT names."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    error = error_from_rpc(caught.value)
    assert isinstance(error, InvalidRequest)
    return [violation.path for violation in error.violations]


async def test_a_run_of_another_kind_or_of_none_is_refused(stub: Any) -> None:
    _, other = await own_kind(stub)
    for wrong in (assignment(other), assignment("none"), arrived(UNKNOWN)):
        assert await refused(stub.StartRun(worker_pb2.StartRunRequest(assignment=wrong))) == ["assignment.spec"]
        wrong.checkpoint.CopyFrom(CHECKPOINT)
        assert await refused(stub.ResumeRun(worker_pb2.ResumeRunRequest(assignment=wrong))) == ["assignment.spec"]
    assert not (await state(stub)).runs


async def test_a_checkpoint_comes_with_a_resume_and_with_nothing_else(stub: Any) -> None:
    own, _ = await own_kind(stub)
    named = ["assignment.checkpoint.checkpoint_id"]
    with_one = assignment(own, checkpoint=CHECKPOINT)
    assert await refused(stub.StartRun(worker_pb2.StartRunRequest(assignment=with_one))) == named
    for bad in (assignment(own), assignment(own, checkpoint=checkpoint_pb2.CheckpointRef(checkpoint_id="../1-2"))):
        assert not is_checkpoint_id(bad.checkpoint.checkpoint_id)
        assert await refused(stub.ResumeRun(worker_pb2.ResumeRunRequest(assignment=bad))) == named
    assert not (await state(stub)).runs


async def test_the_order_reaches_the_process_as_it_was_given(stub: Any, stage: Stage) -> None:
    own, _ = await own_kind(stub)
    order = assignment(own, checkpoint=CHECKPOINT)
    await stub.ResumeRun(worker_pb2.ResumeRunRequest(assignment=order))
    puppet = await stage.theatre.puppet(0)
    assert puppet.order == order
    await stub.CancelRun(worker_pb2.CancelRunRequest(run=RUN, coordinator_term=TERM))
    puppet.complete()
    await stage.slots.idle.wait()
