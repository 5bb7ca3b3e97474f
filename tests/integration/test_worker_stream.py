"""Fencing, the Supervise stream, registration and the outbox, against a coordinator that misbehaves."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from holdfast.errors import Unavailable
from holdfast.rpc import error_from_rpc
from holdfast.v1 import worker_pb2
from tests.integration.worker_support import Bench, Proxy, alive, bench_in
from tests.support.future import arrived, future
from tests.support.waiting import until


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench_in(tmp_path) as made:
        yield made


async def refused(call: object) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]  # a coroutine
    return caught.value.code(), error_from_rpc(caught.value).reason


async def test_the_same_assignment_twice_runs_once(bench: Bench) -> None:
    await bench.up()
    await bench.run("op-1", do="epochs")
    await bench.run("op-1", do="epochs")
    assert len((await bench.state()).runs) == 1
    await bench.coordinator.pid_of("op-1")
    await bench.cancel("op-1")
    await bench.coordinator.end_of("op-1")
    await bench.run("op-1", do="epochs")  # a late copy of a call that has had its answer
    assert not (await bench.state()).runs
    assert len(bench.coordinator.notices("op-1", "STARTED")) == 1


async def test_no_free_slot(bench: Bench) -> None:
    await bench.up(HOLDFAST_SLOTS="1")
    await bench.run("op-1", do="epochs")
    assert await refused(bench.run("op-2", do="finish")) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "NO_FREE_SLOT")
    await bench.cancel("op-1")
    await bench.coordinator.end_of("op-1")
    await bench.run("op-2", do="finish")
    await bench.coordinator.end_of("op-2")


async def test_stale_attempts_and_coordinators_are_refused(bench: Bench) -> None:
    bench.coordinator.term = 5
    await bench.up()
    stale = (grpc.StatusCode.ABORTED, "STALE_ATTEMPT")
    await bench.run("op-1", attempt=3, term=5, do="epochs")
    assert await refused(bench.run("op-1", attempt=2, term=5, do="finish")) == stale
    assert await refused(bench.run("op-2", term=4, do="finish")) == stale
    assert await refused(bench.cancel("op-1", attempt=3, term=4)) == stale
    assert await refused(bench.cancel("op-1", attempt=2, term=5)) == (grpc.StatusCode.NOT_FOUND, "RUN_NOT_FOUND")
    assert [run.run.attempt for run in (await bench.state()).runs] == [3]


async def test_bad_assignments_name_their_fields(bench: Bench) -> None:
    await bench.up()
    assert await refused(bench.run("../../etc/passwd", do="finish")) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_REQUEST",
    )
    assert (await refused(bench.run("op-1", attempt=0, do="finish")))[0] is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_newer_attempt_stops_the_older_first(bench: Bench) -> None:
    await bench.up(HOLDFAST_SLOTS="1")
    await bench.run("op-1", attempt=1, do="deaf")
    first = await bench.coordinator.pid_of("op-1")
    await bench.coordinator.ready("op-1")
    await bench.run("op-1", attempt=2, do="finish")
    await until(lambda: len(bench.coordinator.finished("op-1")) == 2, "two ends")
    older, newer = bench.coordinator.finished("op-1")
    assert not alive(first)
    assert (older.run.attempt, older.outcome, older.failure.reason) == (1, worker_pb2.RUN_OUTCOME_CANCELLED, "STOPPED")
    assert (newer.run.attempt, newer.outcome) == (2, worker_pb2.RUN_OUTCOME_COMPLETED)


async def test_stop_run_ends_at_once_and_without_success(bench: Bench) -> None:
    await bench.up()
    await bench.run("op-1", do="epochs")
    await bench.coordinator.pid_of("op-1")
    await bench.coordinator.stream.send(
        stop_run=worker_pb2.StopRun(run=worker_pb2.RunRef(operation_id="op-1", attempt=1), reason="it was resumed")
    )
    finished = await bench.coordinator.end_of("op-1")
    assert finished.outcome == worker_pb2.RUN_OUTCOME_CANCELLED
    assert finished.failure.message == "Stopped without saving: it was resumed"
    assert not finished.HasField("checkpoint")


async def test_a_newer_coordinator_is_understood_as_far_as_it_goes(bench: Bench) -> None:
    await bench.up()
    await bench.run("op-1", do="epochs")
    await bench.coordinator.pid_of("op-1")
    stream = bench.coordinator.stream
    await stream.send_raw(arrived(future("CoordinatorMessage", coordinator_term=1, future="an order of later")))
    acknowledgement = {"sequences": [4711], "future": "word"}
    await stream.send_raw(arrived(future("CoordinatorMessage", coordinator_term=1, acknowledgement=acknowledgement)))
    run = {"operation_id": "op-2", "attempt": 1}
    unknown = future("RunAssignment", run=run, coordinator_term=1, future="a kind of run that is not known here")
    start = worker_pb2.StartRunRequest(assignment=arrived(unknown))
    assert await refused(bench.stub.StartRun(start)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    # The stream is the same, and so is the run.
    seen = len(stream.facts("heartbeat"))
    await until(lambda: len(stream.facts("heartbeat")) > seen, "a heartbeat on the same stream")
    assert len(bench.coordinator.streams) == 1
    assert [run.run.operation_id for run in (await bench.state()).runs] == ["op-1"]
    run = {"operation_id": "op-1", "attempt": 1, "future": "word"}
    stop = {"run": run, "reason": "it was resumed", "future": "word"}
    await stream.send_raw(arrived(future("CoordinatorMessage", coordinator_term=1, stop_run=stop)))
    assert (await bench.coordinator.end_of("op-1")).failure.reason == "STOPPED"


async def test_a_refused_end_is_said_in_the_log_and_sent_again_by_the_next_process_alone(bench: Bench) -> None:
    bench.coordinator.acknowledges = False
    await bench.up()
    await bench.run("op-1", do="finish")
    await bench.coordinator.end_of("op-1")
    numbers = [message.sequence for message in bench.coordinator.stream.received if message.sequence]
    why = worker_pb2.RefusedFact(sequence=numbers[-1], reason="INVALID_REQUEST", message="no such thing")
    acknowledgement = worker_pb2.Acknowledgement(sequences=numbers, refused=[why])
    await bench.coordinator.stream.send(acknowledgement=acknowledgement)
    outbox = bench.home / "workers" / "w1" / "outbox"
    await until(lambda: [path.suffix for path in outbox.iterdir()] == [".refused"], "the end to be set aside")
    assert bench.worker is not None
    assert "Fact refused" in bench.worker.text()


async def test_hello_comes_first_on_every_stream(bench: Bench) -> None:
    await bench.up()
    await bench.run("op-1", do="epochs")
    await until(lambda: bench.coordinator.facts("progress"), "progress")
    await bench.coordinator.stream.close()
    await until(lambda: len(bench.coordinator.streams) == 2 and bench.coordinator.stream.received, "the next stream")
    assert [stream.received[0].WhichOneof("fact") for stream in bench.coordinator.streams] == ["hello", "hello"]
    hello = bench.coordinator.stream.received[0].hello
    assert [run.run.operation_id for run in hello.current_runs] == ["op-1"]
    assert hello.current_runs[0].progress.unit > 0
    registration = bench.coordinator.registrations[-1]
    assert registration.current_runs[0].progress.unit > 0
    assert registration.incarnation == bench.coordinator.registrations[0].incarnation


async def test_a_newer_stream_replaces_the_older(bench: Bench) -> None:
    await bench.up()
    address = bench.coordinator.registrations[-1].address
    first = bench.coordinator.stream
    second = bench.coordinator.dial(address)
    await until(first.over.is_set, "the older stream's end")
    assert first.code is grpc.StatusCode.ABORTED
    await until(lambda: len(second.facts("heartbeat")) >= 2, "heartbeats on the newer stream")
    assert len(bench.coordinator.registrations) == 1


async def test_a_stale_coordinators_stream_is_refused(bench: Bench) -> None:
    bench.coordinator.term = 7
    await bench.up()
    true = bench.coordinator.stream
    bench.coordinator.term = 6
    stale = bench.coordinator.dial(bench.coordinator.registrations[-1].address)
    await until(stale.over.is_set, "its end")
    assert stale.code is grpc.StatusCode.ABORTED
    assert not stale.received
    beats = len(true.facts("heartbeat"))
    await until(lambda: len(true.facts("heartbeat")) > beats, "the true coordinator's stream to go on")


async def test_facts_are_sent_again_until_acknowledged(bench: Bench) -> None:
    bench.coordinator.acknowledges = False
    await bench.up()
    await bench.run("op-1", do="crash", number=9)
    await bench.coordinator.end_of("op-1")
    first = [m for m in bench.coordinator.stream.received if m.sequence]
    assert [m.sequence for m in first] == list(range(1, len(first) + 1))
    # Out of order, twice, and one that never existed.
    await bench.coordinator.stream.acknowledge(2, 1, 2, 99)
    await until(lambda: bench.coordinator.facts("heartbeat"), "heartbeat")
    await asyncio.sleep(0)
    await bench.coordinator.stream.close()
    await until(lambda: len(bench.coordinator.streams) == 2 and bench.coordinator.stream.facts("run_finished"), "again")
    again = [m.sequence for m in bench.coordinator.stream.received if m.sequence]
    assert again == [m.sequence for m in first][2:] or again == [m.sequence for m in first]
    # Late, over the other stream.
    await bench.coordinator.stream.acknowledge(*again)
    outbox = bench.home / "workers" / "w1" / "outbox"
    await until(lambda: not list(outbox.iterdir()), "an empty outbox")
    assert not (await bench.state()).unacknowledged_runs


async def test_an_end_survives_the_worker(bench: Bench) -> None:
    bench.coordinator.acknowledges = False
    await bench.up()
    assert bench.worker is not None
    await bench.run("op-1", do="finish")
    await bench.coordinator.end_of("op-1")
    await bench.worker.kill()
    bench.coordinator.streams.clear()
    bench.coordinator.acknowledges = True
    await bench.up()
    old, new = bench.coordinator.registrations[0], bench.coordinator.registrations[-1]
    assert old.incarnation != new.incarnation
    assert old.worker_id == new.worker_id
    assert [f.run.operation_id for f in new.finished_runs] == ["op-1"]
    assert (await bench.coordinator.end_of("op-1")).training_result.metrics["loss"] == 0.5
    await until(lambda: not list((bench.home / "workers" / "w1" / "outbox").iterdir()), "an empty outbox")
    # The same attempt again would be a double run.
    await bench.run("op-1", do="finish")
    assert not (await bench.state()).runs


async def test_a_registration_acknowledges_and_stops(bench: Bench) -> None:
    bench.coordinator.acknowledges = False
    await bench.up()
    await bench.run("op-1", do="finish")
    await bench.coordinator.end_of("op-1")
    await bench.run("op-2", do="deaf")
    await bench.coordinator.ready("op-2")
    bench.coordinator.acknowledged_runs = [worker_pb2.RunRef(operation_id="op-1", attempt=1)]
    bench.coordinator.stop_runs = [worker_pb2.RunRef(operation_id="op-2", attempt=1)]
    await bench.coordinator.stream.close()
    finished = await bench.coordinator.end_of("op-2")
    assert finished.failure.reason == "STOPPED"
    assert [run.operation_id for run in (await bench.state()).unacknowledged_runs] == ["op-2"]


async def test_a_refused_registration_is_tried_again(bench: Bench) -> None:
    bench.coordinator.refuses = Unavailable("The coordinator drains.", reason="DRAINING")
    await bench.start()
    await until(lambda: bench.coordinator.refused >= 3, "three tries")
    bench.coordinator.refuses = None
    await until(lambda: bench.coordinator.streams and bench.coordinator.stream.received, "a stream")


async def test_a_coordinator_that_does_not_dial_back_is_asked_again(bench: Bench) -> None:
    bench.coordinator.dials_back = False
    await bench.start()
    await until(lambda: len(bench.coordinator.registrations) >= 2, "a second registration")


async def test_a_restarted_coordinator_has_its_workers_back(bench: Bench) -> None:
    await bench.up()
    await bench.run("op-1", do="epochs")
    await until(lambda: bench.coordinator.facts("progress"), "progress")
    assert bench.coordinator.server is not None
    port = bench.coordinator.server.port
    await bench.coordinator.stop()
    bench.coordinator.term = 2
    assert bench.worker is not None
    await until(lambda: bench.worker.text().count("Not registered") >= 1, "a failed try")  # type: ignore[union-attr]
    streams = len(bench.coordinator.streams)
    await bench.coordinator.start(f"127.0.0.1:{port}")
    await until(lambda: len(bench.coordinator.streams) > streams, "a registration")
    assert [run.run.operation_id for run in bench.coordinator.registrations[-1].current_runs] == ["op-1"]
    await until(lambda: bench.coordinator.stream.facts("progress"), "live progress")


async def test_a_half_open_connection_is_noticed(bench: Bench) -> None:
    async with Proxy() as proxy:
        await bench.start(HOLDFAST_ADVERTISE=proxy.address, HOLDFAST_LISTEN=proxy.target)
        await until(lambda: bench.coordinator.streams and bench.coordinator.stream.facts("heartbeat"), "heartbeats")
        await bench.run("op-1", do="epochs")
        proxy.swallow()
        # Neither end is told: keepalive finds out.
        await until(lambda: len(bench.coordinator.registrations) >= 2, "another registration", patience=30.0)
        proxy.pass_on()
        await until(lambda: bench.coordinator.stream.facts("progress"), "progress on a new stream", patience=30.0)


async def test_a_frozen_worker_comes_back_without_losing_anything(bench: Bench) -> None:
    await bench.up()
    assert bench.worker is not None
    await bench.run("op-1", do="linger", path=str(bench.home / "end"))
    pid = await bench.coordinator.pid_of("op-1")
    bench.worker.signal(signal.SIGSTOP)
    (bench.home / "end").touch()
    await until(lambda: not alive(pid), "the run to finish beside its frozen worker")
    assert not bench.coordinator.finished("op-1")
    bench.worker.signal(signal.SIGCONT)
    assert (await bench.coordinator.end_of("op-1")).outcome == worker_pb2.RUN_OUTCOME_COMPLETED
