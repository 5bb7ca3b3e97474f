"""Makes calls with a request_id idempotent: the same id is answered as the first time. Owns the digest of a request."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from google.protobuf.message import Message

from holdfast.errors import InvalidRequest, Violation
from holdfast.services.coordinator.operations.records import serialized
from holdfast.services.coordinator.operations.store import Store
from holdfast.services.coordinator.operations.transitions import Request

__all__ = ["Answer", "answered", "asked"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What an earlier call with the same id has done."""

    operation_id: str
    checkpoint_id: str


def asked(method: str, request_id: str, message: Message) -> Request:
    """The request as it is remembered."""
    return Request(request_id, method, hashlib.sha256(serialized(message) or b"").hexdigest())


async def answered(store: Store, request: Request) -> Answer | None:
    """The earlier answer; None for a new request. Raises InvalidRequest when the id was used for another request."""
    if not request.id:
        return None
    found = await store.find_request(request.id)
    if found is None:
        return None
    if (found["method"], found["digest"]) != (request.method, request.digest):
        raise InvalidRequest(
            f"The request_id {request.id!r} was used for another {found['method']} call. Use a new one for "
            "every request.",
            violations=[Violation("request_id", repr(request.id), "an id that no other request has used")],
            reason="REQUEST_ID_REUSED",
            metadata={"operation_id": found["operation_id"]},
        )
    return Answer(found["operation_id"], found["checkpoint_id"] or "")
