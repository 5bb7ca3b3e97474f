"""Which ends of steps and epochs become periodic checkpoints."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from holdfast.artifacts.checkpoint import Snapshot
from holdfast.run import session as kit
from holdfast.run.pace import Pace
from holdfast.run.session import RunSession
from holdfast.v1 import checkpoint_pb2, operation_pb2
from tests.unit.checkpoints.support import ListeningRun


@dataclass
class Writer:
    """Saves in no time."""

    pace: Pace
    saved: list[tuple[int, int]] = field(default_factory=list)

    def save(self, snapshot: Snapshot, kind: checkpoint_pb2.CheckpointType) -> None:
        assert kind == checkpoint_pb2.CHECKPOINT_TYPE_PERIODIC
        self.pace.begun()
        self.pace.ended(0.0)
        self.saved.append((snapshot.unit, snapshot.step))


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What is saved of a training of which every step takes a second."""
    writers: list[Writer] = []

    def write(store: object, run: object, *, pace: Pace, periodic: bool) -> Writer:
        writers.append(Writer(pace))
        return writers[-1]

    monkeypatch.setattr(kit, "CheckpointWriter", write)
    monkeypatch.setattr(kit, "open_store", lambda url: None)

    def of(
        *, spacing: float, every_epochs: int, every_steps: int, epochs: int = 4, steps: int = 10
    ) -> list[tuple[int, int]]:
        monkeypatch.setenv("CHECKPOINT_SPACING_SECONDS", str(spacing))
        now = 0.0
        policy = operation_pb2.CheckpointPolicy(every_units=every_epochs, every_steps=every_steps)
        session = RunSession(ListeningRun(), policy, clock=lambda: now)
        for epoch in range(epochs):
            for step in range(1, steps + 1):
                now += 1.0
                if step < steps and session.save_due(epoch, step):
                    session.save(Snapshot(epoch, "epoch", {}, step=step))
            if session.save_due(epoch + 1):
                session.save(Snapshot(epoch + 1, "epoch", {}))
        return writers[-1].saved

    return of


def test_without_spacing_all_are_saved_that_are_asked_for(saved: Any) -> None:
    assert saved(spacing=0.0, every_epochs=2, every_steps=0) == [(2, 0), (4, 0)]
    assert saved(spacing=0.0, every_epochs=1, every_steps=4, epochs=2) == [
        (0, 4), (0, 8), (1, 0), (1, 4), (1, 8), (2, 0),
    ]  # fmt: skip


def test_a_policy_of_none_saves_none(saved: Any) -> None:
    assert saved(spacing=0.0, every_epochs=0, every_steps=0) == []
    assert saved(spacing=1.0, every_epochs=0, every_steps=0) == []


def test_the_first_new_epoch_is_saved_whatever_the_interval(saved: Any) -> None:
    assert saved(spacing=3600.0, every_epochs=3, every_steps=0) == [(1, 0)]
    assert saved(spacing=1.0, every_epochs=3, every_steps=0) == [(1, 0), (3, 0)]
    assert saved(spacing=3600.0, every_epochs=0, every_steps=25) == [(1, 0)]


def test_a_step_that_came_too_early_is_saved_as_soon_as_it_may_be(saved: Any) -> None:
    # Asked for at 4 and 8 of each epoch; at most one in 6 seconds.
    assert saved(spacing=6.0, every_epochs=0, every_steps=4, epochs=2) == [(0, 4), (1, 0), (1, 6)]


def test_an_epoch_that_came_too_early_is_saved_with_a_later_one(saved: Any) -> None:
    assert saved(spacing=15.0, every_epochs=1, every_steps=0) == [(1, 0), (3, 0)]
