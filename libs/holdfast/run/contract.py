"""What a run sees of Holdfast: its assignment, and four things it may say. Owns no process, no socket, no gRPC.

A kind of run (training, backtest) is one function, `execute(run: Run) -> RunResult`, imported by name in the run's own
process. It must look at `run.stop_requested` at least every few tens of milliseconds of work, and after a stop raise
`RunStopped` once its last checkpoint is saved. Each look is a sign of life: a run that does not look for
RUN_STALLED_SECONDS counts as standing still and is stopped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

from holdfast.settings import Settings
from holdfast.v1 import checkpoint_pb2, operation_pb2

__all__ = ["Assignment", "Run", "RunStopped", "StopKind"]


class StopKind(Enum):
    """Why a run is asked to stop; decides the checkpoint's type."""

    CANCEL = "cancel"
    SHUTDOWN = "shutdown"


class RunStopped(Exception):
    """The run stopped because it was asked to; its last checkpoint, if any, is saved."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """What to run. Exactly one of `training` and `backtest` is set."""

    operation_id: str
    attempt: int
    store_url: str
    market_dir: Path
    # Read once, by whoever starts the run: no run reads the environment.
    settings: Settings
    training: operation_pb2.TrainingSpec | None = None
    backtest: operation_pb2.BacktestSpec | None = None
    # Where to continue; None at a fresh start.
    checkpoint: checkpoint_pb2.CheckpointRef | None = None


class Run(Protocol):
    """The run's side of the pipe to its worker. All methods are thread-safe and never wait for the network."""

    @property
    def assignment(self) -> Assignment:
        """What to run."""

    @property
    def stop_requested(self) -> StopKind | None:
        """Set once a cancel or shutdown arrived; cheap enough for an inner loop."""

    def progress(self, progress: operation_pb2.Progress) -> None:
        """Reports progress; coalesced, so calling it 10,000 times a second is fine."""

    def checkpoint_saved(self, checkpoint: checkpoint_pb2.Checkpoint) -> None:
        """Reports a checkpoint that is durable now; called by the CheckpointWriter."""

    def notice(self, kind: str, message: str, details: Mapping[str, str] | None = None) -> None:
        """Adds a row to the operation's events."""
