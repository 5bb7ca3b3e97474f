"""Reads a file into one frame of candidate bars, with each one's line and its text. Judges no bar."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from holdfast.errors import InvalidRequest
from holdfast.market._times import parse_times
from holdfast.market.bars import COLUMNS
from holdfast.market.formats import QUOTED, Layout, columns_by_name, recognise, refused

__all__ = ["Content", "read_bars"]

HEAD: Final = 8192  # bytes looked at to recognise the layout
HOUR: Final = 3_600_000_000_000  # nanoseconds


@dataclass(frozen=True, slots=True)
class Content:
    """What a file holds.

    `frame` has for each candidate bar: line (from 1), ragged, time (ns), the five numbers, and their `<column>_text`.
    """

    frame: pl.DataFrame
    format: str
    # What a position in the file is called: a text file has lines, a Parquet file has rows.
    unit: str
    notes: Sequence[str]


def read_bars(path: Path, *, daily: bool, utc_offset_hours: float | None) -> Content:
    """Reads CSV or Parquet, recognised by content. Raises InvalidRequest when it is neither."""
    with path.open("rb") as file:
        magic = file.read(4)
    if magic == b"PAR1":
        content = _read_parquet(path, daily)
        shift = utc_offset_hours or 0.0
    else:
        text = _decoded(path, magic)
        layout = recognise(path.name, text[:HEAD].decode("utf-8", "replace").splitlines())
        content = Content(_read_text(path.name, text, layout, daily), layout.format, "line", layout.notes)
        shift = layout.utc_offset_hours if utc_offset_hours is None else utc_offset_hours
    if not shift or daily:
        return content
    moved = content.frame.with_columns(pl.col("time") - round(shift * HOUR))
    return Content(moved, content.format, content.unit, content.notes)


def _decoded(path: Path, magic: bytes) -> bytes:
    """The file as UTF-8 without a byte-order mark; gzip is unpacked, UTF-16 (MetaTrader 5) converted."""
    data = path.read_bytes()
    if magic[:2] == b"PK":
        raise refused(path.name, "line 1", "a zip archive", "the file inside: unpack it first")
    try:
        if magic[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return data.decode("utf-16").encode()
        data.decode("utf-8")
    except (UnicodeDecodeError, OSError, EOFError, zlib.error) as error:
        raise refused(path.name, "line 1", f"bytes that are not text ({error})", "CSV text or Parquet") from None
    return data.removeprefix(b"\xef\xbb\xbf")


def _read_text(name: str, text: bytes, layout: Layout, daily: bool) -> pl.DataFrame:
    ragged = _ragged_lines(text, layout)
    raw = pl.read_csv(
        text,
        has_header=False,
        separator=layout.delimiter,
        quote_char=None,
        infer_schema=False,
        row_index_name="line",
        row_index_offset=1,
        truncate_ragged_lines=True,
        schema={f"column_{position}": pl.String for position in range(layout.width)},
    )
    columns = [f"column_{position}" for position in range(layout.width)]
    raw = raw.with_columns(pl.col(columns).str.strip_chars(QUOTED))
    # Blank lines keep their number and hold no bar.
    raw = raw.filter(~pl.all_horizontal(pl.col(columns).is_null() | (pl.col(columns) == "")))
    if layout.header:
        raw = raw.slice(1)
    if not len(raw):
        raise refused(name, "line 1", "a header and nothing below it", "at least one bar")
    at = {column: f"column_{position}" for column, position in layout.columns.items()}
    time_text = pl.col(at["time"])
    if "clock" in at:
        time_text = time_text + " " + pl.col(at["clock"])
    numbers = [(pl.col(at[one]) if one in at else pl.lit("0")).alias(f"{one}_text") for one in COLUMNS[1:]]
    frame = raw.select(
        pl.col("line").cast(pl.Int64),
        pl.col("line").is_in(ragged).alias("ragged"),
        time_text.alias("time_text"),
        *numbers,
    )
    return frame.with_columns(
        parse_times(name, frame.get_column("time_text"), daily=daily).alias("time"),
        *(pl.col(f"{one}_text").cast(pl.Float64, strict=False).alias(one) for one in COLUMNS[1:]),
    )


def _ragged_lines(text: bytes, layout: Layout) -> list[int]:
    """Lines with more or fewer columns than the first."""
    delimiter, expected = layout.delimiter.encode(), layout.width - 1
    lines = enumerate(text.split(b"\n"), start=1)
    return [number for number, line in lines if line.count(delimiter) != expected and line.strip()]


def _read_parquet(path: Path, daily: bool) -> Content:
    try:
        raw = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise refused(
            path.name, "row 1", f"a Parquet file that cannot be read ({error})", "a whole Parquet file"
        ) from None
    at, notes = columns_by_name(path.name, raw.columns)
    names = {column: raw.columns[position] for column, position in at.items()}
    time = _parquet_times(path.name, raw.get_column(names["time"]), daily)
    values = []
    for one in COLUMNS[1:]:
        column = raw.get_column(names[one]) if one in names else pl.Series(one, [0.0]).new_from_index(0, len(raw))
        if not (column.dtype.is_numeric() or column.dtype == pl.String):
            raise refused(path.name, "row 1", f"column {one} of type {column.dtype}", "numbers")
        values.append(column.cast(pl.Float64, strict=False).alias(one))
    frame = pl.DataFrame([time.alias("time"), *values]).with_row_index("line", offset=1)
    frame = frame.with_columns(
        pl.col("line").cast(pl.Int64),
        pl.lit(value=False).alias("ragged"),
        raw.get_column(names["time"]).cast(pl.String).alias("time_text"),
        *(pl.col(one).cast(pl.String).alias(f"{one}_text") for one in COLUMNS[1:]),
    )
    return Content(frame, "Parquet", "row", notes)


def _parquet_times(name: str, column: pl.Series, daily: bool) -> pl.Series:
    if column.dtype == pl.String:
        return parse_times(name, column, daily=daily)
    if column.dtype == pl.Date or isinstance(column.dtype, pl.Datetime):
        return column.cast(pl.Datetime("ns", getattr(column.dtype, "time_zone", None))).cast(pl.Int64)
    if column.dtype.is_integer():
        return parse_times(name, column.cast(pl.String), daily=daily)
    raise InvalidRequest(
        f"{name}: the time column has type {column.dtype}; it must be a date, a time, text or whole numbers."
    )
