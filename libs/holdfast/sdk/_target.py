"""Finds the coordinator when the caller names none. Reads settings and one file; opens no connection."""

from __future__ import annotations

from holdfast.local.records import coordinator_address
from holdfast.settings import load_settings

__all__ = ["find_coordinator"]


def find_coordinator() -> str:
    """HOLDFAST_COORDINATOR, else the one that `holdfast up` started in the data directory, else 127.0.0.1:7400.

    Raises InvalidRequest when a setting is bad.
    """
    settings = load_settings()
    if "coordinator" in settings.model_fields_set:
        return settings.coordinator
    return coordinator_address(settings.home) or settings.coordinator
