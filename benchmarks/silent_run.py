"""A run without a worker: executes a training or backtest in this process, for benchmarks. Counts what it is told."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path

import structlog

from holdfast.run.contract import Assignment, StopKind
from holdfast.settings import load_settings
from holdfast.v1 import checkpoint_pb2, operation_pb2


def be_quiet() -> None:
    """Logs errors only: a benchmark's output is its tables."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))


class SilentRun:
    """Implements holdfast.run.contract.Run; nobody listens."""

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self.checkpoints = 0
        # CPU seconds of the thread that hands checkpoints over: all that saving takes from the loop besides the copy.
        self.writer_cpu = 0.0

    @property
    def assignment(self) -> Assignment:
        return self._assignment

    @property
    def stop_requested(self) -> StopKind | None:
        return None

    def progress(self, progress: operation_pb2.Progress) -> None:
        """Listened to by nobody."""

    def checkpoint_saved(self, checkpoint: checkpoint_pb2.Checkpoint) -> None:
        self.checkpoints += 1
        self.writer_cpu = time.thread_time()  # called on that thread, which does nothing else

    def notice(self, kind: str, message: str, details: Mapping[str, str] | None = None) -> None:
        print(f"  notice {kind}: {message}")


class Bench:
    """Numbered runs in one directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.market = root / "market"
        self._count = 0

    def training(self, strategy: str, *, every: int = 0, every_steps: int = 0) -> SilentRun:
        """A run that trains `strategy` with the given checkpoint policy."""
        policy = operation_pb2.CheckpointPolicy(every_units=every, every_steps=every_steps)
        return self._run(training=operation_pb2.TrainingSpec(strategy=strategy, checkpoint_policy=policy))

    def backtest(self, model_uri: str, model_operation: str, *, every: int = 0) -> SilentRun:
        """A run that trades a model over its strategy's test span."""
        return self._run(
            backtest=operation_pb2.BacktestSpec(
                model_uri=model_uri,
                model_operation_id=model_operation,
                checkpoint_policy=operation_pb2.CheckpointPolicy(every_units=every),
            )
        )

    def _run(
        self,
        *,
        training: operation_pb2.TrainingSpec | None = None,
        backtest: operation_pb2.BacktestSpec | None = None,
    ) -> SilentRun:
        self._count += 1
        return SilentRun(
            Assignment(
                f"bench-{self._count}",
                1,
                str(self.root / "store"),
                self.market,
                load_settings(),
                training=training,
                backtest=backtest,
            )
        )
