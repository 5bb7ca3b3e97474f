"""How a guarded run ends: what ends it is raised further, whatever becomes of its last state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.artifacts.checkpoint import Snapshot
from holdfast.run.contract import RunStopped, StopKind
from holdfast.run.session import RunSession
from holdfast.v1 import operation_pb2
from tests.unit.checkpoints.support import ListeningRun


class Run(ListeningRun):
    """Stopped from its first moment on, with a store."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.assignment = replace(self.assignment, store_url=str(root))

    @property
    def stop_requested(self) -> StopKind | None:
        return StopKind.CANCEL


def lost() -> Snapshot:
    raise RuntimeError("the device is gone")


def run_guarded(run: Run, end: Callable[[RunSession], None], capture: Callable[[], Snapshot | None] = lost) -> None:
    with RunSession(run, operation_pb2.CheckpointPolicy()) as session, session.guarding(capture, capture):
        end(session)


def test_a_cancel_whose_state_cannot_be_taken_stays_a_cancel(tmp_path: Path) -> None:
    run = Run(tmp_path)
    with pytest.raises(RunStopped):
        run_guarded(run, RunSession.check_cancelled)
    ((kind, message, _),) = run.notices
    assert kind == "CHECKPOINT_FAILED"
    assert message.startswith("The last state could not be saved: the device is gone. ")


def test_a_failure_is_raised_and_not_what_went_wrong_in_saving(tmp_path: Path) -> None:
    def fail(_: RunSession) -> None:
        raise ValueError("first")

    run = Run(tmp_path)
    with pytest.raises(ValueError, match="first"):
        run_guarded(run, fail)
    assert [notice.kind for notice in run.notices] == ["CHECKPOINT_FAILED"]


def test_what_was_kept_is_saved_where_nothing_newer_is_good(tmp_path: Path) -> None:
    def keep(session: RunSession) -> None:
        session.keep(Snapshot(3, "epoch", {}))
        session.check_cancelled()

    run = Run(tmp_path)
    with pytest.raises(RunStopped):
        run_guarded(run, keep, lambda: None)
    assert [(saved.unit, saved.attempt) for saved in run.saved] == [(3, 1)]
