"""The one place where servers and channels are made.

    server      create_server: reflection, health, error mapping, log context, limits
    channel     create_channel: keepalive, limits, deadlines, retries of UNAVAILABLE
    status      domain errors <-> google.rpc.Status
    logs        structlog for a process
    process     signals, and the exit with one clear line

TLS, tokens, roles, tracing and metrics enter here later and nowhere else.
"""

from holdfast.rpc.channel import create_channel
from holdfast.rpc.logs import configure_logging
from holdfast.rpc.process import Signals, run_process
from holdfast.rpc.server import Server, Service, create_server
from holdfast.rpc.status import error_from_rpc, status_from_error

__all__ = [
    "Server",
    "Service",
    "Signals",
    "configure_logging",
    "create_channel",
    "create_server",
    "error_from_rpc",
    "run_process",
    "status_from_error",
]
