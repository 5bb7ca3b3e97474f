"""Reports: what is read, what is written in the table, and that every kind of result gives a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from holdfast.artifacts import exact
from holdfast.artifacts.manifest import Written, write_artifacts
from holdfast.artifacts.store import open_store
from holdfast.errors import Corrupted, InvalidRequest, NotFound, OperationFailed
from holdfast.report import comparison, draw
from holdfast.report.results import read_backtest, read_history
from holdfast.sdk import AsyncOperation
from holdfast.v1 import operation_pb2
from tests.support.scripted import operation

BARS = 400
PNG = b"\x89PNG\r\n\x1a\n"


def arrow(columns: dict[str, Any]) -> bytes:
    """The columns as an Arrow file."""
    table = pa.table(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def days(numbers: list[int]) -> pa.Array:
    """Days since 2014 as the result's own time type."""
    start = np.datetime64("2014-01-01", "ns").astype("int64")
    return pa.array([int(start) + number * 86_400 * 10**9 for number in numbers], pa.timestamp("ns", tz="UTC"))


def a_result(store_dir: Path, symbols: list[str], trades: int) -> Written:
    """A backtest's result in the store, as the backtester writes it."""
    noise = np.random.default_rng(5).normal(0.0, 1.0, BARS).cumsum()
    equity = 100_000.0 + 300.0 * noise
    table: dict[str, Any] = {
        "time": days(list(range(BARS))),
        "equity": equity,
        "cash": equity,
        "drawdown": 1.0 - equity / np.maximum.accumulate(equity),
        "benchmark": 100_000.0 + 200.0 * noise,
    }
    for symbol in symbols:
        table[f"position.{symbol}"] = np.zeros(BARS)
        # A symbol that begins later has no close yet.
        table[f"close.{symbol}"] = np.concatenate([[np.nan], 2000.0 + 10.0 * noise[1:]])
    entries = [number % (BARS - 10) for number in range(trades)]
    rows: dict[str, Any] = {
        "symbol": pa.array([symbols[number % len(symbols)] for number in range(trades)], pa.string()),
        "direction": pa.array(["long" if number % 3 else "short" for number in range(trades)], pa.string()),
        "entry_time": days(entries),
        "exit_time": days([entry + 5 for entry in entries]),
        "entry_price": pa.array([2000.0] * trades, pa.float64()),
        "exit_price": pa.array([2010.0] * trades, pa.float64()),
        "profit": pa.array([float(number % 2) - 0.5 for number in range(trades)], pa.float64()),
    }
    files = {"equity.arrow": arrow(table), "trades.arrow": arrow(rows)}
    return write_artifacts(open_store(str(store_dir)), "op-1/result-1", files, {"kind": "result"})


def backtested(written: Written) -> AsyncOperation:
    """The handle of a completed backtest with that result."""
    result = operation_pb2.BacktestResult(
        result_uri=written.path,
        result_digest=written.manifest_digest,
        metrics={"total_return": 0.2, "trades": 3.0},
        benchmark_metrics={"total_return": 0.1},
    )
    kind = operation_pb2.OPERATION_KIND_BACKTEST
    return AsyncOperation(None, None, operation("COMPLETED", kind=kind, backtest_result=result))  # type: ignore[arg-type]


def trained(written: Written) -> AsyncOperation:
    """The handle of a completed training with that model."""
    result = operation_pb2.TrainingResult(model_uri=written.path, epochs=3, best_epoch=2)
    return AsyncOperation(None, None, operation("COMPLETED", training_result=result))  # type: ignore[arg-type]


@pytest.mark.parametrize(("symbols", "trades"), [(["SPX"], 12), (["SPX"], 0), (["SPX", "NASDAQ"], 40), (["SPX"], 2000)])
def test_every_backtest_gives_a_picture(tmp_path: Path, symbols: list[str], trades: int) -> None:
    written = a_result(tmp_path / "store", symbols, trades)
    draw(backtested(written), str(tmp_path / "store"), tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(PNG)


def test_a_training_gives_its_curves(tmp_path: Path) -> None:
    records = [
        {
            "epoch": number,
            "train_loss": 1.0 / number,
            "val_loss": 1.1 / number,
            "val_accuracy": 0.4,
            "learning_rate": 0.1,
        }
        for number in (1, 2, 3)
    ]
    store = open_store(str(tmp_path / "store"))
    written = write_artifacts(store, "op-1/model-1", {"history.json": exact.dumps(records)}, {"kind": "model"})
    assert read_history(store, written.path)["val_loss"].tolist() == [1.1, 1.1 / 2, 1.1 / 3]
    draw(trained(written), str(tmp_path / "store"), tmp_path / "picture.svg")
    assert "<svg" in (tmp_path / "picture.svg").read_text()


def test_a_history_with_an_infinite_loss_is_drawn(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    records = [{"epoch": 1, "train_loss": float("inf"), "val_loss": float("nan")}]
    written = write_artifacts(store, "op-1/model-1", {"history.json": exact.dumps(records)}, {"kind": "model"})
    draw(trained(written), str(tmp_path / "store"), tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(PNG)


def test_series_are_what_was_stored(tmp_path: Path) -> None:
    written = a_result(tmp_path, ["SPX", "NASDAQ"], 4)
    series = read_backtest(open_store(str(tmp_path)), written.path, written.manifest_digest)
    assert str(series.time[0])[:10] == "2014-01-01"
    assert list(series.closes) == ["SPX", "NASDAQ"]
    assert np.isnan(series.closes["SPX"][0])
    assert series.trades["NASDAQ"].long.tolist() == [True, False]
    assert series.trades["SPX"].profit.tolist() == [-0.5, -0.5]


def test_a_damaged_result_is_refused(tmp_path: Path) -> None:
    written = a_result(tmp_path / "store", ["SPX"], 4)
    (file,) = tmp_path.rglob("equity.arrow")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(Corrupted, match=r"equity\.arrow"):
        draw(backtested(written), str(tmp_path / "store"), tmp_path / "picture.png")
    assert not (tmp_path / "picture.png").exists()


def test_a_result_that_is_gone_is_not_found(tmp_path: Path) -> None:
    written = Written(path="op-9/result-1", manifest_digest="", content_digest="", size_bytes=0)
    with pytest.raises(NotFound):
        draw(backtested(written), str(tmp_path / "store"), tmp_path / "picture.png")


def test_a_picture_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    written = a_result(tmp_path / "store", ["SPX"], 4)
    for name in ("no/such/folder.png", "picture.unknown"):
        with pytest.raises(InvalidRequest, match="Cannot write the picture"):
            draw(backtested(written), str(tmp_path / "store"), tmp_path / name)


def test_an_operation_without_a_result_has_no_picture(tmp_path: Path) -> None:
    failed = AsyncOperation(None, None, operation("FAILED"))  # type: ignore[arg-type]
    with pytest.raises(OperationFailed):
        draw(failed, str(tmp_path), tmp_path / "picture.png")


def test_the_table_has_what_is_known_and_dashes_for_the_rest() -> None:
    rows = comparison(
        {"total_return": -0.0512, "sharpe": float("nan"), "final_equity": 94_880.0, "trades": 1234.0, "odd": 1.0},
        {"total_return": 0.5, "sharpe": 0.7},
    )
    assert rows == [
        ["total return", "-5.12%", "50.0%"],
        ["Sharpe ratio", "–", "0.70"],
        ["final equity", "94,880.00", "–"],
        ["trades", "1,234", "–"],
    ]
