"""Waits for conditions, never for times. Owns the deadlines after which a condition fails its test."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

DEADLINE = 60.0  # seconds; of several processes
PATIENCE = 20.0  # seconds; of one process, or of this one
POLL = 0.02  # seconds between two looks at a condition

T = TypeVar("T")


def wait_until(condition: Callable[[], T], what: str, *, deadline: float = DEADLINE) -> T:
    """The condition's first true value. Fails, saying what was awaited, when none comes in time."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"not within {deadline:g} s: {what}"
        time.sleep(POLL)


async def until(condition: Callable[[], Any], what: str = "condition", patience: float = PATIENCE) -> Any:
    """The condition's first true value; it may be a coroutine function."""
    end = asyncio.get_running_loop().time() + patience
    while True:
        value = condition()
        if isinstance(value, Awaitable):
            value = await value
        if value:
            return value
        assert asyncio.get_running_loop().time() < end, f"not within {patience:g} s: {what}"
        await asyncio.sleep(0.005)
