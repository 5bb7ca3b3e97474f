"""The compiled trading loop: arrays in, arrays out, in place. Owns every rule of filling; never touches Python objects.

Shapes are (bars, symbols) throughout; one symbol is the special case. A bar with a NaN among its prices is missing:
that symbol neither fills nor decides there and is marked at its last close.

Within one bar, in this order:
    1. at the open, orders that leave a position, by symbol; then orders that enter one, by symbol: what a sale frees
       is there to buy with
    2. inside the bar, stop loss and take profit
    3. at the close, marks and equity; then ruin, or the forced end, or decisions, which become orders for the next open

Round-off: plain IEEE double arithmetic in the order written, without fast-math, fused operations or reassociation, so
tests/reference/kernel.py repeats every bit in Python. Nothing is rounded to ticks or lots and nothing is repaired
with tolerances: quantities are fractional, and cash may end some units in the last place below zero. Sums over
symbols run in column order. [start, stop) may be cut anywhere: all that crosses from bar to bar is in `account` and
`positions`.
"""

from __future__ import annotations

import math
from typing import Any

from holdfast.services.backtester import _numba_cache
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

_numba_cache.place()

from numba import from_dtype, njit, types  # noqa: E402 - the cache's place is read when numba is imported

__all__ = ["TRADES_PER_BAR", "run_bars"]

# A symbol can leave by an order and, having entered again, be stopped in the same bar.
TRADES_PER_BAR = 2

_SIGNAL = int(ExitReason.SIGNAL)
_STOP_LOSS = int(ExitReason.STOP_LOSS)
_TAKE_PROFIT = int(ExitReason.TAKE_PROFIT)
_END_OF_DATA = int(ExitReason.END_OF_DATA)
_RUIN = int(ExitReason.RUIN)


@njit(error_model="numpy")
def _present(open_: float, high: float, low: float, close: float) -> bool:
    return not (math.isnan(open_) or math.isnan(high) or math.isnan(low) or math.isnan(close))


@njit(error_model="numpy")
def _enter(t: int, direction: int, price: float, spend: float, rule: Any, account: Any, position: Any) -> None:
    # A market order: it pays the slippage, above the open when buying and below it when selling.
    fill = price * (1.0 + direction * rule.slippage)
    # `spend` covers value and commission, so a purchase with all the cash there is needs no more than that.
    quantity = spend / (fill * (1.0 + rule.commission))
    value = quantity * fill
    commission = value * rule.commission
    slippage = quantity * abs(fill - price)
    account.cash = account.cash - direction * value - commission
    account.commission += commission
    account.slippage += slippage
    account.traded += value
    position.quantity = direction * quantity
    position.entry_price = fill
    position.entry_bar = t
    position.entry_commission = commission
    position.entry_slippage = slippage
    # Levels hang on the price that was paid, not on the open.
    position.stop = fill * (1.0 - direction * rule.stop_loss) if rule.stop_loss > 0.0 else 0.0
    position.target = fill * (1.0 + direction * rule.take_profit) if rule.take_profit > 0.0 else 0.0


@njit(error_model="numpy")
def _leave(
    s: int, t: int, price: float, slips: bool, reason: int, rule: Any, account: Any, position: Any, trades: Any
) -> None:
    direction = 1 if position.quantity > 0.0 else -1
    fill = price * (1.0 - direction * rule.slippage) if slips else price
    quantity = abs(position.quantity)
    value = quantity * fill
    commission = value * rule.commission
    slippage = quantity * abs(fill - price)
    account.cash = account.cash + direction * value - commission
    account.commission += commission
    account.slippage += slippage
    account.traded += value
    trade = trades[account.trades]
    trade.symbol = s
    trade.direction = direction
    trade.reason = reason
    trade.entry_bar = position.entry_bar
    trade.exit_bar = t
    trade.quantity = quantity
    trade.entry_price = position.entry_price
    trade.exit_price = fill
    trade.commission = position.entry_commission + commission
    trade.slippage = position.entry_slippage + slippage
    trade.profit = direction * (fill - position.entry_price) * quantity - trade.commission
    trade.gain = trade.profit / (quantity * position.entry_price)
    account.trades += 1
    position.quantity = 0.0
    position.entry_price = 0.0
    position.entry_bar = NEVER
    position.entry_commission = 0.0
    position.entry_slippage = 0.0
    position.stop = 0.0
    position.target = 0.0


@njit(error_model="numpy")
def _protect(
    s: int, t: int, open_: float, high: float, low: float, rule: Any, account: Any, position: Any, trades: Any
) -> None:
    """Stop loss and take profit of one open position inside one bar."""
    direction = 1 if position.quantity > 0.0 else -1
    # Mirrored for a short, so that "low" is the side that hurts and comparisons read as for a long.
    worst = low if direction == 1 else high
    best = high if direction == 1 else low
    has_stop = position.stop > 0.0
    has_target = position.target > 0.0
    if has_stop and direction * open_ <= direction * position.stop:
        # The market opened beyond the stop: nobody traded at the stop, so it fills at the open.
        _leave(s, t, open_, True, _STOP_LOSS, rule, account, position, trades)
    elif has_target and direction * open_ >= direction * position.target:
        # The open comes before the rest of the bar, so here the target is certain; a limit order gets the better price.
        _leave(s, t, open_, False, _TAKE_PROFIT, rule, account, position, trades)
    elif has_stop and direction * worst <= direction * position.stop:
        # Also where the bar reached the target too: a bar does not tell which came first, so the worse is assumed.
        _leave(s, t, position.stop, True, _STOP_LOSS, rule, account, position, trades)
    elif has_target and direction * best >= direction * position.target:
        # A limit order fills at its price or not at all: no slippage.
        _leave(s, t, position.target, False, _TAKE_PROFIT, rule, account, position, trades)


