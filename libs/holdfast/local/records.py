"""Pid files: which processes were started here, and whether they still are those. Starts and stops nothing.

A record is `<data dir>/run/<name>.json`. A pid alone proves nothing, because systems use pids again: the record also
holds the process's start time, and only a process with both is ours.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["COORDINATOR", "Record", "coordinator_address", "read_all", "read_record", "remove_record", "write_record"]

COORDINATOR = "coordinator"


@dataclass(frozen=True, slots=True)
class Record:
    """One started process. `born` is what processes.birth says of it: no other process ever has the same."""

    name: str
    pid: int
    born: str
    command: list[str]
    log: str
    # Where this start's lines begin in the log, bytes.
    log_start: int = 0
    address: str = ""
    worker_id: str = ""
    # Workers: where they look for the coordinator.
    coordinator: str = ""
    # The coordinator: whether its database is the embedded one, so that `up` looks after that too.
    embedded_database: bool = False


def run_dir(home: Path) -> Path:
    """Where the records of this data directory lie."""
    return home / "run"


def read_record(home: Path, name: str) -> Record | None:
    """The record, or None when there is none; one that cannot be read counts as none (its process cannot be proven)."""
    try:
        return Record(**json.loads((run_dir(home) / f"{name}.json").read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def read_all(home: Path) -> list[Record]:
    """Every record of this data directory, by name."""
    names = sorted(path.stem for path in run_dir(home).glob("*.json"))
    return [record for name in names if (record := read_record(home, name)) is not None]


def write_record(home: Path, record: Record) -> None:
    """Writes it whole or not at all."""
    directory = run_dir(home)
    directory.mkdir(parents=True, exist_ok=True)
    draft = directory / f".{record.name}.{os.getpid()}"
    draft.write_text(json.dumps(asdict(record), indent=1))
    draft.replace(directory / f"{record.name}.json")


def remove_record(home: Path, name: str) -> None:
    """Forgets it."""
    (run_dir(home) / f"{name}.json").unlink(missing_ok=True)


def coordinator_address(home: Path) -> str:
    """Where the coordinator of this data directory was told to listen; empty when none was started."""
    record = read_record(home, COORDINATOR)
    return record.address if record else ""
