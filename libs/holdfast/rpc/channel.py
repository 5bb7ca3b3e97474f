"""Makes client channels. Owns keepalive, limits, default deadlines and the retry policy of every call."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import grpc

from holdfast.rpc.limits import DEFAULT_DEADLINE, REQUEST_BYTES, RESPONSE_BYTES, SHARED_OPTIONS

__all__ = ["create_channel"]

# Only UNAVAILABLE is retried: every command carries a request_id or an attempt, so a repeat is answered as the first.
_SERVICE_CONFIG = json.dumps(
    {
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 4,
                    "initialBackoff": "0.1s",
                    "maxBackoff": "1s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ]
    }
)


class _DefaultDeadline(grpc.aio.UnaryUnaryClientInterceptor):
    """Gives a deadline to every unary call that has none: a call without one can wait for ever."""

    async def intercept_unary_unary(
        self,
        continuation: Callable[[grpc.aio.ClientCallDetails, Any], Any],
        client_call_details: grpc.aio.ClientCallDetails,
        request: Any,
    ) -> Any:
        if client_call_details.timeout is None:
            client_call_details = grpc.aio.ClientCallDetails(
                method=client_call_details.method,
                timeout=DEFAULT_DEADLINE,
                metadata=client_call_details.metadata,
                credentials=client_call_details.credentials,
                wait_for_ready=client_call_details.wait_for_ready,
            )
        return await continuation(client_call_details, request)


def create_channel(target: str, *, retries: bool = True, receive_bytes: int = RESPONSE_BYTES) -> grpc.aio.Channel:
    """A channel to `host:port`. Connects lazily; close it when done.

    `retries=False` is for callers that own a retry loop and want the first answer. `receive_bytes`: the largest message
    that is taken from the other side.
    """
    options: list[tuple[str, Any]] = [
        *SHARED_OPTIONS,
        ("grpc.max_send_message_length", REQUEST_BYTES),
        ("grpc.max_receive_message_length", receive_bytes),
        ("grpc.enable_retries", 1 if retries else 0),
        ("grpc.service_config", _SERVICE_CONFIG if retries else "{}"),
        # A restarted peer is found again soon, not after gRPC's default of up to two minutes.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 500),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        # Channels to one address must not share a broken connection's backoff.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    return grpc.aio.insecure_channel(target, options=options, interceptors=[_DefaultDeadline()])
