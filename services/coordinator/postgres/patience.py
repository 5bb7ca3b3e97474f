"""How long the work at hand waits for what is away: the database, the artifact store. Owns that one number.

It belongs to the call and not to an object. A caller's request is told soon, so that is what every context begins
with; background tasks wait for ever, because `tasks` starts them so. Never hold a scope across a `yield`: a generator
shares its caller's context.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# How long a caller's request may wait for a lost database before it answers UNAVAILABLE.
REQUEST_PATIENCE = 1.0  # seconds

_patience: ContextVar[float | None] = ContextVar("patience", default=REQUEST_PATIENCE)


def patience() -> float | None:
    """Seconds to go on trying after a loss; None: for ever."""
    return _patience.get()


def be_patient() -> None:
    """For the rest of this context: an outage delays, and ends nothing."""
    _patience.set(None)


@contextmanager
def patient() -> Iterator[None]:
    """Inside a call, what has to outlast an outage."""
    yield from _scope(None)


@contextmanager
def impatient() -> Iterator[None]:
    """Inside a background task, what an outage has to end."""
    yield from _scope(REQUEST_PATIENCE)


def _scope(seconds: float | None) -> Iterator[None]:
    before = _patience.set(seconds)
    try:
        yield
    finally:
        _patience.reset(before)
