"""What checkpoints cost: trainings with one every epoch and backtests with one every 10,000 bars, beside none.

"each" takes away the spacing that a worker keeps between two periodic saves (CHECKPOINT_SPACING_SECONDS): every one
that is asked for is taken, except that a newer one replaces one that still waits for the store.
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import yaml

from benchmarks.sidebyside import Timing, interleave, print_table
from benchmarks.silent_run import Bench, SilentRun, be_quiet
from holdfast.market import MarketStore
from holdfast.market.sample import install_sample
from holdfast.services.backtester.run import execute as backtest
from holdfast.services.trainer.run import execute as train
from tests.support.workloads import long_backtest_text, training_text, write_synthetic_bars

ROUNDS = 8
BARS = 200_000
NONE, EACH, SPACED = "no checkpoints", "each", "each, spaced as a worker does"
_SPACING = "CHECKPOINT_SPACING_SECONDS"


def main() -> None:
    """Prints a table for every workload."""
    be_quiet()
    root = Path(tempfile.mkdtemp(prefix="holdfast-bench-"))
    try:
        bench = Bench(root)
        install_sample(MarketStore(bench.market))
        write_synthetic_bars(bench.market, bars=BARS)
        trainings = {
            "MLP, 5 years of hours, 3 epochs": _hourly(epochs=3),
            "MLP 512 x 512 (4 MB), days, 8 epochs": _wide(epochs=8),
            "tiny MLP, days, 30 epochs": training_text(epochs=30),
        }
        for title, text in trainings.items():
            _compare(
                f"Training, whole run: {title}, one checkpoint every epoch",
                lambda every, text=text: bench.training(text, every=every),  # type: ignore[misc]
                train,
                every=1,
            )
        for title, model in (("MLP", {}), ("LSTM", {"type": "lstm", "hidden_size": 24, "layers": 1, "window": 20})):
            trained = bench.training(_long(model))
            uri, operation = train(trained).model_uri, trained.assignment.operation_id
            _compare(
                f"Backtest, whole run: {title}, {BARS} bars, one checkpoint every 10,000 bars",
                lambda every, uri=uri, operation=operation: bench.backtest(uri, operation, every=every),  # type: ignore[misc]
                backtest,
                every=10_000,
            )
    finally:
        shutil.rmtree(root)


def _compare(
    title: str, make: Callable[[int], SilentRun], execute: Callable[[SilentRun], object], *, every: int
) -> None:
    runs: dict[str, list[SilentRun]] = {NONE: [], EACH: [], SPACED: []}

    def way(name: str, every: int, spacing: float | None) -> Callable[[], None]:
        def once() -> None:
            if spacing is None:
                os.environ.pop(_SPACING, None)
            else:
                os.environ[_SPACING] = str(spacing)
            run = make(every)
            execute(run)
            runs[name].append(run)

        return once

    before = os.environ.get(_SPACING)
    try:
        ways = {NONE: way(NONE, 0, 0.0), EACH: way(EACH, every, 0.0), SPACED: way(SPACED, every, None)}
        timings = interleave(ways, rounds=ROUNDS)
    finally:
        os.environ.pop(_SPACING, None)
        if before is not None:
            os.environ[_SPACING] = before
    print_table(title, timings, base=NONE)
    for name in (EACH, SPACED):
        _print_cost(name, runs[name][1:], timings)


def _print_cost(name: str, runs: Sequence[SilentRun], timings: Mapping[str, Timing]) -> None:
    saves = statistics.median(run.checkpoints for run in runs)
    if not saves:
        print(f"  {name}: no checkpoint came due")
        return
    wall = (min(timings[name].wall) - min(timings[NONE].wall)) / saves
    taken = statistics.median(run.writer_cpu for run in runs)
    print(
        f"  {name}: {saves:.0f} checkpoints, each {wall * 1000:+.1f} ms of the wall; "
        f"the writer's thread took {taken / saves * 1000:.2f} ms of CPU for each, "
        f"{taken / min(timings[NONE].cpu):.2%} of the run's"
    )


def _hourly(*, epochs: int) -> str:
    document = yaml.safe_load(long_backtest_text(bars=BARS))
    document["data"].update(
        train={"start": "2001-01-01", "end": "2005-12-31"},
        validation={"start": "2006-01-01", "end": "2006-12-31"},
        test={"start": "2007-01-01", "end": "2007-12-31"},
    )
    document["training"].update(epochs=epochs)
    return yaml.safe_dump(document)


def _wide(*, epochs: int) -> str:
    document = yaml.safe_load(training_text(epochs=epochs))
    document["model"].update(hidden_sizes=[512, 512])
    return yaml.safe_dump(document)


def _long(model: dict[str, object]) -> str:
    document = yaml.safe_load(long_backtest_text(bars=BARS))
    if model:
        document["model"] = {**model, "dropout": 0.1}
    return yaml.safe_dump(document)


if __name__ == "__main__":
    main()
