"""Reads the SQL files. Owns no connection."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

__all__ = ["SQL", "query"]

SQL = Path(__file__).parent / "sql"
_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@cache
def _all() -> dict[str, str]:
    found: dict[str, str] = {}
    for file in sorted((SQL / "queries").glob("*.sql")):
        parts = _NAME.split(file.read_text())
        for name, text in zip(parts[1::2], parts[2::2], strict=True):
            if name in found:
                raise ValueError(f"two queries are named {name}; the second is in {file}")
            found[name] = text.strip().removesuffix(";")
    return found


def query(name: str) -> str:
    """The SQL text after `-- name: <name>`. Raises KeyError when no file has it."""
    return _all()[name]
