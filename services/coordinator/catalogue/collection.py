"""Which directories of the store nobody needs any more. Owns that rule; moves and deletes nothing.

A directory is collected only when all of this holds: it is called `<operation>/<what a run writes>`; it carries this
store's id; no row names it; its operation has ended; nothing in it has changed for an hour. Operations are never
deleted from the database: one that it does not know was lost with a restore from a backup, and what lies there stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holdfast.artifacts.checkpoint import attempt_of, position_of
from holdfast.artifacts.identity import owner_of
from holdfast.artifacts.store import Store
from holdfast.services.coordinator.operations.lifecycle import ENDED, Status
from holdfast.services.coordinator.operations.records import result_path

__all__ = ["YOUNG", "Found", "Known", "collectable", "directories"]

YOUNG = 3600.0  # seconds; a directory younger than this may be waiting for its row


@dataclass(slots=True)
class Found:
    """A directory that a run may have written: path, bytes, its newest change as seconds since the epoch."""

    path: str
    size_bytes: int = 0
    modified: float = 0.0

    @property
    def operation_id(self) -> str:
        """Whose it is by its name."""
        return self.path.partition("/")[0]


@dataclass(frozen=True, slots=True)
class Known:
    """What PostgreSQL says of an operation."""

    status: Status
    attempt: int
    checkpoint_id: str
    result: str

    @classmethod
    def from_row(cls, row: Any) -> Known:
        """A row of `known_operations`."""
        result = result_path(row["kind"], row["result"])
        return cls(Status(row["status"]), row["attempt"], row["checkpoint_id"] or "", result)


def directories(store: Store) -> list[Found]:
    """All `<operation>/<name>` whose name a run may have given. Blocking."""
    found: dict[str, Found] = {}
    for file in store.list():
        path, _, _ = file.path.rpartition("/")
        if path.count("/") != 1 or attempt_of(path.partition("/")[2]) is None:
            continue
        entry = found.setdefault(path, Found(path))
        entry.size_bytes += file.size
        entry.modified = max(entry.modified, file.modified)
    return list(found.values())


def collectable(
    store: Store,
    store_id: str,
    found: list[Found],
    operations: Mapping[str, Known],
    named: set[str],
    now: float,
) -> tuple[list[Found], list[Found]]:
    """Those that may go, and those of operations that the database does not know. Blocking."""
    chosen, unknown = [], []
    for entry in found:
        known = operations.get(entry.operation_id)
        if entry.path in named or entry.modified > now - YOUNG or (known is not None and known.result == entry.path):
            continue
        owner, complete = owner_of(store, entry.path)
        if owner != store_id:
            continue
        if known is None:
            unknown.append(entry)
        elif not _may_be_claimed(entry.path, complete, known):
            chosen.append(entry)
    return chosen, unknown


def _may_be_claimed(path: str, complete: bool, known: Known) -> bool:
    """Whether a row may still come to name it."""
    if known.status not in ENDED:
        return True
    if known.status is Status.COMPLETED or not complete:
        return False
    attempt = attempt_of(path.partition("/")[2]) or 0
    position = position_of(path)
    if position is None:
        # A model whose run was declared an orphan: its worker's outbox may still report it.
        return attempt >= known.attempt
    # A resume finds it, as after the database was restored from an older backup.
    return attempt >= known.attempt and position > (position_of(known.checkpoint_id) or (0, 0, 0))
