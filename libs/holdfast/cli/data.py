"""`holdfast data …`: brings market data into the data directory of this machine."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from holdfast.market import MarketStore, Series

__all__ = ["Json", "app", "import_data", "list_data", "sample"]

app = typer.Typer(help="Import market data, and look at it.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("import")
def import_data(
    file: Annotated[
        Path, typer.Argument(help="CSV or Parquet: Yahoo, HistData, Dukascopy, MetaTrader, or ISO dates in any order.")
    ],
    symbol: Annotated[str, typer.Option(metavar="S", help="What it is called here, such as EURUSD.")],
    timeframe: Annotated[str, typer.Option(metavar="T", help="1m, 5m, 15m, 30m, 1h, 4h, 1d or 1w.")],
    repair: Annotated[
        bool, typer.Option("--repair", help="Drop bad rows, and say which, instead of refusing.")
    ] = False,
    utc_offset: Annotated[
        float | None,
        typer.Option(metavar="HOURS", help="How far east of UTC the file's times are; default: what the format says."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Import bars from a file. One bad line refuses the whole file and leaves what was there untouched."""
    from holdfast.cli.output import console, note, print_json
    from holdfast.market import import_file

    report = import_file(_store(), file, symbol, timeframe, repair=repair, utc_offset_hours=utc_offset)
    if as_json:
        print_json(asdict(report))
        return
    for text in report.notes:
        note(f"Note: {text}")
    if report.dropped_bars:
        reasons = ", ".join(f"{count} {reason}" for reason, count in report.dropped.items())
        note(f"Dropped {report.dropped_bars} bars: {reasons}. For example:")
        for text in report.examples:
            note(f"  {text}")
    text = f"Imported {_text(report.series)} from {file} ({report.format})."
    console().print(text, markup=False, soft_wrap=True)


@app.command()
def sample(as_json: Json = False) -> None:
    """Bring real daily bars of the S&P 500 and the NASDAQ, 1999 to 2018 (from the arch package)."""
    from holdfast.cli.output import console, print_json
    from holdfast.market import install_sample

    found = install_sample(_store())
    if as_json:
        print_json([asdict(report.series) for report in found])
        return
    for report in found:
        console().print(f"Installed {_text(report.series)}.", markup=False, soft_wrap=True)


@app.command("list")
def list_data(as_json: Json = False) -> None:
    """List what is stored."""
    from holdfast.cli.output import note, print_json, table

    found = _store().catalogue()
    if as_json:
        print_json([asdict(series) for series in found])
        return
    if not found:
        note("No market data yet. Bring some with `holdfast data sample` or `holdfast data import FILE`.")
        return
    rows = [
        [
            series.symbol,
            series.timeframe,
            f"{series.bars:,}",
            f"{series.start:%Y-%m-%d}",
            f"{series.end:%Y-%m-%d}",
            series.source,
            series.digest[:12],
        ]
        for series in found
    ]
    table(["SYMBOL", "TIMEFRAME", "BARS", "FROM", "TO", "SOURCE", "DIGEST"], rows, right=["BARS"])


def _store() -> MarketStore:
    from holdfast.market import MarketStore
    from holdfast.rpc.logs import configure_logging
    from holdfast.settings import load_settings

    configure_logging("cli", level="warning")
    return MarketStore(load_settings().market_dir)


def _text(series: Series) -> str:
    return f"{series.symbol} {series.timeframe}: {series.bars:,} bars, {series.start:%Y-%m-%d} to {series.end:%Y-%m-%d}"
