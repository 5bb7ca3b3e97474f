"""The store: what goes in comes out, damage is noticed, and a failed write changes nothing."""

from __future__ import annotations

import contextlib
import datetime
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.errors import Corrupted, InvalidRequest, NotFound
from holdfast.market import Bars, MarketStore
from holdfast.market.bars import COLUMNS
from tests.unit.market.making import random_bars

BARS = random_bars(400, symbol="SPX")


@pytest.fixture
def store(tmp_path: Path) -> MarketStore:
    """A store with 400 daily bars of SPX from Monday 1 January 2018 on."""
    store = MarketStore(tmp_path / "market")
    store.write(BARS, "test")
    return store


def same(one: Bars, other: Bars) -> bool:
    """Whether all columns are equal to the bit."""
    return all(getattr(one, name).tobytes() == getattr(other, name).tobytes() for name in COLUMNS)


def test_bars_come_back_to_the_bit(store: MarketStore) -> None:
    loaded = store.load("SPX", "1d")
    assert same(loaded, BARS)
    assert (loaded.symbol, loaded.timeframe, len(loaded)) == ("SPX", "1d", 400)
    assert loaded.time.dtype == np.int64
    with pytest.raises(ValueError, match="read-only"):
        loaded.close[0] = 1.0


def test_the_catalogue_says_what_is_there(store: MarketStore) -> None:
    store.write(random_bars(3, symbol="AAA", timeframe="1h"), "x.csv (CSV)")
    one, two = store.catalogue()
    assert (one.symbol, one.timeframe, one.bars, one.source) == ("AAA", "1h", 3, "x.csv (CSV)")
    assert (two.symbol, two.start) == ("SPX", datetime.datetime(2018, 1, 1, tzinfo=datetime.UTC))
    assert two.end == datetime.datetime(2019, 2, 4, tzinfo=datetime.UTC)
    assert two.digest == BARS.digest()


def test_an_empty_or_missing_store_has_an_empty_catalogue(tmp_path: Path) -> None:
    assert MarketStore(tmp_path / "nowhere").catalogue() == []


@pytest.mark.parametrize(
    ("start", "end", "first", "bars"),
    [
        (None, None, "2018-01-01", 400),
        ("2018-01-02", "2018-01-04", "2018-01-02", 3),
        (datetime.date(2018, 1, 2), datetime.date(2018, 1, 2), "2018-01-02", 1),
        ("2018-01-02T00:00:01", "2018-01-03", "2018-01-03", 1),
        (
            datetime.datetime(2018, 1, 2, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=1))),
            None,
            "2018-01-02",
            399,
        ),
        ("", "2018-01-01", "2018-01-01", 1),
    ],
)
def test_both_ends_of_a_span_are_inside(store: MarketStore, start: Any, end: Any, first: str, bars: int) -> None:
    loaded = store.load("SPX", "1d", start, end)
    assert len(loaded) == bars
    assert np.datetime64(int(loaded.time[0]), "ns") == np.datetime64(first)


def test_intraday_bars_of_the_last_day_are_inside(store: MarketStore) -> None:
    store.write(random_bars(72, symbol="EUR", timeframe="1h"), "test")
    assert len(store.load("EUR", "1h", "2018-01-02", "2018-01-02")) == 24


def test_a_span_without_bars_is_told(store: MarketStore) -> None:
    with pytest.raises(InvalidRequest, match="2018-01-01 to 2019-02-04"):
        store.load("SPX", "1d", "1990-01-01", "1990-12-31")
    with pytest.raises(InvalidRequest, match="is not a date"):
        store.load("SPX", "1d", "yesterday")


def test_an_unknown_symbol_is_told_with_the_nearest(store: MarketStore) -> None:
    with pytest.raises(NotFound, match=r"'spy'\. Did you mean SPX\? There are: SPX\."):
        store.load("spy", "1d")
    with pytest.raises(InvalidRequest, match="cannot be used"):
        store.load("../SPX", "1d")
    with pytest.raises(NotFound, match="The store is empty"):
        MarketStore(store.directory / "none").load("SPX", "1d")


def test_a_higher_timeframe_is_built_from_the_coarsest_that_divides_it(store: MarketStore) -> None:
    store.write(random_bars(48, symbol="SPX", timeframe="4h"), "test")
    assert store.source("SPX", "1w").timeframe == "1d"
    assert store.source("SPX", "4h").timeframe == "4h"
    assert len(store.load("SPX", "1w")) == 58
    with pytest.raises(NotFound, match="no 1h bars and nothing finer to build them from; stored: 4h, 1d"):
        store.load("SPX", "1h")


def test_check_passes_a_week_of_holidays_and_names_everything_else(store: MarketStore) -> None:
    store.check(["SPX"], ["1d", "1w"], "2017-12-26", "2019-02-10")
    with pytest.raises(InvalidRequest) as caught:
        store.check(["SPX", "SPY"], ["1d"], "2017-12-01", "2019-03-01")
    told = [str(violation) for violation in caught.value.violations]
    assert len(told) == 3
    assert "data.start: 2017-12-01" in told[0]
    assert "data.end: 2019-03-01" in told[1]
    assert "Did you mean SPX?" in told[2]
    with pytest.raises(InvalidRequest, match="not after the end"):
        store.check(["SPX"], ["1d"], "2018-06-01", "2018-05-01")


