"""Follows one operation to its end: the live bar, the last words, and what Ctrl-C does.

The first Ctrl-C cancels the operation and waits for its checkpoint; the second leaves it to itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.cli import exits
from holdfast.cli.bar import Bar
from holdfast.cli.output import console, note, print_json, table
from holdfast.cli.plain import plain
from holdfast.cli.words import number
from holdfast.kinds import position
from holdfast.v1 import operation_pb2

if TYPE_CHECKING:
    from holdfast.sdk import Operation

__all__ = ["conclude", "detached", "follow_to_end", "watch_only"]


def follow_to_end(operation: Operation, *, as_json: bool = False) -> int:
    """Follows with a bar, prints how it ended, and returns the exit code."""
    note(f"{operation.kind.capitalize()} {operation.id} of {operation.strategy_name or 'an unnamed strategy'}")
    with Bar() as bar:
        try:
            for update in operation.watch():
                bar.show(update)
        except KeyboardInterrupt:
            bar.say(f"Cancelling {operation.id} and waiting for its checkpoint; Ctrl-C again leaves it to itself.")
            try:
                operation.cancel("Ctrl-C while following")
                for update in operation.watch():
                    bar.show(update)
            except KeyboardInterrupt:
                bar.close()
                note(f"Left to itself. Follow it again with: holdfast operations watch {operation.id}")
                return exits.FAILED
    return conclude(operation, as_json=as_json)


def watch_only(operation: Operation, *, as_json: bool = False) -> int:
    """Follows without owning: Ctrl-C only stops watching."""
    with Bar() as bar:
        try:
            for update in operation.watch():
                bar.show(update)
        except KeyboardInterrupt:
            bar.close()
            note(
                f"{operation.id} goes on. Watch again: holdfast operations watch {operation.id}; "
                f"stop it: holdfast operations cancel {operation.id}"
            )
            return exits.INTERRUPTED
    return conclude(operation, as_json=as_json)


def detached(operation: Operation, *, as_json: bool = False) -> int:
    """Says what was started and how to follow it."""
    if as_json:
        print_json(plain(operation.message))
    else:
        console().print(operation.id, markup=False)
        note(f"Started. Follow it with: holdfast operations watch {operation.id}")
    return exits.DONE


def conclude(operation: Operation, *, as_json: bool = False, hints: bool = True) -> int:
    """Prints how an operation ended and, with `hints`, what can be done next; returns the exit code."""
    message = operation.message
    completed = message.status == operation_pb2.OPERATION_STATUS_COMPLETED
    if as_json:
        print_json(plain(message))
        return exits.DONE if completed else exits.FAILED
    match message.WhichOneof("result") if completed else None:
        case "training_result":
            _training(message.training_result)
            if hints:
                note(f"Backtest it with: holdfast backtest --model {operation.id}")
        case "backtest_result":
            _backtest(operation.strategy_name, message.backtest_result)
            if hints:
                note(f"Picture: holdfast report {operation.id}")
        case _ if completed:
            note(f"{operation.kind.capitalize()} {operation.id} completed.")
        case _:
            _not_completed(operation)
    return exits.DONE if completed else exits.FAILED


def _training(result: operation_pb2.TrainingResult) -> None:
    rows = [[name, number(result.metrics[name])] for name in sorted(result.metrics)]
    console().print(f"Trained in {result.epochs} epochs; the best was epoch {result.best_epoch}.")
    table(["test metric", "value"], rows, right=["value"])
    console().print(f"Model: {result.model_uri}", markup=False, soft_wrap=True)
    for text in result.notes:
        note(f"Note: {text}")


def _backtest(strategy_name: str, result: operation_pb2.BacktestResult) -> None:
    from holdfast.report.metrics import comparison

    console().print(f"{strategy_name}: {result.trades} trades", markup=False)
    table(
        ["metric", "strategy", "buy and hold"],
        comparison(result.metrics, result.benchmark_metrics),
        right=["strategy", "buy and hold"],
    )
    console().print(f"Result: {result.result_uri}", markup=False, soft_wrap=True)
    for text in result.notes:
        note(f"Note: {text}")


def _not_completed(operation: Operation) -> None:
    what = operation.failure.message if operation.failure and operation.failure.message else "No reason is recorded."
    note(f"{operation.kind.capitalize()} {operation.id} is {operation.status}. {what}")
    if operation.failure:
        for line in operation.failure.log_tail:
            note(f"  | {line}")
    if operation.checkpoint is not None:
        note(f"Checkpoint: {position(operation.checkpoint)}, saved as {operation.checkpoint.checkpoint_id}")
    if operation.resumable:
        note(f"Resume it with: holdfast operations resume {operation.id}")
    elif operation.checkpoint is None:
        note("Nothing was saved, so it cannot be resumed; start it again.")
