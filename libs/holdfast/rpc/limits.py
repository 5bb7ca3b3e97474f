"""Owns the transport's numbers; both ends must agree on them, so they stand together."""

from __future__ import annotations

__all__ = [
    "COLLECT_BYTES",
    "DEFAULT_DEADLINE",
    "FACT_BYTES",
    "KEEPALIVE_MS",
    "KEEPALIVE_TIMEOUT_MS",
    "LARGE_BYTES",
    "MIB",
    "OPEN_CALLS",
    "READERS",
    "READ_SECONDS",
    "REQUEST_BYTES",
    "RESPONSE_BYTES",
    "SHARED_OPTIONS",
    "WAITING_CALLS",
    "WAIT_SECONDS",
]

MIB = 1024 * 1024
# What a server takes: a strategy is at most 4 MiB, and nothing else comes near it.
REQUEST_BYTES = 5 * MIB
# What a server answers: a page of a thousand operations carries a thousand strategies.
RESPONSE_BYTES = 64 * MIB
# What a worker says on its Supervise stream: the largest fact is an end with the tail of its log.
FACT_BYTES = 1 * MIB
# Calls that a server reads and answers at once. A request larger than LARGE_BYTES keeps its place until it is answered,
# a smaller one until it is read: so few large ones are in memory together, and none holds up a small one for long.
READERS, LARGE_BYTES = 4, 256 * 1024
# Of large requests, until the garbage collector is called: 50 of 4 MiB at once cost the coordinator 290 MB, and 800 MB
# with eight times as much. A collection takes some tens of milliseconds.
COLLECT_BYTES = 8 * MIB
# Those that wait for a place, for how long, and how long a caller may take to send its request.
WAITING_CALLS, WAIT_SECONDS, READ_SECONDS = 512, 10.0, 10.0
# Whatever else holds a call open: a server refuses more, without reading them.
OPEN_CALLS = 4096
KEEPALIVE_MS = 5_000  # a peer that froze or vanished is noticed after KEEPALIVE_MS + KEEPALIVE_TIMEOUT_MS
KEEPALIVE_TIMEOUT_MS = 5_000
DEFAULT_DEADLINE = 30.0  # seconds, for unary calls that name none

SHARED_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
    # Without this, a ping may stay unanswered for gRPC's default of a minute, whatever the keepalive timeout says
    # (grpcio 1.85; test_worker_stream.py's half-open connection).
    ("grpc.http2.ping_timeout_ms", KEEPALIVE_TIMEOUT_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)
