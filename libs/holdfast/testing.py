"""For tests of code that runs: a run that records what it is given. Owns no process; nothing of Holdfast imports it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import NamedTuple

from holdfast.run.contract import Assignment, StopKind
from holdfast.v1 import checkpoint_pb2, operation_pb2

__all__ = ["Notice", "RecordingRun"]


class Notice(NamedTuple):
    """One row that a run added to its operation's events."""

    kind: str
    message: str
    details: dict[str, str]


class RecordingRun:
    """Implements holdfast.run.contract.Run. Set `stop` to ask the run to stop; override `stop_requested` for more.

    `reports`, `saved` and `notices` hold what the run said, in order. `noticed` is set at every notice, `heard` also at
    every checkpoint: a save that runs beside the test is awaited with them.
    """

    def __init__(self, assignment: Assignment) -> None:
        self.assignment = assignment
        self.stop: StopKind | None = None
        self.reports: list[operation_pb2.Progress] = []
        self.saved: list[checkpoint_pb2.Checkpoint] = []
        self.notices: list[Notice] = []
        self.noticed = threading.Event()
        self.heard = threading.Event()

    @property
    def stop_requested(self) -> StopKind | None:
        """`stop`."""
        return self.stop

    def progress(self, progress: operation_pb2.Progress) -> None:
        """Kept in `reports`."""
        self.reports.append(progress)

    def checkpoint_saved(self, checkpoint: checkpoint_pb2.Checkpoint) -> None:
        """Kept in `saved`."""
        self.saved.append(checkpoint)
        self.heard.set()

    def notice(self, kind: str, message: str, details: Mapping[str, str] | None = None) -> None:
        """Kept in `notices`."""
        self.notices.append(Notice(kind, message, dict(details or {})))
        self.noticed.set()
        self.heard.set()
