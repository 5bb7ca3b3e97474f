"""Every format that `data import` recognises, from a few lines of it."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from holdfast.errors import InvalidRequest, NotFound
from holdfast.market import ImportReport, MarketStore, import_file

# format, timeframe, the file, the first bar's time in UTC, its close, its volume
FILES = {
    "Yahoo": (
        "1d",
        "Date,Open,High,Low,Close,Adj Close,Volume\n2018-01-02,10,12,9,11,10.5,900\n2018-01-03,11,12,10,11.5,11,800\n",
        ("2018-01-02T00:00", 11.0, 900.0),
    ),
    "HistData": (
        "1m",
        "20180101 170000;1.2;1.3;1.1;1.25;0\n20180101 170100;1.25;1.3;1.1;1.26;0\n",
        ("2018-01-01T22:00", 1.25, 0.0),
    ),
    "Dukascopy": (
        "1m",
        "Gmt time,Open,High,Low,Close,Volume\n"
        "01.01.2017 22:00:00.000,1.2,1.3,1.1,1.25,3.5\n01.01.2017 22:01:00.000,1.25,1.3,1.1,1.26,2\n",
        ("2017-01-01T22:00", 1.25, 3.5),
    ),
    "Dukascopy local": (
        "1m",
        "Local time,Open,High,Low,Close,Volume\n02.07.2017 22:00:00.000 GMT+0200,1.2,1.3,1.1,1.25,3.5\n",
        ("2017-07-02T20:00", 1.25, 3.5),
    ),
    "MetaTrader 5": (
        "1m",
        "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>\n"
        "2018.01.01\t00:05:00\t1.2\t1.3\t1.1\t1.25\t7\t0\t3\n",
        ("2018-01-01T00:05", 1.25, 7.0),
    ),
    "MetaTrader 5 daily": (
        "1d",
        "<DATE>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>\n2018.01.02\t1.2\t1.3\t1.1\t1.25\t7\t0\t3\n",
        ("2018-01-02T00:00", 1.25, 7.0),
    ),
    "MetaTrader 4": (
        "1m",
        "2018.01.01,00:05,1.2,1.3,1.1,1.25,9\r\n2018.01.01,00:06,1.2,1.3,1.1,1.25,9\r\n",
        ("2018-01-01T00:05", 1.25, 9.0),
    ),
    "ISO in any order and case": (
        "1h",
        "CLOSE,low,High,VOLUME,Open,timestamp,comment\n1.25,1.1,1.3,4,1.2,2018-01-01T05:00:00Z,x\n",
        ("2018-01-01T05:00", 1.25, 4.0),
    ),
    "ISO with an offset": (
        "1h",
        "time;open;high;low;close\n2018-01-01 05:00:00+02:00;1.2;1.3;1.1;1.25\n",
        ("2018-01-01T03:00", 1.25, 0.0),
    ),
    "days in local time": (
        "1d",
        "Date,Open,High,Low,Close,Volume\n2018-01-02 00:00:00-05:00,1.2,1.3,1.1,1.25,1\n",
        ("2018-01-02T00:00", 1.25, 1.0),
    ),
    "Unix seconds": ("1h", "time,open,high,low,close\n1514764800,1.2,1.3,1.1,1.25\n", ("2018-01-01T00:00", 1.25, 0.0)),
    "Unix milliseconds": (
        "1h",
        "open time,open,high,low,close,volume\n1514764800000,1.2,1.3,1.1,1.25,2\n",
        ("2018-01-01T00:00", 1.25, 2.0),
    ),
    "American dates that decide themselves": (
        "1d",
        "Date,Close/Last,Volume,Open,High,Low\n01/12/2018,1.25,5,1.2,1.3,1.1\n01/16/2018,1.25,5,1.2,1.3,1.1\n",
        ("2018-01-12T00:00", 1.25, 5.0),
    ),
    "no header": ("1d", "2018-01-02,1.2,1.3,1.1,1.25,5\n", ("2018-01-02T00:00", 1.25, 5.0)),
    "quotes, spaces, blank lines": (
        "1d",
        '"Date", "Open", "High", "Low", "Close"\n\n"2018-01-02", "1.2", "1.3" ,1.1, "1.25"\n\n',
        ("2018-01-02T00:00", 1.25, 0.0),
    ),
}


def stored(report: ImportReport, store: MarketStore) -> tuple[str, float, float]:
    """The first bar's time, close and volume."""
    bars = store.load(report.series.symbol, report.series.timeframe)
    return (
        str(np.datetime64(int(bars.time[0]), "ns").astype("datetime64[m]")),
        float(bars.close[0]),
        float(bars.volume[0]),
    )


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_recognised_by_sight(name: str, tmp_path: Path) -> None:
    timeframe, text, first = FILES[name]
    path = tmp_path / "bars.csv"
    path.write_bytes(text.encode())
    store = MarketStore(tmp_path / "market")
    report = import_file(store, path, "X", timeframe)
    assert stored(report, store) == first
    assert report.dropped_bars == 0
    assert report.format.split()[0] == (name.split()[0] if name.split()[0] in _NAMED else "CSV")


