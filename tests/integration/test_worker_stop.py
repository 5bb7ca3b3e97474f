"""Cancel, drain and SIGTERM: bounded, and reported only when the process is gone."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from holdfast.rpc import error_from_rpc
from holdfast.v1 import checkpoint_pb2, worker_pb2
from tests.integration.worker_support import Bench, alive, bench_in
from tests.support.waiting import until


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench_in(tmp_path) as made:
        yield made


async def test_cancel_saves_and_stops(bench: Bench) -> None:
    await bench.up()
    await bench.run("op-1", do="epochs")
    pid = await bench.coordinator.pid_of("op-1")
    await until(lambda: bench.coordinator.facts("progress"), "progress")
    await bench.cancel("op-1")
    finished = await bench.coordinator.end_of("op-1")
    assert not alive(pid)
    assert finished.outcome == worker_pb2.RUN_OUTCOME_CANCELLED
    assert finished.failure.reason == "CANCELLED"
    assert finished.checkpoint.type == checkpoint_pb2.CHECKPOINT_TYPE_CANCELLATION
    assert finished.failure.message == f"Cancelled: user - checkpoint saved (epoch {finished.checkpoint.unit})"
    assert [c.checkpoint.unit for c in bench.coordinator.facts("checkpoint_saved")] == [finished.checkpoint.unit]


@pytest.mark.parametrize(("do", "ended_by"), [("saving", signal.SIGTERM), ("deaf", signal.SIGKILL)])
async def test_cancel_escalates(bench: Bench, do: str, ended_by: signal.Signals) -> None:
    await bench.up(HOLDFAST_GRACE_SECONDS="0.4")
    await bench.run("op-1", do=do)
    await bench.coordinator.ready("op-1")
    await bench.cancel("op-1")
    finished = await bench.coordinator.end_of("op-1")
    assert finished.outcome == worker_pb2.RUN_OUTCOME_CANCELLED
    assert finished.failure.signal == ended_by
    assert "was killed; its last checkpoint (epoch 12) stays" in finished.failure.message


async def test_cancel_of_what_holds_the_lock_ends_too(bench: Bench) -> None:
    await bench.up(HOLDFAST_GRACE_SECONDS="0.4")
    await bench.run("op-1", do="spin")
    await bench.coordinator.ready("op-1")
    await bench.cancel("op-1")
    finished = await bench.coordinator.end_of("op-1")
    assert finished.outcome == worker_pb2.RUN_OUTCOME_CANCELLED
    assert finished.failure.signal == signal.SIGKILL  # Python's handler never ran: the second signal did it


async def test_cancel_of_what_is_not_here(bench: Bench) -> None:
    await bench.up()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await bench.cancel("op-9")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert error_from_rpc(caught.value).reason == "RUN_NOT_FOUND"


async def test_cancel_of_a_run_whose_end_waits_is_answered_by_that_end(bench: Bench) -> None:
    bench.coordinator.acknowledges = False
    await bench.up()
    await bench.run("op-1", do="finish")
    await bench.coordinator.end_of("op-1")
    await bench.cancel("op-1")
    state = await bench.state()
    assert [run.operation_id for run in state.unacknowledged_runs] == ["op-1"]


async def test_a_run_killed_right_at_its_start_still_ends(bench: Bench) -> None:
    await bench.up()
    for number in range(20):
        await bench.run(f"op-{number}", do="epochs")
        await bench.cancel(f"op-{number}")
        finished = await bench.coordinator.end_of(f"op-{number}")
        assert finished.outcome == worker_pb2.RUN_OUTCOME_CANCELLED


async def test_sigterm_saves_reports_and_exits(bench: Bench) -> None:
    await bench.up()
    assert bench.worker is not None
    await bench.run("op-1", do="epochs")
    await bench.run("op-2", do="epochs", save=False)
    pids = [await bench.coordinator.pid_of(operation) for operation in ("op-1", "op-2")]
    await until(lambda: len({f.run.operation_id for f in bench.coordinator.facts("progress")}) == 2, "progress")
    bench.worker.signal(signal.SIGTERM)
    assert await bench.worker.exit_code() == 0
    assert not any(alive(pid) for pid in pids)
    first, second = await bench.coordinator.end_of("op-1"), await bench.coordinator.end_of("op-2")
    assert (first.outcome, first.failure.reason) == (worker_pb2.RUN_OUTCOME_CANCELLED, "SHUTDOWN")
    assert first.failure.message == "Graceful shutdown - checkpoint saved"
    assert first.checkpoint.type == checkpoint_pb2.CHECKPOINT_TYPE_SHUTDOWN
    assert second.failure.message == "Graceful shutdown - no checkpoint: the run had not begun"
    assert not list((bench.home / "workers" / "w1" / "outbox").iterdir())
    assert any(beat.draining for beat in bench.coordinator.facts("heartbeat"))


async def test_sigterm_ends_deaf_runs_inside_the_grace(bench: Bench) -> None:
    await bench.up(HOLDFAST_GRACE_SECONDS="2")
    assert bench.worker is not None
    await bench.run("op-1", do="deaf")
    await bench.coordinator.ready("op-1")
    bench.worker.signal(signal.SIGTERM)
    assert await bench.worker.exit_code() == 0
    finished = await bench.coordinator.end_of("op-1")
    assert finished.failure.reason == "SHUTDOWN"
    assert "killed; its last checkpoint (epoch 12) stays" in finished.failure.message


async def test_a_second_sigterm_hurries(bench: Bench) -> None:
    await bench.up(HOLDFAST_GRACE_SECONDS="60")
    assert bench.worker is not None
    await bench.run("op-1", do="deaf")
    await bench.coordinator.ready("op-1")
    bench.worker.signal(signal.SIGTERM)
    await until(lambda: "Signal received" in bench.worker.text(), "the first signal")  # type: ignore[union-attr]
    bench.worker.signal(signal.SIGTERM)
    assert await bench.worker.exit_code() == 0
    # Told, or kept for the next start: never lost.
    kept = list((bench.home / "workers" / "w1" / "outbox").glob("*.end"))
    assert kept or bench.coordinator.finished("op-1")


async def test_sigterm_with_the_coordinator_away_keeps_the_ends(bench: Bench) -> None:
    await bench.up()
    assert bench.worker is not None
    await bench.run("op-1", do="epochs")
    await until(lambda: bench.coordinator.facts("progress"), "progress")
    await bench.coordinator.stop()
    bench.worker.signal(signal.SIGTERM)
    assert await bench.worker.exit_code() == 0
    assert [path.name for path in (bench.home / "workers" / "w1" / "outbox").iterdir()] == ["op-1-1.end"]
    await bench.coordinator.start()
    await bench.up()
    assert [f.run.operation_id for f in bench.coordinator.registrations[-1].finished_runs] == ["op-1"]
    assert (await bench.coordinator.end_of("op-1")).failure.reason == "SHUTDOWN"


async def test_sigterm_before_the_worker_is_ready(bench: Bench) -> None:
    await bench.start()
    assert bench.worker is not None
    await until(lambda: alive(bench.worker.pid), "the process")  # type: ignore[union-attr]
    await until(lambda: (bench.home / "workers" / "w1" / "lock").exists(), "its lock")
    await until(lambda: bench.coordinator.registrations or "Fork" in bench.worker.text(), "life")  # type: ignore[union-attr]
    bench.worker.signal(signal.SIGTERM)
    assert await bench.worker.exit_code() == 0


async def test_a_signal_to_the_whole_group_still_saves(bench: Bench) -> None:
    await bench.up()
    assert bench.worker is not None
    await bench.run("op-1", do="epochs")
    pid = await bench.coordinator.pid_of("op-1")
    await until(lambda: bench.coordinator.facts("progress"), "progress")
    os.kill(pid, signal.SIGTERM)  # what a service manager does to every process of the group
    finished = await bench.coordinator.end_of("op-1")
    assert finished.failure.message == "Graceful shutdown - checkpoint saved"


async def test_drain_lets_runs_finish(bench: Bench) -> None:
    await bench.up()
    await bench.run("op-1", do="epochs", epochs=100)
    await bench.coordinator.pid_of("op-1")
    await bench.coordinator.stream.send(drain=worker_pb2.Drain())
    await until(lambda: any(beat.draining for beat in bench.coordinator.facts("heartbeat")), "a draining heartbeat")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await bench.run("op-2", do="finish")
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert error_from_rpc(caught.value).reason == "WORKER_DRAINING"
    assert (await bench.coordinator.end_of("op-1")).outcome == worker_pb2.RUN_OUTCOME_COMPLETED


async def test_drain_can_stop_runs(bench: Bench) -> None:
    await bench.up()
    await bench.run("op-1", do="epochs")
    await until(lambda: bench.coordinator.facts("progress"), "progress")
    await bench.coordinator.stream.send(drain=worker_pb2.Drain(stop_runs=True))
    finished = await bench.coordinator.end_of("op-1")
    assert finished.failure.message == "Graceful shutdown - checkpoint saved"


async def test_a_run_that_prints_for_ever_fills_no_disk(bench: Bench) -> None:
    await bench.up(RUN_LOG_MAX_BYTES="1000000")
    await bench.run("op-1", do="print")
    await bench.coordinator.ready("op-1")
    logs = bench.home / "logs" / "runs"
    older = logs / "op-1-1.log.1"
    await until(older.exists, "the log to be cut")
    assert older.stat().st_size <= 500_000
    await bench.cancel("op-1")
    finished = await bench.coordinator.end_of("op-1")
    assert finished.failure.exit_code == 7
    assert finished.failure.log_tail[-1] == "the last words"
    await until(lambda: sum(file.stat().st_size for file in logs.iterdir()) <= 1_000_000, "the last cut")
