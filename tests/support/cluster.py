"""A whole Holdfast of real processes on loopback: PostgreSQL, one coordinator, workers. For tests that kill some.

Owns the processes; each is stopped by its pid. Waiting is done on conditions with a deadline, never by a fixed pause.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import psutil

from holdfast.errors import HoldfastError
from holdfast.local.postgres import EmbeddedPostgres
from holdfast.sdk import Client, Operation
from holdfast.v1 import worker_pb2
from tests.support.waiting import DEADLINE, wait_until

T = TypeVar("T")

# Short enough for a test, long enough for a loaded machine of two cores.
QUICK = {
    "ORPHAN_TIMEOUT_SECONDS": "4",
    "ORPHAN_CHECK_INTERVAL_SECONDS": "0.5",
    "HEARTBEAT_INTERVAL_SECONDS": "0.5",
    "HOLDFAST_GRACE_SECONDS": "10",
    # Every checkpoint that is asked for is taken: what is killed must have something to go on from.
    "CHECKPOINT_SPACING_SECONDS": "0",
    # And told in the story, which tests read.
    "CHECKPOINT_EVENT_SECONDS": "0",
}


def free_port() -> int:
    """A TCP port of the loopback interface that nobody holds.

    Below the ephemeral range: a client that dials a dead server's ephemeral port may get that very port as its own end
    and connect to itself, and the restarted server could not have it back.
    """
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _live(operation: Operation) -> Operation:
    """The operation as it is now; what has ended cannot be disturbed any more, and its test proves nothing."""
    operation.refresh()
    if operation.done:
        raise AssertionError(f"{operation.id} ended too early ({operation.status})")
    return operation


@dataclass
class Member:
    """One process of the cluster."""

    name: str
    module: str
    environment: Mapping[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def pid(self) -> int:
        """The process id; the process must have been started."""
        assert self.process is not None, f"{self.name} was never started"
        return self.process.pid

    @property
    def alive(self) -> bool:
        """Whether the process has not ended."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Starts the process; its log is appended to."""
        assert not self.alive, f"{self.name} runs already"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", f"holdfast.services.{self.module}"],
                env={**os.environ, **self.environment},
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the process itself, not to its runs."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and waits until it is gone."""
        self.signal(signal.SIGKILL)
        self.wait()

    def wait(self, timeout: float = DEADLINE) -> int:
        """The exit code; negative when a signal ended it."""
        assert self.process is not None
        return self.process.wait(timeout)

    def tail(self, lines: int = 30) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""


