"""The connection pool. Owns retries, the health of the database and the translation of its errors; knows no operation.

Whatever is handed to `Database.run` may run twice: a connection can be lost after the commit and before the answer.
Every statement of the coordinator is a compare-and-set or carries its own key, so a repeat changes nothing.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import asyncpg
import structlog
import tenacity

from holdfast.errors import HoldfastError, InternalError, LostRace, NotPossible, Unavailable
from holdfast.services.coordinator.postgres.errors import CAUGHT, Kind, classify
from holdfast.services.coordinator.postgres.health import Health
from holdfast.services.coordinator.postgres.patience import PATIENCE
from holdfast.services.coordinator.postgres.queries import statement

__all__ = [
    "COMMAND_TIMEOUT",
    "CONNECT_TIMEOUT",
    "LONGEST_WAIT",
    "OLDEST_SERVER",
    "POOL_SIZE",
    "Connection",
    "ConnectionLost",
    "Database",
    "Health",
    "T",
    "domain_error",
    "masked",
]

log = structlog.get_logger()

T = TypeVar("T")
Connection = Any  # asyncpg has no type hints

OLDEST_SERVER = 14
CONNECT_TIMEOUT = 5.0  # seconds
COMMAND_TIMEOUT = 10.0  # seconds
POOL_SIZE = 10

LONGEST_WAIT = 1.0  # seconds between two tries of a statement

# Invariants that a race can meet. Every other violation is a defect.
_DOMAIN_ERRORS: dict[str, tuple[str, str]] = {
    "attempts_pkey": ("This attempt was claimed already.", "STALE_ATTEMPT"),
    "attempts_one_live": ("Another attempt of this operation is live.", "STALE_ATTEMPT"),
    "requests_pkey": ("Another call with this request_id was first.", "REQUEST_REPEATED"),
    "checkpoints_pkey": ("This checkpoint was recorded at the same moment on another way.", "CHECKPOINT_EXISTS"),
    "operations_pkey": ("An operation with this id exists.", "OPERATION_EXISTS"),
}


class ConnectionLost(Unavailable):
    """The database cannot be used now. Holdfast goes on trying; call again in a moment."""

    default_reason = "DATABASE_UNAVAILABLE"


@dataclass(frozen=True)
class Database:
    """A pool. How long it goes on trying after a loss is the caller's `patience`."""

    pool: Any
    url: str = field(repr=False)
    on_loss: list[Callable[[], None]] = field(default_factory=list)
    health: Health = field(default_factory=Health)

    @classmethod
    async def connect(cls, url: str) -> Database:
        """Opens the pool. Raises Unavailable when nobody answers, NotPossible for a server that is too old."""
        pool = None
        try:
            pool = await asyncpg.create_pool(
                url,
                min_size=0,  # nothing to restore, and to complain about, while the server is unavailable
                max_size=POOL_SIZE,
                timeout=CONNECT_TIMEOUT,
                command_timeout=COMMAND_TIMEOUT,
                init=_prepare,
                server_settings={"application_name": "holdfast coordinator"},
            )
            async with pool.acquire() as connection:
                version = int(await connection.fetchval("SHOW server_version_num")) // 10_000
        except (*CAUGHT, ValueError) as error:
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
        except CAUGHT as error:
            log.warning("Database pool cut", reason=_words(error))
            self.pool.terminate()

    async def run(self, work: Callable[[Connection], Awaitable[T]], *, once: bool = False) -> T:
        """Runs `work` with a connection, and again after a transient error, unless `once`.

        Raises ConnectionLost when patience ends, domain errors for violated constraints, InternalError for a defect.
        """
        seconds = PATIENCE.get()
        stop: Any = tenacity.stop_never if seconds is None else tenacity.stop_after_delay(seconds)
        if once:
            stop = tenacity.stop_after_attempt(1)
        async for attempt in tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(ConnectionLost),
            wait=tenacity.wait_random_exponential(multiplier=0.05, max=LONGEST_WAIT),
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

    async def fetch(self, name: str, /, **arguments: Any) -> list[Any]:
        """All rows of a named query; its :names are the arguments."""
        bound = statement(name, **arguments)
        return await self.run(lambda connection: connection.fetch(*bound))

    async def fetch_one(self, name: str, /, **arguments: Any) -> Any | None:
        """The first row of a named query, or None."""
        bound = statement(name, **arguments)
        return await self.run(lambda connection: connection.fetchrow(*bound))

    async def execute(self, name: str, /, **arguments: Any) -> None:
        """A named query that returns nothing."""
        bound = statement(name, **arguments)
        await self.run(lambda connection: connection.execute(*bound))

    async def _run_once(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        try:
            async with self.pool.acquire(timeout=CONNECT_TIMEOUT) as connection:
                done = await work(connection)
        except CAUGHT as error:
            raise self._translated(error) from error
        self.health.succeeded()
        return done

    def _translated(self, error: BaseException) -> HoldfastError:
        """What the coordinator makes of an error of the database: see `database_errors`."""
        kind, words = classify(error), _words(error)
        if isinstance(error, asyncpg.IntegrityConstraintViolationError):
            return domain_error(error)
        if kind is Kind.DEFECT:
            log.error("Database refused a statement", error=repr(error), exc_info=error)
            return InternalError(
                f"The database refused a statement ({type(error).__name__}): a defect of Holdfast. "
                "The coordinator's log has the details."
            )
        if kind is Kind.FATAL:
            self.health.give_up(words)
        else:
            self.health.failed(words)
        for tell in self.on_loss:
            tell()
        return ConnectionLost(
            f"The database cannot be used now ({words}). Runs continue, and nothing is lost; call again in a moment."
        )


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


def _words(error: BaseException) -> str:
    # PostgreSQL adds hints on lines of their own; a person gets one.
    return " ".join(str(error).split()) or type(error).__name__
