"""What a backtest was worth: pure functions of equity and trades. Owns formulae; reads no clock and no file.

Notation: E_0 … E_n-1 is equity at the closes, r_t = E_t / E_t-1 - 1 the n - 1 returns between them, and N the bars
per year. N is counted, not assumed: (n - 1) divided by the years between the first and the last bar, so daily, hourly
and minute bars, and markets with their own hours and holidays, are all annualised by what they are. A year has 365.25
days. The risk-free rate is 0.

A metric that is not defined (no trades, no variance, no losing trade) is left out: every value is finite. A value
whose numerator and denominator are both rounding errors would be noise, so returns that are all equal have no Sharpe
ratio.

Sources: Sharpe, "The Sharpe Ratio", Journal of Portfolio Management 21(1), 1994; Sortino and van der Meer, "Downside
risk", Journal of Portfolio Management 17(4), 1991; Young, "Calmar ratio: a smoother tool", Futures 20(1), 1991;
Magdon-Ismail and Atiya, "Maximum drawdown", Risk 17(10), 2004.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

__all__ = ["bars_per_year", "drawdowns", "equity_metrics", "longest_drawdown", "period_returns", "trade_metrics"]

Array = np.ndarray[Any, Any]

DAY: Final = 86_400 * 1_000_000_000  # nanoseconds
YEAR: Final = 365.25 * DAY  # nanoseconds
_LARGEST_EXPONENT: Final = 700.0


def years(time: Array) -> float:
    """Years from the first to the last bar; `time` int64 ns (bars,)."""
    return float(int(time[-1]) - int(time[0])) / YEAR


def bars_per_year(time: Array) -> float | None:
    """Bars that a year really has on this axis; None for fewer than two bars."""
    span = years(time)
    return (len(time) - 1) / span if span > 0.0 else None


def period_returns(equity: Array) -> Array:
    """r_t, float64 (bars - 1,). After ruin (equity not positive) nothing is earned any more: 0."""
    before, after = equity[:-1], equity[1:]
    alive = before > 0.0
    return np.where(alive, after / np.where(alive, before, 1.0) - 1.0, 0.0)


def drawdowns(equity: Array, initial_cash: float) -> Array:
    """How far below its highest value so far the account was at each close: 1 - E_t / max(E_0 … E_t), (bars,).

    The initial cash counts as a value before the first close.
    """
    peak = np.maximum.accumulate(np.maximum(equity, initial_cash))
    return 1.0 - equity / peak


def longest_drawdown(time: Array, fall: Array) -> tuple[int, float]:
    """The longest stretch below a former peak, recovered or not: in bars, and in days from the peak to its end."""
    below = fall > 0.0
    # Start and end of each stretch below the peak; a stretch is open at the end where it never recovered.
    edges = np.diff(np.concatenate(([False], below, [False])).astype(np.int8))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    if not len(starts):
        return 0, 0.0
    longest = int(np.argmax(ends - starts))
    first, last = max(int(starts[longest]) - 1, 0), min(int(ends[longest]), len(time) - 1)
    return int(ends[longest] - starts[longest]), (int(time[last]) - int(time[first])) / DAY


def equity_metrics(time: Array, equity: Array, initial_cash: float) -> dict[str, float]:
    """Metrics of the equity series alone.

    `time` int64 ns (bars,), `equity` float64 (bars,).

    - total_return: E_n-1 / initial cash - 1
    - cagr: (E_n-1 / initial cash)^(1 / years) - 1
    - annual_volatility: sample standard deviation of r x sqrt(N)
    - sharpe: mean(r) / sample standard deviation of r x sqrt(N)
    - sortino: mean(r) / sqrt(mean(min(r, 0)^2)) x sqrt(N), target 0, over all bars
    - max_drawdown: the largest of `drawdowns`; max_drawdown_bars, max_drawdown_days: `longest_drawdown`
    - calmar: cagr / max_drawdown, over the whole span
    """
    found: dict[str, float | None] = {
        "bars": float(len(equity)),
        "years": years(time),
        "bars_per_year": bars_per_year(time),
        "initial_cash": initial_cash,
        "final_equity": float(equity[-1]),
        "total_return": float(equity[-1]) / initial_cash - 1.0,
    }
    fall = drawdowns(equity, initial_cash)
    deepest = float(fall.max())
    found["max_drawdown"] = deepest
    longest, days = longest_drawdown(time, fall)
    found["max_drawdown_bars"], found["max_drawdown_days"] = float(longest), days
    frequency, span = found["bars_per_year"], years(time)
    if frequency is not None:
        if equity[-1] > 0.0:
            growth = math.log(float(equity[-1]) / initial_cash) / span
            # A few minute bars annualise beyond what a double holds; such a number says nothing, so there is none.
            if growth < _LARGEST_EXPONENT:
                found["cagr"] = cagr = math.expm1(growth)
                found["calmar"] = cagr / deepest if deepest > 0.0 else None
        # Absurd returns may overflow when squared; `_finite` leaves out what comes of them.
        with np.errstate(over="ignore", invalid="ignore"):
            found |= _ratios(period_returns(equity), math.sqrt(frequency))
    return _finite(found)


def _ratios(returns: Array, scale: float) -> dict[str, float]:
    found: dict[str, float] = {}
    mean = float(returns.mean())
    if len(returns) > 1:
        deviation = float(returns.std(ddof=1))
        found["annual_volatility"] = deviation * scale
        if deviation > 0.0 and returns.min() < returns.max():
            found["sharpe"] = mean / deviation * scale
    downside = math.sqrt(float(np.square(np.minimum(returns, 0.0)).mean()))
    if downside > 0.0:
        found["sortino"] = mean / downside * scale
    return found


def trade_metrics(time: Array, equity: Array, quantity: Array, trades: Array, account: Any) -> dict[str, float]:
    """Metrics of the trades and of what they cost.

    `quantity` float64 (bars, symbols), `trades` TRADE (trades,), `account` the final ACCOUNT record.

    - trades, winning_trades, losing_trades: counts; profit is after commission and slippage
    - win_rate: winning / all; profit_factor: sum of profits / sum of losses
    - average_trade, best_trade, worst_trade: of gain = profit / value at entry; average_profit in currency
    - average_win, average_loss: mean gain of the winning and of the losing ones
    - average_bars_held: from the fill's bar to the exit's
    - exposure: share of closes with any position
    - turnover: value of all fills / mean equity / years
    - commission_paid, slippage_paid, costs_paid: in currency; rejected_entries: orders without buying power
    """
    profit, gain = trades["profit"], trades["gain"]
    wins, losses = profit > 0.0, profit < 0.0
    count = len(trades)
    lost = -float(profit[losses].sum())
    mean_equity = float(equity.mean())
    span = years(time)
    found: dict[str, float | None] = {
        "trades": float(count),
        "winning_trades": float(wins.sum()),
        "losing_trades": float(losses.sum()),
        "long_trades": float((trades["direction"] > 0).sum()),
        "short_trades": float((trades["direction"] < 0).sum()),
        "exposure": float((quantity != 0.0).any(axis=1).mean()),
        "commission_paid": float(account["commission"]),
        "slippage_paid": float(account["slippage"]),
        "costs_paid": float(account["commission"]) + float(account["slippage"]),
        "rejected_entries": float(account["rejected"]),
        "win_rate": float(wins.mean()) if count else None,
        "profit_factor": float(profit[wins].sum()) / lost if lost > 0.0 else None,
        "average_trade": float(gain.mean()) if count else None,
        "average_profit": float(profit.mean()) if count else None,
        "best_trade": float(gain.max()) if count else None,
        "worst_trade": float(gain.min()) if count else None,
        "average_win": float(gain[wins].mean()) if wins.any() else None,
        "average_loss": float(gain[losses].mean()) if losses.any() else None,
        "average_bars_held": float((trades["exit_bar"] - trades["entry_bar"]).mean()) if count else None,
        "turnover": float(account["traded"]) / mean_equity / span if mean_equity > 0.0 and span > 0.0 else None,
    }
    return _finite(found)


def _finite(found: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in found.items() if value is not None and math.isfinite(value)}
