"""Prints listings: a table for people, JSON for programs. stdout holds results, stderr everything else."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["console", "note", "note_console", "print_json", "table"]


def console() -> Console:
    """Where results go."""
    from rich.console import Console

    # Piped into a file or a pager, rows must not be broken at 80 columns.
    return Console(highlight=False, width=None if sys.stdout.isatty() else 200)


def note_console() -> Console:
    """Where bars, hints and warnings go."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def note(text: str) -> None:
    """One line for the reader, not for a program."""
    note_console().print(text, markup=False)


def print_json(value: Any) -> None:
    """Indented JSON on stdout."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False, default=str))


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()) -> None:
    """Prints a table; columns named in `right` are aligned to the right. Cells may hold rich markup."""
    from rich import box
    from rich.table import Table

    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        grid.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        grid.add_row(*row)
    console().print(grid)
