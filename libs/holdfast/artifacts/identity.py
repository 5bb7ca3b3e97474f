"""The id of an artifact store, and which store a directory belongs to. Owns store.json; decides nothing.

A database belongs to one store, and a sweep takes only what carries that store's id: another program's files, or
another database's store, are never ours by their looks.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from holdfast.artifacts import exact
from holdfast.artifacts.store import MANIFEST, UNFINISHED, Store
from holdfast.errors import Corrupted

__all__ = ["FORMAT", "IDENTITY", "MAX_BYTES", "claim_store", "mark", "owner_of", "read_store_id"]

IDENTITY = "store.json"
FORMAT = 1
MAX_BYTES = 4 * 1024 * 1024

_STORE_ID = re.compile(r"[0-9a-f]{32}")


def read_store_id(store: Store) -> str:
    """The store's id; empty when it has none yet. Raises Corrupted for a store.json that is not one."""
    try:
        described = exact.loads(store.read(IDENTITY, max_bytes=MAX_BYTES))
        if described["format"] != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        return _checked(described["store_id"])
    except FileNotFoundError:
        return ""
    except (ValueError, TypeError, KeyError) as error:
        raise Corrupted(
            f"{IDENTITY} in {store.url} does not say which artifact store this is: {error}. Bring it back from a "
            "backup, or delete it and run `holdfast store adopt`.",
            reason="STORE_ID_CORRUPTED",
            metadata={"store": store.url},
        ) from error


def claim_store(store: Store, store_id: str) -> str:
    """Writes the id into a store that has none, and returns the id that it has now: another may have been faster."""
    described = {"format": FORMAT, "store_id": _checked(store_id), "create_time": datetime.now(UTC).isoformat()}
    try:
        store.create(IDENTITY, exact.dumps(described) + b"\n")
    except FileExistsError:
        return read_store_id(store)
    return store_id


def mark(store: Store) -> dict[str, str]:
    """What every manifest, and every directory from its first moment, says of where it belongs."""
    return {"store_id": read_store_id(store)}


def owner_of(store: Store, path: str) -> tuple[str, bool]:
    """The store id that a directory carries, and whether it is complete. Empty: it is not known to be anybody's."""
    for name, complete in ((MANIFEST, True), (UNFINISHED, False)):
        try:
            described = exact.loads(store.read(f"{path}/{name}", max_bytes=MAX_BYTES))
            return _checked(described["store_id"]), complete
        except FileNotFoundError:
            continue
        except (ValueError, TypeError, KeyError):
            # Not ours, or damaged: what cannot be told to be ours is left alone.
            return "", complete
    return "", False


def _checked(store_id: object) -> str:
    if not isinstance(store_id, str) or not _STORE_ID.fullmatch(store_id):
        raise ValueError(f"{store_id!r} is not the id of a store")
    return store_id
