"""A domain error crosses the wire and arrives as itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from holdfast import errors
from holdfast.rpc import Server, Service, create_channel, create_server, error_from_rpc
from holdfast.v1 import coordinator_service_pb2 as pb
from holdfast.v1 import coordinator_service_pb2_grpc as rpc

NAME = "holdfast.v1.CoordinatorService"


class Raising(rpc.CoordinatorServiceServicer):
    """Raises what the test put there."""

    error: Exception = RuntimeError()

    async def GetOperation(self, request: pb.GetOperationRequest, context: object) -> pb.GetOperationResponse:  # noqa: N802
        raise self.error

    async def WatchOperation(  # noqa: N802
        self, request: pb.WatchOperationRequest, context: object
    ) -> AsyncIterator[pb.WatchOperationResponse]:
        yield pb.WatchOperationResponse()
        raise self.error


@pytest.fixture
async def served() -> AsyncIterator[tuple[Raising, Server, grpc.aio.Channel]]:
    servicer = Raising()  # type: ignore[abstract]  # the other methods are not called
    server = create_server("127.0.0.1:0", [Service(rpc.add_CoordinatorServiceServicer_to_server, servicer, NAME)])
    await server.start()
    async with create_channel(server.address, retries=False) as channel:
        yield servicer, server, channel
    await server.stop()


VIOLATION = errors.Violation("training.epochs", "-1", "at least 1")


@pytest.mark.parametrize(
    "error",
    [
        errors.InvalidRequest("Bad strategy.", violations=[VIOLATION], reason="INVALID_STRATEGY"),
        errors.NotFound("No operation x.", reason="OPERATION_NOT_FOUND", metadata={"operation_id": "x"}),
        errors.NotPossible("It runs.", reason="OPERATION_NOT_RESUMABLE"),
        errors.LostRace("Another resume won.", reason="RESUME_LOST_RACE"),
        errors.AtCapacity("5 active researches, limit is 5"),
        errors.Corrupted("model.safetensors differs."),
        errors.Unavailable("The database is unavailable."),
        errors.Unimplemented("Not built yet."),
    ],
)
async def test_an_error_arrives_as_itself(
    served: tuple[Raising, Server, grpc.aio.Channel], error: errors.HoldfastError
) -> None:
    servicer, _, channel = served
    servicer.error = error
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await rpc.CoordinatorServiceStub(channel).GetOperation(pb.GetOperationRequest(operation_id="x"))
    arrived = error_from_rpc(caught.value)
    assert type(arrived) is type(error)
    assert (arrived.message, arrived.reason, arrived.metadata) == (error.message, error.reason, error.metadata)
    if isinstance(error, errors.InvalidRequest):
        assert isinstance(arrived, errors.InvalidRequest)
        assert arrived.violations == error.violations


async def test_a_stream_ends_with_the_error(served: tuple[Raising, Server, grpc.aio.Channel]) -> None:
    servicer, _, channel = served
    servicer.error = errors.NotFound("Gone.")
    stream = rpc.CoordinatorServiceStub(channel).WatchOperation(pb.WatchOperationRequest())
    assert await stream.read() == pb.WatchOperationResponse()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stream.read()
    assert isinstance(error_from_rpc(caught.value), errors.NotFound)


async def test_a_defect_is_internal_and_keeps_its_details_to_the_log(
    served: tuple[Raising, Server, grpc.aio.Channel], capsys: pytest.CaptureFixture[str]
) -> None:
    servicer, _, channel = served
    servicer.error = RuntimeError("the password is 1234")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await rpc.CoordinatorServiceStub(channel).GetOperation(pb.GetOperationRequest())
    arrived = error_from_rpc(caught.value)
    assert isinstance(arrived, errors.InternalError)
    assert "1234" not in arrived.message
    captured = capsys.readouterr()
    assert "1234" in captured.out + captured.err


async def test_health_and_reflection_answer(served: tuple[Raising, Server, grpc.aio.Channel]) -> None:
    _, server, channel = served
    health: Any = health_pb2_grpc.HealthStub(channel)
    serving = health_pb2.HealthCheckResponse.SERVING
    for name in ("", NAME):
        assert (await health.Check(health_pb2.HealthCheckRequest(service=name))).status == serving
    await server.set_serving(False)
    answer = await health.Check(health_pb2.HealthCheckRequest(service=NAME))
    assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING

    stub: Any = reflection_pb2_grpc.ServerReflectionStub(cast("grpc.Channel", channel))

    async def asked() -> AsyncIterator[Any]:
        yield cast("Any", reflection_pb2).ServerReflectionRequest(file_containing_symbol=NAME)

    (response,) = [response async for response in stub.ServerReflectionInfo(asked())]
    files = map(FileDescriptorProto.FromString, response.file_descriptor_response.file_descriptor_proto)
    assert "CoordinatorService" in {service.name for file in files for service in file.service}


async def test_a_port_in_use_is_said(served: tuple[Raising, Server, grpc.aio.Channel]) -> None:
    _, server, _ = served
    with pytest.raises(errors.NotPossible, match=f"Cannot listen on {server.address}") as caught:
        create_server(server.address, [])
    assert caught.value.reason == "PORT_IN_USE"


async def test_nobody_there_is_unavailable() -> None:
    server = create_server("127.0.0.1:0", [])
    address = server.address
    await server.stop()
    async with create_channel(address, retries=False) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await rpc.CoordinatorServiceStub(channel).GetOperation(pb.GetOperationRequest())
    assert isinstance(error_from_rpc(caught.value), errors.Unavailable)
