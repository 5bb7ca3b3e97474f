"""Which addresses the coordinator dials: where the caller is, or where a person has said; nothing else."""

from __future__ import annotations

import asyncio
import ipaddress
import socket

import pytest

from holdfast.errors import InvalidRequest
from holdfast.services.coordinator.workers.addresses import Address, Addresses, address_of_peer

HERE, LAN, MAPPED = "ipv4:127.0.0.1:5000", "ipv4:10.0.0.7:5000", "ipv6:%5B::ffff:10.0.0.7%5D:5000"
NAMES = {
    "trainer": ["10.0.0.7"],
    "two": ["10.0.0.6", "10.0.0.7"],
    "local": ["::1", "127.0.1.1"],
    "meta": ["169.254.169.254"],
}


async def look_up(host: str) -> list[Address]:
    if host == "slow":
        raise TimeoutError
    if host not in NAMES:
        raise socket.gaierror(-2, "Name or service not known")
    return [ipaddress.ip_address(number) for number in NAMES[host]]


@pytest.mark.parametrize(
    ("advertised", "peer", "dialled"),
    [
        ("127.0.0.1:7401", HERE, "127.0.0.1:7401"),
        ("[::1]:7401", HERE, "[::1]:7401"),
        ("127.0.0.1:7401", "ipv6:%5B::1%5D:5000", "127.0.0.1:7401"),
        ("local:7401", HERE, "[::1]:7401"),
        ("10.0.0.7:7401", LAN, "10.0.0.7:7401"),
        ("[::ffff:10.0.0.7]:7401", LAN, "10.0.0.7:7401"),
        ("10.0.0.7:7401", MAPPED, "10.0.0.7:7401"),
        ("trainer:7401", LAN, "10.0.0.7:7401"),
        ("two:7401", LAN, "10.0.0.7:7401"),
        ("[fd00::5]:7401", "ipv6:[fd00::5]:1", "[fd00::5]:7401"),
    ],
)
async def test_a_worker_is_dialled_where_it_calls_from(advertised: str, peer: str, dialled: str) -> None:
    assert await Addresses(look_up=look_up).place(advertised, peer) == dialled


@pytest.mark.parametrize(
    ("advertised", "peer"),
    [
        ("169.254.169.254:80", HERE),
        ("169.254.169.254:80", LAN),
        ("meta:80", LAN),
        ("unix:1234", HERE),
        ("dns:53", LAN),
        ("10.0.0.8:7401", LAN),
        ("127.0.0.1:7401", LAN),
        ("[::1]:7401", LAN),
        ("10.0.0.7:7401", HERE),
        ("nobody:7401", LAN),
        ("slow:7401", LAN),
        ("dns:///10.0.0.7:7401", LAN),
        ("ipv4:10.0.0.7:7401", LAN),
        ("2130706433:7401", LAN),
        ("10.0.0.7:7401", "unix:"),
        ("-a:7401", LAN),
        ("a" * 300 + ":7401", LAN),
    ],
)
async def test_nothing_else_is_dialled(advertised: str, peer: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await Addresses(look_up=look_up).place(advertised, peer)
    assert refused.value.reason == "ADDRESS_NOT_ALLOWED"
    assert refused.value.violations[0].path == "address"


async def test_a_network_that_a_person_names_is_allowed() -> None:
    addresses = Addresses([ipaddress.ip_network("10.0.0.0/24"), ipaddress.ip_network("fd00::/8")], look_up)
    assert await addresses.place("10.0.0.9:1", HERE) == "10.0.0.9:1"
    assert await addresses.place("trainer:1", HERE) == "10.0.0.7:1"
    assert await addresses.place("[fd00::9]:1", LAN) == "[fd00::9]:1"
    with pytest.raises(InvalidRequest, match="HOLDFAST_WORKER_NETWORKS"):
        await addresses.place("10.0.1.9:1", HERE)


async def test_names_are_looked_up_beside_the_loop() -> None:
    assert await Addresses().place("localhost:7401", HERE) in ("127.0.0.1:7401", "[::1]:7401")


async def test_a_look_up_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.services.coordinator.workers.addresses.RESOLVE_SECONDS", 0.01)

    async def never(host: str) -> list[Address]:
        await asyncio.Event().wait()
        return []

    with pytest.raises(InvalidRequest, match="no answer in time"):
        await Addresses(look_up=never).place("trainer:1", LAN)


@pytest.mark.parametrize("peer", ["", "unix:/tmp/x", "ipv4:", "ipv4:x:1", "ipv6:%5Bx%5D:1"])
def test_a_caller_without_a_number_is_nobody(peer: str) -> None:
    assert address_of_peer(peer) is None
