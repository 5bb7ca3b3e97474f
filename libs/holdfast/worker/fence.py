"""Knows whom this worker serves. Owns the proven coordinator term and the nonce that proves it; never touches gRPC.

Anybody who reaches the worker's port can write any term into a command. So the fence moves on one thing only: a
Supervise stream whose first message says the nonce that this worker has sent to the coordinator it is configured with.
"""

from __future__ import annotations

import hmac
import secrets

from holdfast.errors import LostRace

__all__ = ["UNPROVEN", "Fence"]

UNPROVEN = "COORDINATOR_UNPROVEN"


class Fence:
    """`challenge` at a registration, `prove` at a stream's first message, `admit` at every command after that."""

    def __init__(self) -> None:
        self.term = 0  # 0: nobody has proven anything yet
        self._nonce = ""
        self._answered = True

    def challenge(self) -> str:
        """The nonce for a registration. One that nobody has answered stays: an earlier call may be answered late."""
        if self._answered:
            self._nonce, self._answered = secrets.token_hex(16), False
        return self._nonce

    def prove(self, nonce: str, term: int) -> None:
        """A stream's first message. Raises LostRace (COORDINATOR_UNPROVEN, STALE_ATTEMPT); then nothing has moved."""
        if not self._nonce or not hmac.compare_digest(nonce.encode(), self._nonce.encode()):
            raise LostRace(
                "This stream does not answer the worker's newest registration. A worker serves the coordinator that "
                "HOLDFAST_COORDINATOR names, and nobody else.",
                reason=UNPROVEN,
            )
        self.check(term)
        self._answered = True
        self.term = term

    def check(self, term: int) -> None:
        """Raises LostRace (STALE_ATTEMPT) for a term older than the proven one."""
        if term < self.term:
            raise LostRace(
                f"Coordinator term {term} is stale: this worker serves term {self.term}. If that coordinator is "
                "the right one, its database server's clock is behind: correct it, or restart the worker.",
                reason="STALE_ATTEMPT",
                metadata=self._both(term),
            )

    def admit(self, term: int) -> None:
        """A command: exactly the proven term. Raises LostRace (STALE_ATTEMPT, COORDINATOR_UNPROVEN)."""
        self.check(term)
        if term != self.term or not self.term:
            raise LostRace(
                f"Coordinator term {term} is not proven: this worker "
                + (f"serves term {self.term}. " if self.term else "has no coordinator yet. ")
                + "Commands come from the coordinator that HOLDFAST_COORDINATOR names, and nobody else.",
                reason=UNPROVEN,
                metadata=self._both(term),
            )

    def _both(self, term: int) -> dict[str, str]:
        return {"coordinator_term": str(term), "newest_term": str(self.term)}
