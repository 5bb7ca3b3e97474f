"""Background tasks: named, awaited, and fatal when they die. Owns nothing else."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine
from typing import Any

import structlog

log = structlog.get_logger()


class Tasks:
    """Starts tasks in the process's task group; an unexpected exception in one stops them all, and so the process."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        # A task that a call starts outlives it: its log lines must not carry that call's context.
        self._context = contextvars.copy_context()

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs `work` until it returns, is cancelled, or takes the process down."""
        return self._group.create_task(_guarded(name, work), name=name, context=self._context.copy())


async def _guarded(name: str, work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        log.error("Background task died", task=name, error=repr(error))
        raise
