"""A synthetic market, an untrained network, and backtests of it that are interrupted and resumed.

Used by tests/integration/test_backtest_exact.py (short) and by `make exact` (100,000 bars, SIGKILL). The network is
random: exactness does not need a good one, and random decisions keep trades open and orders pending at most cuts.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from holdfast.artifacts.catalogue import discover_checkpoints
from holdfast.artifacts.manifest import read_artifacts, write_artifacts
from holdfast.artifacts.store import Store, open_store
from holdfast.features.inputs import Normalisation, build_inputs
from holdfast.market import Bars, MarketStore
from holdfast.models.bundle import bundle_files
from holdfast.models.networks import build_model
from holdfast.run.contract import Assignment, RunStopped, StopKind
from holdfast.run.market import read_market
from holdfast.services.backtester.run import execute
from holdfast.settings import load_settings
from holdfast.strategy import Strategy, parse_strategy
from holdfast.v1 import checkpoint_pb2, operation_pb2

if TYPE_CHECKING:
    import pytest

__all__ = ["Backtest", "FakeRun", "Killed", "World", "make_world", "result_digests", "run_killed", "run_uninterrupted"]

HOUR: Final = 3_600 * 1_000_000_000  # nanoseconds
WARM_UP: Final = 500  # bars before the start date, rounded down to whole days
EPOCH_DAY: Final = "2001-01-01"

_MODELS: Final = {
    "mlp": "{type: mlp, hidden_sizes: [16, 8]}",
    "lstm": "{type: lstm, hidden_size: 8, window: 5}",
    "gru": "{type: gru, hidden_size: 8, layers: 2, window: 5}",
}

_STRATEGY: Final = """
name: exact_{model}
data:
  symbols: [{symbols}]
  timeframes: [1h, 4h]
  train: {{start: 2001-01-02, end: 2001-01-08}}
  validation: {{start: 2001-01-09, end: 2001-01-12}}
  test: {{start: "{start}", end: "{end}"}}
indicators:
  rsi_14: {{function: RSI, params: {{timeperiod: 14}}}}
  sma_30: {{function: SMA, params: {{timeperiod: 30}}}}
fuzzy_sets:
  rsi:
    input: rsi_14
    sets:
      low: {{trapezoid: [0, 0, 30, 50]}}
      high: {{trapezoid: [50, 70, 100, 100]}}
nn_inputs:
  - {{fuzzy: rsi}}
  - {{indicator: sma_30, transform: price_ratio}}
  - {{indicator: rsi_14, timeframe: 4h}}
  - {{price: close, lags: [0, 1]}}
model: {network}
decisions:
  type: {decision}
  confidence_threshold: 0.34
  min_signal_separation: 2
  position_fraction: 0.6
  stop_loss: 0.02
  take_profit: 0.03
  commission: 0.0005
  slippage: 0.0002
training:
  labels: {{type: {label}, horizon: 5}}
