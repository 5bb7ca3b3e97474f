"""How long the work at hand waits for what is away: the database, the artifact store. Owns that one number.

It belongs to the call and not to an object. Never hold `patient` across a `yield`: a generator shares its caller's
context.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["PATIENCE", "REQUEST_PATIENCE", "patient"]

# How long a caller's request may wait for a lost database before it answers UNAVAILABLE.
REQUEST_PATIENCE = 1.0  # seconds

# Seconds to go on trying after a loss; None: for ever, which `tasks` sets where a background task starts.
PATIENCE: ContextVar[float | None] = ContextVar("patience", default=REQUEST_PATIENCE)


@contextmanager
def patient(seconds: float | None = None) -> Iterator[None]:
    """Inside a call, what has to outlast an outage; with `seconds`, what an outage has to end in a background task."""
    token = PATIENCE.set(seconds)
    try:
        yield
    finally:
        PATIENCE.reset(token)
