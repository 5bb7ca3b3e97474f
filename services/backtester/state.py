"""The kernel's state between two chunks, and its way into a checkpoint's bytes. Owns memory and its validation.

What is written once is never written again: equity, cash, quantity and trades only grow. A checkpoint therefore
copies the few account and position records and takes views of the rest, whatever its length; the bytes are made in
the writer's thread while trading goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from holdfast.artifacts.store import Buffer
from holdfast.errors import Corrupted
from holdfast.market.changes import refuse_changed_past
from holdfast.services.backtester import kernel
from holdfast.services.backtester._arrays import Array, pack_arrays, unpack_arrays
from holdfast.services.backtester.portfolio import (
    ACCOUNT,
    FLAT,
    KEEP,
    LONG,
    NEVER,
    POSITION,
    RULES,
    SHORT,
    TRADE,
    ExitReason,
)

__all__ = ["KernelState", "Prices", "make_rules"]

_FIRST_TRADES: Final = 256  # records; doubled when full


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices float64 (bars, symbols), C-contiguous; NaN where a symbol has no bar."""

    open: Array
    high: Array
    low: Array
    close: Array

    @property
    def arrays(self) -> tuple[Array, Array, Array, Array]:
        return self.open, self.high, self.low, self.close

    @property
    def shape(self) -> tuple[int, int]:
        bars, symbols = self.close.shape
        return bars, symbols


def make_rules(
    *, fraction: float, commission: float, slippage: float, stop_loss: float, take_profit: float, separation: int
) -> Array:
    """One RULES record."""
    return np.array([(fraction, commission, slippage, stop_loss, take_profit, separation)], RULES)


class KernelState:
    """Everything that trading on needs. `time` is the axis, int64 ns (bars,): what was traded is tied to its times."""

    def __init__(self, time: Array, account: Array, positions: Array, trades: Array) -> None:
        bars, symbols = len(time), len(positions)
        self._time = time
        self._account = account
        self._positions = positions
        self._trades = trades
        self._equity = np.empty(bars)
        self._cash = np.empty(bars)
        self._quantity = np.empty((bars, symbols))

    @classmethod
    def fresh(cls, time: Array, symbols: int, initial_cash: float) -> KernelState:
        """Before the first bar: all cash, no order."""
        account = np.zeros(1, ACCOUNT)
        account["cash"] = account["peak"] = initial_cash
        positions = np.zeros(symbols, POSITION)
        positions["pending"] = KEEP
        positions["last_signal_bar"] = positions["entry_bar"] = NEVER
        positions["last_close"] = np.nan
        return cls(time, account, positions, np.empty(_FIRST_TRADES, TRADE))

    @property
    def bar(self) -> int:
        """Bars done."""
        return int(self._account[0]["bar"])

    @property
    def account(self) -> Array:
        """One ACCOUNT record, a copy."""
        return self._account.copy()

    @property
    def positions(self) -> Array:
        """POSITION (symbols,), a copy."""
        return self._positions.copy()

    @property
    def trades(self) -> Array:
        """TRADE (finished trades,), a view."""
        return self._trades[: int(self._account[0]["trades"])]

    @property
    def equity(self) -> Array:
        """Account value at the close of each bar done, a view."""
        return self._equity[: self.bar]

    @property
    def cash(self) -> Array:
        return self._cash[: self.bar]

    @property
    def quantity(self) -> Array:
        """Units held at each close, signed, (bars done, symbols), a view."""
        return self._quantity[: self.bar]

    def advance(self, stop: int, prices: Prices, signals: Array, rules: Array) -> None:
        """Trades up to, not including, bar `stop`. Where it raises, the state is what it was."""
        start, symbols = self.bar, len(self._positions)
        if not start <= stop <= len(self._time) or prices.shape != (len(self._time), symbols):
            raise ValueError(f"cannot go from bar {start} to {stop} of {len(self._time)} with prices {prices.shape}")
        if signals.shape != prices.shape:
            raise ValueError(f"signals {signals.shape} do not fit prices {prices.shape}")
        account, positions = self.account, self.positions
        self._make_room(kernel.TRADES_PER_BAR * (stop - start) * symbols)
        kernel.run_bars(
            start,
            stop,
            *prices.arrays,
            signals,
            rules,
            account,
            positions,
            self._trades,
            self._equity,
            self._cash,
            self._quantity,
        )
        self._account, self._positions = account, positions

    def pack(self) -> list[Buffer]:
        """The whole state as safetensors, in parts."""
        return self.snapshot()()

    def snapshot(self) -> Callable[[], list[Buffer]]:
        """Takes this moment in microseconds; what it returns makes the bytes of it at any later time, in any thread."""
        records = {"account": self.account, "positions": self.positions, "trades": self.trades}
        series = {
            "time": self._time[: self.bar],
            "equity": self.equity,
            "cash": self.cash,
            "quantity": self.quantity,
        }

        def pack() -> list[Buffer]:
            columns = {f"{name}.{field}": array[field] for name, array in records.items() for field in _fields(array)}
            return pack_arrays({**columns, **series})

        return pack

    @classmethod
    def unpack(cls, data: bytes | Sequence[Buffer], time: Array, symbols: int) -> KernelState:
        """The state that `pack` wrote, on the axis `time`.

        Raises Corrupted for bytes that no backtest of these bars and symbols can have written, and NotPossible
        (MARKET_DATA_CHANGED) where the bars already traded are no longer the first ones of `time`.
        """
        try:
            arrays = unpack_arrays(data)
            account = _records(arrays, "account", ACCOUNT, 1)
            positions = _records(arrays, "positions", POSITION, symbols)
            trades = _records(arrays, "trades", TRADE, int(account[0]["trades"]))
            bar = int(account[0]["bar"])
            past = _series(arrays, "time", "<i8", (bar,))
            series = {name: _series(arrays, name, "<f8", (bar,)) for name in ("equity", "cash")}
            series["quantity"] = _series(arrays, "quantity", "<f8", (bar, symbols))
            _require(not arrays, f"unknown arrays {', '.join(sorted(arrays))}")
            _check(account[0], positions, trades, series)
        except ValueError as error:
            raise Corrupted(
                f"The checkpoint's trading state cannot be used: {error}. "
                "Resume from an older checkpoint (`holdfast checkpoints list`) or start over."
            ) from error
        if not np.array_equal(past, time[:bar]):
            raise refuse_changed_past(f"bar {bar}")
        state = cls(time, account, positions, trades)
        state._equity[:bar] = series["equity"]
        state._cash[:bar] = series["cash"]
        state._quantity[:bar] = series["quantity"]
        return state

    def _make_room(self, records: int) -> None:
        used = int(self._account[0]["trades"])
        if used + records > len(self._trades):
            # A new array, never a resize in place: snapshots not yet written look into the old one.
            grown = np.empty(max(used + records, 2 * len(self._trades)), TRADE)
            grown[:used] = self._trades[:used]
            self._trades = grown


