"""Coordinator and workers are killed; every operation reaches its true state by itself."""

from __future__ import annotations

from holdfast.v1 import operation_pb2
from tests.support.cluster import Cluster
from tests.support.workloads import outcome_of, start_training
from tests.system.running import ORPHAN_TIMEOUT, begun, cancel, runner


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
