"""Prints one operation, one checkpoint, one system in full, as lines of name and value."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.table import Table

from holdfast.cli.output import console, note
from holdfast.cli.words import STATUS_STYLES, number, progress_line, size, when
from holdfast.kinds import position

if TYPE_CHECKING:
    from holdfast.sdk import Operation
    from holdfast.v1 import checkpoint_pb2, operation_pb2

__all__ = ["print_checkpoint", "print_fields", "print_operation", "print_silence"]

# What the worker says of a run that gives no sign of life, and what takes it back.
SILENCE_EVENTS = ("RUN_UNRESPONSIVE", "RUN_STALLED")
LIFE_EVENT = "RUN_RESPONSIVE"


def print_fields(fields: Iterable[tuple[str, str]]) -> None:
    """Name and value, one pair a line; pairs without a value are left out. Values may hold rich markup."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in fields:
        if value:
            grid.add_row(name, value)
    console().print(grid)


def print_operation(operation: Operation) -> None:
    """All that is known, and what can be done next."""
    from holdfast.cli.follow import conclude

    message = operation.message
    metrics = " ".join(f"{name} {number(value)}" for name, value in sorted(operation.progress.metrics.items()))
    saved = operation.checkpoint
    spec = message.training if message.WhichOneof("spec") == "training" else message.backtest
    print_fields(
        [
            ("Operation", operation.id),
            ("Kind", operation.kind.lower()),
            ("Strategy", operation.strategy_name),
            ("Status", f"[{STATUS_STYLES.get(operation.status, '')}]{operation.status}[/]"),
            ("Attempt", _attempt(operation.attempt, message.max_attempts)),
            ("Worker", message.worker_id),
            ("Progress", progress_line(operation.progress)),
            ("Numbers", metrics),
            ("Checkpoint every", _policy(spec.checkpoint_policy.every_units, spec.checkpoint_policy.every_steps)),
            ("Checkpoint", f"{position(saved)} ({size(saved.size_bytes)}) {saved.checkpoint_id}" if saved else ""),
            ("Model", message.backtest.model_operation_id),
            ("Created", when(message.create_time)),
            ("Started", when(message.start_time)),
            ("Ended", when(message.end_time)),
        ]
    )
    if operation.done:
        conclude(operation)
    elif operation.failure:
        note(f"Last failure: {operation.failure.message}")


def print_silence(story: Iterable[operation_pb2.OperationEvent], attempt: int) -> None:
    """Says that the run gives no sign of life, if that is the last word on it: RUNNING alone would hide it."""
    words = [e for e in story if e.attempt == attempt and e.type in (*SILENCE_EVENTS, LIFE_EVENT)]
    if words and words[-1].type in SILENCE_EVENTS:
        note(f"Warning, {when(words[-1].time)}: {words[-1].message}")


def _attempt(attempt: int, most: int) -> str:
    return f"{attempt} (resumes by itself up to attempt {most})" if most > 1 else str(attempt)


def _policy(units: int, steps: int) -> str:
    words = [f"{units} units"] if units else []
    if steps:
        words.append(f"{steps} steps")
    return " and ".join(words)


def print_checkpoint(checkpoint: checkpoint_pb2.Checkpoint) -> None:
    """All that the catalogue knows of one checkpoint."""
    from holdfast.cli.plain import plain

    print_fields(
        [
            ("Checkpoint", checkpoint.checkpoint_id),
            ("Operation", checkpoint.operation_id),
            ("Attempt", str(checkpoint.attempt)),
            ("At", position(checkpoint)),
            ("Type", str(plain(checkpoint)["type"]).lower()),
            ("Size", size(checkpoint.size_bytes)),
            ("Manifest SHA-256", checkpoint.manifest_digest),
            ("Market data", checkpoint.data_digest),
            ("Created", when(checkpoint.create_time)),
        ]
    )
