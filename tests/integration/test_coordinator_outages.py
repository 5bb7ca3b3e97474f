"""PostgreSQL goes away and comes back; coordinators die, stop, and meet each other on one database."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import asyncpg
import pytest

from holdfast.errors import NotPossible, Unavailable
from holdfast.local.postgres import EmbeddedPostgres
from holdfast.services.coordinator.postgres.leadership import Leadership
from holdfast.services.coordinator.postgres.migrations import migrate
from holdfast.services.coordinator.postgres.pool import Database, masked
from holdfast.v1 import worker_pb2
from tests.support.coordinator import Caller, running_coordinator
from tests.support.postgres import TestServer, running_server
from tests.support.scripted_worker import ScriptedWorker, ref
from tests.support.waiting import until


@pytest.fixture
def own_server() -> Iterator[EmbeddedPostgres]:
    """A server that the test may stop; durable, so that a crash loses nothing."""
    with running_server({"max_connections": "50"}) as server:
        yield server


@pytest.fixture
async def fresh_database(own_server: EmbeddedPostgres) -> str:
    connection = await asyncpg.connect(own_server.url("postgres"))
    await connection.execute("CREATE DATABASE holdfast")
    await connection.close()
    return own_server.url("holdfast")


async def test_an_outage_loses_nothing_and_doubles_nothing(
    own_server: EmbeddedPostgres, fresh_database: str, tmp_path: Path
) -> None:
    async with running_coordinator(fresh_database, tmp_path) as caller, ScriptedWorker(caller.address) as worker:
        await worker.register()
        operation_id = (await caller.start()).operation_id
        await worker.assigned()
        updates: list[str] = []
        watching = asyncio.create_task(collect(caller, operation_id, updates))
        await until(lambda: len(updates) == 2, "the watch to begin")
        await asyncio.to_thread(own_server.stop, immediate=True)

        # Callers are told, in one line; the worker goes on reporting and is not acknowledged yet.
        with pytest.raises(Unavailable) as away:
            await caller.get(operation_id)
        assert away.value.reason == "DATABASE_UNAVAILABLE"
        assert not (await caller.system()).database_connected
        run = ref(operation_id, 1)
        saved = caller.write_checkpoint(operation_id, 1, 5)
        facts = [worker.fact(checkpoint_saved=worker_pb2.CheckpointSaved(run=run, checkpoint=saved))]
        for number in range(50):
            worker.progress(operation_id, 1, number)
        worker.runs.clear()
        facts.append(worker.fact(run_finished=caller.completed(operation_id, 1)))
        await until(lambda: caller.rooms.board.newest(operation_id, 1), "progress without a database")
        assert worker.connected
        assert not worker.acknowledged & set(facts)

        await asyncio.to_thread(own_server.start, "holdfast")
        for fact in facts:
            await worker.settled(fact)
        operation = await caller.get(operation_id)
        assert operation.progress.unit == 49
        assert await caller.events(operation_id) == ["CREATED", "CLAIMED", "CHECKPOINT_SAVED", "COMPLETED"]
        await watching
        assert updates == ["CREATED", "CLAIMED", "CHECKPOINT_SAVED", "COMPLETED"]
        # And the house is whole: the next operation runs.
        second = (await caller.start()).operation_id
        assert (await worker.assigned(2))[0] == second


async def collect(caller: Caller, operation_id: str, types: list[str]) -> None:
    async for update in caller.watch(operation_id):
        types += [update.event.type] * (update.WhichOneof("update") == "event")


async def test_an_operation_waiting_in_the_queue_survives_an_outage(
    own_server: EmbeddedPostgres, fresh_database: str, tmp_path: Path
) -> None:
    async with running_coordinator(fresh_database, tmp_path) as caller, ScriptedWorker(caller.address) as worker:
        operation_id = (await caller.start()).operation_id
        await asyncio.to_thread(own_server.stop, immediate=True)
        registering = asyncio.create_task(_register_until_in(worker))
        await asyncio.to_thread(own_server.start, "holdfast")
        await registering
        claimed, _ = await worker.assigned()
        assert claimed == operation_id


async def _register_until_in(worker: ScriptedWorker) -> None:
    import grpc

    while True:
        try:
            await worker.register()
            return
        except grpc.aio.AioRpcError as error:
            assert error.code() == grpc.StatusCode.UNAVAILABLE  # noqa: PT017 - the loop is the test
            await asyncio.sleep(0.01)


async def test_cut_connections_are_replaced_unseen(postgres: TestServer, database_url: str, tmp_path: Path) -> None:
    async with running_coordinator(database_url, tmp_path) as caller:
        for _ in range(3):
            await postgres.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                f"WHERE datname = '{database_url.rpartition('/')[2].partition('?')[0]}' AND pid <> pg_backend_pid()"
            )
            await caller.start()


# Leadership


async def test_a_second_coordinator_is_refused_by_name(database_url: str, tmp_path: Path) -> None:
    async with running_coordinator(database_url, tmp_path) as earlier:
        database = await Database.connect(database_url)
        second = Leadership(database, "127.0.0.1:7401")
        with pytest.raises(NotPossible) as taken:
            await second.take(patience=0.1)
        assert taken.value.reason == "COORDINATOR_ALREADY_RUNS"
        assert f"process {os.getpid()}" in taken.value.message
        await second.release()
        await database.close()
    async with running_coordinator(database_url, tmp_path) as later:
        assert later.rooms.term > earlier.rooms.term


async def test_the_lock_is_taken_again_after_its_session_was_lost(database_url: str) -> None:
    database = await Database.connect(database_url)
    leadership = Leadership(database, "here")
    await leadership.take()
    keeping = asyncio.create_task(leadership.keep())
    holder = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
    before = await database.run(lambda c: c.fetchval(holder))
    await database.run(lambda c: c.execute("SELECT pg_terminate_backend($1)", before))
    leadership.suspect()

    async def held_again() -> bool:
        now = await database.run(lambda c: c.fetchval(holder))
        return now is not None and now != before

    await until(held_again, "the lock to be held again")
    keeping.cancel()
    await leadership.release()
    await database.close()


async def test_a_newer_term_wins(database_url: str) -> None:
    database = await Database.connect(database_url)
    older = Leadership(database, "older")
    await older.take()
    keeping = asyncio.create_task(older.keep())
    # As after a restart of PostgreSQL in which the newer one was faster.
    await older.release()
    newer = Leadership(database, "newer")
    await newer.take()
    older.suspect()
    with pytest.raises(NotPossible) as replaced:
        await asyncio.wait_for(keeping, 20)
    assert replaced.value.reason == "COORDINATOR_REPLACED"
    await newer.release()
    await database.close()


async def test_two_migrations_at_once_take_turns(empty_database_url: str) -> None:
    databases = [await Database.connect(empty_database_url) for _ in range(2)]
    done = await asyncio.gather(*(migrate(database) for database in databases))
    fewest, most = sorted(len(names) for names in done)
    assert fewest == 0 < most
    for database in databases:
        await database.close()


async def test_an_older_server_is_refused(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.services.coordinator.postgres.pool.OLDEST_SERVER", 99)
    with pytest.raises(NotPossible, match="needs 99 or newer"):
        await Database.connect(database_url)


def test_passwords_are_masked() -> None:
    assert masked("postgresql://me:secret@host/db") == "postgresql://me:***@host/db"
    assert masked("postgresql://host/db") == "postgresql://host/db"


# The process


def coordinator_process(tmp_path: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "holdfast.services.coordinator"],
        env={**os.environ, "HOLDFAST_DATA_DIR": str(tmp_path), "HOLDFAST_LISTEN": "127.0.0.1:0", **environment},
        stderr=subprocess.PIPE,
        text=True,
    )


async def output_of(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, errors = await asyncio.to_thread(process.communicate, timeout=30)
    return process.returncode, errors


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "HOLDFAST_DATABASE_URL is not set"),
        ({"HOLDFAST_DATABASE_URL": "postgresql://127.0.0.1:1/nothing"}, "The database at postgresql://127.0.0.1:1"),
        ({"HOLDFAST_DATABASE_URL": "nonsense"}, "HOLDFAST_DATABASE_URL"),
        ({"ORPHAN_TIMEOUT_SECONDS": "-1"}, "ORPHAN_TIMEOUT_SECONDS"),
        ({"ORPHAN_CHECK_INTERVAL_SECONDS": "soon"}, "ORPHAN_CHECK_INTERVAL_SECONDS"),
    ],
)
async def test_what_an_operator_can_mend_is_one_line(
    tmp_path: Path, environment: Mapping[str, str], words: str
) -> None:
    code, errors = await output_of(coordinator_process(tmp_path, **environment))
    assert code == 1
    assert words in errors
    assert "Traceback" not in errors
    assert len(errors.strip().splitlines()) == 1


async def test_a_port_in_use_is_one_line(database_url: str, tmp_path: Path) -> None:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    process = coordinator_process(tmp_path, HOLDFAST_DATABASE_URL=database_url, HOLDFAST_LISTEN=f"127.0.0.1:{port}")
    code, errors = await output_of(process)
    server.close()
    await server.wait_closed()
    assert code == 1
    assert f"Cannot listen on 127.0.0.1:{port}" in errors
    assert "Traceback" not in errors


async def test_sigterm_drains_and_exits_with_zero(database_url: str, tmp_path: Path) -> None:
    process = coordinator_process(tmp_path, HOLDFAST_DATABASE_URL=database_url)
    assert process.stderr is not None
    lines: list[str] = []

    def read_until_started() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line)
            if "Orphan detector started" in line:
                return

    await asyncio.to_thread(read_until_started)
    assert any("Resuming coordinator" in line for line in lines)
    process.send_signal(signal.SIGTERM)
    code, errors = await output_of(process)
    assert code == 0
    assert "Coordinator stopped" in errors
    assert "Orphan detector stopped" in errors


async def test_a_dying_background_task_stops_the_process(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def die(self: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr("holdfast.services.coordinator.operations.progress.ProgressBoard.run", die)
    with pytest.raises(BaseExceptionGroup) as group:
        async with running_coordinator(database_url, tmp_path) as caller:
            await _forever(caller)
    assert group.group_contains(RuntimeError, match="a defect")


async def _forever(caller: Caller) -> None:
    # The coordinator is another task of this loop; it dies while this one waits.
    await until(lambda: not caller.rooms.servicer.draining and _gone(caller), "the coordinator to stop")


def _gone(caller: Caller) -> bool:
    return not any(task.get_name() == "coordinator" for task in asyncio.all_tasks())
