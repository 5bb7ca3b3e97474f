"""`holdfast up` repairs each part by itself, `holdfast status` names what is unavailable: killed and frozen."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest

from holdfast.local.postgres import EmbeddedPostgres
from holdfast.local.processes import alive
from holdfast.local.records import Record, read_all, read_record
from tests.support.command_line import Cli
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """PostgreSQL, a coordinator and one trainer; nothing is left at the end."""
    cli = Cli(tmp_path_factory.mktemp("parts"))
    try:
        up(cli)
        yield cli
    finally:
        records = read_all(cli.home)
        cli("down")
        assert [record.name for record in records if alive(record)] == []


def up(cli: Cli, code: int = 0) -> str:
    """What `holdfast up` said on stderr, on one line however wide the terminal."""
    said = cli("up", "--trainers", "1", "--backtesters", "0", code=code)
    return " ".join(said.stderr.split())


def record(cli: Cli, name: str) -> Record:
    """A part's record."""
    found = read_record(cli.home, name)
    assert found is not None
    return found


def postgres(cli: Cli) -> EmbeddedPostgres:
    """The data directory's server."""
    return EmbeddedPostgres(cli.home / "postgres")


def kill(pid: int | None) -> None:
    """SIGKILL, and waits until it is gone."""
    assert pid is not None
    process = psutil.Process(pid)
    process.kill()
    wait_until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, f"{pid} gone")


def bound(stranger: socket.socket, host: str, port: int) -> bool:
    """Whether the stranger has the port; the threads of a killed process may hold it for a moment."""
    try:
        stranger.bind((host, port))
    except OSError:
        return False
    return True


@contextmanager
def frozen(pid: int | None) -> Iterator[int]:
    """A process under SIGSTOP."""
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED, f"{pid} frozen")
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGCONT)


def database_away(cli: Cli) -> dict[str, Any]:
    """What `status --json` says, once it says that the database is unavailable; empty before."""
    said = cli.run("status", "--json")
    found: dict[str, Any] = json.loads(said.stdout)
    if found["database_connected"]:
        return {}  # sessions that were open may go on for a moment
    assert said.returncode == 5
    return found


def test_a_killed_postgres_is_told_by_status_and_restarted_by_up_alone(cli: Cli) -> None:
    coordinator, trainer = record(cli, "coordinator"), record(cli, "trainer-1")
    kill(postgres(cli).pid)
    as_json = wait_until(lambda: database_away(cli), "the database's end known")
    assert as_json["database_lost_time"]
    assert "holdfast up" in as_json["next"]
    said = cli("status", code=5)
    assert "none yet" not in said.stdout
    assert "unavailable since" in said.stdout
    assert "postgres is not running: `holdfast up` starts" in " ".join(said.stderr.split())

    told = up(cli)
    assert "postgres was not running: started" in told
    assert "coordinator was not" not in told
    assert (record(cli, "coordinator"), record(cli, "trainer-1")) == (coordinator, trainer)
    said = cli("status")
    assert "none yet" in said.stdout
    assert "unavailable" not in said.stdout


def test_a_killed_coordinator_is_told_by_status_and_comes_back_where_its_workers_look(cli: Cli) -> None:
    before, trainer, server = record(cli, "coordinator"), record(cli, "trainer-1"), postgres(cli).pid
    kill(before.pid)
    said = cli("status", "--json", code=5)
    as_json = json.loads(said.stdout)
    assert as_json["reachable"] is False
    assert {part["name"]: part["state"] for part in as_json["processes"]} == {
        "postgres": "running",
        "coordinator": "ended",
        "trainer-1": "running",
    }
    assert "coordinator is not running: `holdfast up` starts" in " ".join(said.stderr.split())

    told = up(cli)
    assert "coordinator was not running: started" in told
    after = record(cli, "coordinator")
    assert after.address == before.address
    assert after.pid != before.pid
    assert record(cli, "trainer-1") == trainer
    assert postgres(cli).pid == server


def test_a_stranger_on_the_coordinator_s_port_moves_it_and_takes_its_workers_along(cli: Cli) -> None:
    before = record(cli, "coordinator")
    kill(before.pid)
    host, _, port = before.address.rpartition(":")
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        wait_until(lambda: bound(stranger, host, int(port)), "the dead coordinator's port free")
        stranger.listen()
        told = up(cli)
    assert f"trainer-1 looks for the coordinator at {before.address}" in told
    assert record(cli, "coordinator").address != before.address


@pytest.mark.parametrize("name", ["postgres", "coordinator", "trainer-1"])
def test_a_frozen_part_is_named(cli: Cli, name: str) -> None:
    pid = postgres(cli).pid if name == "postgres" else record(cli, name).pid
    with frozen(pid):
        told = up(cli, code=5)
    assert f"holdfast: {name} (process {pid}) is frozen" in told
    assert f"kill -CONT {pid}" in told
    assert "was not running" not in told


def test_status_names_a_frozen_coordinator(cli: Cli) -> None:
    with frozen(record(cli, "coordinator").pid) as pid:
        said = cli("status", code=5).stderr
    assert f"coordinator (process {pid}) is frozen" in " ".join(said.split())


def test_a_postgres_that_refuses_is_named(cli: Cli) -> None:
    refused = cli.home / "postgres" / "pg_hba.conf"
    rules = refused.read_text()
    pid = postgres(cli).pid
    assert pid is not None
    try:
        refused.write_text("local all all reject\n")
        os.kill(pid, signal.SIGHUP)
        told = wait_until(lambda: refusal(cli), "a refusal")
    finally:
        refused.write_text(rules)
        os.kill(pid, signal.SIGHUP)
    assert f"postgres (process {pid}) is alive but does not answer" in told
    assert "pg_hba.conf" in told


def refusal(cli: Cli) -> str:
    """What `up` says when it fails; empty as long as it does not."""
    done = cli.run("up", "--trainers", "0", "--backtesters", "0")
    return " ".join(done.stderr.split()) if done.returncode == 5 else ""
