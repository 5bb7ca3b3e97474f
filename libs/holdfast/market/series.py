"""Owns the sidecar: the small JSON file beside each stored series, which says what is there without opening it.

The sidecar is the commit point of an import: it names the data file, so that renaming one file replaces the series.
"""

from __future__ import annotations

import datetime
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from holdfast.errors import Corrupted
from holdfast.market.timeframes import TIMEFRAMES

__all__ = ["Series", "read_sidecar", "sidecar_text"]

FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class Series:
    """One stored series. `start` and `end` are the opening times (UTC) of its first and last bar."""

    symbol: str
    timeframe: str
    start: datetime.datetime
    end: datetime.datetime
    bars: int
    # SHA-256 over the exact bytes of every column, hex.
    digest: str
    # Where it came from: the imported file's name and format.
    source: str
    # The data file, beside the sidecar.
    file: str


def sidecar_text(series: Series) -> str:
    """The sidecar's content."""
    fields = asdict(series) | {"start": series.start.isoformat(), "end": series.end.isoformat()}
    return json.dumps({"format": FORMAT, **fields}, indent=1) + "\n"


def read_sidecar(path: Path) -> Series:
    """Reads one sidecar.

    Raises FileNotFoundError when it is gone and Corrupted when it does not say what a sidecar says.
    """
    text = path.read_text(encoding="utf-8")
    try:
        fields: dict[str, Any] = json.loads(text)
        if fields.pop("format") != FORMAT:
            raise ValueError("unknown format")
        for moment in ("start", "end"):
            fields[moment] = datetime.datetime.fromisoformat(fields[moment])
        series = Series(**fields)
        if series.symbol != path.parent.name or series.timeframe != path.stem or series.timeframe not in TIMEFRAMES:
            raise ValueError("it describes another series")
        if Path(series.file).name != series.file or not series.file.endswith(".parquet"):
            raise ValueError("it names a file elsewhere")
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupted(
            f"Market data: {path} is damaged ({error}). Import {path.parent.name} {path.stem} again.",
            reason="MARKET_DATA_CORRUPTED",
            metadata={"file": str(path)},
        ) from error
    return series
