"""Makes bars for tests: a seeded random walk that keeps every rule a stored bar obeys."""

from __future__ import annotations

import datetime

import numpy as np

from holdfast.market import Bars, duration_ns
from holdfast.market.moments import moment_ns


def random_bars(
    bars: int,
    *,
    timeframe: str = "1d",
    symbol: str = "TEST",
    seed: int = 0,
    start: datetime.datetime = datetime.datetime(2018, 1, 1, tzinfo=datetime.UTC),
    keep: float = 1.0,
) -> Bars:
    """`bars` bars from `start` (a Monday); with `keep` below 1 that fraction of them, as where markets close."""
    random = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(random.normal(0.0, 0.02, bars)))
    opened = close * np.exp(random.normal(0.0, 0.005, bars))
    high = np.maximum(opened, close) * (1.0 + random.random(bars) * 0.01)
    low = np.minimum(opened, close) * (1.0 - random.random(bars) * 0.01)
    time = moment_ns(start) + np.arange(bars, dtype=np.int64) * duration_ns(timeframe)
    kept = random.random(bars) < keep
    volume = np.floor(random.random(bars) * 1000) + 1
    return Bars(symbol, timeframe, time[kept], opened[kept], high[kept], low[kept], close[kept], volume[kept])
