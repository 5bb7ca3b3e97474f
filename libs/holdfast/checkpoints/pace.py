"""Spaces periodic saves. Owns the rule that they cost a run about a hundredth of its time; decides nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable

# State saved per second of work, at most: hashing and writing it take a core some nanoseconds a byte.
_BYTES_PER_SECOND = 1e7


class Pace:
    """Whether the next periodic save is far enough from the last one, or from the start.

    A tiny network has an epoch, or 10,000 bars, in milliseconds, less than a save takes: what is lost by waiting is
    done again sooner than it is saved. Decides only which checkpoints exist, never what is in them. `spacing`: least
    seconds between two saves; 0 allows every one.
    """

    def __init__(self, spacing: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._spacing, self._clock, self._last = spacing, clock, clock()

    def allows(self, size_bytes: int) -> bool:
        """Whether a state of this size may be saved now."""
        if not self._spacing:
            return True
        return self._clock() - self._last >= self._spacing + size_bytes / _BYTES_PER_SECOND

    def saved(self) -> None:
        """A save has begun."""
        self._last = self._clock()
