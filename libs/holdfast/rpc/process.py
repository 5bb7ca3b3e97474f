"""Runs a service's main coroutine: signals in, exit code out. Owns the process's last words."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from types import TracebackType

import structlog

from holdfast.errors import HoldfastError

__all__ = ["Signals", "run_process"]

log = structlog.get_logger()


class Signals:
    """SIGTERM and SIGINT as events: the first asks to stop, the second to stop at once.

    Use as an async context manager inside the running loop.
    """

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.force_stop = asyncio.Event()

    async def __aenter__(self) -> Signals:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._receive, number)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

    def _receive(self, number: signal.Signals) -> None:
        force_stop = self.stop.is_set()
        log.info("Signal received", signal=signal.Signals(number).name, force_stop=force_stop)
        (self.force_stop if force_stop else self.stop).set()


def run_process(main: Callable[[], Awaitable[int]]) -> int:
    """Runs `main` and returns the exit code; an expected error becomes one line on stderr and 1, never a traceback."""

    async def guarded() -> int:
        return await main()

    try:
        return asyncio.run(guarded())
    except HoldfastError as error:
        print(f"holdfast: {error.message}", file=sys.stderr, flush=True)
        return 1
    except BaseExceptionGroup as group:
        expected, rest = group.split(HoldfastError)
        if expected is None or rest is not None:
            raise
        print(f"holdfast: {_first(expected).message}", file=sys.stderr, flush=True)
        return 1


def _first(group: BaseExceptionGroup[HoldfastError]) -> HoldfastError:
    member = group.exceptions[0]
    return _first(member) if isinstance(member, BaseExceptionGroup) else member
