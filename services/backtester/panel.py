"""Market data of several symbols on one time axis, (bars, symbols). Owns the alignment; computes no indicator.

The axis is the union of the symbols' bar times. Where a symbol has no bar its prices are NaN: it neither fills nor
decides there, and its last close marks it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from holdfast.errors import InvalidRequest, Violation
from holdfast.market import Bars
from holdfast.services.backtester.state import Prices

__all__ = ["Panel", "align"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Panel:
    """Prices of the bars that are traded, and where they come from.

    `time` int64 ns (bars,), UTC open times. `prices`: float64 (bars, symbols). `first` is the absolute index of the
    first traded bar on the axis of everything that was loaded, warm-up included. `rows` int64 (first + bars,
    symbols): each absolute bar's row in the symbol's own series, -1 where it has none.
    """

    symbols: tuple[str, ...]
    time: Array
    prices: Prices
    first: int
    rows: Array


def align(series: Mapping[str, Bars], symbols: Sequence[str], start_ns: int) -> Panel:
    """Puts the symbols side by side; bars that open before `start_ns` are warm-up.

    Raises InvalidRequest when nothing is left to trade.
    """
    axis = series[symbols[0]].time
    for symbol in symbols[1:]:
        axis = np.union1d(axis, series[symbol].time)
    first = int(np.searchsorted(axis, start_ns))
    if first == len(axis):
        raise InvalidRequest(
            f"No bar of {', '.join(symbols)} lies between the backtest's start and end. Choose dates inside the data "
            "(`holdfast data list`).",
            violations=[Violation("start_date", str(np.datetime64(start_ns, "ns")), "dates inside the data")],
        )
    rows = np.full((len(axis), len(symbols)), -1, np.int64)
    for column, symbol in enumerate(symbols):
        own = series[symbol].time
        rows[np.searchsorted(axis, own), column] = np.arange(len(own))
    traded = rows[first:]
    columns = [_prices(series[symbol], traded[:, column]) for column, symbol in enumerate(symbols)]
    prices = Prices(*(np.ascontiguousarray(np.stack(each, axis=1)) for each in zip(*columns, strict=True)))
    return Panel(tuple(symbols), np.ascontiguousarray(axis[first:]), prices, first, rows)


def _prices(bars: Bars, rows: Array) -> list[Array]:
    missing = rows < 0
    found = []
    for values in (bars.open, bars.high, bars.low, bars.close):
        column = values[rows].astype(np.float64)
        column[missing] = np.nan
        found.append(column)
    return found
