"""Which ends of steps and epochs become periodic checkpoints."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

from holdfast.artifacts.checkpoint import Snapshot
from holdfast.run.final import FinalWrites
from holdfast.run.pace import Pace
from holdfast.run.writer import CheckpointWriter
from holdfast.services.trainer.saving import Saver
from holdfast.services.trainer.state import TrainingState
from holdfast.v1 import checkpoint_pb2, operation_pb2


@dataclass
class Place:
    """Where a training stands; all that the policy looks at."""

    epoch: int = 0
    step: int = 0

    def capture(self) -> Snapshot:
        return Snapshot(self.epoch, "epoch", {}, step=self.step)


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


def saved(*, spacing: float, every_epochs: int, every_steps: int, epochs: int = 4, steps: int = 10) -> Any:
    """What is saved of a training of which every step takes a second."""
    now = 0.0
    pace = Pace(spacing, lambda: now)
    writer = Writer(pace)
    policy = operation_pb2.CheckpointPolicy(every_units=every_epochs, every_steps=every_steps)
    saver = Saver(cast(CheckpointWriter, writer), cast(FinalWrites, None), policy, pace=pace)
    place = Place()
    state = cast(TrainingState, place)
    for epoch in range(1, epochs + 1):
        for step in range(1, steps + 1):
            now += 1.0
            place.step = step
            if step < steps and saver.wants_step(state):
                saver.step_finished(state)
        place.epoch, place.step = epoch, 0
        saver.epoch_finished(state)
    return writer.saved


def test_without_spacing_all_are_saved_that_are_asked_for() -> None:
    assert saved(spacing=0.0, every_epochs=2, every_steps=0) == [(2, 0), (4, 0)]
    assert saved(spacing=0.0, every_epochs=1, every_steps=4, epochs=2) == [
        (0, 4), (0, 8), (1, 0), (1, 4), (1, 8), (2, 0),
    ]  # fmt: skip


def test_a_policy_of_none_saves_none() -> None:
    assert saved(spacing=0.0, every_epochs=0, every_steps=0) == []
    assert saved(spacing=1.0, every_epochs=0, every_steps=0) == []


def test_the_first_new_epoch_is_saved_whatever_the_interval() -> None:
    assert saved(spacing=3600.0, every_epochs=3, every_steps=0) == [(1, 0)]
    assert saved(spacing=1.0, every_epochs=3, every_steps=0) == [(1, 0), (3, 0)]
    assert saved(spacing=3600.0, every_epochs=0, every_steps=25) == [(1, 0)]


def test_a_step_that_came_too_early_is_saved_as_soon_as_it_may_be() -> None:
    # Asked for at 4 and 8 of each epoch; at most one in 6 seconds.
    assert saved(spacing=6.0, every_epochs=0, every_steps=4, epochs=2) == [(0, 4), (1, 0), (1, 6)]


def test_an_epoch_that_came_too_early_is_saved_with_a_later_one() -> None:
    assert saved(spacing=15.0, every_epochs=1, every_steps=0) == [(1, 0), (3, 0)]
