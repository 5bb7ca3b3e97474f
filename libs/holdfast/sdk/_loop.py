"""One event loop in one background thread for the whole process. Owns the thread; knows nothing of Holdfast."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Coroutine, Generator
from typing import Any, TypeVar, cast

__all__ = ["iterate", "run"]

T = TypeVar("T")
UNWIND_SECONDS = 2.0
_END = object()

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_owner = 0  # the pid the thread lives in: a fork inherits the variable but not the thread


def _background_loop() -> asyncio.AbstractEventLoop:
    # One loop for all clients: gRPC polls once per process, and a notebook makes clients freely.
    global _loop, _owner
    with _lock:
        if _loop is None or _owner != os.getpid():
            loop = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="holdfast-client", daemon=True).start()
            _loop, _owner = loop, os.getpid()
        return _loop


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs it on the background loop and returns its result; an interrupt (Ctrl-C) cancels it first."""
    ended = threading.Event()

    async def signalling() -> T:
        try:
            return await coroutine
        finally:
            ended.set()

    future = asyncio.run_coroutine_threadsafe(signalling(), _background_loop())
    try:
        return future.result()
    except BaseException:
        if future.cancel():
            # The caller may go on with what the coroutine holds (an iterator, say): let it unwind first.
            ended.wait(UNWIND_SECONDS)
        raise


def iterate(iterator: AsyncIterator[T]) -> Generator[T, None, None]:
    """Steps through an async iterator from outside; leaving early closes it."""
    try:
        while (item := run(_next(iterator))) is not _END:
            yield cast("T", item)
    finally:
        close = getattr(iterator, "aclose", None)
        if close is not None:
            run(close())


async def _next(iterator: AsyncIterator[T]) -> T | object:
    return await anext(iterator, _END)
