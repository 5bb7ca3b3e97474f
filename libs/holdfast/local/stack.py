"""Brings Holdfast up on one machine, and takes it down: PostgreSQL, coordinator, workers, in this order and back.

Safe to repeat: each part is looked at by itself; what runs is left alone, what is missing is started.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from holdfast.errors import Unavailable
from holdfast.local.answers import await_answers, refuse_frozen
from holdfast.local.parts import POSTGRES, uses_embedded
from holdfast.local.ports import listen_address
from holdfast.local.processes import alive, launch, running, stop
from holdfast.local.records import COORDINATOR, Record, coordinator_address, read_all, remove_record
from holdfast.settings import Settings

__all__ = ["Brought", "alone", "bring_up", "take_down", "worker_names"]

# On top of a service's own grace, for what it does after its runs have ended.
STOP_MARGIN = 10.0  # seconds

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Brought:
    """A part that is up, and whether this call started it."""

    name: str
    pid: int
    address: str
    log: str
    started: bool


def worker_names(trainers: int, backtesters: int) -> list[tuple[str, str]]:
    """(worker id, module) of every worker. Stable over restarts: that is how a restart proves the old process dead."""
    return [
        *((f"trainer-{number}", "trainer") for number in range(1, trainers + 1)),
        *((f"backtester-{number}", "backtester") for number in range(1, backtesters + 1)),
    ]


def bring_up(settings: Settings, *, trainers: int, backtesters: int, slots: int, tell: Tell) -> list[Brought]:
    """Starts each part that does not run, and waits until all of them answer. Returns what runs.

    Raises NotPossible (PORT_IN_USE), or Unavailable, naming the part: START_FAILED with the last lines of its log when
    it does not come up, NOT_ANSWERING when it is alive and answers nobody. What this call started is stopped again
    then, except a PostgreSQL that a living coordinator needs.
    """
    home = settings.home
    home.mkdir(parents=True, exist_ok=True)
    with alone(home):
        started: list[Record] = []
        undo: list[Callable[[], object]] = []
        try:
            # Before the record of a dead one is dropped: the workers that live look for it there.
            address, embedded = coordinator_address(home), uses_embedded(home)
            coordinator = running(home, COORDINATOR)
            if coordinator is None:
                listen = listen_address(settings, address)
                postgres = None if settings.database_url else _bring_postgres(home, tell, undo)
                coordinator = _start_coordinator(settings, listen, postgres)
                started.append(coordinator)
                tell("coordinator was not running: started.")
            else:
                refuse_frozen(coordinator.name, coordinator.pid)
                postgres = _bring_postgres(home, tell, []) if embedded else None
            workers = []
            for worker_id, module in worker_names(trainers, backtesters):
                worker = _found_worker(settings, worker_id, coordinator, tell)
                if worker is None:
                    worker = _start_worker(home, worker_id, module, coordinator.address, slots, settings)
                    started.append(worker)
                    tell(f"{worker_id} was not running: started.")
                workers.append(worker)
            if started:
                tell(f"Waiting for {', '.join(record.name for record in started)} …")
            await_answers(coordinator, workers, started)
        except BaseException:
            stop(home, list(reversed(started)), settings.grace_seconds + STOP_MARGIN)
            for step in undo:
                step()
            raise
        names = {record.name for record in started}
        return [
            *([postgres] if postgres else []),
            *(
                Brought(record.name, record.pid, record.address, record.log, record.name in names)
                for record in read_all(home)
                if alive(record)
            ),
        ]


def take_down(settings: Settings, *, tell: Tell) -> list[str]:
    """Stops workers, then the coordinator, then the embedded PostgreSQL. Returns the names of what was stopped."""
    home = settings.home
    if not home.is_dir():
        return []
    with alone(home):
        records = read_all(home)
        ours = [record for record in records if alive(record)]
        for record in records:
            if record not in ours:
                remove_record(home, record.name)  # it ended by itself; its pid may be a stranger's by now
        workers = [record for record in ours if record.name != COORDINATOR]
        stopped = []
        for group in (workers, [record for record in ours if record.name == COORDINATOR]):
            if group:
                tell(f"Stopping {', '.join(record.name for record in group)} …")
                for name in stop(home, group, settings.grace_seconds + STOP_MARGIN):
                    tell(f"{name} did not stop in time and was killed; its runs can be resumed.")
                stopped += [record.name for record in group]
        if (home / "postgres").is_dir():
            from holdfast.local.postgres import EmbeddedPostgres

            postgres = EmbeddedPostgres(home / "postgres")
            if postgres.running:
                tell("Stopping PostgreSQL …")
                postgres.stop()
                stopped.append("postgres")
        return stopped


def _bring_postgres(home: Path, tell: Tell, undo: list[Callable[[], object]]) -> Brought:
    """The embedded PostgreSQL, answering. Raises Unavailable."""
    from holdfast.local.postgres import EmbeddedPostgres

    postgres = EmbeddedPostgres(home / "postgres")
    found = postgres.pid
    if found is None:
        tell(f"postgres was not running: starting it in {postgres.directory} …")
        undo.append(postgres.stop)
    else:
        refuse_frozen(POSTGRES, found)
    try:
        postgres.start()
    except Unavailable as error:
        if found is None or postgres.pid != found:
            raise
        raise Unavailable(
            f"postgres (process {found}) is alive but does not answer: {error.message}",
            reason="NOT_ANSWERING",
            metadata={"process": POSTGRES},
        ) from error
    pid = postgres.pid
    if pid is None:
        raise Unavailable(
            f"postgres ended at once after its start. Its log is {postgres.log}.",
            reason="START_FAILED",
            metadata={"process": POSTGRES},
        )
    if pid != found:
        tell(f"postgres was not running: started as process {pid}.")
    return Brought(POSTGRES, pid, postgres.url(), str(postgres.log), pid != found)


def _start_coordinator(settings: Settings, listen: tuple[str, int], postgres: Brought | None) -> Record:
    host, port = listen
    environment = _environment(settings.home) | {
        "HOLDFAST_DATABASE_URL": postgres.address if postgres else settings.database_url,
        "HOLDFAST_LISTEN": f"{host}:{port}",
    }
    # Where clients on this machine find it: nobody can dial "any interface".
    dial = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)
    return launch(
        settings.home,
        COORDINATOR,
        _command("coordinator"),
        environment,
        address=f"{dial}:{port}",
        embedded_database=postgres is not None,
    )


def _found_worker(settings: Settings, worker_id: str, coordinator: Record, tell: Tell) -> Record | None:
    """The worker, if it lives and looks for this coordinator. One that looks elsewhere would never find it: stopped."""
    worker = running(settings.home, worker_id)
    if worker is None:
        return None
    refuse_frozen(worker.name, worker.pid)
    if worker.coordinator == coordinator.address:
        return worker
    tell(f"{worker_id} looks for the coordinator at {worker.coordinator}, where it is no more: stopping it …")
    stop(settings.home, [worker], settings.grace_seconds + STOP_MARGIN)
    return None


def _start_worker(home: Path, worker_id: str, module: str, coordinator: str, slots: int, settings: Settings) -> Record:
    environment = _environment(home) | {
        "HOLDFAST_COORDINATOR": coordinator,
        "HOLDFAST_LISTEN": "127.0.0.1:0",
        "HOLDFAST_WORKER_ID": worker_id,
        "HOLDFAST_SLOTS": str(slots or settings.slots),
    }
    # Meant for the coordinator, or for one worker alone.
    for name in ("HOLDFAST_DATABASE_URL", "HOLDFAST_ADVERTISE"):
        environment.pop(name, None)
    return launch(home, worker_id, _command(module), environment, worker_id=worker_id, coordinator=coordinator)


def _command(module: str) -> list[str]:
    # -P: a directory of that name where the user happens to stand must not be taken for the service.
    return [sys.executable, "-P", "-m", f"holdfast.services.{module}"]


def _environment(home: Path) -> dict[str, str]:
    return dict(os.environ) | {"HOLDFAST_DATA_DIR": str(home)}


@contextmanager
def alone(home: Path) -> Iterator[None]:
    """Two `up` or `down` at once would start things twice: the second waits for the first."""
    directory = home / "run"
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
