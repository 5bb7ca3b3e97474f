"""Recognises how a text file of bars is laid out. Looks at a few lines; parses no file and stores nothing.

Known by sight:
    Yahoo         Date,Open,High,Low,Close,Adj Close,Volume
    HistData      20180101 170000;o;h;l;c;v without a header, in EST without daylight saving
    Dukascopy     Gmt time,Open,… with 01.01.2017 22:00:00.000
    MetaTrader    2018.01.01,00:00,o,h,l,c,v without a header (4); <DATE> <TIME> <OPEN> … (5)
Anything else with a header that names its columns, in any order and case; or without one, in the order time, open,
high, low, close, volume.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from holdfast.errors import InvalidRequest, Violation

__all__ = ["QUOTED", "Layout", "columns_by_name", "recognise", "refused"]

# Around a field; a delimiter inside quotes does not occur in files of bars, so that a line is always one bar.
QUOTED: Final = ' "\r'
PRICES: Final = ("open", "high", "low", "close")
_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "time": ("time", "datetime", "timestamp", "gmt time", "local time", "open time", "date time", "utc", "date"),
    "date": ("date", "day"),
    "clock": ("time",),
    "open": ("open", "o"),
    "high": ("high", "h"),
    "low": ("low", "l"),
    "close": ("close", "c", "last", "close/last"),
    "volume": ("volume", "vol", "v", "tickvol", "tick volume", "tickvolume"),
}
_DELIMITERS: Final = (";", "\t", ",", "|")
_DATE_FIRST: Final = re.compile(
    r"^\s*\d{4}[-./]?\d{1,2}[-./]?\d{1,2}|^\s*\d{1,2}[-./]\d{1,2}[-./]\d{4}|^\s*\d{10,16}\s*$"
)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where each column stands (counted from 0). `clock` is set when date and time of day are two columns."""

    format: str
    delimiter: str
    header: bool
    columns: Mapping[str, int]
    width: int
    # Hours east of UTC of the file's times; HistData is five hours west all year.
    utc_offset_hours: int = 0
    notes: Sequence[str] = field(default=())


def refused(name: str, path: str, value: str, allowed: str) -> InvalidRequest:
    """The error for a file that cannot be imported."""
    return InvalidRequest(
        f"{name}, {path}: {value} is not allowed; {allowed}. "
        "Nothing was imported; what was stored before is untouched.",
        violations=[Violation(path, value, allowed)],
        reason="BAD_MARKET_DATA",
    )


def _split(line: str, delimiter: str) -> list[str]:
    return [item.strip(QUOTED) for item in line.split(delimiter)]


def _plain(name: str) -> str:
    return re.sub(r"[\s_]+", " ", name.strip().strip("<>").strip().casefold())


def columns_by_name(name: str, header: Sequence[str]) -> tuple[dict[str, int], list[str]]:
    """Position of each column by the header's words, and notes on what is left aside.

    Raises InvalidRequest naming what is missing or stands twice.
    """
    plain = [_plain(item) for item in header]
    for position, item in enumerate(plain):
        if item and item in plain[:position]:
            raise refused(name, "line 1", f"column {header[position]!r} a second time", "each column once")
    found: dict[str, int] = {}
    if any(one in plain for one in _NAMES["date"]) and "time" in plain:
        found["time"], found["clock"] = (
            next(plain.index(one) for one in _NAMES["date"] if one in plain),
            plain.index("time"),
        )
    for column in ("time", *PRICES, "volume"):
        for alias in _NAMES[column]:
            if column not in found and alias in plain:
                found[column] = plain.index(alias)
    if missing := [column for column in ("time", *PRICES) if column not in found]:
        listed = ", ".join(repr(item) for item in header) or "nothing"
        raise refused(name, "line 1", f"a header with {listed}", f"it lacks {', '.join(missing)}")
    notes = []
    if "volume" not in found:
        notes.append("The file has no volume; it is stored as 0.")
    aside = [header[position] for position, item in enumerate(plain) if position not in found.values() and item]
    if aside:
        notes.append(f"Columns left aside: {', '.join(aside)}.")
    return found, notes


def recognise(name: str, lines: Sequence[str]) -> Layout:
    """The layout of a file that begins with these lines. Raises InvalidRequest when it is none that is known."""
    filled = [line for line in lines if line.strip()]
    if not filled:
        raise refused(name, "line 1", "an empty file", "bars, one per line")
    first = filled[0]
    delimiter = max(_DELIMITERS, key=lambda one: len(_split(first, one)))
    fields = _split(first, delimiter)
    if len(fields) < 5:
        raise refused(
            name, "line 1", repr(first[:80]), "at least time, open, high, low, close, divided by , ; | or tabs"
        )
    if _DATE_FIRST.match(fields[0]):
        return _headerless(name, fields, delimiter)
    columns, notes = columns_by_name(name, fields)
    return Layout(
        _named(fields), delimiter, True, columns, len(fields), notes=_with_tick_volume(fields, columns, notes)
    )


def _named(header: Sequence[str]) -> str:
    plain = [_plain(item) for item in header]
    if "adj close" in plain:
        return "Yahoo"
    if plain[0] in ("gmt time", "local time"):
        return "Dukascopy"
    return "MetaTrader" if header[0].startswith("<") else "CSV"


def _with_tick_volume(header: Sequence[str], columns: dict[str, int], notes: list[str]) -> list[str]:
    """MetaTrader 5 has both; its real volume is 0 for currencies, so ticks are what a strategy can use."""
    plain = [_plain(item) for item in header]
    if "tickvol" in plain and "vol" in plain and header[0].startswith("<"):
        columns["volume"] = plain.index("tickvol")
        return [note for note in notes if "left aside" not in note] + [
            "Volume is TICKVOL; VOL and SPREAD are left aside."
        ]
    return notes


def _headerless(name: str, fields: Sequence[str], delimiter: str) -> Layout:
    if re.fullmatch(r"\d{8} \d{6}", fields[0]) and delimiter == ";":
        note = "HistData times are EST without daylight saving (UTC-5); they are stored in UTC."
        return Layout("HistData", delimiter, False, _in_order(len(fields)), len(fields), -5, notes=[note])
    if len(fields) >= 6 and re.fullmatch(r"\d{1,2}:\d{2}(:\d{2})?", fields[1]):
        columns = {"time": 0, "clock": 1, **{column: 2 + position for position, column in enumerate(PRICES)}}
        if len(fields) > 6:
            columns["volume"] = 6
        return Layout("MetaTrader", delimiter, False, columns, len(fields))
    if len(fields) > 6:
        raise refused(name, "line 1", f"{len(fields)} columns without a header", "a first line that names the columns")
    return Layout("CSV", delimiter, False, _in_order(len(fields)), len(fields))


def _in_order(width: int) -> dict[str, int]:
    return {column: position for position, column in enumerate(("time", *PRICES, "volume")) if position < width}
