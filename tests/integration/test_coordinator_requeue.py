"""When no worker takes a run: backoff, attempts that do not run away, an end with a reason; restored databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import AtCapacity, HoldfastError, NotPossible, Unavailable
from holdfast.services.coordinator.operations.transitions import queue_status
from holdfast.services.coordinator.workers import backoff
from holdfast.services.coordinator.workers import dispatch as dispatcher
from holdfast.v1 import worker_pb2
from tests.support.coordinator import Caller, running_coordinator
from tests.support.scripted_worker import ScriptedWorker, ref
from tests.support.waiting import until


@pytest.fixture
async def caller(database_url: str, tmp_path: Path) -> AsyncIterator[Caller]:
    async with running_coordinator(database_url, tmp_path) as caller:
        yield caller


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same backoff, a hundred times as fast."""
    monkeypatch.setattr(backoff, "FIRST", 0.01)
    monkeypatch.setattr(backoff, "LONGEST", 0.04)


async def rows(caller: Caller, text: str, *arguments: Any) -> list[Any]:
    found: list[Any] = await caller.rooms.database.run(lambda connection: connection.fetch(text, *arguments))
    return found


async def claims(caller: Caller, operation_id: str) -> list[tuple[int, str | None]]:
    text = "SELECT attempt, outcome FROM attempts WHERE operation_id = $1 ORDER BY attempt"
    return [(row["attempt"], row["outcome"]) for row in await rows(caller, text, operation_id)]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "refusal",
    [
        AtCapacity("No free slot here.", reason="NO_FREE_SLOT"),
        NotPossible("This worker drains.", reason="WORKER_DRAINING"),
    ],
)
async def test_a_worker_that_says_no_costs_neither_attempts_nor_a_row_each(
    caller: Caller, refusal: HoldfastError
) -> None:
    async with ScriptedWorker(caller.address, heartbeat_interval=0.02) as worker:
        worker.refusals = [refusal] * 40
        await worker.register()
        operation_id = (await caller.start()).operation_id
        assert await worker.assigned() == (operation_id, 1)

        async def told() -> bool:
            return (await caller.events(operation_id))[-1] == "CLAIMED"

        await until(told, "the claim that was taken to be told")
        story = await caller.events(operation_id)
        # The 1st, 2nd, 4th, 8th, 16th and 32nd of forty.
        assert story == ["CREATED", "CLAIMED", *["REQUEUE"] * 6, "CLAIMED"]
        assert await claims(caller, operation_id) == [(1, None)]
        worker.fact(run_finished=caller.completed(operation_id, 1))
        await caller.reaches(operation_id, "COMPLETED")


@pytest.mark.usefixtures("quick")
async def test_uncertain_deliveries_raise_the_attempt_and_end(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "MOST_DELIVERIES", 3)
    async with ScriptedWorker(caller.address) as worker:
        worker.refusals = [Unavailable("The wire is cut.")] * 5
        await worker.register()
        operation_id = (await caller.start()).operation_id
        ended = await caller.reaches(operation_id, "FAILED")
        assert ended.attempt == 3
        assert ended.failure.reason == "UNDELIVERABLE"
        assert "3 times in a row" in ended.failure.message
        assert f"worker-1 at {worker.address}" in ended.failure.message
        assert "The wire is cut." in ended.failure.message
        assert "start it again" in ended.failure.message
        assert await claims(caller, operation_id) == [(1, "UNDELIVERED"), (2, "UNDELIVERED"), (3, "FAILED")]
        # Another operation starts with a clean slate.
        other = (await caller.start()).operation_id
        assert await worker.assigned() == (other, 3)


async def test_waiting_operations_and_resting_workers_hold_up_nobody(caller: Caller) -> None:
    store = caller.rooms.store
    first = (await caller.start()).operation_id
    async with ScriptedWorker(caller.address) as refusing, ScriptedWorker(caller.address, "worker-2") as taking:
        refusing.refusals = [AtCapacity("No.", reason="NO_FREE_SLOT")] * 3
        await refusing.register()
        await until(lambda: len(refusing.refusals) < 3, "the first refusal")

        async def back() -> bool:
            return await caller.status(first) == "PENDING"

        await until(back, "the requeue")
        # Nothing else has free hands; the one that does gets it at once, although the first worker rests.
        await taking.register()
        assert (await taking.assigned())[0] == first
        taking.runs.clear()
        taking.fact(run_finished=caller.completed(first, 1))
        await caller.reaches(first, "COMPLETED")
        # An operation that waits for long does not hold up what came after it.
        text = "UPDATE operations SET requeues = 9, not_before = clock_timestamp() + interval '1 hour' WHERE id = $1"
        caller.rooms.registry.find("worker-2").ordered_to_drain = True  # type: ignore[union-attr]
        waiting = (await caller.start()).operation_id
        await rows(caller, text, waiting)
        behind = (await caller.start()).operation_id
        caller.rooms.registry.find("worker-2").ordered_to_drain = False  # type: ignore[union-attr]
        caller.rooms.dispatcher.wake()
        assert (await taking.assigned(2))[0] == behind
        assert await caller.status(waiting) == "PENDING"
        assert (await store.get(waiting)).requeues == 9


