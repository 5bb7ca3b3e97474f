"""Chooses the address that the coordinator listens on. Binds it only to see whether it is free."""

from __future__ import annotations

import socket
import time
from contextlib import suppress

from holdfast.errors import InvalidRequest, NotPossible, Violation
from holdfast.settings import DEFAULT_COORDINATOR, Settings

__all__ = ["listen_address"]

LINGER = 1.0  # seconds that the threads of a process killed a moment ago may still hold its port
POLL = 0.05  # seconds


def listen_address(settings: Settings, previous: str) -> tuple[str, int]:
    """Host and port to listen on, the port free. Port 0 becomes a free one: clients must know it beforehand.

    It becomes the port of the coordinator's `previous` start when that is free still: living workers dial it.
    """
    listen = settings.listen or DEFAULT_COORDINATOR
    host, _, port = listen.rpartition(":")
    before = int(previous.rpartition(":")[2] or 0)
    if int(port) == 0 and before:
        with suppress(OSError):  # somebody else has it by now
            return host, _probe(host, before, LINGER)
    try:
        return host, _probe(host, int(port), LINGER if int(port) == before else 0.0)
    except OverflowError as error:
        raise InvalidRequest(
            f"HOLDFAST_LISTEN={listen}: {port} is not a port (0 to 65535).",
            violations=[Violation("HOLDFAST_LISTEN", listen, "host:port with a port from 0 to 65535")],
        ) from error
    except OSError as error:
        raise NotPossible(
            f"The coordinator cannot listen on {listen}: {error.strerror}. Stop the program that uses that port, "
            "or choose another: HOLDFAST_LISTEN=127.0.0.1:7500 holdfast up",
            reason="PORT_IN_USE",
            metadata={"address": listen},
        ) from error


def _probe(host: str, port: int, patience: float) -> int:
    """The port, when a server can have it; 0 finds a free one. Raises OSError, OverflowError."""
    deadline = time.monotonic() + patience
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    while True:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As the server will: a port whose last connections only linger is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host.strip("[]"), port))
                return int(probe.getsockname()[1])
            except OSError:
                if time.monotonic() > deadline:
                    raise
        time.sleep(POLL)
