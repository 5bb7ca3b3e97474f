"""Requests are read when there is a place for them, over real gRPC; at the bound the answer has its numbers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from holdfast import errors
from holdfast.rpc import Server, Service, create_channel, create_server, error_from_rpc
from holdfast.rpc import intake as intake_module
from holdfast.rpc.limits import LARGE_BYTES, READERS, REQUEST_BYTES
from holdfast.v1 import coordinator_service_pb2 as pb
from holdfast.v1 import coordinator_service_pb2_grpc as rpc
from holdfast.v1 import operation_pb2

NAME = "holdfast.v1.CoordinatorService"


class Slow(rpc.CoordinatorServiceServicer):
    """Answers a start when the test says so, a question at once."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.inside = 0
        self.most_inside = 0
        self.entered = asyncio.Event()

    async def StartTraining(self, request: pb.StartTrainingRequest, context: Any) -> pb.StartTrainingResponse:  # noqa: N802
        self.inside += 1
        self.most_inside = max(self.inside, self.most_inside)
        if self.inside >= READERS:
            self.entered.set()
        try:
            await self.may_answer.wait()
        finally:
            self.inside -= 1
        return pb.StartTrainingResponse()

    async def GetOperation(self, request: pb.GetOperationRequest, context: Any) -> pb.GetOperationResponse:  # noqa: N802
        return pb.GetOperationResponse()


@pytest.fixture
async def served() -> AsyncIterator[tuple[Slow, Server, rpc.CoordinatorServiceAsyncStub]]:
    servicer = Slow()  # type: ignore[abstract]  # the other methods are not called
    server = create_server("127.0.0.1:0", [Service(rpc.add_CoordinatorServiceServicer_to_server, servicer, NAME)])
    await server.start()
    async with create_channel(server.address, retries=False) as channel:
        yield servicer, server, rpc.CoordinatorServiceStub(channel)
    await server.stop()


def start(size: int) -> pb.StartTrainingRequest:
    return pb.StartTrainingRequest(spec=operation_pb2.TrainingSpec(strategy="x" * size))


def begin(stub: rpc.CoordinatorServiceAsyncStub, size: int, number: int) -> list[asyncio.Task[None]]:
    async def call() -> None:
        await stub.StartTraining(start(size))

    return [asyncio.create_task(call(), name=f"call {index}") for index in range(number)]


async def test_few_large_requests_are_in_the_house_at_once(
    served: tuple[Slow, Server, rpc.CoordinatorServiceAsyncStub],
) -> None:
    slow, _, stub = served
    calls = begin(stub, 2 * LARGE_BYTES, 3 * READERS)
    await slow.entered.wait()
    slow.may_answer.set()
    await asyncio.gather(*calls)
    assert slow.most_inside == READERS


async def test_many_small_requests_are_answered_side_by_side(
    served: tuple[Slow, Server, rpc.CoordinatorServiceAsyncStub],
) -> None:
    slow, _, stub = served
    calls = begin(stub, 10, 5 * READERS)
    async with asyncio.timeout(10):
        while slow.inside < 5 * READERS:  # noqa: ASYNC110 - what is waited for is the server's work
            await asyncio.sleep(0)
    await stub.GetOperation(pb.GetOperationRequest())
    slow.may_answer.set()
    await asyncio.gather(*calls)


async def test_who_waits_too_long_is_told_both_numbers(
    served: tuple[Slow, Server, rpc.CoordinatorServiceAsyncStub], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow()  # type: ignore[abstract]
    monkeypatch.setattr("holdfast.rpc.server.Intake", lambda: intake_module.Intake(READERS, 1, 0.05))
    server = create_server("127.0.0.1:0", [Service(rpc.add_CoordinatorServiceServicer_to_server, slow, NAME)])
    await server.start()
    async with create_channel(server.address, retries=False) as channel:
        stub = rpc.CoordinatorServiceStub(channel)
        calls = begin(stub, 2 * LARGE_BYTES, READERS)
        await slow.entered.wait()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetOperation(pb.GetOperationRequest())
        error = error_from_rpc(caught.value)
        assert isinstance(error, errors.AtCapacity)
        assert error.reason == "TOO_BUSY"
        assert f"{READERS} large requests are being answered, the limit is {READERS}" in error.message
        slow.may_answer.set()
        await asyncio.gather(*calls)
        await stub.GetOperation(pb.GetOperationRequest())
    await server.stop()


async def test_a_request_that_is_too_large_is_told_both_numbers(
    served: tuple[Slow, Server, rpc.CoordinatorServiceAsyncStub],
) -> None:
    _, server, stub = served
    # The client knows the limit as well; another program may not.
    async with grpc.aio.insecure_channel(server.address, options=[("grpc.max_send_message_length", -1)]) as foreign:
        for caller in (stub, rpc.CoordinatorServiceStub(foreign)):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await caller.StartTraining(start(60 * 1024 * 1024))
            error = error_from_rpc(caught.value)
            assert isinstance(error, errors.AtCapacity)
            assert error.reason == "MESSAGE_TOO_LARGE"
            assert str(60 * 1024 * 1024)[:5] in error.message
            assert str(REQUEST_BYTES) in error.message


async def test_a_call_that_never_sends_its_request_gives_its_place_back(
    served: tuple[Slow, Server, rpc.CoordinatorServiceAsyncStub], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, server, stub = served
    monkeypatch.setattr(intake_module, "READ_SECONDS", 0.05)
    method = f"/{NAME}/GetOperation"
    async with grpc.aio.insecure_channel(server.address) as channel:
        open_calls: list[Any] = [channel.stream_unary(method)() for _ in range(2 * READERS)]
        for call in open_calls:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    await stub.GetOperation(pb.GetOperationRequest())