_NAMED = {"Yahoo", "HistData", "Dukascopy", "MetaTrader"}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "gzip"])
def test_encodings(encoding: str, tmp_path: Path) -> None:
    timeframe, text, first = FILES["MetaTrader 5"]
    path = tmp_path / "bars.csv"
    path.write_bytes(gzip.compress(text.encode()) if encoding == "gzip" else text.encode(encoding))
    store = MarketStore(tmp_path / "market")
    assert stored(import_file(store, path, "X", timeframe), store) == first


@pytest.mark.parametrize("kind", ["nanoseconds", "zoned", "date", "text", "integer"])
def test_parquet(kind: str, tmp_path: Path) -> None:
    frame = pl.DataFrame({"Close": [1.25, 1.3], "open": [1.2, 1.2], "HIGH": [1.3, 1.4], "low": [1, 1], "vol": [5, 6]})
    days = pl.Series("Date", ["2018-01-02", "2018-01-03"])
    times = {
        "text": days,
        "date": days.str.to_date(),
        "nanoseconds": days.str.to_datetime("%Y-%m-%d", time_unit="ns"),
        "zoned": days.str.to_datetime("%Y-%m-%d", time_unit="us").dt.replace_time_zone("UTC"),
        "integer": days.str.to_date().cast(pl.Datetime("ms")).cast(pl.Int64),
    }
    path = tmp_path / "bars.parquet"
    frame.with_columns(times[kind].alias("Date")).write_parquet(path)
    store = MarketStore(tmp_path / "market")
    report = import_file(store, path, "X", "1d")
    assert report.format == "Parquet"
    assert stored(report, store) == ("2018-01-02T00:00", 1.25, 5.0)


def test_the_offset_can_be_given(tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    path.write_text(FILES["MetaTrader 4"][1])
    store = MarketStore(tmp_path / "market")
    report = import_file(store, path, "X", "1m", utc_offset_hours=2)
    assert stored(report, store)[0] == "2017-12-31T22:05"


def test_notes_say_what_was_decided(tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    path.write_text(FILES["ISO in any order and case"][1].replace("VOLUME", "other"))
    report = import_file(MarketStore(tmp_path / "market"), path, "X", "1h")
    assert "no volume" in report.notes[0]
    assert "other, comment" in report.notes[1]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "an empty file"),
        (b"\n\n", "an empty file"),
        (b"hello", "at least time, open, high, low, close"),
        (b"p,q,r,s,x\n1,2,3,4,5\n", "it lacks time, open, high, low, close"),
        (b"date,open,high,low,close,Close\n2018-01-02,1,1,1,1,1\n", "'Close' a second time"),
        (b"date,open,high,low\n2018-01-02,1,1,1\n", "at least time, open, high, low, close"),
        (b"date,open,high,low,close\n", "nothing below it"),
        (b"date,open,high,low,close\n01/02/2018,1,1,1,1\n", "day and month can be told apart"),
        (b"date,open,high,low,close\nsoon,1,1,1,1\n", "the time 'soon'"),
        (b"PK\x03\x04rest", "a zip archive"),
        (b"PAR1rest", "a Parquet file that cannot be read"),
        (b"\x1f\x8brest", "bytes that are not text"),
        (b"date,open,high,low,close\n\xff\xfe\xfd", "bytes that are not text"),
        (b"2018-01-02,1,1,1,1,1,1,1,1\n", "9 columns without a header"),
    ],
)
def test_what_is_not_bars_is_refused(content: bytes, told: str, tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    path.write_bytes(content)
    store = MarketStore(tmp_path / "market")
    with pytest.raises(InvalidRequest) as caught:
        import_file(store, path, "X", "1d")
    assert told in str(caught.value)
    assert store.catalogue() == []


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"There is no file .*nowhere\.csv"):
        import_file(MarketStore(tmp_path), tmp_path / "nowhere.csv", "X", "1d")
