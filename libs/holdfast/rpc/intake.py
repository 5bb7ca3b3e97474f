"""Reads requests when there is a place for them. Owns the places; never touches a method's meaning.

Without it, every caller's message would be in memory as soon as it comes: eight of 60 MB were 500 MB.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from holdfast.errors import AtCapacity, InvalidRequest
from holdfast.rpc.limits import COLLECT_BYTES, LARGE_BYTES, READ_SECONDS, READERS, WAIT_SECONDS, WAITING_CALLS

__all__ = ["Intake"]


class Intake:
    """`read` gives a call's only request, and is held while the call is answered."""

    def __init__(
        self, readers: int = READERS, waiting: int = WAITING_CALLS, wait_seconds: float = WAIT_SECONDS
    ) -> None:
        self._places = asyncio.Semaphore(readers)
        self._readers = readers
        self._most_waiting = waiting
        self._wait_seconds = wait_seconds
        self._waiting = 0
        self._large = 0  # bytes of large requests since the last collection

    @asynccontextmanager
    async def read(self, requests: Any) -> AsyncIterator[Any]:
        """Raises AtCapacity (TOO_BUSY); InvalidRequest when no request comes, or none in time."""
        await self._take_place()
        has_place = True
        try:
            try:
                async with asyncio.timeout(READ_SECONDS):
                    request = await anext(aiter(requests), None)
            except TimeoutError as error:
                raise InvalidRequest(f"The request did not arrive within {READ_SECONDS:.0f} seconds.") from error
            if request is None or request is grpc.aio.EOF:
                raise InvalidRequest("The call carries no request.")
            if request.ByteSize() <= LARGE_BYTES:
                self._places.release()
                has_place = False
            else:
                self._large += request.ByteSize()
            yield request
        finally:
            if has_place:
                self._places.release()
            if self._large > COLLECT_BYTES:
                # gRPC's calls are circles of references, and few objects hold much: the collector would come too late.
                self._large = 0
                gc.collect()

    async def _take_place(self) -> None:
        if self._places.locked() and self._waiting >= self._most_waiting:
            raise self._busy(f"{self._waiting} calls wait already, and the limit is {self._most_waiting}")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._places.acquire()
        except TimeoutError:
            raise self._busy(
                f"{self._readers} large requests are being answered, the limit is {self._readers}, and none had ended "
                f"within {self._wait_seconds:g} seconds"
            ) from None
        finally:
            self._waiting -= 1

    def _busy(self, why: str) -> AtCapacity:
        return AtCapacity(f"{why}. Call again in a moment.", reason="TOO_BUSY")
