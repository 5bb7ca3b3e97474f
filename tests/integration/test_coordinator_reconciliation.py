"""Who is right when a worker and the database disagree: every row of the table in coordinator/reconciliation.py."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from holdfast.v1 import worker_pb2
from tests.support.coordinator import Caller, running, running_coordinator
from tests.support.scripted_worker import ScriptedWorker, cancelled, failed, ref
from tests.support.waiting import until


@pytest.fixture
async def caller(database_url: str, tmp_path: Path) -> AsyncIterator[Caller]:
    async with running_coordinator(database_url, tmp_path) as caller:
        yield caller


async def lose(caller: Caller, worker: ScriptedWorker) -> None:
    """The worker's stream breaks, and its server is out of reach."""
    await worker.die()
    await until(lambda: not caller.rooms.registry.all()[0].connected, "the loss to be noticed")


async def declare_all(caller: Caller) -> None:
    """As if the orphan timeout had passed."""
    for operation in await caller.rooms.store.live():
        await caller.rooms.detector.declare(operation)


async def test_running_and_running_goes_on(caller: Caller) -> None:
    async with ScriptedWorker(caller.address) as worker:
        operation_id = await running(caller, worker)
        worker.cut()
        await until(lambda: worker.streams == 0 or len(worker.terms) > 1, "the stream to break")
        response = await worker.register()
        assert not response.stop_runs
        assert await caller.status(operation_id) == "RUNNING"
        worker.progress(operation_id, 1, 9)
        await until(lambda: caller.rooms.board.newest(operation_id, 1), "progress after the break")
        assert await caller.events(operation_id) == ["CREATED", "CLAIMED"]


async def test_pending_reconciliation_and_running_is_running(database_url: str, tmp_path: Path) -> None:
    async with ScriptedWorker("") as worker:
        async with running_coordinator(database_url, tmp_path) as first:
            worker.point_to(first.address)
            operation_id = await running(first, worker)
        async with running_coordinator(database_url, tmp_path) as second:
            assert await second.status(operation_id) == "PENDING_RECONCILIATION"
            worker.point_to(second.address)
            response = await worker.register()
            assert response.coordinator_term == second.rooms.term
            assert await second.status(operation_id) == "RUNNING"
            assert (await second.get(operation_id)).attempt == 1
            events = ["CREATED", "CLAIMED", "PENDING_RECONCILIATION", "ADOPTED"]
            assert await second.events(operation_id) == events
            worker.fact(run_finished=second.completed(operation_id, 1))
            await second.reaches(operation_id, "COMPLETED")


async def test_pending_reconciliation_and_finished_is_the_reported_end(database_url: str, tmp_path: Path) -> None:
    async with ScriptedWorker("") as worker:
        async with running_coordinator(database_url, tmp_path) as first:
            worker.point_to(first.address)
            operation_id = await running(first, worker)
        async with running_coordinator(database_url, tmp_path) as second:
            worker.point_to(second.address)
            worker.runs.clear()
            response = await worker.register(finished=[second.completed(operation_id, 1)])
            assert list(response.acknowledged_runs) == [ref(operation_id, 1)]
            assert await second.status(operation_id) == "COMPLETED"


async def test_a_claim_that_never_reached_its_worker_goes_back(database_url: str, tmp_path: Path) -> None:
    async with ScriptedWorker("") as worker:
        async with running_coordinator(database_url, tmp_path) as first:
            worker.point_to(first.address)
            operation_id = await running(first, worker)
        # The coordinator died between the claim and the delivery: the worker knows nothing of it.
        worker.runs.clear()
        async with running_coordinator(database_url, tmp_path) as second:
            worker.point_to(second.address)
            await worker.register()
            assert await worker.assigned(2) == (operation_id, 2)
            await second.reaches(operation_id, "RUNNING")


async def test_running_and_finished_is_the_reported_end(caller: Caller) -> None:
    async with ScriptedWorker(caller.address) as worker:
        operation_id = await running(caller, worker)
        worker.runs.clear()
        await worker.register(finished=[failed(operation_id, 1, signal=9, log_tail=["Killed"])])
        operation = await caller.get(operation_id)
        assert operation.failure.signal == 9
        assert list(operation.failure.log_tail) == ["Killed"]


async def test_orphaned_and_running_the_worker_wins(caller: Caller) -> None:
    async with ScriptedWorker(caller.address) as worker:
        operation_id = await running(caller, worker)
        await declare_all(caller)
        assert await caller.status(operation_id) == "FAILED"
        assert (await caller.get(operation_id)).failure.reason == "ORPHANED"
        response = await worker.register()
        assert not response.stop_runs
        operation = await caller.reaches(operation_id, "RUNNING")
        assert operation.attempt == 1
        assert not operation.HasField("failure")
        assert not operation.HasField("end_time")


async def test_orphaned_and_finished_the_worker_wins(caller: Caller) -> None:
    async with ScriptedWorker(caller.address) as worker:
        operation_id = await running(caller, worker)
        await declare_all(caller)
        worker.runs.clear()
        worker.fact(run_finished=caller.completed(operation_id, 1))
        operation = await caller.reaches(operation_id, "COMPLETED")
        assert operation.training_result.model_uri
        assert await caller.events(operation_id) == ["CREATED", "CLAIMED", "ORPHANED", "COMPLETED"]


