"""What the coordinator takes in has a bound, and a clear answer at the bound."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from coordinator import registry
from holdfast.errors import AtCapacity, InvalidRequest
from holdfast.service import error_from_rpc
from holdfast.v1 import coordinator_service_pb2 as pb
from holdfast.v1 import worker_pb2
from tests.support.coordinator import Caller, running_coordinator
from tests.support.scripted_worker import ScriptedWorker, until


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
    monkeypatch.setattr(registry, "FORGET_GHOST_AFTER", 0.3)
    for number in range(20):
        await caller.call("RegisterWorker", registration(f"ghost-{number}"))
        assert len(caller.rooms.registry.all()) <= 3
    await until(lambda: not caller.rooms.supervision._sessions, "the dialling to end")
    await until(lambda: not caller.rooms.registry.all(), "the ghosts to be forgotten")
