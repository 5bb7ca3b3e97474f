"""Imports a file of bars: recognises it, checks every bar, and stores the series whole or not at all.

A bar is refused when its time or a number cannot be read, a number is NaN or infinite, a price is 0 or less, the volume
is negative, high < low, open or close lie outside [low, high], or its time is not after the one before. Nothing is
guessed: without `repair` the first such line fails the import; with it those bars are dropped (and the rest sorted),
and the report says which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from holdfast.errors import InvalidRequest, NotFound, Violation
from holdfast.market.bars import COLUMNS, Bars
from holdfast.market.formats import refused
from holdfast.market.series import Series
from holdfast.market.store import MarketStore
from holdfast.market.symbols import check_symbol
from holdfast.market.timeframes import TIMEFRAMES, duration_ns

if TYPE_CHECKING:
    import polars as pl

__all__ = ["ImportReport", "import_file"]

SHOWN: Final = 10  # problems shown one by one
LEAST_FOR_SPACING: Final = 10  # bars, before their spacing says anything about the timeframe


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did. `dropped` counts refused bars by reason; `examples` tells the first of them."""

    series: Series
    format: str
    notes: Sequence[str]
    dropped: Mapping[str, int]
    examples: Sequence[str]

    @property
    def dropped_bars(self) -> int:
        """How many bars of the file are not in the store."""
        return sum(self.dropped.values())


def import_file(
    store: MarketStore,
    path: Path,
    symbol: str,
    timeframe: str,
    repair: bool = False,
    *,
    utc_offset_hours: float | None = None,
) -> ImportReport:
    """Replaces `symbol` `timeframe` by the bars of a CSV, text or Parquet file.

    `utc_offset_hours` says how far east of UTC the file's times are, where they carry no offset themselves; None means
    what the format says: HistData -5, all others 0. It does not move bars of a day or more.

    Raises NotFound (no such file) and InvalidRequest (BAD_MARKET_DATA: line, value, what is allowed). Whatever is
    raised, what was stored before is untouched.
    """
    from holdfast.market._reading import read_bars

    path = Path(path)
    check_symbol(symbol)
    duration = duration_ns(timeframe)
    if not path.is_file():
        raise NotFound(f"There is no file {path} to import.", reason="FILE_NOT_FOUND", metadata={"file": str(path)})
    content = read_bars(path, daily=duration >= duration_ns("1d"), utc_offset_hours=utc_offset_hours)
    frame, dropped, examples, notes = _checked(path.name, content.frame, content.unit, repair)
    bars = Bars(symbol, timeframe, *(frame.get_column(name).to_numpy().copy() for name in COLUMNS))
    _check_spacing(path.name, bars, frame, content.unit)
    series = store.write(bars, source=f"{path.name} ({content.format})")
    return ImportReport(series, content.format, [*content.notes, *notes], dropped, examples)


def _checked(
    name: str, frame: pl.DataFrame, unit: str, repair: bool
) -> tuple[pl.DataFrame, dict[str, int], list[str], list[str]]:
    import polars as pl

    notes: list[str] = []
    frame = frame.with_columns(_problem().alias("problem"))
    if not repair:
        before = pl.col("time").shift(1)
        order = (
            pl.when(pl.col("time") == before)
            .then(pl.lit("duplicate time"))
            .when(pl.col("time") < before)
            .then(pl.lit("time before the one above"))
        )
        bad = frame.with_columns(pl.coalesce("problem", order).alias("problem")).filter(pl.col("problem").is_not_null())
        if len(bad):
            raise _refusal(name, bad, unit)
        if not len(frame):
            raise refused(name, f"{unit} 1", "no bars", "at least one bar")
        return frame, {}, [], notes
    bad = frame.filter(pl.col("problem").is_not_null())
    good = frame.filter(pl.col("problem").is_null())
    if not good.get_column("time").is_sorted():
        good = good.sort("time", maintain_order=True)
        notes.append("Bars were not in order of time; they are sorted.")
    twice = good.filter(~pl.col("time").is_first_distinct()).with_columns(pl.lit("duplicate time").alias("problem"))
    good = good.filter(pl.col("time").is_first_distinct())
    bad = pl.concat([bad, twice]).sort("line")
    if not len(good):
        raise _refusal(name, bad, unit) if len(bad) else refused(name, f"{unit} 1", "no bars", "at least one bar")
    counts = {str(reason): int(count) for reason, count in bad.group_by("problem").len().sort("problem").iter_rows()}
    return good, counts, [f"{v.path}: {v.allowed}: {v.value}" for v in _violations(bad, unit)], notes


