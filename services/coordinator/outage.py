"""Remembers since when the database is away, and how it said so. Owns one moment; connects to nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(slots=True)
class Outage:
    """`since` is None while the database answers."""

    since: datetime | None = None
    words: str = ""
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    def begin(self, words: str) -> None:
        """A statement did not reach the database; the first loss is the one that counts as its beginning."""
        self.since = self.since or self.clock()
        self.words = words

    def end(self) -> None:
        """The database has answered."""
        self.since, self.words = None, ""
