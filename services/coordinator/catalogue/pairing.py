"""Makes sure that database and artifact store belong together. Owns the store's id in both; touches no operation.

Both carry the same id from first use on. A new, restored or mistyped database over another's store, or the other way
round, stops the coordinator before anything is written: its sweep would take the other's checkpoints for garbage.
"""

from __future__ import annotations

import asyncio
import uuid

import structlog

from holdfast.artifacts.identity import claim_store, read_store_id
from holdfast.artifacts.store import Store
from holdfast.errors import NotPossible, Unavailable
from holdfast.services.coordinator.postgres.pool import Database, masked

__all__ = ["adopt", "pair"]

log = structlog.get_logger()


async def pair(database: Database, artifacts: Store) -> str:
    """Compares, and at first use writes, the ids; returns the one that both carry. Called by the leader only.

    Raises NotPossible (STORE_MISMATCH), Unavailable when the store does not answer.
    """
    known, found = await _known(database), await _found(artifacts)
    first = not known and not found
    if first:
        # The row first: after a crash in between the database names nothing yet, and may claim the store again.
        await database.execute("bind_store", store_id=uuid.uuid4().hex)
        known = await _known(database)
    if known and not found and (first or not await _names_anything(database)):
        # Two databases at one new store: the second finds the first's id, and stops below.
        found = await asyncio.to_thread(claim_store, artifacts, known)
        log.info("Artifact store claimed", store=artifacts.url, store_id=found)
    if not known or known != found:
        raise _mismatch(known, found, database, artifacts)
    return known


async def adopt(database: Database, artifacts: Store) -> str:
    """Binds the database to the store as it is, because a person says so. Returns what was done, in words."""
    known, found = await _known(database), await _found(artifacts)
    if known and known == found:
        return (
            f"{_the_two(database, artifacts)} belong together already: both have the id {found}. Nothing was changed."
        )
    if not found:
        found = await asyncio.to_thread(claim_store, artifacts, known or uuid.uuid4().hex)
    if found != known:
        await database.execute("adopt_store", before=known or None, store_id=found)
    now = await _known(database)
    if now != found:
        raise _mismatch(now, found, database, artifacts)
    log.info("Artifact store adopted", store=artifacts.url, store_id=found, before=known)
    before = f"; the database had {known} before" if known and known != found else ""
    return (
        f"{_the_two(database, artifacts)} belong together now: both have the id {found}{before}. What lies in the "
        "store from before and belongs to no operation of this database stays there until you delete it."
    )


async def _known(database: Database) -> str:
    row = await database.fetch_one("bound_store")
    return str(row["store_id"]) if row else ""


async def _found(artifacts: Store) -> str:
    try:
        return await asyncio.to_thread(read_store_id, artifacts)
    except OSError as error:
        raise Unavailable(
            f"The artifact store {artifacts.url} cannot be read: {error}. Check HOLDFAST_STORE_URL, the mount and the "
            "rights of this account.",
            reason="STORE_UNAVAILABLE",
        ) from error


async def _names_anything(database: Database) -> bool:
    row = await database.fetch_one("names_in_store")
    return bool(row and row["named"])


def _the_two(database: Database, artifacts: Store) -> str:
    return f"The database {masked(database.url)} and the artifact store {artifacts.url}"


def _mismatch(known: str, found: str, database: Database, artifacts: Store) -> NotPossible:
    return NotPossible(
        f"{_the_two(database, artifacts)} do not belong together: the database "
        f"{f'belongs to the store {known}' if known else 'belongs to no store yet'}, and the store "
        f"{f'has the id {found}' if found else 'has no id: it is new, or another, or not mounted'}. "
        "If the database is the wrong one, correct HOLDFAST_DATABASE_URL; if the store is, correct HOLDFAST_STORE_URL "
        "(unset, HOLDFAST_DATA_DIR decides both). If they are to belong together from now on (a new database over an "
        "old store, a new store for an old database), run `holdfast store adopt`.",
        reason="STORE_MISMATCH",
        metadata={
            "database_store_id": known,
            "store_id": found,
            "store": artifacts.url,
            "database": masked(database.url),
        },
    )
