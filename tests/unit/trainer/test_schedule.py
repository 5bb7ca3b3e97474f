"""Learning rates and patience, beside torch's own schedulers where they mean the same."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from holdfast.services.trainer.schedule import Patience, Schedule
from holdfast.strategy.training import Constant, Cosine, OneCycle, Plateau, Scheduler, Step

EPOCHS, STEPS, RATE = 12, 5, 0.01


def _rates(config: Scheduler) -> list[float]:
    schedule = Schedule(config, learning_rate=RATE, epochs=EPOCHS, steps_per_epoch=STEPS)
    return [schedule.rate(epoch, step) for epoch in range(EPOCHS) for step in range(STEPS)]


def _optimiser() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=RATE)


def _of_torch(
    optimiser: torch.optim.Optimizer, scheduler: torch.optim.lr_scheduler.LRScheduler, steps: int
) -> list[float]:
    rates = []
    for _ in range(steps):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return rates


def test_constant() -> None:
    assert _rates(Constant()) == [RATE] * (EPOCHS * STEPS)


def test_cosine_equals_torch() -> None:
    optimiser = _optimiser()
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, EPOCHS, eta_min=1e-4)
    assert _rates(Cosine(type="cosine", min_learning_rate=1e-4))[::STEPS] == pytest.approx(
        _of_torch(optimiser, scheduler, EPOCHS)
    )


def test_step_equals_torch() -> None:
    optimiser = _optimiser()
    scheduler = torch.optim.lr_scheduler.StepLR(optimiser, 3, 0.5)
    assert _rates(Step(type="step", step_size=3, gamma=0.5))[::STEPS] == pytest.approx(
        _of_torch(optimiser, scheduler, EPOCHS)
    )


def test_onecycle_rises_for_the_warm_up_and_then_falls() -> None:
    rates = _rates(OneCycle(type="onecycle", warmup=0.3))
    top = rates.index(max(rates))
    assert rates[0] == pytest.approx(RATE / 25)
    assert max(rates) == pytest.approx(RATE, rel=0.01)
    assert rates[-1] == pytest.approx(RATE / 25 / 1e4)
    assert top == pytest.approx(0.3 * (len(rates) - 1), abs=1)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


@given(st.lists(st.floats(0.01, 10.0), min_size=1, max_size=40), st.integers(0, 4))
def test_plateau_equals_torch(losses: list[float], patience: int) -> None:
    config = Plateau(type="plateau", factor=0.5, patience=patience, min_learning_rate=1e-9)
    schedule = Schedule(config, learning_rate=RATE, epochs=100, steps_per_epoch=STEPS)
    optimiser = _optimiser()
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, factor=0.5, patience=patience, min_lr=1e-9, eps=0.0)
    for epoch, loss in enumerate(losses):
        schedule.observe(loss)
        theirs.step(loss)
        assert schedule.rate(epoch, 0) == pytest.approx(optimiser.param_groups[0]["lr"])


def test_patience_counts_from_the_last_improvement() -> None:
    patience = Patience(min_delta=0.1)
    assert [patience.observe(epoch, value) for epoch, value in enumerate([1.0, 0.95, 0.85, 0.9, 0.8])] == [
        True,
        False,
        True,
        False,
        False,
    ]
    assert (patience.best, patience.best_epoch, patience.waited) == (0.85, 2, 2)


def test_patience_with_a_metric_that_shall_rise() -> None:
    patience = Patience(higher_is_better=True)
    assert math.isinf(patience.best)
    assert [patience.observe(epoch, value) for epoch, value in enumerate([0.4, 0.5, 0.5])] == [True, True, False]
