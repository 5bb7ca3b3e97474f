"""When a training is saved, and what. Owns the policy and the last good state; writes nothing itself."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from holdfast.checkpoints import CheckpointWriter, Snapshot
from holdfast.v1 import checkpoint_pb2, operation_pb2
from holdfast.worker.run import Run, StopKind
from trainer.state import UNIT, TrainingState

__all__ = ["Saver"]

log = structlog.get_logger()

# State saved per second of training, at most: hashing and writing it take a core some nanoseconds a byte.
_BYTES_PER_SECOND = 1e7

_STOP_TYPES = {
    StopKind.CANCEL: checkpoint_pb2.CHECKPOINT_TYPE_CANCELLATION,
    StopKind.SHUTDOWN: checkpoint_pb2.CHECKPOINT_TYPE_SHUTDOWN,
}


class Saver:
    """Turns ends of steps and epochs, stops and failures into checkpoints.

    `spacing`: least seconds between two periodic saves, and more the larger the state. A tiny network has an epoch in
    milliseconds, less than a save takes: what is lost by waiting is trained again sooner. 0 saves whenever the policy
    says so. The clock decides only which checkpoints exist, never what is in them.
    """

    def __init__(
        self,
        run: Run,
        writer: CheckpointWriter,
        policy: operation_pb2.CheckpointPolicy,
        *,
        spacing: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run, self._writer = run, writer
        self._every_epochs = policy.every_units
        self._every_steps = policy.every_steps
        self._spacing, self._clock, self._last = spacing, clock, clock()
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
        if self._late and self._far_enough(state):
            self._save(self._good)

    def wants_step(self, state: TrainingState) -> bool:
        """Whether the state after this step of an epoch is to be saved now."""
        return bool(self._every_steps) and state.step % self._every_steps == 0 and self._far_enough(state)

    def step_finished(self, state: TrainingState) -> None:
        """Saves inside an epoch; the caller knows that the state is sound."""
        self._good = state.capture()
        self._save(self._good)

    def _far_enough(self, state: TrainingState) -> bool:
        needed = self._spacing + state.size_bytes / _BYTES_PER_SECOND if self._spacing else 0.0
        return self._clock() - self._last >= needed

    def _save(self, snapshot: Snapshot) -> None:
        self._last, self._late = self._clock(), False
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
