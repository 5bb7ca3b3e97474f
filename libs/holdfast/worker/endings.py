"""Decides what a run's end is called: outcome, reason and words. Pure; owns nothing."""

from __future__ import annotations

import signal
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum

from holdfast.kinds import position
from holdfast.v1 import checkpoint_pb2, operation_pb2, worker_pb2
from holdfast.worker.host.executor import Exit

__all__ = [
    "Ending",
    "StopReason",
    "conclude",
]


class StopReason(Enum):
    """Who wants the run to stop; the value is the Failure's reason."""

    CANCEL = "CANCELLED"
    SHUTDOWN = "SHUTDOWN"
    # It gave no sign of life for too long.
    STALLED = "RUN_STALLED"
    # The coordinator says that this attempt is stale: no saving, no success.
    FENCED = "STOPPED"


@dataclass(frozen=True, slots=True)
class Ending:
    """All that is known when a run's process is gone."""

    run: worker_pb2.RunRef
    # The run's own last message; None when it died without one.
    reported: worker_pb2.RunFinished | None
    exit: Exit
    stop: StopReason | None = None
    stop_text: str = ""
    # Signals this worker sent to make the run stop.
    signals_sent: Collection[int] = ()
    # Why no process came to be; empty when one did.
    not_started: str = ""
    checkpoint: checkpoint_pb2.Checkpoint | None = None
    progress: operation_pb2.Progress | None = None
    log_tail: Sequence[str] = ()
    # The kernel's out-of-memory killer was at work on this machine while the run lived.
    out_of_memory: bool = False


def conclude(ending: Ending) -> worker_pb2.RunFinished:
    """The end to report. `end_time` is left to the caller."""
    finished = worker_pb2.RunFinished(run=ending.run)
    if ending.checkpoint is not None:
        finished.checkpoint.CopyFrom(ending.checkpoint)
    if ending.progress is not None:
        finished.progress.CopyFrom(ending.progress)
    reported = ending.reported
    completed = reported is not None and reported.outcome == worker_pb2.RUN_OUTCOME_COMPLETED
    if reported is not None and completed and ending.stop is not StopReason.FENCED:
        finished.outcome = worker_pb2.RUN_OUTCOME_COMPLETED
        if reported.HasField("training_result"):
            finished.training_result.CopyFrom(reported.training_result)
        if reported.HasField("backtest_result"):
            finished.backtest_result.CopyFrom(reported.backtest_result)
        return finished
    if _was_stopped(ending):
        finished.outcome = worker_pb2.RUN_OUTCOME_CANCELLED
        finished.failure.CopyFrom(_stopped(ending))
    else:
        finished.outcome = worker_pb2.RUN_OUTCOME_FAILED
        finished.failure.CopyFrom(_failed(ending))
    return finished


def _was_stopped(ending: Ending) -> bool:
    """Whether the run ended because somebody asked, not by itself. That it had stalled is a failure of its own."""
    if ending.stop is StopReason.STALLED:
        return False
    if ending.reported is not None and ending.reported.outcome == worker_pb2.RUN_OUTCOME_CANCELLED:
        return True
    if ending.stop is None:
        return False
    if ending.stop is StopReason.FENCED or ending.not_started:
        return True
    return ending.reported is None and bool(ending.signals_sent) and _by_our_signal(ending)


def _by_our_signal(ending: Ending) -> bool:
    return ending.exit.signal in ending.signals_sent or bool(ending.exit.unseen or ending.exit.held)


def _stopped(ending: Ending) -> operation_pb2.Failure:
    reported = ending.reported
    reason = ending.stop or (
        StopReason.SHUTDOWN if reported is not None and reported.failure.reason == "SHUTDOWN" else StopReason.CANCEL
    )
    failure = operation_pb2.Failure(reason=reason.value)
    by_itself = reported is not None or bool(ending.not_started)
    saved = position(ending.checkpoint)
    if reason is StopReason.FENCED:
        why = ending.stop_text or "the coordinator gave the operation to somebody else"
        failure.message = f"Stopped without saving: {why}"
        return failure
    words = "Graceful shutdown" if reason is StopReason.SHUTDOWN else _cancel_words(ending.stop_text)
    if not by_itself:
        failure.signal = ending.exit.signal
        failure.log_tail.extend(ending.log_tail)
        kept = f"its last checkpoint ({saved}) stays" if saved else "there is no checkpoint"
        failure.message = f"{words} - the run did not stop in time and was killed; {kept}{_held(ending.exit)}"
    elif not saved:
        failure.message = f"{words} - no checkpoint: the run had not begun"
    elif reason is StopReason.SHUTDOWN:
        failure.message = f"{words} - checkpoint saved"
    else:
        failure.message = f"{words} - checkpoint saved ({saved})"
    return failure


def _cancel_words(text: str) -> str:
    return f"Cancelled: {text}" if text else "Cancelled"


def _failed(ending: Ending) -> operation_pb2.Failure:
    failure = operation_pb2.Failure(log_tail=ending.log_tail)
    if ending.not_started:
        failure.reason = "RUN_NOT_STARTED"
        failure.message = ending.not_started
    elif ending.stop is StopReason.STALLED and (
        ending.reported is None or ending.reported.outcome == worker_pb2.RUN_OUTCOME_CANCELLED
    ):
        _stalled(ending, failure)
    elif ending.reported is not None:
        failure.reason = ending.reported.failure.reason or "RUN_RAISED"
        failure.message = ending.reported.failure.message
    else:
        failure.reason = "RUN_DIED"
        failure.exit_code = ending.exit.code
        failure.signal = ending.exit.signal
        saved = position(ending.checkpoint)
        kept = f"its last checkpoint is {saved}: resume it" if saved else "no checkpoint was saved"
        failure.message = f"The run's process {_death(ending)}; {kept}"
    return failure


def _stalled(ending: Ending, failure: operation_pb2.Failure) -> None:
    failure.reason = StopReason.STALLED.value
    if ending.reported is not None:
        how = "It was asked to stop and did"
    elif ending.exit.held:
        how = "It was killed"
    else:
        failure.exit_code, failure.signal = ending.exit.code, ending.exit.signal
        how = f"It {_death(ending)}"
    saved = position(ending.checkpoint)
    resume = f"`holdfast operations resume {ending.run.operation_id}`"
    kept = (
        f"its last checkpoint is {saved}: continue with {resume}"
        if saved
        else f"this attempt saved no checkpoint: {resume} goes on from an older one if there is one"
    )
    failure.message = f"The run gave {ending.stop_text}. {how}; {kept}{_held(ending.exit)}"


def _held(exited: Exit) -> str:
    if not exited.held:
        return ""
    return (
        f". Its {exited.held}; it can do no more harm, but keeps its memory until the kernel lets go of it or the "
        "machine restarts"
    )


def _death(ending: Ending) -> str:
    if ending.exit.unseen:
        return f"is gone ({ending.exit.unseen})"
    if ending.exit.held:
        return f"closed its pipe and does not end ({ending.exit.held})"
    if ending.exit.signal:
        name = _signal_name(ending.exit.signal)
        if ending.out_of_memory and ending.exit.signal == signal.SIGKILL:
            return f"was killed by {name}: the machine ran out of memory"
        return f"was killed by {name}"
    if ending.exit.code:
        return f"exited with code {ending.exit.code}"
    return "exited without a result"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
