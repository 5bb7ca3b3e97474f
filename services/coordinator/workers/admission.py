"""Decides which workers may register at all: so many, and dialled where they call from. Owns who is registering now."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from holdfast.errors import AtCapacity
from holdfast.services.coordinator.workers.addresses import Addresses
from holdfast.services.coordinator.workers.registry import Registry
from holdfast.v1 import coordinator_service_pb2

__all__ = ["Admission"]


class Admission:
    """`admit` is held while a worker registers."""

    def __init__(self, registry: Registry, addresses: Addresses, max_workers: int) -> None:
        self._registry = registry
        self._addresses = addresses
        self._max_workers = max_workers
        self._coming: Counter[str] = Counter()

    @asynccontextmanager
    async def admit(self, request: coordinator_service_pb2.RegisterWorkerRequest, peer: str) -> AsyncIterator[str]:
        """Gives the address to dial; `peer`: gRPC's name of the caller.

        Raises AtCapacity (TOO_MANY_WORKERS) and InvalidRequest (ADDRESS_NOT_ALLOWED).
        """
        worker_id = request.worker_id
        self._coming[worker_id] += 1
        try:
            # Who is known has its place, however many strangers come.
            if self._registry.find(worker_id) is None and not self._registry.room_for(self._coming, self._max_workers):
                raise AtCapacity(
                    f"{len(self._registry.all())} workers are registered, and the limit is {self._max_workers}. Stop "
                    "one, or raise HOLDFAST_MAX_WORKERS on the coordinator.",
                    reason="TOO_MANY_WORKERS",
                    metadata={"worker_id": worker_id, "limit": str(self._max_workers)},
                )
            yield await self._addresses.place(request.address, peer)
        finally:
            self._coming[worker_id] -= 1
            if not self._coming[worker_id]:
                del self._coming[worker_id]
