"""Remembers the newest coordinator. Owns one number; refuses what an older coordinator says."""

from __future__ import annotations

from holdfast.errors import LostRace


class Fence:
    """The largest coordinator epoch seen."""

    def __init__(self) -> None:
        self.epoch = 0

    def admit(self, epoch: int) -> None:
        """Raises LostRace (STALE_ATTEMPT) for an epoch older than one already seen."""
        if epoch < self.epoch:
            raise LostRace(
                f"Coordinator epoch {epoch} is stale: this worker serves epoch {self.epoch}. "
                "If the database was replaced by an older one, restart the worker.",
                reason="STALE_ATTEMPT",
                metadata={"coordinator_epoch": str(epoch), "newest_epoch": str(self.epoch)},
            )
        self.epoch = epoch
