"""The client that a command uses. Fails fast: a person waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.sdk import Client

__all__ = ["PATIENCE", "client"]

PATIENCE = 3.0  # seconds; a restarting coordinator is back by then, an absent one is told soon


def client() -> Client:
    """A client of the coordinator that the settings name."""
    from holdfast.sdk import Client

    return Client(patience=PATIENCE)