_PRICES = types.Array(types.float64, 2, "C", readonly=True)
_SIGNATURE = types.void(
    types.int64,
    types.int64,
    _PRICES,
    _PRICES,
    _PRICES,
    _PRICES,
    types.Array(types.int8, 2, "C", readonly=True),
    types.Array(from_dtype(RULES), 1, "C", readonly=True),
    from_dtype(ACCOUNT)[::1],
    from_dtype(POSITION)[::1],
    from_dtype(TRADE)[::1],
    types.float64[::1],
    types.float64[::1],
    types.float64[:, ::1],
)


@njit(_SIGNATURE, cache=True, nogil=True, error_model="numpy")
def run_bars(
    start: int,
    stop: int,
    open_: Any,
    high: Any,
    low: Any,
    close: Any,
    signals: Any,
    rules: Any,
    accounts: Any,
    positions: Any,
    trades: Any,
    equity: Any,
    cash: Any,
    quantity: Any,
) -> None:
    """Trades bars [start, stop).

    `open_`, `high`, `low`, `close`: float64 (bars, symbols). `signals`: int8 (bars, symbols), SHORT, FLAT, LONG or
    KEEP. `rules`, `accounts`: one RULES, one ACCOUNT record. `positions`: POSITION (symbols,). `trades`: TRADE, with
    room for TRADES_PER_BAR x (stop - start) x symbols more. `equity`, `cash`: float64 (bars,) and `quantity`: float64
    (bars, symbols), written at [start, stop) only: as of each close, in account currency and in units of the symbol.
    """
    bars, symbols = close.shape
    rule = rules[0]
    account = accounts[0]
    for t in range(start, stop):
        entries = False
        for s in range(symbols):
            position = positions[s]
            # An order of a symbol without a bar here waits for that symbol's next open.
            if position.pending == KEEP or not _present(open_[t, s], high[t, s], low[t, s], close[t, s]):
                continue
            if position.quantity != 0.0:
                _leave(s, t, open_[t, s], True, _SIGNAL, rule, account, position, trades)
            if position.pending == FLAT:
                position.pending = KEEP
            else:
                entries = True
        if entries:
            # Sized by the account's value at this open: the decision is the last close's, the amount is the fill's.
            value = account.cash
            gross = 0.0
            for s in range(symbols):
                position = positions[s]
                if position.quantity != 0.0:
                    here = _present(open_[t, s], high[t, s], low[t, s], close[t, s])
                    mark = open_[t, s] if here else position.last_close
                    value += position.quantity * mark
                    gross += abs(position.quantity) * mark
            budget = rule.fraction * value
            # No leverage: at a fill, longs and shorts together are worth no more than the account. Falling prices may
            # later push a short beyond that; only ruin ends it.
            power = value - gross
            for s in range(symbols):
                position = positions[s]
                if position.pending == KEEP or not _present(open_[t, s], high[t, s], low[t, s], close[t, s]):
                    continue
                spend = min(power, budget)
                if spend > 0.0:
                    _enter(t, position.pending, open_[t, s], spend, rule, account, position)
                    power -= spend
                else:
                    account.rejected += 1
                position.pending = KEEP
        for s in range(symbols):
            position = positions[s]
            if _present(open_[t, s], high[t, s], low[t, s], close[t, s]):
                # A position entered at this open lives through this bar too.
                if position.quantity != 0.0:
                    _protect(s, t, open_[t, s], high[t, s], low[t, s], rule, account, position, trades)
                position.last_close = close[t, s]
        value = account.cash
        for s in range(symbols):
            if positions[s].quantity != 0.0:
                value += positions[s].quantity * positions[s].last_close
        last = t == bars - 1
        if last or (value <= 0.0 and account.ruined == 0):
            # The forced end, and ruin, which only shorts can bring: everything goes at the last close known.
            reason = _END_OF_DATA if last else _RUIN
            for s in range(symbols):
                position = positions[s]
                if position.quantity != 0.0:
                    _leave(s, t, position.last_close, True, reason, rule, account, position, trades)
                position.pending = KEEP
            value = account.cash
            if not last:
                account.ruined = 1
        elif account.ruined == 0:
            for s in range(symbols):
                position = positions[s]
                signal = signals[t, s]
                if signal == KEEP or not _present(open_[t, s], high[t, s], low[t, s], close[t, s]):
                    continue
                held = FLAT
                if position.quantity > 0.0:
                    held = LONG
                elif position.quantity < 0.0:
                    held = SHORT
                # Already there: no adding to a position, and nothing that would restart the separation.
                if signal == held:
                    continue
                if position.last_signal_bar != NEVER and t - position.last_signal_bar < rule.separation:
                    continue
                position.pending = signal
                position.last_signal_bar = t
        equity[t] = value
        cash[t] = account.cash
        for s in range(symbols):
            quantity[t, s] = positions[s].quantity
        if value > account.peak:
            account.peak = value
        fall = 1.0 - value / account.peak
        if fall > account.max_drawdown:
            account.max_drawdown = fall
    account.bar = stop
