"""Only the coordinator that a worker has registered with moves its fence: strangers and stale ones disable nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from holdfast.rpc import create_channel, error_from_rpc
from holdfast.v1 import trainer_service_pb2_grpc, worker_pb2
from tests.integration.worker_support import Bench, Stream, Worker, assignment, bench_in
from tests.support.coordinator import running_coordinator
from tests.support.waiting import until

STRANGE = 2**62
UNPROVEN = (grpc.StatusCode.ABORTED, "COORDINATOR_UNPROVEN")


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench_in(tmp_path) as made:
        yield made


async def refused(call: object) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]  # a coroutine
    return caught.value.code(), error_from_rpc(caught.value).reason


async def strange_commands(address: str) -> None:
    """What anybody who reaches the worker's port can send."""
    async with create_channel(address, retries=False) as channel:
        stub = trainer_service_pb2_grpc.TrainerServiceStub(channel)
        run = worker_pb2.RunRef(operation_id="op-unknown", attempt=1)
        assert await refused(stub.CancelRun(worker_pb2.CancelRunRequest(run=run, coordinator_term=STRANGE))) == UNPROVEN
        order = assignment("op-strange", term=STRANGE, do="finish")
        assert await refused(stub.StartRun(worker_pb2.StartRunRequest(assignment=order))) == UNPROVEN


async def test_a_strangers_commands_leave_the_worker_to_its_coordinator(bench: Bench) -> None:
    await bench.up()
    await strange_commands(bench.coordinator.registrations[-1].address)
    assert (await bench.state()).coordinator_term == 1
    await bench.run("op-1", do="finish")
    await bench.coordinator.end_of("op-1")
    assert not bench.coordinator.finished("op-strange")


async def test_a_strangers_stream_replaces_nothing(bench: Bench) -> None:
    await bench.up()
    address = bench.coordinator.registrations[-1].address
    true = bench.coordinator.stream
    for nonce, says in (("", True), ("a guess", True), ("", False)):
        stranger = Stream(create_channel(address), STRANGE, acknowledges=True, nonce=nonce, speaks=says)
        await until(stranger.over.is_set, "the stranger's stream to end")
        assert stranger.code is grpc.StatusCode.ABORTED
        assert not stranger.received
        await stranger.close()
    beats = len(true.facts("heartbeat"))
    await until(lambda: len(true.facts("heartbeat")) > beats, "the coordinator's own stream to go on")
    assert (await bench.state()).coordinator_term == 1
    assert len(bench.coordinator.registrations) == 1


async def test_a_command_before_any_proof_is_refused(bench: Bench) -> None:
    bench.coordinator.dials_back = False
    await bench.start()
    await until(lambda: bench.coordinator.registrations, "a registration")
    assert await refused(bench.run("op-1", do="finish")) == UNPROVEN
    assert (await bench.state()).coordinator_term == 0


async def test_the_nonce_of_an_earlier_registration_counts_no_more(bench: Bench) -> None:
    await bench.up()
    old = bench.coordinator.registrations[-1].nonce
    await bench.coordinator.stream.close()
    await until(lambda: len(bench.coordinator.streams) == 2 and bench.coordinator.stream.received, "the next stream")
    new = bench.coordinator.registrations[-1]
    assert new.nonce not in ("", old)
    late = Stream(create_channel(new.address), 1, acknowledges=True, nonce=old)
    await until(late.over.is_set, "its end")
    assert late.code is grpc.StatusCode.ABORTED
    assert not late.received
    await late.close()


async def test_a_real_coordinators_runs_go_on_under_a_strangers_packets(database_url: str, tmp_path: Path) -> None:
    """It was attempt 95 and 245 events after 50 seconds."""
    async with running_coordinator(database_url, tmp_path) as caller:
        worker = Worker(tmp_path, caller.rooms.server.port)
        await worker.start()
        try:
            await until(lambda: any(known.connected for known in caller.rooms.registry.all()), "the worker")
            await strange_commands(caller.rooms.registry.all()[0].address)
            operation = await caller.start()
            # Its strategy is not one of the test's deeds: the run begins, and says so by failing.
            ended = await caller.reaches(operation.operation_id, "FAILED")
            assert ended.failure.reason == "RUN_RAISED"
            assert ended.attempt == 1
            assert len(await caller.events(operation.operation_id)) <= 5
        finally:
            worker.signal(15)
            async with asyncio.timeout(20):
                await worker.exit_code()
