"""What an end is called."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from holdfast.v1 import checkpoint_pb2, operation_pb2, worker_pb2
from holdfast.worker.endings import Ending, StopReason, conclude
from holdfast.worker.host.executor import Exit

RUN = worker_pb2.RunRef(operation_id="op-1", attempt=2)
CHECKPOINT = checkpoint_pb2.Checkpoint(checkpoint_id="op-1/1-29", unit_name="epoch", unit=29)
COMPLETED = worker_pb2.RunFinished(
    outcome=worker_pb2.RUN_OUTCOME_COMPLETED, training_result=operation_pb2.TrainingResult(model_uri="m")
)
STOPPED = worker_pb2.RunFinished(outcome=worker_pb2.RUN_OUTCOME_CANCELLED)
RAISED = worker_pb2.RunFinished(
    outcome=worker_pb2.RUN_OUTCOME_FAILED, failure=operation_pb2.Failure(reason="RUN_RAISED", message="ValueError: x")
)


def end(
    reported: worker_pb2.RunFinished | None = None, exited: Exit | None = None, **more: Any
) -> worker_pb2.RunFinished:
    return conclude(Ending(run=RUN, reported=reported, exit=exited or Exit(), **more))


def test_completed_keeps_its_result_whatever_happened_after() -> None:
    for stop in (None, StopReason.CANCEL, StopReason.SHUTDOWN):
        finished = end(COMPLETED, Exit(signal=9), stop=stop, signals_sent={9}, checkpoint=CHECKPOINT)
        assert finished.outcome == worker_pb2.RUN_OUTCOME_COMPLETED
        assert finished.training_result.model_uri == "m"
        assert finished.checkpoint.unit == 29
        assert finished.run == RUN


def test_a_fenced_run_never_reports_success() -> None:
    finished = end(COMPLETED, stop=StopReason.FENCED, stop_text="resumed elsewhere")
    assert finished.outcome == worker_pb2.RUN_OUTCOME_CANCELLED
    assert finished.WhichOneof("result") is None
    assert finished.failure.message == "Stopped without saving: resumed elsewhere"


@pytest.mark.parametrize(
    ("stop", "text", "checkpoint", "message"),
    [
        (StopReason.SHUTDOWN, "", CHECKPOINT, "Graceful shutdown - checkpoint saved"),
        (StopReason.SHUTDOWN, "", None, "Graceful shutdown - no checkpoint: the run had not begun"),
        (StopReason.CANCEL, "user", CHECKPOINT, "Cancelled: user - checkpoint saved (epoch 29)"),
        (StopReason.CANCEL, "", None, "Cancelled - no checkpoint: the run had not begun"),
    ],
)
def test_a_cooperative_stop(
    stop: StopReason, text: str, checkpoint: checkpoint_pb2.Checkpoint | None, message: str
) -> None:
    finished = end(STOPPED, stop=stop, stop_text=text, checkpoint=checkpoint)
    assert finished.outcome == worker_pb2.RUN_OUTCOME_CANCELLED
    assert (finished.failure.reason, finished.failure.message) == (stop.value, message)
    assert finished.failure.signal == 0


def test_a_run_told_to_stop_by_the_system_itself() -> None:
    reported = worker_pb2.RunFinished(
        outcome=worker_pb2.RUN_OUTCOME_CANCELLED, failure=operation_pb2.Failure(reason="SHUTDOWN")
    )
    assert end(reported, checkpoint=CHECKPOINT).failure.message == "Graceful shutdown - checkpoint saved"


@pytest.mark.parametrize("exited", [Exit(signal=9), Exit(unseen="the fork server died")])
def test_a_run_that_had_to_be_killed(exited: Exit) -> None:
    finished = end(None, exited, stop=StopReason.CANCEL, signals_sent={15, 9}, checkpoint=CHECKPOINT)
    assert finished.outcome == worker_pb2.RUN_OUTCOME_CANCELLED
    assert finished.failure.signal == exited.signal
    assert finished.failure.message.endswith("was killed; its last checkpoint (epoch 29) stays")


def test_a_death_of_its_own_while_stopping_is_a_failure() -> None:
    finished = end(None, Exit(signal=int(signal.SIGSEGV)), stop=StopReason.CANCEL, signals_sent=())
    assert (finished.outcome, finished.failure.reason) == (worker_pb2.RUN_OUTCOME_FAILED, "RUN_DIED")


def test_an_exception_while_stopping_is_a_failure() -> None:
    finished = end(RAISED, stop=StopReason.CANCEL, log_tail=["x"])
    assert finished.outcome == worker_pb2.RUN_OUTCOME_FAILED
    assert (finished.failure.reason, finished.failure.message) == ("RUN_RAISED", "ValueError: x")
    assert list(finished.failure.log_tail) == ["x"]


@pytest.mark.parametrize(
    ("exited", "memory", "words"),
    [
        (Exit(code=3), False, "exited with code 3"),
        (Exit(code=0), False, "exited without a result"),
        (Exit(signal=11), False, "was killed by SIGSEGV"),
        (Exit(signal=9), True, "was killed by SIGKILL: the machine ran out of memory"),
        (Exit(signal=63), False, "was killed by signal 63"),
        (Exit(unseen="nobody saw it"), False, "is gone (nobody saw it)"),
    ],
)
def test_a_death_says_how(exited: Exit, memory: bool, words: str) -> None:
    failure = end(None, exited, out_of_memory=memory).failure
    assert failure.message == f"The run's process {words}; no checkpoint was saved"
    assert (failure.exit_code, failure.signal) == (exited.code, exited.signal)
    assert "its last checkpoint is epoch 29" in end(None, exited, checkpoint=CHECKPOINT).failure.message


def test_a_run_without_a_process() -> None:
    assert end(not_started="No process").failure.reason == "RUN_NOT_STARTED"
    stopped = end(not_started="No process", stop=StopReason.SHUTDOWN)
    assert stopped.outcome == worker_pb2.RUN_OUTCOME_CANCELLED
    assert stopped.failure.message == "Graceful shutdown - no checkpoint: the run had not begun"


STALLED: dict[str, Any] = {
    "stop": StopReason.STALLED,
    "stop_text": "no sign of life for 300 s: process 7 is stopped (state T)",
    "signals_sent": {15, 9},
}


def test_a_stalled_run_has_failed_however_it_ended() -> None:
    killed = end(None, Exit(signal=9), checkpoint=CHECKPOINT, log_tail=["File x"], **STALLED)
    assert (killed.outcome, killed.failure.reason) == (worker_pb2.RUN_OUTCOME_FAILED, "RUN_STALLED")
    assert killed.failure.message == (
        "The run gave no sign of life for 300 s: process 7 is stopped (state T). It was killed by "
        "SIGKILL; its last checkpoint is epoch 29: continue with `holdfast operations resume op-1`"
    )
    assert (killed.failure.signal, list(killed.failure.log_tail)) == (9, ["File x"])
    saved = end(STOPPED, checkpoint=CHECKPOINT, **STALLED)
    assert (saved.outcome, saved.failure.reason) == (worker_pb2.RUN_OUTCOME_FAILED, "RUN_STALLED")
    assert "It was asked to stop and did; its last checkpoint is epoch 29" in saved.failure.message
    assert "this attempt saved no checkpoint" in end(None, Exit(signal=9), **STALLED).failure.message


def test_a_stalled_run_that_came_back_keeps_its_own_end() -> None:
    assert end(COMPLETED, **STALLED).outcome == worker_pb2.RUN_OUTCOME_COMPLETED
    assert end(RAISED, **STALLED).failure.reason == "RUN_RAISED"


def test_a_process_that_the_kernel_holds_is_told_as_that() -> None:
    held = Exit(held="process 7 was killed but waits inside the kernel (state D)")
    for stop, reason in ((StopReason.CANCEL, "CANCELLED"), (StopReason.STALLED, "RUN_STALLED"), (None, "RUN_DIED")):
        finished = end(None, held, stop=stop, signals_sent={15, 9}, checkpoint=CHECKPOINT)
        assert finished.failure.reason == reason
        assert "was killed but waits inside the kernel (state D)" in finished.failure.message
