"""Reads the SQL files and gives their :names numbers. Owns no connection.

Everything is read and compiled when this module is imported, so that a file that cannot be meant fails at start.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from holdfast.errors import InternalError

__all__ = ["QUERIES", "SQL", "compiled", "statement"]

SQL = Path(__file__).parent / "sql"
_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)

# PostgreSQL's lexical rules, as far as they decide what a colon or a dollar means. The first that fits wins.
_TOKEN = re.compile(
    r"""
    (?P<comment> --[^\n]* | /\*(?:[^*/]|\*(?!/)|/(?!\*))*\*/ )
  | (?P<quoted> (?<![\w$])[eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*"
      | (?<![\w$])\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$ )
  | (?P<cast> :: | := )
  | (?<![\w)\]]):(?P<name>[a-z_][a-z0-9_]*)
  | (?P<stray> ['":] | /\* | (?<![\w$])\$ )
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Query:
    """Text with $1, $2, …, and the name that each of them had, in this order."""

    name: str
    text: str
    parameters: tuple[str, ...]

    def bind(self, arguments: Mapping[str, Any]) -> tuple[Any, ...]:
        """The text and its values, as asyncpg takes them. Raises InternalError unless the names are exactly its own."""
        if arguments.keys() != set(self.parameters):
            missing = sorted(set(self.parameters) - arguments.keys())
            unknown = sorted(arguments.keys() - set(self.parameters))
            raise InternalError(
                f"The query {self.name} takes other names than it was given: missing {', '.join(missing) or 'none'}, "
                f"unknown {', '.join(unknown) or 'none'}. A defect of Holdfast."
            )
        return self.text, *(arguments[parameter] for parameter in self.parameters)


def compiled(name: str, text: str) -> Query:
    """Gives each :name of `text` its number. Raises ValueError for a $1, an open quote, and the like."""
    numbers: dict[str, int] = {}

    def replaced(token: re.Match[str]) -> str:
        if token["stray"]:
            line = text.count("\n", 0, token.start()) + 1
            raise ValueError(
                f"query {name}, line {line}: {token['stray']} is open or out of place; write values as :name"
            )
        if not token["name"]:
            return token[0]
        return f"${numbers.setdefault(token['name'], len(numbers) + 1)}"

    return Query(name, _TOKEN.sub(replaced, text), tuple(numbers))


def _load() -> dict[str, Query]:
    found: dict[str, Query] = {}
    for file in sorted((SQL / "queries").glob("*.sql")):
        parts = _NAME.split(file.read_text())
        for name, text in zip(parts[1::2], parts[2::2], strict=True):
            if name in found:
                raise ValueError(f"two queries are named {name}; the second is in {file}")
            found[name] = compiled(name, text.strip().removesuffix(";"))
    return found


QUERIES: Final = _load()


def statement(name: str, /, **arguments: Any) -> tuple[Any, ...]:
    """The query after `-- name: <name>` with its values: `connection.fetch(*statement("list_events", after=3, …))`.

    Raises InternalError when no file has it, or when it has other names.
    """
    if name not in QUERIES:
        raise InternalError(f"No SQL file has a query named {name}: a defect of Holdfast.")
    return QUERIES[name].bind(arguments)
