"""Exponential backoff with jitter, by key. Owns who must wait and until when; never sleeps, never asks PostgreSQL."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["FIRST", "LONGEST", "Backoff"]

# Of a worker that did not take a run, and of an operation that no worker took.
FIRST, LONGEST = 1.0, 60.0  # seconds; at least half of it, so that many do not come back in one moment


@dataclass(slots=True)
class _Wait:
    failures: int = 0
    until: float = 0.0


class Backoff:
    """A key waits after each failure in a row, twice as long every time."""

    def __init__(self, clock: Callable[[], float], draw: Callable[[], float] = random.random) -> None:
        self._clock = clock
        self._draw = draw
        self._waits: dict[str, _Wait] = {}

    def fail(self, key: str) -> float:
        """One more failure; the seconds that it waits now."""
        wait = self._waits.setdefault(key, _Wait())
        seconds: float = min(LONGEST, FIRST * 2 ** min(wait.failures, 30)) * (0.5 + self._draw() / 2)
        wait.failures += 1
        wait.until = self._clock() + seconds
        return seconds

    def succeed(self, key: str) -> None:
        """Nothing is held against it any more."""
        self._waits.pop(key, None)

    def try_now(self, key: str) -> None:
        """It may be tried at once; should that fail, it waits on where it had stood."""
        if key in self._waits:
            self._waits[key].until = 0.0

    def left(self, key: str) -> float:
        """Seconds that it still waits; 0 when it does not."""
        wait = self._waits.get(key)
        return max(0.0, wait.until - self._clock()) if wait is not None else 0.0
