"""Orphans: suspicion, timeout on an injected clock, clock gaps, cancels of what has vanished, automatic resume."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from holdfast.artifacts.store import open_store
from holdfast.errors import NotFound, NotPossible
from holdfast.services.coordinator.catalogue.checkpoints import Checkpoints
from holdfast.services.coordinator.operations import automatic
from holdfast.services.coordinator.workers.orphans import OrphanDetector
from holdfast.v1 import operation_pb2, worker_pb2
from tests.support.coordinator import Caller, running, running_coordinator
from tests.support.scripted_worker import ScriptedWorker, cancelled, failed, ref
from tests.support.waiting import until


@pytest.fixture
async def caller(database_url: str, tmp_path: Path) -> AsyncIterator[Caller]:
    async with running_coordinator(database_url, tmp_path) as caller:
        yield caller


class Clock:
    """Seconds, as the test says."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def detector_of(caller: Caller, clock: Clock, timeout: float = 60.0, interval: float = 15.0) -> OrphanDetector:
    """A second detector over the same rooms, with a clock of its own."""
    rooms = caller.rooms
    checkpoints = Checkpoints(rooms.store, rooms.database, open_store(str(caller.home / "store")))
    return OrphanDetector(
        rooms.store, rooms.transitions, rooms.registry, checkpoints, rooms.board,
        timeout=timeout, interval=interval, automatic_delay=automatic.FIRST_DELAY, clock=clock,
    )  # fmt: skip


async def lose(caller: Caller, worker: ScriptedWorker) -> None:
    await worker.die()
    await until(lambda: not caller.rooms.registry.all()[0].connected, "the loss to be noticed")


async def save(caller: Caller, worker: ScriptedWorker, operation_id: str, attempt: int, unit: int) -> None:
    saved = caller.write_checkpoint(operation_id, attempt, unit)
    run = ref(operation_id, attempt)
    await worker.settled(worker.fact(checkpoint_saved=worker_pb2.CheckpointSaved(run=run, checkpoint=saved)))


async def test_nothing_is_decided_before_the_timeout(caller: Caller) -> None:
    clock = Clock()
    detector = detector_of(caller, clock)
    async with ScriptedWorker(caller.address) as worker:
        operation_id = await running(caller, worker)
        assert await detector.check() == []
        assert detector.status().suspects == 0
        await lose(caller, worker)
        for _ in range(3):
            clock.now += 15
            assert await detector.check() == []
        assert detector.status().suspects == 1
        clock.now += 15
        (ended,) = await detector.check()
        assert ended.id == operation_id
        assert detector.status().orphans_found == 1
        operation = await caller.get(operation_id)
        assert operation.failure.message == "Operation was RUNNING but no worker claimed it. No checkpoint available"
        assert not operation.resumable


async def test_a_claim_in_time_drops_the_suspicion(caller: Caller) -> None:
    clock = Clock()
    detector = detector_of(caller, clock)
    async with ScriptedWorker(caller.address) as worker:
        operation_id = await running(caller, worker)
        await lose(caller, worker)
        await detector.check()
        await worker.serve()
        await worker.register()
        for _ in range(10):
            clock.now += 15
            assert await detector.check() == []
        assert detector.status().suspects == 0
        assert await caller.status(operation_id) == "RUNNING"


async def test_time_that_the_coordinator_slept_counts_for_nobody(caller: Caller) -> None:
    clock = Clock()
    detector = detector_of(caller, clock)
    async with ScriptedWorker(caller.address) as worker:
        await running(caller, worker)
        await detector.check()
        await lose(caller, worker)
        clock.now += 3600  # frozen, as by SIGSTOP or a sleeping laptop
        assert await detector.check() == []
        clock.now += 45
        assert await detector.check() == []
        clock.now += 15
        assert len(await detector.check()) == 1


async def test_the_running_detector_ends_orphans_by_itself(database_url: str, tmp_path: Path) -> None:
    times = {"ORPHAN_TIMEOUT_SECONDS": 0.3, "ORPHAN_CHECK_INTERVAL_SECONDS": 0.05}
    async with running_coordinator(database_url, tmp_path, **times) as caller:
        async with ScriptedWorker(caller.address) as worker:
            operation_id = await running(caller, worker)
            await save(caller, worker, operation_id, 1, 7)
        operation = await caller.reaches(operation_id, "FAILED")
        assert "Checkpoint at epoch 7 available" in operation.failure.message
        assert operation.resumable

        async def counted() -> bool:
            return (await caller.system()).orphan_detector.orphans_found == 1

        # The row says FAILED a moment before the detector has its answer.
        await until(counted, "the detector to count it")


# Cancel


