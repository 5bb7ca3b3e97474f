"""Background tasks: named, awaited, and of two kinds. Owns the rule which death ends the process; nothing else.

What must end the process is this short list, and nothing else may:

    leadership        another coordinator leads, or the lock cannot be had: two would write
    database          it can never be used again as it is (database_errors, FATAL)
    dispatcher        its memory of a half-made claim is lost: only a restart reconciles it
    orphan detector   without it an operation could stand still for ever
    progress          what it holds can no longer be distinguished from what it has written

Everything else is contained: it serves one worker, one operation or the housekeeping, and ends or fails alone. Its
rooms see to it that what it leaves behind is found again: a worker registers again, the orphan rule ends what nobody
claims, a delivery is requeued, housekeeping begins again.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog

from holdfast.services.coordinator.postgres.patience import PATIENCE

__all__ = ["FIRST_PAUSE", "LONGEST_PAUSE", "Tasks"]

log = structlog.get_logger()

# Housekeeping that met a defect begins again after this, doubled each time.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0  # seconds


class Tasks:
    """Starts tasks in the process's task group. An exception that leaves an essential one stops them all."""

    def __init__(self, group: asyncio.TaskGroup, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._group = group
        self._sleep = sleep
        # A task that a call starts outlives it, and every outage: it has neither the log lines nor the patience of one.
        self._context = contextvars.copy_context()
        self._context.run(PATIENCE.set, None)

    def essential(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs `work` until it returns, is cancelled, or takes the process down."""
        return self._create(name, _essential(name, work))

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs `work`, contained: an exception ends it alone, with its traceback in the log."""
        return self._create(name, _contained(name, work))

    def housekeeping(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        """Runs `work` for ever, contained: after an exception it begins again, later each time."""
        return self._create(name, self._again_and_again(name, work))

    def _create(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return self._group.create_task(work, name=name, context=self._context.copy())

    async def _again_and_again(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        pause = FIRST_PAUSE
        while True:
            await _contained(name, work())
            await self._sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)


async def _essential(name: str, work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        log.error("Essential task died: the process stops", task=name, error=repr(error))
        raise


async def _contained(name: str, work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except Exception:
        log.exception("Task met a defect", task=name)
