"""Speaks a newer protocol to a coordinator and to its workers: enum values, facts, fields and times that do not exist.

What is said concerns no operation of anybody's. Every answer is welcome, as long as it is an answer.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from holdfast.errors import HoldfastError
from holdfast.rpc import create_channel
from holdfast.sdk._loop import run
from holdfast.v1 import (
    backtester_service_pb2_grpc,
    checkpoint_pb2,
    coordinator_service_pb2,
    coordinator_service_pb2_grpc,
    operation_pb2,
    trainer_service_pb2_grpc,
    worker_pb2,
)
from tests.support.scripted_worker import ScriptedWorker
from tests.support.waiting import until

VISITOR = "visitor"
NOBODY = "training-ffffffffffff"
NEVER = Timestamp(seconds=2**50, nanos=2**31 - 1)
# Field 1000, length-delimited, "later": what a newer peer may add to any message.
NEW_FIELD = b"\xc2\x3e\x05later"
PATIENCE = 5.0  # seconds for one answer


def speak(coordinator: str) -> str:
    """Says everything once, to the coordinator and to each of its workers. Returns how it was answered, counted."""
    return run(_speak(coordinator))


async def _speak(coordinator: str) -> str:
    answers: Counter[str] = Counter()
    async with create_channel(coordinator, retries=False) as channel:
        stub = coordinator_service_pb2_grpc.CoordinatorServiceStub(channel)
        await _register_strangely(stub, answers)
        await _report_strangely(coordinator, answers)
        try:
            status = await stub.GetSystemStatus(coordinator_service_pb2.GetSystemStatusRequest(), timeout=PATIENCE)
        except grpc.aio.AioRpcError as error:
            return f"and then the coordinator was {error.code().name}"
    for worker in status.workers:
        if worker.worker_id != VISITOR and worker.status == worker_pb2.WORKER_STATUS_CONNECTED:
            await _order_strangely(worker, status.coordinator_term, answers)
    return ", ".join(f"{count} {name}" for name, count in sorted(answers.items()))


async def _register_strangely(stub: Any, answers: Counter[str]) -> None:
    """Registrations that a newer worker, or a broken one, could send."""
    good = coordinator_service_pb2.RegisterWorkerRequest(
        worker_id=VISITOR,
        incarnation="1" * 32,
        kind=worker_pb2.WORKER_KIND_TRAINER,
        address="127.0.0.1:1",
        slots=1,
    )
    for change in (
        {"kind": 99},
        {"worker_id": "visitor\0"},
        {"capabilities": ["later\0"]},
        {"current_runs": [worker_pb2.RunState(run=worker_pb2.RunRef(operation_id="\0", attempt=-1))]},
        {"finished_runs": [_finished(NOBODY)]},
        {"finished_runs": [_finished("training\0")]},
    ):
        request = coordinator_service_pb2.RegisterWorkerRequest()
        request.CopyFrom(good)
        request.MergeFrom(coordinator_service_pb2.RegisterWorkerRequest(**change))
        await _ask("registration", stub.RegisterWorker, _newer(request), answers)


async def _report_strangely(coordinator: str, answers: Counter[str]) -> None:
    """A worker that is welcome, and then reports what this coordinator has no words for."""
    async with ScriptedWorker(coordinator, VISITOR) as visitor:
        visitor.draining = True  # it wants no runs
        try:
            async with asyncio.timeout(PATIENCE):
                await visitor.register()
        except (HoldfastError, grpc.aio.AioRpcError, TimeoutError, AssertionError) as error:
            answers[f"registration {type(error).__name__}"] += 1
            return
        for message in _strange_facts():
            visitor.say_raw(_newer(message))
        # What comes last is ordinary: when it is acknowledged, all before it has been read.
        last = visitor.fact(
            notice=worker_pb2.RunNotice(run=worker_pb2.RunRef(operation_id=NOBODY, attempt=1), type="X")
        )
        try:
            await until(lambda: last in visitor.acknowledged, "the acknowledgement of an ordinary fact", PATIENCE)
            answers["facts acknowledged"] += 1
        except AssertionError:
            answers["facts unanswered"] += 1


def _strange_facts() -> list[worker_pb2.WorkerMessage]:
    run = worker_pb2.RunRef(operation_id=NOBODY, attempt=1)
    torn = worker_pb2.RunRef(operation_id="training\0", attempt=2**31 - 1)
    checkpoint = checkpoint_pb2.Checkpoint(
        checkpoint_id=f"{NOBODY}/1-1",
        operation_id=NOBODY,
        attempt=1,
        type=77,  # type: ignore[arg-type]
        unit=2**62,
        create_time=NEVER,
        uri="\0",
    )
    progress = operation_pb2.Progress(
        phase="later\0", unit=-1, total_units=2**62, units_per_second=math.nan, metrics={"\0": math.inf}
    )
    return [
        worker_pb2.WorkerMessage(),  # a fact of a kind that does not exist yet looks like this
        worker_pb2.WorkerMessage(heartbeat=worker_pb2.Heartbeat(send_time=NEVER, runs=[torn])),
        worker_pb2.WorkerMessage(progress=worker_pb2.ProgressReport(run=torn, progress=progress)),
        worker_pb2.WorkerMessage(
            sequence=1_000_001, checkpoint_saved=worker_pb2.CheckpointSaved(run=run, checkpoint=checkpoint)
        ),
        worker_pb2.WorkerMessage(
            sequence=1_000_002, checkpoint_saved=worker_pb2.CheckpointSaved(run=torn, checkpoint=checkpoint)
        ),
        worker_pb2.WorkerMessage(sequence=1_000_003, run_finished=_finished(NOBODY)),
        worker_pb2.WorkerMessage(sequence=1_000_004, run_finished=_finished("training\0")),
        worker_pb2.WorkerMessage(
            sequence=1_000_005,
            notice=worker_pb2.RunNotice(run=torn, type="LATER\0", message="\0", details={"\0": "\0"}),
        ),
        worker_pb2.WorkerMessage(sequence=1_000_006),
        worker_pb2.WorkerMessage(sequence=-1, notice=worker_pb2.RunNotice(run=run, type="LATER")),
    ]


def _finished(operation_id: str) -> worker_pb2.RunFinished:
    return worker_pb2.RunFinished(
        run=worker_pb2.RunRef(operation_id=operation_id, attempt=1),
        outcome=9,  # type: ignore[arg-type]
        failure=operation_pb2.Failure(reason="LATER\0", message="\0"),
        end_time=NEVER,
    )


async def _order_strangely(worker: worker_pb2.Worker, term: int, answers: Counter[str]) -> None:
    """A run of a kind that does not exist yet, and orders of kinds that do not exist yet on a stream of their own."""
    assignment = worker_pb2.RunAssignment(run=worker_pb2.RunRef(operation_id=NOBODY, attempt=1), coordinator_term=term)
    order = worker_pb2.CoordinatorMessage(coordinator_term=term)
    async with create_channel(worker.address, retries=False) as channel:
        stub = (
            trainer_service_pb2_grpc.TrainerServiceStub(channel)
            if worker.kind == worker_pb2.WORKER_KIND_TRAINER
            else backtester_service_pb2_grpc.BacktesterServiceStub(channel)
        )
        await _ask("order", stub.StartRun, _newer(worker_pb2.StartRunRequest(assignment=_newer(assignment))), answers)
        await _supervise(stub.Supervise, _newer(order), answers)


async def _supervise(method: Any, request: Any, answers: Counter[str]) -> None:
    asked = asyncio.Event()

    async def orders() -> AsyncIterator[Any]:
        for _ in range(3):
            yield request
        await asked.wait()

    call = method(orders())
    try:
        async with asyncio.timeout(PATIENCE):
            answered = await call.read()
        answers["stream OK" if answered is not grpc.aio.EOF else "stream ended"] += 1
    except (grpc.aio.AioRpcError, TimeoutError) as error:
        answers[f"stream {_name(error)}"] += 1
    finally:
        asked.set()
        call.cancel()
        with suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
            await call.code()


async def _ask(what: str, method: Any, request: Any, answers: Counter[str]) -> None:
    try:
        await method(request, timeout=PATIENCE)
        answers[f"{what} OK"] += 1
    except grpc.aio.AioRpcError as error:
        answers[f"{what} {_name(error)}"] += 1


def _name(error: Exception) -> str:
    return error.code().name if isinstance(error, grpc.aio.AioRpcError) else type(error).__name__


def _newer(message: Any) -> Any:
    """The message with a field that this protocol does not know."""
    message.MergeFromString(NEW_FIELD)
    return message
