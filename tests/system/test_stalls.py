"""A run that stands still in a whole system: noticed, ended, resumed, and the same to the last bit."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.support.cluster import Cluster, wait_until
from tests.support.workloads import outcome_of, start_training


def test_a_frozen_run_is_noticed_ended_and_resumed_to_the_same_model(tmp_path: Path, market: Path) -> None:
    environment = {"RUN_STALLED_SECONDS": "3"}
    with Cluster(tmp_path, trainers=1, market=market, environment=environment) as cluster:
        undisturbed = start_training(cluster.client, epochs=15, seed=3)
        cluster.await_status(undisturbed, "COMPLETED")
        operation = start_training(cluster.client, epochs=15, seed=3, max_attempts=2)
        cluster.await_unit(operation, 3)
        wait_until(lambda: operation.refresh() is None or operation.checkpoint, "a checkpoint")
        for pid in cluster.run_pids(operation.message.worker_id):
            os.kill(pid, signal.SIGSTOP)
        cluster.await_status(operation, "FAILED")
        assert operation.failure is not None
        assert operation.failure.reason == "RUN_STALLED"
        assert operation.resumable
        assert f"continue with `holdfast operations resume {operation.id}`" in operation.failure.message
        # A crash like any other: it is resumed by itself.
        cluster.await_status(operation, "COMPLETED")
        assert operation.attempt == 2
        store = str(cluster.home / "store")
        assert outcome_of(operation, store) == outcome_of(undisturbed, store)
        story = cluster.events(operation)
        assert [kind for kind in story if kind in {"RUN_UNRESPONSIVE", "RUN_STALLED", "FAILED", "COMPLETED"}] == [
            "RUN_UNRESPONSIVE",
            "RUN_STALLED",
            "FAILED",
            "COMPLETED",
        ]