@pytest.mark.usefixtures("quick")
async def test_nothing_is_claimed_while_everything_waits(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """No busy loop: the dispatcher sleeps until the one that waits is due."""
    looks: list[float | None] = []
    wait = caller.rooms.dispatcher._wait

    async def noted(due: float | None) -> None:
        looks.append(due)
        await wait(due)

    monkeypatch.setattr(caller.rooms.dispatcher, "_wait", noted)
    operation_id = (await caller.start()).operation_id
    await rows(
        caller, "UPDATE operations SET not_before = clock_timestamp() + interval '300 milliseconds' WHERE id = $1",
        operation_id,
    )  # fmt: skip
    async with ScriptedWorker(caller.address, beats=False) as worker:
        await worker.register()
        assert (await worker.assigned())[0] == operation_id
        assert any(due is not None and due > 0 for due in looks)
        assert len(looks) < 10


@pytest.mark.usefixtures("quick")
async def test_a_repeated_refusal_does_not_take_back_the_next_claim(caller: Caller) -> None:
    """The statement may run twice: its answer can be lost after the commit."""
    transitions = caller.rooms.transitions
    async with ScriptedWorker(caller.address) as worker:
        await worker.register()
        operation_id = (await caller.start()).operation_id
        await worker.assigned()
        claimed = await caller.rooms.store.get(operation_id)
        worker.runs.clear()
        assert await transitions.decline(claimed, queue_status(claimed), "NO_FREE_SLOT", "no") is not None
        await worker.register([])
        assert (await worker.assigned(2)) == (operation_id, 1)
        assert await transitions.decline(claimed, queue_status(claimed), "NO_FREE_SLOT", "no") is None
        assert await caller.status(operation_id) == "RUNNING"


# A database that was restored from a backup, under workers that live


async def test_a_restored_databases_coordinator_is_newer_than_the_one_it_has_forgotten(
    database_url: str, tmp_path: Path
) -> None:
    async with running_coordinator(database_url, tmp_path) as before:
        forgotten = before.rooms.term
        await rows(before, "DELETE FROM coordinators")
        await asyncio.sleep(0)
    async with running_coordinator(database_url, tmp_path) as after:
        assert after.rooms.term >= forgotten
        assert after.rooms.term > 1_700_000_000
        await rows(after, "UPDATE coordinators SET term = term + 1000000")
        ahead = after.rooms.term + 1_000_000
    async with running_coordinator(database_url, tmp_path) as again:
        assert again.rooms.term == ahead + 1  # a clock that was ahead once


async def test_a_forgotten_run_is_stopped_and_its_operation_can_be_resumed(caller: Caller) -> None:
    async with ScriptedWorker(caller.address) as worker:
        await worker.register()
        operation_id = (await caller.start()).operation_id
        await worker.assigned()
        saved = caller.write_checkpoint(operation_id, 1, 4)
        fact = worker_pb2.CheckpointSaved(run=ref(operation_id, 1), checkpoint=saved)
        await worker.settled(worker.fact(checkpoint_saved=fact))
        # The backup is from here; since then it was resumed twice, and this worker runs attempt 3.
        worker.runs[operation_id] = 3
        response = await worker.register()
        assert list(response.stop_runs) == [ref(operation_id, 3)]
        operation = await caller.reaches(operation_id, "FAILED")
        assert operation.failure.reason == "ORPHANED"
        assert "worker-1 runs attempt 3 instead" in operation.failure.message
        assert operation.resumable
        await worker.register()
        story = await caller.rooms.store.events(operation_id, 0)
        told = [event for event in story if event.type == "DATABASE_BEHIND"]
        assert len(told) == 1
        assert "Was it restored from a backup?" in told[0].message


async def test_a_forgotten_runs_attempt_is_not_given_out_again(caller: Caller) -> None:
    operation_id = (await caller.start()).operation_id
    async with ScriptedWorker(caller.address, slots=2) as worker:
        worker.runs[operation_id] = 5
        response = await worker.register()
        assert list(response.stop_runs) == [ref(operation_id, 5)]
        assert await worker.assigned() == (operation_id, 6)
        assert "DATABASE_BEHIND" in await caller.events(operation_id)
    assert (await caller.get(operation_id)).attempt == 6


async def test_an_attempt_that_is_made_up_moves_nothing(caller: Caller) -> None:
    operation_id = (await caller.start()).operation_id
    async with ScriptedWorker(caller.address) as worker:
        worker.draining = True
        worker.runs[operation_id] = 2**31 - 1
        response = await worker.register()
        assert list(response.stop_runs) == [ref(operation_id, 2**31 - 1)]
        assert (await caller.get(operation_id)).attempt == 1
