"""Interrupts real runs with SIGKILL, resumes them, and compares every byte they leave with the uninterrupted run's."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from holdfast.sdk import Operation
from tests.support.cluster import Cluster
from tests.support.waiting import wait_until
from tests.support.workloads import long_backtest_text, outcome_of, start_training

NETWORKS: dict[str, dict[str, Any]] = {
    "mlp": {"type": "mlp", "hidden_sizes": [48, 32], "dropout": 0.2},
    "lstm": {"type": "lstm", "hidden_size": 16, "layers": 1, "window": 10, "dropout": 0.2},
    "gru": {"type": "gru", "hidden_size": 16, "layers": 2, "window": 10, "dropout": 0.2},
}


@dataclass(frozen=True)
class Comparison:
    """One workload: how often it was killed, and which files differ (none, or the promise is broken)."""

    name: str
    kills: int
    files: dict[str, str]
    different: list[str]

    def line(self) -> str:
        """For a person."""
        state = "EQUAL" if not self.different else f"DIFFERENT: {', '.join(self.different)}"
        digests = ", ".join(f"{name} {digest[:12]}" for name, digest in sorted(self.files.items()))
        return f"{self.name:<9} {self.kills:2d} kills  {state}  ({digests})"


class Exactness:
    """Compares interrupted with uninterrupted runs on one cluster of a trainer and a backtester."""

    def __init__(self, cluster: Cluster, seed: int, kills: int) -> None:
        self._cluster = cluster
        self._store = str(cluster.home / "store")
        self._random = random.Random(seed)
        self._kills = kills

    def training(self, network: str, *, epochs: int = 40) -> Comparison:
        """A training with dropout, plateau scheduler and early stopping; checkpoints every epoch and every 25 steps."""

        def start() -> Operation:
            return start_training(
                self._cluster.client,
                epochs=epochs,
                checkpoint_every=1,
                checkpoint_every_steps=25,
                model=NETWORKS[network],
                training__scheduler={"type": "plateau", "patience": 2},
                training__early_stopping={"patience": epochs // 2},
            )

        return self._compare(network, start)

    def backtest(self, *, bars: int = 100_000) -> Comparison:
        """A backtest that trades both ways over nearly all of `bars`; the network is wide so that it takes a while."""
        text = long_backtest_text(bars=bars, hidden_sizes=[1024, 1024])
        model = self._cluster.client.train(text)
        self._cluster.await_status(model, "COMPLETED", "FAILED")

        def start() -> Operation:
            return self._cluster.client.backtest(model=model.id, checkpoint_every=1000)

        return self._compare("backtest", start)

    def _compare(self, name: str, start: Callable[[], Operation]) -> Comparison:
        reference = start()
        self._cluster.await_status(reference, "COMPLETED", "FAILED")
        expected = outcome_of(reference, self._store)
        total = reference.progress.unit
        # Not near its end: what completes before it is killed proves nothing.
        points = sorted(self._random.uniform(0, 0.8 * total) for _ in range(self._kills))
        operation, kills = start(), 0
        for point in points:
            wait_until(
                lambda operation=operation, unit=int(point): _saved(operation, unit),  # type: ignore[misc]
                f"a checkpoint of {operation.id} at unit {point:.0f}",
            )
            time.sleep(self._random.random() * 0.1)  # anywhere inside the unit, not at its end
            kills += self._kill(operation)
            self._cluster.await_status(operation, "FAILED", "COMPLETED")
            if operation.status == "COMPLETED":
                break
            operation.resume()
            self._cluster.await_status(operation, "RUNNING", "COMPLETED")
        self._cluster.await_status(operation, "COMPLETED", "FAILED")
        assert kills, f"the {name} completed before it could be killed"
        actual = outcome_of(operation, self._store)
        different = [file for file, digest in expected.digests.items() if actual.digests.get(file) != digest]
        if actual.metrics != expected.metrics:
            different.append("metrics")
        return Comparison(name, kills, actual.digests, different)

    def _kill(self, operation: Operation) -> int:
        pids = self._cluster.run_pids(operation.message.worker_id)
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(pids)


def _saved(operation: Operation, unit: int) -> bool:
    """Whether it has come to `unit` and has a durable checkpoint to go on from, or has ended."""
    operation.refresh()
    return operation.done or (operation.progress.unit >= unit and operation.checkpoint is not None)
