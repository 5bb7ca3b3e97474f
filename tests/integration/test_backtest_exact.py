"""A backtest interrupted anywhere, however often, ends with the bytes of the uninterrupted one."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from holdfast.worker.run import StopKind
from tests.exact.backtest import Backtest, FakeRun, Killed, make_world, result_digests, run_killed, run_uninterrupted


@pytest.mark.parametrize(("model", "symbols"), [("mlp", 1), ("lstm", 1), ("gru", 1), ("mlp", 3)])
def test_ten_interruptions_change_no_byte(tmp_path: Path, model: str, symbols: int) -> None:
    world = make_world(tmp_path, bars=3000, model=model, symbols=symbols)
    whole = run_uninterrupted(world)
    assert whole.trades > 50
    seed = 7
    chance = random.Random(seed)
    backtest = Backtest(world, "cut")
    result = None
    for interruption in range(11):
        backtest.every = chance.choice([1, 7, 50, 333])
        looks = chance.randrange(8, 40) if interruption < 10 else None
        ending = chance.choice(["kill", "cancel", "shutdown"])

        def look(run: FakeRun, looks: int | None = looks, ending: str = ending) -> StopKind | None:
            if looks is None or run.looks < looks:
                return None
            if ending == "kill":
                raise Killed
            return StopKind(ending)

        run, result = backtest.run(look, checkpoint=backtest.newest())
        if looks is not None:
            assert result is None, f"seed {seed}: interruption {interruption} came too late"
            if ending != "kill" and run.saved:
                assert run.saved[-1].unit > 0
    assert result is not None
    assert backtest.attempt == 11
    assert result_digests(world, result) == result_digests(world, whole)
    assert result.metrics == whole.metrics
    assert result.benchmark_metrics == whole.benchmark_metrics
    assert not result.notes


def test_a_killed_process_resumes_exactly(tmp_path: Path) -> None:
    world = make_world(tmp_path, bars=12_000)
    assert run_killed(world, seed=3, kills=1) == result_digests(world, run_uninterrupted(world))
