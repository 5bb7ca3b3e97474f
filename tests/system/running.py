"""What the tests of a whole system begin and end with."""

from __future__ import annotations

from typing import Any

from holdfast.sdk import Operation
from tests.support.cluster import Cluster, Member
from tests.support.workloads import start_training

ORPHAN_TIMEOUT = 6.0  # seconds; what must not depend on who is faster uses the fixture `patient`


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
