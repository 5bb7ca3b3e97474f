"""A real PostgreSQL for tests: one server per test session, one database per test, cloned from a migrated template."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from holdfast.local.postgres import EmbeddedPostgres

TEMPLATE = "holdfast_template"
# Nothing here has to survive a power failure.
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}

_numbers = itertools.count(1)


class TestServer:
    """The session's server; `clone` and `drop` make and remove a test's database."""

    __test__ = False

    def __init__(self, server: EmbeddedPostgres) -> None:
        self.server = server

    def url(self, database: str) -> str:
        """How asyncpg and the coordinator reach it."""
        return self.server.url(database)

    async def clone(self, template: str = TEMPLATE) -> str:
        """A new database like the template; returns its name."""
        name = f"test_{os.getpid()}_{next(_numbers)}"
        await self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY')
        return name

    async def drop(self, name: str) -> None:
        """Removes the database and throws out whoever is still connected."""
        await self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    async def execute(self, statement: str) -> None:
        """One statement in the maintenance database."""
        connection = await asyncpg.connect(self.url("postgres"))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


@contextmanager
def running_server(settings: dict[str, str] | None = None) -> Iterator[EmbeddedPostgres]:
    """A server of its own, for tests that stop and start it."""
    with tempfile.TemporaryDirectory(prefix="holdfast-pg-", ignore_cleanup_errors=True) as directory:
        server = EmbeddedPostgres(Path(directory) / "postgres")
        server.start("postgres", settings=settings or FAST)
        try:
            yield server
        finally:
            server.stop(immediate=True)
