"""One backtest run as the worker sees it: results, progress, stops, failures, resumes that must be refused or noted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from holdfast.artifacts import exact, local
from holdfast.artifacts.catalogue import load_checkpoint
from holdfast.artifacts.manifest import read_artifacts, write_artifacts
from holdfast.errors import Corrupted, InvalidRequest, NotFound, NotPossible, StoreFull
from holdfast.features.inputs import build_inputs
from holdfast.market import Bars, MarketStore
from holdfast.models.bundle import load_bundle
from holdfast.run.contract import RunStopped, StopKind
from holdfast.run.market import read_market
from holdfast.services.backtester.loading import prepare
from holdfast.services.backtester.run import execute
from holdfast.services.backtester.state import KernelState
from holdfast.services.trainer.samples import build_samples
from holdfast.v1 import checkpoint_pb2, operation_pb2
from tests.exact.backtest import (
    Backtest,
    FakeRun,
    World,
    make_world,
    report_every_chunk,
    result_digests,
    run_uninterrupted,
)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path, bars=900)


@pytest.fixture(autouse=True)
def _save_at_every_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHECKPOINT_SPACING_SECONDS", "0")
    report_every_chunk(monkeypatch)


def table(content: bytes) -> Any:
    with pa.ipc.open_file(pa.BufferReader(content)) as reader:
        return reader.read_all()


def stop_after(bars: int, kind: StopKind = StopKind.CANCEL) -> Any:
    return lambda run: kind if run.bar >= bars else None


def cut(world: World, **options: Any) -> tuple[Backtest, checkpoint_pb2.Checkpoint]:
    """A backtest that was cancelled somewhere in the middle, and its checkpoint."""
    backtest = Backtest(world, "cut", every=20, **options)
    run, result = backtest.run(stop_after(300))
    assert result is None
    return backtest, run.saved[-1]


def test_the_result_tells_the_whole_story(world: World) -> None:
    run, result = Backtest(world, "whole").run()
    assert result is not None
    files = read_artifacts(world.store, result.result_uri, result.result_digest).files
    assert sorted(files) == ["benchmark.json", "equity.arrow", "metrics.json", "trades.arrow"]
    trades, equity = table(files["trades.arrow"]), table(files["equity.arrow"])
    assert trades.num_rows == result.trades > 10
    assert set(trades["direction"].to_pylist()) == {"long", "short"}
    assert set(trades["reason"].to_pylist()) <= {"signal", "stop_loss", "take_profit", "end_of_data"}
    assert equity.num_rows == 900
    assert equity.column_names == ["time", "equity", "cash", "drawdown", "benchmark", "position.SYN0", "close.SYN0"]
    assert str(equity["time"].type) == "timestamp[ns, tz=UTC]"
    assert json.loads(equity.schema.metadata[b"symbols"]) == ["SYN0"]
    gained = sum(trades["profit"].to_pylist())
    assert equity["equity"][-1].as_py() == pytest.approx(100_000.0 + gained)
    assert dict(result.metrics) == exact.loads(files["metrics.json"])
    assert dict(result.benchmark_metrics) == exact.loads(files["benchmark.json"])
    assert result.metrics["final_equity"] == equity["equity"][-1].as_py()
    assert result.metrics["bars_per_year"] == pytest.approx(365.25 * 24)
    assert result.benchmark_metrics["trades"] == 1.0
    assert [run.reports[0].phase, run.reports[-1].phase] == ["loading data", "backtesting"]
    assert (run.reports[-1].unit, run.reports[-1].total_units, run.reports[-1].unit_name) == (900, 900, "bar")
    assert run.reports[-1].metrics["equity"] == result.metrics["final_equity"]


def test_periodic_checkpoints_fall_on_their_interval(world: World) -> None:
    run, _ = Backtest(world, "periodic", every=250).run()
    assert run.saved
    assert all(checkpoint.unit % 250 == 0 and checkpoint.unit_name == "bar" for checkpoint in run.saved)
    assert {checkpoint.type for checkpoint in run.saved} == {checkpoint_pb2.CHECKPOINT_TYPE_PERIODIC}


@pytest.mark.parametrize(
    ("kind", "type_"),
    [
        (StopKind.CANCEL, checkpoint_pb2.CHECKPOINT_TYPE_CANCELLATION),
        (StopKind.SHUTDOWN, checkpoint_pb2.CHECKPOINT_TYPE_SHUTDOWN),
    ],
)
def test_a_stop_saves_what_was_traded(world: World, kind: StopKind, type_: Any) -> None:
    run, result = Backtest(world, "stopped", every=20).run(stop_after(300, kind))
    assert result is None
    assert run.saved[-1].type == type_
    assert run.saved[-1].unit == 300


def test_a_stop_while_loading_saves_nothing(world: World) -> None:
    backtest = Backtest(world, "early")
    run = FakeRun(backtest.assignment(), stop_after(0))
    with pytest.raises(RunStopped):
        execute(run)
    assert not run.saved


def test_a_failure_saves_the_last_good_state(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    backtest = Backtest(world, "failing", every=100)
    advance = KernelState.advance

    def fail(self: KernelState, stop: int, *arguments: Any) -> None:
        if stop > 500:
            raise MemoryError("no memory")
        advance(self, stop, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(KernelState, "advance", fail)
        run = FakeRun(backtest.assignment())
        with pytest.raises(MemoryError, match="no memory"):
            execute(run)
    assert (run.saved[-1].type, run.saved[-1].unit) == (checkpoint_pb2.CHECKPOINT_TYPE_FAILURE, 500)
    _, result = backtest.run(checkpoint=run.saved[-1])
    assert result is not None
    assert result_digests(world, result) == result_digests(world, run_uninterrupted(world))


def test_a_result_that_cannot_be_written_keeps_the_trading(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    backtest = Backtest(world, "unwritten")

    def refuse(*_: Any) -> None:
        raise OSError("the store is full")

    with monkeypatch.context() as patch:
        patch.setattr("holdfast.run.session.write_artifacts", refuse)
        run = FakeRun(backtest.assignment())
        with pytest.raises(OSError, match="the store is full"):
            execute(run)
    assert run.saved[-1].unit == 900
    _, result = backtest.run(checkpoint=run.saved[-1])
    assert result is not None
    assert result_digests(world, result) == result_digests(world, run_uninterrupted(world))


def change_data(world: World, *, drop: int | None = None) -> None:
    """Raises the last 100 closes a little, or drops one bar."""
    market = MarketStore(world.market_dir)
    bars = market.load("SYN0", "1h")
    columns = {name: getattr(bars, name).copy() for name in ("time", "open", "high", "low", "close", "volume")}
    columns["close"][-100:] = np.minimum(columns["close"][-100:] * 1.001, columns["high"][-100:])
    if drop is not None:
        columns = {name: np.delete(column, drop) for name, column in columns.items()}
    market.write(Bars("SYN0", "1h", **columns), "changed")


def test_changed_market_data_is_refused(world: World) -> None:
    backtest, checkpoint = cut(world)
    change_data(world)
    with pytest.raises(NotPossible, match="--allow-data-change") as caught:
        backtest.run(checkpoint=checkpoint)
    assert caught.value.reason == "MARKET_DATA_CHANGED"


def test_changed_market_data_may_be_allowed_and_is_said_to_the_end(world: World) -> None:
    backtest, checkpoint = cut(world)
    change_data(world)
    backtest.allow_data_change = True
    run, result = backtest.run(stop_after(20), checkpoint=checkpoint)
    assert result is None
    assert [kind for kind, _, _ in run.notices] == ["MARKET_DATA_CHANGED"] * 2
    run, result = backtest.run(checkpoint=run.saved[-1])
    assert result is not None
    assert not run.notices, "each is said once"
    changed, trained = result.notes
    assert f"Market data changed at bar {checkpoint.unit}" in changed
    assert "differ from those that the model was trained on" in trained


def test_an_old_model_on_edited_data_is_noted(world: World) -> None:
    market = MarketStore(world.market_dir)
    before = market.digest(["SYN0"], ["1h", "4h"])
    change_data(world)
    run, result = Backtest(world, "old-model").run()
    assert result is not None
    ((kind, message, details),) = run.notices
    assert kind == "MARKET_DATA_CHANGED"
    assert message == (
        f"The stored series differ from those that the model was trained on (SYN0 1h, 4h; digest {before[:12]} then, "
        f"{details['after'][:12]} now): bars were edited, or only newer ones were added."
    )
    assert (details["before"], details["after"]) == (before, market.digest(["SYN0"], ["1h", "4h"]))
    assert list(result.notes) == [message]


def test_a_model_whose_series_are_gone_may_trade_others(world: World) -> None:
    market = MarketStore(world.market_dir)
    bars = market.load("SYN0", "1h")
    columns = {name: getattr(bars, name) for name in ("time", "open", "high", "low", "close", "volume")}
    market.write(Bars("OTHER", "1h", **columns), "copied")
    shutil.rmtree(world.market_dir / "SYN0")
    assignment = Backtest(world, "other-symbol").assignment()
    assert assignment.backtest is not None
    changed = json.loads(world.strategy.canonical_json())
    changed["data"]["symbols"] = ["OTHER"]
    assignment.backtest.strategy = json.dumps(changed)
    result = execute(FakeRun(assignment))
    (note,) = result.notes
    assert "(SYN0 1h, 4h) are no longer stored" in note


def test_a_full_store_fails_with_a_reason_and_keeps_the_trading(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORE_FULL_WAIT_SECONDS", "0")
    backtest = Backtest(world, "full")

    def full(directory: Path, needed: int) -> None:
        if directory.name.startswith("result-"):
            raise OSError(28, "No space left on device", str(directory))

    with monkeypatch.context() as patch:
        patch.setattr(local, "check_room", full)
        run = FakeRun(backtest.assignment())
        with pytest.raises(StoreFull, match="full/result-1") as caught:
            execute(run)
    assert caught.value.reason == "STORE_FULL"
    assert (run.saved[-1].unit, run.saved[-1].type) == (900, checkpoint_pb2.CHECKPOINT_TYPE_FAILURE)
    _, result = backtest.run(checkpoint=run.saved[-1])
    assert result is not None
    assert result_digests(world, result) == result_digests(world, run_uninterrupted(world))


def test_the_first_block_of_an_attempt_is_saved_whatever_the_spacing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHECKPOINT_SPACING_SECONDS", "3600")
    backtest = Backtest(world, "spaced", every=300)
    run, result = backtest.run()
    assert result is not None
    assert [saved.unit for saved in run.saved] == [300]
    run, _ = backtest.run(checkpoint=run.saved[0])
    assert [saved.unit for saved in run.saved] == [600]


def test_bars_missing_from_the_past_cannot_be_allowed(world: World) -> None:
    backtest, checkpoint = cut(world, allow_data_change=True)
    change_data(world, drop=485)
    with pytest.raises(NotPossible, match="bars were added or removed") as caught:
        backtest.run(checkpoint=checkpoint)
    assert caught.value.reason == "MARKET_DATA_CHANGED"


def test_another_fingerprint_is_said(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    backtest, checkpoint = cut(world)
    monkeypatch.setattr("holdfast.fingerprint.fingerprint", lambda: {"cpu": "another"})
    run, result = backtest.run(checkpoint=checkpoint)
    assert result is not None
    assert [kind for kind, _, _ in run.notices] == ["FINGERPRINT_CHANGED"]
    assert "last bits" in result.notes[0]


def rewritten(world: World, checkpoint: checkpoint_pb2.Checkpoint, change: Any) -> checkpoint_pb2.Checkpoint:
    """The same checkpoint with its state or files changed by somebody who also made the digests right."""
    reference = checkpoint_pb2.CheckpointRef(checkpoint_id=checkpoint.checkpoint_id)
    loaded = load_checkpoint(world.store, reference, operation_id="cut")
    manifest = read_artifacts(world.store, checkpoint.uri).manifest
    state, files = loaded.state, dict(loaded.files)
    change(state, files)
    files["state.json"] = exact.dumps(state)
    world.store.delete(checkpoint.uri)
    fields = {name: value for name, value in manifest.items() if name not in ("format", "artifacts")}
    written = write_artifacts(world.store, checkpoint.checkpoint_id, files, fields)
    changed = checkpoint_pb2.Checkpoint()
    changed.CopyFrom(checkpoint)
    changed.manifest_digest = written.manifest_digest
    return changed


@pytest.mark.parametrize(
    "change",
    [
        lambda state, files: state.update(format=2),
        lambda state, files: state["backtest"].update(symbols=["OTHER"]),
        lambda state, files: state["backtest"].update(model="0" * 64),
        lambda state, files: state.update(backtest=[]),
        lambda state, files: state.update(notes="text"),
        lambda state, files: files.clear(),
        lambda state, files: files.update({"kernel.safetensors": b"\0" * 64}),
        lambda state, files: files.update({"kernel.safetensors": files["kernel.safetensors"][:-8]}),
    ],
)
def test_hostile_checkpoints_are_refused(world: World, change: Any) -> None:
    backtest, checkpoint = cut(world)
    with pytest.raises(Corrupted) as caught:
        backtest.run(checkpoint=rewritten(world, checkpoint, change))
    assert caught.value.reason == "CHECKPOINT_CORRUPTED"


def test_a_model_of_another_strategy_is_refused(world: World) -> None:
    backtest = Backtest(world, "mismatch")
    assignment = backtest.assignment()
    assert assignment.backtest is not None
    changed = json.loads(world.strategy.canonical_json())
    changed["name"] = "other"
    changed["indicators"]["rsi_14"]["params"]["timeperiod"] = 10
    assignment.backtest.strategy = json.dumps(changed)
    with pytest.raises(NotPossible, match=r"'exact_mlp', whose indicators.*'other'") as caught:
        execute(FakeRun(assignment))
    assert caught.value.reason == "MODEL_MISMATCH"


def test_other_costs_may_trade_the_same_model(world: World) -> None:
    assignment = Backtest(world, "costly").assignment()
    assert assignment.backtest is not None
    changed = json.loads(world.strategy.canonical_json())
    changed["decisions"]["commission"] = 0.01
    assignment.backtest.strategy = json.dumps(changed)
    costly = execute(FakeRun(assignment))
    assert costly.metrics["commission_paid"] > run_uninterrupted(world).metrics["commission_paid"]


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"start_date": "2031-01-01", "end_date": "2031-02-01"}, InvalidRequest),
        ({"start_date": "2001-02-01", "end_date": "2001-01-01"}, InvalidRequest),
        ({"initial_cash": -5.0}, InvalidRequest),
        ({"initial_cash": float("nan")}, InvalidRequest),
        ({"model_uri": "none/model-1"}, NotFound),
        ({"model_uri": "/etc"}, InvalidRequest),
    ],
)
def test_bad_requests_get_a_clear_answer(world: World, fields: dict[str, Any], error: type[Exception]) -> None:
    assignment = Backtest(world, "bad").assignment()
    assert assignment.backtest is not None
    assignment.backtest.MergeFrom(operation_pb2.BacktestSpec(**fields))
    with pytest.raises(error):
        execute(FakeRun(assignment))


def test_several_symbols_share_one_account(tmp_path: Path) -> None:
    world = make_world(tmp_path, bars=1500, symbols=3)
    result = run_uninterrupted(world)
    files = read_artifacts(world.store, result.result_uri).files
    trades, equity = table(files["trades.arrow"]), table(files["equity.arrow"])
    assert set(trades["symbol"].to_pylist()) == {"SYN0", "SYN1", "SYN2"}
    assert result.benchmark_metrics["trades"] == 3.0
    worth = np.array(equity["cash"]).copy()
    for symbol in ("SYN0", "SYN1", "SYN2"):
        held, close = np.array(equity[f"position.{symbol}"]), np.array(equity[f"close.{symbol}"])
        assert np.isnan(close).any()
        # The last close known marks a missing bar.
        last = np.maximum.accumulate(np.where(np.isnan(close), -1, np.arange(len(close))))
        worth += np.where(last >= 0, held * close[np.maximum(last, 0)], 0.0)
    assert np.array(equity["equity"]) == pytest.approx(worth)


@pytest.mark.parametrize("model", ["mlp", "lstm"])
def test_the_network_sees_what_the_trainer_showed_it(tmp_path: Path, model: str) -> None:
    world = make_world(tmp_path, bars=900, model=model)
    market = MarketStore(world.market_dir)
    series, _ = read_market(market, world.strategy.data.symbols, world.strategy.data.timeframes)
    samples = build_samples(world.strategy, series, torch.device("cpu"))
    spec = operation_pb2.BacktestSpec(model_uri=world.model_uri)
    prepared = prepare(spec, world.store, market, lambda: None)
    # The world's normalisation is its own, so rows are compared as the trainer's would be with that one.
    bundle = load_bundle(world.store, world.model_uri)
    raw = build_inputs(world.strategy, series)["SYN0"]
    expected = bundle.normalisation.apply(raw.values)[raw.first_valid :]
    shown = prepared.inference._windows[0].values.numpy()[raw.first_valid :]
    assert shown.tobytes() == expected.tobytes()
    test = samples.test.numpy()
    assert len(test) > 800
    assert prepared.inference._usable[0][test].all()
    assert (samples.inputs.at(samples.test[:3]).shape) == prepared.inference._windows[0].at(samples.test[:3]).shape
