"""Owns the transport's numbers; both ends must agree on them, so they stand together."""

from __future__ import annotations

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
KEEPALIVE_MS = 5_000  # a peer that froze or vanished is noticed after KEEPALIVE_MS + KEEPALIVE_TIMEOUT_MS
KEEPALIVE_TIMEOUT_MS = 5_000
DEFAULT_DEADLINE = 30.0  # seconds, for unary calls that name none

SHARED_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
    # Without this, a ping may stay unanswered for gRPC's default of a minute, whatever the keepalive timeout says
    # (grpcio 1.85; test_worker_stream.py's half-open connection).
    ("grpc.http2.ping_timeout_ms", KEEPALIVE_TIMEOUT_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)
