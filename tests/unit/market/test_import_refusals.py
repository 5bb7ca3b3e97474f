"""Bad bars: the import fails as a whole and names line and value, or repairs and says what it dropped."""

from __future__ import annotations

import contextlib
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.errors import InvalidRequest
from holdfast.market import MarketStore, import_file, install_sample
from tests.unit.market.making import random_bars

HEADER = "date,open,high,low,close,volume"
GOOD = [f"2018-01-{day:02d},10,12,9,11,5" for day in range(1, 21)]


def written(tmp_path: Path, lines: list[str]) -> Path:
    """A file with these lines."""
    path = tmp_path / "bars.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def store(tmp_path: Path) -> MarketStore:
    """A store with an older series of X."""
    store = MarketStore(tmp_path / "market")
    store.write(random_bars(7, symbol="X"), "older")
    return store


BAD = [
    ("2018-01-05,10,8,9,9,5", "high below low", "high 8, low 9"),
    ("2018-01-05,10,12,9,13,5", "close outside low to high", "close 13, low 9, high 12"),
    ("2018-01-05,8,12,9,11,5", "open outside low to high", "open 8"),
    ("2018-01-05,nan,12,9,11,5", "open that is NaN or infinite", "open nan"),
    ("2018-01-05,10,inf,9,11,5", "high that is NaN or infinite", "high inf"),
    ("2018-01-05,10,12,-9,11,5", "low that is not above 0", "low -9"),
    ("2018-01-05,10,12,0,11,5", "low that is not above 0", "low 0"),
    ("2018-01-05,10,12,9,11,-5", "negative volume", "volume -5"),
    ("2018-01-05,null,12,9,11,5", "open that is not a number", "open null"),
    ("2018-01-05,10,12,9,,5", "close that is not a number", "close"),
    ('2018-01-05,"1,000",12,9,11,5', "wrong number of columns", "2018-01-05"),
    ('2018-01-05,"10,12,9,x,5', "close that is not a number", "close x"),
    ("2018-01-05,10,12,9,11", "wrong number of columns", "2018-01-05"),
    ("2018-01-05,10,12,9,11,5,6", "wrong number of columns", "2018-01-05"),
    ("2018-13-05,10,12,9,11,5", "time that cannot be read", "2018-13-05"),
    ("5 January,10,12,9,11,5", "time that cannot be read", "5 January"),
    ("2018-01-04,10,12,9,11,5", "duplicate time", "2018-01-04"),
    ("2018-01-02,10,12,9,11,5", "time before the one above", "2018-01-02"),
]


@pytest.mark.parametrize(("line", "problem", "value"), BAD)
def test_a_bad_bar_fails_the_whole_import(
    line: str, problem: str, value: str, store: MarketStore, tmp_path: Path
) -> None:
    before = store.catalogue()
    lines = [HEADER, *GOOD[:4], "", line, *GOOD[5:]]
    with pytest.raises(InvalidRequest) as caught:
        import_file(store, written(tmp_path, lines), "X", "1d")
    first = caught.value.violations[0]
    assert (first.path, first.allowed) == ("line 7", problem)
    assert value in first.value
    assert "bars.csv, line 7" in str(caught.value)
    assert "untouched" in str(caught.value)
    assert store.catalogue() == before
    assert len(store.load("X", "1d")) == 7


@pytest.mark.parametrize(("line", "problem", "value"), BAD)
def test_repair_drops_the_bad_bar_and_says_so(
    line: str, problem: str, value: str, store: MarketStore, tmp_path: Path
) -> None:
    lines = [HEADER, *GOOD[:4], line, *GOOD[5:]]
    report = import_file(store, written(tmp_path, lines), "X", "1d", repair=True)
    bars = store.load("X", "1d")
    assert len(bars) == 19
    told = "duplicate time" if "before" in problem else problem
    assert report.dropped == {told: 1}
    assert report.dropped_bars == 1
    assert "line 6" in report.examples[0]
    assert value in report.examples[0]


