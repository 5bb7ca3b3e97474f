"""Fixtures for every test: a real PostgreSQL and a fresh, migrated database in it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

# Before anything imports them: tests share few cores, and gRPC's fork handlers are not wanted.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import pytest
import structlog

from tests.support.postgres import TEMPLATE, TestServer, running_server


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """What a test (or a command it runs) configures ends with it: its captured stderr is closed by then."""
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture(scope="session")
def postgres() -> Iterator[TestServer]:
    """The session's server, with the migrated template in it."""
    from holdfast.services.coordinator.postgres.migrations import migrate
    from holdfast.services.coordinator.postgres.pool import Database

    with running_server() as embedded:
        server = TestServer(embedded)

        async def make_template() -> None:
            await server.execute(f'CREATE DATABASE "{TEMPLATE}"')
            database = await Database.connect(server.url(TEMPLATE))
            await migrate(database)
            await database.close()

        asyncio.run(make_template())
        yield server


@pytest.fixture
async def database_url(postgres: TestServer) -> AsyncIterator[str]:
    """A fresh database with the newest schema."""
    name = await postgres.clone()
    yield postgres.url(name)
    await postgres.drop(name)


@pytest.fixture
async def empty_database_url(postgres: TestServer) -> AsyncIterator[str]:
    """A database without any table."""
    name = await postgres.clone("template0")
    yield postgres.url(name)
    await postgres.drop(name)