"""


class Killed(BaseException):
    """Stands for SIGKILL inside one process: nothing may handle it."""


@dataclass(frozen=True)
class World:
    """A store with a model in it, a market, and the strategy."""

    store_url: str
    market_dir: Path
    model_uri: str
    strategy: Strategy
    bars: int

    @property
    def store(self) -> Store:
        return open_store(self.store_url)


def make_world(directory: Path, *, bars: int, model: str = "mlp", symbols: int = 1, seed: int = 0) -> World:
    """Hourly random walks of `bars` traded bars after the warm-up; each of several symbols misses bars of its own."""
    generator = np.random.default_rng(seed)
    names = [f"SYN{number}" for number in range(symbols)]
    market_dir, store_url = directory / "market", str(directory / "store")
    market = MarketStore(market_dir)
    first = int(np.datetime64(EPOCH_DAY, "ns").astype(np.int64))
    whole = first + np.arange(bars + WARM_UP // 24 * 24, dtype=np.int64) * HOUR
    for name in names:
        time = whole if symbols == 1 else whole[generator.random(len(whole)) > 0.02]
        market.write(_walk(name, time, generator), "synthetic")
    days = [str(whole[index].astype("datetime64[ns]").astype("datetime64[D]")) for index in (WARM_UP // 24 * 24, -1)]
    label, decision = ("triple_barrier", "classification") if model != "gru" else ("forward_return", "regression")
    text = _STRATEGY.format(
        model=model,
        symbols=", ".join(names),
        start=days[0],
        end=days[1],
        network=_MODELS[model],
        decision=decision,
        label=label,
    )
    strategy = parse_strategy(text)
    return World(store_url, market_dir, _write_model(open_store(store_url), market, strategy, seed), strategy, bars)


def _walk(name: str, time: np.ndarray[tuple[int], np.dtype[np.int64]], generator: np.random.Generator) -> Bars:
    steps = generator.normal(0.0, 0.004, len(time))
    close = 100.0 * np.exp(np.cumsum(steps - steps.mean()))
    open_ = close * np.exp(generator.normal(0.0, 0.001, len(time)))
    high = np.maximum(open_, close) * np.exp(np.abs(generator.normal(0.0, 0.003, len(time))))
    low = np.minimum(open_, close) * np.exp(-np.abs(generator.normal(0.0, 0.003, len(time))))
    return Bars(name, "1h", time.copy(), open_, high, low, close, np.ones(len(time)))


def _write_model(store: Store, market: MarketStore, strategy: Strategy, seed: int) -> str:
    series, _ = read_market(market, strategy.data.symbols, strategy.data.timeframes)
    inputs = next(iter(build_inputs(strategy, series).values()))
    fitted = Normalisation.fit(inputs.values[inputs.first_valid : inputs.first_valid + 300], inputs.normalise)
    torch.manual_seed(seed)
    network = build_model(strategy.model, len(inputs.names), strategy.output_dim)
    with torch.no_grad():
        # Without this an untrained network decides the same on every bar.
        for name, tensor in network.named_parameters():
            tensor.mul_(0.0 if "bias" in name else 3.0)
    files = bundle_files(
        strategy=strategy,
        input_names=inputs.names,
        normalisation=fitted,
        output_scale=1.0,
        best=network.state_dict(),
        final=network.state_dict(),
        best_epoch=1,
        metrics={},
        history=[],
        data_digest=market.digest(strategy.data.symbols, strategy.data.timeframes),
        fingerprint={},
    )
    return write_artifacts(store, "exact/model-1", files, {"kind": "model"}).path


@dataclass
class FakeRun:
    """The run's side of the pipe, without one. `on_look` is asked whether to stop; `bar` is how far the trading is."""

    assignment: Assignment
    on_look: Callable[[FakeRun], StopKind | None] = lambda _: None
    bar: int = 0
    reports: list[operation_pb2.Progress] = field(default_factory=list)
    saved: list[checkpoint_pb2.Checkpoint] = field(default_factory=list)
    notices: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    @property
    def stop_requested(self) -> StopKind | None:
        return self.on_look(self)

    def progress(self, progress: operation_pb2.Progress) -> None:
        self.reports.append(progress)
        self.bar = progress.unit

    def checkpoint_saved(self, checkpoint: checkpoint_pb2.Checkpoint) -> None:
        self.saved.append(checkpoint)

    def notice(self, kind: str, message: str, details: Mapping[str, str] | None = None) -> None:
        self.notices.append((kind, message, dict(details or {})))


def report_every_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes `bar` exact: as it is, the clock decides what is reported."""
    monkeypatch.setattr("holdfast.run.session.PROGRESS_INTERVAL", 0.0)


@dataclass
class Backtest:
    """One operation over its attempts."""

    world: World
    operation_id: str
    every: int = 0
    attempt: int = 0
    allow_data_change: bool = False

    def assignment(self, checkpoint: checkpoint_pb2.Checkpoint | None = None) -> Assignment:
        """The next attempt's assignment."""
        self.attempt += 1
        reference = None
        if checkpoint is not None:
            reference = checkpoint_pb2.CheckpointRef(
                checkpoint_id=checkpoint.checkpoint_id,
                uri=checkpoint.uri,
                manifest_digest=checkpoint.manifest_digest,
            )
        spec = operation_pb2.BacktestSpec(
            strategy=self.world.strategy.canonical_json(),
            model_uri=self.world.model_uri,
            checkpoint_policy=operation_pb2.CheckpointPolicy(every_units=self.every),
            allow_data_change=self.allow_data_change,
        )
        return Assignment(
            operation_id=self.operation_id,
            attempt=self.attempt,
            store_url=self.world.store_url,
            market_dir=self.world.market_dir,
            settings=load_settings(),
            backtest=spec,
            checkpoint=reference,
        )

    def newest(self) -> checkpoint_pb2.Checkpoint | None:
        """The newest checkpoint that is whole, or None."""
        found = discover_checkpoints(self.world.store, self.operation_id)
        return found[0] if found else None

    def run(
        self,
        on_look: Callable[[FakeRun], StopKind | None] = lambda _: None,
        *,
        checkpoint: checkpoint_pb2.Checkpoint | None = None,
    ) -> tuple[FakeRun, operation_pb2.BacktestResult | None]:
        """One attempt, from `checkpoint`; no result when it was stopped or killed."""
        run = FakeRun(self.assignment(checkpoint), on_look)
        try:
            return run, execute(run)
        except (RunStopped, Killed):
            return run, None


