"""When a training is saved, and what. Owns the policy and the last good state; writes nothing itself."""

from __future__ import annotations

import structlog

from holdfast.checkpoints import CheckpointWriter, Snapshot
from holdfast.v1 import checkpoint_pb2, operation_pb2
from holdfast.worker.run import StopKind
from trainer.state import TrainingState

__all__ = ["Saver"]

log = structlog.get_logger()

_STOP_TYPES = {
    StopKind.CANCEL: checkpoint_pb2.CHECKPOINT_TYPE_CANCELLATION,
    StopKind.SHUTDOWN: checkpoint_pb2.CHECKPOINT_TYPE_SHUTDOWN,
}


class Saver:
    """Turns ends of steps and epochs, stops and failures into checkpoints."""

    def __init__(self, writer: CheckpointWriter, policy: operation_pb2.CheckpointPolicy) -> None:
        self._writer = writer
        self._every_epochs = policy.every_units
        self.every_steps = policy.every_steps
        self._good: Snapshot | None = None

    def begun(self, state: TrainingState) -> None:
        """The state that a resume restored is a good one already."""
        if state.updates:
            self._good = state.capture()

    def epoch_finished(self, state: TrainingState) -> None:
        """Keeps a copy for the case of a failure, and saves it when it is due."""
        self._good = state.capture()
        if self._every_epochs and state.epoch % self._every_epochs == 0:
            self._writer.save(self._good, checkpoint_pb2.CHECKPOINT_TYPE_PERIODIC)

    def steps_finished(self, state: TrainingState) -> None:
        """Saves inside an epoch; the caller knows that it is due and that the state is sound."""
        self._good = state.capture()
        self._writer.save(self._good, checkpoint_pb2.CHECKPOINT_TYPE_PERIODIC)

    def stopped(self, state: TrainingState, kind: StopKind) -> None:
        """Saves the state as it is, mid-epoch too, and waits until it is durable."""
        if state.step and state.is_sound():
            self._good = state.capture()
        if self._good is not None:
            self._writer.save(self._good, _STOP_TYPES[kind], wait=True)

    def failed(self) -> None:
        """Saves the last good state, if there is one. The run's own error matters more than one met here."""
        if self._good is None:
            return
        try:
            self._writer.save(self._good, checkpoint_pb2.CHECKPOINT_TYPE_FAILURE, wait=True)
        except Exception as error:  # whatever the store raises: the caller raises the first error
            log.error("Last good state not saved", epoch=self._good.unit, step=self._good.step, exc_info=error)
