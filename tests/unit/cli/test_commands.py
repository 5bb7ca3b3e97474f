"""Listings, JSON, messages and exit codes of the commands, against a scripted coordinator."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from holdfast import errors
from holdfast.artifacts.identity import claim_store
from holdfast.artifacts.store import open_store
from holdfast.local.processes import birth
from holdfast.local.records import Record, write_record
from holdfast.v1 import (
    checkpoint_pb2,
    checkpoint_service_pb2,
    coordinator_service_pb2,
    operation_pb2,
    worker_pb2,
)
from tests.support.scripted import Script, event, operation, told
from tests.unit.cli.conftest import Command

SAVED = checkpoint_pb2.Checkpoint(
    checkpoint_id="op-1/1-7000",
    operation_id="op-1",
    attempt=1,
    type=checkpoint_pb2.CHECKPOINT_TYPE_CANCELLATION,
    unit_name="bar",
    unit=7000,
    size_bytes=1536,
    create_time=Timestamp(seconds=1_700_000_000, nanos=500_000_000),
)
WORKER = worker_pb2.Worker(
    worker_id="trainer-1",
    kind=worker_pb2.WORKER_KIND_TRAINER,
    status=worker_pb2.WORKER_STATUS_CONNECTED,
    slots=2,
    address="127.0.0.1:5",
    runs=[worker_pb2.RunRef(operation_id="op-1", attempt=1)],
)


def test_operations_list_shows_checkpoints_and_a_summary(script: Script, holdfast: Command) -> None:
    script.on(
        "ListOperations",
        coordinator_service_pb2.ListOperationsResponse(
            operations=[
                operation("CANCELLED", checkpoint=SAVED, resumable=True),
                operation("RUNNING", operation_id="op-2"),
            ],
            total_size=2,
        ),
    )
    said = holdfast("operations", "list", "--resumable", "--status", "cancelled", "--kind", "training")
    assert said.code == 0
    assert "bar 7000" in said.out
    assert said.err.splitlines()[-1] == (
        "2 operations: 1 cancelled, 1 running; 1 can be resumed (holdfast operations resume ID)."
    )
    assert script.asked("ListOperations")[0].resumable_only


def test_json_has_short_names_numbers_and_iso_times(script: Script, holdfast: Command) -> None:
    script.on(
        "ListOperations",
        coordinator_service_pb2.ListOperationsResponse(
            operations=[
                operation(
                    "FAILED",
                    checkpoint=SAVED,
                    progress=operation_pb2.Progress(metrics={"loss": float("nan"), "equity": 1.5}),
                )
            ]
        ),
    )
    (found,) = json.loads(holdfast("ops", "list", "--json").out)
    assert (found["status"], found["kind"]) == ("FAILED", "TRAINING")
    assert found["checkpoint"]["unit"] == 7000
    assert found["checkpoint"]["type"] == "CANCELLATION"
    assert found["checkpoint"]["create_time"] == "2023-11-14T22:13:20.500000Z"
    assert found["progress"]["metrics"] == {"equity": 1.5, "loss": "NaN"}


def test_empty_listings_say_what_to_do(script: Script, holdfast: Command) -> None:
    script.on("ListOperations", coordinator_service_pb2.ListOperationsResponse())
    script.on("ListWorkers", coordinator_service_pb2.ListWorkersResponse())
    assert "holdfast train" in holdfast("operations", "list").err
    assert "holdfast train" in holdfast("models", "list").err
    assert "holdfast up" in holdfast("workers", "list").err
    assert "holdfast data sample" in holdfast("data", "list").err
    assert json.loads(holdfast("models", "list", "--json").out) == []
    assert json.loads(holdfast("data", "list", "--json").out) == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InvalidRequest("One field is wrong.", violations=[errors.Violation("a.b", "-1", "1 or more")]), 2),
        (errors.NotFound("There is no operation op-1."), 3),
        (errors.NotPossible("op-1 is RUNNING."), 4),
        (errors.LostRace("Another resume was first."), 4),
        (errors.AtCapacity("5 active researches, limit is 5."), 4),
        (errors.Corrupted("model.safetensors differs."), 1),
        (errors.InternalError("A defect."), 1),
    ],
)
def test_every_error_is_one_message_and_its_exit_code(
    script: Script, holdfast: Command, error: errors.HoldfastError, code: int
) -> None:
    script.on("GetOperation", error)
    said = holdfast("operations", "show", "op-1")
    assert said.code == code
    assert said.err.startswith(f"holdfast: {error.message}\n")
    assert ("a.b: -1 is not allowed; 1 or more" in said.err) == (code == 2)
    assert said.out == ""


def test_an_unreachable_coordinator_is_5(holdfast: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.cli.clients.PATIENCE", 0.0)
    monkeypatch.setenv("HOLDFAST_COORDINATOR", "127.0.0.1:1")
    said = holdfast("status")
    assert said.code == 5
    assert said.err == (
        "holdfast: No coordinator answers at 127.0.0.1:1. "
        "Start one with `holdfast up`, or name another with HOLDFAST_COORDINATOR.\n"
    )
    assert json.loads(holdfast("status", "--json").out)["reachable"] is False


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-command"],
        ["train"],
        ["train", "s.yaml", "--epochs", "-1"],
        ["train", "s.yaml", "--epochs", "many"],
        ["train", "/no/such/file.yaml"],
        ["backtest"],
        ["operations", "list", "--status", "runing"],
        ["train", "s.yaml", "--set", "nothing"],
    ],
)
def test_usage_errors_are_2(script: Script, holdfast: Command, arguments: list[str]) -> None:
    said = holdfast(*arguments)
    assert said.code == 2
    assert said.err
    assert not script.requests


def test_a_bad_setting_is_one_line(holdfast: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORPHAN_TIMEOUT_SECONDS", "soon")
    said = holdfast("status")
    assert said.code == 2
    assert "ORPHAN_TIMEOUT_SECONDS" in said.err
    assert len(said.err.splitlines()) == 1


def test_a_defect_is_one_line_and_a_file(holdfast: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken() -> Any:
        raise ZeroDivisionError("inside")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("holdfast.cli.system.client", broken)
    said = holdfast("status")
    assert said.code == 1
    assert len(said.err.splitlines()) == 1
    (file,) = tmp_path.glob("holdfast-*.log")
    assert str(file) in said.err
    assert "ZeroDivisionError: inside" in file.read_text()


def test_a_missing_package_names_its_extra(holdfast: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Any:
        raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")

    monkeypatch.setattr("holdfast.cli.system.client", missing)
    said = holdfast("status")
    assert said.code == 1
    assert "pip install 'holdfast-quant[report]'" in said.err


def test_show_tells_everything(script: Script, holdfast: Command) -> None:
    script.on(
        "GetOperation",
        coordinator_service_pb2.GetOperationResponse(
            operation=operation(
                "FAILED",
                checkpoint=SAVED,
                resumable=True,
                worker_id="trainer-1",
                failure=operation_pb2.Failure(message="Operation was RUNNING but no worker claimed it"),
                progress=operation_pb2.Progress(phase="training", unit_name="epoch", unit=3, total_units=30),
            )
        ),
    )
    said = holdfast("operations", "show", "op-1")
    assert "trainer-1" in said.out
    assert "training 10% epoch 3/30" in said.out
    assert "no worker claimed it" in said.err


@pytest.mark.parametrize(
    ("kinds", "warned"),
    [
        (["CLAIMED"], False),
        (["CLAIMED", "RUN_UNRESPONSIVE"], True),
        (["RUN_UNRESPONSIVE", "RUN_RESPONSIVE"], False),
        (["RUN_UNRESPONSIVE", "CHECKPOINT_SAVED", "RUN_STALLED"], True),
    ],
)
def test_show_says_that_a_run_gives_no_sign_of_life(
    script: Script, holdfast: Command, kinds: list[str], warned: bool
) -> None:
    script.on("GetOperation", coordinator_service_pb2.GetOperationResponse(operation=operation("RUNNING")))
    script.on(
        "WatchOperation",
        [told(event(number + 1, kind, f"{kind} of a process that is stopped")) for number, kind in enumerate(kinds)],
    )
    said = holdfast("operations", "show", "op-1")
    assert said.code == 0
    assert (f"{kinds[-1]} of a process that is stopped" in said.err) == warned


def test_events_tell_the_story(script: Script, holdfast: Command) -> None:
    story = [told(operation("COMPLETED")), told(event(1, "CREATED", "Created.")), told(event(2, "CLAIMED", "Claimed."))]
    script.on("WatchOperation", story)
    said = holdfast("operations", "events", "op-1")
    assert said.out.index("CREATED") < said.out.index("CLAIMED")
    assert [row["sequence"] for row in json.loads(holdfast("operations", "events", "op-1", "--json").out)] == [1, 2]


def test_workers(script: Script, holdfast: Command) -> None:
    script.on("ListWorkers", coordinator_service_pb2.ListWorkersResponse(workers=[WORKER]))
    script.on("DrainWorker", coordinator_service_pb2.DrainWorkerResponse(worker=WORKER))
    assert "1/2" in holdfast("workers", "list").out
    said = holdfast("workers", "drain", "trainer-1", "--stop-runs")
    assert said.code == 0
    assert "takes no new runs" in said.err
    assert script.asked("DrainWorker")[0].stop_runs


def test_status(script: Script, holdfast: Command) -> None:
    script.on(
        "GetSystemStatus",
        coordinator_service_pb2.GetSystemStatusResponse(
            version="0.1.0",
            database_connected=True,
            workers=[WORKER],
            operations_by_status={"RUNNING": 2},
            orphan_detector=coordinator_service_pb2.OrphanDetectorStatus(
                running=True, suspects=1, orphans_found=4, timeout_seconds=60, check_interval_seconds=15
            ),
        ),
    )
    said = holdfast("status")
    assert "2 running" in said.out
    assert "1 suspects, 4 orphans found" in said.out
    assert "trainer-1" in said.out
    assert json.loads(holdfast("status", "--json").out)["orphan_detector"]["suspects"] == 1


def test_status_without_a_database_is_5_and_counts_nothing(script: Script, holdfast: Command) -> None:
    script.on(
        "GetSystemStatus",
        coordinator_service_pb2.GetSystemStatusResponse(
            version="0.1.0",
            database_lost_time=Timestamp(seconds=1_700_000_000),
            database_error="Connection refused",
        ),
    )
    said = holdfast("status")
    assert said.code == 5
    assert "none yet" not in said.out
    assert "unknown: the database" in said.out
    assert "unavailable since 2023-11-1" in said.out
    assert "Connection refused" in said.out
    assert "HOLDFAST_DATABASE_URL" in said.err
    as_json = holdfast("status", "--json")
    assert as_json.code == 5
    found = json.loads(as_json.out)
    assert found["database_connected"] is False
    assert found["database_lost_time"].startswith("2023-11-14")
    assert found["next"] in as_json.err


def test_status_of_a_database_that_only_reads_says_so(script: Script, holdfast: Command) -> None:
    answer = coordinator_service_pb2.GetSystemStatusResponse(database_connected=True, database_error="No space left")
    script.on("GetSystemStatus", answer)
    said = holdfast("status")
    assert said.code == 0
    assert "connected, but refusing: No space left" in said.out


def test_checkpoints(script: Script, holdfast: Command) -> None:
    script.on("ListCheckpoints", checkpoint_service_pb2.ListCheckpointsResponse(checkpoints=[SAVED]))
    script.on("GetCheckpoint", checkpoint_service_pb2.GetCheckpointResponse(checkpoint=SAVED))
    script.on(
        "VerifyCheckpoint",
        checkpoint_service_pb2.VerifyCheckpointResponse(valid=False, problems=["state.safetensors is truncated"]),
        checkpoint_service_pb2.VerifyCheckpointResponse(valid=True, bytes_read=2048),
    )
    script.on("DeleteCheckpoint", checkpoint_service_pb2.DeleteCheckpointResponse(bytes_freed=1536))
    script.on(
        "CleanUpCheckpoints",
        checkpoint_service_pb2.CleanUpCheckpointsResponse(deleted_checkpoint_ids=["op-1/1-7000"], bytes_freed=1536),
        checkpoint_service_pb2.CleanUpCheckpointsResponse(failures=["op-2/1-1: permission denied"]),
    )
    script.on(
        "GetCheckpointStats",
        checkpoint_service_pb2.GetCheckpointStatsResponse(
            checkpoints=1, operations=1, bytes=1536, checkpoints_by_type={"CANCELLATION": 1}, oldest_age_seconds=90.0
        ),
    )
    said = holdfast("checkpoints", "list", "op-1")
    assert "cancellation" in said.out
    assert said.err == "1 checkpoints, 1.5 KiB.\n"
    assert "bar 7000" in holdfast("checkpoints", "show", "op-1").out
    said = holdfast("checkpoints", "verify", "op-1/1-7000")
    assert (said.code, said.out) == (1, "state.safetensors is truncated\n")
    assert holdfast("checkpoints", "verify", "op-1/1-7000").code == 0
    assert "1.5 KiB freed" in holdfast("checkpoints", "delete", "op-1/1-7000").out
    said = holdfast("checkpoints", "cleanup", "--dry-run")
    assert "1 would be deleted, 1.5 KiB to be freed." in said.err
    said = holdfast("checkpoints", "cleanup")
    assert said.code == 1
    assert "permission denied" in said.err
    assert "1 cancellation" in holdfast("checkpoints", "stats").out


def test_models(script: Script, holdfast: Command) -> None:
    result = operation_pb2.TrainingResult(model_digest="ab" * 32, epochs=30, best_epoch=12, metrics={"accuracy": 0.53})
    script.on(
        "ListOperations",
        coordinator_service_pb2.ListOperationsResponse(operations=[operation("COMPLETED", training_result=result)]),
    )
    said = holdfast("models", "list")
    assert "12/30" in said.out
    assert "accuracy 0.53" in said.out
    (model,) = json.loads(holdfast("models", "list", "--json").out)
    assert (model["operation_id"], model["best_epoch"]) == ("op-1", 12)


def test_a_report_of_an_unfinished_operation_is_a_conflict(script: Script, holdfast: Command, tmp_path: Path) -> None:
    script.on("GetOperation", coordinator_service_pb2.GetOperationResponse(operation=operation()))
    picture = tmp_path / "p.png"
    assert holdfast("report", "op-1", "--output", str(picture)).code == 4
    assert not picture.exists()


def test_store_show_reads_the_store_itself(holdfast: Command, home: Path) -> None:
    assert "none yet" in holdfast("store", "show").out
    claim_store(open_store(str(home / "store")), "ab" * 16)
    assert "ab" * 16 in holdfast("store", "show").out
    shown = json.loads(holdfast("store", "show", "--json").out)
    assert (shown["url"], shown["store_id"]) == (str(home / "store"), "ab" * 16)


def test_store_adopt_is_refused_while_the_coordinator_runs(holdfast: Command, home: Path) -> None:
    (home / "run").mkdir(parents=True)
    ourselves = Record(name="coordinator", pid=os.getpid(), born=birth(os.getpid()), command=[], log="")
    write_record(home, ourselves)
    said = holdfast("store", "adopt")
    assert said.code == 4
    assert "holdfast down" in said.err
