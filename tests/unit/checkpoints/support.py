"""A run that only listens, for tests of what is saved."""

from __future__ import annotations

from pathlib import Path

from holdfast.run.contract import Assignment, StopKind
from holdfast.settings import load_settings
from holdfast.v1 import checkpoint_pb2, operation_pb2


class ListeningRun(RecordingRun):
    """Any run: nothing looks at its assignment but for the operation and the attempt."""

    def __init__(self, operation_id: str = "op-1", attempt: int = 1) -> None:
        self._assignment = Assignment(operation_id, attempt, "", Path(), load_settings())
        self.saved: list[checkpoint_pb2.Checkpoint] = []
        self.notices: list[tuple[str, str]] = []
        self.noticed = threading.Event()
        self.heard = threading.Event()  # a save ended, well or not

    @property
    def assignment(self) -> Assignment:
        return self._assignment

    @property
    def stop_requested(self) -> StopKind | None:
        return None

    def progress(self, progress: operation_pb2.Progress) -> None:
        raise AssertionError("a writer reports no progress")

    def checkpoint_saved(self, checkpoint: checkpoint_pb2.Checkpoint) -> None:
        self.saved.append(checkpoint)
        self.heard.set()

    def notice(self, kind: str, message: str, details: Mapping[str, str] | None = None) -> None:
        self.notices.append((kind, message))
        self.noticed.set()
        self.heard.set()
