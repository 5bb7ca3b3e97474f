"""Market data: what is stored, and how it gets there.

    MarketStore     catalogue, load, check, digest, write       store.py
    Bars, Series    arrays in memory; a sidecar's facts          bars.py, series.py
    import_file, install_sample                                  importing.py, sample.py
    duration_ns, TIMEFRAMES                                      timeframes.py

Importing this package loads neither numpy nor polars: runs are forked from a process that has imported it.
"""

from __future__ import annotations

from holdfast.market.bars import Bars
from holdfast.market.importing import ImportReport, import_file
from holdfast.market.sample import install_sample
from holdfast.market.series import Series
from holdfast.market.store import MarketStore
from holdfast.market.timeframes import TIMEFRAMES, duration_ns

__all__ = [
    "TIMEFRAMES",
    "Bars",
    "ImportReport",
    "MarketStore",
    "Series",
    "duration_ns",
    "import_file",
    "install_sample",
]
