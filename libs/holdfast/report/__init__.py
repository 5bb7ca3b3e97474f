"""Reports of finished operations: `draw` makes the picture, `comparison` the table beside buy-and-hold.

metrics     names, order and format of metrics in a table; pure
results     reads a result or a model's history from the artifact store, verified
pictures    matplotlib figures; nothing else draws
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.errors import InvalidRequest, NotPossible, Violation
from holdfast.report.metrics import comparison
from holdfast.v1 import operation_pb2

if TYPE_CHECKING:
    from holdfast.sdk import AsyncOperation, Operation

__all__ = ["comparison", "draw"]


def draw(operation: Operation | AsyncOperation, store_url: str, path: Path) -> None:
    """Draws a completed backtest or training into `path`; the name's end chooses the format (.png, .svg, .pdf).

    Raises OperationFailed or NotPossible when there is no result, Corrupted when it is damaged, InvalidRequest when the
    file cannot be written.
    """
    from holdfast.artifacts.store import open_store
    from holdfast.report import pictures, results

    result = operation.result
    store = open_store(store_url)
    if isinstance(result, operation_pb2.BacktestResult):
        figure = pictures.backtest(
            results.read_backtest(store, result.result_uri, result.result_digest),
            title=f"{operation.strategy_name}",
            subtitle=operation.id,
            metrics=dict(result.metrics),
            benchmark=dict(result.benchmark_metrics),
        )
    elif isinstance(result, operation_pb2.TrainingResult):
        figure = pictures.training(
            results.read_history(store, result.model_uri),
            title=f"{operation.strategy_name}",
            subtitle=operation.id,
            best_epoch=result.best_epoch,
        )
    else:
        raise NotPossible(f"There is no picture of a {operation.kind.lower()}.", reason="NO_PICTURE")
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise InvalidRequest(
            f"Cannot write the picture {path}: {error}",
            violations=[Violation("--output", str(path), "a writable file")],
        ) from error
