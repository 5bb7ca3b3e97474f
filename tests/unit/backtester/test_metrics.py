"""Metrics against values worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.services.backtester import metrics
from holdfast.services.backtester.portfolio import ACCOUNT, TRADE

DAY = metrics.DAY
Array = np.ndarray[Any, Any]


def daily(bars: int, *, days: int = 1) -> Array:
    return np.arange(bars, dtype=np.int64) * days * DAY


def test_the_frequency_is_counted_not_assumed() -> None:
    assert metrics.bars_per_year(daily(366)) == pytest.approx(365.25)
    assert metrics.bars_per_year(daily(53, days=7)) == pytest.approx(365.25 / 7)
    # Five sessions a week: weekends are in the span but not in the count.
    weekdays = np.array([day for day in range(7 * 520) if day % 7 < 5], np.int64) * DAY
    assert metrics.bars_per_year(weekdays) == pytest.approx(260.9, abs=0.2)
    assert metrics.bars_per_year(daily(1)) is None


def test_a_doubling_in_two_years() -> None:
    time = np.array([0, int(metrics.YEAR), int(2 * metrics.YEAR)], np.int64)
    found = metrics.equity_metrics(time, np.array([100.0, 50.0, 200.0]), 100.0)
    assert found["total_return"] == 1.0
    assert found["years"] == 2.0
    assert found["bars_per_year"] == 1.0
    assert found["cagr"] == pytest.approx(math.sqrt(2.0) - 1.0)
    assert found["max_drawdown"] == 0.5
    assert found["calmar"] == pytest.approx((math.sqrt(2.0) - 1.0) / 0.5)
    # Returns -0.5 and 3: mean 1.25, sample deviation 3.5 / sqrt(2), downside sqrt(0.25 / 2).
    assert found["annual_volatility"] == pytest.approx(3.5 / math.sqrt(2.0))
    assert found["sharpe"] == pytest.approx(1.25 / (3.5 / math.sqrt(2.0)))
    assert found["sortino"] == pytest.approx(1.25 / math.sqrt(0.125))
    assert found["max_drawdown_bars"] == 1.0
    assert found["max_drawdown_days"] == pytest.approx(2 * 365.25)


def test_drawdown_counts_the_initial_cash_as_a_peak() -> None:
    assert metrics.drawdowns(np.array([90.0, 110.0, 55.0]), 100.0).tolist() == [pytest.approx(0.1), 0.0, 0.5]


def test_the_longest_drawdown_may_be_the_one_that_never_ended() -> None:
    fall = np.array([0.0, 0.1, 0.0, 0.1, 0.2, 0.3])
    assert metrics.longest_drawdown(daily(6), fall) == (3, 3.0)
    assert metrics.longest_drawdown(daily(2), np.zeros(2)) == (0, 0.0)


def test_what_is_not_defined_is_left_out() -> None:
    flat = metrics.equity_metrics(daily(10), np.full(10, 100.0), 100.0)
    assert flat["total_return"] == flat["cagr"] == flat["annual_volatility"] == flat["max_drawdown"] == 0.0
    assert not {"sharpe", "sortino", "calmar"} & flat.keys()
    single = metrics.equity_metrics(daily(1), np.array([100.0]), 100.0)
    assert not {"cagr", "sharpe", "annual_volatility", "bars_per_year"} & single.keys()
    ruined = metrics.equity_metrics(daily(3), np.array([100.0, -5.0, -5.0]), 100.0)
    assert "cagr" not in ruined
    assert ruined["total_return"] == pytest.approx(-1.05)


def test_trades_and_costs() -> None:
    trades = np.zeros(4, TRADE)
    trades["profit"] = [30.0, -10.0, 10.0, 0.0]
    trades["gain"] = [0.3, -0.1, 0.1, 0.0]
    trades["direction"] = [1, -1, 1, 1]
    trades["entry_bar"] = [0, 1, 2, 3]
    trades["exit_bar"] = [1, 3, 3, 3]
    account = np.zeros(1, ACCOUNT)
    account["commission"], account["slippage"], account["traded"] = 3.0, 2.0, 400.0
    quantity = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, -1.0], [0.0, 0.0]])
    time = np.array([0, 1, 2, 3], np.int64) * int(metrics.YEAR)
    found = metrics.trade_metrics(time, np.full(4, 100.0), quantity, trades, account[0])
    assert (found["trades"], found["winning_trades"], found["losing_trades"]) == (4.0, 2.0, 1.0)
    assert (found["long_trades"], found["short_trades"]) == (3.0, 1.0)
    assert found["win_rate"] == 0.5
    assert found["profit_factor"] == 4.0
    assert found["average_trade"] == pytest.approx(0.075)
    assert [found["average_win"], found["average_loss"]] == pytest.approx([0.2, -0.1])
    assert (found["best_trade"], found["worst_trade"]) == (0.3, -0.1)
    assert found["average_bars_held"] == 1.0
    assert found["exposure"] == 0.5
    assert found["costs_paid"] == 5.0
    assert found["turnover"] == pytest.approx(400.0 / 100.0 / 3.0)


def test_no_trades_no_averages() -> None:
    account = np.zeros(1, ACCOUNT)[0]
    found = metrics.trade_metrics(daily(3), np.full(3, 100.0), np.zeros((3, 1)), np.zeros(0, TRADE), account)
    assert found["trades"] == found["exposure"] == 0.0
    assert not {"win_rate", "profit_factor", "average_trade", "best_trade", "average_bars_held"} & found.keys()


@given(
    st.lists(st.floats(-1e9, 1e9, allow_nan=False, allow_subnormal=False), min_size=1, max_size=50),
    st.integers(1, 10**15),
)
def test_every_metric_is_finite(equity: list[float], step: int) -> None:
    time = np.arange(len(equity), dtype=np.int64) * step
    found = metrics.equity_metrics(time, np.array(equity), 100.0)
    assert all(math.isfinite(value) for value in found.values())
