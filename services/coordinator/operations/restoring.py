"""Notices that the database is older than its artifact store: it was restored from a backup. Owns no row of its own.

What was running is resumed from what the store holds (see `checkpoints.discover` and `resume`). What waits in the queue
would begin under an attempt that has written already, and stumble over its own directories: it gets a newer one here.
"""

from __future__ import annotations

import structlog

from holdfast.services.coordinator.catalogue.checkpoints import Checkpoints
from holdfast.services.coordinator.operations.store import Store
from holdfast.services.coordinator.operations.transitions import Transitions

__all__ = ["raise_attempts"]

log = structlog.get_logger()


async def raise_attempts(store: Store, transitions: Transitions, checkpoints: Checkpoints) -> list[str]:
    """At the coordinator's start, before anything is dispatched. Returns the operations whose attempt went up."""
    raised = []
    for operation_id, attempt in await store.queued():
        found = await checkpoints.newest_attempt(operation_id)
        if found < attempt:
            continue
        message = f"The artifact store holds attempt {found} already: the database was restored from an older backup"
        moved = await transitions.raise_attempt(operation_id, attempt, found, "ATTEMPT_RAISED", message, {})
        if moved is not None:
            log.warning("Attempt raised", operation=operation_id, found=found, attempt=attempt)
            raised.append(operation_id)
    return raised
