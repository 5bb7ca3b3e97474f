"""Brings a database to the newest schema. Owns the table of what was applied; knows no operation."""

from __future__ import annotations

from typing import Any

import structlog

from holdfast.errors import NotPossible
from holdfast.services.coordinator.postgres.pool import Database
from holdfast.services.coordinator.postgres.queries import SQL

__all__ = ["DIRECTORY", "MIGRATION_LOCK", "migrate"]

log = structlog.get_logger()

# Any number that no other user of the database takes: "holdfast" in ASCII.
MIGRATION_LOCK = 0x686F6C6466617374
DIRECTORY = SQL / "migrations"


async def migrate(database: Database) -> list[str]:
    """Applies what is missing, all or nothing, and returns the names. Two coordinators at once take turns.

    Raises NotPossible when the database is newer than this program.
    """

    async def work(connection: Any) -> list[str]:
        await connection.execute("SELECT pg_advisory_xact_lock($1)", MIGRATION_LOCK)
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations ("
            "name text CONSTRAINT schema_migrations_pkey PRIMARY KEY, "
            "apply_time timestamptz NOT NULL DEFAULT now())"
        )
        applied = {row["name"] for row in await connection.fetch("SELECT name FROM schema_migrations")}
        files = {file.stem: file for file in sorted(DIRECTORY.glob("[0-9][0-9][0-9][0-9]_*.sql"))}
        unknown = sorted(applied - files.keys())
        if unknown:
            raise NotPossible(
                f"The database was made by a newer Holdfast: it has the migration {unknown[-1]}, which this one does "
                "not know. Upgrade the coordinator, or name another database with HOLDFAST_DATABASE_URL.",
                reason="DATABASE_TOO_NEW",
            )
        missing = [name for name in files if name not in applied]
        for name in missing:
            await connection.execute(files[name].read_text())
            await connection.execute("INSERT INTO schema_migrations (name) VALUES ($1)", name)
        return missing

    done = await database.transaction(work)
    if done:
        log.info("Database migrated", migrations=done)
    return done
