"""The client against a scripted coordinator: arguments, pages, retries, errors, and how an operation is followed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

import holdfast
from holdfast import errors
from holdfast.sdk._loop import run
from holdfast.v1 import checkpoint_pb2, checkpoint_service_pb2, coordinator_service_pb2, operation_pb2
from tests.support.scripted import Script, event, operation, scripted_coordinator, told

STRATEGY = "name: spx daily\ntraining:\n  epochs: 30\n"


@pytest.fixture
def script() -> Iterator[Script]:
    with scripted_coordinator() as script:
        yield script


@pytest.fixture
def client(script: Script) -> Iterator[holdfast.Client]:
    with holdfast.Client(script.address, patience=5.0) as client:
        yield client


def started(request: Any) -> Any:
    return coordinator_service_pb2.StartTrainingResponse(operation=operation("PENDING"))


def test_train_carries_the_whole_strategy_with_its_overrides(
    script: Script, client: holdfast.Client, tmp_path: Path
) -> None:
    script.on("StartTraining", started)
    file = tmp_path / "strategy.yaml"
    file.write_text(STRATEGY)
    handle = client.train(
        file, overrides={"training.epochs": 5, "training.seed": 7}, checkpoint_every=2, max_attempts=3
    )
    (request,) = script.asked("StartTraining")
    assert request.spec.strategy == "name: spx daily\ntraining:\n  epochs: 5\n  seed: 7\n"
    assert request.spec.checkpoint_policy.every_units == 2
    assert request.max_attempts == 3
    assert (handle.id, handle.status, handle.kind) == ("op-1", holdfast.Status.PENDING, holdfast.Kind.TRAINING)


def test_a_start_that_meets_unavailable_is_repeated_with_the_same_request_id(
    script: Script, client: holdfast.Client
) -> None:
    script.on(
        "StartTraining", errors.Unavailable("The database is unavailable."), errors.Unavailable("Still away."), started
    )
    client.train(STRATEGY)
    requests = script.asked("StartTraining")
    assert len(requests) == 3
    assert len({request.request_id for request in requests}) == 1
    assert requests[0].request_id


def test_two_starts_have_different_request_ids(script: Script, client: holdfast.Client) -> None:
    script.on("StartTraining", started)
    client.train(STRATEGY)
    client.train(STRATEGY)
    first, second = script.asked("StartTraining")
    assert first.request_id != second.request_id


def test_only_unavailable_is_retried(script: Script, client: holdfast.Client) -> None:
    violation = errors.Violation("training.epochs", "-1", "1 or more")
    script.on("StartTraining", errors.InvalidRequest("One field is wrong.", violations=[violation]))
    with pytest.raises(errors.InvalidRequest) as caught:
        client.train(STRATEGY)
    assert caught.value.violations == (violation,)
    assert caught.value.__cause__ is not None
    assert len(script.asked("StartTraining")) == 1


def test_patience_ends(script: Script) -> None:
    script.on("GetOperation", errors.Unavailable("The database is unavailable.", reason="DATABASE_UNAVAILABLE"))
    with holdfast.Client(script.address, patience=0.0) as client, pytest.raises(errors.Unavailable) as caught:
        client.operation("op-1")
    assert caught.value.reason == "DATABASE_UNAVAILABLE"


def test_an_absent_coordinator_is_named_with_the_way_out() -> None:
    with scripted_coordinator() as script:
        address = script.address
    with holdfast.Client(address, patience=0.0) as client, pytest.raises(errors.Unavailable) as caught:
        client.operations()
    assert caught.value.reason == "COORDINATOR_UNREACHABLE"
    assert address in caught.value.message
    assert "holdfast up" in caught.value.message


def test_connect_tells_at_once_that_nobody_answers(script: Script) -> None:
    script.on("GetSystemStatus", errors.Unavailable("starting"))
    with pytest.raises(errors.Unavailable):
        holdfast.connect(script.address, patience=0.0)


def test_listings_walk_all_pages_up_to_the_limit(script: Script, client: holdfast.Client) -> None:
    def page(request: Any) -> Any:
        first = int(request.page_token or "0")
        return coordinator_service_pb2.ListOperationsResponse(
            operations=[operation(operation_id=f"op-{number}") for number in range(first, first + request.page_size)],
            next_page_token=str(first + request.page_size) if first < 400 else "",
            total_size=600,
        )

    script.on("ListOperations", page)
    assert [handle.id for handle in client.operations(limit=250)] == [f"op-{number}" for number in range(250)]
    assert len(client.operations()) == 600
    assert client.operations(statuses=["running"], kinds=["Training"], resumable=True, limit=1)[0].id == "op-0"
    request = script.asked("ListOperations")[-1]
    assert list(request.statuses) == [operation_pb2.OPERATION_STATUS_RUNNING]
    assert list(request.kinds) == [operation_pb2.OPERATION_KIND_TRAINING]
    assert request.resumable_only


def test_an_unknown_status_is_refused_before_anything_is_asked(script: Script, client: holdfast.Client) -> None:
    with pytest.raises(errors.InvalidRequest, match="one of pending, running"):
        client.operations(statuses=["runing"])
    assert not script.requests


def test_watch_goes_on_after_a_broken_stream_without_repeating_an_event(
    script: Script, client: holdfast.Client
) -> None:
    script.on(
        "WatchOperation",
        [told(operation()), told(event(1)), told(event(2)), errors.Unavailable("The coordinator stops.")],
        # A server that replays more than was asked for must not make an event appear twice.
        [told(operation()), told(event(2)), told(event(3)), told(operation("COMPLETED"))],
    )
    script.on("GetOperation", coordinator_service_pb2.GetOperationResponse(operation=operation()))
    updates = list(client.operation("op-1").watch())
    assert [update.event.sequence for update in updates if update.event is not None] == [1, 2, 3]
    assert updates[-1].operation.status is holdfast.Status.COMPLETED
    assert [request.after_sequence for request in script.asked("WatchOperation")] == [0, 2]


def test_watch_opens_again_when_a_draining_coordinator_ends_the_stream_early(
    script: Script, client: holdfast.Client
) -> None:
    script.on("WatchOperation", [told(operation()), told(event(1))], [told(operation("FAILED"))])
    script.on("GetOperation", coordinator_service_pb2.GetOperationResponse(operation=operation()))
    assert client.operation("op-1").wait().status is holdfast.Status.FAILED


def test_following_gives_up_when_nobody_answers_for_too_long(
    script: Script, client: holdfast.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.sdk._operation.FOLLOW_PATIENCE", 0.0)
    script.on("WatchOperation", errors.Unavailable("The database is unavailable."))
    script.on("GetOperation", coordinator_service_pb2.GetOperationResponse(operation=operation()))
    with pytest.raises(errors.Unavailable):
        client.operation("op-1").wait()


def test_following_what_does_not_exist_ends_at_once(script: Script, client: holdfast.Client) -> None:
    script.on("WatchOperation", errors.NotFound("There is no operation op-1."))
    script.on("GetOperation", coordinator_service_pb2.GetOperationResponse(operation=operation()))
    with pytest.raises(errors.NotFound):
        client.operation("op-1").wait()
    assert len(script.asked("WatchOperation")) == 1


def test_progress_brings_the_handle_up_to_date(script: Script, client: holdfast.Client) -> None:
    progress = operation_pb2.Progress(phase="training", unit_name="epoch", unit=3, total_units=30)
    script.on("WatchOperation", [told(operation()), told(progress), told(operation("COMPLETED", progress=progress))])
    script.on("GetOperation", coordinator_service_pb2.GetOperationResponse(operation=operation()))
    seen = [update.operation.progress.unit for update in client.operation("op-1").watch() if update.progress]
    assert seen == [3]


def test_leaving_a_watch_early_ends_its_stream(script: Script, client: holdfast.Client) -> None:
    ended = asyncio.Event()

    async def endless(request: Any) -> AsyncIterator[Any]:
        try:
            while True:
                yield told(operation())
        finally:
            ended.set()

    script.on("WatchOperation", endless)
    script.on("GetOperation", coordinator_service_pb2.GetOperationResponse(operation=operation()))
    watch = client.operation("op-1").watch()
    assert next(watch).operation.id == "op-1"
    watch.close()
    run(asyncio.wait_for(ended.wait(), 30.0))


def test_wait_has_a_timeout(script: Script, client: holdfast.Client) -> None:
    async def silent(request: Any) -> AsyncIterator[Any]:
        yield told(operation())
        await asyncio.Event().wait()

    script.on("WatchOperation", silent)
    script.on("GetOperation", coordinator_service_pb2.GetOperationResponse(operation=operation()))
    with pytest.raises(TimeoutError):
        client.operation("op-1").wait(timeout=0.05)


def test_result_needs_a_completed_operation(script: Script, client: holdfast.Client) -> None:
    failure = operation_pb2.Failure(reason="RUN_DIED", message="The run was killed by SIGKILL.")
    result = operation_pb2.TrainingResult(model_uri="op-1/model-1", metrics={"accuracy": 0.5})
    script.on(
        "GetOperation",
        coordinator_service_pb2.GetOperationResponse(operation=operation()),
        coordinator_service_pb2.GetOperationResponse(operation=operation("FAILED", failure=failure)),
        coordinator_service_pb2.GetOperationResponse(operation=operation("COMPLETED", training_result=result)),
    )
    handle = client.operation("op-1")
    with pytest.raises(errors.NotPossible, match="RUNNING"):
        _ = handle.result
    with pytest.raises(errors.OperationFailed, match="killed by SIGKILL") as caught:
        _ = handle.refresh().result
    assert caught.value.reason == "RUN_DIED"
    assert handle.refresh().result.metrics["accuracy"] == 0.5


def test_cancel_and_resume_name_what_they_mean(script: Script, client: holdfast.Client) -> None:
    script.on("GetOperation", coordinator_service_pb2.GetOperationResponse(operation=operation()))
    script.on("CancelOperation", coordinator_service_pb2.CancelOperationResponse(operation=operation("CANCELLED")))
    script.on(
        "ResumeOperation", coordinator_service_pb2.ResumeOperationResponse(operation=operation("RESUMING", attempt=2))
    )
    handle = client.operation("op-1").cancel("enough")
    assert handle.done
    resumed = handle.resume("op-1/1-3", allow_data_change=True)
    assert (resumed.status, resumed.attempt) == (holdfast.Status.RESUMING, 2)
    (cancel,) = script.asked("CancelOperation")
    (resume,) = script.asked("ResumeOperation")
    assert cancel.reason == "enough"
    assert (resume.checkpoint.checkpoint_id, resume.allow_data_change) == ("op-1/1-3", True)
    assert resume.request_id


def test_a_resume_that_lost_the_race_says_so(script: Script, client: holdfast.Client) -> None:
    script.on("GetOperation", coordinator_service_pb2.GetOperationResponse(operation=operation("FAILED")))
    script.on("ResumeOperation", errors.LostRace("Another resume of op-1 was first.", reason="RESUME_LOST_RACE"))
    with pytest.raises(errors.LostRace) as caught:
        client.operation("op-1").resume()
    assert caught.value.reason == "RESUME_LOST_RACE"


def test_a_backtest_takes_a_training_s_handle(script: Script, client: holdfast.Client) -> None:
    script.on("GetOperation", coordinator_service_pb2.GetOperationResponse(operation=operation("COMPLETED")))
    script.on("StartBacktest", coordinator_service_pb2.StartBacktestResponse(operation=operation("PENDING")))
    client.backtest(model=client.operation("op-1"), start="2014-01-01", cash=5000.0)
    (request,) = script.asked("StartBacktest")
    assert request.spec.model_operation_id == "op-1"
    assert (request.spec.strategy, request.spec.start_date, request.spec.initial_cash) == ("", "2014-01-01", 5000.0)


def test_a_delete_is_never_repeated_and_needs_a_full_id(script: Script, client: holdfast.Client) -> None:
    script.on("DeleteCheckpoint", errors.Unavailable("The database is unavailable."))
    with pytest.raises(errors.NotFound):
        client.delete_checkpoint("op-1")
    with pytest.raises(errors.Unavailable):
        client.delete_checkpoint("op-1/1-3")
    assert len(script.asked("DeleteCheckpoint")) == 1


def test_a_checkpoint_is_found_by_its_id_or_its_operation(script: Script, client: holdfast.Client) -> None:
    found = checkpoint_service_pb2.GetCheckpointResponse(
        checkpoint=checkpoint_pb2.Checkpoint(checkpoint_id="op-1/1-3", unit_name="epoch", unit=3)
    )
    script.on("GetCheckpoint", found)
    assert client.checkpoint("op-1/1-3").unit == 3
    assert client.checkpoint("op-1").unit == 3
    by_id, by_operation = script.asked("GetCheckpoint")
    assert (by_id.checkpoint_id, by_id.operation_id) == ("op-1/1-3", "")
    assert (by_operation.checkpoint_id, by_operation.operation_id) == ("", "op-1")


def test_the_story_so_far_is_asked_for_as_a_replay(script: Script, client: holdfast.Client) -> None:
    script.on("WatchOperation", [told(operation()), told(event(1)), told(event(2))])
    assert [row.sequence for row in client.events("op-1")] == [1, 2]
    assert script.asked("WatchOperation")[0].replay_only


def test_the_same_in_asyncio(script: Script) -> None:
    script.on("StartTraining", started)
    script.on("WatchOperation", [told(operation()), told(operation("COMPLETED"))])

    async def scenario() -> str:
        async with holdfast.AsyncClient(script.address) as client:
            handle = await client.train(STRATEGY)
            return (await handle.wait()).status

    assert run(scenario()) == "COMPLETED"
