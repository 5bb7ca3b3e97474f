"""The channel to every worker. Owns which registration has which; whoever opens one closes it."""

from __future__ import annotations

from holdfast.services.coordinator.workers.link import WorkerLink
from holdfast.services.coordinator.workers.worker import Worker

__all__ = ["Links"]


class Links:
    """`find` is for the rooms that command a worker."""

    def __init__(self, term: int) -> None:
        self._term = term
        self._open: dict[str, tuple[Worker, WorkerLink]] = {}

    def open(self, worker: Worker) -> WorkerLink:
        """A channel to this registration; that of an older one is not found any more."""
        link = WorkerLink(worker.kind, worker.target, self._term)
        self._open[worker.id] = worker, link
        return link

    def find(self, worker: Worker) -> WorkerLink | None:
        """The channel, while its worker is connected."""
        owner, link = self._open.get(worker.id, (None, None))
        return link if owner is worker and worker.connected else None

    async def close(self, worker: Worker, link: WorkerLink) -> None:
        """Closes what `open` gave."""
        if self._open.get(worker.id) == (worker, link):
            del self._open[worker.id]
        await link.close()
