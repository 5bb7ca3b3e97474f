"""A run that stands still in a whole system: noticed, ended, and resumed to its end."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.support.cluster import Cluster
from tests.support.waiting import wait_until
from tests.support.workloads import start_training


def test_a_frozen_run_is_noticed_ended_and_resumed_by_itself(tmp_path: Path, market: Path) -> None:
    with Cluster(tmp_path, trainers=1, market=market, environment={"RUN_STALLED_SECONDS": "3"}) as cluster:
        operation = start_training(cluster.client, epochs=15, max_attempts=4)
        cluster.await_unit(operation, 2)
        wait_until(lambda: operation.refresh() is None or operation.checkpoint, "a checkpoint")
        for pid in cluster.run_pids(operation.message.worker_id):
            os.kill(pid, signal.SIGSTOP)
        cluster.await_status(operation, "FAILED")
        assert operation.failure is not None
        assert operation.failure.reason == "RUN_STALLED"
        assert operation.resumable
        assert f"continue with `holdfast operations resume {operation.id}`" in operation.failure.message
        # A crash like any other: the automatic resume follows it.
        cluster.await_status(operation, "COMPLETED")
        assert operation.attempt >= 2
        story = cluster.events(operation)
        assert "RUN_UNRESPONSIVE" in story
        assert story.index("RUN_STALLED") < story.index("FAILED") < story.index("COMPLETED")
