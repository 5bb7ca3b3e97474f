"""A training that is interrupted wherever one likes, on synthetic bars; and the digests of what came out of it.

It is interrupted by the work that it has done, not by how often it has looked whether to stop: at its first look after
so many steps, or in a phase. After an epoch's last step that look is the validation's; before the first, the loading's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from holdfast.artifacts.catalogue import discover_checkpoints
from holdfast.artifacts.manifest import read_artifacts
from holdfast.artifacts.store import open_store
from holdfast.market import Bars, MarketStore
from holdfast.run import session
from holdfast.run.contract import Assignment, RunStopped, StopKind
from holdfast.services.trainer.run import execute
from holdfast.settings import load_settings
from holdfast.v1 import checkpoint_pb2, operation_pb2

OPERATION = "training-1"
DAY = 86_400_000_000_000

NETWORKS: dict[str, dict[str, Any]] = {
    "mlp": {"type": "mlp", "hidden_sizes": [12, 8], "activation": "gelu", "dropout": 0.2},
    "lstm": {"type": "lstm", "hidden_size": 8, "layers": 2, "window": 6, "dropout": 0.2},
    "gru": {"type": "gru", "hidden_size": 8, "layers": 2, "window": 5, "dropout": 0.2},
}


class Killed(BaseException):
    """The run's process dies here: not an Exception, so that nothing of the run can handle it."""


def write_market(directory: Path, *, symbols: tuple[str, ...] = ("AAA",), bars: int = 900, seed: int = 7) -> None:
    """Daily bars of random walks with some momentum, from 2010 on."""
    random = np.random.default_rng(seed)
    store = MarketStore(directory)
    for symbol in symbols:
        noise = random.normal(0.0, 0.01, bars + 5)
        close = 100.0 * np.exp(np.cumsum(np.convolve(noise, np.ones(6) / 3.0, mode="valid")))
        opened = np.concatenate([[100.0], close[:-1]])
        store.write(
            Bars(
                symbol,
                "1d",
                time=(14_610 + np.arange(bars, dtype=np.int64)) * DAY,
                open=opened,
                high=np.maximum(opened, close) * (1.0 + random.uniform(0.0, 0.01, bars)),
                low=np.minimum(opened, close) * (1.0 - random.uniform(0.0, 0.01, bars)),
                close=close,
                volume=random.uniform(1e5, 1e6, bars).round(),
            ),
            source="synthetic",
        )


def strategy_text(network: str = "mlp", *, symbols: tuple[str, ...] = ("AAA",), **training: Any) -> str:
    """A small strategy with everything on: dropout, class weights, clipping, a plateau schedule, early stopping."""
    return json.dumps(
        {
            "name": f"exact-{network}",
            "data": {
                "symbols": list(symbols),
                "timeframes": ["1d"],
                "train": {"start": "2010-01-01", "end": "2011-06-30"},
                "validation": {"start": "2011-07-01", "end": "2011-12-31"},
                "test": {"start": "2012-01-01", "end": "2012-06-18"},
            },
            "indicators": {"rsi_14": {"function": "RSI", "params": {"timeperiod": 14}}},
            "fuzzy_sets": {
                "rsi_14": {
                    "input": "rsi_14",
                    "sets": {"low": {"triangular": [0.0, 25.0, 50.0]}, "high": {"gaussian": [75.0, 12.0]}},
                }
            },
            "nn_inputs": [{"fuzzy": "rsi_14"}, {"price": "close", "lags": [0, 1, 2]}],
            "model": NETWORKS[network],
            "training": {
                "labels": {"type": "triple_barrier", "horizon": 5, "upper": 1.0, "lower": 1.0},
                "class_weights": "balanced",
                "epochs": 7,
                "batch_size": 48,
                "learning_rate": 0.01,
                "scheduler": {"type": "plateau", "patience": 0, "factor": 0.5},
                "early_stopping": {"patience": 4},
                "seed": 11,
                **training,
            },
        }
    )


