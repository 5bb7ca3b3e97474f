"""Draws: a backtest as price with trades, equity beside buy-and-hold, and drawdown; a training as its curves.

Uses matplotlib's figures directly, without pyplot: no window, no global state. Reads no file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import dates
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from holdfast.report.metrics import HEADLINES, label, written
from holdfast.report.results import BacktestSeries, Trades

__all__ = ["backtest", "training"]

Array = np.ndarray[Any, Any]

INK, SOFT, GRID = "#1f2933", "#7b8794", "#e4e7eb"
STRATEGY, BENCHMARK, GAIN, LOSS = "#1f6feb", "#9aa5b1", "#1a7f37", "#cf222e"
SEVERAL = ("#1f6feb", "#bf5af2", "#e3742f", "#0b7285", "#c2255c", "#5c7c2e")
WIDTH, DPI = 12.0, 150
# A picture has no more columns than this; the markers of more trades would hide the price.
MOST_MARKERS = 1500


def backtest(
    series: BacktestSeries,
    *,
    title: str,
    subtitle: str,
    metrics: Mapping[str, float],
    benchmark: Mapping[str, float],
) -> Figure:
    """Three panels over one time axis, the headline numbers above."""
    figure = _figure(height=10.0)
    price, equity, drawdown = figure.subplots(
        3, 1, sharex=True, gridspec_kw={"height_ratios": [3.0, 2.4, 1.2], "hspace": 0.17}
    )
    figure.subplots_adjust(left=0.075, right=0.965, top=0.815, bottom=0.05)
    _heading(figure, title, f"{_span(series.time)}   ·   {subtitle}")
    _headlines(figure, metrics, benchmark)
    time = _days(series.time)

    several = len(series.closes) > 1
    for number, (symbol, close) in enumerate(series.closes.items()):
        # Prices of several symbols are only comparable as multiples of where each began.
        scale = 100.0 / _first(close) if several else 1.0
        color = SEVERAL[number % len(SEVERAL)] if several else INK
        price.plot(time, close * scale, color=color, linewidth=0.9, label=symbol if several else None)
        _draw_trades(price, series.trades[symbol], scale, named=number == 0)
    count = sum(len(trades.profit) for trades in series.trades.values())
    symbols = f"{len(series.closes)} symbols (first close = 100)" if several else next(iter(series.closes), "no symbol")
    _name(price, f"{symbols} and {count:,} trades")
    for handle in _legend(price):
        handle.set_facecolor(SOFT)

    equity.plot(time, series.benchmark, color=BENCHMARK, linewidth=1.1, label="buy and hold")
    equity.plot(time, series.equity, color=STRATEGY, linewidth=1.4, label="strategy")
    equity.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    _name(equity, "equity")
    _legend(equity)

    held = _drawdown(series.benchmark)
    drawdown.plot(time, -held, color=BENCHMARK, linewidth=0.8)
    drawdown.fill_between(time, -series.drawdown, 0.0, color=LOSS, alpha=0.25, linewidth=0)
    drawdown.plot(time, -series.drawdown, color=LOSS, linewidth=0.8)
    drawdown.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    _name(drawdown, "drawdown")

    locator = dates.AutoDateLocator()  # type: ignore[no-untyped-call]
    drawdown.xaxis.set_major_locator(locator)
    drawdown.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    drawdown.set_xlim(time[0], time[-1])
    return figure


def training(history: Mapping[str, Array], *, title: str, subtitle: str, best_epoch: int) -> Figure:
    """The losses, and below them every other column of the history; a line marks the best epoch."""
    losses = [name for name in history if name.endswith("loss")]
    # What the network achieves before how it was taught.
    others = sorted(
        (name for name in history if name not in losses and name != "epoch"), key=lambda name: "rate" in name
    )
    panels = 1 + len(others)
    figure = _figure(height=3.2 + 2.0 * panels)
    grid = figure.subplots(
        panels,
        1,
        sharex=True,
        squeeze=False,
        gridspec_kw={"height_ratios": [2.0, *[1.0] * len(others)], "hspace": 0.24},
    )
    axes: list[Axes] = list(grid[:, 0])
    figure.subplots_adjust(left=0.085, right=0.965, top=1.0 - 1.2 / figure.get_figheight(), bottom=0.08)
    epochs = len(next(iter(history.values()))) if history else 0
    _heading(figure, title, f"{epochs} epochs, the best was epoch {best_epoch}   ·   {subtitle}")
    number = np.arange(1, epochs + 1)
    for color, name in zip((BENCHMARK, STRATEGY, *SEVERAL[1:]), losses, strict=False):
        axes[0].plot(number, history[name], color=color, linewidth=1.5, label=name.replace("_", " "))
    _name(axes[0], "loss")
    if losses:
        _legend(axes[0], "upper right")
    for panel, name in zip(axes[1:], others, strict=True):
        panel.plot(number, history[name], color=INK, linewidth=1.2)
        _name(panel, name.replace("_", " "))
    for panel in axes:
        if best_epoch:
            panel.axvline(best_epoch, color=GAIN, linewidth=1.0, linestyle=(0, (4, 3)))
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[-1].set_xlabel("epoch", color=SOFT, fontsize=9)
    return figure


def _figure(height: float) -> Figure:
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _heading(figure: Figure, title: str, subtitle: str) -> None:
    height = figure.get_figheight()
    figure.text(0.075, 1.0 - 0.38 / height, title, fontsize=16, fontweight="bold", color=INK, va="center")
    figure.text(0.075, 1.0 - 0.66 / height, subtitle, fontsize=9.5, color=SOFT, va="center")


def _headlines(figure: Figure, metrics: Mapping[str, float], benchmark: Mapping[str, float]) -> None:
    height = figure.get_figheight()
    step = 0.89 / len(HEADLINES)
    for number, name in enumerate(HEADLINES):
        left = 0.075 + number * step
        figure.text(left, 1.0 - 0.98 / height, label(name), fontsize=8.5, color=SOFT, va="center")
        figure.text(left, 1.0 - 1.22 / height, written(name, metrics.get(name)), fontsize=14, color=INK, va="center")
        if name in benchmark and name not in {"win_rate", "trades"}:
            held = f"buy and hold {written(name, benchmark[name])}"
            figure.text(left, 1.0 - 1.46 / height, held, fontsize=8.5, color=SOFT, va="center")


def _draw_trades(axes: Axes, trades: Trades, scale: float, *, named: bool) -> None:
    """A line from each entry to its exit, green for a profit and red for a loss; triangles where few enough."""
    if not len(trades.profit):
        return
    begin, end = _days(trades.entry_time), _days(trades.exit_time)
    entry, leave = trades.entry_price * scale, trades.exit_price * scale
    points = np.stack([np.column_stack([begin, entry]), np.column_stack([end, leave])], axis=1)
    colors = np.where(trades.profit > 0.0, GAIN, LOSS)
    axes.add_collection(LineCollection(list(points), colors=list(colors), linewidths=1.6, alpha=0.75, zorder=3))
    if len(colors) > MOST_MARKERS:
        return
    for chosen, marker, name in ((trades.long, "^", "long entry"), (~trades.long, "v", "short entry")):
        if chosen.any():
            axes.scatter(
                begin[chosen],
                entry[chosen],
                marker=marker,
                s=26,
                c=list(colors[chosen]),
                edgecolors="white",
                linewidths=0.5,
                zorder=4,
                label=name if named else None,
            )


def _legend(axes: Axes, where: Any = "upper left") -> list[Any]:
    if not axes.get_legend_handles_labels()[0]:
        return []
    legend = axes.legend(loc=where, frameon=False, fontsize=8.5, labelcolor=SOFT)
    return [handle for handle in legend.legend_handles if handle is not None and hasattr(handle, "set_facecolor")]


def _name(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=10, color=INK, fontweight="bold", pad=4)
    axes.grid(visible=True, color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
    axes.tick_params(colors=SOFT, labelsize=8.5, length=0)
    axes.margins(x=0.01, y=0.06)


def _days(time: Array) -> Array:
    """matplotlib's own time: days since 1970, float64."""
    return np.asarray(dates.date2num(time))  # type: ignore[no-untyped-call]


def _span(time: Array) -> str:
    return f"{str(time[0])[:10]} to {str(time[-1])[:10]}"


def _first(close: Array) -> float:
    known = close[np.isfinite(close)]
    return float(known[0]) if len(known) else 1.0


def _drawdown(equity: Array) -> Array:
    """1 - E_t / max(E_0 … E_t), as the result's own column."""
    return 1.0 - equity / np.maximum.accumulate(equity)
