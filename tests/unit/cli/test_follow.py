"""Following an operation: the last words, the exit codes, and what the first and the second Ctrl-C do."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.v1 import checkpoint_pb2, coordinator_service_pb2, operation_pb2
from tests.support.scripted import Script, event, operation, told
from tests.unit.cli.conftest import Command

TRAINED = operation_pb2.TrainingResult(
    model_uri="op-1/model-1",
    epochs=30,
    best_epoch=12,
    metrics={"accuracy": 0.53},
    notes=["Data changed."],
)
SAVED = checkpoint_pb2.Checkpoint(
    checkpoint_id="op-1/1-29", unit_name="epoch", unit=29, uri="op-1/1-29", size_bytes=2048
)


@pytest.fixture
def strategy(tmp_path: Path) -> str:
    (tmp_path / "s.yaml").write_text("name: spx daily\n")
    return str(tmp_path / "s.yaml")


@pytest.fixture(autouse=True)
def _starts(script: Script) -> None:
    script.on("StartTraining", coordinator_service_pb2.StartTrainingResponse(operation=operation("PENDING")))


def test_a_training_that_completes(script: Script, holdfast: Command, strategy: str) -> None:
    progress = operation_pb2.Progress(
        phase="training", unit_name="epoch", unit=3, total_units=30, units_per_second=2.0, metrics={"loss": 0.6931}
    )
    script.on(
        "WatchOperation",
        [
            told(operation()),
            told(event(1, "CLAIMED", "Claimed by trainer-1.")),
            told(progress),
            told(event(2, "CHECKPOINT_SAVED", "not told")),
            told(operation("COMPLETED", training_result=TRAINED)),
        ],
    )
    said = holdfast("train", strategy, "--epochs", "5", "--checkpoint-every-steps", "100", "--set", "model.width=8")
    assert said.code == 0
    assert "accuracy" in said.out
    assert "0.53" in said.out
    assert "op-1/model-1" in said.out
    assert "Claimed by trainer-1." in said.err
    assert "not told" not in said.err
    assert "Note: Data changed." in said.err
    assert "holdfast backtest --model op-1" in said.err
    (request,) = script.asked("StartTraining")
    assert "epochs: 5" in request.spec.strategy
    assert "width: 8" in request.spec.strategy
    assert (request.spec.checkpoint_policy.every_units, request.spec.checkpoint_policy.every_steps) == (1, 100)
    assert request.max_attempts == 1


def test_a_training_that_fails_says_why_and_how_to_go_on(script: Script, holdfast: Command, strategy: str) -> None:
    failure = operation_pb2.Failure(
        reason="RUN_DIED", message="The run was killed by SIGKILL.", signal=9, log_tail=["last line"]
    )
    failed = operation("FAILED", failure=failure, checkpoint=SAVED, resumable=True)
    script.on("WatchOperation", [told(operation()), told(failed)])
    said = holdfast("train", strategy)
    assert said.code == 1
    assert "killed by SIGKILL" in said.err
    assert "last line" in said.err
    assert "epoch 29" in said.err
    assert "holdfast operations resume op-1" in said.err


def test_detach_prints_the_id_alone_on_stdout(script: Script, holdfast: Command, strategy: str) -> None:
    said = holdfast("train", strategy, "--detach", "--max-attempts", "3")
    assert (said.code, said.out) == (0, "op-1\n")
    assert "holdfast operations watch op-1" in said.err
    assert script.asked("StartTraining")[0].max_attempts == 3


@pytest.fixture(autouse=True)
def _interruptible() -> Iterator[None]:
    # A shell starts background jobs with SIGINT ignored, and this test suite may be one.
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


def interrupting() -> Callable[[Any], AsyncIterator[Any]]:
    """A watch during which the user presses Ctrl-C; it goes on only in the next call."""

    async def watch(request: Any) -> AsyncIterator[Any]:
        yield told(operation())
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.Event().wait()

    return watch


def test_ctrl_c_cancels_waits_and_tells_how_to_resume(script: Script, holdfast: Command, strategy: str) -> None:
    cancelled = operation(
        "CANCELLED",
        failure=operation_pb2.Failure(reason="CANCELLED", message="Cancelled by the user."),
        checkpoint=SAVED,
        resumable=True,
    )
    script.on("WatchOperation", interrupting(), lambda request: [told(operation("CANCELLING")), told(cancelled)])
    script.on("CancelOperation", coordinator_service_pb2.CancelOperationResponse(operation=operation("CANCELLING")))
    said = holdfast("train", strategy)
    assert said.code == 1
    assert len(script.asked("CancelOperation")) == 1
    assert "waiting for its checkpoint" in said.err
    assert "epoch 29, saved as op-1/1-29" in said.err
    assert "holdfast operations resume op-1" in said.err


def test_the_second_ctrl_c_leaves_it_to_itself(script: Script, holdfast: Command, strategy: str) -> None:
    script.on("WatchOperation", interrupting(), interrupting())
    script.on("CancelOperation", coordinator_service_pb2.CancelOperationResponse(operation=operation("CANCELLING")))
    said = holdfast("train", strategy)
    assert said.code == 1
    assert "holdfast operations watch op-1" in said.err


def test_a_finish_that_overtakes_the_cancel_is_a_success(script: Script, holdfast: Command, strategy: str) -> None:
    completed = operation("COMPLETED", training_result=TRAINED)
    script.on("WatchOperation", interrupting(), lambda request: [told(completed)])
    script.on("CancelOperation", coordinator_service_pb2.CancelOperationResponse(operation=completed))
    assert holdfast("train", strategy).code == 0


def test_ctrl_c_while_only_watching_does_not_cancel(script: Script, holdfast: Command) -> None:
    script.on("GetOperation", coordinator_service_pb2.GetOperationResponse(operation=operation()))
    script.on("WatchOperation", interrupting())
    said = holdfast("operations", "watch", "op-1")
    assert said.code == 130
    assert not script.asked("CancelOperation")
    assert "goes on" in said.err


def test_cancel_waits_and_succeeds(script: Script, holdfast: Command) -> None:
    cancelled = operation("CANCELLED", checkpoint=SAVED, resumable=True)
    script.on("GetOperation", coordinator_service_pb2.GetOperationResponse(operation=operation()))
    script.on("CancelOperation", coordinator_service_pb2.CancelOperationResponse(operation=operation("CANCELLING")))
    script.on("WatchOperation", [told(cancelled)])
    said = holdfast("operations", "cancel", "op-1", "--reason", "enough")
    assert said.code == 0
    assert script.asked("CancelOperation")[0].reason == "enough"
    assert "holdfast operations resume op-1" in said.err


def test_resume_follows_when_asked(script: Script, holdfast: Command) -> None:
    script.on("GetOperation", coordinator_service_pb2.GetOperationResponse(operation=operation("FAILED")))
    resuming = operation("RESUMING", attempt=2, checkpoint=SAVED)
    script.on("ResumeOperation", coordinator_service_pb2.ResumeOperationResponse(operation=resuming, checkpoint=SAVED))
    script.on("WatchOperation", [told(resuming), told(operation("COMPLETED", training_result=TRAINED))])
    said = holdfast("ops", "resume", "op-1", "--checkpoint", "op-1/1-29", "--follow")
    assert said.code == 0
    assert "Resuming op-1 from epoch 29." in said.err
    assert script.asked("ResumeOperation")[0].checkpoint.checkpoint_id == "op-1/1-29"


def test_a_backtest_stands_beside_buy_and_hold(script: Script, holdfast: Command) -> None:
    result = operation_pb2.BacktestResult(
        result_uri="op-2/result-1",
        metrics={"total_return": 0.21, "sharpe": 0.9, "trades": 12.0},
        benchmark_metrics={"total_return": 0.35, "sharpe": 0.7},
        trades=12,
    )
    kind = operation_pb2.OPERATION_KIND_BACKTEST
    started = operation("PENDING", operation_id="op-2", kind=kind)
    script.on("StartBacktest", coordinator_service_pb2.StartBacktestResponse(operation=started))
    done = operation("COMPLETED", operation_id="op-2", kind=kind, backtest_result=result)
    script.on("WatchOperation", [told(done)])
    said = holdfast("backtest", "--model", "op-1", "--from", "2014-01-01", "--to", "2018-12-31", "--cash", "5000")
    assert said.code == 0
    lines = {line.strip() for line in said.out.splitlines()}
    assert any("total return" in line and "21.0%" in line and "35.0%" in line for line in lines)
    assert any("trades" in line and "–" in line for line in lines)
    (request,) = script.asked("StartBacktest")
    assert (request.spec.start_date, request.spec.end_date, request.spec.initial_cash) == (
        "2014-01-01",
        "2018-12-31",
        5000,
    )
