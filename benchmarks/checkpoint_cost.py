"""What checkpoints cost: a training with one every epoch beside one with none, a backtest with one every 10,000 bars."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import yaml

from backtester.run import execute as backtest
from benchmarks.sidebyside import interleave, print_table
from benchmarks.silent_run import Bench
from holdfast.market import MarketStore
from holdfast.market.sample import install_sample
from tests.support.workloads import long_backtest_text, training_text, write_synthetic_bars
from trainer.run import execute as train

ROUNDS = 7
EPOCHS = 30
BARS = 200_000


def main() -> None:
    """Prints two tables."""
    root = Path(tempfile.mkdtemp(prefix="holdfast-bench-"))
    try:
        bench = Bench(root)
        install_sample(MarketStore(bench.market))
        write_synthetic_bars(bench.market, bars=BARS)

        for title, text in (("small MLP", training_text(epochs=EPOCHS)), ("larger MLP", _larger())):
            times = interleave(
                {
                    "no checkpoints": lambda text=text: train(bench.training(text)),  # type: ignore[misc]
                    "one every epoch": lambda text=text: train(bench.training(text, every=1)),  # type: ignore[misc]
                    "one every 10 epochs": lambda text=text: train(bench.training(text, every=10)),  # type: ignore[misc]
                },
                rounds=ROUNDS,
            )
            print_table(f"Training, {title}, {EPOCHS} epochs, whole run", times, base="no checkpoints")

        model = bench.training(long_backtest_text(bars=BARS))
        result = train(model)
        operation = model.assignment.operation_id
        times = interleave(
            {
                "no checkpoints": lambda: backtest(bench.backtest(result.model_uri, operation)),
                "one every 10,000 bars": lambda: backtest(bench.backtest(result.model_uri, operation, every=10_000)),
            },
            rounds=ROUNDS,
        )
        print_table(f"Backtest, {BARS} bars, whole run", times, base="no checkpoints")
    finally:
        shutil.rmtree(root)


def _larger() -> str:
    document = yaml.safe_load(training_text(epochs=EPOCHS))
    document["model"].update(hidden_sizes=[512, 512])
    return yaml.safe_dump(document)


if __name__ == "__main__":
    main()
