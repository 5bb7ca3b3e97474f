"""Real processes die in every order; every operation reaches its true state by itself."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from holdfast.errors import Unavailable
from holdfast.sdk import Client, Operation
from holdfast.v1 import checkpoint_pb2, operation_pb2
from tests.support.cluster import QUICK, Cluster, Member
from tests.support.waiting import wait_until
from tests.support.workloads import outcome_of, start_training

ORPHAN_TIMEOUT = 6.0  # seconds; what must not depend on who is faster uses the fixture `patient`


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, market: Path) -> Iterator[Cluster]:
    environment = {"ORPHAN_TIMEOUT_SECONDS": str(ORPHAN_TIMEOUT)}
    root = tmp_path_factory.mktemp("cluster")
    with Cluster(root, trainers=2, market=market, environment=environment) as cluster:
        yield cluster


@pytest.fixture
def cluster(shared: Cluster) -> Iterator[Cluster]:
    """The shared cluster, whole again and with nothing running after every test."""
    shared.heal()
    yield shared
    shared.heal()
    for operation in shared.client.operations(statuses=["RUNNING", "PENDING", "RESUMING"]):
        operation.cancel()
        shared.await_status(operation, "CANCELLED", "COMPLETED", "FAILED")


@pytest.fixture
def patient(cluster: Cluster) -> Iterator[Cluster]:
    """With a coordinator that waits for a lost worker longer than any restart takes: FAILED sooner means proven."""
    quick = cluster.coordinator.environment
    for environment in ({**quick, "ORPHAN_TIMEOUT_SECONDS": "600"}, quick):
        cluster.coordinator.kill()
        cluster.coordinator.environment = environment
        cluster.restart_coordinator()
        if environment is not quick:
            yield cluster


def begun(cluster: Cluster, **options: Any) -> Operation:
    """An endless training that has saved a checkpoint."""
    operation = start_training(cluster.client, **options)
    return cluster.await_checkpoint(operation, 2)


def runner(cluster: Cluster, operation: Operation) -> Member:
    """The worker that runs it."""
    return cluster.members[operation.message.worker_id]


def cancel(cluster: Cluster, operation: Operation) -> None:
    operation.cancel()
    cluster.await_status(operation, "CANCELLED")


def test_coordinator_killed_during_training_shows_the_same_run_with_its_progress(cluster: Cluster) -> None:
    operation = begun(cluster)
    before, pids = operation.progress.unit, cluster.run_pids(operation.message.worker_id)
    cluster.coordinator.kill()
    cluster.restart_coordinator()
    cluster.await_unit(operation, before + 3)
    assert (operation.status, operation.attempt) == ("RUNNING", 1)
    assert cluster.run_pids(operation.message.worker_id) == pids, "the run must not have been started again"
    cancel(cluster, operation)
    assert operation.checkpoint is not None
    assert operation.checkpoint.unit >= before


def test_killed_worker_is_failed_after_the_timeout_and_resumes_elsewhere_to_the_same_model(cluster: Cluster) -> None:
    undisturbed = start_training(cluster.client, epochs=40)
    cluster.await_status(undisturbed, "COMPLETED")
    operation = start_training(cluster.client, epochs=40)
    cluster.await_checkpoint(operation, 5)
    runner(cluster, operation).kill()
    cluster.await_status(operation, "FAILED", deadline=ORPHAN_TIMEOUT + 20)
    assert operation.failure is not None
    assert operation.failure.reason == "ORPHANED"
    assert "Operation was RUNNING but no worker claimed it" in operation.failure.message
    assert operation.checkpoint is not None
    assert operation.resumable

    operation.resume()
    cluster.await_status(operation, "COMPLETED")
    assert operation.attempt == 2
    store = str(cluster.home / "store")
    assert outcome_of(operation, store) == outcome_of(undisturbed, store)


def test_killed_and_restarted_worker_is_the_proof_of_death(patient: Cluster) -> None:
    cluster = patient
    operation = begun(cluster)
    worker = runner(cluster, operation)
    worker.kill()
    worker.start()
    cluster.await_status(operation, "FAILED")
    assert operation.failure is not None
    assert "has restarted" in operation.failure.message
    assert operation.resumable
    operation.resume()
    cluster.await_status(operation, "RUNNING")
    cluster.await_unit(operation, operation.progress.unit + 2)
    cancel(cluster, operation)


def test_both_killed(cluster: Cluster) -> None:
    operation = begun(cluster)
    cluster.coordinator.kill()
    runner(cluster, operation).kill()
    cluster.coordinator.start()
    cluster.await_status(operation, "FAILED", deadline=ORPHAN_TIMEOUT + 30)
    assert operation.resumable
    statuses = [event.status for event in cluster.client.events(operation.id)]
    assert operation_pb2.OPERATION_STATUS_PENDING_RECONCILIATION in statuses


def test_sigterm_checkpoints_reports_and_exits_in_time(cluster: Cluster) -> None:
    operation = begun(cluster)
    worker = runner(cluster, operation)
    worker.signal(signal.SIGTERM)
    assert worker.wait(float(QUICK["HOLDFAST_GRACE_SECONDS"])) == 0
    cluster.await_status(operation, "CANCELLED")
    assert operation.failure is not None
    assert operation.failure.message.startswith("Graceful shutdown - checkpoint saved")
    assert operation.checkpoint is not None
    assert operation.checkpoint.type == checkpoint_pb2.CHECKPOINT_TYPE_SHUTDOWN
    assert operation.resumable


SLOW = {"type": "mlp", "hidden_sizes": [768, 768]}  # an epoch takes long enough to be caught in the middle of one
MANY_STEPS = 8  # as batch size: an epoch of seconds, so that the only first one is not missed


@pytest.mark.parametrize("phase", ["loading data", "first epoch", "mid-epoch", "saving"])
def test_sigterm_in_every_phase_ends_in_time_and_saves_what_there_is(cluster: Cluster, phase: str) -> None:
    options = {"checkpoint_every_steps": 1} if phase == "saving" else {}
    options |= {"training__batch_size": MANY_STEPS} if phase == "first epoch" else {}
    operation = start_training(cluster.client, model=SLOW, **options)

    def reached() -> bool:
        operation.refresh()
        progress = operation.progress
        match phase:
            case "loading data":
                return operation.status == "RUNNING" and bool(cluster.run_pids(operation.message.worker_id))
            case "first epoch":
                return progress.phase == "training" and progress.unit == 0 and progress.step > 0
            case "mid-epoch":
                return progress.unit >= 1 and progress.step > 0
            case _:
                return operation.checkpoint is not None

    wait_until(reached, phase)
    worker = runner(cluster, operation)
    worker.signal(signal.SIGTERM)
    assert worker.wait(float(QUICK["HOLDFAST_GRACE_SECONDS"])) == 0
    cluster.await_status(operation, "CANCELLED")
    assert operation.failure is not None
    assert operation.failure.reason == "SHUTDOWN"
    assert operation.failure.message.startswith("Graceful shutdown")
    if phase != "loading data":
        assert operation.checkpoint is not None
        assert operation.checkpoint.type == checkpoint_pb2.CHECKPOINT_TYPE_SHUTDOWN
        assert operation.resumable


def test_max_attempts_resumes_by_itself_and_ends_as_if_nothing_had_been(cluster: Cluster) -> None:
    undisturbed = start_training(cluster.client, epochs=40, seed=11)
    cluster.await_status(undisturbed, "COMPLETED")
    operation = start_training(cluster.client, epochs=40, seed=11, max_attempts=3)
    cluster.await_checkpoint(operation, 5)
    for pid in cluster.run_pids(operation.message.worker_id):
        os.kill(pid, signal.SIGKILL)
    cluster.await_status(operation, "COMPLETED")
    assert operation.attempt == 2
    store = str(cluster.home / "store")
    assert outcome_of(operation, store) == outcome_of(undisturbed, store)


def kill_the_coordinator_first(cluster: Cluster, operation: Operation) -> Operation:
    """Kills it while the operation's run goes on: what ends later ends without a coordinator."""
    cluster.await_unit(operation, 1)
    cluster.coordinator.kill()
    assert cluster.run_pids(operation.message.worker_id), "the run ended before the coordinator"
    return operation