class Cluster:
    """PostgreSQL, a coordinator, trainers "trainer-1"… and backtesters "backtester-1"…, below one directory."""

    def __init__(
        self,
        root: Path,
        *,
        trainers: int = 1,
        backtesters: int = 0,
        slots: int = 1,
        environment: Mapping[str, str] | None = None,
        market: Path | None = None,
        database: Path | None = None,
        postgres_settings: Mapping[str, str] | None = None,
    ) -> None:
        """`database` is where the server's directory shall lie, in the caller's care; else it is made and removed."""
        self.root = root
        self.home = root / "home"
        self.home.mkdir(parents=True, exist_ok=True)
        self.address = f"127.0.0.1:{free_port()}"
        # Not below `root`: pytest closes its directories to other accounts, and PostgreSQL runs as one of them.
        self._own_database = None if database else Path(tempfile.mkdtemp(prefix="holdfast-postgres-"))
        self.postgres = EmbeddedPostgres((database or self._own_database or root) / "cluster")
        self._postgres_settings = dict(postgres_settings or {})
        self.members: dict[str, Member] = {}
        self._environment = {
            "HOLDFAST_DATA_DIR": str(self.home),
            "HOLDFAST_COORDINATOR": self.address,
            "HOLDFAST_SLOTS": str(slots),
            "HOLDFAST_LOG_LEVEL": "info",
            **QUICK,
            **(environment or {}),
        }
        self._names = [f"trainer-{number + 1}" for number in range(trainers)]
        self._names += [f"backtester-{number + 1}" for number in range(backtesters)]
        # Further environment by member, set before the start.
        self.overrides: dict[str, dict[str, str]] = {}
        self._client: Client | None = None
        if market is not None:
            shutil.copytree(market, self.home / "market")

    @property
    def environment(self) -> dict[str, str]:
        """What a command line needs to reach this cluster."""
        return dict(self._environment)

    @property
    def client(self) -> Client:
        """A client of the coordinator, patient enough for a restart of it."""
        if self._client is None:
            self._client = Client(self.address, patience=30.0)
        return self._client

    @property
    def coordinator(self) -> Member:
        """The coordinator's process."""
        return self.members["coordinator"]

    @property
    def worker_names(self) -> list[str]:
        """The names of the trainers and backtesters."""
        return list(self._names)

    @property
    def workers(self) -> list[Member]:
        """The trainers and backtesters."""
        return [self.members[name] for name in self._names]

    def __enter__(self) -> Cluster:
        try:
            self.start()
        except BaseException:
            print(self.logs())
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            print(self.logs())
        self.stop()

    def start(self) -> None:
        """Starts everything and returns when every worker is connected."""
        url = self.start_postgres()
        environment = {**self._environment, "HOLDFAST_DATABASE_URL": url, "HOLDFAST_LISTEN": self.address}
        self._add("coordinator", "coordinator", environment)
        for name in self._names:
            self._add(name, name.partition("-")[0], {**self._environment, "HOLDFAST_WORKER_ID": name})
        for member in self.members.values():
            member.start()
        self.await_connected(*self._names)

    def start_postgres(self) -> str:
        """Starts the server, for the first time or again. Returns the database's URL."""
        return self.postgres.start(settings=self._postgres_settings)

    def stop(self) -> None:
        """Stops workers, coordinator and PostgreSQL, in this order, by pid."""
        if self._client is not None:
            self._client.close()
            self._client = None
        for member in reversed(self.members.values()):
            if member.alive:
                # A stopped process would never see the SIGTERM.
                member.signal(signal.SIGCONT)
                member.signal(signal.SIGTERM)
        for member in reversed(self.members.values()):
            if member.process is not None:
                try:
                    member.wait(20)
                except subprocess.TimeoutExpired:
                    member.kill()
        self.postgres.stop(immediate=True)
        if self._own_database is not None:
            shutil.rmtree(self._own_database)

    def heal(self) -> None:
        """Starts whatever is dead and wakes whatever is frozen; returns when every worker is connected."""
        if not self.postgres.running:
            self.postgres.start()
        for member in self.members.values():
            if member.alive:
                member.signal(signal.SIGCONT)
            else:
                member.start()
        self.await_connected(*self._names)

    def worker(self, name: str) -> worker_pb2.Worker | None:
        """What the coordinator says of a worker; None when it does not know it or does not answer."""
        with suppress(HoldfastError):
            return next((worker for worker in self.client.workers() if worker.worker_id == name), None)
        return None

    def await_connected(self, *names: str) -> None:
        """Waits until the coordinator has an open stream to every named worker's current process."""

        def connected() -> bool:
            for name in names:
                if not self.members[name].alive:
                    raise AssertionError(f"{name} ended by itself:\n{self.members[name].tail()}")
                worker = self.worker(name)
                if worker is None or worker.status != worker_pb2.WORKER_STATUS_CONNECTED:
                    return False
            return True

        wait_until(connected, f"{', '.join(names)} connected")

    def restart_coordinator(self) -> None:
        """Starts the coordinator again after its end, on the same address."""
        self.coordinator.start()
        self.await_connected(*(name for name in self._names if self.members[name].alive))

    def await_status(self, operation: Operation, *statuses: str, deadline: float = DEADLINE) -> Operation:
        """Waits until the operation stands at one of the statuses."""

        def there() -> bool:
            operation.refresh()
            return operation.status in statuses

        self._wait(there, operation, " or ".join(statuses), deadline)
        return operation

    def await_unit(self, operation: Operation, unit: int, *, deadline: float = DEADLINE) -> Operation:
        """Waits until the progress of an operation that goes on has reached `unit`."""
        self._wait(lambda: _live(operation).progress.unit >= unit, operation, f"at unit {unit}", deadline)
        return operation

    def await_checkpoint(self, operation: Operation, unit: int = 1, *, deadline: float = DEADLINE) -> Operation:
        """Waits until an operation that goes on has a durable checkpoint of `unit` or later, known to the coordinator.

        To be awaited before anything is killed that must go on from there. Progress proves no checkpoint: it is told at
        once, while the save goes on beside the run.
        """

        def there() -> bool:
            saved = _live(operation).checkpoint
            return saved is not None and saved.unit >= unit

        self._wait(there, operation, f"with a checkpoint of unit {unit}", deadline)
        return operation

    def _wait(self, there: Callable[[], bool], operation: Operation, what: str, deadline: float) -> None:
        try:
            wait_until(there, f"{operation.id} {what}", deadline=deadline)
        except (AssertionError, HoldfastError) as error:
            raise AssertionError(f"{error}; it was {operation.message}\n{self.logs()}") from error

    def run_pids(self, name: str) -> list[int]:
        """The processes of the runs of a worker: grandchildren, by way of its fork server."""
        try:
            servers = psutil.Process(self.members[name].pid).children()
            return [run.pid for server in servers for run in server.children()]
        except psutil.NoSuchProcess:
            return []

    def events(self, operation: Operation) -> list[str]:
        """The types of the operation's events, in order."""
        return [event.type for event in self.client.events(operation.id)]

    def logs(self) -> str:
        """The end of every process's log."""
        return "\n".join(f"--- {name}\n{member.tail()}" for name, member in self.members.items())

    def _add(self, name: str, module: str, environment: Mapping[str, str]) -> None:
        self.members[name] = Member(
            name, module, {**environment, **self.overrides.get(name, {})}, self.root / f"{name}.log"
        )
