"""When a training is saved, and what. Owns the policy and the last good state; writes nothing itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from holdfast.artifacts.checkpoint import Snapshot
from holdfast.run.contract import RunStopped
from holdfast.run.final import FinalWrites
from holdfast.run.pace import Pace
from holdfast.run.writer import CheckpointWriter
from holdfast.services.trainer.state import TrainingState
from holdfast.v1 import checkpoint_pb2, operation_pb2

__all__ = ["Saver"]


class Saver:
    """Turns ends of steps and epochs, stops and failures into checkpoints.

    `pace` may put a periodic save off: the clock decides which checkpoints exist, never what is in them.
    """

    def __init__(
        self,
        writer: CheckpointWriter,
        final: FinalWrites,
        policy: operation_pb2.CheckpointPolicy,
        *,
        pace: Pace,
    ) -> None:
        self._writer, self._final = writer, final
        self._every_epochs = policy.every_units
        self._every_steps = policy.every_steps
        self._pace = pace
        self._good: Snapshot | None = None

    @contextmanager
    def guarding(self, state: TrainingState) -> Iterator[None]:
        """Whatever ends the block early: the last good state is saved before it is raised further."""
        # The state that a resume restored is a good one already.
        if state.updates:
            self._good = state.capture()
        try:
            yield
        except RunStopped:
            # As it is, inside an epoch too.
            if state.step and state.is_sound():
                self._good = state.capture()
            if self._good is not None:
                self._final.stopped(self._good)
            raise
        except Exception:
            if self._good is not None:
                self._final.failed(self._good)
            raise

    def epoch_finished(self, state: TrainingState) -> None:
        """Keeps a copy for the case of a failure, and saves it when it is due."""
        self._good = state.capture()
        asked = bool(self._every_epochs) and state.epoch % self._every_epochs == 0
        if (self._every_epochs or self._every_steps) and self._pace.due(asked=asked):
            self._save(self._good)

    def wants_step(self, state: TrainingState) -> bool:
        """Whether the state after this step of an epoch is to be saved now."""
        if not self._every_steps:
            return False
        return self._pace.due(asked=state.step % self._every_steps == 0, unit_ended=False)

    def step_finished(self, state: TrainingState) -> None:
        """Saves inside an epoch; the caller knows that the state is sound."""
        self._good = state.capture()
        self._save(self._good)

    def _save(self, snapshot: Snapshot) -> None:
        self._writer.save(snapshot, checkpoint_pb2.CHECKPOINT_TYPE_PERIODIC)