def _problem() -> pl.Expr:
    """What is wrong with a bar by itself, or null."""
    import polars as pl

    rules: list[tuple[pl.Expr, str]] = [
        (pl.col("ragged"), "wrong number of columns"),
        (pl.col("time").is_null(), "time that cannot be read"),
    ]
    for name in COLUMNS[1:]:
        rules.append((pl.col(name).is_null(), f"{name} that is not a number"))
        rules.append((~pl.col(name).is_finite(), f"{name} that is NaN or infinite"))
    rules.extend((pl.col(name) <= 0, f"{name} that is not above 0") for name in ("open", "high", "low", "close"))
    rules.append((pl.col("volume") < 0, "negative volume"))
    rules.append((pl.col("high") < pl.col("low"), "high below low"))
    for name in ("open", "close"):
        outside = (pl.col(name) > pl.col("high")) | (pl.col(name) < pl.col("low"))
        rules.append((outside, f"{name} outside low to high"))
    return pl.coalesce(*(pl.when(condition).then(pl.lit(reason)) for condition, reason in rules))


def _violations(bad: pl.DataFrame, unit: str) -> list[Violation]:
    return [
        Violation(f"{unit} {row['line']}", _value(row), row["problem"]) for row in bad.head(SHOWN).iter_rows(named=True)
    ]


def _value(row: Mapping[str, object]) -> str:
    """The part of the bar that its problem is about, as it stands in the file."""
    problem = str(row["problem"])
    if "time" in problem or "columns" in problem:
        return str(row["time_text"])
    if problem == "high below low":
        return f"high {row['high_text']}, low {row['low_text']}"
    if "outside" in problem:
        column = problem.split()[0]
        return f"{column} {row[f'{column}_text']}, low {row['low_text']}, high {row['high_text']}"
    column = "volume" if "volume" in problem else problem.split()[0]
    return f"{column} {row[f'{column}_text']}"


def _refusal(name: str, bad: pl.DataFrame, unit: str) -> InvalidRequest:
    violations = _violations(bad, unit)
    first = violations[0]
    more = f" ({len(bad) - 1} more bad bars)" if len(bad) > 1 else ""
    return InvalidRequest(
        f"{name}, {first.path}: {first.allowed}: {first.value}{more}. Nothing was imported; what was stored before is "
        "untouched. Correct the file, or import with --repair, which drops such bars and says so.",
        violations=violations,
        reason="BAD_MARKET_DATA",
    )


def _check_spacing(name: str, bars: Bars, frame: pl.DataFrame, unit: str) -> None:
    """Bars must not overlap, and some must follow one another: the timeframe is only as true as the user's word."""
    import numpy as np

    if len(bars) < 2:
        return
    gaps, length = np.diff(bars.time), duration_ns(bars.timeframe)
    at = int(np.argmin(gaps))
    shortest = int(gaps[at])
    # A day is 23 hours long when clocks go forward.
    if shortest * 10 < length * 9:
        line = frame.get_column("line")[at + 1]
        raise refused(
            name,
            f"{unit} {line}",
            f"a bar {_said(shortest)} after the one before",
            f"{bars.timeframe} bars are {_said(length)} apart: give the file's true --timeframe",
        )
    if len(bars) >= LEAST_FOR_SPACING and shortest >= 2 * length:
        fitting = [one for one in TIMEFRAMES if duration_ns(one) <= shortest]
        allowed = f"some bars {_said(length)} apart for {bars.timeframe}; is it --timeframe {fitting[-1]}?"
        raise refused(name, f"{unit} 1", f"bars at least {_said(shortest)} apart", allowed)


def _said(nanoseconds: int) -> str:
    minutes = nanoseconds / 60e9
    if minutes >= 1440:
        return f"{minutes / 1440:g} days"
    return f"{minutes / 60:g} hours" if minutes >= 60 else f"{minutes:g} minutes"
