"""Owns the shape of bars in memory: one array per column. Reads and writes nothing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["COLUMNS", "Bars", "columns_digest"]

COLUMNS: Final = ("time", "open", "high", "low", "close", "volume")


@dataclass(frozen=True, slots=True, eq=False)
class Bars:
    """Bars of one symbol and timeframe, rising in time; every array is (bars,) and read-only.

    `time` is the moment the bar OPENS, in nanoseconds since 1970 UTC; a bar is known once it has closed,
    one `timeframe` later.
    """

    symbol: str
    timeframe: str
    time: NDArray[np.int64]
    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    volume: NDArray[np.float64]

    def __post_init__(self) -> None:
        for name in COLUMNS:
            getattr(self, name).setflags(write=False)

    def __len__(self) -> int:
        return len(self.time)

    def slice(self, start: int, stop: int) -> Bars:
        """Rows [start, stop), without copying."""
        columns = [getattr(self, name)[start:stop] for name in COLUMNS]
        return Bars(self.symbol, self.timeframe, *columns)

    def digest(self) -> str:
        """SHA-256 over the exact bytes of every column, hex."""
        return columns_digest({name: getattr(self, name) for name in COLUMNS})


def columns_digest(columns: dict[str, NDArray[np.generic]]) -> str:
    """SHA-256, hex, over each column's name, length and little-endian bytes, in the order of COLUMNS."""
    import numpy as np

    whole = hashlib.sha256(b"holdfast bars 1\n")
    for name in COLUMNS:
        column = np.ascontiguousarray(columns[name])
        little = column.astype(column.dtype.newbyteorder("<"), copy=False)
        whole.update(f"{name} {len(little)} {little.dtype.str}\n".encode())
        whole.update(little.view(np.uint8).data)
    return whole.hexdigest()
