"""Blocks have one shape and absolute places; outputs become decisions as the strategy says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from holdfast.errors import NotPossible
from holdfast.market import MarketStore
from holdfast.services.backtester.inference import Inference, block_rows, decide
from holdfast.services.backtester.loading import prepare
from holdfast.services.backtester.portfolio import FLAT, KEEP, LONG, SHORT
from holdfast.strategy.decisions import Decisions
from holdfast.v1 import operation_pb2
from tests.exact.backtest import World, make_world


def logits(*probabilities: tuple[float, float, float]) -> torch.Tensor:
    return torch.log(torch.tensor(probabilities))


def test_the_likeliest_class_decides_if_it_is_sure() -> None:
    outputs = logits((0.7, 0.2, 0.1), (0.1, 0.8, 0.1), (0.2, 0.2, 0.6), (0.4, 0.3, 0.3))
    assert decide(outputs, Decisions(confidence_threshold=0.5)).tolist() == [SHORT, FLAT, LONG, KEEP]


def test_where_shorts_are_not_allowed_a_short_leaves() -> None:
    assert decide(logits((0.7, 0.2, 0.1)), Decisions(allow_short=False)).tolist() == [FLAT]


def test_a_predicted_return_decides_beyond_the_threshold() -> None:
    outputs = torch.tensor([[-0.02], [-0.01], [0.0], [0.01], [0.02]])
    rules = Decisions(type="regression", return_threshold=0.015)
    assert decide(outputs, rules).tolist() == [SHORT, KEEP, KEEP, KEEP, LONG]
    assert decide(torch.zeros(1, 1), Decisions(type="regression")).tolist() == [KEEP]


def test_block_rows_are_powers_of_two_within_bounds() -> None:
    for parameters in (1, 100, 10_000, 10**6, 10**9):
        for window in (1, 20, 2048):
            rows = block_rows(parameters, window)
            assert 16 <= rows <= 4096
            assert rows & (rows - 1) == 0
    assert block_rows(100, 1) == 4096
    assert block_rows(10**9, 2048) == 16


def inference_of(world: World) -> Inference:
    spec = operation_pb2.BacktestSpec(model_uri=world.model_uri)
    return prepare(spec, world.store, MarketStore(world.market_dir), lambda: None).inference


def all_signals(inference: Inference) -> np.ndarray[Any, Any]:
    while inference.ready < len(inference.signals):
        for _ in inference.extend():
            pass
    return inference.signals


@pytest.mark.parametrize(("model", "symbols"), [("mlp", 2), ("lstm", 1)])
def test_signals_do_not_depend_on_where_inference_began(tmp_path: Path, model: str, symbols: int) -> None:
    world = make_world(tmp_path, bars=6000, model=model, symbols=symbols)
    whole = all_signals(inference_of(world))
    assert set(np.unique(whole)) >= {SHORT, LONG}
    for bar in (1, 700, 3616, 4500, len(whole) - 1):
        later = inference_of(world)
        later.skip_to(bar)
        signals = all_signals(later)
        assert signals[bar:].tobytes() == whole[bar:].tobytes()


def test_every_block_has_the_same_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inference = inference_of(make_world(tmp_path, bars=5000))
    shapes = set()
    forward = inference._model.forward

    def watch(values: torch.Tensor) -> Any:
        shapes.add(tuple(values.shape))
        return forward(values)

    monkeypatch.setattr(inference._model, "forward", watch)
    all_signals(inference)
    assert len(shapes) == 1
    assert shapes.pop()[0] == inference.rows


def test_no_decision_before_the_indicators_are_warm(tmp_path: Path) -> None:
    world = make_world(tmp_path, bars=1000, model="lstm")
    spec = operation_pb2.BacktestSpec(model_uri=world.model_uri, start_date="2001-01-01")
    inference = prepare(spec, world.store, MarketStore(world.market_dir), lambda: None).inference
    signals = all_signals(inference)[:, 0]
    # The 4h RSI of 14 bars needs 15 closed 4h bars, the last known with the 60th hourly bar; then 5 rows of window.
    assert (signals[:63] == KEEP).all()
    assert (signals[63:] != KEEP).any()


def test_a_model_that_gives_nan_stops_the_run(tmp_path: Path) -> None:
    inference = inference_of(make_world(tmp_path, bars=600))
    with torch.no_grad():
        next(inference._model.parameters()).fill_(float("nan"))
    with pytest.raises(NotPossible, match="Train it again") as caught:
        all_signals(inference)
    assert caught.value.reason == "MODEL_NOT_FINITE"
