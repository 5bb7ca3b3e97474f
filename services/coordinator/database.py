"""The connection pool. Owns lost connections, retries and the translation of constraint names; knows no operation.

Whatever is handed to `Database.run` may run twice: a connection can be lost after the commit and before the answer.
Every statement of the coordinator is a compare-and-set or carries its own key, so a repeat changes nothing.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import asyncpg
import structlog
import tenacity

from coordinator.outage import Outage
from coordinator.queries import query
from holdfast.errors import HoldfastError, InternalError, LostRace, NotPossible, Unavailable

log = structlog.get_logger()

T = TypeVar("T")
Connection = Any  # asyncpg has no type hints

OLDEST_SERVER = 14
CONNECT_TIMEOUT = 5.0  # seconds
COMMAND_TIMEOUT = 10.0  # seconds
POOL_SIZE = 10
# How long a caller's request may wait for a lost database before it answers UNAVAILABLE.
REQUEST_PATIENCE = 1.0  # seconds

# What the world does to connections, as opposed to what we do wrong.
LOST = (
    # The server has said goodbye, and asyncpg has not seen the end of the connection yet.
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.DatabaseDroppedError,
    asyncpg.InterfaceError,
    ConnectionError,
    OSError,
    TimeoutError,
)

# Invariants that a race can meet. Every other violation is a defect.
_DOMAIN_ERRORS: dict[str, tuple[str, str]] = {
    "attempts_pkey": ("This attempt was claimed already.", "STALE_ATTEMPT"),
    "attempts_one_live": ("Another attempt of this operation is live.", "STALE_ATTEMPT"),
    "requests_pkey": ("Another call with this request_id was first.", "REQUEST_REPEATED"),
    "operations_pkey": ("An operation with this id exists.", "OPERATION_EXISTS"),
    "checkpoints_one_per_uri": ("Another checkpoint lies at this address.", "CHECKPOINT_ADDRESS_TAKEN"),
}


class ConnectionLost(Unavailable):
    """The database cannot be reached now. Holdfast goes on trying; call again in a moment."""

    default_reason = "DATABASE_UNAVAILABLE"


@dataclass(frozen=True)
class Database:
    """A pool and how patient its user is: seconds to go on trying after a loss, None for ever."""

    pool: Any
    url: str = field(repr=False)
    patience: float | None = REQUEST_PATIENCE
    on_loss: list[Callable[[], None]] = field(default_factory=list)
    outage: Outage = field(default_factory=Outage)

    @classmethod
    async def connect(cls, url: str) -> Database:
        """Opens the pool. Raises Unavailable when nobody answers, NotPossible for a server that is too old."""
        pool = None
        try:
            pool = await asyncpg.create_pool(
                url,
                min_size=0,  # nothing to restore, and to complain about, while the server is away
                max_size=POOL_SIZE,
                timeout=CONNECT_TIMEOUT,
                command_timeout=COMMAND_TIMEOUT,
                init=_prepare,
                server_settings={"application_name": "holdfast coordinator"},
            )
            async with pool.acquire() as connection:
                version = int(await connection.fetchval("SHOW server_version_num")) // 10_000
        except (*LOST, asyncpg.PostgresError, ValueError) as error:
            if pool is not None:
                pool.terminate()
            raise Unavailable(
                f"The database at {masked(url)} refuses: {_words(error)}. "
                "Check HOLDFAST_DATABASE_URL and that the server runs.",
                reason="DATABASE_UNAVAILABLE",
            ) from error
        if version < OLDEST_SERVER:
            pool.terminate()
            raise NotPossible(
                f"The database server is PostgreSQL {version}, and Holdfast needs {OLDEST_SERVER} or newer. "
                "Name another with HOLDFAST_DATABASE_URL.",
                reason="DATABASE_TOO_OLD",
            )
        return cls(pool, url)

    def patient(self) -> Database:
        """The same pool for background work: it outlasts any outage."""
        return replace(self, patience=None)

    async def dedicated(self) -> Connection:
        """A connection outside the pool, for what belongs to a session. Raises ConnectionLost."""

        async def work(_: Connection) -> Connection:
            return await asyncpg.connect(
                self.url,
                timeout=CONNECT_TIMEOUT,
                server_settings={
                    "application_name": "holdfast coordinator (leader)",
                    # A leader whose machine vanished must not hold the lock for the kernel's two hours.
                    "tcp_keepalives_idle": "10",
                    "tcp_keepalives_interval": "5",
                    "tcp_keepalives_count": "3",
                },
            )

        return await self.run(work)

    async def close(self) -> None:
        """Closes the pool; connections that hang are cut."""
        try:
            await asyncio.wait_for(self.pool.close(), CONNECT_TIMEOUT)
        except (*LOST, asyncpg.PostgresError) as error:
            log.warning("Database pool cut", reason=_words(error))
            self.pool.terminate()

    async def run(self, work: Callable[[Connection], Awaitable[T]], *, once: bool = False) -> T:
        """Runs `work` with a connection, and again when the connection is lost, unless `once`.

        Raises ConnectionLost when patience ends, and domain errors for violated constraints.
        """
        stop: Any = tenacity.stop_never
        if once:
            stop = tenacity.stop_after_attempt(1)
        elif self.patience is not None:
            stop = tenacity.stop_after_delay(self.patience)
        async for attempt in tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(ConnectionLost),
            wait=tenacity.wait_random_exponential(multiplier=0.05, max=1.0),
            stop=stop,
            reraise=True,
        ):
            with attempt:
                return await self._run_once(work)
        raise AssertionError("unreachable: tenacity re-raises")

    async def transaction(self, work: Callable[[Connection], Awaitable[T]], *, once: bool = False) -> T:
        """The same inside one transaction."""

        async def inside(connection: Connection) -> T:
            async with connection.transaction():
                return await work(connection)

        return await self.run(inside, once=once)

    async def fetch(self, name: str, *arguments: Any) -> list[Any]:
        """All rows of a named query."""
        return await self.run(lambda connection: connection.fetch(query(name), *arguments))

    async def fetch_one(self, name: str, *arguments: Any) -> Any | None:
        """The first row of a named query, or None."""
        return await self.run(lambda connection: connection.fetchrow(query(name), *arguments))

    async def _run_once(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        try:
            async with self.pool.acquire(timeout=CONNECT_TIMEOUT) as connection:
                result = await work(connection)
            self.outage.end()
            return result
        except asyncpg.IntegrityConstraintViolationError as error:
            raise domain_error(error) from error
        except LOST as error:
            if isinstance(error, asyncpg.InterfaceError) and not _is_loss(error):
                raise
            self.outage.begin(_words(error))
            for tell in self.on_loss:
                tell()
            raise ConnectionLost(
                f"The database is away ({_words(error)}). Runs continue, and nothing is lost; call again in a moment."
            ) from error


def domain_error(error: asyncpg.IntegrityConstraintViolationError) -> HoldfastError:
    """The one boundary where a constraint's name becomes an error of ours."""
    name = str(error.constraint_name or "")
    if name in _DOMAIN_ERRORS:
        message, reason = _DOMAIN_ERRORS[name]
        return LostRace(message, reason=reason, metadata={"constraint": name})
    return InternalError(f"The database refused a write that breaks {name or 'a constraint'}: a defect of Holdfast.")


def masked(url: str) -> str:
    """The URL without its password."""
    scheme, separator, rest = url.partition("://")
    user, at, place = rest.rpartition("@")
    if not separator or not at:
        return url
    name, colon, _ = user.partition(":")
    return f"{scheme}://{name}{colon and ':***'}@{place}"


async def _prepare(connection: Connection) -> None:
    await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")


def _is_loss(error: Exception) -> bool:
    # asyncpg says with one class both "connection is closed" and "you called me wrongly".
    return any(word in str(error) for word in ("closed", "closing", "released", "another operation"))


def _words(error: BaseException) -> str:
    return str(error).strip() or type(error).__name__
