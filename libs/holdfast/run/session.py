"""What keeps one run durable: its stops, its progress, its checkpoints and its last writes. Knows no domain.

One object that a training or a backtest holds, from loading to its result; the order of events is theirs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from holdfast.artifacts.catalogue import LoadedCheckpoint, load_checkpoint
from holdfast.artifacts.checkpoint import Snapshot
from holdfast.artifacts.manifest import Written, write_artifacts
from holdfast.artifacts.store import Buffer, open_store
from holdfast.kinds import position
from holdfast.market import MarketStore
from holdfast.market.changes import DataChange
from holdfast.run.contract import Assignment, Run, RunStopped
from holdfast.run.final import FinalWrites
from holdfast.run.notes import Notes
from holdfast.run.pace import Pace
from holdfast.run.writer import CheckpointWriter
from holdfast.v1 import checkpoint_pb2, operation_pb2

__all__ = ["RunSession"]

PROGRESS_INTERVAL = 0.1  # seconds between two reports


class RunSession:
    """Use as a context manager; leaving it waits for the last save. Used by the run's own thread.

    `policy` says how often to save; the clock may put a periodic save off: it decides which checkpoints exist, never
    what is in them.
    """

    def __init__(
        self,
        run: Run,
        policy: operation_pb2.CheckpointPolicy,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        settings = run.assignment.settings
        self._run, self._policy, self._clock = run, policy, clock
        self.store = open_store(run.assignment.store_url)
        self.market = MarketStore(run.assignment.market_dir)
        self._pace = Pace(settings.checkpoint_spacing_seconds, clock)
        self._periodic = bool(policy.every_units or policy.every_steps)
        self._writer = CheckpointWriter(self.store, run, pace=self._pace, periodic=self._periodic)
        self._final = FinalWrites.of(run, self._writer, settings)
        self._good: Snapshot | None = None
        self._next_report = 0.0

    def __enter__(self) -> RunSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    @property
    def assignment(self) -> Assignment:
        """What to run."""
        return self._run.assignment

    def check_cancelled(self) -> None:
        """A sign of life. Raises RunStopped once a cancel or shutdown arrived."""
        stop = self._run.stop_requested
        if stop is not None:
            raise RunStopped(f"stopped by {stop.value}")

    @property
    def report_due(self) -> bool:
        """Whether the last report of progress is old enough for another."""
        return self._clock() >= self._next_report

    def report(self, progress: operation_pb2.Progress) -> None:
        """Reports a copy, with the time: the receiver may look at it later, from another thread."""
        self._next_report = self._clock() + PROGRESS_INTERVAL
        report = operation_pb2.Progress()
        report.CopyFrom(progress)
        report.update_time.GetCurrentTime()
        self._run.progress(report)

    def load_checkpoint(self) -> LoadedCheckpoint | None:
        """What the run continues from, verified; None at a fresh start."""
        reference = self.assignment.checkpoint
        if reference is None:
            return None
        return load_checkpoint(self.store, reference, operation_id=self.assignment.operation_id)

    def compare_data(
        self, loaded: LoadedCheckpoint | None, symbols: Sequence[str], digest: str, *, allowed: bool
    ) -> DataChange | None:
        """How the data differs from the checkpoint's. Raises NotPossible (MARKET_DATA_CHANGED) unless allowed."""
        if loaded is None or loaded.checkpoint.data_digest == digest:
            return None
        change = DataChange(", ".join(symbols), loaded.checkpoint.data_digest, digest)
        if not allowed:
            raise change.refuse(position(loaded.checkpoint), operation_id=self.assignment.operation_id)
        return change

    def notes(self, lines: list[str]) -> Notes:
        """Adds to `lines` and to the operation's events."""
        return Notes(self._run, lines)

    def save_due(self, unit: int, step: int = 0) -> bool:
        """Whether to save now, after so many finished units and steps of the next."""
        if step:
            every = self._policy.every_steps
            return bool(every) and self._pace.due(asked=step % every == 0, unit_ended=False)
        every = self._policy.every_units
        return self._periodic and self._pace.due(asked=bool(every) and unit % every == 0)

    def keep(self, snapshot: Snapshot) -> None:
        """Keeps the last good state for the case of a failure."""
        self._good = snapshot

    def save(self, snapshot: Snapshot) -> None:
        """Keeps it, and saves it beside the run."""
        self.keep(snapshot)
        self._writer.save(snapshot, checkpoint_pb2.CHECKPOINT_TYPE_PERIODIC)

    @contextmanager
    def guarding(
        self, at_stop: Callable[[], Snapshot | None], at_failure: Callable[[], Snapshot | None] = lambda: None
    ) -> Iterator[None]:
        """Whatever ends the block early, the last good state is saved; then that is raised, even if the save failed.

        `at_stop` and `at_failure` capture it; where they give None, it is the one that was kept last.
        """
        try:
            yield
        except RunStopped:
            self._final.stopped(lambda: at_stop() or self._good)
            raise
        except Exception:
            self._final.failed(lambda: at_failure() or self._good)
            raise

    def write_result(
        self, what: str, name: str, files: Mapping[str, Buffer | Sequence[Buffer]], fields: Mapping[str, Any]
    ) -> Written:
        """Writes the run's result into "<operation>/<name>-<attempt>"; waits, within a bound, for room."""
        assignment = self.assignment
        path = f"{assignment.operation_id}/{name}-{assignment.attempt}"
        described = {**fields, "operation_id": assignment.operation_id}
        return self._final.result(what, lambda: write_artifacts(self.store, path, files, described))
