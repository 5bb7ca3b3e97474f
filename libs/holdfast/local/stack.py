"""Brings Holdfast up on one machine, and takes it down: PostgreSQL, coordinator, workers, in this order and back.

Safe to repeat: what runs is left alone, what is missing is started.
"""

from __future__ import annotations

import fcntl
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from holdfast.errors import HoldfastError, InvalidRequest, NotPossible, Unavailable, Violation
from holdfast.local.processes import alive, last_lines, launch, running, stop
from holdfast.local.records import COORDINATOR, Record, read_all, remove_record
from holdfast.settings import DEFAULT_COORDINATOR, Settings

__all__ = ["bring_up", "take_down", "worker_names"]

START_TIMEOUT = 90.0  # seconds; the workers import torch, on a busy machine too
POLL = 0.1  # seconds
# On top of a service's own grace, for what it does after its runs have ended.
STOP_MARGIN = 10.0  # seconds

Tell = Callable[[str], None]


def worker_names(trainers: int, backtesters: int) -> list[tuple[str, str]]:
    """(worker id, module) of every worker. Stable over restarts: that is how a restart proves the old process dead."""
    return [
        *((f"trainer-{number}", "trainer") for number in range(1, trainers + 1)),
        *((f"backtester-{number}", "backtester") for number in range(1, backtesters + 1)),
    ]


def bring_up(settings: Settings, *, trainers: int, backtesters: int, slots: int, tell: Tell) -> list[Record]:
    """Starts what does not run yet and waits until everything answers. Returns what runs.

    Raises NotPossible (PORT_IN_USE), or Unavailable with the last lines of the log when a process does not come up;
    what this call started is stopped again then.
    """
    home = settings.home
    home.mkdir(parents=True, exist_ok=True)
    with alone(home):
        started: list[Record] = []
        undo: list[Callable[[], object]] = []
        try:
            coordinator = running(home, COORDINATOR)
            if coordinator is None:
                host, port = _listen_address(settings)
                database_url = settings.database_url or _start_postgres(home, tell, undo)
                coordinator = _start_coordinator(settings, host, port, database_url)
                started.append(coordinator)
            workers = []
            for worker_id, module in worker_names(trainers, backtesters):
                worker = running(home, worker_id)
                if worker is None:
                    worker = _start_worker(home, worker_id, module, coordinator.address, slots, settings)
                    started.append(worker)
                workers.append(worker)
            if started:
                tell(f"Waiting for {', '.join(record.name for record in started)} …")
            _await_answers(coordinator, workers)
        except BaseException:
            stop(home, list(reversed(started)), settings.grace_seconds + STOP_MARGIN)
            for step in undo:
                step()
            raise
        return [record for record in read_all(home) if alive(record)]


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
            from holdfast.embedded_postgres import EmbeddedPostgres

            postgres = EmbeddedPostgres(home / "postgres")
            if postgres.running:
                tell("Stopping PostgreSQL …")
                postgres.stop()
                stopped.append("postgres")
        return stopped


def _start_postgres(home: Path, tell: Tell, undo: list[Callable[[], object]]) -> str:
    from holdfast.embedded_postgres import EmbeddedPostgres

    postgres = EmbeddedPostgres(home / "postgres")
    if not postgres.running:
        tell(f"Starting PostgreSQL in {postgres.directory} …")
        undo.append(postgres.stop)
    return postgres.start()


def _start_coordinator(settings: Settings, host: str, port: int, database_url: str) -> Record:
    environment = _environment(settings.home) | {
        "HOLDFAST_DATABASE_URL": database_url,
        "HOLDFAST_LISTEN": f"{host}:{port}",
    }
    # Where clients on this machine find it: nobody can dial "any interface".
    dial = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)
    return launch(settings.home, COORDINATOR, _command("coordinator"), environment, address=f"{dial}:{port}")


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
    return launch(home, worker_id, _command(module), environment, worker_id=worker_id)


def _command(module: str) -> list[str]:
    # -P: a directory of that name where the user happens to stand must not be taken for the service.
    return [sys.executable, "-P", "-m", module]


def _environment(home: Path) -> dict[str, str]:
    return dict(os.environ) | {"HOLDFAST_DATA_DIR": str(home)}


def _listen_address(settings: Settings) -> tuple[str, int]:
    """Host and port to listen on, the port free. Port 0 becomes a free one: clients must know it beforehand."""
    listen = settings.listen or DEFAULT_COORDINATOR
    host, _, port = listen.rpartition(":")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As the server will: a port whose last connections only linger is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), int(port)))
        except OverflowError as error:
            raise InvalidRequest(
                f"HOLDFAST_LISTEN={listen}: {port} is not a port (0 to 65535).",
                violations=[Violation("HOLDFAST_LISTEN", listen, "host:port with a port from 0 to 65535")],
            ) from error
        except OSError as error:
            raise NotPossible(
                f"The coordinator cannot listen on {listen}: {error.strerror}. Stop the program that uses that port, "
                "or choose another: HOLDFAST_LISTEN=127.0.0.1:7500 holdfast up",
                reason="PORT_IN_USE",
                metadata={"address": listen},
            ) from error
        return host, int(probe.getsockname()[1])


def _await_answers(coordinator: Record, workers: Sequence[Record]) -> None:
    from holdfast.sdk import Client
    from holdfast.v1 import worker_pb2

    deadline = time.monotonic() + START_TIMEOUT
    missing = {worker.worker_id for worker in workers}
    last_error: HoldfastError | None = None
    with Client(coordinator.address, patience=0.0) as client:
        while True:
            for record in (coordinator, *workers):
                if not alive(record):
                    raise _did_not_start(record, "it ended")
            try:
                status = client.system_status()
                last_error = None
                ready = {
                    worker.worker_id
                    for worker in status.workers
                    if worker.status != worker_pb2.WORKER_STATUS_DISCONNECTED
                }
                missing = {worker.worker_id for worker in workers} - ready
                if status.database_connected and not missing:
                    return
            except Unavailable as error:
                last_error = error
            if time.monotonic() > deadline:
                late = coordinator if last_error else next(w for w in workers if w.worker_id in missing or not missing)
                raise _did_not_start(late, f"it did not answer within {START_TIMEOUT:.0f} s")
            time.sleep(POLL)


def _did_not_start(record: Record, why: str) -> HoldfastError:
    lines = last_lines(record)
    # A service's own last words are the best explanation there is.
    words = next((line.removeprefix("holdfast: ") for line in reversed(lines) if line.startswith("holdfast: ")), "")
    told = words or "its last lines are:\n  " + "\n  ".join(lines)
    return Unavailable(
        f"{record.name} did not start ({why}): {told}\nIts log is {record.log}.",
        reason="START_FAILED",
        metadata={"process": record.name},
    )


@contextmanager
def alone(home: Path) -> Iterator[None]:
    """Two `up` or `down` at once would start things twice: the second waits for the first."""
    directory = home / "run"
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
