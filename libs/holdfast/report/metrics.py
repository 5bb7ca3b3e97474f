"""How metrics are named and written for people, and in what order. Pure; computes nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping

__all__ = ["HEADLINES", "comparison", "label", "written"]

# Name, label, and how it is written: % of one, plain ratio, currency, count, days.
_KNOWN: dict[str, tuple[str, str]] = {
    "total_return": ("total return", "%"),
    "cagr": ("CAGR", "%"),
    "annual_volatility": ("volatility per year", "%"),
    "sharpe": ("Sharpe ratio", "ratio"),
    "sortino": ("Sortino ratio", "ratio"),
    "max_drawdown": ("max drawdown", "%"),
    "max_drawdown_days": ("longest drawdown, days", "count"),
    "calmar": ("Calmar ratio", "ratio"),
    "final_equity": ("final equity", "money"),
    "trades": ("trades", "count"),
    "win_rate": ("winning trades", "%"),
    "profit_factor": ("profit factor", "ratio"),
    "average_trade": ("average trade", "%"),
    "best_trade": ("best trade", "%"),
    "worst_trade": ("worst trade", "%"),
    "average_bars_held": ("bars held, average", "ratio"),
    "exposure": ("time in the market", "%"),
    "costs_paid": ("costs paid", "money"),
}

HEADLINES = ("total_return", "cagr", "sharpe", "max_drawdown", "win_rate", "trades")


def comparison(metrics: Mapping[str, float], benchmark: Mapping[str, float]) -> list[list[str]]:
    """Rows of label, strategy, buy-and-hold: those a reader wants, in reading order. A missing one is a dash."""
    return [
        [label(name), written(name, metrics.get(name)), written(name, benchmark.get(name))]
        for name in _KNOWN
        if name in metrics or name in benchmark
    ]


def label(name: str) -> str:
    """The metric's name for people."""
    return _KNOWN[name][0] if name in _KNOWN else name.replace("_", " ")


def written(name: str, value: float | None) -> str:
    """The metric's value for people; a dash for one that is not defined."""
    if value is None or math.isnan(value):
        return "–"
    match _KNOWN.get(name, ("", "ratio"))[1]:
        case "%":
            return f"{value:.1%}" if abs(value) >= 0.1 or value == 0 else f"{value:.2%}"
        case "count":
            return f"{value:,.0f}"
        case "money":
            return f"{value:,.2f}"
        case _:
            return f"{value:.2f}"