def test_repair_sorts_newest_first(store: MarketStore, tmp_path: Path) -> None:
    report = import_file(store, written(tmp_path, [HEADER, *reversed(GOOD)]), "X", "1d", repair=True)
    assert report.dropped == {}
    assert "sorted" in report.notes[-1]
    assert store.load("X", "1d").digest() == report.series.digest
    with pytest.raises(InvalidRequest, match="time before the one above"):
        import_file(store, written(tmp_path, [HEADER, *reversed(GOOD)]), "X", "1d")


def test_a_file_of_only_bad_bars_cannot_be_repaired(store: MarketStore, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="high below low"):
        import_file(store, written(tmp_path, [HEADER, BAD[0][0]]), "X", "1d", repair=True)
    assert len(store.load("X", "1d")) == 7


def test_how_many_are_bad_is_told(store: MarketStore, tmp_path: Path) -> None:
    lines = [HEADER, *[line.replace(",12,", ",8,") for line in GOOD]]
    with pytest.raises(InvalidRequest, match=r"line 2: high below low: high 8, low 9 \(19 more bad bars\)") as caught:
        import_file(store, written(tmp_path, lines), "X", "1d")
    assert len(caught.value.violations) == 10


def test_parquet_names_the_row(store: MarketStore, tmp_path: Path) -> None:
    frame = pl.DataFrame({"time": ["2018-01-01", "2018-01-02"], "open": [1.0, 1.0], "high": [1.0, None]})
    path = tmp_path / "bars.parquet"
    frame.with_columns(low=pl.lit(1.0), close=pl.lit(1.0)).write_parquet(path)
    with pytest.raises(InvalidRequest, match=r"bars\.parquet, row 2: high that is not a number"):
        import_file(store, path, "X", "1d")


@pytest.mark.parametrize(
    ("timeframe", "told"),
    [
        ("1w", "line 3: a bar 1 days after the one before is not allowed; 1w bars are 7 days apart"),
        ("1h", "is it --timeframe 1d?"),
    ],
)
def test_the_wrong_timeframe_is_told(store: MarketStore, tmp_path: Path, timeframe: str, told: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        import_file(store, written(tmp_path, [HEADER, *GOOD]), "X", timeframe)
    assert told in str(caught.value)


def test_a_symbol_or_timeframe_that_cannot_be_is_told(store: MarketStore, tmp_path: Path) -> None:
    path = written(tmp_path, [HEADER, *GOOD])
    with pytest.raises(InvalidRequest, match="cannot be used"):
        import_file(store, path, "../x", "1d")
    with pytest.raises(InvalidRequest, match="Unknown timeframe '2d'"):
        import_file(store, path, "X", "2d")


def test_the_sample_is_whole(tmp_path: Path) -> None:
    store = MarketStore(tmp_path / "market")
    reports = install_sample(store)
    assert [(one.series.symbol, one.series.bars, one.dropped_bars) for one in reports] == [
        ("SPX", 5031, 0),
        ("NASDAQ", 5031, 0),
    ]
    bars = store.load("SPX", "1d", "1999-01-01", "2018-12-31")
    assert (round(bars.close[0], 2), round(bars.close[-1], 2)) == (1228.10, 2506.85)


def test_a_sample_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Exception, match=r"arch, which is not installed.*holdfast-quant\[sample\]"):
        install_sample(MarketStore(tmp_path))


FIELDS = st.text(st.sampled_from("0123456789.-+eEnaifx \"',;"), max_size=8)


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 5), FIELDS), min_size=1, max_size=6), st.booleans())
@settings(max_examples=100, deadline=None)
def test_whatever_stands_in_a_file_is_stored_soundly_or_refused(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int, str]], repair: bool
) -> None:
    folder = tmp_path_factory.getbasetemp()
    rows = [line.split(",") for line in GOOD]
    for row, column, text in changes:
        rows[row][column] = text
    store = MarketStore(folder / "fuzzed")
    with contextlib.suppress(InvalidRequest):
        import_file(store, written(folder, [HEADER, *map(",".join, rows)]), "X", "1d", repair=repair)
    if not store.catalogue():
        return
    bars = store.load("X", "1d")
    assert (bars.time[1:] > bars.time[:-1]).all()
    assert (bars.low > 0).all()
    assert (bars.volume >= 0).all()
    assert ((bars.low <= bars.open) & (bars.open <= bars.high) & (bars.low <= bars.close)).all()
    assert (bars.close <= bars.high).all()
