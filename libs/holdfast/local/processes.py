"""Starts detached processes, tells whether they still are those that were started, and stops them. Knows no service.

A process that was started here goes on when its starter ends, writes to a log file, and has a record (records.py).
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from holdfast.errors import Unavailable
from holdfast.local.records import Record, read_record, remove_record, write_record

__all__ = ["alive", "birth", "frozen", "last_lines", "last_words", "launch", "running", "stop"]

POLL = 0.05  # seconds


def birth(pid: int) -> str:
    """What tells a process apart from a later one with the same pid; empty when it does not live (any more)."""
    try:
        # The kernel's own clock ticks since boot: unlike a time of day, no clock adjustment moves them.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return "" if fields[0] in "ZX" else f"{boot}:{fields[19]}"
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self/stat").exists():
            return ""
    try:
        process = psutil.Process(pid)
        return "" if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time()}"
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return ""  # one that denies us is not one that we started


def alive(record: Record) -> bool:
    """Whether exactly the recorded process runs."""
    return bool(record.born) and birth(record.pid) == record.born


def frozen(pid: int) -> bool:
    """Whether a signal has stopped the process: it lives, keeps its ports and answers nobody."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def running(home: Path, name: str) -> Record | None:
    """The record of a process that runs; a stale record is removed."""
    record = read_record(home, name)
    if record is None:
        return None
    if alive(record):
        return record
    remove_record(home, name)
    return None


def launch(
    home: Path,
    name: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    address: str = "",
    worker_id: str = "",
    coordinator: str = "",
    embedded_database: bool = False,
) -> Record:
    """Starts it detached, output appended to `<data dir>/logs/<name>.log`, and records it. Raises Unavailable."""
    log = home / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    try:
        with log.open("ab") as output:
            log_start = output.tell()
            # A session of its own: neither the terminal's Ctrl-C nor its end reaches the process.
            process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                start_new_session=True,
            )
    except OSError as error:
        raise Unavailable(
            f"{name} could not be started ({error}). See {log}.", reason="START_FAILED", metadata={"process": name}
        ) from error
    born = birth(process.pid)  # empty when it has ended already: nothing to stop then, and its log says why
    process.returncode = 0  # it is not ours to wait for: `down`, in another process, stops it
    record = Record(
        name=name,
        pid=process.pid,
        born=born,
        command=list(command),
        log=str(log),
        log_start=log_start,
        address=address,
        worker_id=worker_id,
        coordinator=coordinator,
        embedded_database=embedded_database,
    )
    write_record(home, record)
    return record


def stop(home: Path, records: Sequence[Record], grace: float) -> list[str]:
    """SIGTERM to all, up to `grace` seconds, then SIGKILL. Returns the names of those that had to be killed."""
    for record in records:
        _send(record, signal.SIGTERM)
        _send(record, signal.SIGCONT)  # a frozen process would never see the first
    deadline = time.monotonic() + grace
    while any(alive(record) for record in records) and time.monotonic() < deadline:
        _reap(records)
        time.sleep(POLL)
    killed = [record.name for record in records if alive(record)]
    for record in records:
        _send(record, signal.SIGKILL)
    while any(alive(record) for record in records):
        _reap(records)
        time.sleep(POLL)
    for record in records:
        remove_record(home, record.name)
    return killed


def last_lines(record: Record, count: int = 8) -> list[str]:
    """The last lines that this start of the process wrote to its log."""
    try:
        with Path(record.log).open("rb") as log:
            log.seek(record.log_start)
            return log.read().decode(errors="replace").splitlines()[-count:]
    except FileNotFoundError:
        return []


def last_words(record: Record) -> str:
    """The line in which this start of the process said why it ended; empty when it said nothing."""
    lines = reversed(last_lines(record))
    return next((line.removeprefix("holdfast: ") for line in lines if line.startswith("holdfast: ")), "")


def _send(record: Record, number: signal.Signals) -> None:
    if alive(record):
        try:
            os.kill(record.pid, number)
        except ProcessLookupError:
            return  # it ended between the look and the signal


def _reap(records: Sequence[Record]) -> None:
    # When starter and stopper are one process (a test, the demo), the dead are its children and would stay zombies.
    for record in records:
        try:
            os.waitpid(record.pid, os.WNOHANG)
        except ChildProcessError:
            continue