def test_the_digest_follows_the_data(store: MarketStore) -> None:
    before = store.digest(["SPX"], ["1d", "1w"])
    store.write(random_bars(400, symbol="OTHER"), "test")
    store.write(BARS, "another file")
    assert store.digest(["SPX"], ["1d", "1w"]) == before
    store.write(random_bars(401, symbol="SPX"), "test")
    assert store.digest(["SPX"], ["1d", "1w"]) != before
    assert [series.bars for series in store.catalogue()] == [400, 401]
    assert len(list((store.directory / "SPX").glob("*.parquet"))) == 1


def test_changed_bytes_are_noticed(store: MarketStore) -> None:
    (path,) = (store.directory / "SPX").glob("*.parquet")
    content = bytearray(path.read_bytes())
    for position in range(0, len(content), 997):
        damaged = content.copy()
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        # A byte that holds no bar (a name, a hint) may change unnoticed; a bar may not.
        with contextlib.suppress(Corrupted):
            assert same(store.load("SPX", "1d"), BARS)
    path.write_bytes(content[:100])
    with pytest.raises(Corrupted, match="Import SPX 1d again"):
        store.load("SPX", "1d")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"format": 2}', '{"format": 1, "symbol": "SPX"}'],
)
def test_a_damaged_sidecar_is_told(store: MarketStore, text: str) -> None:
    (store.directory / "SPX" / "1d.json").write_text(text)
    with pytest.raises(Corrupted, match=r"1d\.json is damaged"):
        store.catalogue()


def test_a_sidecar_cannot_name_a_file_elsewhere(store: MarketStore) -> None:
    path = store.directory / "SPX" / "1d.json"
    path.write_text(path.read_text().replace('"file": "', '"file": "../../'))
    with pytest.raises(Corrupted, match="names a file elsewhere"):
        store.load("SPX", "1d")


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_write_that_fails_leaves_what_was_there(
    store: MarketStore, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """The disk fills up at the first, the second, … step: the old series stays whole."""
    owner: Any = os if failing == "fsync" else Path
    real = getattr(owner, failing)
    # Data file, its directory, sidecar: the commit is the sidecar's rename.
    for allowed in range(3 if failing == "fsync" else 2):
        calls = 0

        def fail(*given: Any, allowed: int = allowed) -> Any:
            nonlocal calls
            calls += 1
            if calls > allowed:
                raise OSError(28, "No space left on device")
            return real(*given)

        with monkeypatch.context() as patch:
            patch.setattr(owner, failing, fail)
            with pytest.raises(OSError, match="No space left"):
                store.write(random_bars(50, symbol="SPX", seed=allowed + 1), "test")
        assert same(store.load("SPX", "1d"), BARS)
        assert not list(store.directory.rglob(".new-*"))
    store.write(random_bars(50, symbol="SPX"), "test")
    assert len(store.load("SPX", "1d")) == 50


def test_a_reader_that_meets_an_import_sees_the_new_series(store: MarketStore, monkeypatch: pytest.MonkeyPatch) -> None:
    old = store.source("SPX", "1d")
    store.write(random_bars(50, symbol="SPX"), "test")
    answers = [old]
    real = store.source
    monkeypatch.setattr(store, "source", lambda *given: answers.pop() if answers else real(*given))
    assert len(store.load("SPX", "1d")) == 50


def test_what_a_killed_import_left_is_cleared_away(store: MarketStore) -> None:
    (store.directory / "SPX" / ".new-abandoned").write_bytes(b"half")
    (store.directory / "SPX" / "1d-0123456789abcdef.parquet").write_bytes(b"whole, but never named by a sidecar")
    assert same(store.load("SPX", "1d"), BARS)
    store.write(BARS, "test")
    assert sorted(path.suffix for path in (store.directory / "SPX").iterdir()) == ["", ".json", ".parquet"]


def test_nothing_is_not_stored(store: MarketStore) -> None:
    with pytest.raises(InvalidRequest, match="there are no bars"):
        store.write(BARS.slice(0, 0), "test")


@given(st.integers(1, 60), st.integers(0, 2**32 - 1), st.sampled_from(["1m", "1h", "1d"]))
@settings(max_examples=20, deadline=None)
def test_any_bars_come_back_to_the_bit(
    tmp_path_factory: pytest.TempPathFactory, bars: int, seed: int, timeframe: str
) -> None:
    store = MarketStore(tmp_path_factory.getbasetemp() / "any")
    written = random_bars(bars, seed=seed, timeframe=timeframe)
    store.write(written, "test")
    assert same(store.load("TEST", timeframe), written)


def test_the_coordinator_asks_without_numbers(store: MarketStore) -> None:
    """catalogue, check and digest read sidecars only: neither numpy nor polars is imported."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom holdfast.market import MarketStore\n"
        f"store = MarketStore(Path({str(store.directory)!r}))\n"
        "assert store.catalogue() and store.digest(['SPX'], ['1d', '1w'])\n"
        "store.check(['SPX'], ['1d', '1w'], '2018-01-01', '2019-01-31')\n"
        "print([m for m in ('numpy', 'polars', 'talib', 'pandas', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_two_imports_at_once_leave_one_whole_series(store: MarketStore) -> None:
    """Each clears away the other's data file only when the sidecar no longer names it."""
    series = [random_bars(60, symbol="SPX", seed=seed) for seed in range(1, 9)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda bars: store.write(bars, "test"), series))
    assert store.load("SPX", "1d").digest() in {bars.digest() for bars in series}
    assert len(list((store.directory / "SPX").glob("*.parquet"))) == 1
