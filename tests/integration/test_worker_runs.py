"""How runs start and how they end: by themselves, by a crash, by an exit code, by a signal."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from holdfast.v1 import worker_pb2
from tests.integration.worker_support import Bench, alive, bench_in
from tests.support.waiting import until


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench_in(tmp_path) as made:
        await made.up()
        yield made


async def test_a_run_completes_with_its_result(bench: Bench) -> None:
    await bench.run("op-1", do="finish")
    finished = await bench.coordinator.end_of("op-1")
    assert finished.outcome == worker_pb2.RUN_OUTCOME_COMPLETED
    assert finished.training_result.metrics["loss"] == 0.5
    assert finished.end_time.seconds > 0
    assert not finished.HasField("failure")


async def test_a_resume_carries_its_checkpoint(bench: Bench) -> None:
    await bench.resume("op-1", 2, "op-1/1-29", do="resumed")
    finished = await bench.coordinator.end_of("op-1")
    assert finished.training_result.model_uri == "op-1/1-29"
    assert finished.run.attempt == 2


async def test_every_run_is_forked_from_one_warm_process(bench: Bench) -> None:
    assert bench.worker is not None
    said = []
    for number in range(10):
        await bench.run(f"op-{number}", do="hello")
        await bench.coordinator.end_of(f"op-{number}")
        said.append(bench.coordinator.notices(f"op-{number}", "SAID")[0].details)
    (parent,) = {int(details["parent"]) for details in said}
    assert psutil.Process(parent).ppid() == bench.worker.pid
    assert len({details["pid"] for details in said}) == 10


@pytest.mark.parametrize(
    ("order", "reason", "message"),
    [
        ({"do": "raise"}, "RUN_RAISED", "ValueError: the loss is a banana"),
        ({"do": "raise_ours"}, "MARKET_DATA_CHANGED", "The market data changed."),
        ({"do": "memory"}, "RUN_RAISED", "MemoryError"),
        ({"do": "nonsense"}, "RUN_RAISED", "TypeError: execute returned str"),
    ],
)
async def test_an_exception_becomes_the_failure(bench: Bench, order: dict[str, Any], reason: str, message: str) -> None:
    await bench.run("op-1", **order)
    finished = await bench.coordinator.end_of("op-1")
    assert finished.outcome == worker_pb2.RUN_OUTCOME_FAILED
    assert finished.failure.reason == reason
    assert finished.failure.message.startswith(message)
    assert any("Traceback" in line for line in finished.failure.log_tail)


@pytest.mark.parametrize("do", ["exit", "sys_exit"])
async def test_an_exit_code_is_reported(bench: Bench, do: str) -> None:
    await bench.run("op-1", do=do, code=7)
    finished = await bench.coordinator.end_of("op-1")
    assert finished.outcome == worker_pb2.RUN_OUTCOME_FAILED
    assert (finished.failure.reason, finished.failure.exit_code) == ("RUN_DIED", 7)
    assert "exited with code 7; no checkpoint was saved" in finished.failure.message
    assert f"doing {do}" in finished.failure.log_tail


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
async def test_a_signal_is_reported_with_the_last_checkpoint(bench: Bench, number: signal.Signals) -> None:
    await bench.run("op-1", do="crash", number=number)
    finished = await bench.coordinator.end_of("op-1")
    assert finished.outcome == worker_pb2.RUN_OUTCOME_FAILED
    assert (finished.failure.reason, finished.failure.signal) == ("RUN_DIED", number)
    assert finished.checkpoint.unit == 3
    assert f"killed by {number.name}; its last checkpoint is epoch 3" in finished.failure.message
    # The slot is free and the worker lives on.
    await bench.run("op-2", do="finish")
    assert (await bench.coordinator.end_of("op-2")).outcome == worker_pb2.RUN_OUTCOME_COMPLETED


async def test_a_dead_run_leaves_no_process_behind(bench: Bench) -> None:
    await bench.run("op-1", do="grandchild")
    ready = await bench.coordinator.ready("op-1")
    finished = await bench.coordinator.end_of("op-1")
    assert finished.failure.exit_code == 9
    await until(lambda: not alive(int(ready.details["pid"])), "the grandchild to be gone")


async def test_a_run_that_holds_the_lock_never_stops_the_heartbeats(bench: Bench) -> None:
    await bench.run("op-1", do="hold_gil", seconds=3600.0)
    await bench.coordinator.ready("op-1")
    before = len(bench.coordinator.facts("heartbeat"))
    await until(lambda: len(bench.coordinator.facts("heartbeat")) >= before + 5, "heartbeats beside a held lock")
    assert not bench.coordinator.finished("op-1")
    await bench.coordinator.stream.send(
        stop_run=worker_pb2.StopRun(run=worker_pb2.RunRef(operation_id="op-1", attempt=1), reason="enough")
    )
    assert (await bench.coordinator.end_of("op-1")).failure.reason == "STOPPED"


async def test_progress_is_coalesced_and_the_last_one_arrives(bench: Bench) -> None:
    await bench.run("op-1", do="flood", count=20_000)
    finished = await bench.coordinator.end_of("op-1")
    assert finished.progress.unit == 20_000
    reports = bench.coordinator.facts("progress")
    assert 1 <= len(reports) < 500
    assert [r.progress.unit for r in reports] == sorted(r.progress.unit for r in reports)


async def test_the_fork_server_dies_and_comes_back(bench: Bench) -> None:
    await bench.run("op-1", do="epochs")
    pid = await bench.coordinator.pid_of("op-1")
    fork_server = psutil.Process(pid).ppid()
    os.kill(fork_server, signal.SIGKILL)
    finished = await bench.coordinator.end_of("op-1")
    assert not alive(pid)
    assert finished.outcome == worker_pb2.RUN_OUTCOME_FAILED
    assert finished.failure.reason == "RUN_DIED"
    assert "fork server died" in finished.failure.message
    await bench.run("op-2", do="finish")
    assert (await bench.coordinator.end_of("op-2")).outcome == worker_pb2.RUN_OUTCOME_COMPLETED


async def test_a_frozen_fork_server_neither_hides_a_death_nor_stops_a_cancel(bench: Bench) -> None:
    await bench.run("op-1", do="epochs")
    await bench.run("op-2", do="spin")
    await bench.coordinator.ready("op-2")
    pids = [await bench.coordinator.pid_of("op-1"), await bench.coordinator.pid_of("op-2")]
    psutil.Process(pids[0]).parent().suspend()  # type: ignore[union-attr]  # the fork server
    os.kill(pids[0], signal.SIGKILL)
    await bench.coordinator.stream.send(
        stop_run=worker_pb2.StopRun(run=worker_pb2.RunRef(operation_id="op-2", attempt=1), reason="stale")
    )
    first, second = await bench.coordinator.end_of("op-1"), await bench.coordinator.end_of("op-2")
    assert first.failure.reason == "RUN_DIED"
    assert "does not answer" in first.failure.message
    assert second.failure.reason == "STOPPED"
    assert not any(alive(pid) for pid in pids)


async def test_a_run_never_outlives_its_worker(bench: Bench) -> None:
    assert bench.worker is not None
    await bench.run("op-1", do="epochs")
    await bench.run("op-2", do="hold_gil", seconds=3600.0)
    await bench.coordinator.ready("op-2")
    pids = [await bench.coordinator.pid_of("op-1"), await bench.coordinator.pid_of("op-2")]
    bench.worker.signal(signal.SIGKILL)
    await until(lambda: not any(alive(pid) for pid in pids), "the runs to be gone")
