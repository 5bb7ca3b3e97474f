"""Database and artifact store belong together: moved, restored, mistyped and shared ones lose nothing."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from holdfast.artifacts.identity import read_store_id
from holdfast.artifacts.store import open_store
from holdfast.errors import NotPossible
from holdfast.services.coordinator import app as process
from holdfast.services.coordinator.catalogue.pairing import pair
from holdfast.services.coordinator.postgres.pool import Database
from holdfast.v1 import worker_pb2
from tests.support.coordinator import Caller, running_coordinator, settings_for
from tests.support.postgres import TestServer
from tests.support.scripted_worker import ScriptedWorker, failed, ref


@asynccontextmanager
async def place(database_url: str, home: Path) -> AsyncIterator[tuple[Caller, ScriptedWorker]]:
    """A coordinator and a worker in a data directory."""
    async with running_coordinator(database_url, home) as caller, ScriptedWorker(caller.address, slots=2) as worker:
        await worker.register()
        yield caller, worker


async def crash_at(caller: Caller, worker: ScriptedWorker, operation_id: str, attempt: int, *units: int) -> None:
    """Its run saves at these epochs and dies."""
    for unit in units:
        saved = caller.write_checkpoint(operation_id, attempt, unit)
        run = ref(operation_id, attempt)
        await worker.settled(worker.fact(checkpoint_saved=worker_pb2.CheckpointSaved(run=run, checkpoint=saved)))
    worker.runs.clear()
    worker.fact(run_finished=failed(operation_id, attempt))
    await caller.reaches(operation_id, "FAILED")


async def crashed(caller: Caller, worker: ScriptedWorker, *units: int) -> str:
    """A new training that did so."""
    operation_id = (await caller.start()).operation_id
    await worker.given(operation_id)
    await crash_at(caller, worker, operation_id, 1, *units)
    return operation_id


def tree(root: Path) -> set[str]:
    """Every file in the store."""
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


async def refused(database_url: str, home: Path) -> NotPossible:
    """A coordinator that does not start there."""
    with pytest.raises(NotPossible) as caught:
        async with running_coordinator(database_url, home):
            pass
    assert caught.value.reason == "STORE_MISMATCH"
    assert "holdfast store adopt" in caught.value.message
    return caught.value


async def test_a_moved_data_directory_resumes(database_url: str, tmp_path: Path) -> None:
    async with place(database_url, tmp_path / "a") as (caller, worker):
        operation_id = await crashed(caller, worker, 4, 5)
    (tmp_path / "a").rename(tmp_path / "b")
    async with place(database_url, tmp_path / "b") as (caller, worker):
        assert (await caller.resume(operation_id)).checkpoint.unit == 5
        await worker.assigned()
        _, checkpoint = worker.assignments[0]
        assert checkpoint is not None
        assert checkpoint.uri == f"{operation_id}/1-5"


async def test_a_new_database_over_an_old_store_stops_and_touches_nothing(
    postgres: TestServer, database_url: str, tmp_path: Path
) -> None:
    async with place(database_url, tmp_path) as (caller, worker):
        operation_id = await crashed(caller, worker, 4, 5)
    before = tree(tmp_path / "store")
    name = await postgres.clone()
    error = await refused(postgres.url(name), tmp_path)
    assert error.metadata["store_id"] == read_store_id(open_store(str(tmp_path / "store")))
    assert error.metadata["store_id"] in error.message
    assert "belongs to no store yet" in error.message
    # One that has a store of its own is refused as well, by both ids.
    async with running_coordinator(postgres.url(name), tmp_path / "own"):
        pass
    error = await refused(postgres.url(name), tmp_path)
    for key in ("store_id", "database_store_id", "store", "database"):
        assert error.metadata[key] in error.message
    assert tree(tmp_path / "store") == before
    await postgres.drop(name)
    async with place(database_url, tmp_path) as (caller, _):
        assert (await caller.resume(operation_id)).checkpoint.unit == 5


async def test_a_store_that_is_not_mounted_stops_the_coordinator(database_url: str, tmp_path: Path) -> None:
    async with place(database_url, tmp_path) as (caller, worker):
        await crashed(caller, worker, 5)
    (tmp_path / "store").rename(tmp_path / "unmounted")
    (tmp_path / "store").mkdir()
    error = await refused(database_url, tmp_path)
    assert "not mounted" in error.message
    assert tree(tmp_path / "store") == set()


async def test_a_database_that_names_nothing_may_take_a_new_store(database_url: str, tmp_path: Path) -> None:
    async with running_coordinator(database_url, tmp_path / "a"):
        pass
    async with running_coordinator(database_url, tmp_path / "b"):
        pass
    stores = [read_store_id(open_store(str(tmp_path / home / "store"))) for home in "ab"]
    assert stores[0] == stores[1] != ""


async def test_of_two_databases_at_one_new_store_one_gets_it(postgres: TestServer, tmp_path: Path) -> None:
    names = [await postgres.clone() for _ in range(6)]
    databases = [await Database.connect(postgres.url(name)) for name in names]
    store = open_store(str(tmp_path / "store"))
    answers = await asyncio.gather(*(pair(database, store) for database in databases), return_exceptions=True)
    won = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert len(won) == 1
    assert won[0] == read_store_id(store)
    assert {answer.reason for answer in answers if isinstance(answer, NotPossible)} == {"STORE_MISMATCH"}
    for database, name in zip(databases, names, strict=True):
        await database.close()
        await postgres.drop(name)


async def test_an_older_database_over_a_newer_store_resumes(
    postgres: TestServer, database_url: str, tmp_path: Path
) -> None:
    async with place(database_url, tmp_path) as (caller, worker):
        operation_id = await crashed(caller, worker, 4, 5)
    async with running_coordinator(database_url, tmp_path) as caller:
        queued = (await caller.start()).operation_id
    backup = await postgres.clone(urlsplit(database_url).path[1:])
    async with place(database_url, tmp_path) as (caller, worker):
        await crash_at(caller, worker, await resumed(caller, worker, operation_id), 2, 8, 9)
        await crash_at(caller, worker, await resumed(caller, worker, operation_id), 3, 20, 21)
        caller.write_checkpoint(queued, 1, 3)
    async with place(postgres.url(backup), tmp_path) as (caller, worker):
        answer = await caller.resume(operation_id)
        assert (answer.checkpoint.attempt, answer.checkpoint.unit) == (3, 21)
        assert answer.operation.attempt == 4
        # It would have begun under attempt 1, which has written already.
        assert "ATTEMPT_RAISED" in await caller.events(queued)
        assert (await caller.get(queued)).attempt == 2
        caller.write_checkpoint(queued, 2, 3)
    await postgres.drop(backup)


async def resumed(caller: Caller, worker: ScriptedWorker, operation_id: str) -> str:
    """Its next attempt runs."""
    before = len(worker.assignments)
    await caller.resume(operation_id)
    await worker.assigned(before + 1)
    return operation_id


async def test_adopt_binds_a_new_database_to_an_old_store(
    postgres: TestServer, database_url: str, tmp_path: Path
) -> None:
    async with place(database_url, tmp_path) as (caller, worker):
        await crashed(caller, worker, 5)
        with pytest.raises(NotPossible) as running:
            await process.adopt_store(settings_for(database_url, tmp_path))
        assert running.value.reason == "COORDINATOR_ALREADY_RUNS"
    before, name = tree(tmp_path / "store"), await postgres.clone()
    said = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "holdfast.services.coordinator", "adopt-store"],
        env=dict(os.environ) | {"HOLDFAST_DATABASE_URL": postgres.url(name), "HOLDFAST_DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert read_store_id(open_store(str(tmp_path / "store"))) in said.stdout
    async with running_coordinator(postgres.url(name), tmp_path) as caller:
        # What the new database never knew is left alone for ever, although it carries the store's id.
        caller.rooms.sweep.leads_since -= 3600.0
        for path in (tmp_path / "store").rglob("*"):
            os.utime(path, (1.0, 1.0))
        swept = await caller.rooms.sweep.once()
        assert not swept.quarantined
        assert "does not know" in swept.note
    again = await process.adopt_store(settings_for(postgres.url(name), tmp_path))
    assert "Nothing was changed" in again
    assert tree(tmp_path / "store") == before
    await postgres.drop(name)


async def test_adopt_writes_the_id_into_a_store_that_lost_it(database_url: str, tmp_path: Path) -> None:
    async with place(database_url, tmp_path) as (caller, worker):
        operation_id = await crashed(caller, worker, 5)
    store_id = read_store_id(open_store(str(tmp_path / "store")))
    (tmp_path / "store" / "store.json").unlink()
    await refused(database_url, tmp_path)
    assert store_id in await process.adopt_store(settings_for(database_url, tmp_path))
    async with place(database_url, tmp_path) as (caller, _):
        assert (await caller.resume(operation_id)).checkpoint.unit == 5
