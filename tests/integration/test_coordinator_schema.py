"""The schema: migrations from zero equal schema.sql, every named query is valid SQL, every invariant holds."""

from __future__ import annotations

import asyncpg
import pytest

from holdfast.errors import NotPossible
from holdfast.services.coordinator.postgres.migrations import migrate
from holdfast.services.coordinator.postgres.pool import Database
from holdfast.services.coordinator.postgres.queries import QUERIES, SQL

CATALOGUE = {
    "columns": """
        SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns
        WHERE table_schema = 'public' AND table_name <> 'schema_migrations' ORDER BY 1, ordinal_position""",
    "constraints": """
        SELECT c.conrelid::regclass::text, c.conname, pg_get_constraintdef(c.oid) FROM pg_constraint c
        JOIN pg_namespace n ON n.oid = c.connamespace
        WHERE n.nspname = 'public' AND c.conrelid::regclass::text <> 'schema_migrations' ORDER BY 1, 2""",
    "indexes": """
        SELECT indexname, indexdef FROM pg_indexes
        WHERE schemaname = 'public' AND tablename <> 'schema_migrations' ORDER BY 1""",
    "functions": """
        SELECT p.proname, pg_get_functiondef(p.oid) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = 'public' ORDER BY 1""",
    "sequences": "SELECT sequencename FROM pg_sequences WHERE schemaname = 'public' ORDER BY 1",
}


async def describe(url: str) -> dict[str, list[tuple[object, ...]]]:
    connection = await asyncpg.connect(url)
    try:
        return {name: [tuple(row) for row in await connection.fetch(text)] for name, text in CATALOGUE.items()}
    finally:
        await connection.close()


async def test_migrating_from_zero_equals_the_schema(database_url: str, empty_database_url: str) -> None:
    connection = await asyncpg.connect(empty_database_url)
    await connection.execute((SQL / "schema.sql").read_text())
    await connection.close()
    assert await describe(database_url) == await describe(empty_database_url)


async def test_migrating_twice_changes_nothing(database_url: str) -> None:
    database = await Database.connect(database_url)
    assert await migrate(database) == []
    await database.close()


async def test_a_newer_database_is_refused_by_name(database_url: str) -> None:
    database = await Database.connect(database_url)
    await database.run(lambda c: c.execute("INSERT INTO schema_migrations (name) VALUES ('9999_future')"))
    with pytest.raises(NotPossible, match="9999_future"):
        await migrate(database)
    await database.close()


async def test_every_named_query_is_valid_sql(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    for query in QUERIES.values():
        try:
            await connection.prepare(query.text)
        except asyncpg.PostgresError as error:
            pytest.fail(f"{query.name}: {error}")
    await connection.close()
