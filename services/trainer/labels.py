"""Turns bars into what a network shall learn. Pure functions over NumPy arrays; knows no spans, no tensors, no files.

Every label looks forward. `Labels.ends[t]` is the last bar that label t may have looked at, so that splits.py can keep
every window inside its span. Bars whose window is not complete at the end of the data have no label at all; keeping
those of them that happened to be decided early would over-represent the turbulent ones.

Prices are per bar: `close[t]` is the price of the decision; what follows it, from bar t+1 on, decides the label.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from holdfast.strategy.directions import DIRECTIONS, Direction

if TYPE_CHECKING:
    from holdfast.market import Bars
    from holdfast.strategy import training

__all__ = [
    "Labels",
    "build_labels",
    "forward_return",
    "return_classes",
    "rolling_volatility",
    "triple_barrier",
    "zigzag",
    "zigzag_pivots",
]

# What a classifier learns are classes, the numbers of its outputs.
_SHORT, _FLAT, _LONG = (direction.label for direction in DIRECTIONS)
_BLOCK_FLOATS = 4_000_000
_BARS_UNSEEN = 100  # of a horizon, between two looks: some seconds at a million bars


@dataclass(frozen=True, slots=True)
class Labels:
    """One label per bar.

    values: int64 classes, or float64 returns; 0 where there is none. Shape (bars,).
    ends: int64, index of the last bar the label looked at. Shape (bars,).
    known: bool, whether the bar has a label. Shape (bars,).
    """

    values: NDArray[np.int64] | NDArray[np.float64]
    ends: NDArray[np.int64]
    known: NDArray[np.bool_]


def build_labels(
    config: training.Labels, bars: Bars, *, classification: bool, look: Callable[[], None] = lambda: None
) -> Labels:
    """The labels a strategy asks for: classes (Direction.label), or returns for a regression.

    `look` is called now and then and may raise to stop: a long horizon or window over many bars takes minutes.
    """
    if config.type == "triple_barrier":
        unit = (
            rolling_volatility(bars.close, config.volatility_window, look)
            if config.unit == "volatility"
            else np.ones(len(bars.close))
        )
        return triple_barrier(
            bars.high,
            bars.low,
            bars.close,
            horizon=config.horizon,
            upper=config.upper * unit,
            lower=config.lower * unit,
            look=look,
        )
    if config.type == "zigzag":
        return zigzag(bars.close, threshold=config.threshold)
    returns = forward_return(bars.close, horizon=config.horizon)
    return return_classes(returns, threshold=config.threshold) if classification else returns


def triple_barrier(
    high: NDArray[np.float64],
    low: NDArray[np.float64],
    close: NDArray[np.float64],
    *,
    horizon: int,
    upper: NDArray[np.float64],
    lower: NDArray[np.float64],
    look: Callable[[], None] = lambda: None,
) -> Labels:
    """Which barrier is touched first: LONG, SHORT, or FLAT when neither is within `horizon` bars.

    Source: M. López de Prado, Advances in Financial Machine Learning (2018), section 3.4.
    `upper` and `lower` are the barriers' distances as fractions of the close, shape (bars,): the barriers of bar t are
    close[t] * (1 + upper[t]) and close[t] * (1 - lower[t]). A bar that touches both counts as SHORT: within a bar the
    order is unknown, and the backtester's kernel lets the stop win, too. A distance of NaN or 0 means no label.
    """
    bars = len(close)
    usable = max(bars - horizon, 0)
    above, below = close * (1.0 + upper), close * (1.0 - lower)
    known = np.zeros(bars, dtype=np.bool_)
    known[:usable] = ((above > close) & (below < close))[:usable]
    values = np.zeros(bars, dtype=np.int64)
    values[known] = _FLAT
    waiting = np.flatnonzero(known)
    for ahead in range(1, horizon + 1):
        if ahead % _BARS_UNSEEN == 0:
            look()
        short = low[waiting + ahead] <= below[waiting]
        long = ~short & (high[waiting + ahead] >= above[waiting])
        values[waiting[short]] = _SHORT
        values[waiting[long]] = _LONG
        waiting = waiting[~(short | long)]
        if not len(waiting):
            break
    return Labels(values=values, ends=_ends(bars, horizon), known=known)


def rolling_volatility(
    close: NDArray[np.float64], window: int, look: Callable[[], None] = lambda: None
) -> NDArray[np.float64]:
    """Sample standard deviation (n - 1) of the last `window` one-bar log returns; NaN before there are as many.

    Every window is summed afresh: a running sum would carry its rounding along.
    """
    volatility = np.full(len(close), np.nan)
    if len(close) <= window:
        return volatility
    windows = np.lib.stride_tricks.sliding_window_view(np.diff(np.log(close)), window)
    # In blocks, since the deviations of all windows at once may not fit into memory.
    block = max(_BLOCK_FLOATS // window, 1)
    for start in range(0, len(windows), block):
        if start:
            look()
        part = windows[start : start + block]
        volatility[window + start : window + start + len(part)] = part.std(axis=1, ddof=1)
    return volatility


def zigzag(close: NDArray[np.float64], *, threshold: float) -> Labels:
    """The direction in which the zigzag's next pivot lies: LONG before a high, SHORT before a low.

    A pivot is an extreme of the closes from which they then turn by at least the fraction `threshold`; highs and lows
    alternate (A. A. Merrill, Filtered Waves, 1977). The label of bar t looks as far as the bar that confirmed the next
    pivot. Bars from the last confirmed pivot on have none.
    """
    bars = len(close)
    values = np.zeros(bars, dtype=np.int64)
    ends = np.arange(bars, dtype=np.int64)
    known = np.zeros(bars, dtype=np.bool_)
    labelled = 0
    for pivot, confirmed, kind in zigzag_pivots(close, threshold):
        values[labelled:pivot] = kind.label
        ends[labelled:pivot] = confirmed
        known[labelled:pivot] = True
        labelled = pivot
    return Labels(values=values, ends=ends, known=known)


def zigzag_pivots(close: NDArray[np.float64], threshold: float) -> list[tuple[int, int, Direction]]:
    """(pivot bar, bar that confirmed it, LONG for a high or SHORT for a low), in time order.

    Of several bars with the same extreme close, the first is the pivot.
    """
    pivots: list[tuple[int, int, Direction]] = []
    prices: list[float] = close.tolist()
    if not prices:
        return pivots
    rise, fall = 1.0 + threshold, 1.0 - threshold
    highest = lowest = 0
    leg = Direction.FLAT  # until the first pivot is known
    for bar, price in enumerate(prices):
        if price > prices[highest]:
            highest = bar
        if price < prices[lowest]:
            lowest = bar
        if leg is not Direction.SHORT and price <= prices[highest] * fall:
            pivots.append((highest, bar, Direction.LONG))
            leg, highest, lowest = Direction.SHORT, bar, bar
        elif leg is not Direction.LONG and price >= prices[lowest] * rise:
            pivots.append((lowest, bar, Direction.SHORT))
            leg, highest, lowest = Direction.LONG, bar, bar
    return pivots


def forward_return(close: NDArray[np.float64], *, horizon: int) -> Labels:
    """close[t + horizon] / close[t] - 1, as a fraction."""
    bars = len(close)
    usable = max(bars - horizon, 0)
    values = np.zeros(bars, dtype=np.float64)
    values[:usable] = close[horizon : horizon + usable] / close[:usable] - 1.0
    known = np.zeros(bars, dtype=np.bool_)
    known[:usable] = np.isfinite(values[:usable])
    values[~known] = 0.0
    return Labels(values=values, ends=_ends(bars, horizon), known=known)


def return_classes(returns: Labels, *, threshold: float) -> Labels:
    """Returns above `threshold` as LONG, below -threshold as SHORT, the rest FLAT."""
    values = np.full(len(returns.values), _FLAT, dtype=np.int64)
    values[returns.values > threshold] = _LONG
    values[returns.values < -threshold] = _SHORT
    values[~returns.known] = 0
    return Labels(values=values, ends=returns.ends, known=returns.known)


def _ends(bars: int, horizon: int) -> NDArray[np.int64]:
    return np.minimum(np.arange(bars, dtype=np.int64) + horizon, bars - 1)
