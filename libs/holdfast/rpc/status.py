"""Turns domain errors into google.rpc.Status and back. Owns no call."""

from __future__ import annotations

import re
from typing import cast

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from holdfast.errors import HoldfastError, Violation, error_for

__all__ = ["DOMAIN", "error_from_rpc", "status_from_error"]

DOMAIN = "holdfast"
# gRPC's own words.
_TOO_LARGE = re.compile(r"message larger than max \((\d+) vs\. (\d+)\)")


def status_from_error(error: HoldfastError) -> status_pb2.Status:
    """The wire form: ErrorInfo with the stable reason, and BadRequest when fields are wrong."""
    code = grpc.StatusCode[error.code] if error.code in grpc.StatusCode.__members__ else grpc.StatusCode.UNKNOWN
    status = status_pb2.Status(code=code.value[0], message=error.message)
    _pack(status, error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata))
    violations: tuple[Violation, ...] = getattr(error, "violations", ())
    if violations:
        bad_request = error_details_pb2.BadRequest()
        for violation in violations:
            # `reason` holds what was found: the client can rebuild the violation without parsing prose.
            bad_request.field_violations.add(
                field=violation.path, description=violation.allowed, reason=violation.value
            )
        _pack(status, bad_request)
    return status


def error_from_rpc(rpc_error: grpc.aio.AioRpcError) -> HoldfastError:
    """The domain error a failed call stands for; raise it `from` the rpc error."""
    code = rpc_error.code().name
    message = rpc_error.details() or code
    reason: str | None = None
    metadata: dict[str, str] = {}
    violations: list[Violation] = []
    status = rpc_status.from_call(cast("grpc.Call", rpc_error))
    if status is not None:
        for detail in status.details:
            info = error_details_pb2.ErrorInfo()
            bad_request = error_details_pb2.BadRequest()
            if detail.Is(info.DESCRIPTOR):
                detail.Unpack(info)
                reason, metadata = info.reason, dict(info.metadata)
            elif detail.Is(bad_request.DESCRIPTOR):
                detail.Unpack(bad_request)
                violations = [
                    Violation(path=item.field, value=item.reason, allowed=item.description)
                    for item in bad_request.field_violations
                ]
    too_large = _TOO_LARGE.search(message) if code == "RESOURCE_EXHAUSTED" and reason is None else None
    if too_large is not None:
        reason = "MESSAGE_TOO_LARGE"
        message = f"The message has {too_large[1]} bytes, and at most {too_large[2]} are taken."
    if code == "DEADLINE_EXCEEDED" and reason is None:
        reason, message = "DEADLINE_EXCEEDED", f"No answer in time: {message}"
    return error_for(code, message, reason=reason, metadata=metadata, violations=violations)


def _pack(status: status_pb2.Status, message: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest) -> None:
    detail = any_pb2.Any()
    detail.Pack(message)
    status.details.append(detail)
