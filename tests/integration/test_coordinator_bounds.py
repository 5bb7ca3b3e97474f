"""What the coordinator takes in has a bound, and a clear answer at the bound."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from holdfast.errors import AtCapacity, InvalidRequest
from holdfast.rpc import error_from_rpc
from holdfast.services.coordinator.workers import worker
from holdfast.v1 import coordinator_service_pb2 as pb
from holdfast.v1 import worker_pb2
from tests.support.coordinator import Caller, running_coordinator
from tests.support.scripted_worker import ScriptedWorker, ref
from tests.support.waiting import until


@pytest.fixture
async def caller(database_url: str, tmp_path: Path) -> AsyncIterator[Caller]:
    limits = {"HOLDFAST_MAX_WORKERS": 3, "HOLDFAST_MAX_WATCHES": 4}
    async with running_coordinator(database_url, tmp_path, **limits) as caller:
        yield caller


def registration(worker_id: str, address: str = "127.0.0.1:1") -> pb.RegisterWorkerRequest:
    return pb.RegisterWorkerRequest(
        worker_id=worker_id, incarnation="i", kind=worker_pb2.WORKER_KIND_TRAINER, address=address, slots=1
    )


@pytest.mark.parametrize("address", ["169.254.169.254:80", "unix:1234", "dns:80", "no.such.host.invalid:80"])
async def test_only_the_callers_own_address_is_dialled(caller: Caller, address: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await caller.call("RegisterWorker", registration("ghost", address))
    assert "HOLDFAST_ADVERTISE" in refused.value.message
    assert refused.value.reason == "ADDRESS_NOT_ALLOWED"
    assert caller.rooms.registry.all() == []


async def test_workers_beyond_the_limit_are_refused_and_the_known_have_their_place(caller: Caller) -> None:
    async with (
        ScriptedWorker(caller.address, "a") as first,
        ScriptedWorker(caller.address, "b") as second,
        ScriptedWorker(caller.address, "c") as third,
        ScriptedWorker(caller.address, "d") as fourth,
    ):
        for worker in (first, second, third):
            await worker.register()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await fourth.register(connect=False)
        error = error_from_rpc(refused.value)
        assert isinstance(error, AtCapacity)
        assert error.reason == "TOO_MANY_WORKERS"
        assert "3 workers are registered, and the limit is 3" in error.message
        await second.register()
        # One that is gone and ran nothing makes way.
        await third.die()
        await until(lambda: not caller.rooms.registry.find("c").connected, "the loss")  # type: ignore[union-attr]
        await fourth.register()
        assert [worker.id for worker in caller.rooms.registry.all()] == ["a", "b", "d"]


async def test_ghosts_are_neither_kept_nor_dialled_for_long(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "FORGET_GHOST_AFTER", 0.3)
    for number in range(20):
        await caller.call("RegisterWorker", registration(f"ghost-{number}"))
        assert len(caller.rooms.registry.all()) <= 3
    await until(lambda: not caller.rooms.supervision._sessions, "the dialling to end")
    await until(lambda: not caller.rooms.registry.all(), "the ghosts to be forgotten")


async def test_watches_beyond_the_limit_are_refused_and_a_closed_one_makes_room(caller: Caller) -> None:
    operation_id = (await caller.start()).operation_id
    watches = [caller.watch(operation_id) for _ in range(4)]
    for watch in watches:
        assert await watch.read()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await caller.watch(operation_id).read()
    error = error_from_rpc(refused.value)
    assert isinstance(error, AtCapacity)
    assert error.reason == "TOO_MANY_WATCHES"
    assert "4 watches are open, and the limit is 4" in error.message
    watches[0].cancel()
    await until(lambda: caller.rooms.watch._open == 3, "the closed watch to be gone")
    assert await caller.watch(operation_id).read()


async def test_more_facts_than_can_wait_come_with_the_next_stream(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.services.coordinator.workers.session.FACTS_WAITING", 5)
    async with ScriptedWorker(caller.address) as worker:
        await worker.register()
        operation_id = (await caller.start()).operation_id
        await worker.assigned()
        run = ref(operation_id, 1)
        noted = [
            worker.fact(notice=worker_pb2.RunNotice(run=run, type="NOTED", message=str(number))) for number in range(40)
        ]
        last = worker.fact(run_finished=caller.completed(operation_id, 1))
        worker.runs.clear()
        await worker.settled(last)
        assert set(noted) <= worker.acknowledged
        story = await caller.rooms.store.events(operation_id, 0)
        assert [event.message for event in story if event.type == "NOTED"] == [str(number) for number in range(40)]
        assert story[-1].type == "COMPLETED"


async def test_a_worker_that_does_not_read_loses_its_stream_and_no_memory_is_spent(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.services.coordinator.workers.session.ORDERS_WAITING", 10)
    async with ScriptedWorker(caller.address) as worker:
        await worker.register()
        known = caller.rooms.registry.find("worker-1")
        assert known is not None
        before = len(worker.terms)
        for number in range(100):
            caller.rooms.supervision._sessions[known.id].stop_run(ref(f"op-{number}", 1), "x" * 1000)
        await until(lambda: len(worker.terms) > before and known.connected, "another stream")
