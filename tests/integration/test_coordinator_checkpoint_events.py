"""Periodic checkpoints follow each other several times a second: each is kept, few are told, and watchers see them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from holdfast.v1 import checkpoint_pb2, worker_pb2
from tests.support.coordinator import Caller, running_coordinator
from tests.support.scripted_worker import ScriptedWorker, failed, ref


@pytest.fixture
async def caller(database_url: str, tmp_path: Path) -> AsyncIterator[Caller]:
    async with running_coordinator(database_url, tmp_path, CHECKPOINT_EVENT_SECONDS=3600.0) as caller:
        yield caller


async def save(
    caller: Caller, worker: ScriptedWorker, operation_id: str, attempt: int, unit: int
) -> checkpoint_pb2.Checkpoint:
    checkpoint = caller.write_checkpoint(operation_id, attempt, unit)
    report = worker_pb2.CheckpointSaved(run=ref(operation_id, attempt), checkpoint=checkpoint)
    await worker.settled(worker.fact(checkpoint_saved=report))
    return checkpoint


async def test_the_first_of_an_attempt_is_told_and_every_one_is_kept(caller: Caller) -> None:
    async with ScriptedWorker(caller.address) as worker:
        await worker.register()
        operation = await caller.start()
        await worker.assigned()
        for unit in range(1, 6):
            before = await caller.get(operation.operation_id)
            checkpoint = await save(caller, worker, operation.operation_id, 1, unit)
            now = await caller.get(operation.operation_id)
            assert now.checkpoint.checkpoint_id == checkpoint.checkpoint_id
            assert now.update_time.ToNanoseconds() > before.update_time.ToNanoseconds()
        assert await caller.events(operation.operation_id) == ["CREATED", "CLAIMED", "CHECKPOINT_SAVED"]
        rows = await caller.rooms.database.fetch("list_checkpoints_of", operation_id=operation.operation_id)
        assert [row["unit"] for row in rows] == [5, 4]
        worker.runs.clear()
        await worker.settled(worker.fact(run_finished=failed(operation.operation_id, 1, signal=9)))
        await caller.resume(operation.operation_id)
        await worker.assigned(2)
        for unit in range(6, 9):
            await save(caller, worker, operation.operation_id, 2, unit)
        assert await caller.events(operation.operation_id) == [
            "CREATED", "CLAIMED", "CHECKPOINT_SAVED", "FAILED", "RESUMED", "CLAIMED", "CHECKPOINT_SAVED",
        ]  # fmt: skip


async def test_one_is_told_again_when_the_time_has_passed(caller: Caller) -> None:
    async with ScriptedWorker(caller.address) as worker:
        await worker.register()
        operation = await caller.start()
        await worker.assigned()
        for unit in (1, 2):
            await save(caller, worker, operation.operation_id, 1, unit)
        aged = (
            "UPDATE operation_events SET time = time - interval '2 hours' "
            "WHERE operation_id = $1 AND type = 'CHECKPOINT_SAVED'"
        )
        await caller.rooms.database.run(lambda connection: connection.execute(aged, operation.operation_id))
        for unit in (3, 4):
            await save(caller, worker, operation.operation_id, 1, unit)
        events = await caller.rooms.store.events(operation.operation_id, 0)
        told = [event.details["checkpoint_id"] for event in events if event.type == "CHECKPOINT_SAVED"]
        assert told == [f"{operation.operation_id}/1-1", f"{operation.operation_id}/1-3"]


async def test_what_a_stop_or_a_failure_saved_is_always_told(caller: Caller) -> None:
    async with ScriptedWorker(caller.address) as worker:
        await worker.register()
        operation = await caller.start()
        await worker.assigned()
        await save(caller, worker, operation.operation_id, 1, 1)
        kinds = (checkpoint_pb2.CHECKPOINT_TYPE_CANCELLATION, checkpoint_pb2.CHECKPOINT_TYPE_FAILURE)
        for unit, kind in enumerate(kinds, start=2):
            checkpoint = caller.write_checkpoint(operation.operation_id, 1, unit, kind=kind)
            report = worker_pb2.CheckpointSaved(run=ref(operation.operation_id, 1), checkpoint=checkpoint)
            await worker.settled(worker.fact(checkpoint_saved=report))
        events = await caller.rooms.store.events(operation.operation_id, 0)
        assert [event.details["type"] for event in events if event.type == "CHECKPOINT_SAVED"] == [
            "PERIODIC", "CANCELLATION", "FAILURE",
        ]  # fmt: skip


async def test_a_watcher_sees_the_newest_checkpoint_and_no_gap(caller: Caller) -> None:
    async with ScriptedWorker(caller.address) as worker:
        await worker.register()
        operation = await caller.start()
        await worker.assigned()
        seen: list[int] = []
        numbers: list[int] = []
        both = asyncio.Event()

        async def watch() -> None:
            async for update in caller.watch(operation.operation_id):
                which = update.WhichOneof("update")
                if which == "event":
                    numbers.append(update.event.sequence)
                elif which == "operation" and update.operation.HasField("checkpoint"):
                    seen.append(update.operation.checkpoint.unit)
                    if seen[-1] in (2, 3):
                        both.set()

        watching = asyncio.create_task(watch())
        await save(caller, worker, operation.operation_id, 1, 1)
        for unit in (2, 3):
            both.clear()
            await save(caller, worker, operation.operation_id, 1, unit)
            await asyncio.wait_for(both.wait(), 30)
        worker.runs.clear()
        await worker.settled(worker.fact(run_finished=caller.completed(operation.operation_id, 1)))
        await asyncio.wait_for(watching, 30)
        assert seen == sorted(seen)
        assert {2, 3} <= set(seen)
        assert numbers == [1, 2, 3, 4]
