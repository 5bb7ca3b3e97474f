"""Makes calls: a deadline, retries of UNAVAILABLE inside a patience, and errors of holdfast.errors, chained.

Owns the channel. Every call that is retried is one whose repetition the server answers as the first time.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar, cast

import grpc
import tenacity
from grpc_status import rpc_status

from holdfast.errors import HoldfastError, Unavailable
from holdfast.rpc.channel import create_channel
from holdfast.rpc.status import error_from_rpc

__all__ = ["SLOW_DEADLINE", "Calls"]

ResponseT = TypeVar("ResponseT")
DEADLINE = 30.0  # seconds, one attempt
SLOW_DEADLINE = 600.0  # seconds, for calls that read or delete many artifacts
_BROKEN_STREAM = {grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL}


class Calls:
    """One channel to one coordinator, and how calls on it are made.

    `patience`: for how many seconds a call goes on trying while the coordinator or its database is unavailable.
    """

    def __init__(self, target: str, *, patience: float) -> None:
        self.target = target
        self.patience = patience
        self.channel = create_channel(target, retries=False)

    async def unary(
        self,
        method: Callable[..., Awaitable[ResponseT]],
        request: Any,
        *,
        deadline: float = DEADLINE,
        retry: bool = True,
    ) -> ResponseT:
        """Calls once, or until it is answered.

        Raises the HoldfastError the answer stands for; Unavailable once patience has run out.
        """
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(Unavailable),
            wait=tenacity.wait_random_exponential(multiplier=0.2, max=2.0),
            stop=tenacity.stop_after_delay(self.patience) if retry else tenacity.stop_after_attempt(1),
            reraise=True,
        )
        return await retrying(self._once, method, request, deadline)

    async def _once(self, method: Callable[..., Awaitable[ResponseT]], request: Any, deadline: float) -> ResponseT:
        try:
            return await method(request, timeout=deadline)
        except grpc.aio.AioRpcError as rpc_error:
            raise self.translate(rpc_error) from rpc_error

    async def stream(
        self, method: Callable[..., Any], make_request: Callable[[], Any], *, patience: float
    ) -> AsyncIterator[Any]:
        """Follows a server stream over lost connections; `make_request` says from where to go on.

        Ends when the server ends it. Raises Unavailable when no stream could be opened for `patience` seconds.
        """
        failures = 0
        failing_since = 0.0  # counts while failures is not 0; a healthy stream may be silent for hours
        while True:
            call = method(make_request())
            try:
                async for message in call:
                    failures = 0
                    yield message
                return
            except grpc.aio.AioRpcError as rpc_error:
                # A stopping server cancels its streams; seen from here that is the same as a broken one.
                broken = rpc_error.code() in _BROKEN_STREAM and not _answered(rpc_error)
                error = self.translate(rpc_error)
                if not failures:
                    failing_since = time.monotonic()
                if not (broken or isinstance(error, Unavailable)) or time.monotonic() - failing_since > patience:
                    raise error from rpc_error
            finally:
                call.cancel()
            failures += 1
            await asyncio.sleep(random.uniform(0.05, min(2.0, 0.1 * 2.0 ** min(failures, 6))))

    def translate(self, rpc_error: grpc.aio.AioRpcError) -> HoldfastError:
        """The error to raise; one that never reached a coordinator says where it was sought and what to do."""
        error = error_from_rpc(rpc_error)
        if rpc_error.code() is grpc.StatusCode.UNAVAILABLE and not _answered(rpc_error):
            return Unavailable(
                f"No coordinator answers at {self.target}. "
                "Start one with `holdfast up`, or name another with HOLDFAST_COORDINATOR.",
                reason="COORDINATOR_UNREACHABLE",
                metadata={"target": self.target, "transport": error.message},
            )
        if rpc_error.code() is grpc.StatusCode.DEADLINE_EXCEEDED and not _answered(rpc_error):
            return Unavailable(
                f"The coordinator at {self.target} did not answer in time: it is overloaded or frozen. "
                "`holdfast status` says what is known of it.",
                reason="COORDINATOR_NOT_ANSWERING",
                metadata={"target": self.target, "transport": error.message},
            )
        return error

    async def close(self) -> None:
        """Closes the channel."""
        await self.channel.close()


def _answered(rpc_error: grpc.aio.AioRpcError) -> bool:
    """Whether a Holdfast server said this, and not the transport."""
    return rpc_status.from_call(cast("grpc.Call", rpc_error)) is not None