async def test_orphaned_and_resumed_since_stop_it(caller: Caller) -> None:
    async with ScriptedWorker(caller.address) as worker:
        operation_id = await running(caller, worker)
        saved = caller.write_checkpoint(operation_id, 1, 4)
        run = ref(operation_id, 1)
        await worker.settled(worker.fact(checkpoint_saved=worker_pb2.CheckpointSaved(run=run, checkpoint=saved)))
        await declare_all(caller)
        worker.draining = True  # the resume must wait for another worker
        worker.heartbeat()
        await until(lambda: caller.rooms.registry.all()[0].draining, "the drain")
        await caller.resume(operation_id)
        response = await worker.register()
        assert list(response.stop_runs) == [run]
        assert (await caller.system()).stale_messages_refused > 0
        before = (await caller.system()).stale_messages_refused
        number = worker.fact(run_finished=caller.completed(operation_id, 1))
        await worker.settled(number)
        assert await caller.status(operation_id) == "RESUMING"
        assert (await caller.system()).stale_messages_refused > before


@pytest.mark.parametrize("end", ["COMPLETED", "CANCELLED"])
async def test_ended_and_running_stop_it(caller: Caller, end: str) -> None:
    async with ScriptedWorker(caller.address) as worker:
        operation_id = await running(caller, worker)
        report = caller.completed(operation_id, 1) if end == "COMPLETED" else cancelled(operation_id, 1)
        worker.fact(run_finished=report)
        await caller.reaches(operation_id, end)
        response = await worker.register()
        assert list(response.stop_runs) == [ref(operation_id, 1)]
        # And by heartbeat alone, without a registration.
        await until(lambda: (operation_id, 1) in worker.stopped(), "the order to stop")
        assert await caller.status(operation_id) == end


async def test_unknown_and_running_stop_it(caller: Caller) -> None:
    async with ScriptedWorker(caller.address) as worker:
        worker.runs["training-unknown"] = 3
        response = await worker.register()
        assert list(response.stop_runs) == [ref("training-unknown", 3)]


async def test_a_new_incarnation_is_proof_of_death(caller: Caller) -> None:
    async with ScriptedWorker(caller.address) as worker:
        operation_id = await running(caller, worker)
        caller.write_checkpoint(operation_id, 1, 6)
        await lose(caller, worker)
        assert await caller.status(operation_id) == "RUNNING"
        async with ScriptedWorker(caller.address) as successor:
            await successor.register()
            operation = await caller.get(operation_id)
            assert operation.failure.reason == "ORPHANED"
            assert operation.failure.message.startswith("Operation was RUNNING but no worker claimed it")
            # The dead worker had saved it but could not tell.
            assert operation.checkpoint.unit == 6
            assert operation.resumable
            assert await caller.events(operation_id) == ["CREATED", "CLAIMED", "CHECKPOINT_DISCOVERED", "ORPHANED"]


async def test_a_new_incarnation_delivers_what_the_old_one_had_finished(caller: Caller) -> None:
    async with ScriptedWorker(caller.address) as worker:
        operation_id = await running(caller, worker)
        await lose(caller, worker)
        async with ScriptedWorker(caller.address) as successor:
            await successor.register(finished=[caller.completed(operation_id, 1)])
            assert await caller.status(operation_id) == "COMPLETED"


async def test_two_living_processes_of_one_name_the_second_is_refused(caller: Caller) -> None:
    async with ScriptedWorker(caller.address) as worker, ScriptedWorker(caller.address) as twin:
        operation_id = await running(caller, worker)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await twin.register(connect=False)
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
        assert await caller.status(operation_id) == "RUNNING"


async def test_a_stale_attempt_is_refused_counted_and_stopped(caller: Caller) -> None:
    async with ScriptedWorker(caller.address, slots=2) as worker:
        operation_id = await running(caller, worker)
        run, stale = ref(operation_id, 1), ref(operation_id, 7)
        saved = caller.write_checkpoint(operation_id, 7, 99)
        before = (await caller.system()).stale_messages_refused
        worker.progress(operation_id, 7, 50)
        for fact in (
            {"checkpoint_saved": worker_pb2.CheckpointSaved(run=stale, checkpoint=saved)},
            {"notice": worker_pb2.RunNotice(run=stale, type="NOTED", message="stale")},
            {"run_finished": caller.completed(operation_id, 7)},
        ):
            await worker.settled(worker.fact(**fact))
        operation = await caller.get(operation_id)
        assert (operation.attempt, operation.progress.unit) == (1, 0)
        assert not operation.HasField("checkpoint")
        assert (operation_id, 7) in worker.stopped()
        assert run not in [order.stop_run.run for order in worker.orders]
        assert (await caller.system()).stale_messages_refused >= before + 4
        assert await caller.events(operation_id) == ["CREATED", "CLAIMED"]


async def test_a_run_that_vanishes_from_a_living_worker_becomes_a_suspect(caller: Caller) -> None:
    async with ScriptedWorker(caller.address) as worker:
        operation_id = await running(caller, worker)
        await until(lambda: caller.rooms.registry.all()[0].runs[operation_id].confirmed, "the run to be confirmed")
        worker.runs.clear()
        await until(lambda: not caller.rooms.registry.all()[0].runs, "the slot to be free")
        await caller.rooms.detector.check()
        assert caller.rooms.detector.status().suspects == 1
        assert await caller.status(operation_id) == "RUNNING"
