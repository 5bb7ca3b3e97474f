"""Follows operations: replays events from a sequence number, then goes on live, without a gap and without a repeat.

Owns the watchers. Live events come from `changes`; whenever a number is missing (the connection was lost between a
commit and its telling), the watcher reads the missing ones from PostgreSQL.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator

from holdfast.errors import AtCapacity, Unavailable
from holdfast.services.coordinator.operations import lifecycle
from holdfast.services.coordinator.operations.progress import ProgressBoard
from holdfast.services.coordinator.operations.records import Event, Operation
from holdfast.services.coordinator.operations.store import Store
from holdfast.services.coordinator.postgres.patience import patient
from holdfast.services.coordinator.postgres.pool import Database
from holdfast.v1 import coordinator_service_pb2, operation_pb2

__all__ = ["LONGEST_BACKLOG", "LOOK_AGAIN", "PAGE", "Update", "Watch", "is_over"]

Update = coordinator_service_pb2.WatchOperationResponse

# A watcher that is slower than this reads the rest from PostgreSQL later instead of filling memory.
LONGEST_BACKLOG = 256
PAGE = 500
# A lost telling is noticed by the next event's number, or by looking after so long a silence.
LOOK_AGAIN = 15.0  # seconds


class _Watcher:
    def __init__(self) -> None:
        self.live: deque[tuple[Operation, Event]] = deque()
        self.progress: operation_pb2.Progress | None = None
        self.shown: Operation | None = None
        self.must_read = False
        self.closed = False
        self.changed = asyncio.Event()


class Watch:
    """All watchers of all operations."""

    def __init__(self, store: Store, database: Database, board: ProgressBoard, most: int = 1000) -> None:
        self._store = store
        self._board = board
        self._most = most
        self._open = 0
        self._watchers: dict[str, set[_Watcher]] = {}
        store.changes.listen(self._publish)
        store.changes.view(self._show)
        database.on_loss.append(self._read_all_again)
        board.on_progress.append(self._publish_progress)

    def close(self) -> None:
        """The coordinator stops: every watcher gets UNAVAILABLE and comes back to the next one."""
        for watcher in itertools.chain.from_iterable(self._watchers.values()):
            watcher.closed = True
            watcher.changed.set()

    async def follow(self, operation_id: str, after: int, *, replay_only: bool = False) -> AsyncIterator[Update]:
        """The operation, its events after `after`, then live to its end. Raises NotFound, Unavailable, AtCapacity.

        `replay_only` ends after the events until now.
        """
        if self._open >= self._most:
            raise AtCapacity(
                f"{self._open} watches are open, and the limit is {self._most}. Close some, ask GetOperation now and "
                "then instead, or raise HOLDFAST_MAX_WATCHES on the coordinator.",
                reason="TOO_MANY_WATCHES",
                metadata={"operation_id": operation_id, "limit": str(self._most)},
            )
        watcher = _Watcher()
        self._open += 1
        self._watchers.setdefault(operation_id, set()).add(watcher)
        try:
            operation = await self._store.get(operation_id)
            yield Update(operation=self._message(operation))
            last = after
            watcher.must_read = True
            sent = operation.last_sequence
            status = operation.status
            while True:
                if watcher.must_read:
                    watcher.must_read = False
                    watcher.live.clear()
                    async for event in self._missing(operation_id, last):
                        last = event.sequence
                        yield Update(event=event.to_message())
                    with patient():
                        operation = await self._store.get(operation_id)
                    if operation.last_sequence > last and after <= operation.last_sequence:
                        watcher.must_read = True
                        continue
                    if operation.last_sequence > sent and operation.status != status:
                        yield Update(operation=self._message(operation))
                    sent, status = max(sent, operation.last_sequence), operation.status
                    if replay_only:
                        return
                while watcher.live:
                    operation, event = watcher.live.popleft()
                    if event.sequence <= last:
                        continue
                    if event.sequence > last + 1:
                        watcher.must_read = True
                        break
                    last = event.sequence
                    yield Update(event=event.to_message())
                    if event.sequence > sent and operation.status != status:
                        yield Update(operation=self._message(operation))
                    sent, status = max(sent, event.sequence), operation.status
                if watcher.must_read:
                    continue
                if is_over(operation):
                    return
                if watcher.shown is not None:
                    shown, watcher.shown = watcher.shown, None
                    # Only the newest, and only beside the story: after an event that came later it is old news.
                    if shown.last_sequence == last and shown.status == status:
                        yield Update(operation=self._message(shown))
                    continue
                if watcher.progress is not None:
                    progress, watcher.progress = watcher.progress, None
                    yield Update(progress=progress)
                    continue
                if watcher.closed:
                    raise Unavailable(
                        "The coordinator is stopping; the operation goes on. Watch again in a moment.",
                        reason="COORDINATOR_DRAINING",
                        metadata={"operation_id": operation_id},
                    )
                watcher.changed.clear()
                try:
                    await asyncio.wait_for(watcher.changed.wait(), LOOK_AGAIN)
                except TimeoutError:
                    watcher.must_read = True
        finally:
            self._open -= 1
            watchers = self._watchers[operation_id]
            watchers.discard(watcher)
            if not watchers:
                del self._watchers[operation_id]

    async def _missing(self, operation_id: str, after: int) -> AsyncIterator[Event]:
        while True:
            with patient():  # a watch that has begun outlasts an outage: its operation goes on, too
                page = await self._store.events(operation_id, after, PAGE)
            for event in page:
                yield event
            if len(page) < PAGE:
                return
            after = page[-1].sequence

    def _message(self, operation: Operation) -> operation_pb2.Operation:
        return operation.to_message(self._board.newest(operation.id, operation.attempt))

    def _publish(self, operation: Operation, event: Event) -> None:
        for watcher in self._watchers.get(operation.id, ()):
            if len(watcher.live) >= LONGEST_BACKLOG:
                watcher.live.clear()
                watcher.must_read = True
            else:
                watcher.live.append((operation, event))
            watcher.changed.set()

    def _publish_progress(self, operation_id: str, progress: operation_pb2.Progress) -> None:
        # A slow watcher sees only the newest.
        for watcher in self._watchers.get(operation_id, ()):
            watcher.progress = progress
            watcher.changed.set()

    def _show(self, operation: Operation) -> None:
        for watcher in self._watchers.get(operation.id, ()):
            watcher.shown = operation
            watcher.changed.set()

    def _read_all_again(self) -> None:
        for watcher in itertools.chain.from_iterable(self._watchers.values()):
            watcher.must_read = True
            watcher.changed.set()


def is_over(operation: Operation) -> bool:
    """Whether nothing more will come unless a person resumes it."""
    return operation.status in lifecycle.ENDED and operation.automatic_resume_time is None