def test_a_run_that_finishes_while_the_coordinator_is_down_is_delivered_once(cluster: Cluster) -> None:
    operation = start_training(cluster.client, epochs=30)
    kill_the_coordinator_first(cluster, operation)
    wait_until(lambda: not cluster.run_pids(operation.message.worker_id), "the run to end")
    cluster.restart_coordinator()
    cluster.await_status(operation, "COMPLETED")
    assert outcome_of(operation, str(cluster.home / "store")).metrics
    assert cluster.events(operation).count("COMPLETED") == 1


def test_a_run_that_finishes_while_all_is_down_is_delivered_by_the_next_worker_process(cluster: Cluster) -> None:
    operation = start_training(cluster.client, epochs=30)
    worker = runner(cluster, kill_the_coordinator_first(cluster, operation))
    outbox = cluster.home / "workers" / worker.name / "outbox"
    wait_until(lambda: any(path.suffix != ".tmp" for path in outbox.iterdir()), "the run's end in the outbox")
    worker.kill()
    cluster.coordinator.start()
    worker.start()
    cluster.await_status(operation, "COMPLETED")
    assert cluster.events(operation).count("COMPLETED") == 1


def test_coordinator_sigterm_drains_and_workers_are_back(cluster: Cluster) -> None:
    operation = begun(cluster)
    cluster.coordinator.signal(signal.SIGTERM)
    assert cluster.coordinator.wait(15) == 0
    cluster.restart_coordinator()
    cluster.await_unit(operation, operation.progress.unit + 2)
    assert (operation.status, operation.attempt) == ("RUNNING", 1)
    cancel(cluster, operation)


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
