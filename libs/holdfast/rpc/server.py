"""Makes gRPC servers. Owns reflection, health, limits, error mapping and the log context of every call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from grpc_status import rpc_status

from holdfast.errors import HoldfastError, InternalError, NotPossible
from holdfast.rpc.intake import Intake
from holdfast.rpc.limits import KEEPALIVE_MS, OPEN_CALLS, REQUEST_BYTES, RESPONSE_BYTES, SHARED_OPTIONS
from holdfast.rpc.status import status_from_error

__all__ = ["Server", "Service", "create_server"]

log = structlog.get_logger()

_OURS = "/holdfast."


@dataclass(frozen=True, slots=True)
class Service:
    """One gRPC service: its generated `add_…_to_server`, the servicer, and the full name, "holdfast.v1.…"."""

    add: Callable[[Any, grpc.aio.Server], None]
    servicer: object
    name: str


class Server:
    """A bound, not yet started server. `address` is host:port with the real port."""

    def __init__(self, server: grpc.aio.Server, address: str, health_servicer: Any, names: Sequence[str]) -> None:
        self._server = server
        self._health = health_servicer
        self._names = tuple(names)
        self.address = address
        self.port = int(address.rpartition(":")[2])

    async def start(self) -> None:
        """Starts to answer, healthy."""
        await self._server.start()
        await self.set_serving(True)

    async def set_serving(self, serving: bool) -> None:
        """Tells grpc.health.v1 callers; a draining process says False first."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", *self._names):
            await self._health.set(name, status)

    async def stop(self, grace: float | None = None) -> None:
        """Refuses new calls, gives running ones `grace` seconds, then cancels them."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace)


def create_server(listen: str, services: Sequence[Service]) -> Server:
    """Binds `listen` (host:port, port 0 for any free one).

    Raises NotPossible (PORT_IN_USE) when the address cannot be bound.
    """
    options: list[tuple[str, Any]] = [
        *SHARED_OPTIONS,
        ("grpc.max_receive_message_length", REQUEST_BYTES),
        ("grpc.max_send_message_length", RESPONSE_BYTES),
        # What is not read yet stays with the sender, however fast the connection is.
        ("grpc.http2.bdp_probe", 0),
        # Without this, two processes could share a port and split its calls between them.
        ("grpc.so_reuseport", 0),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", KEEPALIVE_MS // 2),
        ("grpc.http2.max_ping_strikes", 0),
    ]
    server = grpc.aio.server(interceptors=[_Boundary(Intake())], options=options, maximum_concurrent_rpcs=OPEN_CALLS)
    health_servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    for service in services:
        service.add(service.servicer, server)
    names = [service.name for service in services]
    reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    try:
        port = server.add_insecure_port(listen)
    except RuntimeError as error:
        raise NotPossible(
            f"Cannot listen on {listen}: the address is in use or not this machine's. "
            "Stop the process that holds it, or name another with HOLDFAST_LISTEN.",
            reason="PORT_IN_USE",
        ) from error
    return Server(server, f"{listen.rpartition(':')[0]}:{port}", health_servicer, names)


class _Boundary(grpc.aio.ServerInterceptor):
    """Wraps every Holdfast method: domain errors become statuses, defects become INTERNAL with the traceback logged.

    On the wire, one request is a stream of one. Taken as a stream, it is read when there is a place for it, and not
    before.
    """

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or not method.startswith(_OURS):
            return handler
        coders = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.unary_unary:
            answering = _answering(handler.unary_unary, method, self._intake)
            return grpc.stream_unary_rpc_method_handler(answering, **coders)
        if handler.stream_unary:
            return grpc.stream_unary_rpc_method_handler(_answering(handler.stream_unary, method), **coders)
        if handler.unary_stream:
            streaming = _streaming(handler.unary_stream, method, self._intake)
            return grpc.stream_stream_rpc_method_handler(streaming, **coders)
        return grpc.stream_stream_rpc_method_handler(_streaming(handler.stream_stream, method), **coders)


def _answering(
    behaviour: Callable[..., Awaitable[Any]], method: str, intake: Intake | None = None
) -> Callable[..., Awaitable[Any]]:
    async def answer(request: Any, context: Any) -> Any:
        try:
            if intake is None:
                return await behaviour(request, context)
            async with intake.read(request) as only:
                _bind_log_context(method, only)
                return await behaviour(only, context)
        except grpc.aio.AbortError:
            raise
        except Exception as error:  # noqa: BLE001 - the boundary: every defect gets a status and a log line
            await _abort(context, error, method)

    return answer


def _streaming(
    behaviour: Callable[..., AsyncIterator[Any]], method: str, intake: Intake | None = None
) -> Callable[..., AsyncIterator[Any]]:
    async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
        try:
            if intake is not None:
                async with intake.read(request) as only:
                    request = only
            _bind_log_context(method, request)
            async for response in behaviour(request, context):
                yield response
        except grpc.aio.AbortError:
            raise
        except Exception as error:  # noqa: BLE001 - the boundary: every defect gets a status and a log line
            await _abort(context, error, method)

    return stream


async def _abort(context: Any, error: Exception, method: str) -> None:
    if not isinstance(error, HoldfastError):
        log.error("Call failed", method=method, error=repr(error), exc_info=error)
        error = InternalError(
            f"{method.rpartition('/')[2]} met a defect ({type(error).__name__}). The server's log has the details."
        )
    await context.abort_with_status(rpc_status.to_status(status_from_error(error)))


def _bind_log_context(method: str, request: Any) -> None:
    # Never unbound: gRPC runs every call in a task, and so in a context, of its own.
    context = {"method": method.rpartition("/")[2]}
    operation_id = getattr(request, "operation_id", "")
    if operation_id:
        context["operation"] = operation_id
    structlog.contextvars.bind_contextvars(**context)