async def test_cancel_of_what_never_ran_ends_at_once(caller: Caller) -> None:
    operation = await caller.start()
    ended = await caller.cancel(operation.operation_id, "changed my mind")
    assert ended.status == operation_pb2.OPERATION_STATUS_CANCELLED
    assert "changed my mind" in ended.failure.message
    assert (await caller.cancel(operation.operation_id)).status == operation_pb2.OPERATION_STATUS_CANCELLED
    with pytest.raises(NotFound):
        await caller.cancel("training-nothing")


async def test_cancel_of_a_run_ends_with_the_workers_report(caller: Caller) -> None:
    async with ScriptedWorker(caller.address) as worker:
        operation_id = await running(caller, worker)
        answer = await caller.cancel(operation_id)
        assert answer.status == operation_pb2.OPERATION_STATUS_CANCELLING
        await until(lambda: worker.cancels, "the command")
        assert worker.cancels[0] == ref(operation_id, 1)
        assert await caller.status(operation_id) == "CANCELLING"
        worker.runs.clear()
        report = cancelled(operation_id, 1)
        report.checkpoint.CopyFrom(caller.write_checkpoint(operation_id, 1, 8))
        worker.fact(run_finished=report)
        operation = await caller.reaches(operation_id, "CANCELLED")
        assert operation.checkpoint.unit == 8
        assert operation.resumable


async def test_what_finishes_before_the_cancel_arrives_has_finished(caller: Caller) -> None:
    async with ScriptedWorker(caller.address) as worker:
        operation_id = await running(caller, worker)
        await caller.cancel(operation_id)
        worker.runs.clear()
        worker.fact(run_finished=caller.completed(operation_id, 1))
        await caller.reaches(operation_id, "COMPLETED")
        with pytest.raises(NotPossible) as late:
            await caller.cancel(operation_id)
        assert late.value.reason == "OPERATION_NOT_CANCELLABLE"


