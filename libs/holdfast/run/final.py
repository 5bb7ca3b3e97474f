"""What a run writes when it ends: its result, or its last state. Owns the wait for room in a full store.

All that is to be written is in memory, so a full disk costs nothing but time, within a bound. One budget for the whole
end of a run: what the result has waited for, the last state does not wait for again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import structlog

from holdfast.artifacts.checkpoint import Snapshot
from holdfast.errors import HoldfastError, StoreFull
from holdfast.kinds import position
from holdfast.run.contract import Run, RunStopped, StopKind
from holdfast.run.writer import CheckpointWriter
from holdfast.settings import Settings
from holdfast.v1 import checkpoint_pb2

__all__ = ["FinalWrites"]

log = structlog.get_logger()

T = TypeVar("T")
# Takes the last good state; None where there is none.
Capture = Callable[[], Snapshot | None]

_STOP_TYPES = {
    StopKind.CANCEL: checkpoint_pb2.CHECKPOINT_TYPE_CANCELLATION,
    StopKind.SHUTDOWN: checkpoint_pb2.CHECKPOINT_TYPE_SHUTDOWN,
}
_POLL = 0.5  # seconds between two looks at the run's stop: a waiting run is alive, and says so by looking
_FIRST_RETRY, _LAST_RETRY = 0.5, 8.0  # seconds between two tries, doubled from the one to the other


class FinalWrites:
    """The last writes of one run. Blocking; used by the run's own thread.

    `longest`: seconds that a full store is waited for. `at_stop`: the same after a stop, when whoever stops the run
    will kill it soon.
    """

    def __init__(
        self,
        run: Run,
        writer: CheckpointWriter,
        *,
        longest: float,
        at_stop: float,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._run, self._writer = run, writer
        self._left, self._at_stop = longest, at_stop
        self._clock, self._pause = clock, pause

    @classmethod
    def of(cls, run: Run, writer: CheckpointWriter, settings: Settings) -> FinalWrites:
        """As the settings say. After a stop half the grace is waited: the run shall end by itself before it is over."""
        longest = settings.store_full_wait_seconds
        return cls(run, writer, longest=longest, at_stop=min(longest, settings.grace_seconds / 2))

    def result(self, what: str, write: Callable[[], T]) -> T:
        """What `write` returns, once the store has room for `what`.

        Raises RunStopped when a stop comes while it waits, StoreFull when the time is up, and whatever else `write`
        raises.
        """
        return self._when_possible(what, write)

    def stopped(self, capture: Capture) -> None:
        """Saves the last state after a stop, and returns when it is durable. Never raises: the run ends as stopped."""
        kind = self._run.stop_requested
        assert kind is not None  # tests/unit/trainer/test_training_run.py stops everywhere: there is always a kind
        self._left = min(self._left, self._at_stop)
        self._save(capture, _STOP_TYPES[kind])

    def failed(self, capture: Capture) -> None:
        """Saves the last good state after a failure. Never raises: why the run failed matters more."""
        self._save(capture, checkpoint_pb2.CHECKPOINT_TYPE_FAILURE)

    def _save(self, capture: Capture, kind: checkpoint_pb2.CheckpointType) -> None:
        where = ""
        try:
            snapshot = capture()
            if snapshot is None:
                return
            where = position(snapshot)
            self._when_possible(f"the last state, at {where}", lambda: self._writer.save(snapshot, kind, wait=True))
        except Exception as error:  # the caller goes on raising what ends the run
            reason = (str(error) or type(error).__name__).rstrip(".")
            expected = isinstance(error, HoldfastError | RunStopped)  # its words are enough
            log.error(
                "Last state not saved",
                at=where,
                error=reason,
                exc_info=None if expected else error,
            )
            self._run.notice(
                "CHECKPOINT_FAILED",
                f"The last state{f', at {where},' if where else ''} could not be saved: {reason}. "
                "An older checkpoint, if there is one, is still good."
                + ("" if isinstance(error, StoreFull) else " Check the store's space and rights."),
                {"error": type(error).__name__, **(error.metadata if isinstance(error, HoldfastError) else {})},
            )

    def _when_possible(self, what: str, write: Callable[[], T]) -> T:
        try:
            return write()
        except StoreFull as error:
            if self._left <= 0:
                raise
            full = error
        stopping = self._run.stop_requested
        began, retry = self._clock(), _FIRST_RETRY
        deadline = began + self._left
        self._run.notice(
            "WAITING_FOR_SPACE",
            f"Waiting up to {self._left:.0f} s for room for {what}: {full.message}",
            {**full.metadata, "seconds": f"{self._left:.0f}"},
        )
        log.warning("Store is full; waiting", what=what, seconds=self._left, **full.metadata)
        outcome = "an error"
        try:
            while True:
                self._wait(min(self._clock() + retry, deadline), stopping)
                try:
                    written = write()
                except StoreFull as error:
                    full = error
                    retry = min(retry * 2, _LAST_RETRY)
                    if self._clock() >= deadline:
                        outcome = "there is no room yet, and the time is up"
                        raise
                else:
                    outcome = f"{what} is saved"
                    return written
        except RunStopped:
            outcome = "the run was stopped"
            raise
        finally:
            waited = self._clock() - began
            # After a stop or the time's end the next write is tried once more and not waited for.
            self._left = deadline - self._clock() if self._run.stop_requested is stopping else 0.0
            self._run.notice(
                "WAIT_FOR_SPACE_ENDED",
                f"The wait for room in the store ended after {waited:.0f} s: {outcome}",
                {"seconds": f"{waited:.1f}"},
            )
            log.info("Wait for the store ended", seconds=round(waited, 1), outcome=outcome)

    def _wait(self, until: float, stopping: StopKind | None) -> None:
        while (left := until - self._clock()) > 0:
            # The stop that began this write is no news; one that comes now ends the wait.
            if self._run.stop_requested is not stopping:
                raise RunStopped("stopped while it waited for room in the store")
            self._pause(min(left, _POLL))
