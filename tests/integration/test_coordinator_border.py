"""What a worker says cannot stop the coordinator: nonsense, lies, and the protocol of a version that comes later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import InternalError
from holdfast.v1 import checkpoint_pb2, operation_pb2, worker_pb2
from tests.support.coordinator import Caller, running, running_coordinator
from tests.support.future import FUTURE, arrived, future
from tests.support.scripted_worker import ScriptedWorker, failed, ref


@pytest.fixture
async def caller(database_url: str, tmp_path: Path) -> AsyncIterator[Caller]:
    async with running_coordinator(database_url, tmp_path) as caller:
        yield caller


def saved(run_of: str, **fields: Any) -> dict[str, Any]:
    checkpoint = checkpoint_pb2.Checkpoint(
        checkpoint_id=f"{run_of}/1-5", operation_id=run_of, attempt=1, unit_name="epoch", unit=5
    )
    checkpoint.type = checkpoint_pb2.CHECKPOINT_TYPE_PERIODIC
    for name, value in fields.items():
        if isinstance(value, int | str):
            setattr(checkpoint, name, value)
        else:
            getattr(checkpoint, name).CopyFrom(value)
    return {"checkpoint_saved": worker_pb2.CheckpointSaved(run=ref(run_of, 1), checkpoint=checkpoint)}


UNUSABLE: dict[str, Callable[[str], dict[str, Any]]] = {
    "a NUL in a run": lambda op: {"run_finished": failed(f"{op}\x00", 1)},
    "a NUL in a notice's run": lambda op: {"notice": worker_pb2.RunNotice(run=ref("\x00", 1), type="NOTED")},
    "no run": lambda op: {"run_finished": worker_pb2.RunFinished()},
    "attempt 0": lambda op: {"run_finished": failed(op, 0)},
    "attempt -1": lambda op: {"checkpoint_saved": worker_pb2.CheckpointSaved(run=ref(op, -1))},
    "no checkpoint": lambda op: {"checkpoint_saved": worker_pb2.CheckpointSaved(run=ref(op, 1))},
    "another operation's checkpoint": lambda op: saved(op, operation_id="training-other"),
    "a checkpoint's id that climbs": lambda op: saved(op, checkpoint_id="../../etc/1-5"),
    "another attempt's checkpoint": lambda op: saved(op, attempt=2),
    "a unit below zero": lambda op: saved(op, unit=-5),
    "a text without an end": lambda op: {"notice": worker_pb2.RunNotice(run=ref(op, 1), type="X" * 1_000_000)},
    "a map without an end": lambda op: {
        "notice": worker_pb2.RunNotice(run=ref(op, 1), type="X", details={str(n): "" for n in range(5000)})
    },
}


async def test_facts_that_cannot_be_used_are_refused_and_nobody_is_disturbed(caller: Caller) -> None:
    async with ScriptedWorker(caller.address) as worker, ScriptedWorker(caller.address, "other") as other:
        operation_id = await running(caller, worker)
        await other.register()
        streams = worker.opened, other.opened
        for name, make in UNUSABLE.items():
            number = worker.fact(**make(operation_id))
            await worker.settled(number)
            assert worker.refused[-1].sequence == number, name
        assert sum((await caller.system()).refused_messages.values()) == len(UNUSABLE)
        # The same streams still stand, and what comes behind it gets through.
        worker.runs.clear()
        await worker.settled(worker.fact(run_finished=failed(operation_id, 1)))
        assert await caller.status(operation_id) == "FAILED"
        assert (worker.opened, other.opened) == streams


async def test_what_only_adorns_a_fact_is_left_out(caller: Caller) -> None:
    async with ScriptedWorker(caller.address) as worker:
        operation_id = await running(caller, worker)
        checkpoint = caller.write_checkpoint(operation_id, 1, 5)
        checkpoint.create_time.seconds = 2**50
        run = ref(operation_id, 1)
        await worker.settled(worker.fact(checkpoint_saved=worker_pb2.CheckpointSaved(run=run, checkpoint=checkpoint)))
        report = failed(operation_id, 1, log_tail=["x" * 1_000] * 400, message="y" * 100_000)
        report.end_time.seconds = 2**50
        report.progress.update_time.seconds = -(2**50)
        report.progress.units_per_second = float("nan")
        report.progress.unit = -3
        report.progress.metrics["loss"] = float("nan")
        report.checkpoint.checkpoint_id = "\x00"
        await worker.settled(worker.fact(run_finished=report))
        operation = await caller.get(operation_id)
        assert operation.failure.reason == "RUN_DIED"
        assert len(operation.failure.log_tail) == 200
        assert (operation.progress.unit, operation.progress.units_per_second) == (0, 0.0)
        assert operation.checkpoint.unit == 5
        assert not worker.refused


async def test_heartbeats_and_progress_of_nonsense_are_counted(caller: Caller) -> None:
    async with ScriptedWorker(caller.address) as worker:
        operation_id = await running(caller, worker)
        worker.say(heartbeat=worker_pb2.Heartbeat(runs=[ref("\x00", 1), ref(operation_id, 1), ref("x" * 500, -1)]))
        worker.say(progress=worker_pb2.ProgressReport(run=ref("\x00", 1)))
        await worker.settled(worker.fact(notice=worker_pb2.RunNotice(run=ref(operation_id, 1), type="NOTED")))
        assert dict((await caller.system()).refused_messages) == {"heartbeat": 2, "progress": 1}
        assert worker.connected


async def test_a_registration_with_nonsense_lets_the_worker_in(caller: Caller) -> None:
    async with ScriptedWorker(caller.address) as worker:
        bad = ref("../etc", 1)
        response = await worker.register(
            current=[worker_pb2.RunState(run=bad)], finished=[worker_pb2.RunFinished(run=bad)]
        )
        assert list(response.stop_runs) == [bad]
        assert list(response.acknowledged_runs) == [bad]
        assert worker.connected


# A protocol of later


async def test_a_newer_worker_is_understood_as_far_as_it_goes(caller: Caller) -> None:
    async with ScriptedWorker(caller.address) as worker:
        operation_id = await running(caller, worker)
        run = {"operation_id": operation_id, "attempt": 1, "future": "word"}
        worker.say_raw(arrived(future("WorkerMessage", future="a fact that may be lost")))
        unknown = worker.fact_raw(arrived(future("WorkerMessage", sequence=7001, future="a durable fact")))
        await worker.settled(unknown)
        assert [fact.reason for fact in worker.refused] == ["UNKNOWN_FACT"]

        # A type of checkpoint that is not known is as good as another.
        checkpoint = caller.write_checkpoint(operation_id, 1, 5, kind_word="someday")
        checkpoint.type = FUTURE  # type: ignore[assignment]
        body = future("Checkpoint")
        body.ParseFromString(checkpoint.SerializeToString())
        body.future = "word"
        fact = future("WorkerMessage", sequence=7002, checkpoint_saved={"run": run, "checkpoint": body})
        await worker.settled(worker.fact_raw(arrived(fact)))
        kept = (await caller.get(operation_id)).checkpoint
        assert (kept.unit, kept.type) == (5, checkpoint_pb2.CHECKPOINT_TYPE_PERIODIC)

        # An end that is not known is an end.
        end = future("WorkerMessage", sequence=7003, run_finished={"run": run, "outcome": FUTURE, "future": "result"})
        await worker.settled(worker.fact_raw(arrived(end)))
        operation = await caller.get(operation_id)
        assert operation.failure.reason == "OUTCOME_UNKNOWN"
        assert f"outcome {FUTURE}" in operation.failure.message
        assert operation.resumable
        assert (await caller.system()).refused_messages["unknown"] == 2
        assert worker.connected


async def test_completed_with_a_result_of_later_is_failed_with_a_reason(caller: Caller) -> None:
    async with ScriptedWorker(caller.address) as worker:
        operation_id = await running(caller, worker)
        run = {"operation_id": operation_id, "attempt": 1}
        end = future("WorkerMessage", sequence=7001, run_finished={"run": run, "outcome": 1, "future": "result"})
        await worker.settled(worker.fact_raw(arrived(end)))
        assert (await caller.get(operation_id)).failure.reason == "RESULT_NOT_VERIFIED"


async def test_bytes_that_are_no_message_end_their_stream_alone(caller: Caller) -> None:
    async with ScriptedWorker(caller.address) as worker, ScriptedWorker(caller.address, "other") as other:
        operation_id = await running(caller, other)
        await worker.register()
        seen = other.opened
        # A WorkerMessage with a notice whose type is not UTF-8.
        worker.say_raw(b"\x3a\x04\x12\x02\xff\xfe")
        await worker.lost()
        other.runs.clear()
        await other.settled(other.fact(run_finished=failed(operation_id, 1)))
        assert other.opened == seen
        await worker.register()


# Defects of our own


async def test_a_fact_that_meets_a_defect_again_and_again_is_given_up(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def defect(*_: object) -> bool:
        raise RuntimeError("a defect")

    async with ScriptedWorker(caller.address) as worker, ScriptedWorker(caller.address, "other") as other:
        operation_id = await running(caller, worker)
        await other.register()
        seen = other.opened
        monkeypatch.setattr("holdfast.services.coordinator.workers.supervision.REDIAL_AFTER_DEFECT", 0.05)
        monkeypatch.setattr("holdfast.services.coordinator.workers.facts.Facts.notice", defect)
        number = worker.fact(notice=worker_pb2.RunNotice(run=ref(operation_id, 1), type="NOTED"))
        # The coordinator dials again after each defect, by itself.
        await worker.settled(number)
        assert [fact.reason for fact in worker.refused] == [InternalError.default_reason]
        assert other.connected
        assert other.opened == seen
        worker.runs.clear()
        await worker.settled(worker.fact(run_finished=failed(operation_id, 1)))
        assert await caller.status(operation_id) == "FAILED"


async def test_an_end_that_meets_a_defect_does_not_keep_its_worker_out(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def defect(*_: object) -> bool:
        raise RuntimeError("a defect")

    async with ScriptedWorker(caller.address) as worker:
        operation_id = await running(caller, worker)
        worker.runs.clear()
        with monkeypatch.context() as patched:
            patched.setattr("holdfast.services.coordinator.workers.facts.Facts.finished", defect)
            response = await worker.register(finished=[failed(operation_id, 1)])
        assert not response.acknowledged_runs
        assert await caller.status(operation_id) == "RUNNING"  # it was claimed: nobody fails it
        await worker.settled(worker.fact(run_finished=failed(operation_id, 1)))
        assert await caller.status(operation_id) == "FAILED"


async def test_a_delivery_that_meets_a_defect_is_requeued(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    from holdfast.services.coordinator.workers.link import WorkerLink

    begin = WorkerLink.start
    calls = 0

    async def once_defect(self: WorkerLink, *arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise RuntimeError("a defect")
        await begin(self, *arguments)

    monkeypatch.setattr(WorkerLink, "start", once_defect)
    async with ScriptedWorker(caller.address) as worker:
        await worker.register()
        operation = await caller.start()
        assert await worker.assigned() == (operation.operation_id, 2)


async def test_a_cancel_that_meets_a_defect_is_tried_again(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    from holdfast.services.coordinator.workers.link import WorkerLink

    tell = WorkerLink.cancel
    calls = 0

    async def once_defect(self: WorkerLink, *arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise RuntimeError("a defect")
        await tell(self, *arguments)

    monkeypatch.setattr(WorkerLink, "cancel", once_defect)
    monkeypatch.setattr("holdfast.services.coordinator.operations.cancel.RETRY", 0.01)
    async with ScriptedWorker(caller.address) as worker:
        operation_id = await running(caller, worker)
        await caller.cancel(operation_id)
        async with asyncio.timeout(20):
            while not worker.cancels:  # noqa: ASYNC110 - what is waited for lies on the other side
                await asyncio.sleep(0.005)


def test_the_future_is_one() -> None:
    message = arrived(future("WorkerMessage", sequence=1, future="word"))
    assert message.WhichOneof("fact") is None
    assert b"word" in message.SerializeToString()
    assert operation_pb2.Operation.DESCRIPTOR is not future("Operation").DESCRIPTOR
