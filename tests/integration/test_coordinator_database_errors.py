"""PostgreSQL answers with errors instead of going away: a full disk, a lost schema, a statement it cannot take."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from holdfast.errors import InternalError, NotPossible, Unavailable
from holdfast.services.coordinator.postgres.pool import Database
from holdfast.v1 import worker_pb2
from tests.support.coordinator import running_coordinator
from tests.support.scripted_worker import ScriptedWorker, ref
from tests.support.waiting import until

TABLES = ("operations", "checkpoints", "operation_events", "attempts", "requests")


async def fill_disk(url: str) -> None:
    """From now on every write is answered as by a server whose disk is full: the error comes from the server."""
    connection = await asyncpg.connect(url)
    await connection.execute(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$"
    )
    for table in TABLES:
        await connection.execute(
            f"CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE OR DELETE ON {table} EXECUTE FUNCTION full_disk()"
        )
    await connection.close()


async def make_space(url: str) -> None:
    """The operator has made space."""
    connection = await asyncpg.connect(url)
    await connection.execute("DROP FUNCTION full_disk CASCADE")
    await connection.close()


async def test_on_a_full_disk_facts_wait_and_callers_are_told(database_url: str, tmp_path: Path) -> None:
    async with running_coordinator(database_url, tmp_path) as caller, ScriptedWorker(caller.address) as worker:
        await worker.register()
        operation_id = (await caller.start()).operation_id
        await worker.assigned()
        await fill_disk(database_url)

        saved = caller.write_checkpoint(operation_id, 1, 5)
        facts = [
            worker.fact(checkpoint_saved=worker_pb2.CheckpointSaved(run=ref(operation_id, 1), checkpoint=saved)),
            worker.fact(notice=worker_pb2.RunNotice(run=ref(operation_id, 1), type="NOTED", message="x")),
        ]
        worker.progress(operation_id, 1, 7)
        with pytest.raises(Unavailable, match="No space left on device") as full:
            await caller.start()
        assert full.value.reason == "DATABASE_UNAVAILABLE"
        # Reading goes on, nothing was acknowledged, and nobody was disconnected.
        assert await caller.status(operation_id) == "RUNNING"
        assert not worker.acknowledged & set(facts)
        assert worker.connected

        await make_space(database_url)
        for fact in facts:
            await worker.settled(fact)
        worker.runs.clear()
        await worker.settled(worker.fact(run_finished=caller.completed(operation_id, 1)))
        operation = await caller.get(operation_id)
        assert operation.attempt == 1
        assert await caller.events(operation_id) == ["CREATED", "CLAIMED", "CHECKPOINT_SAVED", "NOTED", "COMPLETED"]


async def test_a_claim_waits_for_space(database_url: str, tmp_path: Path) -> None:
    async with running_coordinator(database_url, tmp_path) as caller, ScriptedWorker(caller.address) as worker:
        operation_id = (await caller.start()).operation_id
        await fill_disk(database_url)
        await worker.register()
        before = caller.rooms.database.health
        await until(lambda: before.failing, "the dispatcher to meet the full disk")
        await make_space(database_url)
        assert (await worker.assigned())[0] == operation_id


async def test_a_lost_schema_ends_the_process_and_says_why(database_url: str, tmp_path: Path) -> None:
    with pytest.raises(BaseExceptionGroup) as group:
        await lose_the_schema(database_url, tmp_path)
    assert group.group_contains(NotPossible, match="start the coordinator again")


async def lose_the_schema(database_url: str, tmp_path: Path) -> None:
    async with running_coordinator(database_url, tmp_path) as caller:
        connection = await asyncpg.connect(database_url)
        await connection.execute("DROP TABLE operations CASCADE")
        await connection.close()
        with pytest.raises(Unavailable):
            await caller.get("training-1")
        await until(lambda: not _is_up(), "the coordinator to stop")


def _is_up() -> bool:
    return any(task.get_name() == "coordinator" for task in asyncio.all_tasks())


async def test_a_defect_fails_one_call_alone(database_url: str) -> None:
    database = await Database.connect(database_url)
    with pytest.raises(InternalError, match="defect of Holdfast"):
        await database.fetch("get_operation", id="a\x00b")
    with pytest.raises(InternalError):
        await database.run(lambda connection: connection.execute("SELEC 1"))
    assert await database.fetch("get_operation", id="a") == []
    await database.close()
