"""Decides which bar of a higher timeframe is visible at each base bar. Pure numpy.

A decision is made when a base bar closes, so it may use every higher bar that has closed by then and no other. A daily
bar of Friday closes on Saturday 00:00; the week's bar closes on Monday 00:00, so Monday's daily bar is the first to see
it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from holdfast.market.timeframes import duration_ns

__all__ = ["take", "visible"]


def visible(base_time: NDArray[np.int64], base: str, higher_time: NDArray[np.int64], higher: str) -> NDArray[np.int64]:
    """For each base bar the index of the newest higher bar closed by that base bar's close; -1 where there is none.

    Times are opening times in nanoseconds, rising; a bar closes one timeframe after it opens.
    """
    closes = higher_time + duration_ns(higher)
    decisions = base_time + duration_ns(base)
    return np.searchsorted(closes, decisions, side="right").astype(np.int64) - 1


def take(values: NDArray[np.float64], index: NDArray[np.int64]) -> NDArray[np.float64]:
    """values[index], NaN where the index is -1."""
    taken = np.full(len(index), np.nan)
    there = index >= 0
    taken[there] = values[index[there]]
    return taken
