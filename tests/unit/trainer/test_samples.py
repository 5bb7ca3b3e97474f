"""What the network is shown: windows inside one symbol, spans apart, normalisation from the training span alone."""

from __future__ import annotations

import datetime
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from holdfast.features.inputs import build_inputs
from holdfast.market import MarketStore
from holdfast.models.networks import InputWindows, Recurrent, build_model
from holdfast.run.contract import RunStopped
from holdfast.run.market import Market, read_market
from holdfast.services.trainer.samples import Samples, build_samples
from holdfast.strategy import Strategy, parse_strategy
from tests.exact.training import strategy_text, write_market

CPU = torch.device("cpu")
SYMBOLS = ("AAA", "BBB")


@pytest.fixture(scope="module")
def market_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("market")
    write_market(directory, symbols=SYMBOLS)
    return directory


def _load(directory: Path, network: str) -> tuple[Strategy, Market]:
    strategy = parse_strategy(strategy_text(network, symbols=SYMBOLS))
    market, digest = read_market(
        MarketStore(directory), strategy.data.symbols, strategy.data.timeframes, strategy.data.test.end
    )
    assert digest == MarketStore(directory).digest(SYMBOLS, ["1d"])
    return strategy, market


def _spans(samples: Samples) -> list[torch.Tensor]:
    return [samples.train, samples.validation, samples.test]


def test_every_window_lies_inside_one_symbol_after_its_warm_up(market_dir: Path) -> None:
    strategy, market = _load(market_dir, "lstm")
    samples = build_samples(strategy, market, CPU)
    lengths = [len(market[symbol]["1d"]) for symbol in SYMBOLS]
    first_valid = [inputs.first_valid for inputs in build_inputs(strategy, market).values()]
    for rows in _spans(samples):
        assert {int(row) >= lengths[0] for row in rows} == {False, True}
        for row in rows.tolist():
            symbol = int(row >= lengths[0])
            begins = symbol * lengths[0] + first_valid[symbol]
            assert row - strategy.model.window + 1 >= begins
        assert bool(torch.isfinite(samples.inputs.at(rows)).all())


def test_the_slow_parts_are_looked_between_and_can_be_stopped(
    market_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strategy, market = _load(market_dir, "mlp")
    looks = 0

    def look() -> None:
        nonlocal looks
        looks += 1

    build_samples(strategy, market, CPU, look)
    assert looks == 2 * (len(SYMBOLS) - 1)  # inputs and labels: nothing here takes long but another symbol
    monkeypatch.setattr("holdfast.features.inputs._COLUMNS_UNSEEN", 1)
    monkeypatch.setattr("holdfast.services.trainer.labels._BARS_UNSEEN", 1)
    monkeypatch.setattr("holdfast.services.trainer.labels._BLOCK_FLOATS", 1000)
    looks = 0
    build_samples(strategy, market, CPU, look)
    assert looks > 20

    def stop() -> None:
        raise RunStopped

    with pytest.raises(RunStopped):
        build_samples(strategy, market, CPU, stop)


def test_samples_lie_in_their_spans_and_no_label_looks_across(market_dir: Path) -> None:
    strategy, market = _load(market_dir, "mlp")
    samples = build_samples(strategy, market, CPU)
    time = np.concatenate([market[symbol]["1d"].time for symbol in SYMBOLS])
    horizon = strategy.label_horizon
    for name, rows in zip(("train", "validation", "test"), _spans(samples), strict=True):
        span = getattr(strategy.data, name)
        first, last = np.datetime64(span.start), np.datetime64(span.end)
        assert (time[rows.numpy()].astype("datetime64[ns]") >= first).all()
        # What the label saw `horizon` bars later is still inside the span.
        assert (time[rows.numpy() + horizon].astype("datetime64[ns]") < last + np.timedelta64(1, "D")).all()


def test_later_bars_change_neither_the_training_samples_nor_their_normalisation(market_dir: Path) -> None:
    strategy, market = _load(market_dir, "mlp")
    samples = build_samples(strategy, market, CPU)
    after = datetime.datetime.combine(strategy.data.train.end, datetime.time(), datetime.UTC).timestamp() * 1e9
    changed: Market = {}
    for symbol in SYMBOLS:
        bars = market[symbol]["1d"]
        factor = np.where(bars.time > after, 3.0, 1.0)
        prices = {name: getattr(bars, name) * factor for name in ("open", "high", "low", "close")}
        changed[symbol] = {"1d": replace(bars, **prices)}
    other = build_samples(strategy, changed, CPU)
    assert other.normalisation == samples.normalisation
    assert torch.equal(other.train, samples.train)
    assert torch.equal(other.inputs.at(other.train), samples.inputs.at(samples.train))
    assert torch.equal(other.targets[other.train], samples.targets[samples.train])
    assert not torch.equal(other.inputs.at(other.test), samples.inputs.at(samples.test))


def test_regression_targets_have_a_mean_square_of_one(market_dir: Path) -> None:
    document = json.loads(strategy_text("mlp", symbols=SYMBOLS, labels={"type": "forward_return"}))
    document["decisions"] = {"type": "regression"}
    document["training"]["class_weights"] = "none"
    strategy = parse_strategy(json.dumps(document))
    market, _ = read_market(
        MarketStore(market_dir), strategy.data.symbols, strategy.data.timeframes, strategy.data.test.end
    )
    samples = build_samples(strategy, market, CPU)
    targets = samples.targets[samples.train].double()
    assert float((targets * targets).mean()) == pytest.approx(1.0, rel=1e-5)
    closes = market["AAA"]["1d"].close
    row = int(samples.train[0])
    assert float(samples.targets[row]) * samples.scale == pytest.approx(closes[row + 5] / closes[row] - 1.0, rel=1e-5)


def test_windows_end_at_their_row() -> None:
    strategy = parse_strategy(strategy_text("gru"))
    values = torch.arange(24.0).view(12, 2)
    windows = InputWindows(values, strategy.model).at(torch.tensor([4, 11]))
    assert windows.shape == (2, 5, 2)
    assert torch.equal(windows[0], values[0:5])
    assert torch.equal(windows[1], values[7:12])


@pytest.mark.parametrize("network", ["lstm", "gru"])
def test_recurrent_layers_leave_dropout_to_the_generator_that_is_saved(network: str) -> None:
    model = build_model(parse_strategy(strategy_text(network)).model, 5, 3)
    assert isinstance(model, Recurrent)
    inner = [module for module in model.modules() if isinstance(module, nn.RNNBase)]
    assert [(module.num_layers, module.dropout) for module in inner] == [(1, 0.0), (1, 0.0)]
    inputs = torch.randn(4, 6, 5)
    kept = torch.get_rng_state()
    first = model(inputs)
    assert not torch.equal(model(inputs), first)
    torch.set_rng_state(kept)
    assert torch.equal(model(inputs), first)
