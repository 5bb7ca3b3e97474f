"""Reads a backtest's result, or a model's history, from the artifact store; every byte is verified. Draws nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from holdfast.artifacts import exact
from holdfast.artifacts.manifest import read_artifacts
from holdfast.artifacts.store import Store
from holdfast.errors import Corrupted

__all__ = ["BacktestSeries", "Trades", "read_backtest", "read_history"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Trades:
    """One symbol's finished trades, arrays shaped (trades,): times datetime64[ns] UTC, prices and profit float64."""

    entry_time: Array
    exit_time: Array
    entry_price: Array
    exit_price: Array
    profit: Array
    long: Array


@dataclass(frozen=True, slots=True)
class BacktestSeries:
    """What is drawn of a backtest, arrays shaped (bars,): time datetime64[ns] UTC, the rest float64."""

    time: Array
    equity: Array
    benchmark: Array
    # Fraction below the highest value so far, 0 to 1.
    drawdown: Array
    closes: dict[str, Array]
    trades: dict[str, Trades]


def read_backtest(store: Store, path: str, digest: str) -> BacktestSeries:
    """Raises NotFound or Corrupted."""
    files = read_artifacts(store, path, digest).files
    equity = _table(files, "equity.arrow", path)
    trades = _table(files, "trades.arrow", path)
    symbols = [name.removeprefix("close.") for name in equity.column_names if name.startswith("close.")]
    return BacktestSeries(
        time=_times(equity, "time"),
        equity=_floats(equity, "equity"),
        benchmark=_floats(equity, "benchmark"),
        drawdown=_floats(equity, "drawdown"),
        closes={symbol: _floats(equity, f"close.{symbol}") for symbol in symbols},
        trades={symbol: _trades_of(trades, symbol) for symbol in symbols},
    )


def read_history(store: Store, path: str) -> dict[str, Array]:
    """Per column of the training's history one float64 array, shaped (epochs,). Raises NotFound or Corrupted."""
    files = read_artifacts(store, path).files
    if "history.json" not in files:
        raise Corrupted(f"The model {path} has no history.json.", metadata={"uri": path})
    history: Any = exact.loads(files["history.json"])
    records = history["epochs"] if isinstance(history, dict) else history
    names = list(records[0]) if records else []
    return {name: np.array([record[name] for record in records], np.float64) for name in names}


def _table(files: dict[str, bytes], name: str, path: str) -> pa.Table:
    try:
        return pa.ipc.open_file(files[name]).read_all()
    except (KeyError, pa.ArrowInvalid) as error:
        raise Corrupted(f"The result {path} has no readable {name}.", metadata={"uri": path, "file": name}) from error


def _trades_of(trades: pa.Table, symbol: str) -> Trades:
    chosen = trades.filter(pa.compute.equal(trades["symbol"], symbol))
    return Trades(
        entry_time=_times(chosen, "entry_time"),
        exit_time=_times(chosen, "exit_time"),
        entry_price=_floats(chosen, "entry_price"),
        exit_price=_floats(chosen, "exit_price"),
        profit=_floats(chosen, "profit"),
        long=np.array([direction == "long" for direction in chosen["direction"].to_pylist()], bool),
    )


def _times(table: pa.Table, name: str) -> Array:
    return np.asarray(table[name].cast(pa.int64()).to_numpy()).astype("datetime64[ns]")


def _floats(table: pa.Table, name: str) -> Array:
    return np.asarray(table[name].to_numpy(), np.float64)
