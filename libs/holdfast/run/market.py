"""Reads bars and their digest so that both are of one moment. Owns no bar and no check of dates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from holdfast.errors import Unavailable
from holdfast.market import Bars, MarketStore
from holdfast.market.moments import Moment

__all__ = ["Market", "read_market"]

Market = dict[str, dict[str, Bars]]

_READS: Final = 3  # an import may replace a series while it is read; more often than this in a row it cannot


def read_market(
    store: MarketStore,
    symbols: Sequence[str],
    timeframes: Sequence[str],
    end: Moment = None,
    between_reads: Callable[[], None] = lambda: None,
) -> tuple[Market, str]:
    """The bars by symbol and timeframe, up to `end`, and the digest of what was read.

    Every series from its first stored bar on: indicators are as warm as the data allow, on every resume the same.
    Raises NotFound, InvalidRequest or Corrupted for missing or damaged data, Unavailable while they go on changing.
    """
    for _ in range(_READS):
        digest = store.digest(symbols, timeframes)
        market: Market = {}
        for symbol in symbols:
            market[symbol] = {}
            for timeframe in timeframes:
                between_reads()
                market[symbol][timeframe] = store.load(symbol, timeframe, None, end)
        # An import may have replaced a series between the digest and the read.
        if store.digest(symbols, timeframes) == digest:
            return market, digest
    raise Unavailable(
        f"The market data of {', '.join(symbols)} kept changing while they were read. Resume when the import is done.",
        reason="MARKET_DATA_CHANGING",
    )
