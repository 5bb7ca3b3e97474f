"""Makes sure that one coordinator serves a database. Owns the session's advisory lock and the term.

The lock belongs to a session of PostgreSQL: it goes when the process dies or the server restarts, and never has to be
cleaned up. A second coordinator waits a moment for it, then says who holds it and exits. After a restart of PostgreSQL
the coordinator takes the lock again; when it finds that another was faster or that a newer term exists, it exits: the
workers already refuse its commands.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from typing import Any

import structlog

from holdfast.errors import NotPossible, Unavailable
from holdfast.services.coordinator.postgres.errors import CAUGHT
from holdfast.services.coordinator.postgres.pool import CONNECT_TIMEOUT, Database
from holdfast.services.coordinator.postgres.queries import statement

__all__ = ["CHECK_INTERVAL", "LEADER_LOCK", "PATIENCE", "RETRY_INTERVAL", "Leadership"]

log = structlog.get_logger()

LEADER_LOCK = 0x686F6C6466617375
# A killed coordinator's session ends within moments; a living one's does not.
PATIENCE = 5.0  # seconds
RETRY_INTERVAL = 0.2  # seconds
CHECK_INTERVAL = 2.0  # seconds between looks at the lock's session


class Leadership:
    """`take` once, then `keep` for as long as the process lives."""

    def __init__(self, database: Database, listen: str) -> None:
        self._database = database
        self._listen = listen
        self._connection: Any | None = None
        self._suspicion = asyncio.Event()
        # Why the lock was not even asked for; empty: it was, and somebody else holds it.
        self._problem = ""
        self.term = 0

    async def take(self, patience: float = PATIENCE) -> int:
        """Takes the lock and a new term. Raises NotPossible, naming the coordinator that holds it."""
        deadline = time.monotonic() + patience
        while not await self._try_lock():
            if time.monotonic() > deadline:
                if self._problem:
                    raise Unavailable(
                        f"The database did not give the leader's lock: {self._problem}. Mend it and start again.",
                        reason="DATABASE_UNAVAILABLE",
                    )
                holder = await self._database.fetch_one("newest_coordinator")
                raise NotPossible(_taken(holder), reason="COORDINATOR_ALREADY_RUNS")
            await asyncio.sleep(RETRY_INTERVAL)
        row = await self._database.fetch_one(
            "take_term", host=socket.gethostname(), process_id=os.getpid(), listen=self._listen
        )
        self.term = int(row["term"]) if row else 0
        return self.term

    async def keep(self) -> None:
        """Watches the lock's session and takes the lock again when it was lost. Raises NotPossible when replaced."""
        while True:
            try:
                await asyncio.wait_for(self._suspicion.wait(), CHECK_INTERVAL)
            except TimeoutError:
                if self._connection is not None and await self._alive():
                    continue
            self._suspicion.clear()
            if not await self._alive():
                log.warning("Leadership session lost", term=self.term)
                await self._retake()
            await self._newest()

    def suspect(self) -> None:
        """A worker has called our term stale: look now."""
        self._suspicion.set()

    async def release(self) -> None:
        """Gives the lock up."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _retake(self) -> None:
        await self.release()
        deadline: float | None = None
        while True:
            newest = await self._newest()
            if await self._try_lock():
                log.info("Leadership session restored", term=self.term)
                return
            # Somebody holds it but has no newer term yet: a coordinator that is just starting.
            deadline = deadline or time.monotonic() + PATIENCE
            if self._problem:
                deadline = None
            elif time.monotonic() > deadline:
                raise NotPossible(_taken(newest), reason="COORDINATOR_REPLACED")
            await asyncio.sleep(RETRY_INTERVAL)

    async def _newest(self) -> Any | None:
        newest = await self._database.fetch_one("newest_coordinator")
        if newest is not None and newest["term"] > self.term:
            raise _replaced(newest, self.term)
        return newest

    async def _try_lock(self) -> bool:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._database.dedicated()
        self._problem = ""
        try:
            locked = statement("try_lead", key=LEADER_LOCK)
            return bool(await self._connection.fetchval(*locked, timeout=CONNECT_TIMEOUT))
        except CAUGHT as error:
            self._problem = str(error) or type(error).__name__
            log.warning("Leadership lock not reached", reason=self._problem)
            await self.release()
            return False

    async def _alive(self) -> bool:
        if self._connection is None or self._connection.is_closed():
            return False
        try:
            await self._connection.fetchval("SELECT 1", timeout=CONNECT_TIMEOUT)
        except CAUGHT as error:
            log.warning("Leadership session broken", reason=str(error))
            return False
        return True


def _taken(holder: Any | None) -> str:
    if holder is None:
        return "Another coordinator serves this database. Stop it first, or name another with HOLDFAST_DATABASE_URL."
    return (
        f"Another coordinator serves this database: term {holder['term']}, process {holder['process_id']} on "
        f"{holder['host']}, listening on {holder['listen']} since {holder['start_time']:%Y-%m-%d %H:%M:%S} UTC. "
        "Stop it first, or name another database with HOLDFAST_DATABASE_URL."
    )


def _replaced(newest: Any, term: int) -> NotPossible:
    return NotPossible(
        f"A newer coordinator (term {newest['term']}, process {newest['process_id']} on {newest['host']}) has "
        f"replaced this one (term {term}). It stops; the newer one goes on.",
        reason="COORDINATOR_REPLACED",
    )
