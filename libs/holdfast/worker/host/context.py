"""What every run of a worker has in common: told to the fork server once, at its start. Owns nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from holdfast.run.contract import Assignment
from holdfast.settings import load_settings
from holdfast.v1 import worker_pb2
from holdfast.worker.host import wire

__all__ = ["RunContext"]


@dataclass(frozen=True, slots=True)
class RunContext:
    """Which function a run calls, where its data is, and how often it beats."""

    execute: str  # "<module>:<function>"
    store_url: str
    market_dir: Path
    beat_seconds: float = wire.BEAT_SECONDS
    # Heavy modules that the fork server imports before the first run, beside the function's own.
    preload: Sequence[str] = ()

    def assign(self, order: worker_pb2.RunAssignment) -> Assignment:
        """What the run's code sees of its order."""
        return Assignment(
            operation_id=order.run.operation_id,
            attempt=order.run.attempt,
            store_url=self.store_url,
            market_dir=self.market_dir,
            settings=load_settings(),  # the worker's own: its environment is inherited through the fork server
            training=order.training if order.HasField("training") else None,
            backtest=order.backtest if order.HasField("backtest") else None,
            checkpoint=order.checkpoint if order.HasField("checkpoint") else None,
        )
