"""Knows whom this worker serves. Owns the proven coordinator epoch and the nonce that proves it; never touches gRPC.

Anybody who reaches the worker's port can write any epoch into a command. So the fence moves on one thing only: a
Supervise stream whose first message says the nonce that this worker has sent to the coordinator it is configured with.
"""

from __future__ import annotations

import hmac
import secrets

from holdfast.errors import LostRace

UNPROVEN = "COORDINATOR_UNPROVEN"


class Fence:
    """`challenge` at a registration, `prove` at a stream's first message, `admit` at every command after that."""

    def __init__(self) -> None:
        self.epoch = 0  # 0: nobody has proven anything yet
        self._nonce = ""
        self._answered = True

    def challenge(self) -> str:
        """The nonce for a registration. One that nobody has answered stays: an earlier call may be answered late."""
        if self._answered:
            self._nonce, self._answered = secrets.token_hex(16), False
        return self._nonce

    def prove(self, nonce: str, epoch: int) -> None:
        """A stream's first message. Raises LostRace (COORDINATOR_UNPROVEN, STALE_ATTEMPT); then nothing has moved."""
        if not self._nonce or not hmac.compare_digest(nonce.encode(), self._nonce.encode()):
            raise LostRace(
                "This stream does not answer the worker's newest registration. A worker serves the coordinator that "
                "HOLDFAST_COORDINATOR names, and nobody else.",
                reason=UNPROVEN,
            )
        self.check(epoch)
        self._answered = True
        self.epoch = epoch

    def check(self, epoch: int) -> None:
        """Raises LostRace (STALE_ATTEMPT) for an epoch older than the proven one."""
        if epoch < self.epoch:
            raise LostRace(
                f"Coordinator epoch {epoch} is stale: this worker serves epoch {self.epoch}. If that coordinator is "
                "the right one, its database server's clock is behind: correct it, or restart the worker.",
                reason="STALE_ATTEMPT",
                metadata=self._both(epoch),
            )

    def admit(self, epoch: int) -> None:
        """A command: exactly the proven epoch. Raises LostRace (STALE_ATTEMPT, COORDINATOR_UNPROVEN)."""
        self.check(epoch)
        if epoch != self.epoch or not self.epoch:
            raise LostRace(
                f"Coordinator epoch {epoch} is not proven: this worker "
                + (f"serves epoch {self.epoch}. " if self.epoch else "has no coordinator yet. ")
                + "Commands come from the coordinator that HOLDFAST_COORDINATOR names, and nobody else.",
                reason=UNPROVEN,
                metadata=self._both(epoch),
            )

    def _both(self, epoch: int) -> dict[str, str]:
        return {"coordinator_epoch": str(epoch), "newest_epoch": str(self.epoch)}
