"""The fill assumptions, one by one, with numbers worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from holdfast.services.backtester.portfolio import FLAT, KEEP, LONG, SHORT, ExitReason
from holdfast.services.backtester.state import KernelState, Prices, make_rules

CASH = 1000.0
Bar = tuple[float, float, float, float]  # open, high, low, close
MISSING: Bar = (np.nan, np.nan, np.nan, np.nan)


def flat(price: float) -> Bar:
    return price, price, price, price


def trade(
    *symbols: tuple[Sequence[Bar], Sequence[int]],
    fraction: float = 1.0,
    commission: float = 0.0,
    slippage: float = 0.0,
    stop_loss: float = 0.0,
    take_profit: float = 0.0,
    separation: int = 0,
) -> KernelState:
    """Trades the given bars; each symbol comes with its decisions."""
    prices = np.array([bars for bars, _ in symbols]).transpose(1, 0, 2)
    signals = np.array([decided for _, decided in symbols], np.int8).T
    state = KernelState.fresh(np.arange(len(prices)), len(symbols), CASH)
    rules = make_rules(
        fraction=fraction,
        commission=commission,
        slippage=slippage,
        stop_loss=stop_loss,
        take_profit=take_profit,
        separation=separation,
    )
    columns = Prices(*(np.ascontiguousarray(prices[:, :, field]) for field in range(4)))
    state.advance(len(prices), columns, np.ascontiguousarray(signals), rules)
    return state


def only_trade(state: KernelState) -> Any:
    assert len(state.trades) == 1
    return state.trades[0]


def test_a_decision_fills_at_the_next_open_never_at_its_own_close() -> None:
    bars = [flat(10.0), (20.0, 25.0, 18.0, 25.0), flat(25.0)]
    found = only_trade(trade((bars, [LONG, KEEP, KEEP])))
    assert (found["entry_bar"], found["entry_price"], found["quantity"]) == (1, 20.0, 50.0)
    assert (found["exit_bar"], found["exit_price"], found["reason"]) == (2, 25.0, ExitReason.END_OF_DATA)
    assert found["profit"] == 250.0


def test_a_decision_on_the_last_close_fills_nowhere() -> None:
    state = trade(([flat(10.0), flat(11.0)], [KEEP, LONG]))
    assert len(state.trades) == 0
    assert state.equity.tolist() == [CASH, CASH]
    assert state.positions["pending"].tolist() == [KEEP]


def test_costs_are_paid_at_both_ends() -> None:
    state = trade(
        ([flat(100.0), flat(100.0), flat(100.0)], [LONG, KEEP, KEEP]), fraction=0.5, commission=0.01, slippage=0.02
    )
    found = only_trade(state)
    entry = 100.0 * (1.0 + 0.02)
    quantity = 500.0 / (entry * (1.0 + 0.01))
    exit_ = 100.0 * (1.0 - 0.02)
    assert found["entry_price"] == entry
    assert found["exit_price"] == exit_
    assert found["quantity"] == quantity
    assert found["commission"] == pytest.approx(quantity * (entry + exit_) * 0.01)
    assert found["slippage"] == pytest.approx(quantity * 4.0)
    assert state.cash[1] == pytest.approx(CASH - 500.0)
    assert state.equity[-1] == pytest.approx(CASH + found["profit"])


def test_a_turn_leaves_and_enters_at_one_open() -> None:
    state = trade(([flat(10.0), flat(10.0), flat(20.0), flat(10.0)], [LONG, SHORT, KEEP, KEEP]))
    assert state.trades["direction"].tolist() == [LONG, SHORT]
    assert state.trades["exit_bar"].tolist() == [2, 3]
    assert state.trades["profit"].tolist() == [1000.0, 1000.0]
    assert state.equity.tolist() == [1000.0, 1000.0, 2000.0, 3000.0]


def test_flat_leaves_and_waits() -> None:
    state = trade(([flat(10.0), flat(10.0), flat(11.0), flat(50.0)], [LONG, FLAT, FLAT, KEEP]))
    assert only_trade(state)["reason"] == ExitReason.SIGNAL
    assert state.equity.tolist() == [1000.0, 1000.0, 1100.0, 1100.0]


def test_the_same_direction_adds_nothing() -> None:
    state = trade(([flat(10.0), flat(10.0), flat(5.0), flat(10.0)], [LONG, LONG, LONG, LONG]))
    assert only_trade(state)["quantity"] == 100.0


@pytest.mark.parametrize(
    ("bar", "price", "reason"),
    [
        ((100.0, 101.0, 89.0, 95.0), 90.0, ExitReason.STOP_LOSS),
        ((100.0, 112.0, 99.0, 95.0), 110.0, ExitReason.TAKE_PROFIT),
        # Both inside one bar: the stop, whatever the bar's shape suggests.
        ((109.0, 112.0, 89.0, 111.0), 90.0, ExitReason.STOP_LOSS),
        # A gap through the stop fills at the open.
        ((80.0, 120.0, 70.0, 95.0), 80.0, ExitReason.STOP_LOSS),
        # A gap through the target fills at the better open, though the bar later reaches the stop.
        ((120.0, 125.0, 70.0, 95.0), 120.0, ExitReason.TAKE_PROFIT),
        # Touching is enough.
        ((100.0, 100.0, 90.0, 95.0), 90.0, ExitReason.STOP_LOSS),
    ],
)
def test_stop_and_target_of_a_long(bar: Bar, price: float, reason: ExitReason) -> None:
    state = trade(
        ([flat(100.0), flat(100.0), bar, flat(95.0)], [LONG, KEEP, KEEP, KEEP]), stop_loss=0.1, take_profit=0.1
    )
    found = only_trade(state)
    assert (found["exit_bar"], found["exit_price"], found["reason"]) == (2, pytest.approx(price), reason)


@pytest.mark.parametrize(
    ("bar", "price", "reason"),
    [
        ((100.0, 111.0, 99.0, 105.0), 110.0, ExitReason.STOP_LOSS),
        ((100.0, 101.0, 89.0, 95.0), 90.0, ExitReason.TAKE_PROFIT),
        ((100.0, 111.0, 89.0, 95.0), 110.0, ExitReason.STOP_LOSS),
        ((130.0, 140.0, 70.0, 95.0), 130.0, ExitReason.STOP_LOSS),
        ((80.0, 140.0, 70.0, 95.0), 80.0, ExitReason.TAKE_PROFIT),
    ],
)
def test_stop_and_target_of_a_short(bar: Bar, price: float, reason: ExitReason) -> None:
    state = trade(
        ([flat(100.0), flat(100.0), bar, flat(95.0)], [SHORT, KEEP, KEEP, KEEP]), stop_loss=0.1, take_profit=0.1
    )
    found = only_trade(state)
    assert (found["exit_price"], found["reason"]) == (pytest.approx(price), reason)


def test_touching_the_target_is_enough() -> None:
    bars = [flat(100.0), flat(100.0), (100.0, 125.0, 100.0, 100.0), flat(100.0)]
    assert only_trade(trade((bars, [LONG, KEEP, KEEP, KEEP]), take_profit=0.25))["exit_price"] == 125.0


def test_the_bar_of_the_entry_can_stop_it() -> None:
    state = trade(([flat(100.0), (100.0, 100.0, 80.0, 99.0), flat(99.0)], [LONG, KEEP, KEEP]), stop_loss=0.1)
    found = only_trade(state)
    assert (found["entry_bar"], found["exit_bar"], found["exit_price"]) == (1, 1, 90.0)


def test_a_stop_slips_and_a_target_does_not() -> None:
    bars = [flat(100.0), flat(100.0), (100.0, 200.0, 50.0, 100.0), flat(100.0)]
    stopped = only_trade(trade((bars, [LONG, KEEP, KEEP, KEEP]), stop_loss=0.1, slippage=0.01))
    assert stopped["exit_price"] == pytest.approx(101.0 * 0.9 * 0.99)
    taken = only_trade(trade((bars, [LONG, KEEP, KEEP, KEEP]), take_profit=0.1, slippage=0.01))
    assert taken["exit_price"] == pytest.approx(101.0 * 1.1)


def test_separation_counts_from_the_last_accepted_decision() -> None:
    bars = [flat(10.0)] * 8
    decided = [LONG, SHORT, SHORT, SHORT, LONG, LONG, LONG, LONG]
    state = trade((bars, decided), separation=3)
    # Accepted at bars 0, 3 and 6; filled one bar later.
    assert state.trades["entry_bar"].tolist() == [1, 4, 7]
    assert state.trades["direction"].tolist() == [LONG, SHORT, LONG]


def test_an_order_waits_for_its_symbols_next_bar() -> None:
    bars = [flat(10.0), MISSING, MISSING, flat(20.0), flat(30.0)]
    found = only_trade(trade((bars, [LONG, SHORT, SHORT, KEEP, KEEP])))
    assert (found["entry_bar"], found["entry_price"], found["direction"]) == (3, 20.0, LONG)


def test_a_missing_bar_is_marked_at_the_last_close_and_closed_there() -> None:
    bars = [flat(10.0), (10.0, 15.0, 10.0, 15.0), MISSING, MISSING]
    state = trade((bars, [LONG, KEEP, KEEP, KEEP]))
    assert state.equity.tolist() == [1000.0, 1500.0, 1500.0, 1500.0]
    assert only_trade(state)["exit_price"] == 15.0


def test_symbols_share_one_cash_account_in_column_order() -> None:
    bars = [flat(10.0), flat(10.0), flat(10.0)]
    decided = [LONG, KEEP, KEEP]
    state = trade((bars, decided), (bars, decided), (bars, decided), fraction=0.6)
    assert state.quantity[1].tolist() == [60.0, 40.0, 0.0]
    assert state.account[0]["rejected"] == 1
    assert state.cash[1] == 0.0


def test_what_a_sale_frees_buys_at_the_same_open() -> None:
    bars = [flat(10.0), flat(10.0), flat(10.0), flat(10.0)]
    state = trade((bars, [KEEP, LONG, KEEP, KEEP]), (bars, [LONG, FLAT, KEEP, KEEP]))
    assert state.quantity.tolist() == [[0.0, 0.0], [0.0, 100.0], [100.0, 0.0], [0.0, 0.0]]


def test_shorts_use_buying_power_too() -> None:
    bars = [flat(10.0), flat(10.0), flat(10.0)]
    state = trade((bars, [SHORT, KEEP, KEEP]), (bars, [LONG, KEEP, KEEP]))
    assert state.quantity[1].tolist() == [-100.0, 0.0]
    assert state.account[0]["rejected"] == 1


def test_ruin_ends_all_trading() -> None:
    bars = [flat(10.0), flat(10.0), flat(25.0), flat(10.0), flat(10.0)]
    state = trade((bars, [SHORT, KEEP, LONG, LONG, LONG]))
    assert only_trade(state)["reason"] == ExitReason.RUIN
    assert state.account[0]["ruined"] == 1
    assert state.equity.tolist() == [1000.0, 1000.0, -500.0, -500.0, -500.0]


def test_an_unfit_call_is_refused_before_any_memory_is_touched() -> None:
    state = KernelState.fresh(np.arange(4), 1, CASH)
    prices = Prices(*(np.ones((4, 1)) for _ in range(4)))
    rules = make_rules(fraction=1.0, commission=0.0, slippage=0.0, stop_loss=0.0, take_profit=0.0, separation=0)
    with pytest.raises(ValueError, match="from bar 0 to 5 of 4"):
        state.advance(5, prices, np.zeros((4, 1), np.int8), rules)
    with pytest.raises(ValueError, match="do not fit"):
        state.advance(4, prices, np.zeros((3, 1), np.int8), rules)
    assert state.bar == 0
