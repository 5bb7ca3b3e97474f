"""A run that only listens, for tests of what is saved."""

from __future__ import annotations

from pathlib import Path

from holdfast.run.contract import Assignment
from holdfast.settings import load_settings
from holdfast.testing import RecordingRun


class ListeningRun(RecordingRun):
    """Any run: nothing looks at its assignment but for the operation and the attempt."""

    def __init__(self, operation_id: str = "op-1", attempt: int = 1) -> None:
        super().__init__(Assignment(operation_id, attempt, "", Path(), load_settings()))
