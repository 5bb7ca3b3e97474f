"""SIGTERM in every phase, and resumes that nobody asked for."""

from __future__ import annotations

import os
import signal

import pytest

from holdfast.sdk import Operation
from holdfast.v1 import checkpoint_pb2
from tests.support.cluster import QUICK, Cluster
from tests.support.waiting import wait_until
from tests.support.workloads import outcome_of, start_training
from tests.system.running import begun, cancel, runner


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
