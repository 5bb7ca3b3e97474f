"""A worker that dies between two writes ends its stream, never the coordinator."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast.errors import Unavailable
from holdfast.services.coordinator.workers.link import Stream
from holdfast.v1 import worker_pb2


class Finished:
    """A call that has ended, as grpc.aio shows it to a writer."""

    async def write(self, request: Any) -> None:
        raise asyncio.InvalidStateError("RPC already finished.")


async def test_a_write_after_the_end_is_unavailable() -> None:
    stream = Stream(Finished(), 1, "")
    with pytest.raises(Unavailable):
        await stream.send(worker_pb2.CoordinatorMessage())