def _fields(array: Array) -> tuple[str, ...]:
    return array.dtype.names or ()


def _require(condition: Any, problem: str) -> None:
    if not condition:
        raise ValueError(problem)


def _series(arrays: dict[str, Array], name: str, dtype: str, shape: tuple[int, ...]) -> Array:
    _require(name in arrays, f"it lacks {name}")
    array = arrays.pop(name)
    _require(array.dtype == np.dtype(dtype), f"{name} has the wrong type {array.dtype}")
    _require(array.shape == shape, f"{name} has the shape {array.shape} instead of {shape}")
    return array


def _records(arrays: dict[str, Array], name: str, dtype: np.dtype[Any], count: int) -> Array:
    _require(0 <= count <= 2**40, f"{count} {name} cannot be")
    columns = {field: _series(arrays, f"{name}.{field}", dtype[field].str, (count,)) for field in dtype.names or ()}
    records = np.empty(count, dtype)
    for field, column in columns.items():
        records[field] = column
    return records


def _check(account: Any, positions: Array, trades: Array, series: dict[str, Array]) -> None:
    """Refuses values that the kernel cannot have produced, before they index memory in compiled code."""
    bar = int(account["bar"])
    _require(account["ruined"] in (0, 1) and account["rejected"] >= 0, "account: impossible counts")
    amounts = [account[name] for name in ("cash", "peak", "max_drawdown", "commission", "slippage", "traded")]
    _require(np.isfinite(amounts).all() and account["peak"] > 0.0, "account: impossible amounts")
    _require(np.isin(positions["pending"], (SHORT, FLAT, LONG, KEEP)).all(), "positions: impossible orders")
    for name in ("last_signal_bar", "entry_bar"):
        _require(((positions[name] >= NEVER) & (positions[name] < bar)).all(), f"positions: impossible {name}")
    for name in ("quantity", "entry_price", "stop", "target", "entry_commission", "entry_slippage"):
        _require(np.isfinite(positions[name]).all(), f"positions: {name} is not finite")
    held = positions["quantity"] != 0.0
    _require((positions["entry_price"][held] > 0.0).all(), "positions: held without a price")
    _require((positions["entry_bar"][held] >= 0).all(), "positions: held without an entry")
    _require((positions["last_close"][held] > 0.0).all(), "positions: held without a mark")
    _require(not np.isinf(positions["last_close"]).any(), "positions: impossible mark")
    _require(((trades["symbol"] >= 0) & (trades["symbol"] < len(positions))).all(), "trades: unknown symbol")
    _require(np.isin(trades["direction"], (SHORT, LONG)).all(), "trades: impossible direction")
    _require(np.isin(trades["reason"], [int(reason) for reason in ExitReason]).all(), "trades: impossible reason")
    entry, end = trades["entry_bar"], trades["exit_bar"]
    _require(((entry >= 0) & (entry <= end) & (end < bar)).all(), "trades: impossible bars")
    for name in ("quantity", "entry_price", "exit_price", "commission", "slippage", "profit", "gain"):
        _require(np.isfinite(trades[name]).all(), f"trades: {name} is not finite")
    for name, values in series.items():
        _require(np.isfinite(values).all(), f"{name} is not finite")
    if bar:
        _require(series["cash"][-1] == account["cash"], "the cash series does not end at the account's cash")
        _require((series["quantity"][-1] == positions["quantity"]).all(), "the quantities do not end at the positions")
