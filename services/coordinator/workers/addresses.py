"""Decides which addresses the coordinator dials for a worker. Owns the name look-ups; never dials anything itself.

A registration names an address, and the coordinator calls it: without a rule, anybody could make it call whatever it
can reach. So a worker is dialled where its own call came from, or inside a network that a person has named
(HOLDFAST_WORKER_NETWORKS). What is dialled is the number that was checked, never a name that could change its meaning.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import urllib.parse
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from holdfast.errors import InvalidRequest, Violation

__all__ = ["RESOLVERS", "RESOLVE_SECONDS", "Address", "Addresses", "Network", "address_of_peer"]

RESOLVE_SECONDS = 2.0
# Look-ups that hang hold up one another, and nothing else.
RESOLVERS = 4

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_HOST = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")


class Addresses:
    """`place` turns what a worker advertises into what is dialled."""

    def __init__(
        self, networks: Sequence[Network] = (), look_up: Callable[[str], Awaitable[list[Address]]] | None = None
    ) -> None:
        self._networks = tuple(networks)
        self._look_up = look_up or self._resolve
        self._pool = ThreadPoolExecutor(RESOLVERS, thread_name_prefix="resolver")

    async def place(self, advertised: str, peer: str) -> str:
        """`advertised`: host:port, checked for its form; `peer`: gRPC's name of the caller. Raises InvalidRequest."""
        host, _, port = advertised.rpartition(":")
        caller = address_of_peer(peer)
        found = await self._addresses(host.strip("[]"), advertised)
        for address in found:
            if self._may_be_dialled(address, caller):
                return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
        meant = "" if str(found[0]) == host.strip("[]") else f" ({found[0]})"
        raise _refusal(
            advertised,
            f"The coordinator does not dial {advertised}{meant}: this worker calls from {caller or peer}. Set "
            "HOLDFAST_ADVERTISE on the worker to a name or number of the machine it calls from, or name the network "
            "of its address in HOLDFAST_WORKER_NETWORKS on the coordinator.",
        )

    async def _addresses(self, host: str, advertised: str) -> list[Address]:
        number = _number(host)
        if number is not None:
            return [number]
        if not _HOST.fullmatch(host):
            raise _refusal(advertised, f"{advertised} is not a host and a port.")
        try:
            async with asyncio.timeout(RESOLVE_SECONDS):
                found = await self._look_up(host)
        except (OSError, UnicodeError, TimeoutError) as error:
            raise _refusal(
                advertised,
                f"The coordinator cannot find the host {host} ({str(error) or 'no answer in time'}). Set "
                "HOLDFAST_ADVERTISE on the worker to a name that the coordinator knows, or to a number.",
            ) from error
        return found

    async def _resolve(self, host: str) -> list[Address]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._pool, lambda: socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))
        numbers = [_number(str(entry[4][0])) for entry in found]
        return [number for number in dict.fromkeys(numbers) if number is not None]

    def _may_be_dialled(self, address: Address, caller: Address | None) -> bool:
        if caller is not None and (address == caller or (address.is_loopback and caller.is_loopback)):
            return True
        return any(address in network for network in self._networks)


def address_of_peer(peer: str) -> Address | None:
    """Of gRPC's "ipv4:127.0.0.1:5678" or "ipv6:%5B::1%5D:5678"; None for what is no such thing."""
    scheme, _, rest = urllib.parse.unquote(peer).partition(":")
    if scheme not in ("ipv4", "ipv6"):
        return None
    return _number(rest.rpartition(":")[0].strip("[]"))


def _number(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    # A socket that speaks both shows IPv4 callers so.
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _refusal(advertised: str, message: str) -> InvalidRequest:
    violation = Violation("address", repr(advertised), "host:port of the machine that the worker calls from")
    return InvalidRequest(message, violations=[violation], reason="ADDRESS_NOT_ALLOWED")
