"""Tells others what has just been committed. Owns the list of listeners; stores nothing.

One coordinator writes everything, so what it commits itself is all there is to tell: no LISTEN, no polling.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from holdfast.services.coordinator.operations.records import Event, Operation

__all__ = ["Changes", "Listener", "Viewer"]

Listener = Callable[[Operation, Event], None]
Viewer = Callable[[Operation], None]


class Changes:
    """A listener is called on the event loop right after the commit; it must not block and must not raise."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []
        self._viewers: list[Viewer] = []

    def listen(self, listener: Listener) -> None:
        """Adds a listener for the life of the process."""
        self._listeners.append(listener)

    def view(self, viewer: Viewer) -> None:
        """Adds one who is shown what changed without becoming part of the story."""
        self._viewers.append(viewer)

    def show(self, operation: Operation) -> None:
        """The row that one statement has committed, where that is no event."""
        for viewer in self._viewers:
            viewer(operation)

    def publish(self, operation: Operation, event_type: str, message: str, details: Mapping[str, str]) -> None:
        """The row, and the event in it, that one statement has committed."""
        event = Event.of(operation, event_type, message, details)
        for listener in self._listeners:
            listener(operation, event)

    def published(self, row: Any | None, event_type: str, message: str, details: Mapping[str, str]) -> Operation | None:
        """The operation that a statement has returned, published if it recorded an event; None without a row."""
        if row is None:
            return None
        operation = Operation.from_row(row)
        if row["recorded"]:
            self.publish(operation, event_type, message, details)
        return operation
