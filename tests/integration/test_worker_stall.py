"""Runs that stand still: stopped from outside, deadlocked, holding the interpreter's lock, or only slow."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from holdfast.v1 import checkpoint_pb2, worker_pb2
from tests.integration.worker_support import Bench, alive, bench_in
from tests.support.waiting import until

STALLS = ["RUN_UNRESPONSIVE", "RUN_RESPONSIVE", "RUN_STALLED"]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench_in(tmp_path) as made:
        yield made


def stalls(bench: Bench, operation_id: str) -> list[str]:
    """What was told of its silence, in order."""
    told = [fact for fact in bench.coordinator.facts("notice") if fact.run.operation_id == operation_id]
    return [fact.type for fact in told if fact.type in STALLS]


def log_of(bench: Bench, operation_id: str) -> str:
    return (bench.home / "logs" / "runs" / f"{operation_id}-1.log").read_text()


async def test_a_stopped_process_is_continued_to_save_and_has_failed(bench: Bench) -> None:
    await bench.up(RUN_STALLED_SECONDS="2")
    await bench.run("op-1", do="epochs")
    await bench.run("op-2", do="epochs")
    pid, other = await bench.coordinator.pid_of("op-1"), await bench.coordinator.pid_of("op-2")
    await until(lambda: len({f.run.operation_id for f in bench.coordinator.facts("progress")}) == 2, "progress")
    os.kill(pid, signal.SIGSTOP)
    finished = await bench.coordinator.end_of("op-1")
    assert finished.outcome == worker_pb2.RUN_OUTCOME_FAILED
    assert finished.failure.reason == "RUN_STALLED"
    assert f"process {pid} is stopped by a SIGSTOP or a debugger (state T)" in finished.failure.message
    # Nothing was lost: it was continued, asked to save, and did.
    assert finished.checkpoint.type == checkpoint_pb2.CHECKPOINT_TYPE_SHUTDOWN
    assert f"its last checkpoint is epoch {finished.checkpoint.unit}: continue with" in finished.failure.message
    # On a machine that is very busy there may have been a false alarm before.
    assert stalls(bench, "op-1")[-1] == "RUN_STALLED"
    warnings = bench.coordinator.notices("op-1", "RUN_UNRESPONSIVE")
    assert any(f"kill -CONT {pid}" in warning.message for warning in warnings)
    assert "in _epochs" in log_of(bench, "op-1")
    assert not alive(pid)
    # Its neighbour and the worker noticed nothing.
    assert alive(other)
    assert not bench.coordinator.finished("op-2")


async def test_a_deadlock_shows_its_stacks_in_the_log(bench: Bench) -> None:
    await bench.up(RUN_STALLED_SECONDS="1", HOLDFAST_GRACE_SECONDS="0.4")
    await bench.run("op-1", do="deadlock")
    finished = await bench.coordinator.end_of("op-1")
    assert (finished.outcome, finished.failure.reason) == (worker_pb2.RUN_OUTCOME_FAILED, "RUN_STALLED")
    assert "waits for a lock, a thread" in finished.failure.message
    assert (
        "its last checkpoint is epoch 12: continue with `holdfast operations resume op-1`" in finished.failure.message
    )
    text = log_of(bench, "op-1")
    assert "no sign of life for 1.0 s; the stacks of all threads:" in text
    assert "in hold_its_and_want_mine" in text
    assert "in _deadlock" in text
    assert any("in _deadlock" in line for line in finished.failure.log_tail), "what a person is shown has it, too"


async def test_a_run_that_computes_for_ever_is_ended_too(bench: Bench) -> None:
    await bench.up(RUN_STALLED_SECONDS="1", HOLDFAST_GRACE_SECONDS="0.4")
    await bench.run("op-1", do="spin")
    finished = await bench.coordinator.end_of("op-1")
    assert finished.failure.reason == "RUN_STALLED"
    assert finished.failure.signal == signal.SIGKILL
    assert "computes, but does not come back to its main loop" in finished.failure.message
    assert "in _spin" in log_of(bench, "op-1")


async def test_a_short_silence_gets_its_warning_and_its_all_clear(bench: Bench) -> None:
    await bench.up(RUN_STALLED_SECONDS="6")
    await bench.run("op-1", do="silent", seconds=1.0)
    finished = await bench.coordinator.end_of("op-1")
    assert finished.outcome == worker_pb2.RUN_OUTCOME_COMPLETED
    assert stalls(bench, "op-1")[:2] == ["RUN_UNRESPONSIVE", "RUN_RESPONSIVE"]
    assert "RUN_STALLED" not in stalls(bench, "op-1")
    warnings = bench.coordinator.notices("op-1", "RUN_UNRESPONSIVE")
    assert any("in 'training', at epoch 4" in warning.message for warning in warnings)


async def test_a_worker_that_was_frozen_itself_blames_no_run(bench: Bench) -> None:
    await bench.up(RUN_STALLED_SECONDS="2")
    assert bench.worker is not None
    await bench.run("op-1", do="epochs")
    pid = await bench.coordinator.pid_of("op-1")
    await until(lambda: bench.coordinator.facts("progress"), "progress")
    # As when a laptop sleeps: the worker and all that belongs to it.
    processes = [psutil.Process(bench.worker.pid), *psutil.Process(bench.worker.pid).children(recursive=True)]
    for process in processes:
        process.suspend()
    await asyncio.sleep(2.2)
    for process in processes:
        process.resume()
    before = len(bench.coordinator.facts("progress"))
    await until(lambda: len(bench.coordinator.facts("progress")) > before + 5, "progress")
    assert alive(pid)
    assert "RUN_STALLED" not in stalls(bench, "op-1")
    assert not bench.coordinator.finished("op-1")
