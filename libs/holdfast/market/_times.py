"""Reads a column of times written as text. Owns the spellings; the caller owns what an unreadable one means."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from holdfast.market.formats import refused

if TYPE_CHECKING:
    import polars as pl

__all__ = ["parse_times"]

_SAMPLE: Final = 50
_DATES: Final = ("%Y-%m-%d", "%Y.%m.%d", "%Y/%m/%d", "%Y%m%d", "%d.%m.%Y", "%d-%m-%Y")
# 03/04/2018 is a day in March or in April: taken only if the file itself decides.
_UNSURE: Final = ("%m/%d/%Y", "%d/%m/%Y")
_CLOCKS: Final = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S%.f", " %H%M%S", " %H%M")
_SAME: Final = (
    (r"^(\d{4}-\d{2}-\d{2})T", "${1} "),
    (r"\s*(?:Z|GMT|UTC)$", "+0000"),
    (r"(:\d{2}(?:\.\d+)?)\s*(?:GMT|UTC)?([+-]\d{2}):?(\d{2})$", "${1}${2}${3}"),
)
_EPOCHS: Final = {10: 1_000_000_000, 13: 1_000_000, 16: 1000, 19: 1}  # digits: nanoseconds per unit


def parse_times(name: str, text: pl.Series, *, daily: bool) -> pl.Series:
    """Nanoseconds since 1970 as Int64, null where unreadable. An offset in the text is taken into account.

    `daily`: bars of a day or more whose local times are all midnight keep their local date, as is the custom for them.
    Raises InvalidRequest when no spelling fits, or when day and month cannot be told apart.
    """
    import polars as pl

    plain = text.str.strip_chars()
    for spelling, same in _SAME:
        # Over millions of lines a replacement costs seconds, and most files need none.
        if plain.drop_nulls().head(_SAMPLE).str.contains(spelling).any():
            plain = plain.str.replace(spelling, same)
    sample = plain.drop_nulls().head(_SAMPLE)
    if not len(sample):
        raise refused(name, "line 1", "no times", "a time on every line")
    digits = re.fullmatch(r"\d+", str(sample[0]))
    if digits and len(sample[0]) in _EPOCHS:
        numbers = plain.str.to_integer(strict=False)
        return (numbers * _EPOCHS[len(sample[0])]).cast(pl.Int64)
    zoned = bool(re.search(r":\d{2}(?:\.\d+)?[+-]\d{4}$|\d{6}[+-]\d{4}$", str(sample[0])))
    if zoned and daily:
        local = plain.str.replace(r"[+-]\d{4}$", "")
        if local.str.contains(r" 00:00(?::00(?:\.0+)?)?$").all():
            plain, sample, zoned = local, local.drop_nulls().head(_SAMPLE), False
    best = max(_spellings(_DATES, zoned), key=lambda one: _readable(sample, one))
    if not _readable(sample, best):
        best = _decide(name, plain, sample, zoned)
    return _read(plain, best)


def _spellings(dates: tuple[str, ...], zoned: bool) -> list[str]:
    return [date + clock + ("%z" if zoned else "") for date in dates for clock in _CLOCKS]


def _read(text: pl.Series, spelling: str) -> pl.Series:
    import polars as pl

    if " " not in spelling:
        return text.str.to_date(spelling, strict=False).cast(pl.Datetime("ns")).cast(pl.Int64)
    return text.str.to_datetime(spelling, strict=False, time_unit="ns").cast(pl.Int64)


def _readable(sample: pl.Series, spelling: str) -> int:
    import polars as pl

    try:
        return int(_read(sample, spelling).is_not_null().sum())
    except pl.exceptions.PolarsError:
        return 0  # polars refuses some spellings for some texts outright


def _decide(name: str, text: pl.Series, sample: pl.Series, zoned: bool) -> str:
    fitting = [one for one in _spellings(_UNSURE, zoned) if _readable(sample, one)]
    if not fitting:
        raise refused(
            name, "line 1", f"the time {sample[0]!r}", "a date such as 2018-01-31, or with a time, 2018-01-31 17:00"
        )
    counts = {one: _readable(text, one) for one in fitting}
    best = max(fitting, key=lambda one: counts[one])
    if sum(count == counts[best] for count in counts.values()) > 1:
        allowed = "dates whose day and month can be told apart, such as 2018-01-31"
        raise refused(name, "line 1", f"the time {sample[0]!r}", allowed)
    return best
