"""Holdfast: trading-strategy research that survives anything.

    holdfast.connect(), holdfast.Client     a blocking client, for scripts and notebooks
    holdfast.AsyncClient                    the same for asyncio
    holdfast.errors                         everything that can go wrong

Nothing heavy is imported before it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holdfast.errors import HoldfastError as HoldfastError
    from holdfast.sdk import AsyncClient, AsyncOperation, Client, Kind, Operation, Status, Update, connect

__version__ = "0.1.0"

_HOMES = {
    "AsyncClient": "holdfast.sdk",
    "AsyncOperation": "holdfast.sdk",
    "Client": "holdfast.sdk",
    "HoldfastError": "holdfast.errors",
    "Kind": "holdfast.sdk",
    "Operation": "holdfast.sdk",
    "Status": "holdfast.sdk",
    "Update": "holdfast.sdk",
    "connect": "holdfast.sdk",
}

__all__ = [
    "AsyncClient",
    "AsyncOperation",
    "Client",
    "HoldfastError",
    "Kind",
    "Operation",
    "Status",
    "Update",
    "connect",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