@dataclass
class TrainingRun:
    """A run of the contract; stops, or dies, after `interrupt_at` steps of this attempt, or in that phase."""

    assignment: Assignment
    interrupt_at: int | str | None = None
    how: StopKind | type[BaseException] = StopKind.CANCEL
    steps: int = 0
    saved: list[checkpoint_pb2.Checkpoint] = field(default_factory=list)
    notices: list[tuple[str, str]] = field(default_factory=list)
    reports: list[operation_pb2.Progress] = field(default_factory=list)

    @property
    def stop_requested(self) -> StopKind | None:
        if isinstance(self.interrupt_at, str):
            reached = bool(self.reports) and self.reports[-1].phase == self.interrupt_at
        else:
            reached = self.interrupt_at is not None and self.steps >= self.interrupt_at
        if not reached:
            return None
        if isinstance(self.how, StopKind):
            return self.how
        raise self.how(f"interrupted after {self.steps} steps")

    def progress(self, progress: operation_pb2.Progress) -> None:
        self.reports.append(progress)
        if progress.phase == "training":
            self.steps = _steps(progress) - _steps(next(r for r in self.reports if r.phase == "training")) + 1

    def checkpoint_saved(self, checkpoint: checkpoint_pb2.Checkpoint) -> None:
        self.saved.append(checkpoint)

    def notice(self, kind: str, message: str, details: Mapping[str, str] | None = None) -> None:
        self.notices.append((kind, message))


def _steps(progress: operation_pb2.Progress) -> int:
    return progress.unit * progress.total_steps + progress.step


@dataclass(frozen=True)
class Outcome:
    """What a finished training left: SHA-256 by file of the bundle, its metrics, and its result message."""

    digests: dict[str, str]
    result: operation_pb2.TrainingResult


@dataclass
class WorkerConfig:
    """A store, a market and one operation in it."""

    directory: Path
    strategy: str
    every_epochs: int = 1
    every_steps: int = 0
    allow_data_change: bool = False
    attempt: int = 0

    @property
    def store_url(self) -> str:
        return str(self.directory / "store")

    def newest(self) -> checkpoint_pb2.CheckpointRef | None:
        """The newest checkpoint in the store, as the coordinator would hand it over."""
        found = discover_checkpoints(open_store(self.store_url), OPERATION)
        if not found:
            return None
        last = max(found, key=lambda item: (item.attempt, item.unit, item.step))
        return checkpoint_pb2.CheckpointRef(
            checkpoint_id=last.checkpoint_id, uri=last.uri, manifest_digest=last.manifest_digest
        )

    def run(
        self, interrupt_at: int | str | None = None, how: StopKind | type[BaseException] = StopKind.CANCEL
    ) -> TrainingRun:
        """The next attempt, from the newest checkpoint."""
        self.attempt += 1
        spec = operation_pb2.TrainingSpec(
            strategy=self.strategy,
            checkpoint_policy=operation_pb2.CheckpointPolicy(
                every_units=self.every_epochs, every_steps=self.every_steps
            ),
            allow_data_change=self.allow_data_change,
        )
        assignment = Assignment(
            OPERATION,
            self.attempt,
            self.store_url,
            self.directory / "market",
            load_settings(),
            training=spec,
            checkpoint=self.newest(),
        )
        return TrainingRun(assignment, interrupt_at, how)

    def execute(self, run: TrainingRun) -> operation_pb2.TrainingResult:
        """Trains, and reports every step."""
        with mock.patch.object(session, "PROGRESS_INTERVAL", 0.0):
            return execute(run)

    def attempt_once(
        self, interrupt_at: int | str | None = None, how: StopKind | type[BaseException] = StopKind.CANCEL
    ) -> tuple[TrainingRun, Outcome | None]:
        """Runs one attempt; no outcome when it was interrupted."""
        run = self.run(interrupt_at, how)
        try:
            result = self.execute(run)
        except (RunStopped, Killed):
            return run, None
        files = read_artifacts(open_store(self.store_url), result.model_uri).files
        return run, Outcome({name: hashlib.sha256(content).hexdigest() for name, content in files.items()}, result)
