"""Owns the market directory: Parquet series with a JSON sidecar each. Parses no foreign format (importing.py does).

    <directory>/<symbol>/<timeframe>.json             what is there; renaming it over the old one commits an import
    <directory>/<symbol>/<timeframe>-<digest>.parquet the columns, lz4

Questions that the coordinator asks (catalogue, digest, check) read sidecars only: no polars, no numpy.
"""

from __future__ import annotations

import contextlib
import datetime
import difflib
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from holdfast.errors import Corrupted, InvalidRequest, NotFound, Violation
from holdfast.market.bars import COLUMNS, Bars
from holdfast.market.moments import Moment, bound, moment_ns, moment_of
from holdfast.market.series import Series, read_sidecar, sidecar_text
from holdfast.market.symbols import SYMBOL_PATTERN, check_symbol
from holdfast.market.timeframes import TIMEFRAMES, duration_ns

if TYPE_CHECKING:
    import polars

__all__ = ["MarketStore"]

# A span may begin or end this much outside the data: markets are closed on holidays and weekends.
SLACK: Final = datetime.timedelta(days=7)
_NEW: Final = ".new-"

log = structlog.get_logger()


class MarketStore:
    """The bars that training and backtests read. Many processes may read while one imports."""

    def __init__(self, directory: Path) -> None:
        self.directory = Path(directory)

    def catalogue(self) -> list[Series]:
        """Every stored series, by symbol and then from the finest timeframe up. Raises Corrupted for a bad sidecar."""
        found = []
        for path in sorted(self.directory.glob("*/*.json")):
            if path.stem in TIMEFRAMES and SYMBOL_PATTERN.match(path.parent.name):
                try:
                    found.append(read_sidecar(path))
                except FileNotFoundError:
                    continue  # removed since the listing
        return sorted(found, key=lambda series: (series.symbol, TIMEFRAMES.index(series.timeframe)))

    def source(self, symbol: str, timeframe: str) -> Series:
        """The stored series that `timeframe` is read from: itself, or the coarsest stored one that divides it.

        Raises NotFound (MARKET_DATA_NOT_FOUND) when the symbol or anything to build the timeframe from is missing.
        """
        length = duration_ns(timeframe)
        stored = self._stored(check_symbol(symbol))
        if not stored:
            raise self._unknown(symbol)
        fitting = [series for series in stored if length % duration_ns(series.timeframe) == 0]
        if not fitting:
            there = ", ".join(series.timeframe for series in stored)
            raise NotFound(
                f"{symbol} has no {timeframe} bars and nothing finer to build them from; stored: {there}. "
                f"Import them with: holdfast data import FILE --symbol {symbol} --timeframe {timeframe}",
                reason="MARKET_DATA_NOT_FOUND",
                metadata={"symbol": symbol, "timeframe": timeframe},
            )
        return max(fitting, key=lambda series: duration_ns(series.timeframe))

    def _stored(self, symbol: str) -> list[Series]:
        found = []
        for timeframe in TIMEFRAMES:
            try:
                found.append(read_sidecar(self.directory / symbol / f"{timeframe}.json"))
            except FileNotFoundError:
                continue
        return found

    def _unknown(self, symbol: str) -> NotFound:
        symbols = sorted({series.symbol for series in self.catalogue()})
        folded = {name.casefold(): name for name in symbols}
        near = difflib.get_close_matches(symbol.casefold(), folded, n=1, cutoff=0.5)
        hint = f" Did you mean {folded[near[0]]}?" if near else ""
        there = (
            f"There are: {', '.join(symbols[:30])}{', …' if len(symbols) > 30 else ''}."
            if symbols
            else "The store is empty."
        )
        return NotFound(
            f"No market data for symbol {symbol!r}.{hint} {there} "
            "Get some with `holdfast data sample` or `holdfast data import`.",
            reason="MARKET_DATA_NOT_FOUND",
            metadata={"symbol": symbol},
        )

    def digest(self, symbols: Sequence[str], timeframes: Sequence[str]) -> str:
        """SHA-256, hex, over the digests of all series behind these symbols and timeframes; reads sidecars only."""
        whole = hashlib.sha256(b"holdfast market 1\n")
        for symbol in symbols:
            for timeframe in timeframes:
                series = self.source(symbol, timeframe)
                whole.update(f"{symbol} {timeframe} {series.timeframe} {series.digest}\n".encode())
        return whole.hexdigest()

    def check(self, symbols: Sequence[str], timeframes: Sequence[str], start: Moment, end: Moment) -> None:
        """Whether there are bars for all of this, from sidecars only.

        Raises InvalidRequest with one violation per missing symbol or timeframe, and per series that does not cover
        [start, end] (a week of holidays is forgiven at either side).
        """
        violations = []
        first, last = bound(start, end=False), bound(end, end=True)
        if first is not None and last is not None and first > last:
            violations.append(Violation("start", str(start), f"a day not after the end, {end}"))
        for symbol in symbols:
            for timeframe in timeframes:
                try:
                    series = self.source(symbol, timeframe)
                except (NotFound, InvalidRequest) as error:
                    violations.append(Violation("data.symbols", f"{symbol} {timeframe}", error.message))
                    break
                length = datetime.timedelta(microseconds=duration_ns(timeframe) // 1000)
                covered = f"{_extent(series)}, the stored {symbol} {series.timeframe} bars"
                if first is not None and first < series.start - SLACK - length:
                    violations.append(Violation("data.start", str(start), covered))
                if last is not None and last > series.end + SLACK + length:
                    violations.append(Violation("data.end", str(end), covered))
        if violations:
            raise InvalidRequest(
                "Market data: " + "; ".join(str(violation) for violation in violations[:5]),
                violations=violations,
                reason="MARKET_DATA_MISSING",
            )

    def load(self, symbol: str, timeframe: str, start: Moment = None, end: Moment = None) -> Bars:
        """Bars that open within [start, end], both inside.

        A timeframe that is not stored is built from the coarsest stored one that divides it. Verifies the whole series
        against its digest. Raises NotFound, InvalidRequest (no bars in the span), Corrupted.
        """
        import numpy as np

        series = self.source(symbol, timeframe)
        try:
            whole = self._read(series)
        except FileNotFoundError:
            # An import replaced the series between sidecar and data: the new sidecar names the new file.
            series = self.source(symbol, timeframe)
            whole = self._read(series)
        if series.timeframe != timeframe:
            from holdfast.market.resample import resample

            whole = resample(whole, timeframe)
        first, last = bound(start, end=False), bound(end, end=True)
        begin = 0 if first is None else int(np.searchsorted(whole.time, moment_ns(first), side="left"))
        stop = len(whole) if last is None else int(np.searchsorted(whole.time, moment_ns(last), side="right"))
        if begin >= stop:
            covered = _extent(series)
            raise InvalidRequest(
                f"{symbol} {timeframe} has no bars from {start} to {end}; the stored ones lie {covered}.",
                violations=[Violation("start, end", f"{start}, {end}", covered)],
                reason="MARKET_DATA_MISSING",
            )
        return whole.slice(begin, stop)

    def _read(self, series: Series) -> Bars:
        import polars as pl

        path = self.directory / series.symbol / series.file
        if not path.is_file():
            raise FileNotFoundError(path)
        try:
            frame = pl.read_parquet(path, columns=list(COLUMNS)).rechunk()
            columns = [frame.get_column(name).to_numpy() for name in COLUMNS]
        except (pl.exceptions.PolarsError, OSError) as error:
            raise self._corrupted(series, str(error)) from error
        bars = Bars(series.symbol, series.timeframe, *columns)
        if bars.digest() != series.digest:
            raise self._corrupted(series, "its SHA-256 differs from the sidecar's")
        return bars

    def _corrupted(self, series: Series, why: str) -> Corrupted:
        path = self.directory / series.symbol / series.file
        return Corrupted(
            f"Market data: {path} is damaged ({why}). Import {series.symbol} {series.timeframe} again.",
            reason="MARKET_DATA_CORRUPTED",
            metadata={"file": str(path), "symbol": series.symbol, "timeframe": series.timeframe},
        )

    def write(self, bars: Bars, source: str) -> Series:
        """Replaces the series with `bars`, atomically: readers and crashes see the old one or the new one, whole.

        The caller has checked the bars. Raises InvalidRequest when there are none.
        """
        import polars as pl

        if not len(bars):
            raise InvalidRequest(f"Nothing to store for {bars.symbol} {bars.timeframe}: there are no bars.")
        folder = self.directory / check_symbol(bars.symbol)
        folder.mkdir(parents=True, exist_ok=True)
        digest = bars.digest()
        series = Series(
            symbol=bars.symbol,
            timeframe=bars.timeframe,
            start=moment_of(int(bars.time[0])),
            end=moment_of(int(bars.time[-1])),
            bars=len(bars),
            digest=digest,
            source=source,
            file=f"{bars.timeframe}-{digest[:16]}.parquet",
        )
        frame = pl.DataFrame({name: getattr(bars, name) for name in COLUMNS})
        # One import at a time: clearing away after this one must not take another's new file.
        with _locked(folder):
            for abandoned in folder.glob(f"{_NEW}*"):
                abandoned.unlink()  # by an import that was killed
            _replace(folder / series.file, frame)
            _replace(folder / f"{bars.timeframe}.json", sidecar_text(series).encode())
            for stale in folder.glob(f"{bars.timeframe}-*.parquet"):
                if stale.name != series.file:
                    stale.unlink(missing_ok=True)
        log.info("Series stored", symbol=bars.symbol, timeframe=bars.timeframe, bars=len(bars), digest=digest[:16])
        return series


def _extent(series: Series) -> str:
    return f"within {series.start:%Y-%m-%d} to {series.end:%Y-%m-%d}"


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _replace(path: Path, content: bytes | polars.DataFrame) -> None:
    """Writes beside `path`, makes it durable, then renames it over `path`."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=_NEW)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                content.write_parquet(file, compression="lz4", statistics=False)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
