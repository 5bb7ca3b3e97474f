"""Where collected directories wait before they are deleted: `quarantine/<day>/<operation>/<name>` inside the store.

Owns that layout. Blocking; call off the event loop. Deletes only what carries the store's own id.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from holdfast.artifacts.identity import owner_of
from holdfast.artifacts.store import Store

__all__ = ["ROOT", "Held", "held", "overdue", "put", "remove"]

ROOT = "quarantine"


@dataclass(frozen=True, slots=True)
class Held:
    """One directory in the quarantine: its path, the day it came, bytes."""

    path: str
    day: date
    size_bytes: int


def put(store: Store, path: str, now: float) -> str:
    """Moves a directory into the quarantine and returns where it lies now."""
    target = f"{ROOT}/{_day(now).isoformat()}/{path}"
    store.move(path, target)
    return target


def held(store: Store) -> list[Held]:
    """All that lies there."""
    sizes: dict[str, int] = {}
    for file in store.list(ROOT):
        path, _, _ = file.path.rpartition("/")
        sizes[path] = sizes.get(path, 0) + file.size
    return [Held(path, day, size) for path, size in sizes.items() if (day := _day_of(path)) is not None]


def overdue(store: Store, store_id: str, days: int, now: float) -> list[Held]:
    """What came so many days ago or earlier, and carries this store's id."""
    last = _day(now) - timedelta(days=days)
    return [entry for entry in held(store) if entry.day <= last and owner_of(store, entry.path)[0] == store_id]


def remove(store: Store, path: str) -> int:
    """Deletes one for ever, with the directories above that it leaves empty. Returns the bytes freed."""
    freed = store.delete(path)
    operation, _, _ = path.rpartition("/")
    day, _, _ = operation.rpartition("/")
    if store.remove_empty(operation):
        store.remove_empty(day)
    return freed


def _day(now: float) -> date:
    return datetime.fromtimestamp(now, UTC).date()


def _day_of(path: str) -> date | None:
    parts = path.split("/")
    try:
        return date.fromisoformat(parts[1]) if len(parts) == 4 else None
    except ValueError:
        return None  # not a day: nothing that was put here
