"""A training ends in the same bytes however often and wherever it is interrupted."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from holdfast.run.contract import StopKind
from tests.exact.training import Killed, WorkerConfig, strategy_text, write_market

SEED = 20260724


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("market")
    write_market(directory, symbols=("AAA", "BBB"))
    return directory


@pytest.fixture(autouse=True)
def _save_at_every_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHECKPOINT_SPACING_SECONDS", "0")


def _config(directory: Path, market: Path, strategy: str, *, every_epochs: int, every_steps: int) -> WorkerConfig:
    directory.mkdir(parents=True)
    shutil.copytree(market, directory / "market")
    return WorkerConfig(directory, strategy, every_epochs=every_epochs, every_steps=every_steps)


@pytest.mark.parametrize("network", ["mlp", "lstm", "gru"])
@pytest.mark.parametrize(("every_epochs", "every_steps"), [(1, 0), (2, 3)])
def test_ten_interruptions_change_no_byte(
    tmp_path: Path, market: Path, network: str, every_epochs: int, every_steps: int
) -> None:
    dice = random.Random(f"{SEED} {network} {every_steps}")
    strategy = strategy_text(network, symbols=("AAA", "BBB"))
    whole = _config(tmp_path / "whole", market, strategy, every_epochs=0, every_steps=0)
    undisturbed, expected = whole.attempt_once()
    assert expected is not None

    cut = _config(tmp_path / "cut", market, strategy, every_epochs=every_epochs, every_steps=every_steps)
    endings: tuple[StopKind | type[BaseException], ...] = (StopKind.CANCEL, StopKind.SHUTDOWN, Killed)
    for _ in range(10):
        # 0: while loading; after an epoch's last step: in the validation.
        run, outcome = cut.attempt_once(
            dice.randrange(undisturbed.steps // 3),
            endings[dice.randrange(3)],
        )
        if outcome is not None:
            break
    else:
        run, outcome = cut.attempt_once()
    assert outcome is not None
    assert outcome.digests == expected.digests
    assert dict(outcome.result.metrics) == dict(expected.result.metrics)
    assert (outcome.result.epochs, outcome.result.best_epoch) == (expected.result.epochs, expected.result.best_epoch)
    assert not run.notices
    assert not outcome.result.notes
