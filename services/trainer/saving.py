"""When a training is saved, and what. Owns the policy and the last good state; writes nothing itself."""

from __future__ import annotations

import structlog

from holdfast.checkpoints import CheckpointWriter, Pace, Snapshot
from holdfast.v1 import checkpoint_pb2, operation_pb2
from holdfast.worker.run import Run, StopKind
from trainer.state import UNIT, TrainingState

__all__ = ["Saver"]

log = structlog.get_logger()

_STOP_TYPES = {
    StopKind.CANCEL: checkpoint_pb2.CHECKPOINT_TYPE_CANCELLATION,
    StopKind.SHUTDOWN: checkpoint_pb2.CHECKPOINT_TYPE_SHUTDOWN,
}


class Saver:
    """Turns ends of steps and epochs, stops and failures into checkpoints.

    `pace` may put a periodic save off: the clock decides which checkpoints exist, never what is in them.
    """

    def __init__(
        self,
        run: Run,
        writer: CheckpointWriter,
        policy: operation_pb2.CheckpointPolicy,
        *,
        pace: Pace,
    ) -> None:
        self._run, self._writer = run, writer
        self._every_epochs = policy.every_units
        self._every_steps = policy.every_steps
        self._pace = pace
        self._good: Snapshot | None = None
        # Whether a save that the policy asked for was put off.
        self._late = False

    def begun(self, state: TrainingState) -> None:
        """The state that a resume restored is a good one already."""
        if state.updates:
            self._good = state.capture()

    def epoch_finished(self, state: TrainingState) -> None:
        """Keeps a copy for the case of a failure, and saves it when it is due."""
        self._good = state.capture()
        self._late |= bool(self._every_epochs) and state.epoch % self._every_epochs == 0
        if self._late and self._pace.allows(state.size_bytes):
            self._save(self._good)

    def wants_step(self, state: TrainingState) -> bool:
        """Whether the state after this step of an epoch is to be saved now."""
        return bool(self._every_steps) and state.step % self._every_steps == 0 and self._pace.allows(state.size_bytes)

    def step_finished(self, state: TrainingState) -> None:
        """Saves inside an epoch; the caller knows that the state is sound."""
        self._good = state.capture()
        self._save(self._good)

    def _save(self, snapshot: Snapshot) -> None:
        self._late = False
        self._pace.saved()
        self._writer.save(snapshot, checkpoint_pb2.CHECKPOINT_TYPE_PERIODIC)

    def stopped(self, state: TrainingState, kind: StopKind) -> None:
        """Saves the state as it is, mid-epoch too, and waits until it is durable."""
        if state.step and state.is_sound():
            self._good = state.capture()
        self._save_last(_STOP_TYPES[kind])

    def failed(self) -> None:
        """Saves the last good state, if there is one."""
        self._save_last(checkpoint_pb2.CHECKPOINT_TYPE_FAILURE)

    def _save_last(self, kind: checkpoint_pb2.CheckpointType) -> None:
        if self._good is None:
            return
        try:
            self._writer.save(self._good, kind, wait=True)
        except Exception as error:
            # Whatever the store raised: why the run ends matters more, and the caller goes on raising that.
            log.error("Last state not saved", epoch=self._good.unit, step=self._good.step, exc_info=error)
            self._run.notice(
                "CHECKPOINT_FAILED",
                f"The last state, at {UNIT} {self._good.unit}, step {self._good.step}, could not be saved: {error}. "
                "An older checkpoint, if there is one, is still good. Check the store's space and rights.",
                {"error": type(error).__name__},
            )
