"""Spaces periodic saves. Owns the rule when the next one is due; decides nothing of what is in it.

The first save of an attempt comes at the end of the first unit that is new, so that every attempt that finishes a unit
makes progress. Between the beginnings of two saves lie at least `spacing` seconds and ten times what the last save
took: saving then costs about a tenth of a second core. A young attempt does not wait for the ten times: it saves again
when its age since the first save has doubled, so that about half of whatever time it is given is kept. A save that was
asked for too early is owed, and done at the first opportunity after. Never more than a minute is waited for a slow
store's sake.

So a crash costs at most: the larger of `spacing` and ten times a save (a minute at most), the unit that was under way,
and the save that was under way.
"""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Pace"]

_SHARE = 10.0  # times what the last save took
_YOUNG_SHARE = 2.0  # the same while the attempt is young
_LONGEST = 60.0  # seconds that a slow or failing store may put a save off


class Pace:
    """When a periodic save of one attempt is due. `spacing`: see above; 0: whenever one is asked for, and only then.

    One thread asks and begins; another may end. A tiny network has an epoch, or 10,000 bars, in milliseconds, less than
    a save takes: what is lost by waiting is done again sooner than it is saved.
    """

    def __init__(self, spacing: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._spacing, self._clock = spacing, clock
        self._first = True
        self._owed = False
        self._under_way = False
        self._born = self._began = self._next = clock()
        self._failures = 0

    def due(self, *, asked: bool, unit_ended: bool = True) -> bool:
        """Whether to save now. `asked`: the policy asks for it here. `unit_ended`: a new unit has just ended."""
        if not self._spacing:
            return asked
        self._owed |= asked or (unit_ended and self._first)
        return self._owed and not self._under_way and self._clock() >= self._next

    def begun(self) -> None:
        """A save has begun."""
        self._began = self._clock()
        if self._first:
            self._born = self._began
        self._first = self._owed = False
        self._under_way = True

    def ended(self, seconds: float) -> None:
        """It is durable after so many seconds of the store's work."""
        self._failures = 0
        self._put_off(min(_SHARE * seconds, max(_YOUNG_SHARE * seconds, self._began - self._born)))

    def failed(self) -> None:
        """It came to nothing: it is owed again. A store that goes on failing is tried less and less often."""
        self._failures += 1
        self._owed = True
        wait = max(self._spacing, _SHARE * (self._clock() - self._began))
        self._put_off(wait * 2.0 ** min(self._failures - 1, 10))

    def _put_off(self, seconds: float) -> None:
        self._next = self._began + max(self._spacing, min(seconds, _LONGEST))
        self._under_way = False
