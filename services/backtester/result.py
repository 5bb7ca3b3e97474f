"""The files of a finished backtest: trades and equity as Arrow, metrics and benchmark as JSON. Owns their columns.

Equal runs give equal bytes: no clock, no host, no attempt number stands in them.

trades.arrow, one row per finished trade, in order of their ends:
    symbol, direction (long, short), reason (signal, stop_loss, take_profit, end_of_data, ruin), entry_time, exit_time
    (timestamp[ns, UTC], the bars' opens), entry_bar, exit_bar (from the first traded bar), quantity, entry_price,
    exit_price, commission, slippage, profit (account currency), gain (fraction of the value at entry)
equity.arrow, one row per bar:
    time (timestamp[ns, UTC], the bar's open), equity, cash, drawdown (fraction below the peak), benchmark (equity of
    buy and hold), and for each symbol S: position.S (units held at the close, signed), close.S (NaN where it has no
    bar)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from holdfast.artifacts import exact
from holdfast.services.backtester import metrics
from holdfast.services.backtester.panel import Panel
from holdfast.services.backtester.portfolio import LONG, ExitReason
from holdfast.services.backtester.state import KernelState, make_rules
from holdfast.strategy.directions import Direction

__all__ = ["Outcome", "buy_and_hold", "measure", "result_files"]

Array = np.ndarray[Any, Any]
_TIME: Final = pa.timestamp("ns", tz="UTC")


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished account and what it was worth."""

    state: KernelState
    metrics: dict[str, float]


def measure(state: KernelState, panel: Panel, initial_cash: float) -> Outcome:
    """All metrics of an account that has traded every bar."""
    found = metrics.equity_metrics(panel.time, state.equity, initial_cash)
    found |= metrics.trade_metrics(panel.time, state.equity, state.quantity, state.trades, state.account[0])
    return Outcome(state, found)


def buy_and_hold(panel: Panel, rules: Array, initial_cash: float) -> Outcome:
    """Holding the same symbols over the same bars: the same kernel, costs and fills, one decision per symbol.

    Each symbol is bought for an equal share of the account at its second bar's open (a decision needs a first close)
    and sold at the end.
    """
    bars, symbols = panel.prices.shape
    rule = rules[0]
    hold = make_rules(
        fraction=1.0 / symbols,
        commission=float(rule["commission"]),
        slippage=float(rule["slippage"]),
        stop_loss=0.0,
        take_profit=0.0,
        separation=0,
    )
    state = KernelState.fresh(panel.time, symbols, initial_cash)
    signals = np.full((bars, symbols), LONG, np.int8)
    state.advance(bars, panel.prices, signals, hold)
    return measure(state, panel, initial_cash)


def result_files(outcome: Outcome, benchmark: Outcome, panel: Panel, initial_cash: float) -> dict[str, bytes]:
    """The result's files by name."""
    return {
        "trades.arrow": _arrow(_trades_table(outcome.state.trades, panel)),
        "equity.arrow": _arrow(_equity_table(outcome.state, benchmark.state, panel, initial_cash)),
        "metrics.json": exact.dumps(outcome.metrics),
        "benchmark.json": exact.dumps(benchmark.metrics),
    }


def _trades_table(trades: Array, panel: Panel) -> pa.Table:
    reasons = [reason.name.lower() for reason in ExitReason]
    columns: dict[str, pa.Array] = {
        "symbol": pa.array([panel.symbols[column] for column in trades["symbol"].tolist()], pa.string()),
        "direction": pa.array([Direction(sign).name.lower() for sign in trades["direction"].tolist()], pa.string()),
        "reason": pa.array([reasons[code] for code in trades["reason"].tolist()], pa.string()),
        "entry_time": _times(panel.time[trades["entry_bar"]]),
        "exit_time": _times(panel.time[trades["exit_bar"]]),
    }
    for name in ("entry_bar", "exit_bar"):
        columns[name] = pa.array(np.ascontiguousarray(trades[name]), pa.int64())
    for name in ("quantity", "entry_price", "exit_price", "commission", "slippage", "profit", "gain"):
        columns[name] = pa.array(np.ascontiguousarray(trades[name]), pa.float64())
    return pa.table(columns, metadata=_metadata(panel.symbols))


def _equity_table(state: KernelState, benchmark: KernelState, panel: Panel, initial_cash: float) -> pa.Table:
    columns: dict[str, pa.Array] = {"time": _times(panel.time)}
    series: Mapping[str, Array] = {
        "equity": state.equity,
        "cash": state.cash,
        "drawdown": metrics.drawdowns(state.equity, initial_cash),
        "benchmark": benchmark.equity,
    }
    for name, values in series.items():
        columns[name] = pa.array(values, pa.float64())
    for column, symbol in enumerate(panel.symbols):
        columns[f"position.{symbol}"] = pa.array(np.ascontiguousarray(state.quantity[:, column]), pa.float64())
        columns[f"close.{symbol}"] = pa.array(np.ascontiguousarray(panel.prices.close[:, column]), pa.float64())
    return pa.table(columns, metadata=_metadata(panel.symbols))


def _times(nanoseconds: Array) -> pa.Array:
    return pa.array(np.ascontiguousarray(nanoseconds), pa.int64()).cast(_TIME)


def _metadata(symbols: Sequence[str]) -> dict[str, str]:
    return {"symbols": exact.dumps(list(symbols)).decode()}


def _arrow(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    # One batch: how the bytes are cut must not depend on how the arrays came about.
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return bytes(sink.getvalue())
