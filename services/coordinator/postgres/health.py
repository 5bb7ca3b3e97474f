"""How the database is, as the last statements met it. Owns when that is said, and when it is given up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from holdfast.errors import HoldfastError, NotPossible

__all__ = ["QUIET", "Health"]

log = structlog.get_logger()

# The pause without a failure after which the database counts as well; waiting statements try again sooner.
QUIET = 3.0  # seconds


class Health:
    """How the database is, as the last statements met it: says once when it fails and when it is back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: float | None = None
        self._last_failure = 0.0
        # While it fails: since when, and how it said so last.
        self.lost_time: datetime | None = None
        self.words = ""
        self._unusable: HoldfastError | None = None
        self._end = asyncio.Event()

    @property
    def failing(self) -> bool:
        """Whether statements have failed lately."""
        return self._since is not None

    def failed(self, words: str) -> None:
        """A statement met a transient error."""
        self._last_failure = self._clock()
        self.words = words
        if self._since is None:
            self._since = self._last_failure
            self.lost_time = datetime.now(UTC)
            log.warning("Database unavailable; facts wait, callers are refused", reason=words)

    def succeeded(self) -> None:
        """A statement went through. On a full disk reads go on to, between writes that do not."""
        if self._since is not None and self._clock() - self._last_failure > QUIET:
            log.info("Database available again", seconds=round(self._clock() - self._since, 1))
            self._since, self.lost_time, self.words = None, None, ""

    def give_up(self, words: str) -> None:
        """No statement will ever go through again, or none may: the process has to end."""
        self._unusable = NotPossible(
            f"The database cannot be used any more: {words}. The coordinator stops; runs go on, and their workers keep "
            "what they could not report. Mend the database, then start the coordinator again.",
            reason="DATABASE_UNUSABLE",
        )
        self._end.set()

    async def watch(self) -> None:
        """An essential task: raises NotPossible once the database was given up."""
        await self._end.wait()
        assert self._unusable is not None
        raise self._unusable
