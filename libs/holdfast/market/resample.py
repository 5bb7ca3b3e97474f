"""Builds bars of a higher timeframe from lower ones. Pure numpy."""

from __future__ import annotations

from holdfast.market.bars import Bars
from holdfast.market.timeframes import bucket_start_ns, duration_ns

__all__ = ["resample"]


def resample(bars: Bars, timeframe: str) -> Bars:
    """Bars of `timeframe`, on the grid of UTC midnight (weeks: Monday).

    open is the first, high the highest, low the lowest, close the last, volume the sum. Times without lower
    bars have no bar. The last bar may be incomplete; it only becomes visible to inputs once its whole time has passed.
    """
    import numpy as np

    length, offset = duration_ns(timeframe), bucket_start_ns(timeframe)
    bucket = (bars.time - offset) // length
    first = np.flatnonzero(np.diff(bucket, prepend=bucket[:1] - 1)) if len(bars) else np.zeros(0, np.int64)
    last = np.append(first[1:], len(bars)) - 1 if len(bars) else first
    if not len(bars):
        return Bars(
            bars.symbol,
            timeframe,
            *(getattr(bars, n).copy() for n in ("time", "open", "high", "low", "close", "volume")),
        )
    return Bars(
        symbol=bars.symbol,
        timeframe=timeframe,
        time=bucket[first] * length + offset,
        open=bars.open[first],
        high=np.maximum.reduceat(bars.high, first),
        low=np.minimum.reduceat(bars.low, first),
        close=bars.close[last],
        volume=np.add.reduceat(bars.volume, first),
    )
