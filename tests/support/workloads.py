"""Work for whole-system tests: real market data, trainings and backtests of a chosen length, and what they leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from holdfast.artifacts.manifest import read_artifacts
from holdfast.artifacts.store import open_store
from holdfast.market.store import MarketStore
from holdfast.sdk import Client, Operation

EXAMPLE = Path(__file__).parents[2] / "examples" / "spx_daily.yaml"
ENDLESS = 1_000_000  # epochs: a training that only a cancel or a kill ends


def training_text(*, epochs: int, seed: int = 7, **overrides: Any) -> str:
    """The example strategy with early stopping and patience out of the way, so that its length is known."""
    document = yaml.safe_load(EXAMPLE.read_text())
    document["training"].update(epochs=epochs, seed=seed, early_stopping=None)
    for path, value in overrides.items():
        section, _, key = path.partition("__")
        if key:
            document[section][key] = value
        else:
            document[section] = value
    return yaml.safe_dump(document)


def long_backtest_text(*, bars: int = 100_000, hidden_sizes: Sequence[int] = (32, 16)) -> str:
    """A strategy on the synthetic hourly bars: two epochs of training, and nearly all bars as its test span."""
    document = yaml.safe_load(EXAMPLE.read_text())
    document["name"] = "long_hourly"
    document["data"] = {
        "symbols": ["LONG"],
        "timeframes": ["1h"],
        "train": {"start": "2001-01-01", "end": "2001-12-31"},
        "validation": {"start": "2002-01-01", "end": "2002-03-31"},
        "test": {"start": "2002-04-01", "end": str(date(2001, 1, 1) + timedelta(hours=bars - 25))},
    }
    document["decisions"].update(allow_short=True, confidence_threshold=0.34)
    document["training"].update(epochs=2, early_stopping=None)
    document["model"]["hidden_sizes"] = list(hidden_sizes)
    return yaml.safe_dump(document)


def start_training(client: Client, *, epochs: int = ENDLESS, checkpoint_every: int = 1, **options: Any) -> Operation:
    """A training on the sample data; `model=` replaces the section, `section__key=` sets one value."""
    overrides = {key: options.pop(key) for key in list(options) if "__" in key or key == "model"}
    text = training_text(epochs=epochs, seed=options.pop("seed", 7), **overrides)
    return client.train(text, checkpoint_every=checkpoint_every, **options)


@dataclass(frozen=True)
class Outcome:
    """What a finished operation left: the SHA-256 of every file of its result that must not depend on interruptions."""

    digests: dict[str, str]
    metrics: dict[str, float]


def outcome_of(operation: Operation, store_url: str) -> Outcome:
    """Reads and verifies the result of a COMPLETED operation."""
    operation.refresh()
    result = operation.result
    uri = getattr(result, "model_uri", "") or getattr(result, "result_uri", "")
    artifacts = read_artifacts(open_store(store_url), uri)
    digests = {name: row["sha256"] for name, row in artifacts.manifest["artifacts"].items()}
    return Outcome(digests, dict(result.metrics))


def write_synthetic_bars(directory: Path, *, symbol: str = "LONG", bars: int = 100_000, seed: int = 3) -> None:
    """Imports a random walk of hourly bars, so that a backtest is long enough to be interrupted."""
    from holdfast.market.bars import Bars

    generator = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(generator.normal(0, 0.004, bars)))
    opens = np.concatenate([[100.0], close[:-1]]) * np.exp(generator.normal(0, 0.0005, bars))
    spread = np.abs(generator.normal(0, 0.002, bars)) + 1e-6
    hour = 3_600_000_000_000
    start = np.datetime64("2001-01-01T00:00", "ns").astype(np.int64)
    MarketStore(directory).write(
        Bars(
            symbol=symbol,
            timeframe="1h",
            time=start + hour * np.arange(bars, dtype=np.int64),
            open=opens,
            high=np.maximum(opens, close) * (1 + spread),
            low=np.minimum(opens, close) * (1 - spread),
            close=close,
            volume=np.full(bars, 1000.0),
        ),
        source="synthetic",
    )