async def test_cancel_of_a_run_that_the_worker_does_not_have_ends(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.services.coordinator.operations.cancel.RETRY", 0.02)
    monkeypatch.setattr("holdfast.services.coordinator.operations.cancel.PATIENCE_WITHOUT_RUN", 0.1)
    async with ScriptedWorker(caller.address) as worker:
        worker.cancel_refusal = NotFound("No such run.", reason="RUN_NOT_FOUND")
        operation_id = await running(caller, worker)
        await caller.cancel(operation_id)
        await caller.reaches(operation_id, "CANCELLED")


async def test_cancel_on_a_vanished_worker_ends_by_the_orphan_rule(caller: Caller) -> None:
    clock = Clock()
    detector = detector_of(caller, clock)
    async with ScriptedWorker(caller.address) as worker:
        operation_id = await running(caller, worker)
        await lose(caller, worker)
        await caller.cancel(operation_id)
        await detector.check()
        for _ in range(4):
            clock.now += 15
            await detector.check()
        assert await caller.status(operation_id) == "CANCELLED"


async def test_cancel_reaches_a_worker_that_comes_back(caller: Caller) -> None:
    async with ScriptedWorker(caller.address) as worker:
        operation_id = await running(caller, worker)
        await lose(caller, worker)
        await caller.cancel(operation_id)
        await worker.serve()
        await worker.register()
        await until(lambda: worker.cancels, "the command")
        assert await caller.status(operation_id) == "CANCELLING"


async def test_cancel_of_pending_reconciliation(database_url: str, tmp_path: Path) -> None:
    async with ScriptedWorker("") as worker:
        async with running_coordinator(database_url, tmp_path) as first:
            worker.point_to(first.address)
            operation_id = await running(first, worker)
        async with running_coordinator(database_url, tmp_path) as second:
            await second.cancel(operation_id)
            assert await second.status(operation_id) == "CANCELLING"
            worker.point_to(second.address)
            await worker.register()
            await until(lambda: worker.cancels, "the command")
            worker.runs.clear()
            worker.fact(run_finished=cancelled(operation_id, 1))
            await second.reaches(operation_id, "CANCELLED")


# Automatic resume


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause before an automatic resume."""
    monkeypatch.setattr(automatic, "FIRST_DELAY", 0.01)


@pytest.mark.usefixtures("at_once")
async def test_a_crash_resumes_by_itself_on_another_worker(database_url: str, tmp_path: Path) -> None:
    async with (
        running_coordinator(database_url, tmp_path) as caller,
        ScriptedWorker(caller.address) as first,
        ScriptedWorker(caller.address, "worker-2") as second,
    ):
        operation_id = await running(caller, first, max_attempts=3)
        await second.register()
        await save(caller, first, operation_id, 1, 5)
        watching = caller.watch(operation_id)
        first.runs.clear()
        first.fact(run_finished=failed(operation_id, 1, signal=9))
        assert await second.assigned() == (operation_id, 2)
        _, checkpoint = second.assignments[0]
        assert checkpoint is not None
        assert checkpoint.checkpoint_id == f"{operation_id}/1-5"
        second.runs.clear()
        second.fact(run_finished=caller.completed(operation_id, 2))
        updates = [update async for update in watching]
        types = [update.event.type for update in updates if update.WhichOneof("update") == "event"]
        # The watch outlives the failure: the operation was to go on by itself.
        assert types == ["CREATED", "CLAIMED", "CHECKPOINT_SAVED", "FAILED", "RESUMED", "CLAIMED", "COMPLETED"]


@pytest.mark.usefixtures("at_once")
async def test_max_attempts_is_the_end(database_url: str, tmp_path: Path) -> None:
    async with running_coordinator(database_url, tmp_path) as caller, ScriptedWorker(caller.address) as worker:
        operation_id = await running(caller, worker, max_attempts=2)
        for attempt in (1, 2):
            await worker.assigned(attempt)
            await save(caller, worker, operation_id, attempt, attempt * 5)
            worker.runs.clear()
            worker.fact(run_finished=failed(operation_id, attempt))
        await until(lambda: _failed_for_good(caller, operation_id, 2), "the end")
        assert (await caller.events(operation_id)).count("RESUMED") == 1


@pytest.mark.usefixtures("at_once")
async def test_a_crash_loop_without_progress_stops_early_and_says_so(database_url: str, tmp_path: Path) -> None:
    async with running_coordinator(database_url, tmp_path) as caller, ScriptedWorker(caller.address) as worker:
        operation_id = await running(caller, worker, max_attempts=50)
        await save(caller, worker, operation_id, 1, 5)
        for attempt in (1, 2, 3):
            await worker.assigned(attempt)
            worker.runs.clear()
            worker.fact(run_finished=failed(operation_id, attempt))

        async def stopped() -> bool:
            return "AUTOMATIC_RESUME_STOPPED" in await caller.events(operation_id)

        await until(stopped, "the crash loop to be noticed")
        last = (await caller.rooms.store.events(operation_id, 0))[-1]
        assert "crash loop" in last.message
        assert (await caller.get(operation_id)).attempt == 3


@pytest.mark.usefixtures("at_once")
async def test_without_a_checkpoint_there_is_nothing_to_resume(database_url: str, tmp_path: Path) -> None:
    async with running_coordinator(database_url, tmp_path) as caller, ScriptedWorker(caller.address) as worker:
        operation_id = await running(caller, worker, max_attempts=5)
        worker.runs.clear()
        worker.fact(run_finished=failed(operation_id, 1))

        async def stopped() -> bool:
            return "AUTOMATIC_RESUME_STOPPED" in await caller.events(operation_id)

        await until(stopped, "the automatic resume to give up")
        assert await caller.status(operation_id) == "FAILED"


async def test_a_promise_survives_the_coordinator_and_a_cancel_takes_it_back(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(automatic, "FIRST_DELAY", 3600.0)
    async with running_coordinator(database_url, tmp_path) as caller, ScriptedWorker(caller.address) as worker:
        operation_id = await running(caller, worker, max_attempts=2)
        await save(caller, worker, operation_id, 1, 5)
        worker.runs.clear()
        worker.fact(run_finished=failed(operation_id, 1))
        await caller.reaches(operation_id, "FAILED")
    async with running_coordinator(database_url, tmp_path) as second:
        promised = await second.rooms.store.get(operation_id)
        assert promised.automatic_resume_time is not None
        await second.cancel(operation_id)
        assert (await second.rooms.store.get(operation_id)).automatic_resume_time is None
        assert await second.status(operation_id) == "FAILED"


async def test_a_cancelled_run_that_dies_is_not_resumed(database_url: str, tmp_path: Path) -> None:
    async with running_coordinator(database_url, tmp_path) as caller, ScriptedWorker(caller.address) as worker:
        operation_id = await running(caller, worker, max_attempts=5)
        await save(caller, worker, operation_id, 1, 5)
        await caller.cancel(operation_id)
        worker.runs.clear()
        worker.fact(run_finished=failed(operation_id, 1))
        await caller.reaches(operation_id, "FAILED")
        assert (await caller.rooms.store.get(operation_id)).automatic_resume_time is None


async def _failed_for_good(caller: Caller, operation_id: str, attempt: int) -> bool:
    operation = await caller.rooms.store.get(operation_id)
    return (operation.status.value, operation.attempt, operation.automatic_resume_time) == ("FAILED", attempt, None)
