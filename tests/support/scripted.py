"""A coordinator that answers what a test has written down: real gRPC on loopback, no database, no clock.

It runs on the blocking client's own event loop, so that the process has one gRPC loop.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from google.protobuf.message import Message

from holdfast.rpc import Service, create_server
from holdfast.sdk._loop import run
from holdfast.v1 import (
    checkpoint_service_pb2,
    checkpoint_service_pb2_grpc,
    coordinator_service_pb2,
    coordinator_service_pb2_grpc,
    operation_pb2,
)

# What a script may say to one call: a message, an error to raise, or a function of the request that gives either.
Answer = Message | Exception | Callable[[Any], Any]


class Script:
    """Answers per method, in order; the last one is repeated. A watch's answer is a list (or an async generator)."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, Any]] = []
        self.address = ""
        self._answers: dict[str, list[Any]] = {}

    def on(self, method: str, *answers: Any) -> None:
        """What `method` answers from now on."""
        self._answers[method] = list(answers)

    def asked(self, method: str) -> list[Any]:
        """The requests that `method` got."""
        return [request for name, request in self.requests if name == method]

    def next_answer(self, method: str, request: Any) -> Any:
        """What to say now; the request is written down."""
        # A copy: what the server got must not change with what the client goes on to do.
        self.requests.append((method, request))
        answers = self._answers.get(method)
        if not answers:
            raise AssertionError(f"the script has no answer to {method}")
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return answer(request) if callable(answer) else answer


class _Servicer:
    def __init__(self, script: Script, service: Any) -> None:
        for method in service.methods:
            setattr(self, method.name, (_stream if method.server_streaming else _unary)(script, method.name))


def _unary(script: Script, method: str) -> Callable[[Any, Any], Any]:
    async def answer(request: Any, context: Any) -> Any:
        found = script.next_answer(method, request)
        if inspect.isawaitable(found):
            found = await found
        if isinstance(found, Exception):
            raise found
        return found

    return answer


def _stream(script: Script, method: str) -> Callable[[Any, Any], AsyncIterator[Any]]:
    async def answer(request: Any, context: Any) -> AsyncIterator[Any]:
        found = script.next_answer(method, request)
        if isinstance(found, Exception):
            raise found
        if hasattr(found, "__aiter__"):
            async for item in found:
                yield item
            return
        for item in found:
            if isinstance(item, Exception):
                raise item
            yield item

    return answer


@contextmanager
def scripted_coordinator() -> Iterator[Script]:
    """A coordinator at `script.address` for as long as the context lasts."""
    script = Script()
    coordinator = coordinator_service_pb2.DESCRIPTOR.services_by_name["CoordinatorService"]
    checkpoints = checkpoint_service_pb2.DESCRIPTOR.services_by_name["CheckpointService"]
    services = [
        Service(
            coordinator_service_pb2_grpc.add_CoordinatorServiceServicer_to_server,
            _Servicer(script, coordinator),
            coordinator.full_name,
        ),
        Service(
            checkpoint_service_pb2_grpc.add_CheckpointServiceServicer_to_server,
            _Servicer(script, checkpoints),
            checkpoints.full_name,
        ),
    ]

    async def start() -> Any:
        server = create_server("127.0.0.1:0", services)
        await server.start()
        return server

    server = run(start())
    script.address = server.address
    try:
        yield script
    finally:
        run(server.stop(0))


def operation(status: str = "RUNNING", *, operation_id: str = "op-1", **fields: Any) -> operation_pb2.Operation:
    """An operation of kind training, as the coordinator would tell it."""
    return operation_pb2.Operation(
        operation_id=operation_id,
        kind=fields.pop("kind", operation_pb2.OPERATION_KIND_TRAINING),
        status=f"OPERATION_STATUS_{status}",
        attempt=fields.pop("attempt", 1),
        strategy_name=fields.pop("strategy_name", "spx daily"),
        max_attempts=fields.pop("max_attempts", 1),
        **fields,
    )


def told(
    value: operation_pb2.Operation | operation_pb2.OperationEvent | operation_pb2.Progress,
) -> coordinator_service_pb2.WatchOperationResponse:
    """One message of a watch."""
    response = coordinator_service_pb2.WatchOperationResponse()
    match value:
        case operation_pb2.Operation():
            response.operation.CopyFrom(value)
        case operation_pb2.OperationEvent():
            response.event.CopyFrom(value)
        case _:
            response.progress.CopyFrom(value)
    return response


def event(sequence: int, kind: str = "NOTICE", message: str = "") -> operation_pb2.OperationEvent:
    """One row of an operation's story."""
    return operation_pb2.OperationEvent(
        operation_id="op-1",
        sequence=sequence,
        attempt=1,
        type=kind,
        message=message or f"event {sequence}",
        status=operation_pb2.OPERATION_STATUS_RUNNING,
    )
