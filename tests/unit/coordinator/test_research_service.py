"""Research is in the protocol and not built: every method says so, and pretends nothing. No network: grpcio-testing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import grpc_testing
import pytest

from holdfast.errors import HoldfastError
from holdfast.rpc import status_from_error
from holdfast.services.coordinator.rpc.research_service import ResearchServicer
from holdfast.v1 import research_service_pb2 as pb

SERVICE = pb.DESCRIPTOR.services_by_name["ResearchService"]


class Blocking:
    """grpcio-testing calls servicers from threads: coroutines run to their end, errors are mapped as servers do."""

    def __init__(self, servicer: object) -> None:
        self._servicer = servicer

    def __getattr__(self, name: str) -> Callable[[Any, Any], Any]:
        method = getattr(self._servicer, name)

        def call(request: Any, context: Any) -> Any:
            try:
                return asyncio.run(method(request, context))
            except HoldfastError as error:
                status = status_from_error(error)
                context.abort(grpc.StatusCode[error.code], status.message)

        return call


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("method", [method.name for method in SERVICE.methods])
def test_every_method_answers_unimplemented_with_the_reason(method: str) -> None:
    server = grpc_testing.server_from_dictionary(
        {SERVICE: Blocking(ResearchServicer())}, grpc_testing.strict_real_time()
    )
    descriptor = SERVICE.methods_by_name[method]
    request = getattr(pb, f"{method}Request")()
    call = server.invoke_unary_unary(descriptor, (), request, 10)
    _, _, code, details = call.termination()
    assert code is grpc.StatusCode.UNIMPLEMENTED
    assert "esearch" in details
