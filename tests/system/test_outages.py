"""Runs are killed, workers freeze, PostgreSQL goes: every operation reaches its true state by itself."""

from __future__ import annotations

import os
import signal

import psutil

from holdfast.errors import Unavailable
from holdfast.sdk import Client
from tests.support.cluster import Cluster
from tests.support.waiting import wait_until
from tests.system.running import ORPHAN_TIMEOUT, begun, cancel, runner


def test_a_killed_run_fails_with_its_signal_and_the_worker_lives_on(cluster: Cluster) -> None:
    operation = begun(cluster)
    worker = runner(cluster, operation)
    (pid,) = cluster.run_pids(worker.name)
    os.kill(pid, signal.SIGKILL)
    cluster.await_status(operation, "FAILED")
    assert operation.failure is not None
    assert operation.failure.signal == signal.SIGKILL
    assert operation.resumable
    assert worker.alive
    operation.resume()
    cluster.await_status(operation, "RUNNING")
    cancel(cluster, operation)


def test_a_killed_worker_takes_its_runs_with_it(cluster: Cluster) -> None:
    operation = begun(cluster)
    worker = runner(cluster, operation)
    runs = cluster.run_pids(worker.name)
    assert runs
    worker.kill()
    wait_until(lambda: not any(map(psutil.pid_exists, runs)), "the runs to end", deadline=3)
    worker.start()
    cluster.await_status(operation, "FAILED")


def test_a_frozen_worker_declared_dead_wins_nothing_after_its_operation_was_resumed(cluster: Cluster) -> None:
    operation = begun(cluster)
    first = runner(cluster, operation)
    first.signal(signal.SIGSTOP)
    cluster.await_status(operation, "FAILED", deadline=ORPHAN_TIMEOUT + 40)
    operation.resume()
    cluster.await_status(operation, "RUNNING")
    assert operation.message.worker_id != first.name
    first.signal(signal.SIGCONT)
    cluster.await_connected(first.name)
    wait_until(lambda: not cluster.run_pids(first.name), "the stale run to be stopped")
    cluster.await_unit(operation, operation.progress.unit + 2)
    assert (operation.status, operation.attempt) == ("RUNNING", 2)
    cancel(cluster, operation)


def test_a_frozen_worker_declared_dead_goes_on_when_nobody_resumed(cluster: Cluster) -> None:
    operation = begun(cluster)
    worker = runner(cluster, operation)
    worker.signal(signal.SIGSTOP)
    cluster.await_status(operation, "FAILED", deadline=ORPHAN_TIMEOUT + 40)
    worker.signal(signal.SIGCONT)
    cluster.await_status(operation, "RUNNING")
    assert operation.attempt == 1
    cancel(cluster, operation)


def test_postgres_outage_loses_nothing(cluster: Cluster) -> None:
    operation = begun(cluster)
    before, pids = operation.progress.unit, cluster.run_pids(operation.message.worker_id)
    cluster.postgres.stop(immediate=True)
    wait_until(lambda: _unavailable(cluster), "calls to be answered UNAVAILABLE")
    cluster.postgres.start()
    cluster.await_unit(operation, before + 3)
    assert (operation.status, operation.attempt) == ("RUNNING", 1)
    assert cluster.run_pids(operation.message.worker_id) == pids
    cancel(cluster, operation)


def _unavailable(cluster: Cluster) -> bool:
    with Client(cluster.address, patience=0.1) as impatient:
        try:
            impatient.operations(limit=1)
        except Unavailable:
            return True
    return False