def result_digests(world: World, result: operation_pb2.BacktestResult) -> dict[str, str]:
    """SHA-256 of every file of a result."""
    files = read_artifacts(world.store, result.result_uri, result.result_digest).files
    return {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}


def run_uninterrupted(world: World, operation_id: str = "whole") -> operation_pb2.BacktestResult:
    """The result that every other run must equal."""
    _, result = Backtest(world, operation_id).run()
    assert result is not None
    return result


def run_killed(world: World, *, seed: int, kills: int, operation_id: str = "killed") -> dict[str, str]:
    """Runs the backtest in processes that are killed by SIGKILL at random bars and resumed; digests of the end.

    Prints one line per kill.
    """
    chance = random.Random(seed)
    backtest = Backtest(world, operation_id)
    targets = sorted(chance.randrange(1, world.bars) for _ in range(kills))
    for number, target in enumerate([*targets, None], start=1):
        backtest.every = chance.randrange(50, 2000)
        newest = backtest.newest()
        result = _run_in_process(backtest, newest, target)
        if result is not None:
            return result_digests(world, result)
        at = f"{newest.unit_name} {newest.unit}" if newest else "nothing"
        print(f"kill {number}: resumed from {at}, SIGKILL at or after bar {target}")
    raise AssertionError("the last attempt was not killed and must have ended")


def _run_in_process(
    backtest: Backtest, checkpoint: checkpoint_pb2.Checkpoint | None, kill_at: int | None
) -> operation_pb2.BacktestResult | None:
    assignment = backtest.assignment(checkpoint)
    assert assignment.backtest is not None
    arguments = [
        assignment.operation_id,
        str(assignment.attempt),
        assignment.store_url,
        str(assignment.market_dir),
        assignment.backtest.SerializeToString().hex(),
        assignment.checkpoint.SerializeToString().hex() if assignment.checkpoint else "",
        str(kill_at if kill_at is not None else -1),
    ]
    command = [sys.executable, "-m", "tests.exact.backtest", *arguments]
    # Without spacing: the run is over before the first save would be due.
    environment = {**os.environ, "CHECKPOINT_SPACING_SECONDS": "0"}
    ended = subprocess.run(command, stdout=subprocess.PIPE, check=False, env=environment)
    if ended.returncode == -signal.SIGKILL:
        return None
    assert ended.returncode == 0, f"the run ended with {ended.returncode}"
    return operation_pb2.BacktestResult.FromString(bytes.fromhex(ended.stdout.decode().split()[-1]))


def _main() -> None:
    operation_id, attempt, store_url, market_dir, spec, reference, kill_at = sys.argv[1:]

    def look(run: FakeRun) -> None:
        # Only what was reported counts: progress at the bar proves that the run came so far.
        reached = max((report.unit for report in run.reports), default=0)
        saved = max((checkpoint.unit for checkpoint in run.saved), default=0)
        if int(kill_at) >= 0 and max(reached, saved) >= int(kill_at):
            os.kill(os.getpid(), signal.SIGKILL)

    run = FakeRun(
        Assignment(
            operation_id=operation_id,
            attempt=int(attempt),
            store_url=store_url,
            market_dir=Path(market_dir),
            settings=load_settings(),
            backtest=operation_pb2.BacktestSpec.FromString(bytes.fromhex(spec)),
            checkpoint=checkpoint_pb2.CheckpointRef.FromString(bytes.fromhex(reference)) if reference else None,
        ),
        look,
    )
    print(execute(run).SerializeToString().hex())


if __name__ == "__main__":
    _main()
