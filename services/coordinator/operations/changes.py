"""Tells others what has just been committed. Owns the list of listeners; stores nothing.

One coordinator writes everything, so what it commits itself is all there is to tell: no LISTEN, no polling.
"""

from __future__ import annotations

from collections.abc import Callable

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

    def tell(self, operation: Operation, event: Event) -> None:
        """The row and the event that one statement has committed."""
        for listener in self._listeners:
            listener(operation, event)
