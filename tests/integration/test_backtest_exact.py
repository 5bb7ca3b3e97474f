"""A backtest interrupted anywhere, however often, ends with the bytes of the uninterrupted one."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from holdfast.artifacts.catalogue import load_checkpoint
from holdfast.run.contract import StopKind
from holdfast.v1 import checkpoint_pb2
from tests.exact.backtest import (
    Backtest,
    FakeRun,
    Killed,
    World,
    make_world,
    report_every_chunk,
    result_digests,
    run_killed,
    run_uninterrupted,
)


@pytest.mark.parametrize(("model", "symbols"), [("mlp", 1), ("lstm", 1), ("gru", 1), ("mlp", 3)])
def test_ten_interruptions_change_no_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, symbols: int
) -> None:
    monkeypatch.setenv("CHECKPOINT_SPACING_SECONDS", "0")
    report_every_chunk(monkeypatch)
    world = make_world(tmp_path, bars=3000, model=model, symbols=symbols)
    whole = run_uninterrupted(world)
    assert whole.trades > 50
    seed = 7
    chance = random.Random(seed)
    backtest = Backtest(world, "cut")
    result = None
    for interruption in range(11):
        # Ten times as many bars as an attempt gets are fewer than there are. Below none: while loading.
        backtest.every = chance.choice([1, 7, 50, 110])
        bars = chance.randrange(-20, 180) if interruption < 10 else None
        newest = backtest.newest()
        target = None if bars is None else bars + (newest.unit if newest and bars > 0 else 0)
        ending = chance.choice(["kill", "cancel", "shutdown"])

        def look(run: FakeRun, target: int | None = target, ending: str = ending) -> StopKind | None:
            if target is None or run.bar < target:
                return None
            if ending == "kill":
                raise Killed
            return StopKind(ending)

        run, result = backtest.run(look, checkpoint=newest)
        if target is not None:
            assert result is None, f"seed {seed}: interruption {interruption} came too late"
            if ending != "kill" and run.saved:
                assert run.saved[-1].unit > 0
    assert result is not None
    assert backtest.attempt == 11
    assert result_digests(world, result) == result_digests(world, whole)
    assert result.metrics == whole.metrics
    assert result.benchmark_metrics == whole.benchmark_metrics
    assert not result.notes


def test_open_trades_and_pending_orders_survive_cuts_a_few_bars_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report_every_chunk(monkeypatch)
    world = make_world(tmp_path, bars=600)
    backtest = Backtest(world, "cut", every=1)
    opened = pending = 0
    for target in range(15, 465, 15):
        run, _ = backtest.run(
            lambda run, target=target: StopKind.CANCEL if run.bar >= target else None,  # type: ignore[misc]
            checkpoint=backtest.newest(),
        )
        assert run.saved[-1].unit == target
        summary = summary_of(world, run.saved[-1])
        opened += summary["open_positions"]
        pending += summary["pending_orders"]
    assert opened > 2
    assert pending > 2
    _, result = backtest.run(checkpoint=backtest.newest())
    assert result is not None
    assert result_digests(world, result) == result_digests(world, run_uninterrupted(world))


def summary_of(world: World, checkpoint: checkpoint_pb2.Checkpoint) -> dict[str, int]:
    reference = checkpoint_pb2.CheckpointRef(checkpoint_id=checkpoint.checkpoint_id)
    found: dict[str, int] = load_checkpoint(world.store, reference, operation_id="cut").state["summary"]
    return found


def test_a_killed_process_resumes_exactly(tmp_path: Path) -> None:
    world = make_world(tmp_path, bars=12_000)
    assert run_killed(world, seed=3, kills=1) == result_digests(world, run_uninterrupted(world))
