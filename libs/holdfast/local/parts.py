"""What Holdfast consists of on this machine, and how each part does. Looks only: starts, stops and mends nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from holdfast.local.processes import alive, frozen, last_words
from holdfast.local.records import COORDINATOR, Record, read_all, read_record

__all__ = ["POSTGRES", "Part", "State", "advice", "look", "thaw", "uses_embedded"]

POSTGRES = "postgres"


class State(StrEnum):
    """How a process does, as seen from outside."""

    RUNNING = "running"
    FROZEN = "frozen"  # stopped by a signal: it lives and does nothing
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Part:
    """One process that `holdfast up` looks after. `pid` is 0 when none lives."""

    name: str
    state: State
    pid: int
    address: str
    log: str
    # Why it ended, by its own account; empty when it lives or said nothing.
    last_words: str = ""


def look(home: Path) -> list[Part]:
    """Every part of this data directory, in the order in which they need one another."""
    records = sorted(read_all(home), key=lambda record: record.name != COORDINATOR)
    parts = [_process(record) for record in records]
    return [_postgres(home), *parts] if uses_embedded(home) else parts


def uses_embedded(home: Path) -> bool:
    """Whether the coordinator that was started here keeps its operations in the embedded PostgreSQL."""
    coordinator = read_record(home, COORDINATOR)
    return coordinator is not None and coordinator.embedded_database


def advice(parts: Sequence[Part]) -> str:
    """What to do about parts that do not run; empty when all of them do."""
    frozen_ones = [part for part in parts if part.state is State.FROZEN]
    ended = [part for part in parts if part.state is State.ENDED]
    sentences = [thaw(part.name, part.pid) for part in frozen_ones]
    if ended:
        names = ", ".join(f"{part.name}{f' ({part.last_words})' if part.last_words else ''}" for part in ended)
        # What is frozen would refuse `up`: first things first.
        then = "then `holdfast up`" if frozen_ones else "`holdfast up`"
        sentences.append(f"{names} {'is' if len(ended) == 1 else 'are'} not running: {then} starts what is missing.")
    return " ".join(sentences)


def thaw(name: str, pid: int) -> str:
    """What to do about a frozen process."""
    return (
        f"{name} (process {pid}) is frozen: a signal has stopped it, and it answers nobody. Let it go on with "
        f"`kill -CONT {pid}`, or stop everything with `holdfast down` and start it again with `holdfast up`."
    )


def _process(record: Record) -> Part:
    if not alive(record):
        return Part(record.name, State.ENDED, 0, record.address, record.log, last_words(record))
    state = State.FROZEN if frozen(record.pid) else State.RUNNING
    return Part(record.name, state, record.pid, record.address, record.log)


def _postgres(home: Path) -> Part:
    from holdfast.local.postgres import EmbeddedPostgres

    postgres = EmbeddedPostgres(home / "postgres")
    pid = postgres.pid or 0
    state = State.ENDED if not pid else State.FROZEN if frozen(pid) else State.RUNNING
    return Part(POSTGRES, state, pid, postgres.url(), str(postgres.log))
