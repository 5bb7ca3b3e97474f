"""The part that does not answer is the part that is named: a scripted coordinator, and records of this very process."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from holdfast.errors import InternalError, Unavailable
from holdfast.local import answers
from holdfast.local.processes import birth
from holdfast.local.records import Record
from holdfast.v1 import coordinator_service_pb2, worker_pb2
from tests.support.scripted import Script, scripted_coordinator

Status = coordinator_service_pb2.GetSystemStatusResponse


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """One look must do."""
    monkeypatch.setattr(answers, "FOUND_TIMEOUT", 0.0)
    monkeypatch.setattr(answers, "START_TIMEOUT", 0.0)


@pytest.fixture
def script() -> Iterator[Script]:
    with scripted_coordinator() as script:
        yield script


def living(name: str, **fields: object) -> Record:
    """The record of a process that is alive: this one."""
    return Record(name, os.getpid(), birth(os.getpid()), [], f"/logs/{name}.log", worker_id=name, **fields)  # type: ignore[arg-type]


def worker(name: str, status: worker_pb2.WorkerStatus = worker_pb2.WORKER_STATUS_CONNECTED) -> worker_pb2.Worker:
    """One as the coordinator tells it."""
    return worker_pb2.Worker(worker_id=name, status=status)


def blamed(coordinator: Record, *names: str) -> tuple[str, str]:
    """Which part `await_answers` names, and in which words."""
    with pytest.raises(Unavailable) as caught:
        answers.await_answers(coordinator, [living(name) for name in names], [])
    assert caught.value.reason == "NOT_ANSWERING"
    return caught.value.metadata["process"], caught.value.message


def test_all_there(script: Script) -> None:
    script.on("GetSystemStatus", Status(database_connected=True, workers=[worker("trainer-1"), worker("trainer-2")]))
    answers.await_answers(living("coordinator", address=script.address), [living("trainer-1"), living("trainer-2")], [])


def test_the_one_worker_that_is_not_connected(script: Script) -> None:
    away = worker("trainer-2", worker_pb2.WORKER_STATUS_DISCONNECTED)
    script.on("GetSystemStatus", Status(database_connected=True, workers=[worker("trainer-1"), away]))
    name, words = blamed(living("coordinator", address=script.address), "trainer-1", "trainer-2")
    assert name == "trainer-2"
    assert script.address in words
    assert "/logs/trainer-2.log" in words


def test_the_embedded_database(script: Script) -> None:
    script.on("GetSystemStatus", Status(database_error="too many clients"))
    name, words = blamed(living("coordinator", address=script.address, embedded_database=True), "trainer-1")
    assert name == "postgres"
    assert "too many clients" in words
    assert "trainer-1" not in words


def test_a_database_of_somebody_else(script: Script) -> None:
    script.on("GetSystemStatus", Status(database_error="no route to host"))
    assert "HOLDFAST_DATABASE_URL" in blamed(living("coordinator", address=script.address), "trainer-1")[1]


def test_a_coordinator_that_answers_wrongly(script: Script) -> None:
    script.on("GetSystemStatus", InternalError("a defect"))
    name, words = blamed(living("coordinator", address=script.address), "trainer-1")
    assert name == "coordinator"
    assert f"does not answer at {script.address}" in words


def test_a_coordinator_that_does_not_listen_where_it_should() -> None:
    name, words = blamed(living("coordinator", address="127.0.0.1:1"), "trainer-1")
    assert name == "coordinator"
    assert "does not listen on 127.0.0.1:1" in words


def test_what_was_just_started_did_not_start(script: Script) -> None:
    script.on("GetSystemStatus", Status(database_connected=True))
    trainer = living("trainer-1")
    with pytest.raises(Unavailable, match="trainer-1 did not start") as caught:
        answers.await_answers(living("coordinator", address=script.address), [trainer], [trainer])
    assert caught.value.reason == "START_FAILED"
