"""Losses, class weights and gradient clipping beside their formulae."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import InvalidRequest
from holdfast.services.trainer.loop import _clip
from holdfast.services.trainer.objective import build_loss, class_weights


def _scores() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(40, 3, generator=generator), torch.randint(0, 3, (40,), generator=generator)


def test_focal_loss_is_its_formula() -> None:
    output, target = _scores()
    weights = torch.tensor([0.5, 1.0, 2.0])
    total, weight_sum = 0.0, 0.0
    for scores, actual in zip(output.double().tolist(), target.tolist(), strict=True):
        p = math.exp(scores[actual]) / sum(math.exp(score) for score in scores)
        weight = float(weights[actual])
        total -= weight * (1.0 - p) ** 1.5 * math.log(p)
        weight_sum += weight
    loss = build_loss("focal", weights, focal_gamma=1.5)(output, target)
    assert float(loss) == pytest.approx(total / weight_sum, rel=1e-5)


@pytest.mark.parametrize("weights", [None, torch.tensor([0.2, 3.0, 1.0])])
def test_without_fading_the_focal_loss_is_the_cross_entropy(weights: torch.Tensor | None) -> None:
    output, target = _scores()
    focal = build_loss("focal", weights, focal_gamma=0.0)(output, target)
    assert float(focal) == pytest.approx(float(build_loss("cross_entropy", weights, focal_gamma=0.0)(output, target)))


def test_regression_losses_take_one_output_per_sample() -> None:
    output, target = torch.tensor([[0.5], [-3.0]]), torch.tensor([0.0, 0.0])
    assert float(build_loss("mse", None, focal_gamma=0.0)(output, target)) == pytest.approx((0.25 + 9.0) / 2)
    assert float(build_loss("huber", None, focal_gamma=0.0)(output, target)) == pytest.approx((0.125 + 2.5) / 2)


def test_balanced_weights_make_every_present_class_count_the_same() -> None:
    targets = np.array([0] * 6 + [2] * 2)
    weights = class_weights("balanced", targets)
    assert weights == [8 / (2 * 6), 0.0, 8 / (2 * 2)]
    assert class_weights("none", targets) is None
    assert class_weights([1.0, 2.0, 3.0], targets) == [1.0, 2.0, 3.0]


def test_one_class_alone_cannot_be_learnt() -> None:
    with pytest.raises(InvalidRequest, match="'long'"):
        class_weights("none", np.array([2, 2, 2]))


@given(st.lists(st.floats(-50.0, 50.0), min_size=1, max_size=12), st.floats(0.01, 20.0))
def test_clipping_equals_torch(values: list[float], limit: float) -> None:
    ours, theirs = _parameters(values), _parameters(values)
    _clip(ours, limit)
    torch.nn.utils.clip_grad_norm_(theirs, limit)
    for a, b in zip(ours, theirs, strict=True):
        assert a.grad is not None
        assert b.grad is not None
        assert torch.equal(a.grad, b.grad)


def _parameters(values: list[float]) -> list[torch.nn.Parameter]:
    parameters = [torch.nn.Parameter(torch.zeros(len(part))) for part in (values, values[:1])]
    for parameter, part in zip(parameters, (values, values[:1]), strict=True):
        parameter.grad = torch.tensor(part, dtype=torch.float32)
    return parameters
